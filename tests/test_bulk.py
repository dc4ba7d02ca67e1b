"""`BatchPredictor`: predictions for frames in many processes."""

import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import psutil
import pytest

from rapidfit_sk import MultiheadConfig, TextClassifier, TrainingConfig, bulk
from rapidfit_sk._folders import write_checksums
from rapidfit_sk.bulk import BatchPredictor

FRAME = pd.DataFrame(
    {"id": [3, 4, 5], "text": ["Do you ship to Norway?", "It broke again!", ""]}, index=[7, 7, 9]
)


@pytest.fixture
def folder(fitted, tmp_path):
    """A folder with the saved classifier."""
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def loads(monkeypatch):
    """List to which each load of a classifier appends its folder."""
    found = []
    load = bulk._SavedClassifier.__init__

    def counted(self, folder, model_id):
        found.append(folder)
        load(self, folder, model_id)

    monkeypatch.setattr(bulk._SavedClassifier, "__init__", counted)
    return found


@pytest.mark.parametrize("task", [None, "intent"])
@pytest.mark.parametrize("proba", [False, True])
def test_columns(fitted, folder, task, proba):
    """The columns and the index of the frame stay, and the columns of predict_batches follow."""
    found = BatchPredictor(folder, task, proba=proba)(FRAME)
    (expected,) = fitted.predict_batches([FRAME], task, proba=proba)
    pd.testing.assert_frame_equal(found, pd.concat([FRAME, expected], axis=1))


def test_mapped_weights_predict_the_same(fitted, folder, messages):
    """The probabilities with mapped weights equal those of the saved classifier to the bit."""
    found = BatchPredictor(folder, "intent", proba=True).predict(messages["text"])
    classes = [f"intent={label}" for label in fitted.classes_["intent"]]
    expected = fitted.predict_proba(messages["text"], task="intent")
    assert np.array_equal(found[classes], expected)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports addresses")
def test_all_large_weights_are_mapped(folder):
    """Each weight whose size is a multiple of the alignment is a part of the mapped file."""
    model = bulk._SavedClassifier(str(folder), "").classifier.model_
    (region,) = (
        each
        for each in psutil.Process().memory_maps(grouped=False)
        if each.path == str(folder / "model.safetensors")
    )
    start, end = (int(number, 16) for number in region.addr.split("-"))
    sizes = {True: 0, False: 0}
    for tensor in model.net.module_.state_dict().values():
        sizes[start <= tensor.data_ptr() < end] += tensor.nbytes
    assert sizes[True] > 100 * sizes[False]


def test_pickle_is_small_and_does_not_load(folder, loads):
    """A predictor is pickled as a path and options, which loads no classifier."""
    predictor = BatchPredictor(folder, proba=True)
    data = pickle.dumps(predictor)
    assert len(data) < 1000
    assert repr(pickle.loads(data)) == repr(predictor)
    assert loads == []


def test_loads_once_per_process(folder, loads):
    """Predictors of one folder share one classifier, also in threads that start together."""
    barrier = threading.Barrier(4)

    def predict(_):
        barrier.wait()
        return BatchPredictor(folder)(FRAME)

    with ThreadPoolExecutor(4) as threads:
        frames = list(threads.map(predict, range(4)))
    assert loads == [str(folder)]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])


def test_replaced_classifier(folder, make_classifier, messages):
    """A predictor keeps its loaded classifier, or refuses to load another one than at its start."""
    used, unused = BatchPredictor(folder), BatchPredictor(folder)
    before = used(FRAME)
    make_classifier(epochs=0).fit(messages[messages["task"] == "intent"]).save(folder)
    pd.testing.assert_frame_equal(used(FRAME), before)
    assert BatchPredictor(folder)(FRAME).columns.tolist() == ["id", "text", "intent"]
    with pytest.raises(ValueError, match="was replaced after the BatchPredictor was created"):
        unused(FRAME)


def test_id_is_that_of_the_classifier(fitted, folder, tmp_path):
    """A changed model card does not change the id, and a folder without a classifier has none."""
    model_id = BatchPredictor(folder).model_id
    (folder / "README.md").write_text("my card")
    write_checksums(folder)
    assert BatchPredictor(folder).model_id == model_id
    fitted.save_encoder(tmp_path / "encoder")
    with pytest.raises(ValueError, match="not a folder that .* wrote: it has no classifier.json"):
        BatchPredictor(tmp_path / "encoder")


def test_meta_has_the_dtypes_of_each_result(folder):
    """The empty result has the columns and dtypes of every other result."""
    for predictor in (BatchPredictor(folder), BatchPredictor(folder, proba=True)):
        meta = predictor.meta(FRAME)
        assert len(meta) == 0
        pd.testing.assert_series_equal(meta.dtypes, predictor(FRAME).dtypes)


@pytest.mark.parametrize("labels", [[0, 1], [False, True], [0.5, 1.5], ["a", "b"]])
def test_dtype_of_labels(make_classifier, tmp_path, labels):
    """The dtype of labels does not depend on the number of rows."""
    texts = [f"text {i}" for i in range(20)]
    make_classifier(epochs=0).fit(texts, labels * 10).save(tmp_path / "x")
    predictor = BatchPredictor(tmp_path / "x")
    dtypes = {predictor.predict(texts[:n])["label"].dtype for n in (0, 1, 20)}
    assert dtypes == {pd.Series(labels).dtype}


def test_text_classifier(encoder_name, messages, tmp_path):
    """A saved TextClassifier predicts its own task, and none of its helper tasks."""
    rows = messages[messages["task"] == "intent"]
    config = MultiheadConfig(training=TrainingConfig(model_name=encoder_name, epochs=0))
    classifier = TextClassifier(config, task="intent", text_column="message", random_state=0)
    helpers = messages[messages["task"] == "emotion"].rename(columns={"text": "message"})
    classifier.fit(rows["text"], rows["label"], helpers=helpers).save(tmp_path / "x")
    frame = FRAME.rename(columns={"text": "message"})
    found = BatchPredictor(tmp_path / "x")(frame)
    assert found.columns.tolist() == ["id", "message", "intent"]
    assert found["intent"].tolist() == classifier.predict(frame["message"]).tolist()
    other = BatchPredictor(tmp_path / "x", text_column="text")(FRAME)
    assert other["intent"].tolist() == found["intent"].tolist()
    with pytest.raises(ValueError, match="'emotion' was not seen in fit"):
        BatchPredictor(tmp_path / "x", "emotion")(frame)


def test_errors(fitted, folder, tmp_path):
    """Messages name the folder, the column or the task that is wrong."""
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        BatchPredictor(tmp_path / "nothing")
    for path in (tmp_path, folder / "classifier.json"):
        with pytest.raises(ValueError, match="is not a folder that .* wrote: "):
            BatchPredictor(path)
    with pytest.raises(ValueError, match="'proba' parameter"):
        BatchPredictor(folder, proba="yes")
    with pytest.raises(ValueError, match="already has a column 'intent'"):
        BatchPredictor(folder)(FRAME.assign(intent="ask"))
    with pytest.raises(ValueError, match="no column 'text'"):
        BatchPredictor(folder)(FRAME.rename(columns={"text": "message"}))
    with pytest.raises(ValueError, match="Did you mean 'intent'"):
        BatchPredictor(folder, "intnt")(FRAME)
    with pytest.raises(ValueError, match="row 101"):
        BatchPredictor(folder).predict(["a", None], first_row=100)
    shutil.copytree(folder, tmp_path / "damaged")
    (tmp_path / "damaged" / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="does not contain a valid classifier"):
        BatchPredictor(tmp_path / "damaged")(FRAME)


def test_import_loads_no_torch():
    """The module is imported without torch, so that a client of a cluster starts fast."""
    code = "import sys, rapidfit_sk.bulk; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


SHARED = """
import sys, psutil
from rapidfit_sk.bulk import BatchPredictor
BatchPredictor(sys.argv[1]).predict(["a"])
print("ready", flush=True)
sys.stdin.readline()
of_file = [each for each in psutil.Process().memory_maps() if each.path.endswith("safetensors")]
print(sum(each.rss for each in of_file), sum(each.pss for each in of_file), flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports shared pages")
def test_processes_share_the_weights(folder):
    """Each of two processes is charged for half of the pages of the weights."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", SHARED, str(folder)]
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    # Both stay alive until both have measured.
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
        rss, pss = map(int, process.stdout.readline().split())
        assert rss >= 0.9 * (folder / "model.safetensors").stat().st_size
        assert pss <= 0.6 * rss
    for process in processes:
        process.communicate(timeout=60)
