"""Datasets of Hugging Face and tables of pyarrow as input."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("datasets", reason="datasets is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict
from sklearn.model_selection import cross_val_predict

from rapidfit_sk._rows.tables import as_pandas

from .small import LABELS, TEXTS

FRAME = pd.DataFrame({"text": TEXTS, "label": LABELS}, dtype=object)
FORMS = {
    "dataset": lambda frame: Dataset.from_dict(frame.to_dict("list")),
    "table": lambda frame: pa.table(frame.to_dict("list")),
    "large strings": lambda frame: pa.table(
        {name: pa.array(frame[name], pa.large_string()) for name in frame}
    ),
    "dictionaries": lambda frame: pa.table(
        {name: pa.array(frame[name].tolist()).dictionary_encode() for name in frame}
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_one_task(classifier, fitted_texts, form):
    """The text column of a table is read in fit, predict and score, and its label column as y."""
    table = form(FRAME)
    classifier.fit(table, table["label"])
    expected = fitted_texts.predict_proba(TEXTS)
    assert np.array_equal(classifier.predict_proba(table), expected)
    assert np.array_equal(classifier.predict_proba(table["text"]), expected)
    assert classifier.score(table, table["label"]) == fitted_texts.score(TEXTS, LABELS)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_cross_validation(classifier, form):
    """scikit-learn splits the text column of a table, which it cannot do with a whole Dataset."""
    found = cross_val_predict(classifier, form(FRAME)["text"], LABELS, cv=2)
    expected = cross_val_predict(classifier, np.array(TEXTS, dtype=object), LABELS, cv=2)
    assert (found == expected).all()


def test_cross_validation_of_a_whole_dataset(classifier):
    """scikit-learn cannot select rows of a Dataset, and the documentation names what to pass."""
    data = FORMS["dataset"](FRAME)
    with pytest.raises(TypeError, match="ellipsis"):
        cross_val_predict(classifier, data, LABELS, cv=2)
    frame = data.to_pandas()
    assert cross_val_predict(classifier, frame, frame["label"], cv=2).shape == (48,)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_several_tasks(make_classifier, messages, form):
    """A long table with texts, tasks and labels gives the model of the same pandas frame."""
    classifier = make_classifier().fit(form(messages))
    expected = make_classifier().fit(messages)
    assert (classifier.predict(form(messages)) == expected.predict(messages)).all()
    assert classifier.feature_names_in_.tolist() == ["text", "task"]
    assert classifier["intent"].predict_proba(form(messages.head(3))).shape == (3, 4)


# datasets passes pyarrow an option that pyarrow deprecates.
@pytest.mark.filterwarnings("ignore:Specifying null_placement:FutureWarning")
def test_order_of_a_dataset():
    """The rows of a shuffled, selected or filtered Dataset come in its order."""
    whole = FORMS["dataset"](FRAME)
    for part in (
        whole.shuffle(seed=0),
        whole.select([5, 3, 8]),
        whole.shuffle(seed=0).select(range(7)),
        whole.filter(lambda row: row["label"] == "p", load_from_cache_file=False),
        whole.sort("label"),
        whole.with_format("numpy"),
        whole.select([]),
    ):
        assert as_pandas(part)["text"].tolist() == list(part.with_format(None)["text"])


def test_format_of_a_dataset_is_kept():
    """Reading a Dataset does not change the format that its user chose."""
    data = FORMS["dataset"](FRAME).with_format("numpy", columns=["label"])
    assert as_pandas(data).columns.tolist() == ["text", "label"]
    assert data.format["type"] == "numpy"
    assert data.format["columns"] == ["label"]


def test_missing_ints_stay_ints():
    """Ints of a column with gaps do not become floats."""
    column = {"code": [1, None, 2**60]}
    for data in (Dataset.from_dict(column), pa.table(column)):
        values = as_pandas(data)["code"].tolist()
        assert values == [1, None, 2**60]
        assert type(values[0]) is int


@pytest.mark.filterwarnings("ignore:y has missing labels")
def test_wide_labels(make_classifier):
    """A Dataset of labels, with a column per task and gaps, keeps the types of its labels."""
    codes = [None if i % 3 == 0 else i % 2 for i in range(48)]
    labels = Dataset.from_dict({"code": codes, "name": LABELS})
    classifier = make_classifier().fit(TEXTS, labels)
    assert classifier.classes_["code"].dtype == np.int64
    assert classifier.classes_["name"].tolist() == ["n", "p"]


def test_class_labels(classifier):
    """A column of the type ClassLabel has integer labels, as in the Dataset itself."""
    data = FORMS["dataset"](FRAME).cast_column("label", ClassLabel(names=["n", "p"]))
    assert classifier.fit(data, data["label"]).classes_.tolist() == [0, 1]


@pytest.mark.parametrize("method", ["fit", "predict"])
def test_several_splits(make_classifier, fitted, method):
    """A DatasetDict leads to a message to pass one split, and never to tasks named after splits."""
    data = FORMS["dataset"](FRAME.assign(task="mood"))
    splits = DatasetDict({"train": data, "test": data})
    classifier = fitted if method == "predict" else make_classifier()
    with pytest.raises(TypeError, match=r"DatasetDict.*'train', 'test'.*X\['train'\]"):
        getattr(classifier, method)(splits)
    assert make_classifier().fit(splits["train"]).tasks_ == ["mood"]


def test_streaming_dataset(make_classifier):
    """A streaming Dataset leads to a message that names what to pass."""
    stream = FORMS["dataset"](FRAME).to_iterable_dataset()
    with pytest.raises(TypeError, match="streaming IterableDataset. Pass a Dataset"):
        make_classifier().fit(stream)
