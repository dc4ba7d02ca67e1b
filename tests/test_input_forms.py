"""Forms of X and y that users try next: each has an exact message, or the right result."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch

from rapidfit_sk import MultiheadClassifier
from rapidfit_sk.model_selection import TaskStratifiedKFold

TEXTS = ["fine", "bad", "why", "so"]
TASKS = ["mood", "mood", "size", "size"]
LABELS = ["good", "poor", "big", "small"]
COLUMNS = {"text": TEXTS, "task": TASKS, "label": LABELS}
RECORDS = pd.DataFrame(COLUMNS).to_dict("records")
WIDE = {"mood": ["good", "poor"] * 2, "size": ["big", "small"] * 2}
PAIRS = [list(pair) for pair in zip(*WIDE.values(), strict=True)]

AS_FRAME = (
    "Pass one text per row. For rows of a text and a task, pass a frame: "
    "pandas.DataFrame(X, columns=['text', 'task'])."
)
AS_TEXTS = "Pass the texts themselves, not vectors."
AS_COLUMNS = (
    "For labels of several tasks, pass a frame with one column per task: "
    "pandas.DataFrame(y, columns=['mood', 'topic'])."
)
NOT_A_STRING = "Column 'text', row 0: a text must be a string, got"
FORMS = {
    "lists": (
        [["fine", "mood"], ["bad", "mood"]],
        None,
        TypeError,
        f"{NOT_A_STRING} ['fine', 'mood'] (list). {AS_FRAME}",
    ),
    "tuples": (
        [("fine", "mood"), ("bad", "mood")],
        [1, 2],
        TypeError,
        f"{NOT_A_STRING} ('fine', 'mood') (tuple). {AS_FRAME}",
    ),
    "strings-2d": (
        np.array([["fine", "mood"]]),
        [1],
        ValueError,
        f"X must be one-dimensional, got an array of shape (1, 2). {AS_FRAME}",
    ),
    "objects-2d": (
        pd.DataFrame(COLUMNS).to_numpy(),
        None,
        ValueError,
        f"X must be one-dimensional, got an array of shape (4, 3). {AS_FRAME}",
    ),
    "numbers-2d": (
        np.ones((4, 3)),
        LABELS,
        ValueError,
        f"X must be one-dimensional, got an array of shape (4, 3). {AS_TEXTS}",
    ),
    "tensor": (
        torch.ones(4, 3),
        LABELS,
        ValueError,
        f"X must be one-dimensional, got an array of shape (4, 3). {AS_TEXTS}",
    ),
    "sparse": (
        scipy.sparse.csr_matrix(np.ones((4, 3))),
        LABELS,
        ValueError,
        f"X must be one-dimensional, got an array of shape (4, 3). {AS_TEXTS}",
    ),
    "sparse-array": (
        scipy.sparse.coo_array(np.ones((4, 3))),
        LABELS,
        ValueError,
        f"X must be one-dimensional, got an array of shape (4, 3). {AS_TEXTS}",
    ),
    "vectors": (
        [[0.5, 1.0], [1.5, 2.0]],
        [1, 2],
        TypeError,
        f"{NOT_A_STRING} [0.5, 1.0] (list). {AS_TEXTS}",
    ),
    "list-of-arrays": (
        [np.array([0.5, 1.0])],
        [1],
        TypeError,
        f"{NOT_A_STRING} array([0.5, 1. ]) (ndarray). {AS_TEXTS}",
    ),
    "records": (
        RECORDS,
        None,
        TypeError,
        f"{NOT_A_STRING} {{'text': 'fine', 'task': 'mood', 'label': 'good'}} (dict). To pass "
        "records, pass a frame: pandas.DataFrame(X).",
    ),
    "columns": (
        COLUMNS,
        None,
        TypeError,
        "X is a dict of columns: 'text', 'task', 'label'. A dict must map each task to its rows. "
        "Pass the columns as a frame: pandas.DataFrame(X).",
    ),
    "arrays": (
        {"text": np.array(TEXTS), "task": np.array(TASKS)},
        LABELS,
        TypeError,
        "X is a dict of columns: 'text', 'task'. A dict must map each task to its rows. "
        "Pass the columns as a frame: pandas.DataFrame(X).",
    ),
    "lazy": (
        pl.LazyFrame(COLUMNS),
        None,
        TypeError,
        "X is a lazy frame (LazyFrame). Pass its rows: X.collect().",
    ),
    "lazy-y": (
        TEXTS,
        pl.LazyFrame(WIDE),
        TypeError,
        "y is a lazy frame (LazyFrame). Pass its rows: y.collect().",
    ),
    "y-2d": (
        TEXTS,
        np.array([[*pair, "x"] for pair in PAIRS]),
        ValueError,
        f"y must be one-dimensional, got an array of shape (4, 3). {AS_COLUMNS}",
    ),
    "y-lists": (
        TEXTS,
        PAIRS,
        ValueError,
        f"y must be one-dimensional, got ['good', 'big'] in row 0. {AS_COLUMNS}",
    ),
    "y-records": (
        TEXTS,
        pd.DataFrame(WIDE).to_dict("records"),
        ValueError,
        "y must be one-dimensional, got {'mood': 'good', 'size': 'big'} in row 0. For labels of "
        "several tasks, pass a frame with one column per task: pandas.DataFrame(y).",
    ),
    "y-dict": (
        TEXTS,
        {"mood": [1, 2, 1, 2]},
        TypeError,
        "y must be a list, an array or a Series, got {'mood': [1, 2, 1, 2]}. For labels with one "
        "column per task, pass a DataFrame: pandas.DataFrame(y).",
    ),
    "y-2d-of-long": (
        pd.DataFrame(COLUMNS),
        np.array(PAIRS),
        ValueError,
        "X has a 'task' column, so y must have one label per row, got an array with 2 columns. To "
        "pass labels with one column per task, pass a list of texts as X.",
    ),
}


@pytest.fixture(scope="module")
def two_tasks(encoder_name):
    """A classifier of two tasks with strings as labels."""
    config = {"training": {"model_name": encoder_name, "epochs": 1, "test_size": 0}}
    classifier = MultiheadClassifier(config, random_state=0)
    return classifier.fit(TEXTS * 3, pd.DataFrame(WIDE).loc[[*range(4)] * 3])


def exactly(message):
    return f"^{re.escape(message)}$"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "score", "X_val"])
def test_messages(make_classifier, two_tasks, method, form):
    """A wrong form of X or y raises an error with what to pass instead."""
    X, y, error, message = FORMS[form]
    calls = {
        "fit": lambda: make_classifier().fit(X, y),
        "partial_fit": lambda: make_classifier().partial_fit(X, y),
        "score": lambda: two_tasks.score(X, y),
        "X_val": lambda: make_classifier().fit(pd.DataFrame(COLUMNS), X_val=X, y_val=y),
    }
    if method == "X_val":
        message = f"In the validation data (X_val, y_val, sample_weight_val): {message}"
    with pytest.raises(error, match=exactly(message)):
        calls[method]()


@pytest.mark.parametrize("form", ["lists", "numbers-2d", "sparse", "records", "columns", "lazy"])
@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_all"])
def test_messages_of_predictions(two_tasks, method, form):
    """The same forms of X raise the same errors in predictions."""
    X, _, error, message = FORMS[form]
    with pytest.raises(error, match=exactly(message)):
        getattr(two_tasks, method)(X)


def test_messages_of_folds():
    """A two-dimensional y raises the same error in a splitter."""
    X, y, error, message = FORMS["y-lists"]
    with pytest.raises(error, match=exactly(message)):
        next(TaskStratifiedKFold(2).split(X, y))


def test_the_advice_works(make_classifier):
    """The frames that the messages name are accepted, and give the same classifier."""
    options = {"test_size": 0, "val_size": 0}
    expected = make_classifier(**options).fit(pd.DataFrame(COLUMNS)).predict_proba(TEXTS)
    for data in (RECORDS, COLUMNS):
        found = make_classifier(**options).fit(pd.DataFrame(data)).predict_proba(TEXTS)
        assert all(np.array_equal(found[task], expected[task]) for task in expected)
    X, y = pd.DataFrame(zip(TEXTS, TASKS, strict=True), columns=["text", "task"]), LABELS
    found = make_classifier(**options).fit(X, y).predict_proba(TEXTS)
    assert all(np.array_equal(found[task], expected[task]) for task in expected)
    by_column = make_classifier(**options).fit(TEXTS, pd.DataFrame(WIDE))
    by_row = make_classifier(**options).fit(TEXTS, pd.DataFrame(PAIRS, columns=["mood", "size"]))
    assert (by_column.predict(TEXTS) == by_row.predict(TEXTS)).all()
    lazy = pl.LazyFrame(COLUMNS).collect()
    found = make_classifier(**options).fit(lazy).predict_proba(TEXTS)
    assert all(np.array_equal(found[task], expected[task]) for task in expected)


def test_tasks_may_be_called_text_and_label(make_classifier):
    """A dict whose tasks have the names of columns is still a dict of tasks."""
    items = [{"text": text, "label": i % 2} for i, text in enumerate(TEXTS)]
    data = {"text": items, "label": tuple(items), "task": iter(items)}
    assert make_classifier(test_size=0, val_size=0).fit(data).tasks_ == list(data)


# --------------------------------------------------------------------------------------------
# score(X, predict(X))

TYPES = {
    "strings": {"a": ["x", "yy"], "b": ["u", "v"]},
    "ints": {"a": [1, 2], "b": [10, 2**60]},
    "floats": {"a": [0.1, 0.2], "b": np.float32([0.1, 0.2])},
    "mixed": {"a": ["x", "y"], "b": [1, 2], "c": [True, False], "d": [0.5, 1.5]},
}


@pytest.mark.parametrize("kind", TYPES)
def test_predictions_can_be_scored(make_classifier, kind):
    """The accuracy of a classifier on its own predictions for several tasks is 1."""
    y = pd.DataFrame({task: np.tile(labels, 6) for task, labels in TYPES[kind].items()})
    texts = [f"{text} {i}" for i, text in enumerate(TEXTS * 3)]
    classifier = make_classifier(test_size=0, val_size=0).fit(texts, y)
    predicted = classifier.predict(texts)
    assert predicted.shape == y.shape
    assert classifier.score(texts, predicted) == 1
    assert classifier.score(pd.DataFrame({"text": texts}), predicted) == 1
    truth = np.empty(y.shape, dtype=object)
    for i, task in enumerate(y):
        truth[:, i] = y[task].tolist()
    assert classifier.score(texts, truth) == classifier.score(texts, y)
    weights = np.arange(len(texts)) + 1.0
    assert classifier.score(texts, truth, weights) == classifier.score(texts, y, weights)


def test_columns_belong_to_tasks_in_order(two_tasks):
    """Each column is scored with its own task, so swapped columns of one type count as wrong."""
    predicted = two_tasks.predict(TEXTS)
    assert two_tasks.score(TEXTS, predicted) == 1
    assert two_tasks.score(TEXTS, predicted[:, ::-1]) == 0
    half = predicted.copy()
    half[:, 1] = "unknown"
    assert two_tasks.score(TEXTS, half) == 0.5


def test_each_column_is_checked(two_tasks):
    """A column of another type is an error that names its task, and a wrong length is an error."""
    predicted = two_tasks.predict(TEXTS).astype(object)
    numbers = predicted.copy()
    numbers[:, 1] = 3
    message = "The label of row 0 (task 'size') is 3 (int), but the classes of the task are strings"
    with pytest.raises(TypeError, match=re.escape(message)):
        two_tasks.score(TEXTS, numbers)
    with pytest.raises(ValueError, match="same number of rows, got 4 and 3"):
        two_tasks.score(TEXTS, predicted[:3])


def test_a_two_dimensional_y_is_an_error_in_fit(make_classifier, two_tasks):
    """In fit, partial_fit and X_val, an array has no names of tasks."""
    y = np.array(PAIRS)
    message = f"y must be one-dimensional, got an array of shape (4, 2). {AS_COLUMNS}"
    with pytest.raises(ValueError, match=exactly(message)):
        make_classifier().fit(TEXTS, y)
    with pytest.raises(ValueError, match=exactly(message)):
        two_tasks.partial_fit(TEXTS, y)
    with pytest.raises(ValueError, match=re.escape(message)):
        make_classifier().fit(TEXTS, pd.DataFrame(WIDE), X_val=TEXTS, y_val=y)
