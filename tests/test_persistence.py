"""Pickle, joblib and folders restore a classifier, without side effects."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Checkpoint

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)
from rapidfit_sk import _folders as folders
from rapidfit_sk import _persistence as persistence
from rapidfit_sk.callbacks import TaskSampling
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]
GROUPS = [TrainingConfig, HeadConfig, EncoderConfig, LossConfig, EvalConfig, MultiheadConfig]


def assert_same_predictions(classifier, other):
    """Check that two classifiers give the same probabilities to the bit."""
    first, second = classifier.predict_proba(TEXTS), other.predict_proba(TEXTS)
    assert list(first) == list(second) == classifier.tasks_ == other.tasks_
    assert all(np.array_equal(first[task], second[task]) for task in first)


LOAD_AND_PREDICT = """
import sys
import joblib, numpy as np, socket

def refuse(*args, **kwargs):
    raise OSError("no network here")

socket.socket.connect = refuse
from rapidfit_sk import MultiheadClassifier
texts = np.load(sys.argv[1], allow_pickle=True).tolist()
for path in sys.argv[2:]:
    load = joblib.load if path.endswith(".joblib") else MultiheadClassifier.load
    np.savez(path + ".npz", **load(path).predict_proba(texts))
"""


def test_reload_in_another_process(make_classifier, messages, tmp_path):
    """Another process predicts the same to the bit, without network or the encoder's folder."""
    np.save(tmp_path / "texts.npy", np.array(TEXTS, dtype=object))
    classifiers = {}
    for architecture in ("bert", "deberta-v2", "modernbert", "albert"):
        folder = tiny_encoder(tmp_path / architecture, architecture=architecture)
        classifier = make_classifier(model_name=folder).fit(messages)
        (tmp_path / architecture).rename(tmp_path / f"{architecture} gone")
        paths = [str(tmp_path / f"model-{architecture}{suffix}") for suffix in ("", ".joblib")]
        classifier.save(paths[0])
        joblib.dump(classifier, paths[1])
        classifiers |= dict.fromkeys(paths, classifier)
    command = [sys.executable, "-c", LOAD_AND_PREDICT, str(tmp_path / "texts.npy"), *classifiers]
    subprocess.run(command, check=True)
    for path, classifier in classifiers.items():
        answers = np.load(f"{path}.npz")
        for task, p in classifier.predict_proba(TEXTS).items():
            assert np.array_equal(answers[task], p)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_restored(make_classifier, messages, tmp_path, architecture):
    """Pickle and folder restore each architecture with its weights, including tied ones."""
    name = tiny_encoder(architecture=architecture)
    options = {"model_name": name, "encoder": EncoderConfig(freeze_epochs=0, unfreeze_layers=None)}
    classifier = make_classifier(**options).fit(messages.head(200))
    loaded = pickle.loads(pickle.dumps(classifier))
    assert_same_predictions(classifier, loaded)
    assert_same_predictions(
        classifier, MultiheadClassifier.load(classifier.save(tmp_path / "x") and tmp_path / "x")
    )
    names = [[n for n, _ in c.net_.module_.named_parameters()] for c in (classifier, loaded)]
    assert names[0] == names[1]


def test_sentencepiece_tokenizer_is_restored(make_classifier, messages, cached_encoders, tmp_path):
    """A tokenizer that is stored only as a sentencepiece model is restored, too."""
    options = {"model_name": "microsoft/deberta-v3-base", "epochs": 0}
    classifier = make_classifier(**options).fit(messages.head(100))
    assert_same_predictions(classifier, pickle.loads(pickle.dumps(classifier)))
    classifier.save(tmp_path / "model")
    assert_same_predictions(classifier, MultiheadClassifier.load(tmp_path / "model"))


@pytest.fixture(scope="module")
def real_encoder(messages):
    """A classifier with an encoder of realistic size."""
    training = TrainingConfig(
        model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=1, max_length=64
    )
    config = MultiheadConfig(training=training, encoder=EncoderConfig(freeze_epochs=0))
    return MultiheadClassifier(config, random_state=0).fit(messages.head(100))


def test_saved_size_is_close_to_the_weights(real_encoder, tmp_path):
    """Saved files contain no optimizer and no data: at most 1.1 times the size of the weights."""
    joblib.dump(real_encoder, tmp_path / "model.joblib")
    real_encoder.save(tmp_path / "model")
    weights = sum(p.numel() * p.element_size() for p in real_encoder.net_.module_.parameters())
    size = sum(path.stat().st_size for path in (tmp_path / "model").rglob("*"))
    assert (tmp_path / "model.joblib").stat().st_size <= 1.1 * weights
    assert size <= 1.1 * weights


SHARED = """
import re, sys
import joblib

path = sys.argv[1]
classifier = joblib.load(path, mmap_mode="r")
classifier.predict(["one", "two"])
at = classifier.net_.module_.encoder.get_input_embeddings().weight.data_ptr()
parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read(), flags=re.M)
mapped = [part for part in parts if path in part]
ranges = [[int(end, 16) for end in part.split(" ")[0].split("-")] for part in mapped]
copied = sum(int(kb) for part in mapped for kb in re.findall(r"Anonymous: *(\\d+) kB", part))
resident = sum(int(kb) for part in mapped for kb in re.findall(r"Rss: *(\\d+) kB", part))
print(any(low <= at < high for low, high in ranges), copied, resident > 10_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_map_shares_the_weights(real_encoder, tmp_path):
    """With mmap_mode="r", the weights stay in the pages of the file, which processes share."""
    joblib.dump(real_encoder, tmp_path / "model.joblib")
    command = [sys.executable, "-c", SHARED, str(tmp_path / "model.joblib")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "0", "True"]


def test_memory_map_gives_the_same_predictions(fitted, tmp_path):
    """Memory-mapped weights predict the same, and writing to them does not change the file."""
    joblib.dump(fitted, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert_same_predictions(fitted, mapped)
    with torch.no_grad():
        for parameter in mapped.net_.module_.parameters():
            parameter.zero_()
    assert_same_predictions(fitted, joblib.load(tmp_path / "model.joblib", mmap_mode="r"))


def test_fitted_on_a_gpu(fitted):
    """A classifier loads on the CPU if the device of its fit does not exist."""
    state = fitted.net_.__getstate__() | {"device": "cuda:7"}
    net = pickle.loads(pickle.dumps(fitted)).net_
    net.__setstate__(state)
    assert net.device == "cpu"
    assert {parameter.device.type for parameter in net.module_.parameters()} == {"cpu"}


def test_fitted_attributes_are_restored(fitted, tmp_path):
    """Pickle and folder restore parameters, classes, scores, history, indices and versions."""
    by_pickle = pickle.loads(pickle.dumps(fitted))
    by_folder = MultiheadClassifier.load(fitted.save(tmp_path / "x") and tmp_path / "x")
    for loaded in (by_pickle, by_folder):
        assert repr(loaded) == repr(fitted)
        assert loaded.test_scores_ == fitted.test_scores_
        assert list(loaded.net_.history) == list(fitted.net_.history)
        assert np.array_equal(loaded.test_indices_, fitted.test_indices_)
        assert loaded.saved_with_["torch"] == torch.__version__
        for task in fitted.tasks_:
            assert np.array_equal(loaded.classes_[task], fitted.classes_[task])
            assert loaded.classes_[task].dtype == fitted.classes_[task].dtype
    assert not hasattr(fitted, "saved_with_")


@pytest.mark.parametrize("verbose", [0, 1])
def test_net_can_be_pickled_during_training(make_classifier, messages, tmp_path, verbose):
    """A callback can pickle the net during training, like skorch's Checkpoint with `f_pickle`."""
    path = tmp_path / "net.pickle"
    checkpoint = Checkpoint(monitor=None, dirname=tmp_path, f_pickle=path.name, f_history=None)
    checkpoint.set_params(f_params=None, f_optimizer=None, f_criterion=None)
    encoder = EncoderConfig(freeze_epochs=1, unfreeze_layers=1)
    options = {"memory": tmp_path / "memory", "verbose": verbose, "callbacks": [checkpoint]}
    classifier = make_classifier(encoder=encoder, epochs=1, **options).fit(messages)
    net = pickle.loads(path.read_bytes())
    # The pickle is from the last epoch; the classifier may have the weights of an earlier one.
    assert len(net.history) == 2
    for name, tensor in net.module_.encoder.embeddings.state_dict().items():
        kept = classifier.net_.module_.encoder.embeddings.state_dict()[name]
        torch.testing.assert_close(tensor, kept)
    assert net.get_params()["max_epochs"] == 2


def test_unfitted_classifier_can_be_pickled(make_classifier):
    """An unfitted classifier can be pickled, without versions of libraries."""
    classifier = pickle.loads(pickle.dumps(make_classifier()))
    assert not hasattr(classifier, "saved_with_")
    assert not classifier.__sklearn_is_fitted__()


# --------------------------------------------------------------------------------------------
# Folders


@pytest.fixture
def folder(fitted, tmp_path):
    """A folder with the saved classifier."""
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


LABELS = {
    "strings": ["no", "yes"],
    "numpy strings": list(np.array(["no", "yes"])),
    "ints": [3, 11],
    "small ints": list(np.array([3, 11], dtype=np.int16)),
    "floats": [0.1, 2.5],
    "single floats": list(np.array([0.1, 2.5], dtype=np.float32)),
    "bools": [False, True],
    "odd strings": ["", "\N{SNOWMAN} \x00"],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_keep_their_type(make_classifier, tmp_path, labels):
    """Labels keep their values and types when they are saved as JSON and loaded."""
    y = pd.Series([labels[i % 2] for i in range(20)], dtype=object)
    classifier = make_classifier(test_size=0.2).fit([f"text {i}" for i in range(20)], y)
    loaded = MultiheadClassifier.load(classifier.save(tmp_path / "x") and tmp_path / "x")
    (before,), (after,) = classifier.classes_.values(), loaded.classes_.values()
    assert before.dtype == after.dtype
    assert list(map(type, before)) == list(map(type, after))
    assert before.tolist() == after.tolist()


def test_load_unpickles_nothing(folder, monkeypatch):
    """No file of the folder is a pickle, and loading does not use an unpickler."""

    def refuse(*args, **kwargs):
        raise AssertionError("unpickling")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(joblib, "load", refuse)
    monkeypatch.setattr(np, "load", refuse)
    assert MultiheadClassifier.load(folder).predict(TEXTS).shape == (3, 3)
    names = {path.name for path in folder.iterdir()}
    files = {"model.safetensors", "classifier.json", "checksums.json", "README.md"}
    assert names == {*files, "tokenizer"}


def test_save_replaces_an_earlier_save(folder, make_classifier, messages):
    """A second save replaces the first one and leaves nothing else in the parent folder."""
    other = make_classifier(epochs=0).fit(messages[messages["task"] == "intent"])
    assert other.save(str(folder)) is other
    assert MultiheadClassifier.load(str(folder)).tasks_ == ["intent"]
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("step", ["write", "rename"])
def test_interrupted_save_keeps_the_old_folder(folder, fitted, monkeypatch, step):
    """An interrupted save keeps the old folder complete and leaves no other files."""
    if step == "write":

        def broken(weights, path):
            path.write_bytes(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(persistence, "_write_weights", broken)
    else:
        rename = Path.rename

        def broken(self, target):
            if Path(target) == folder and not self.name.endswith("before-save"):
                raise KeyboardInterrupt
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(folder)
    monkeypatch.undo()
    assert_same_predictions(fitted, MultiheadClassifier.load(folder))
    assert list(folder.parent.iterdir()) == [folder]


def test_save_killed_between_its_renames(folder, fitted):
    """If a save is killed between its two renames, the old save loads and can be replaced."""
    folder.rename(folders._backup_of(folder))
    assert_same_predictions(fitted, MultiheadClassifier.load(folder))
    fitted.save(folder)
    assert list(folder.parent.iterdir()) == [folder]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def add_file(path):
    path.write_text("{}")


def change(**values):
    """Return a function that edits the description and updates the checksums, as a user could."""

    def apply(path):
        description = json.loads(path.read_text())
        for key, value in values.items():
            description = description | {key: value}
            if value is None:
                del description[key]
        path.write_text(json.dumps(description))
        folders.write_checksums(path.parent)

    return apply


WITH_BACKBONE = {"model_type": "upernet", "backbone": "a/b", "use_pretrained_backbone": True}
OTHER_HEADS = {
    "n_classes": [3, 4, 4],
    "head": HeadConfig(hidden_layers=1)._layout(),
    "pooling": "mean",
}


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("model.safetensors", cut, "model.safetensors does not match checksums.json"),
        ("model.safetensors", flip, "model.safetensors does not match"),
        ("classifier.json", flip, "."),
        ("tokenizer/tokenizer.json", flip, "tokenizer/tokenizer.json does not match"),
        ("tokenizer/extra.json", add_file, "tokenizer/extra.json does not match"),
        ("model.safetensors", Path.unlink, "No such file"),
        ("checksums.json", Path.unlink, "No such file"),
        ("checksums.json", cut, "."),
        ("classifier.json", change(format="other"), "its format is 'other'"),
        ("classifier.json", change(format_version=99), "upgrade rapidfit_sk"),
        ("classifier.json", change(tasks=None), "'tasks' is missing"),
        ("classifier.json", change(tasks=[]), "do not match its heads"),
        ("classifier.json", change(max_length="long"), "'max_length' must be an int"),
        ("classifier.json", change(parameters={"config": None, "epochs": 1}), "no parameter"),
        ("classifier.json", change(module={"n_classes": [2]}), "."),
        (
            "classifier.json",
            change(module=OTHER_HEADS),
            "weights .heads.* (are missing|have no place)",
        ),
        ("classifier.json", change(encoder={"model_type": "no-such-model"}), "."),
        ("classifier.json", change(encoder=[]), "."),
        (
            "classifier.json",
            change(encoder=WITH_BACKBONE),
            "^(?!.*a/b)",
        ),
    ],
)  # fmt: skip
def test_damaged_folder(folder, name, damage, message):
    """A truncated, modified or incomplete folder raises one clear error."""
    damage(folder / name)
    with pytest.raises(
        ValueError, match=r"does not contain a valid classifier .*Nothing was"
    ) as error:
        MultiheadClassifier.load(folder)
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)


def test_load_does_not_fetch_code(folder, fitted):
    """Loading ignores names of external code in a modified description."""
    description = json.loads((folder / "classifier.json").read_text())
    names = {
        "_attn_implementation": "somebody/kernels",
        "attn_implementation": "somebody/kernels",
        "auto_map": {"AutoModel": "somebody/code--model.Model"},
        "quantization_config": {"quant_method": "somebody"},
        "backbone": "somebody/backbone",
        "use_pretrained_backbone": True,
    }
    change(encoder=description["encoder"] | names)(folder / "classifier.json")
    loaded = MultiheadClassifier.load(folder)
    assert "somebody" not in loaded.net_.module_.encoder.config.to_json_string(use_diff=False)
    assert_same_predictions(fitted, loaded)


def test_foreign_folder(encoder_name, tmp_path):
    """A folder of another kind is refused, and a missing folder raises FileNotFoundError."""
    with pytest.raises(ValueError, match="does not contain a valid classifier"):
        MultiheadClassifier.load(encoder_name)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        MultiheadClassifier.load(tmp_path / "nothing")


def test_save_deletes_no_other_files(fitted, tmp_path):
    """save refuses a file, and a folder with other files, but uses an empty folder."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="did not write \\('notes.txt'\\)"):
        fitted.save(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        fitted.save(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir(mode=0o700)
    fitted.save(tmp_path / "empty")
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o700
    assert_same_predictions(fitted, MultiheadClassifier.load(tmp_path / "empty"))


@pytest.mark.parametrize("name", ["tokenizer/precious.txt", "model.safetensors"])
def test_save_deletes_no_file_with_a_name_of_its_own_files(fitted, folder, tmp_path, name):
    """save refuses a folder with foreign files, even if a save has the same names or folders."""
    other = tmp_path / "other"
    (other / name).parent.mkdir(parents=True)
    (other / name).write_text("mine")
    with pytest.raises(ValueError, match=f"did not write \\('{name}'\\)"):
        fitted.save(other)
    (folder / "tokenizer" / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="did not write \\('tokenizer/precious.txt'\\)"):
        fitted.save(folder)
    assert (other / name).read_text() == "mine"


def test_working_directory_is_not_replaced(fitted, tmp_path, monkeypatch):
    """save refuses the working directory, because it cannot be replaced as a whole."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is the working directory or a mount point"):
        fitted.save(".")
    assert list(tmp_path.iterdir()) == []


def test_warning_names_parameters_that_are_not_saved(make_classifier, messages, tmp_path):
    """Parameters that only a pickle can store are left out, with a warning that names them."""
    classifier = make_classifier(
        callbacks=[TaskSampling("sqrt")], random_state=np.random.RandomState(0), epochs=0
    ).fit(messages.head(60))
    with pytest.warns(UserWarning, match="'callbacks', 'random_state'.* not saved"):
        classifier.save(tmp_path / "x")
    loaded = MultiheadClassifier.load(tmp_path / "x")
    assert loaded.callbacks is loaded.random_state is None
    assert_same_predictions(classifier, loaded)


def test_path_and_device_are_saved(make_classifier, messages, tmp_path, encoder_name):
    """A path and a torch device are saved as strings, because JSON does not support them."""
    classifier = make_classifier(model_name=Path(encoder_name), device=torch.device("cpu"))
    classifier.fit(messages.head(60)).save(tmp_path / "x")
    loaded = MultiheadClassifier.load(tmp_path / "x")
    assert (loaded.device, loaded.config.training.model_name) == ("cpu", encoder_name)


TASK_LABELS = {
    "set": {"good", "bad", "new"},
    "frozenset": frozenset({1, 2, 3}),
    "range": range(1, 4),
    "Series": pd.Series([1, 2, 3]),
    "Categorical": pd.Categorical(["good", "bad", "new"]),
    "Index": pd.Index([1, 2, 3]),
    "numpy scalars": list(np.array([1, 2, 3], np.int16)),
    "keys": {1: "good", 2: "bad", 3: "new"}.keys(),
}


@pytest.mark.parametrize("labels", TASK_LABELS.values(), ids=TASK_LABELS)
def test_task_labels_of_any_type_are_saved(make_classifier, tmp_path, labels):
    """Labels that fit accepts in 'task_labels' are saved, and the loaded classifier uses them."""
    texts, y = [f"text {i}" for i in range(20)], sorted(labels)[:2] * 10
    classifier = make_classifier(task_labels={"label": labels}, test_size=0).fit(texts, y)
    classifier.save(tmp_path / "x")
    loaded = MultiheadClassifier.load(tmp_path / "x")
    assert sorted(loaded.task_labels["label"]) == sorted(labels)
    assert np.array_equal(classifier.predict_proba(TEXTS), loaded.predict_proba(TEXTS))
    for each in (classifier, loaded):
        each.fit(texts, y)
    assert np.array_equal(classifier.predict_proba(TEXTS), loaded.predict_proba(TEXTS))
    assert loaded.classes_["label"].tolist() == sorted(labels)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"verbose": 1j}, "'verbose'"),
        ({"config__loss__task_weights": {"sentiment": 1j}}, "'config__loss__task_weights__sent"),
        ({"config__training__epochs": {1}}, "'config__training__epochs'"),
        ({"task_labels": {"sentiment": [1j, 2]}}, "'task_labels' parameter, task 'sentiment'"),
        ({"task_labels": 3}, "'task_labels' parameter"),
    ],
)
def test_error_names_the_parameter(make_classifier, messages, tmp_path, change, name):
    """A parameter that cannot be saved is named, and nothing is written."""
    classifier = make_classifier(epochs=0).fit(messages.head(60))
    config = make_classifier(config=MultiheadConfig(loss=LossConfig())).config
    classifier.set_params(config__loss=config.loss).set_params(**change)
    with pytest.raises((TypeError, ValueError), match=name):
        classifier.save(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_other_results_are_not_replaced(fitted, tmp_path):
    """A classifier, an encoder and an export never replace each other, only their own kind."""
    writers = [
        fitted.save,
        fitted.save_encoder,
        lambda folder: fitted.export_onnx(folder, ["intent"]),
    ]
    for number, write in enumerate(writers):
        folder = tmp_path / str(number)
        write(folder)
        before = sorted(path.name for path in folder.iterdir())
        for other in writers:
            if other is not write:
                with pytest.raises(ValueError, match="would be lost"):
                    other(folder)
        write(folder)
        assert sorted(path.name for path in folder.iterdir()) == before


def test_pickle_of_the_unreleased_version():
    """The pickle in ``tests/data`` loads with all supported versions, with the same predictions.

    Version 0.1.0.dev0 wrote it with the oldest supported libraries: two tasks on a tiny encoder of
    two layers.
    """
    classifier = joblib.load(Path(__file__).parent / "data" / "classifier_0_1_0_dev0.joblib")
    assert classifier.saved_with_["rapidfit_sk"] == "0.1.0.dev0"
    assert classifier.tasks_ == ["sentiment", "intent"]
    p = classifier.predict_proba(TEXTS[:1], task="intent")
    np.testing.assert_allclose(p, [[0.27672941, 0.23869031, 0.24467123, 0.23990906]], rtol=1e-5)
    assert clone(classifier).get_params()["config__training__epochs"] == 1
    assert classifier.thresholds_ == {}
    y = pd.Series(["ask"] * 3, name="intent")
    assert list(classifier.tune_thresholds(TEXTS, y, coverage=0.5).thresholds_) == ["intent"]
