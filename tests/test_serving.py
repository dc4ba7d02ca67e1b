"""Prediction without torch: `OnnxMultiheadClassifier` reads a folder of `export_onnx`."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import rapidfit_sk
from rapidfit_sk._folders import write_checksums
from rapidfit_sk._model.tokens import TextTokenizer
from rapidfit_sk.serving import OnnxMultiheadClassifier, _FileTokenizer
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

from .exports import each_graph_once  # noqa: F401, a fixture

TEXTS = ["Where is my parcel?", "", "I want my money back!", "Where is my parcel?"]


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    """Folder of the exported classifier of the fixture `fitted`."""
    folder = tmp_path_factory.mktemp("onnx") / "exported"
    fitted.export_onnx(folder)
    return folder


@pytest.fixture(scope="module")
def exported(folder):
    """The exported classifier."""
    return OnnxMultiheadClassifier(folder, n_threads=1)


# --------------------------------------------------------------------------------------------
# Predictions


def test_attributes(exported, fitted):
    """Tasks, classes and temperatures are those of the fitted classifier."""
    assert exported.tasks_ == fitted.tasks_
    assert exported.temperatures_ == fitted.temperatures_
    for task, classes in fitted.classes_.items():
        assert exported.classes_[task].tolist() == classes.tolist()
        assert exported.classes_[task].dtype == classes.dtype
    assert "intent" in exported
    assert "other" not in exported


def test_predict(exported, fitted):
    """`predict` gives the array of the fitted classifier, for all tasks and for one."""
    np.testing.assert_array_equal(exported.predict(TEXTS), fitted.predict(TEXTS))
    np.testing.assert_array_equal(
        exported.predict(TEXTS, "intent"), fitted.predict(TEXTS, task="intent")
    )


def test_predict_all(exported, fitted):
    """`predict_all` gives the columns of the frame of the fitted classifier."""
    found = pd.DataFrame(exported.predict_all(TEXTS))
    pd.testing.assert_frame_equal(found, fitted.predict_all(TEXTS))


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, dict])
def test_long_frames(exported, fitted, messages, kind):
    """A frame with a task column gets the label of its task in each row, in any library."""
    rows = messages.sample(50, random_state=0)[["text", "task"]].reset_index(drop=True)
    frame = kind(rows.to_dict("list"))
    np.testing.assert_array_equal(exported.predict(frame), fitted.predict(rows))
    expected, found = fitted.predict_proba(rows), exported.predict_proba(frame)
    assert found.keys() == expected.keys()
    for task, p in expected.items():
        np.testing.assert_allclose(found[task], p, atol=1e-5)
    np.testing.assert_array_equal(
        exported.predict(frame, "emotion"), fitted.predict(rows, task="emotion")
    )


def test_views(exported, fitted):
    """A view predicts one task, also for a frame with a column of other tasks."""
    view = exported["sentiment"]
    frame = {"text": TEXTS, "task": ["intent"] * 4}
    assert view.classes_.tolist() == fitted["sentiment"].classes_.tolist()
    assert view.predict(frame).tolist() == fitted["sentiment"].predict(TEXTS).tolist()
    p = view.predict_proba(frame)
    np.testing.assert_allclose(p, fitted["sentiment"].predict_proba(TEXTS), atol=1e-5)
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_no_texts(exported, fitted):
    """No texts give empty arrays of the right shapes."""
    assert exported.predict([]).shape == fitted.predict([]).shape
    assert exported.predict_proba([], "intent").shape == fitted.predict_proba([], "intent").shape
    empty = {"text": [], "task": []}
    assert exported.predict_proba(empty).keys() == fitted.predict_proba([]).keys()


@pytest.mark.parametrize(
    "form",
    [
        tuple,
        np.array,
        pd.Series,
        lambda x: pd.DataFrame({"b": x}),
        lambda x: np.array(x)[:, None],
    ],
)
def test_forms_of_texts(exported, form):
    """Texts may be in a tuple, an array, a Series or a frame with a single column."""
    expected = exported.predict(TEXTS, "intent")
    assert exported.predict(form(TEXTS), "intent").tolist() == expected.tolist()


def test_labels_of_several_kinds(make_classifier, messages, tmp_path):
    """Labels keep their types: ints of one task beside strings of another."""
    numbers = messages[messages["task"] == "intent"].copy()
    numbers["label"] = numbers["label"].map(
        {label: i for i, label in enumerate(numbers["label"].unique())}
    )
    names = messages[messages["task"] == "sentiment"]
    rows = pd.concat([numbers, names]).reset_index(drop=True)
    classifier = make_classifier().fit(rows)
    classifier.export_onnx(tmp_path / "exported")
    found = OnnxMultiheadClassifier(tmp_path / "exported").predict(TEXTS)
    expected = classifier.predict(TEXTS)
    assert found.dtype == expected.dtype == object
    assert found.tolist() == expected.tolist()
    assert set(map(type, found[:, 0])) == {int}


def test_min_confidence(fitted, messages, tmp_path):
    """Tuned thresholds are exported, and rows below a minimum confidence have no label."""
    classifier = copy.deepcopy(fitted)
    classifier.tune_thresholds(messages, coverage={"intent": 0.5, "sentiment": 0.7})
    classifier.export_onnx(tmp_path / "exported")
    exported = OnnxMultiheadClassifier(tmp_path / "exported")
    assert exported.thresholds_ == classifier.thresholds_
    texts = messages["text"].unique()
    for given in (0.4, {"intent": 0.5}, {}):
        expected = classifier.predict(texts, min_confidence=given)
        found = exported.predict(texts, min_confidence=given)
        assert found.dtype == expected.dtype == object
        assert (found != expected).mean() < 0.01  # a probability may be close to the minimum
    rows = messages[messages["task"] != "emotion"]
    for mine, other in (
        (
            exported.predict(rows, min_confidence="tuned"),
            classifier.predict(rows, min_confidence="tuned"),
        ),
        (
            exported["intent"].predict(texts, min_confidence="tuned"),
            classifier["intent"].predict(texts, min_confidence="tuned"),
        ),
    ):
        assert 0.1 < pd.isna(mine).mean() < 0.9
        assert (mine != other).mean() < 0.01
    assert pd.isna(exported.predict_all(texts, min_confidence=1.0)["emotion"]).all()
    with pytest.raises(ValueError, match="needs a threshold of each task.*'emotion'"):
        exported.predict(texts, min_confidence="tuned")
    with pytest.raises(ValueError, match="'min_confidence'"):
        exported.predict(texts, min_confidence=2)
    with pytest.raises(ValueError, match="'mood' was not seen"):
        exported.predict(texts, min_confidence={"mood": 0.5})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("long_text", ["truncate", "head_tail", "windows"])
def test_tokens(messages, architecture, long_text):
    """The file of a tokenizer gives the ids of the tokenizer, for any text."""
    from transformers import AutoTokenizer

    original = AutoTokenizer.from_pretrained(tiny_encoder(architecture=architecture))
    tokenizer = TextTokenizer(original, 16, long_text)
    loaded = _FileTokenizer(tokenizer.files()["tokenizer.json"], tokenizer.rules)
    special = " ".join(original.all_special_tokens)
    texts = ["", " ", special, f"a{special}b", "\U0001f600\u6f22\0x", "word " * 100]
    texts += messages["text"].unique().tolist()
    expected, found = tokenizer(texts), loaded(texts)
    for name in ("ids", "starts", "firsts", "is_cut", "n_unknown"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


# --------------------------------------------------------------------------------------------
# Servers


def test_threads(exported):
    """Several threads can predict with one classifier."""
    expected = exported.predict_proba(TEXTS, "intent")
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda _: exported.predict_proba(TEXTS, "intent"), range(20))
        for p in found:
            np.testing.assert_allclose(p, expected, atol=1e-6)


def test_pickle(exported):
    """A pickle contains the folder and the number of threads, and reads the folder again."""
    loaded = pickle.loads(pickle.dumps(exported))
    assert (loaded.folder, loaded.n_threads) == (exported.folder, 1)
    assert loaded.predict(TEXTS).tolist() == exported.predict(TEXTS).tolist()
    assert len(pickle.dumps(exported)) < 1000


# What a server needs: numpy, onnxruntime and tokenizers, and the packages that they import.
NEEDED = ["numpy", "numpy.libs", "onnxruntime", "tokenizers", "flatbuffers", "google", "packaging"]


@pytest.fixture
def bare_packages(tmp_path):
    """A folder with the packages that a server needs and with this one, and no others."""
    folder = tmp_path / "packages"
    folder.mkdir()
    installed = Path(find_spec("numpy").origin).parents[1]
    for name in NEEDED:
        if (installed / name).exists():
            (folder / name).symlink_to(installed / name)
    (folder / "rapidfit_sk").symlink_to(Path(rapidfit_sk.__file__).parent)
    return folder


def test_without_torch(bare_packages, folder, fitted, messages):
    """Where torch, transformers, skorch, scikit-learn and pandas do not exist, it predicts."""
    texts = messages["text"].unique()[:50].tolist()
    code = (
        "import importlib.util, json, sys\n"
        f"sys.path.append({str(bare_packages)!r})\n"
        "for name in ('torch', 'transformers', 'skorch', 'sklearn', 'pandas', 'scipy'):\n"
        "    assert importlib.util.find_spec(name) is None, name\n"
        "from rapidfit_sk.serving import OnnxMultiheadClassifier\n"
        f"classifier = OnnxMultiheadClassifier({str(folder)!r}, n_threads=1)\n"
        "texts = json.load(sys.stdin)\n"
        "labels = {t: y.tolist() for t, y in classifier.predict_all(texts).items()}\n"
        "p = {t: each.tolist() for t, each in classifier.predict_proba(texts).items()}\n"
        "json.dump([labels, p], sys.stdout)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    labels, p = json.loads(done.stdout)
    for task, expected in fitted.predict_proba(texts).items():
        np.testing.assert_allclose(p[task], expected, atol=1e-5)
        assert labels[task] == fitted.predict(texts, task).tolist()


def test_missing_packages(bare_packages):
    """Without onnxruntime, the import names the packages to install."""
    (bare_packages / "onnxruntime").unlink()
    code = f"import sys\nsys.path.append({str(bare_packages)!r})\nimport rapidfit_sk.serving"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert "ImportError: rapidfit_sk.serving needs onnxruntime and tokenizers" in done.stderr
    assert 'pip install "rapidfit-sk[onnx]"' in done.stderr


# --------------------------------------------------------------------------------------------
# Errors


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ("a text", TypeError, "X is one string.*Pass a list of texts"),
        (["a", None], TypeError, "Row 1: a text must be a string, got None"),
        (["a", 3.5], TypeError, "Row 1: a text must be a string, got 3.5"),
        (["\ud800"], ValueError, "Row 0: the text is not valid Unicode"),
        ({"txt": ["a"], "task": ["intent"]}, ValueError, "no column 'text'.*'txt', 'task'"),
        ({"text": ["a"], "task": ["mood"]}, ValueError, "'mood' was not seen in fit"),
        ({"text": ["a", "b"], "task": ["intent"]}, ValueError, "2 texts and 1 tasks"),
        (pd.DataFrame([["a", "b"]], columns=["text"] * 2), ValueError, "two columns named 'text'"),
        (
            pd.DataFrame([["a", "intent", "b"]], columns=["text", "task", "task"]),
            ValueError,
            "two columns named 'task'",
        ),
        (pd.DataFrame(index=range(3)), ValueError, "X has no column 'text'"),
    ],
)
def test_invalid_input(exported, X, kind, message):
    """Input that is not a column of texts is an error that names the row or the column."""
    with pytest.raises(kind, match=message):
        exported.predict(X)


def test_unknown_task(exported):
    """A task that was not exported is an error with a suggestion."""
    with pytest.raises(ValueError, match="'sentimen' was not seen.*Did you mean 'sentiment'"):
        exported.predict(TEXTS, "sentimen")
    with pytest.raises(TypeError, match="must be a string, got 3"):
        exported[3]


def test_missing_folder(tmp_path):
    """A folder that does not exist is an error that says what to pass."""
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        OnnxMultiheadClassifier(tmp_path / "nowhere")


@pytest.mark.parametrize("n_threads", [0, 1.5, "2"])
def test_invalid_number_of_threads(folder, n_threads):
    """The number of threads must be a positive int or None."""
    with pytest.raises(ValueError, match="'n_threads'"):
        OnnxMultiheadClassifier(folder, n_threads=n_threads)


def test_other_folders(fitted, tmp_path):
    """The folder of a saved classifier is refused, and so is an empty one."""
    fitted.save(tmp_path / "model")
    (tmp_path / "empty").mkdir()
    for name in ("model", "empty"):
        reason = "it was written by save. Load it" if name == "model" else "onnx.json"
        with pytest.raises(ValueError, match=f"written by export_onnx.*{reason}"):
            OnnxMultiheadClassifier(tmp_path / name)


@pytest.mark.parametrize("name", ["model.onnx", "onnx.json", "tokenizer.json", "checksums.json"])
@pytest.mark.parametrize("change", ["removed", "cut", "flipped"])
def test_damaged_folders(folder, tmp_path, name, change):
    """A missing, cut or changed file is one error that names the folder."""
    changed = shutil.copytree(folder, tmp_path / "copy")
    content = bytearray((changed / name).read_bytes())
    if change == "flipped":
        content[len(content) // 2] ^= 1
    (changed / name).write_bytes(content[: -5 if change == "cut" else None])
    if change == "removed":
        (changed / name).unlink()
    with pytest.raises(ValueError, match="does not contain a valid classifier written by export"):
        OnnxMultiheadClassifier(changed)


def test_other_versions(folder, tmp_path):
    """A folder of a later format is refused with both versions."""
    changed = shutil.copytree(folder, tmp_path / "copy")
    description = json.loads((changed / "onnx.json").read_text()) | {"format_version": 99}
    (changed / "onnx.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="format version 99, but .* reads version 1"):
        OnnxMultiheadClassifier(changed)


def rewrite(folder, change):
    """Change the description of an exported classifier, with a valid checksum."""
    description = json.loads((folder / "onnx.json").read_text())
    change(description)
    (folder / "onnx.json").write_text(json.dumps(description))
    write_checksums(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("tasks"), "'tasks'"),
        (lambda d: d["tasks"].clear(), "names of its tasks"),
        (lambda d: d["tasks"].append(d["tasks"][0]), "names of its tasks"),
        (lambda d: d["tasks"][0].update(temperature=0), "the temperature of task 'sentiment'"),
        (lambda d: d["tasks"][0].update(threshold=2), "the threshold of task 'sentiment'"),
        (lambda d: d["tasks"][0].update(output="logits/other"), "the output of task 'sentiment'"),
        (lambda d: d["tasks"][0]["classes"].pop(), "the output of task 'sentiment'"),
        (lambda d: d["tasks"][0].update(dtype="<M8[s]"), "the classes"),
        (lambda d: d["tasks"][0].update(dtype="<U100000000"), "the classes"),
        (lambda d: d["tasks"][0].update(classes=[1, "b", "c"]), "the classes"),
        (lambda d: d["columns"].update(text=""), "text column"),
        (lambda d: d["tokens"].update(other=1), "other"),
        (lambda d: d["tokens"].update(max_length=0), "'max_length'"),
        (lambda d: d["tokens"].update(long_text="cut"), "'long_text'"),
        (lambda d: d["tokens"].update(padding=-1), "ids of special tokens"),
        (lambda d: d["tokens"].update(special_tokens=[""]), "special tokens"),
    ],
)
def test_invalid_descriptions(folder, tmp_path, change, message):
    """A description with a value that is not valid is one error that names the value."""
    changed = shutil.copytree(folder, tmp_path / "copy")
    rewrite(changed, change)
    with pytest.raises(ValueError, match=f"does not contain a valid .*{message}"):
        OnnxMultiheadClassifier(changed)


def test_other_files_in_the_folder(folder, exported, tmp_path):
    """Files that the export did not write, such as notes or a pipe, are not read."""
    changed = shutil.copytree(folder, tmp_path / "copy")
    (changed / "README.md").write_text("notes")
    (changed / ".ipynb_checkpoints").mkdir()
    os.mkfifo(changed / "pipe")
    found = OnnxMultiheadClassifier(changed).predict(TEXTS)
    assert found.tolist() == exported.predict(TEXTS).tolist()


def test_a_pipe_instead_of_the_graph(folder, tmp_path):
    """A file that is not a regular one is refused, because reading it may never end."""
    changed = shutil.copytree(folder, tmp_path / "copy")
    (changed / "model.onnx").unlink()
    os.mkfifo(changed / "model.onnx")
    with pytest.raises(ValueError, match="model.onnx is not a regular file"):
        OnnxMultiheadClassifier(changed)


def test_a_folder_that_is_replaced_while_it_is_read(fitted, folder, tmp_path, monkeypatch):
    """If the folder is replaced before the graph is opened, all of the new one is read."""
    read = shutil.copytree(folder, tmp_path / "read")
    (tmp_path / "other").mkdir()
    fitted.export_onnx(tmp_path / "other" / "new", tasks=["emotion"])
    original = OnnxMultiheadClassifier._session_of

    def replaced(self, graph):
        if (tmp_path / "other" / "new").exists():
            read.rename(tmp_path / "old")
            (tmp_path / "other" / "new").rename(read)
        return original(self, graph)

    monkeypatch.setattr(OnnxMultiheadClassifier, "_session_of", replaced)
    assert OnnxMultiheadClassifier(read).tasks_ == ["emotion"]
