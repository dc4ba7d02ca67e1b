"""Export to ONNX: one graph with all heads, whose predictions are those of torch."""

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest

from rapidfit_sk import TextClassifier
from rapidfit_sk import _onnx as onnx_module
from rapidfit_sk.serving import OnnxMultiheadClassifier
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

from .exports import each_graph_once  # noqa: F401, a fixture

TEXTS = [
    "Where is my parcel?",
    "",
    "I want my money back, and I want it now!",
    "refund [SEP] [PAD] </s> now",
    "\u00c4rger \U0001f600 \u6f22\u5b57",
    "It broke. " * 60,
]


def assert_same(exported, classifier, texts=TEXTS, atol=1e-5):
    """Check that an exported classifier predicts what the fitted one predicts."""
    for task in exported.tasks_:
        expected = classifier.predict_proba(texts, task)
        np.testing.assert_allclose(exported[task].predict_proba(texts), expected, atol=atol)


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    """Folder of the exported classifier of the fixture `fitted`."""
    folder = tmp_path_factory.mktemp("onnx") / "exported"
    fitted.export_onnx(folder)
    return folder


def test_one_graph_has_all_heads(fitted, folder):
    """The encoder is in the graph once, and each task has an output of named dynamic shape."""
    graph = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(graph)
    shapes = {
        value.name: [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in [*graph.graph.input, *graph.graph.output]
    }
    assert shapes == {
        "input_ids": ["windows", "length"],
        "attention_mask": ["windows", "length"],
        **{f"logits/{task}": ["windows", len(c)] for task, c in fitted.classes_.items()},
    }
    n_weights = sum(p.numel() for p in fitted.net_.module_.parameters())
    stored = sum(onnx.numpy_helper.to_array(each).size for each in graph.graph.initializer)
    assert stored < 1.2 * n_weights


def test_folder_holds_what_a_prediction_needs(fitted, folder):
    """Labels, temperatures, versions and the report of the export are beside the graph."""
    description = json.loads((folder / "onnx.json").read_text())
    assert [task["name"] for task in description["tasks"]] == fitted.tasks_
    assert {t["name"]: t["temperature"] for t in description["tasks"]} == fitted.temperatures_
    assert {"rapidfit_sk", "torch", "onnx", "onnxruntime"} <= description["versions"].keys()
    assert [row["task"] for row in description["report"]] == fitted.tasks_


def test_graph_has_no_paths(folder):
    """The graph contains no names of source files, which would tell where it was exported."""
    content = (folder / "model.onnx").read_bytes()
    assert b".py" not in content
    assert str(Path(onnx_module.__file__).parent).encode() not in content


# The others are tested with the newest versions only.
_ALWAYS = ("bert", "roberta", "distilbert")
_ARCHITECTURES = [
    pytest.param(name, marks=() if name in _ALWAYS else pytest.mark.slow) for name in ARCHITECTURES
]


@pytest.mark.parametrize("architecture", _ARCHITECTURES)
def test_architectures(make_classifier, messages, tmp_path, architecture):
    """An encoder of any architecture is exported with the probabilities of torch."""
    name = tiny_encoder(architecture=architecture, n_layers=2)
    classifier = make_classifier(model_name=name, pooling="attention").fit(messages)
    classifier.export_onnx(tmp_path / "exported")
    exported = OnnxMultiheadClassifier(tmp_path / "exported")
    assert_same(exported, classifier)
    assert_same(exported, classifier, TEXTS[:1])  # one window
    assert_same(exported, classifier, [""])  # the shortest text


@pytest.mark.parametrize(
    ("pooling", "long_text"), [("mean", "windows"), ("cls", "head_tail"), ("max", "windows")]
)
def test_poolings_and_long_texts(make_classifier, messages, tmp_path, pooling, long_text):
    """Each pooling and each rule for long texts is exported."""
    classifier = make_classifier(pooling=pooling, long_text=long_text, max_length=48).fit(messages)
    classifier.export_onnx(tmp_path / "exported")
    assert_same(OnnxMultiheadClassifier(tmp_path / "exported"), classifier)


def test_tasks(fitted, tmp_path):
    """Only the given tasks are exported, in the order of the classifier."""
    report = fitted.export_onnx(tmp_path / "one", tasks=["emotion", "intent"])
    exported = OnnxMultiheadClassifier(tmp_path / "one")
    expected = [task for task in fitted.tasks_ if task != "sentiment"]
    assert exported.tasks_ == report["task"].tolist() == expected
    assert_same(exported, fitted)


def test_text_classifier(make_config, messages, tmp_path):
    """A TextClassifier is exported with its own task, without the tasks of its helpers."""
    is_intent = messages["task"] == "intent"
    own = messages[is_intent]
    classifier = TextClassifier(make_config(), random_state=0)
    classifier.fit(own["text"], own["label"], helpers=messages[~is_intent])
    report = classifier.export_onnx(tmp_path / "exported", X=own["text"], y=own["label"])
    exported = OnnxMultiheadClassifier(tmp_path / "exported")
    assert exported.tasks_ == ["label"]
    expected = classifier.predict_proba(TEXTS)
    np.testing.assert_allclose(exported.predict_proba(TEXTS), expected, atol=1e-5)
    assert report["accuracy"].tolist() == [classifier.score(own["text"], own["label"])]
    # A task column means nothing to a classifier of one task.
    assert exported.predict(own).tolist() == classifier.predict(own).tolist()


# --------------------------------------------------------------------------------------------
# The report


def test_report_without_rows(fitted, tmp_path):
    """Without rows, texts of the package are compared, and accuracies are missing."""
    report = fitted.export_onnx(tmp_path / "exported").set_index("task")
    assert report.index.tolist() == fitted.tasks_
    assert (report["n_rows"] > 100).all()
    assert report["largest_difference"].between(0, 1e-4).all()
    assert report[["accuracy", "accuracy_onnx"]].isna().all(axis=None)


def test_report_with_rows(fitted, messages, tmp_path):
    """With labeled rows, the report has the accuracy of each task before and after the export."""
    rows = messages.groupby("task").head(40)
    report = fitted.export_onnx(tmp_path / "exported", X=rows).set_index("task")
    assert (report["n_rows"] == 40).all()
    for task, own in rows.groupby("task"):
        expected = fitted[task].score(own["text"], own["label"])
        assert report.loc[task, "accuracy"] == report.loc[task, "accuracy_onnx"] == expected


def test_report_of_unknown_labels(fitted, messages, tmp_path):
    """A row whose label is not a class counts as wrong in the report, as in `score`."""
    rows = messages[messages["task"] == "intent"].head(40).copy()
    rows.loc[rows.index[:10], "label"] = "unknown"
    report = fitted.export_onnx(tmp_path / "exported", ["intent"], X=rows)
    expected = fitted["intent"].score(rows["text"], rows["label"])
    assert report["accuracy"].tolist() == report["accuracy_onnx"].tolist() == [expected]


def test_each_exported_task_is_compared(fitted, messages, tmp_path):
    """Rows that lack a task cannot show that its export is right, so they are an error."""
    rows = messages[messages["task"] == "intent"]
    with pytest.raises(ValueError, match="no rows of task 'sentiment'.*leave it out of 'tasks'"):
        fitted.export_onnx(tmp_path / "exported", X=rows)
    assert len(fitted.export_onnx(tmp_path / "exported", np.array(["intent"]), X=rows)) == 1


def test_precision_of_the_report(fitted, tmp_path):
    """A classifier that predicts in bfloat16 is compared in float32, which the graph uses."""
    lowered = copy.deepcopy(fitted)
    lowered.net_.module_.precision = "bfloat16"
    different = lowered.predict_proba(TEXTS, "intent") - fitted.predict_proba(TEXTS, "intent")
    assert abs(different).max() > 2e-5
    report = lowered.export_onnx(tmp_path / "exported", tolerance=1e-5)
    assert (report["largest_difference"] < 1e-5).all()
    assert lowered.net_.module_.precision == "bfloat16"


def test_a_difference_above_the_tolerance_is_an_error(fitted, tmp_path):
    """An export that differs by more than the tolerance is an error, and writes nothing."""
    with pytest.raises(RuntimeError, match="largest difference.*tolerance is 0.*Nothing was"):
        fitted.export_onnx(tmp_path / "exported", tolerance=0)
    assert not list(tmp_path.iterdir())


def test_what_the_tolerance_limits():
    """The tolerance limits the loss of accuracy of "int8", or the share of changed labels."""
    row = {"task": "a", "n_rows": 100, "largest_difference": 0.4, "changed": 0.04}
    with_labels = pd.DataFrame([{**row, "accuracy": 0.9, "accuracy_onnx": 0.87}])
    without = pd.DataFrame([{**row, "accuracy": None, "accuracy_onnx": None}])
    for report, quantize, limit in ((with_labels, "int8", 0.03), (without, "int8", 0.04)):
        onnx_module.check_report(report, quantize, limit)
        with pytest.raises(RuntimeError, match="differs too much"):
            onnx_module.check_report(report, quantize, limit - 1e-6)
    few = with_labels.assign(n_rows=30, accuracy=0.9, accuracy_onnx=0.9 - 2 / 30)
    onnx_module.check_report(few, "int8", None)  # two rows
    with pytest.raises(RuntimeError, match="loss of accuracy of task 'a' is 0.1"):
        onnx_module.check_report(few.assign(accuracy_onnx=0.8), "int8", None)
    with pytest.raises(RuntimeError, match="loss of accuracy of task 'a' is 0.03 on 100 rows"):
        onnx_module.check_report(with_labels, "int8", None)
    onnx_module.check_report(without, "int8", None)
    with pytest.raises(RuntimeError, match="largest difference of a probability"):
        onnx_module.check_report(without, None, None)


# --------------------------------------------------------------------------------------------
# Sizes


@pytest.fixture(scope="module")
def small_folder(fitted, messages, tmp_path_factory):
    """Folder of the classifier of the fixture `fitted`, with weights of 8 bits."""
    folder = tmp_path_factory.mktemp("onnx") / "int8"
    fitted.export_onnx(folder, quantize="int8", X=messages, tolerance=0.05)
    return folder


def test_int8_is_small(folder, small_folder):
    """The matrices of the encoder have 8 bits, and those of the heads keep 32."""
    initializers = onnx.load(small_folder / "model.onnx").graph.initializer
    kinds = {each.name: each.data_type for each in initializers if len(each.dims) == 2}
    assert {kind for name, kind in kinds.items() if name.startswith("heads.")} == {
        onnx.TensorProto.FLOAT
    }
    in_bytes = sum(kind in (2, 3) for kind in kinds.values())  # unsigned and signed
    assert in_bytes > 20
    sizes = [(each / "model.onnx").stat().st_size for each in (small_folder, folder)]
    assert sizes[0] < 0.6 * sizes[1]


def test_int8_changes_little(fitted, messages, small_folder):
    """Probabilities with weights of 8 bits are close to those of torch, and not equal."""
    exported, texts = OnnxMultiheadClassifier(small_folder), messages["text"].unique()
    for task, expected in fitted.predict_proba(texts).items():
        difference = abs(exported[task].predict_proba(texts) - expected)
        assert 0 < difference.mean() < 0.02


def test_large_weights_have_their_own_file(fitted, tmp_path, monkeypatch):
    """Weights that do not fit into a protobuf file are stored in a file beside the graph."""
    monkeypatch.setattr(onnx_module, "LARGEST_GRAPH", 1000)
    fitted.export_onnx(tmp_path / "exported")
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "exported").iterdir()}
    assert sizes["model.onnx.data"] > sizes["model.onnx"]
    assert_same(OnnxMultiheadClassifier(tmp_path / "exported"), fitted)
    (tmp_path / "exported" / "model.onnx.data").write_bytes(b"changed")
    with pytest.raises(ValueError, match="model.onnx.data does not match"):
        OnnxMultiheadClassifier(tmp_path / "exported")


# --------------------------------------------------------------------------------------------
# Errors


def test_a_saved_classifier_is_not_replaced(fitted, tmp_path):
    """An export into the folder of a saved classifier is refused, because it would be lost."""
    fitted.save(tmp_path / "model")
    with pytest.raises(ValueError, match="something else that rapidfit_sk"):
        fitted.export_onnx(tmp_path / "model")
    assert fitted.load(tmp_path / "model").tasks_ == fitted.tasks_


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"quantize": "int4"}, "'quantize' .* among {'int8'} or None. Got 'int4'"),
        ({"tasks": ["intentt"]}, "'intentt' was not seen in fit. Did you mean 'intent'"),
        ({"tasks": []}, "'tasks' parameter must contain a task"),
        ({"tolerance": 2}, "'tolerance' .* range"),
        ({"y": ["a"]}, "y was given without X"),
    ],
)
def test_invalid_parameters(fitted, tmp_path, parameters, message):
    """An invalid parameter is an error that names the allowed values, and nothing is written."""
    with pytest.raises(ValueError, match=message):
        fitted.export_onnx(tmp_path / "exported", **parameters)
    assert not list(tmp_path.iterdir())


def test_the_classifier_does_not_change(fitted, tmp_path):
    """An export leaves the encoder as it is, with its own kind of attention."""
    before = fitted.predict_proba(TEXTS)
    attention = fitted.net_.module_.encoder.config._attn_implementation
    fitted.export_onnx(tmp_path / "exported", tasks=["intent"])
    assert fitted.net_.module_.encoder.config._attn_implementation == attention
    for task, expected in before.items():
        np.testing.assert_array_equal(fitted.predict_proba(TEXTS)[task], expected)


def test_graph_runs_alone(fitted, folder):
    """The graph needs nothing but onnxruntime: ids and a mask give the logits of each task."""
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    tokens = fitted.tokenizer_(TEXTS[:1])
    inputs = {"input_ids": tokens.ids[None].astype(np.int64)}
    inputs["attention_mask"] = np.ones_like(inputs["input_ids"])
    (logits,) = session.run(["logits/sentiment"], inputs)
    best = fitted.classes_["sentiment"][logits.argmax(axis=1)]
    assert best.tolist() == fitted.predict(TEXTS[:1], "sentiment").tolist()


def test_size_of_large_graphs(monkeypatch):
    """The size is that of the weights, because protobuf cannot measure more than 2 GiB."""
    weights = [onnx.TensorProto(raw_data=bytes(600)), onnx.TensorProto(raw_data=bytes(500))]
    graph = onnx.ModelProto(graph=onnx.GraphProto(initializer=weights))
    for limit, is_large in ((1000, True), (1100, False)):
        monkeypatch.setattr(onnx_module, "LARGEST_GRAPH", limit)
        assert onnx_module._is_large(graph) == is_large
