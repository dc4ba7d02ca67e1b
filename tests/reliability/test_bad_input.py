"""Bad input ends in one error of this package that names the place; odd input in the right result.

The table calls every public method. A case fails if another library raises the error, if the
message does not name the place, or if labels merge or vanish.
"""

import datetime
import decimal
import enum
import fractions
import io
import re
import traceback
import warnings
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from narwhals.exceptions import DuplicateError
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from skorch.callbacks import Callback

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
    find_encoder,
)
from rapidfit_sk._held_out import FitRows, hold_out_rows
from rapidfit_sk._rows import Columns, Reader
from rapidfit_sk._validation import InvalidParameterError, short
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.model_selection import TaskStratifiedKFold, multitask_scoring, task_scorer
from rapidfit_sk.testing import tiny_encoder

COLUMNS = Columns("text", "task", "label")
TEXTS = ["fine", "bad", "why", "so"]
DIGITS = 10**5000  # its repr raises ValueError
ALLOWED = {
    ValueError,
    TypeError,
    InvalidParameterError,
    NotFittedError,
    FileNotFoundError,
    OSError,
}


class NoRepr:
    """An object whose repr raises an error."""

    def __repr__(self):
        raise RuntimeError("no repr")


class Word(enum.StrEnum):
    A = "a"
    B = "b"


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Text(str):
    """A subclass of str with another equality."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        return True


class Int(int):
    pass


def nested():
    """Return a list whose repr raises RecursionError."""
    value = []
    for _ in range(50_000):
        value = [value]
    return value


def case(name, call, error, message):
    return pytest.param(call, error, message, id=name)


def named(value):
    """Return a value for the name of a test, without addresses, which differ between processes."""
    return re.sub(r" at 0x.*", "", short(value))


def assert_raises(call, error, message):
    """Check that a call raises an error of this package with a short message of this package."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Exception) as caught:  # noqa: PT011
            call()
    found = caught.value
    assert type(found) in ALLOWED, f"{type(found)}: {found}"
    assert isinstance(found, error), f"{type(found)}: {found}"
    assert re.search(message, str(found)), str(found)
    assert "\n" not in str(found)
    assert len(str(found)) < 1500
    if not isinstance(found, NotFittedError):  # scikit-learn's own wording is the expected one
        frame, _ = list(traceback.walk_tb(found.__traceback__))[-1]
        assert frame.f_globals["__name__"].startswith("rapidfit_sk"), frame


@pytest.fixture(scope="module")
def env():
    """A fitted classifier and functions that call each public method."""
    training = TrainingConfig(
        model_name=tiny_encoder(n_layers=1), epochs=1, learning_rate=1e-3, test_size=0
    )
    config = MultiheadConfig(training=training, eval=EvalConfig(calibrate=False))

    def new(**parameters):
        return MultiheadClassifier(config, random_state=0, **parameters)

    rows = {
        "text": [*TEXTS, *TEXTS],
        "task": ["mood"] * 4 + ["size"] * 4,
        "label": ["good", "poor"] * 2 + [1, 2] * 2,
    }
    fitted = new().fit(pd.DataFrame(rows))
    valid = ({"mood": [{"text": "a", "label": "good"}, {"text": "b", "label": "poor"}]},)
    return SimpleNamespace(new=new, fitted=fitted, config=config, valid=valid[0])


# --------------------------------------------------------------------------------------------
# Cells of rows, in every method that reads rows

# Each method gets X and y. "validation" passes them as X_val and y_val of fit.
READERS = {
    "fit": lambda env, X, y: env.new().fit(X, y),
    "partial_fit": lambda env, X, y: env.fitted.partial_fit(X, y),
    "score": lambda env, X, y: env.fitted.score(X, y),
    "validation": lambda env, X, y: env.new().fit(env.valid, X_val=X, y_val=y),
    "split": lambda env, X, y: list(TaskStratifiedKFold(2).split(X, y)),
    "scorer": lambda env, X, y: task_scorer("mood")(env.fitted, X, y),
}

BAD_TEXTS = {
    "None": (None, ValueError, "the text is missing"),
    "nan": (np.nan, ValueError, "the text is missing"),
    "NA": (pd.NA, ValueError, "the text is missing"),
    "NaT": (pd.NaT, ValueError, "the text is missing"),
    "masked": (np.ma.masked, ValueError, "the text is missing"),
    "int": (3, TypeError, r"a text must be a string, got 3 \(int\)"),
    "digits": (DIGITS, TypeError, r"a text must be a string, got <an int of 16610 bits>"),
    "float": (2.5, TypeError, "a text must be a string, got 2.5"),
    "bytes": (b"a", TypeError, r"got b'a' \(bytes\)"),
    "list": (["a"], TypeError, r"got \['a'\] \(list\)"),
    "nested": (nested(), TypeError, r"<an object of type list without a repr> \(list\)"),
    "dict": ({"a": 1}, TypeError, r"\(dict\)"),
    "no-repr": (NoRepr(), TypeError, "<an object of type NoRepr without a repr>"),
    "surrogate": ("a\ud800", ValueError, "not valid Unicode"),
}
MISSING = r"the label is missing.*Drop the row or fill in a label.*keep_default_na=False"
BAD_LABELS = {
    "None": (None, ValueError, MISSING),
    "nan": (np.nan, ValueError, MISSING),
    "nan32": (np.float32("nan"), ValueError, MISSING),
    "NA": (pd.NA, ValueError, MISSING),
    "NaT": (pd.NaT, ValueError, MISSING),
    "masked": (np.ma.masked, ValueError, MISSING),
    "bytes": (b"good", TypeError, r"b'good' \(bytes\)"),
    "complex": (1j, TypeError, r"\(complex\)"),
    "complex64": (np.complex64(1), TypeError, r"\(complex64\)"),
    "longdouble": (np.longdouble(1), TypeError, r"\(longdouble\)"),
    "decimal": (decimal.Decimal(1), TypeError, r"\(Decimal\)"),
    "fraction": (fractions.Fraction(1, 2), TypeError, r"\(Fraction\)"),
    "date": (datetime.date(2020, 1, 1), TypeError, r"\(date\)"),
    "timestamp": (pd.Timestamp("2020"), TypeError, r"\(Timestamp\)"),
    "timedelta": (pd.Timedelta(1), TypeError, r"\(Timedelta\)"),
    "datetime64": (np.datetime64("2020"), TypeError, r"\(datetime64\)"),
    "timedelta64": (np.timedelta64(1), TypeError, r"\(timedelta64\)"),
    "str-enum": (Word.A, TypeError, r"\(Word\).*plain strings"),
    "int-enum": (Number.ONE, TypeError, r"\(Number\)"),
    "str-subclass": (Text("a"), TypeError, r"\(Text\)"),
    "int-subclass": (Int(1), TypeError, r"\(Int\)"),
    "tuple": (("a", "b"), TypeError, r"\(tuple\)"),
    "list": (["a"], TypeError, r"\(list\)"),
    "set": ({"a"}, TypeError, r"\(set\)"),
    "array": (np.array("a"), TypeError, r"\(ndarray\)"),
    "nested": (nested(), TypeError, r"\(list\)"),
    "no-repr": (NoRepr(), TypeError, r"\(NoRepr\)"),
    "surrogate": ("\ud800", ValueError, "not valid Unicode"),
    "2**64": (2**64, ValueError, "the label 18446744073709551616 does not fit in 64 bits"),
    "-2**63-1": (-(2**63) - 1, ValueError, "does not fit in 64 bits"),
    "digits": (DIGITS, ValueError, "<an int of 16610 bits> does not fit in 64 bits"),
}
BAD_TASKS = {
    "None": (None, ValueError, "non-empty string, got None"),
    "nan": (np.nan, ValueError, "non-empty string, got nan"),
    "empty": ("", ValueError, "non-empty string, got ''"),
    "NUL": ("mood\0", ValueError, "without NUL characters"),
    "surrogate": ("\ud800", ValueError, "valid Unicode"),
    "int": (3, TypeError, "non-empty string, got 3"),
    "digits": (DIGITS, TypeError, "non-empty string, got <an int"),
    "bool": (True, TypeError, "non-empty string, got True"),
    "tuple": (("a", "b"), TypeError, r"non-empty string, got \('a', 'b'\)"),
    "list": (["a"], TypeError, r"non-empty string, got \['a'\]"),
    "bytes": (b"mood", TypeError, "non-empty string, got b'mood'"),
    "str-enum": (Word.A, TypeError, r"plain string.*\(Word\)"),
    "no-repr": (NoRepr(), TypeError, "non-empty string, got <an object of type NoRepr"),
}
BAD_CELLS = [
    pytest.param(column, value, error, message, id=f"{column}-{name}")
    for column, cells in (("text", BAD_TEXTS), ("label", BAD_LABELS), ("task", BAD_TASKS))
    for name, (value, error, message) in cells.items()
]


def column_of(values):
    """Return values as a column with dtype object."""
    column = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        column[i] = value
    # pandas would convert strings with None to its own dtype.
    return pd.Series(column, dtype=object)


def long_frame(**changed):
    """Return a long frame whose row 2 has changed cells."""
    columns = {"text": TEXTS, "task": ["mood"] * 4, "label": ["good", "poor"] * 2}
    for name, value in changed.items():
        columns[name] = [*columns[name][:2], value, columns[name][3]]
    return pd.DataFrame({name: column_of(values) for name, values in columns.items()})


@pytest.mark.parametrize("method", READERS)
@pytest.mark.parametrize(("column", "value", "error", "message"), BAD_CELLS)
def test_bad_cells_of_a_frame(env, method, column, value, error, message):
    """A bad cell of a long frame raises an error that names its column and its row."""
    X = long_frame(**{column: value})
    place = f"Column '{column}', row 2.*"
    assert_raises(lambda: READERS[method](env, X, None), error, place + message)


@pytest.mark.parametrize(("column", "value", "error", "message"), BAD_CELLS)
def test_bad_cells_of_a_dict(env, column, value, error, message):
    """A bad cell of a dict raises the same error; a bad task is named as a key of X."""
    rows = [{"text": text, "label": label} for text, label in zip("abcd", "xyxy", strict=True)]
    if column == "task":
        if isinstance(value, list):
            pytest.skip("a list is no key of a dict")
        X = {value: rows}
    else:
        rows[2][column] = value
        X = {"mood": rows}
    place = "X, key .*: the name of a task" if column == "task" else f"Column '{column}', row 2"
    assert_raises(lambda: env.new().train(X), error, f"^{place}.*{message}")


@pytest.mark.parametrize(("column", "value", "error", "message"), BAD_CELLS)
def test_bad_cells_of_a_new_task(env, column, value, error, message):
    """`add_task` refuses the same cells."""
    X = long_frame(**{column: value})
    assert_raises(lambda: env.fitted.add_task(X), error, f"Column '{column}', row 2.*{message}")


@pytest.mark.parametrize(
    ("value", "error", "message"), BAD_TEXTS.values(), ids=[f"text-{name}" for name in BAD_TEXTS]
)
@pytest.mark.parametrize(
    "predict",
    [
        lambda fitted, X: fitted.predict(X),
        lambda fitted, X: fitted.predict(X, task="mood"),
        lambda fitted, X: fitted.predict_all(X),
        lambda fitted, X: fitted.predict_proba(X),
        lambda fitted, X: fitted["mood"].predict(X),
        lambda fitted, X: fitted["mood"].predict_proba(X),
    ],
    ids=["predict", "predict-task", "predict_all", "predict_proba", "view", "view-proba"],
)
def test_bad_texts_in_prediction(env, predict, value, error, message):
    """A bad text in prediction raises an error that names its row."""
    X = column_of(["fine", "bad", value])
    assert_raises(lambda: predict(env.fitted, X), error, f"Column 'text', row 2.*{message}")


# --------------------------------------------------------------------------------------------
# Forms of X and y

LONG = long_frame()
WIDE = pd.DataFrame({"mood": ["good", "poor"] * 2, "size": [1, 2] * 2})
STRANGE_COLUMNS = pd.concat([LONG, pd.DataFrame({pd.NA: [1] * 4, 3: [1] * 4})], axis=1)
TWO_LEVELS = LONG.set_axis(pd.MultiIndex.from_product([["text", "task", "label"], ["a"]]), axis=1)
ITEMS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]


def wide(*names):
    """Return wide labels whose columns have these names."""
    # With pyarrow, pandas would convert members of an Enum to strings.
    return WIDE.set_axis(pd.Index(list(names), dtype=object, tupleize_cols=False), axis=1)


BAD_FORMS = [
    case("X-None", (None, None), TypeError, "X must be a list, an array or a Series, got None"),
    case("X-int", (3, [1, 2]), TypeError, "X must be a list, an array or a Series, got 3"),
    case("X-digits", (DIGITS, [1]), TypeError, "X must be a list.*got <an int of 16610 bits>"),
    case("X-str", ("a", ["b"]), TypeError, "X is one string, 'a'"),
    case("X-bytes", (b"a", ["b"]), TypeError, "X must be a list.*got b'a'"),
    case("X-set", ({"a", "b"}, [1, 2]), TypeError, "X must be a list"),
    case("X-generator", ((c for c in "ab"), [1, 2]), TypeError, "X must be a list"),
    case("X-no-repr", (NoRepr(), [1]), TypeError, "X must be a list.*type NoRepr"),
    case("X-0d", (np.array("a"), [1]), ValueError, r"X must be one-dimensional.*shape \(\)"),
    case("X-2d", (np.full((2, 2), "a"), [1, 2]), ValueError, r"one-dimensional.*shape \(2, 2\)"),
    case("X-nested", (nested(), [1]), TypeError, "a text must be a string"),
    case("X-empty-list", ([], []), ValueError, "X has no rows"),
    case("X-empty-frame", (LONG.iloc[:0], None), ValueError, "X has no rows"),
    case("X-no-columns", (pd.DataFrame(index=range(2)), [1, 2]), ValueError, "It has no columns"),
    case("X-two-levels", (TWO_LEVELS, None), ValueError, r"no column 'task'.*\('text', 'a'\)"),
    case(
        "X-two-levels-y",
        (TWO_LEVELS, WIDE),
        ValueError,
        r"no column 'text'. Its columns are: \('text', 'a'\)",
    ),
    case(
        "X-twice-text",
        (pd.concat([LONG, LONG["text"]], axis=1), None),
        ValueError,
        "X has two columns named 'text'",
    ),
    case(
        "X-twice-task",
        (pd.concat([LONG, LONG["task"]], axis=1), None),
        ValueError,
        "X has two columns named 'task'",
    ),
    case("X-misspelled", (LONG.rename(columns={"task": "tsk"}), None), ValueError, "mean 'tsk'"),
    case("X-without-text", (LONG[["task", "label"]], None), ValueError, "no column 'text'"),
    case("X-without-label", (LONG[["text", "task"]], None), ValueError, "no column 'label'"),
    case(
        "X-wide-names",
        (pd.DataFrame([[1] * 500] * 2), None),
        ValueError,
        "no column 'task'. Its columns are: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 490 more",
    ),
    case("X-lazy", (pl.LazyFrame({"text": ["a"]}), [1]), TypeError, "X is a lazy frame"),
    case("X-tensor", (torch.ones(2), [1, 2]), TypeError, "a text must be a string, got 1.0"),
    case("X-masked", (np.ma.array(["a", "b"], mask=[0, 1]), [1, 2]), ValueError, "row 1.*missing"),
    case("X-series-ints", (pd.Series([1, 2]), [1, 2]), TypeError, "row 0: a text must be a string"),
    case("dict-empty", ({}, None), ValueError, "X has no rows"),
    case("dict-no-rows", ({"mood": []}, None), ValueError, "'mood' has no labels|X has no rows"),
    case("dict-str", ({"mood": "a"}, None), TypeError, "Task 'mood' must map to a list of dicts"),
    case("dict-int", ({"mood": 3}, None), TypeError, "must map to a list of dicts, got 3"),
    case("dict-None", ({"mood": None}, None), TypeError, "must map to a list of dicts, got None"),
    case("dict-dict", ({"mood": ITEMS[0]}, None), TypeError, "must map to a list of dicts"),
    case("dict-frame", ({"mood": LONG}, None), TypeError, "must map to a list of dicts"),
    case("dict-0d", ({"mood": np.array(3)}, None), TypeError, "must map to a list of dicts"),
    case("dict-ints", ({"mood": iter(int, 1)}, None), ValueError, "Row 0 of task 'mood' must be"),
    case("dict-texts", ({"mood": ["a"]}, None), ValueError, "Row 0 of task 'mood' must be a dict"),
    case("dict-no-key", ({"mood": [{"text": "a"}]}, None), ValueError, "the key 'label'"),
    case("dict-digits", ({"mood": [DIGITS]}, None), ValueError, "got <an int of 16610 bits>"),
    case("dict-y", ({"mood": ITEMS}, [1, 2]), ValueError, "already contains the labels. Omit y"),
    case("y-missing", (TEXTS, None), ValueError, "y is missing"),
    case("y-str", (TEXTS, "abcd"), TypeError, "y must be a list, an array or a Series, got 'abcd'"),
    case("y-int", (TEXTS, 3), TypeError, "y must be a list, an array or a Series, got 3"),
    case("y-set", (TEXTS, {1, 2, 3, 4}), TypeError, "y must be a list"),
    case("y-dict", (TEXTS, {"mood": [1, 2, 3, 4]}), TypeError, "y must be a list.*a DataFrame"),
    case("y-0d", (TEXTS, np.array(3)), ValueError, r"y must be one-dimensional.*shape \(\)"),
    case("y-2d", (TEXTS, np.ones((4, 3))), ValueError, r"y must be one-dimensional.*\(4, 3\)"),
    case("y-short", (LONG, ["a"]), ValueError, "same number of rows, got 4 and 1"),
    case("y-wide-of-long", (LONG, WIDE), ValueError, "'task' column, so y must have one label per"),
    case("y-grad", (TEXTS, torch.ones(4, requires_grad=True)), TypeError, "y must be a list"),
    case("wide-length", (TEXTS[:2], WIDE), ValueError, "same number of rows, got 2 and 4"),
    case("wide-no-columns", (TEXTS, WIDE[[]]), ValueError, "y has no columns"),
    case("wide-tuples", (TEXTS, wide(("a", 1), ("b", 2))), TypeError, r"y, column 0.*\('a', 1\)"),
    case("wide-ints", (TEXTS, wide("a", 1)), TypeError, "y, column 1: the name.*got 1"),
    case("wide-None", (TEXTS, wide("a", None)), ValueError, "y, column 1: the name of a task"),
    case("wide-NA", (TEXTS, wide(pd.NA, "b")), ValueError, "y, column 0: the name.*got (<NA>|nan)"),
    case("wide-empty-name", (TEXTS, wide("a", "")), ValueError, "y, column 1.*non-empty string"),
    case("wide-NUL", (TEXTS, wide("a", "a\0")), ValueError, "y, column 1.*without NUL"),
    case("wide-twice", (TEXTS, wide("a", "a")), ValueError, "y has two columns named 'a'"),
    case("wide-enum", (TEXTS, wide(Word.A, "b")), TypeError, r"y, column 0.*\(Word\)"),
    case(
        "wide-large-ints",
        (TEXTS, pd.DataFrame({"mood": [2**53 + 1, 2**53, 1, None]})),
        ValueError,
        "y, column 'mood': pandas may have converted ints to floats.*dtype of the column to object",
    ),
]


@pytest.mark.parametrize("method", ["fit", "score", "validation", "split"])
@pytest.mark.parametrize(("given", "error", "message"), BAD_FORMS)
def test_bad_forms(env, method, given, error, message):
    """X and y of a wrong form raise an error that says what is allowed."""
    if method == "split" and isinstance(given[0], dict):
        error, message = TypeError, "X is a dict of tasks"
    if method == "validation" and given[0] is None:
        pytest.skip("X_val=None means no validation rows")
    if method == "score" and "Task 'mood' has no labels" in message:
        message = "X has no rows"
    if method == "score" and isinstance(given[0], list) and not given[0]:
        message = "y has one dimension, but there are several tasks"
    if method == "split" and "'mood' has no labels" in message:
        message = "X is a dict"
    assert_raises(lambda: READERS[method](env, *given), error, message)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        case("None", None, TypeError, "X must be a list"),
        case("int", 3, TypeError, "X must be a list.*got 3"),
        case("digits", DIGITS, TypeError, "X must be a list.*<an int"),
        case("str", "one text", TypeError, "X is one string"),
        case("long-str", "a" * 10**6, TypeError, r"X is one string, 'a+\.\.\."),
        case("set", {"a"}, TypeError, "X must be a list"),
        case("2d", np.full((2, 2), "a"), ValueError, "X must be one-dimensional"),
        case("frame", pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, "no column 'text'"),
        case("two-levels", TWO_LEVELS, ValueError, "no column 'text'"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "predict_all", "predict_proba"])
def test_bad_forms_in_prediction(env, method, X, error, message):
    """Texts of a wrong form raise an error in all methods that predict."""
    assert_raises(lambda: getattr(env.fitted, method)(X), error, message)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        case("predict", lambda f: f.predict(["a"], task="moot"), ValueError, "mean 'mood'"),
        case("proba", lambda f: f.predict_proba(["a"], task="x"), ValueError, "'x' was not seen"),
        case("int", lambda f: f.predict(["a"], task=3), TypeError, "must be a string, got 3"),
        case("list", lambda f: f.predict(["a"], task=["mood"]), TypeError, "must be a string, got"),
        case("digits", lambda f: f.predict(["a"], task=DIGITS), TypeError, "must be a string, got"),
        case("view", lambda f: f["x"], ValueError, "Task 'x' was not seen in fit"),
        case("view-int", lambda f: f[0], TypeError, "must be a string, got 0"),
        case("view-fit", lambda f: f["mood"].fit(["a"], [1]), TypeError, "view of task 'mood'"),
        case("row", lambda f: f.predict(long_frame(task="x")), ValueError, "Row 2: Task 'x' was"),
        case("score", lambda f: f.score(long_frame(task="x")), ValueError, "Row 2: Task 'x' was"),
        case(
            "dict", lambda f: f.predict({"x": [{"text": "a"}]}), ValueError, "Row 0: Task 'x' was"
        ),
        case("y", lambda f: f.score(TEXTS, [1] * 4), ValueError, "there are several tasks"),
        case("partial", lambda f: f.partial_fit(TEXTS, [1, 2] * 2), ValueError, "several tasks"),
        case("add", lambda f: f.add_task(TEXTS, [1, 2] * 2), ValueError, "new task has no name"),
        case(
            "add-known", lambda f: f.add_task(TEXTS, [1, 2] * 2, task="mood"), ValueError, "already"
        ),
        case(
            "add-int",
            lambda f: f.add_task(TEXTS, [1, 2] * 2, task=3),
            TypeError,
            "'task' parameter.*got 3",
        ),
        case(
            "add-empty",
            lambda f: f.add_task(TEXTS, [1, 2] * 2, task=""),
            ValueError,
            "'task' parameter",
        ),
        case(
            "add-NUL",
            lambda f: f.add_task(TEXTS, [1, 2] * 2, task="a\0"),
            ValueError,
            "'task' param.*NUL",
        ),
        case("add-two", lambda f: f.add_task(TEXTS, wide("a", "b")), ValueError, "one task at a"),
        case("add-other", lambda f: f.add_task(LONG, task="x"), ValueError, "and task='x'"),
    ],
)
def test_bad_tasks(env, call, error, message):
    """An unknown, invalid or ambiguous task raises an error that names it."""
    assert_raises(lambda: call(env.fitted), error, message)


# --------------------------------------------------------------------------------------------
# Classes

INEXACT = "no numeric type holds exactly"
BAD_CLASSES = [
    case("no-64-bits", [2**63 + 1, 2**63 + 2, -1], ValueError, INEXACT),
    case("int-and-float", [2**53 + 1, 2**53, 0.5], ValueError, INEXACT),
    case("uint64-and-negative", [np.uint64(2**63), np.int64(-1)], ValueError, INEXACT),
    case("int64-and-float32", [2**53 + 1, np.float32(0.5)], ValueError, INEXACT),
    case("str-and-int", ["1", 1], TypeError, r"mixes strings and numbers as labels \('1' and 1\)"),
    case("int-and-bool", [1, True], TypeError, "mixes numbers and bools"),
    case("bool-and-str", [True, "True"], TypeError, "mixes bools and strings"),
    case("np-bool-and-int", [np.bool_(True), 2], TypeError, "mixes bools and numbers"),
    case("one", ["x", "x"], ValueError, r"only one class \('x'\)"),
    case("one-number", [1, 1.0], ValueError, r"only one class \(1\)"),
    case("long", ["x" * 10**6] * 2, ValueError, r"only one class \('x+\.\.\.\)"),
]


@pytest.mark.parametrize(("labels", "error", "message"), BAD_CLASSES)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "add_task"])
def test_bad_classes(env, method, labels, error, message):
    """Labels that cannot be the classes of one task raise an error that names the task."""
    texts = [f"text {i}" for i in range(len(labels))]
    X = pd.DataFrame({"text": texts, "task": "new", "label": column_of(labels)})
    classifier = env.new() if method == "fit" else env.fitted
    assert_raises(lambda: getattr(classifier, method)(X), error, f"Task 'new'.*{message}")


def read(labels, **options):
    """Return the classes that fit learns from labels, and the label codes of the rows."""
    texts = [f"text {i}" for i in range(len(labels))]
    rows = Reader(COLUMNS, options.get("task_labels")).training_rows(texts, labels, None, None)[1]
    (classes,) = rows.classes.values()
    return classes, rows.labels


GOOD_LABELS = {
    "trailing-NUL": ([np.str_("a\0"), np.str_("a"), "b"], ["a", "a\0", "b"], "O"),
    "trailing-NUL-numpy": ([np.str_("a\0"), np.str_("a")], ["a", "a\0"], "O"),
    "inner-NUL": (["a\0b", "a"], ["a", "a\0b"], "O"),
    "uint64-and-int64": ([np.uint64(3), np.int64(1)], [1, 3], "i8"),
    "large-uint64-and-int64": ([np.uint64(2**63 + 1), np.int64(1)], [1, 2**63 + 1], "u8"),
    "large": ([2**63 + 1, 2**63 + 2], [2**63 + 1, 2**63 + 2], "u8"),
    "above-2**53": ([2**53 + 1, 2**53], [2**53, 2**53 + 1], "i8"),
    "limits": ([-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1], "i8"),
    "int-and-float": ([1, 0.5], [0.5, 1.0], "f8"),
    "int8": ([np.int8(1), np.int8(2)], [1, 2], "i1"),
    "int8-and-int": ([np.int8(1), 300], [1, 300], "i8"),
    "int8-and-uint8": ([np.int8(-1), np.uint8(200)], [-1, 200], "i2"),
    "longlong": ([np.longlong(1), np.longlong(2)], [1, 2], np.longlong),
    "float16": ([np.float16(0.1), np.float16(1)], [float(np.float16(0.1)), 1], "f2"),
    "float16-and-float": ([np.float16(0.1), 0.1], [float(np.float16(0.1)), 0.1], "f8"),
    "inf": ([float("inf"), 1e308], [1e308, float("inf")], "f8"),
    "zeros": ([0.0, -0.0, 1.0], [0.0, 1.0], "f8"),
    "bools": ([True, np.bool_(False)], [False, True], "?"),
    "numpy-strings": (np.array(["b", "a"]), ["a", "b"], "U1"),
    "numpy-and-str": ([np.str_("b"), "a"], ["a", "b"], "U1"),
    "strings": (["b", "a"], ["a", "b"], "O"),
    "empty-string": (["", "a"], ["", "a"], "O"),
    "emoji": (["\U0001f600", "\U0001f601"], ["\U0001f600", "\U0001f601"], "O"),
    "range": (range(3), [0, 1, 2], "i8"),
    "deque": (deque(["1", "2"]), ["1", "2"], "O"),
    "index": (pd.Index([3, 1]), [1, 3], "i8"),
    "categorical": (pd.Categorical(["b", "a"]), ["a", "b"], "O"),
    "categorical-ints": (pd.Series([2, 1], dtype="category"), [1, 2], "i8"),
    "Int64": (pd.array([2**53 + 1, 2**53], dtype="Int64"), [2**53, 2**53 + 1], "i8"),
    "polars": (pl.Series([2, 1]), [1, 2], "i8"),
    "tensor": (torch.tensor([2, 1]), [1, 2], "i8"),
    "column": (np.array([[2], [1]]), [1, 2], "i8"),
    "masked-none": (np.ma.array([2, 1]), [1, 2], "i8"),
}


@pytest.mark.parametrize(
    ("labels", "classes", "dtype"), GOOD_LABELS.values(), ids=list(GOOD_LABELS)
)
def test_odd_labels(labels, classes, dtype):
    """Each distinct label is its own class, of the type of the labels, and has its own code."""
    found, codes = read(labels)
    assert found.tolist() == classes
    assert found.dtype == np.dtype(dtype)
    assert (codes >= 0).all()
    given = [str.__str__(label) if isinstance(label, str) else label for label in labels]
    assert all(found[code] == label for code, label in zip(codes, given, strict=True))


def test_masked_labels_are_missing():
    """A masked label is missing, so its value is not learned."""
    labels = np.ma.array(["a", "b", "secret"], mask=[False, False, True])
    assert_raises(lambda: read(labels), ValueError, "row 2.*the label is missing")
    assert_raises(
        lambda: read(labels.astype(object)), ValueError, r"row 2.*the label is missing \(masked\)"
    )


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_labels_may_be_a_matrix():
    """A matrix with one column is read like an array with one column."""
    classes, codes = read(np.matrix([[2], [1], [2]]))
    assert classes.tolist() == [1, 2]
    assert codes.tolist() == [1, 0, 1]


def test_deque_does_not_merge_labels():
    """numpy would convert the labels of a deque to strings."""
    assert_raises(lambda: read(deque(["1", 1])), TypeError, "mixes strings and numbers")


def test_ints_beside_gaps_stay_ints():
    """Ints that pandas made floats because of a gap are ints; other floats stay floats."""
    y = pd.DataFrame({"a": [1, 2, None], "b": [1.5, 2, None], "c": [1.0, 2.0, 3.0]})
    with pytest.warns(UserWarning, match="y has missing labels: 1 for task 'a', 1 for task 'b'"):
        rows = Reader(COLUMNS, None).training_rows(["x", "y", "z"], y, None, None)[1]
    assert {task: labels.dtype.kind for task, labels in rows.classes.items()} == {
        "a": "i",
        "b": "f",
        "c": "f",
    }


@pytest.mark.filterwarnings("ignore:y has missing labels")
def test_large_floats_beside_gaps_stay_floats():
    """A float that no int of 64 bits equals shows that the column holds floats."""
    y = pd.DataFrame({"a": [1e300, 2, None], "b": [np.inf, 2, None], "c": [2.0**64, 2, None]})
    rows = Reader(COLUMNS, None).training_rows(["x", "y", "z"], y, None, None)[1]
    assert [labels.tolist() for labels in rows.classes.values()] == [
        [2.0, 1e300],
        [2.0, np.inf],
        [2.0, 2.0**64],
    ]
    floats = pd.DataFrame({"a": pd.Series([1e18, 2.0, None], dtype=object)})
    rows = Reader(COLUMNS, None).training_rows(["x", "y", "z"], floats, None, None)[1]
    assert rows.classes["a"].tolist() == [2.0, 1e18]


def test_class_called_none_in_a_file():
    """If pandas reads a class called None as missing, the warning and the error say what to do."""
    text = "text,mood\nx,None\ny,good\nz,poor\n"
    frame = pd.read_csv(io.StringIO(text))
    with pytest.warns(UserWarning, match="1 for task 'mood'.*keep_default_na=False"):
        Reader(COLUMNS, None).training_rows(frame["text"], frame[["mood"]], None, None)
    assert_raises(lambda: read(frame["mood"]), ValueError, "row 0.*keep_default_na=False")
    whole = pd.read_csv(io.StringIO(text), keep_default_na=False)
    assert read(whole["mood"])[0].tolist() == ["None", "good", "poor"]


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (["IRONY", "Irony ", "irony", "other"], "'IRONY', 'Irony ', 'irony' (task 'label')"),
        (["caf\u00e9", "cafe\u0301"], r"'cafe\u0301', 'caf\xe9' (task 'label')"),
        (["STRASSE", "Stra\u00dfe"], "'STRASSE', 'Stra\u00dfe' (task 'label')"),
        (np.array(["a", "A"]), "'A', 'a' (task 'label')"),
    ],
    ids=["case-and-space", "normalization", "folding", "numpy"],
)
def test_similar_labels_warn_once(labels, shown):
    """Labels that differ only in case, space or normalization give one warning that names them."""
    with pytest.warns(UserWarning, match=re.escape(shown)) as caught:
        classes, _ = read(labels)
    assert len(caught) == 1
    assert len(classes) == len(set(labels))
    listed = {"label": list(labels)}
    assert len(read(labels, task_labels=listed)[0]) == len(set(labels))  # no warning


def test_similar_labels_of_an_earlier_fit_do_not_warn_again():
    """Similar labels that an earlier fit has learned give no second warning."""
    known = {"label": np.array(["A", "a"], dtype=object)}
    reader = Reader(COLUMNS, None)
    reader.training_rows(["x", "y"], ["A", "a"], None, known)
    with pytest.warns(UserWarning, match="'A', 'A ', 'a'"):
        reader.training_rows(["x", "y"], ["A", "A "], None, known)


def read_again(known, labels):
    """Return the classes of a second fit, and the label codes of its rows."""
    reader = Reader(COLUMNS, None)
    texts = [f"text {i}" for i in range(len(labels))]
    first = reader.training_rows(texts[: len(known)], known, None, None)[1].classes
    rows = reader.training_rows(texts, labels, None, first)[1]
    return rows.classes["label"], rows.labels


LATER_LABELS = {
    "floats-of-ints": ([1, 2], [1.0, 2.0, 1.0], [1, 2], "i8"),
    "ints-of-int8": ([np.int8(1), np.int8(2)], [2, 1], [1, 2], "i1"),
    "ints-of-floats": ([1.0, 2.0], [1, 2], [1, 2], "f8"),
    "strings-of-numpy": (np.array(["a", "b"]), ["b", "a"], ["a", "b"], "U1"),
    "numpy-of-strings": (["a", "b"], np.array(["b", "a"]), ["a", "b"], "O"),
    "fractions": ([1, 2], [1, 2.5], [1, 2, 2.5], "f8"),
    "float32": (np.float32([0.1, 0.2]), [0.2, 0.1], np.float32([0.1, 0.2]).tolist(), "f4"),
    "float16": (np.float16([0.1, 0.2]), [0.2, 0.1], np.float16([0.1, 0.2]).tolist(), "f2"),
    "new-float32": (
        np.float32([0.1, 0.2]),
        [0.1, 0.3, 3],
        np.float32([0.1, 0.2, 0.3, 3]).tolist(),
        "f4",
    ),
}


@pytest.mark.parametrize(
    ("known", "labels", "classes", "dtype"), LATER_LABELS.values(), ids=list(LATER_LABELS)
)
def test_labels_of_a_later_fit(known, labels, classes, dtype):
    """Known classes keep their type if it holds the new labels, and do not split."""
    found, codes = read_again(known, labels)
    assert found.tolist() == classes
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found[codes].astype(dtype), np.array(labels).astype(dtype))


@pytest.mark.parametrize("new", [[0.3, 0.30000000001], [2**24 + 1, 0.1], [1e300, 0.1]])
def test_labels_that_float32_does_not_hold(new):
    """New labels that would merge or become inf in the type of the known classes are refused."""
    known = np.float32([0.1, 0.2])
    message = "'label' has classes of type float32, which cannot hold or distinguish"
    assert_raises(lambda: read_again(known, new), ValueError, message)


def test_predictions_keep_the_type_of_the_first_fit(env):
    """After `partial_fit` with equal floats, predictions are still ints."""
    classifier = env.new().fit(["a", "b"], [1, 2])
    classifier.partial_fit(["a", "b"], [1.0, 2.0])
    assert classifier.predict(["a"]).dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([True, False], r"is True \(bool\), but the classes of the task are numbers: 1"),
        (["1", "2"], r"is '1' \(str\), but the classes of the task are numbers: 1, 2"),
    ],
)
@pytest.mark.parametrize("method", ["score", "validation"])
def test_labels_of_another_kind_are_not_scored(env, method, labels, message):
    """Labels whose kind none of the classes has raise an error that names the types."""
    X = pd.DataFrame({"text": ["a", "b"], "task": "size", "label": column_of(labels)})
    valid = {"size": [{"text": "a", "label": 1}, {"text": "b", "label": 2}]}
    calls = {
        "score": lambda: env.fitted.score(X),
        "validation": lambda: env.new().fit(valid, X_val=X),
    }
    assert_raises(calls[method], TypeError, rf"The label of row 0 \(task 'size'\) {message}")


def test_unknown_labels_are_wrong(env):
    """An unknown label, also of another kind next to known ones, counts as wrong."""
    X = pd.DataFrame({"text": ["a", "a"], "task": "size"})
    for unknown in (3, True, "1"):
        known = env.fitted.predict(X)[0]
        assert env.fitted.score(X.assign(label=column_of([known, unknown]))) == 0.5


# --------------------------------------------------------------------------------------------
# Weights

BAD_WEIGHTS = [
    case("digits", ["1", "2", "3", "4"], TypeError, r"must be numeric, got '1' \(str\) in row 0"),
    case("digit", [1, 1, "2", 1], TypeError, r"must be numeric, got '2' \(str\) in row 2"),
    case("numpy-digits", np.array(["1"] * 4), TypeError, "must be numeric, got '1'"),
    case("bytes", [b"1"] * 4, TypeError, "must be numeric, got b'1'"),
    case("complex", [1 + 0j] * 4, TypeError, r"must be numeric.*\(complex\)"),
    case("complex-array", np.ones(4, dtype=complex), TypeError, r"must be numeric.*\(complex128\)"),
    case("dates", pd.Series(pd.to_datetime(["2020"] * 4)), TypeError, "must be numeric"),
    case("timedeltas", np.ones(4, "m8[s]"), TypeError, r"must be numeric.*\(timedelta64\)"),
    case("lists", [[1]] * 4, ValueError, r"one weight for each of the 4 rows.*shape \(4, 1\)"),
    case("nested", [nested()] * 4, TypeError, r"must be numeric.*\(list\)"),
    case("ragged", [[1], [1, 2], [1], [1]], TypeError, r"must be numeric, got \[1\] \(list\)"),
    case("no-repr", [NoRepr()] * 4, TypeError, "must be numeric.*type NoRepr"),
    case("str", "1111", TypeError, "sample_weight must be a list, an array or a Series"),
    case("dict", {0: 1}, TypeError, "sample_weight must be a list, an array or a Series"),
    case("generator", (1 for _ in range(4)), TypeError, "sample_weight must be a list"),
    case("scalar", 2.0, ValueError, r"one weight for each of the 4 rows of X.*shape \(\)"),
    case("short", [1.0] * 3, ValueError, r"one weight for each of the 4 rows of X.*shape \(3,\)"),
    case("empty", [], ValueError, r"one weight for each of the 4 rows of X.*shape \(0,\)"),
    case("2d", np.ones((4, 2)), ValueError, r"one weight for each of the 4 rows.*shape \(4, 2\)"),
    case("column", np.ones((4, 1)), ValueError, r"one weight for each of the 4.*shape \(4, 1\)"),
    case("None", [1, None, 1, 1], ValueError, "sample_weight, row 1.*finite.*got None"),
    case("nan", [1, 1, np.nan, 1], ValueError, "sample_weight, row 2.*finite.*got nan"),
    case("NA", pd.array([1, None, 1, 1], dtype="Int64"), ValueError, "sample_weight, row 1"),
    case(
        "masked",
        np.ma.array([1.0] * 4, mask=[0, 0, 0, 1]),
        ValueError,
        "sample_weight, row 3.*got a masked value",
    ),
    case("decimal", [decimal.Decimal("1e-400")] * 4, ValueError, "row 0.*range.*got Decimal"),
    case("sNaN", [1, decimal.Decimal("sNaN"), 1, 1], ValueError, "row 1.*finite.*got Decimal"),
    case("fraction", [fractions.Fraction(DIGITS)] * 4, ValueError, "row 0.*range.*got"),
    case("small", np.array(["1e-4000"] * 4, np.longdouble), ValueError, "row 0.*range.*got"),
    case("inf", [1, 1, 1, np.inf], ValueError, "sample_weight, row 3.*finite.*got inf"),
    case("negative", [1, -1, 1, 1], ValueError, "sample_weight, row 1.*non-negative.*got -1"),
    case("1e-300", [1, 1e-300, 1, 1], ValueError, r"range \[1e-09, 1e\+09\], got 1e-300"),
    case("denormal", [1, 5e-324, 1, 1], ValueError, "range.*got 5e-324"),
    case("1e300", [1, 1e300, 1, 1], ValueError, r"range.*got 1e\+300"),
    case("1e38", np.array([1, 1e38, 1, 1], np.float32), ValueError, "range.*got"),
    case("longdouble", np.array(["1e4000"] * 4, np.longdouble), ValueError, "range.*got"),
    case("int", [1, DIGITS, 1, 1], ValueError, "range.*got <an int of 16610 bits>"),
    case("zeros", [0, 0, 0, 0], ValueError, "sample_weight is zero for all rows"),
]


@pytest.mark.parametrize("method", ["fit", "score", "partial_fit", "add_task", "validation"])
@pytest.mark.parametrize(("weights", "error", "message"), BAD_WEIGHTS)
def test_bad_weights(env, method, weights, error, message):
    """Weights that are no numbers, or out of range, raise an error that names their row."""
    if not hasattr(weights, "__len__") and not isinstance(weights, float):
        weights = (1 for _ in range(4))

    def call():
        if method == "validation":
            env.new().fit(env.valid, X_val=LONG, sample_weight_val=weights)
        elif method == "add_task":
            env.fitted.add_task(LONG.assign(task="new"), sample_weight=weights)
        else:
            classifier = env.new() if method == "fit" else env.fitted
            getattr(classifier, method)(LONG, sample_weight=weights)

    assert_raises(call, error, message)


@pytest.mark.parametrize(
    "weights",
    [
        [1, 2, 0, 1],
        [True, False, True, True],
        [1e-9, 1e9, 1, 0],
        np.array([1, 2, 3, 4], np.uint8),
        np.array([0.5, 1, 1, 1], np.float16),
        pd.Series([1, 2, 3, 4], index=[9, 9, 9, 9]),
        pd.array([1, 2, 3, 4], dtype="Int64"),
        pl.Series([1.0, 2.0, 3.0, 4.0]),
        [np.int64(1), 2.0, True, np.float32(1)],
        np.ma.array([1.0] * 4),
        [decimal.Decimal("1.5"), decimal.Decimal(0), 1, 1.0],
        [fractions.Fraction(1, 3)] * 4,
    ],
    ids=[
        "ints",
        "bools",
        "limits",
        "uint8",
        "float16",
        "series",
        "Int64",
        "polars",
        "mixed",
        "masked",
        "decimals",
        "fractions",
    ],
)
def test_odd_weights(weights):
    """Weights of every numeric type are read as floats."""
    table, rows, *_ = Reader(COLUMNS, None).training_rows(LONG, None, weights, None)
    expected = np.array([float(weight) for weight in weights])
    assert table.weights.tolist() == expected[expected > 0].tolist()
    assert (rows.weights > 0).all()


# --------------------------------------------------------------------------------------------
# Parameters

BAD_VALUES = {
    "training__model_name": ["", "a\0b", 3, None, b"a"],
    "training__max_length": [1, 2**31, 2**63, DIGITS, 2.0, True, "8", np.timedelta64(8)],
    "training__long_text": ["x", "", None, 3, ["windows"]],
    "training__batch_size": [0, -1, 2**63, 2**31, DIGITS, 16.0, True, "16", np.nan],
    "training__epochs": [-1, 2**63, True, 1.5, np.inf],
    "training__min_steps_per_epoch": [0, 2**63, None],
    "training__learning_rate": [0, -1e-3, np.nan, np.inf, DIGITS, "1e-3", None, 1j, True],
    "training__weight_decay": [-1, np.nan, np.inf, None],
    "training__warmup_ratio": [-0.1, 1, np.nan, None],
    "training__gradient_accumulation_steps": [0, 2**63, 1.0],
    "training__gradient_checkpointing": [0, 1, "yes", None],
    "training__max_grad_norm": [0, -1, np.nan, np.inf, "1"],
    "training__test_size": [1, -0.1, np.nan, np.inf, "0.1", [0.1], True],
    "training__val_size": [1, -0.1, np.nan, "0.1"],
    "head__hidden_layers": [-1, 101, 2**63, 1.0],
    "head__hidden_multiplier": [0, -1, 101, np.nan, np.inf, fractions.Fraction(1, 2)],
    "head__activation": ["swish", None, 3],
    "head__dropout": [1, -0.1, np.nan, np.inf, "0.1", decimal.Decimal("0.1"), [0.1]],
    "head__normalize": [1, "no", None],
    "head__init": ["zeros", None],
    "encoder__freeze_epochs": [-1, 2**63, None],
    "encoder__unfreeze_layers": [-1, 2**63, 1.0, "all"],
    "encoder__lr_multiplier": [0, 1.5, np.nan, np.inf, None],
    "loss__use_class_weights": [1, None],
    "loss__use_focal_loss": [1, "no"],
    "loss__focal_gamma": [-1, np.nan, np.inf],
    "loss__label_smoothing": [1, -0.1, np.nan],
    "loss__task_weights": [{"mood": -1}, {"mood": np.nan}, {"mood": "1"}, [1], "mood", 1.0],
    "eval__metric": ["auc", None, accuracy_score],
    "eval__patience": [0, 2**63, 1.0],
    "eval__min_delta": [-1, np.nan, np.inf],
    "eval__one_se_rule": [1, None],
    "eval__calibrate": [0, None],
    "pooling": ["sum", None, NoRepr(), nested()],
    "task_sampling": ["none", None, 3],
    "training": [3, {}, HeadConfig(), TrainingConfig],
    "head": [3, {}, TrainingConfig()],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, id=f"{name}-{i}-{named(value)}")
        for name, values in BAD_VALUES.items()
        for i, value in enumerate(values)
    ],
)
def test_bad_values_of_the_configuration(name, value):
    """An invalid value of the configuration raises InvalidParameterError that names the parameter.

    It does not matter whether set_params or the constructor sets the value.
    """
    *group, last = name.split("__")
    message = f"The '{last}' parameter of {''.join(group).title() or 'Multihead'}Config must be"
    classifier = MultiheadClassifier().set_params(**{f"config__{name}": value})
    assert_raises(lambda: classifier.fit({}), InvalidParameterError, message)
    groups = {
        "training": TrainingConfig,
        "head": HeadConfig,
        "encoder": EncoderConfig,
        "loss": LossConfig,
        "eval": EvalConfig,
    }
    inner = {group[0]: groups[group[0]](**{last: value})} if group else {last: value}
    built = MultiheadClassifier(MultiheadConfig(**inner))
    assert_raises(lambda: built.partial_fit({}), InvalidParameterError, message)


def test_epochs_of_too_many_texts(env):
    """Large values that together need too much memory are refused together, unless data is large.

    Without a minimum number of steps, an epoch is as long as the data.
    """
    sizes = {"batch_size": 2**31 - 1, "gradient_accumulation_steps": 2**31 - 1}
    training = TrainingConfig(model_name=env.config.training.model_name, **sizes)
    classifier = MultiheadClassifier(MultiheadConfig(training=training))
    assert_raises(lambda: classifier.fit({}), InvalidParameterError, "'min_steps_per_epoch' steps")
    training.set_params(min_steps_per_epoch=1)
    assert_raises(lambda: classifier.fit({}), ValueError, "X has no rows")


PATCH = Callback()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"config": 3}, "'config' parameter of MultiheadClassifier must be"),
        ({"config": MultiheadConfig}, "'config' parameter of MultiheadClassifier must be"),
        ({"config": NoRepr()}, "'config' parameter of MultiheadClassifier must be"),
        ({"text_column": ""}, "'text_column' parameter"),
        ({"text_column": 3}, "'text_column' parameter"),
        ({"text_column": "a\0"}, "'text_column' parameter"),
        ({"task_column": None}, "'task_column' parameter"),
        ({"label_column": ["label"]}, "'label_column' parameter"),
        ({"text_column": "task"}, "'text_column', 'task_column' and 'label_column' parameters"),
        ({"label_column": "text"}, "'text_column', 'task_column' and 'label_column' parameters"),
        ({"split_column": 3}, "'split_column' parameter of MultiheadClassifier must be"),
        ({"split_column": ""}, "'split_column' parameter of MultiheadClassifier must be"),
        (
            {"split_column": "label"},
            "'split_column' parameter.* must differ from the 'text_column'",
        ),
        ({"task_labels": ["a"]}, "'task_labels' parameter"),
        ({"task_labels": {"mood": "ab"}}, "'task_labels' parameter"),
        ({"task_labels": {"mood": 3}}, "'task_labels' parameter"),
        ({"callbacks": PATCH}, "'callbacks' parameter"),
        ({"callbacks": [3]}, "'callbacks' parameter"),
        ({"callbacks": [(3, PATCH)]}, "'callbacks' parameter"),
        ({"callbacks": [Callback]}, "'callbacks' parameter"),
        ({"callbacks": [NoRepr()]}, "'callbacks' parameter"),
        ({"warm_start": 1}, "'warm_start' parameter"),
        ({"random_state": -1}, "'random_state' parameter"),
        ({"random_state": 2**32}, "'random_state' parameter"),
        ({"random_state": DIGITS}, "'random_state' parameter"),
        ({"random_state": np.random.default_rng(0)}, "'random_state' parameter"),
        ({"device": "nonsense"}, "'device' parameter"),
        ({"device": "cuda:99"}, "'device' parameter"),
        ({"device": "meta"}, "'device' parameter"),
        ({"device": 3}, "'device' parameter"),
        ({"device": ""}, "'device' parameter"),
        ({"precision": "float16"}, "'precision' parameter"),
        ({"compile": 1}, "'compile' parameter"),
        ({"memory": ""}, "'memory' parameter"),
        ({"memory": 3}, "'memory' parameter"),
        ({"cache_memory": -1}, "'cache_memory' parameter"),
        ({"cache_memory": 1.5}, "'cache_memory' parameter"),
        ({"cache_disk": np.nan}, "'cache_disk' parameter"),
        ({"verbose": -1}, "'verbose' parameter"),
        ({"verbose": "yes"}, "'verbose' parameter"),
    ],
    ids=lambda value: named(value) if isinstance(value, dict) else "",
)
def test_bad_values_of_the_classifier(env, parameters, message):
    """An invalid parameter of the classifier raises InvalidParameterError that names it."""
    classifier = MultiheadClassifier(env.config).set_params(**parameters)
    assert_raises(lambda: classifier.fit({}), InvalidParameterError, message)


BAD_TASK_LABELS = [
    case("unknown", {"moot": ["a", "b"]}, ValueError, "'task_labels' parameter names 'moot'"),
    case("missing-label", {"mood": ["good", "x"]}, ValueError, r"row 1 .*'poor' is not one of"),
    case("empty", {"mood": []}, ValueError, "Task 'mood' has no classes"),
    case("one", {"mood": ["good"]}, ValueError, "Task 'mood' has only one class"),
    case("None", {"mood": ["good", None]}, ValueError, "'task_labels'.*'mood', position 1.*missi"),
    case("bytes", {"mood": [b"good", b"poor"]}, TypeError, r"'mood', position 0.*\(bytes\)"),
    case("enum", {"mood": [Word.A, Word.B]}, TypeError, r"'mood', position 0.*\(Word\)"),
    case("digits", {"mood": [1, DIGITS]}, ValueError, "'mood', position 1.*64 bits"),
    case("2d", {"mood": np.ones((2, 2))}, ValueError, "'mood' must be one-dimensional"),
    case("0d", {"mood": np.array("good")}, ValueError, "'mood' must be one-dimensional"),
    case("mixed", {"mood": ["good", 1]}, TypeError, "Task 'mood' mixes strings and numbers"),
    case("int-key", {3: ["a", "b"]}, ValueError, "'task_labels' parameter names 3"),
    case("long-key", {"x" * 10**5: ["a"]}, ValueError, "'task_labels' parameter names 'xxx"),
]


@pytest.mark.parametrize(("task_labels", "error", "message"), BAD_TASK_LABELS)
def test_bad_task_labels(env, task_labels, error, message):
    """Invalid classes in `task_labels` raise an error that names the task and the position."""
    assert_raises(lambda: env.new(task_labels=task_labels).fit(LONG), error, message)


def test_bools_are_not_classes_of_ints(env):
    """The labels True and False are not the classes 1 and 0 of `task_labels`."""
    X = LONG.assign(label=[True, False] * 2)
    classifier = env.new(task_labels={"mood": [0, 1]})
    assert_raises(lambda: classifier.fit(X), TypeError, "mixes numbers and bools")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        case("own", lambda c: c.set_params(colour=1), ValueError, "has no parameter 'colour'"),
        case("near", lambda c: c.set_params(devise="cpu"), ValueError, "mean 'device'"),
        case("group", lambda c: c.set_params(config__hed=1), ValueError, "mean 'head'"),
        case("deep", lambda c: c.set_params(config__head__droput=1), ValueError, "mean 'dropout'"),
        case(
            "too-deep",
            lambda c: c.set_params(config__head__dropout__x=1),
            ValueError,
            "no parameter 'dropout__x', because 'dropout' is not a group",
        ),
        case(
            "own-too-deep",
            lambda c: c.set_params(device__x=1),
            ValueError,
            "'device' is not a group",
        ),
        case("empty", lambda c: c.set_params(**{"": 1}), ValueError, "has no parameter ''"),
        case("open", lambda c: c.set_params(**{"config__": 1}), ValueError, "no parameter ''"),
        case("long", lambda c: c.set_params(**{"x" * 10**6: 1}), ValueError, "no parameter 'xxx"),
        case(
            "no-group",
            lambda c: c.set_params(config=3, config__head=None),
            ValueError,
            "not an instance of MultiheadConfig. Got 3",
        ),
        case(
            "no-inner-group",
            lambda c: c.set_params(config__head=3).set_params(config__head__dropout=0.1),
            ValueError,
            "not an instance of HeadConfig. Got 3",
        ),
        case(
            "constructor", lambda c: MultiheadClassifier(devise="cpu"), TypeError, "mean 'device'"
        ),
        case("head", lambda c: HeadConfig(droput=1), TypeError, "mean 'dropout'"),
        case("loss", lambda c: LossConfig(gamma=1), TypeError, "LossConfig has no parameter"),
        case("from_dict-list", lambda c: MultiheadConfig.from_dict([1]), TypeError, "takes a dict"),
        case(
            "from_dict-digits",
            lambda c: MultiheadConfig.from_dict(DIGITS),
            TypeError,
            "takes a dict, got <an int",
        ),
        case(
            "from_dict-key", lambda c: MultiheadConfig.from_dict({3: 1}), ValueError, "parameter 3"
        ),
        case(
            "from_dict-None",
            lambda c: MultiheadConfig.from_dict({None: 1}),
            ValueError,
            "no parameter None",
        ),
        case(
            "from_dict-tuple",
            lambda c: MultiheadConfig.from_dict({("head",): 1}),
            ValueError,
            "no parameter",
        ),
        case(
            "from_dict-group",
            lambda c: MultiheadConfig.from_dict({"head": 3}),
            TypeError,
            "HeadConfig takes a dict, got 3",
        ),
        case(
            "from_dict-other-group",
            lambda c: MultiheadConfig.from_dict({"head": LossConfig()}),
            TypeError,
            "HeadConfig takes a dict, got LossConfig",
        ),
        case(
            "from_dict-inner",
            lambda c: MultiheadConfig.from_dict({"head": {"droput": 1}}),
            ValueError,
            "mean 'dropout'",
        ),
        case(
            "from_dict-inner-key",
            lambda c: MultiheadConfig.from_dict({"head": {3: 1}}),
            ValueError,
            "HeadConfig has no parameter 3",
        ),
        case(
            "to_dict",
            lambda c: MultiheadConfig(head=3).to_dict(),
            InvalidParameterError,
            "'head' parameter of MultiheadConfig",
        ),
    ],
)
def test_bad_names_of_parameters(call, error, message):
    """An unknown parameter raises an error that suggests a name or lists the names."""
    assert_raises(lambda: call(MultiheadClassifier()), error, message)


def test_nested_values_do_not_break_a_configuration():
    """A value that cannot be copied or shown reaches the check in fit, which refuses it."""
    config = MultiheadConfig.from_dict({"pooling": nested(), "loss": {"task_weights": nested()}})
    config.to_dict()
    assert_raises(
        lambda: MultiheadClassifier(config).fit({}), InvalidParameterError, "'pooling' parameter"
    )


def test_set_params_is_all_or_nothing():
    """If one name is unknown, set_params sets nothing."""
    classifier = MultiheadClassifier()
    with pytest.raises(ValueError, match="no parameter 'droput'"):
        classifier.set_params(verbose=3, config__pooling="cls", config__head__droput=1)
    assert (classifier.verbose, classifier.config) == (0, None)


# --------------------------------------------------------------------------------------------
# model_selection

BAD_SELECTION = [
    case("n_splits-1", lambda: TaskStratifiedKFold(1), ValueError, "'n_splits' parameter of Task"),
    case("n_splits-float", lambda: TaskStratifiedKFold(2.0), ValueError, "'n_splits' parameter"),
    case("n_splits-bool", lambda: TaskStratifiedKFold(True), ValueError, "'n_splits' parameter"),
    case("n_splits-None", lambda: TaskStratifiedKFold(None), ValueError, "'n_splits' parameter"),
    case(
        "n_splits-huge",
        lambda: list(TaskStratifiedKFold(DIGITS).split(LONG)),
        ValueError,
        "Task 'mood' has 4 texts, too few for <an int of 16610 bits> folds",
    ),
    case("shuffle-str", lambda: TaskStratifiedKFold(shuffle="no"), ValueError, "'shuffle' param"),
    case("shuffle-1", lambda: TaskStratifiedKFold(shuffle=1), ValueError, "'shuffle' parameter"),
    case(
        "seed-str",
        lambda: TaskStratifiedKFold(shuffle=True, random_state="x"),
        ValueError,
        "'random_state' parameter",
    ),
    case(
        "seed-negative",
        lambda: TaskStratifiedKFold(shuffle=True, random_state=-1),
        ValueError,
        "'random_state' parameter",
    ),
    case(
        "seed-alone", lambda: TaskStratifiedKFold(random_state=1), ValueError, "'shuffle' is False"
    ),
    case("column", lambda: TaskStratifiedKFold(text_column=3), ValueError, "'text_column' param"),
    case(
        "same-columns",
        lambda: TaskStratifiedKFold(text_column="task"),
        ValueError,
        "must be different, got 'task', 'task' and 'label'",
    ),
    case(
        "too-few",
        lambda: list(TaskStratifiedKFold(5).split(LONG)),
        ValueError,
        "Task 'mood' has 4 texts, too few for 5 folds",
    ),
    case(
        "lengths",
        lambda: list(TaskStratifiedKFold(2).split(LONG, ["a"])),
        ValueError,
        "X and y must have the same number of rows, got 4 and 1",
    ),
    case("task-list", lambda: task_scorer([]), TypeError, r"'task' parameter.*Got \[\]"),
    case("task-empty", lambda: task_scorer(""), TypeError, "'task' parameter.*Got ''"),
    case("task-None", lambda: task_scorer(None), TypeError, "'task' parameter.*Got None"),
    case("task-int", lambda: task_scorer(3), TypeError, "'task' parameter.*Got 3"),
    case("task-NUL", lambda: task_scorer("a\0"), TypeError, "'task' parameter"),
    case("metric", lambda: task_scorer("a", "acuracy"), ValueError, "mean 'accuracy'"),
    case("metric-empty", lambda: task_scorer("a", ""), ValueError, "'' is not a valid scoring"),
    case("metric-None", lambda: task_scorer("a", None), ValueError, "'metric' parameter"),
    case("metric-int", lambda: task_scorer("a", 3), ValueError, "'metric' parameter.*Got 3"),
    case("metric-list", lambda: task_scorer("a", ["f1"]), ValueError, "'metric' parameter"),
    case("metric-function", lambda: task_scorer("a", accuracy_score), ValueError, "make_scorer"),
    case("metric-class", lambda: task_scorer("a", dict), ValueError, "'metric' parameter"),
    case("labels-int", lambda: task_scorer("a", labels=3), TypeError, "'labels' parameter"),
    case("labels-str", lambda: task_scorer("a", labels="ab"), TypeError, "'labels' parameter"),
    case("labels-None", lambda: task_scorer("a", labels=["a", None]), ValueError, "position 1"),
    case("labels-enum", lambda: task_scorer("a", labels=[Word.A]), TypeError, r"\(Word\)"),
    case("labels-digits", lambda: task_scorer("a", labels=[DIGITS]), ValueError, "64 bits"),
    case("tasks-empty", lambda: multitask_scoring([]), ValueError, "'tasks' parameter is empty"),
    case("tasks-int", lambda: multitask_scoring(3), TypeError, "'tasks' parameter.*Got 3"),
    case("tasks-None", lambda: multitask_scoring(None), TypeError, "'tasks' parameter.*Got None"),
    case("tasks-ints", lambda: multitask_scoring([1, 2]), TypeError, "'tasks'.*Got 1"),
    case("tasks-bytes", lambda: multitask_scoring(b"ab"), TypeError, "'tasks' parameter"),
    case("tasks-twice", lambda: multitask_scoring(["a", "a"]), ValueError, "key 'a_accuracy'"),
    case("tasks-mean", lambda: multitask_scoring(["mean"]), ValueError, "key 'mean_accuracy'"),
    case("metrics-empty", lambda: multitask_scoring(["a"], []), ValueError, "'metrics'.*is empty"),
    case("metrics-dict", lambda: multitask_scoring(["a"], {}), ValueError, "'metrics'.*is empty"),
    case("metrics-int", lambda: multitask_scoring(["a"], 3), TypeError, "'metrics' parameter"),
    case("metrics-key", lambda: multitask_scoring(["a"], {3: "f1"}), TypeError, "'metrics'.*Got 3"),
    case(
        "metrics-value", lambda: multitask_scoring(["a"], {"x": 3}), ValueError, "'metric'.*Got 3"
    ),
    case("average", lambda: multitask_scoring(["a"], average="micro"), ValueError, "'average'"),
    case("average-list", lambda: multitask_scoring(["a"], average=[]), ValueError, "'average'"),
    case(
        "average-array",
        lambda: multitask_scoring(["a"], average=np.ones(2)),
        ValueError,
        "'average' parameter",
    ),
    case(
        "scorer-int", lambda: task_scorer("a")(3, LONG), TypeError, "fitted MultiheadClass.*got 3"
    ),
    case(
        "scorer-unfitted",
        lambda: task_scorer("a")(MultiheadClassifier(), LONG),
        NotFittedError,
        "not fitted yet",
    ),
    case(
        "request",
        lambda: task_scorer("a").set_score_request(sample_weight="a b"),
        ValueError,
        "'sample_weight' parameter of set_score_request",
    ),
    case(
        "request-int",
        lambda: multitask_scoring("a").set_score_request(sample_weight=3),
        ValueError,
        "'sample_weight' parameter of set_score_request",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_SELECTION)
def test_bad_arguments_of_model_selection(call, error, message):
    """Bad arguments of splitters and scorers raise an error that names the parameter."""
    assert_raises(call, error, message)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        case("task", lambda f: task_scorer("x")(f, LONG), ValueError, "Task 'x' was not seen"),
        case("view", lambda f: task_scorer("mood")(f["mood"], LONG), TypeError, "For a view, use"),
        case(
            "several-types",
            lambda f: task_scorer("mood", labels=[1, 2])(f, LONG),
            TypeError,
            "'mood' has labels of several types",
        ),
        case(
            "weights",
            lambda f: task_scorer("mood")(f, LONG, sample_weight=["1"] * 4),
            TypeError,
            "sample_weight must be numeric",
        ),
        case("all", lambda f: multitask_scoring("x")(f, LONG), ValueError, "Task 'x' was not seen"),
        case(
            "rows",
            lambda f: task_scorer("size")(f, LONG),
            ValueError,
            "no rows of task 'size' to score",
        ),
    ],
)
def test_bad_calls_of_scorers(env, call, error, message):
    """A scorer refuses unknown tasks, other estimators and bad rows."""
    assert_raises(lambda: call(env.fitted), error, message)


def test_large_labels_are_scored_exactly(env):
    """A scorer does not merge the label 2**53 + 1 of the rows with the class 2**53."""
    X = pd.DataFrame({"text": ["a", "b"], "task": "size", "label": column_of([2**53 + 1, 0.5])})
    assert task_scorer("size", labels=[2**53])(env.fitted, X) == 0


@pytest.mark.parametrize("labels", [["a", "a\0"], [1.0, np.inf], [0.1, 0.2]])
def test_odd_classes_are_scored(env, labels):
    """Scorers of probabilities treat labels with NUL characters, inf and fractions as classes."""
    X = pd.DataFrame({"text": ["a", "b"], "task": "odd", "label": column_of(labels)})
    classifier = env.new().fit(X)
    assert np.isfinite(task_scorer("odd", "neg_log_loss")(classifier, X))
    assert task_scorer("odd")(classifier, X) == classifier.score(X)


# --------------------------------------------------------------------------------------------
# Folders, encoders and data sets


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        case("save-unfitted", lambda f, p: MultiheadClassifier().save(p), NotFittedError, "fitted"),
        case(
            "predict-unfitted",
            lambda f, p: MultiheadClassifier().predict(["a"]),
            NotFittedError,
            "not fitted",
        ),
        case(
            "add_task-unfitted",
            lambda f, p: MultiheadClassifier().add_task(LONG),
            NotFittedError,
            "not fitted",
        ),
        case(
            "view-unfitted", lambda f, p: MultiheadClassifier()["a"], NotFittedError, "not fitted"
        ),
        case("save-int", lambda f, p: f.save(3), (TypeError, ValueError), "folder"),
        case("save-None", lambda f, p: f.save(None), (TypeError, ValueError), "folder"),
        case("save-empty", lambda f, p: f.save(""), (TypeError, ValueError), "folder"),
        case("save-NUL", lambda f, p: f.save("a\0b"), (TypeError, ValueError), "folder"),
        case("save-file", lambda f, p: f.save(p / "file"), ValueError, "is a file"),
        case("save-other", lambda f, p: f.save(p), ValueError, "contains files"),
        case("load-int", lambda f, p: f.load(3), (TypeError, ValueError), "folder"),
        case("load-NUL", lambda f, p: f.load("a\0b"), (TypeError, ValueError), "folder"),
        case("load-none", lambda f, p: f.load(p / "no"), FileNotFoundError, "There is no folder"),
        case("load-other", lambda f, p: f.load(p), ValueError, "not contain a valid classifier"),
        case("load-file", lambda f, p: f.load(p / "file"), ValueError, "valid classifier|a file"),
        case("find-int", lambda f, p: find_encoder(3), (TypeError, ValueError), "model_name"),
        case("find-None", lambda f, p: find_encoder(None), (TypeError, ValueError), "model_name"),
        case("find-NUL", lambda f, p: find_encoder("a\0b"), (TypeError, ValueError), "model_name"),
        case("find-empty", lambda f, p: find_encoder(""), (TypeError, ValueError), "model_name"),
        case("tiny", lambda f, p: tiny_encoder(architecture="x"), ValueError, "architecture must"),
        case(
            "encoder",
            lambda f, p: (
                clone(f).set_params(config__training__model_name=str(p / "other")).fit(LONG)
            ),
            OSError,
            "other",
        ),
    ],
)
def test_bad_folders_and_names(env, tmp_path, call, error, message):
    """Folders and names of encoders of a wrong kind raise an error that names the argument."""
    (tmp_path / "file").write_text("text")
    assert_raises(lambda: call(env.fitted, Path(tmp_path)), error, message)


def test_datasets_are_fresh():
    """Changing a loaded data set does not change the next one."""
    messages = load_support_messages()
    messages.loc[0, "text"] = None
    assert load_support_messages()["text"].notna().all()


# --------------------------------------------------------------------------------------------
# Odd input that is right


@pytest.mark.parametrize(
    "X",
    [
        [np.str_("fine"), "bad"],
        np.array(["fine", "bad"]),
        [Text("fine"), Text("bad")],
        deque(["fine", "bad"]),
        pd.Index(["fine", "bad"]),
        pl.DataFrame({"anything": ["fine", "bad"]}),
        pd.DataFrame({3: ["fine", "bad"]}),
        pd.DataFrame({("a", "b"): ["fine", "bad"]}),
        pd.DataFrame([["fine", 1], ["bad", 2]], columns=["text", pd.NA]),
    ],
    ids=[
        "numpy-list",
        "numpy",
        "subclass",
        "deque",
        "index",
        "polars",
        "int-column",
        "two-levels",
        "NA-column",
    ],
)
def test_odd_texts(env, X):
    """Texts in any sequence have the predictions of the plain strings."""
    expected = env.fitted.predict_all(["fine", "bad"])
    assert np.array_equal(env.fitted.predict_all(X).to_numpy(), expected.to_numpy())


def test_odd_frames_are_read():
    """Columns with names of any type may stand next to the named ones; names become plain str."""
    X = STRANGE_COLUMNS.assign(task=column_of([np.str_("mood")] * 4))
    table = Reader(COLUMNS, None).training_rows(X, None, None, None)[0]
    assert {type(task) for task in table.tasks} == {str}
    assert table.task_names == ["mood"]


@pytest.mark.parametrize("form", [iter, tuple, deque, lambda rows: map(dict, rows)])
def test_rows_of_a_dict_may_be_any_iterable(env, form):
    """Generators and other iterables are read as values of a dict, in fit and in prediction."""
    rows = env.valid["mood"]
    classifier = env.new().fit({"mood": form(rows)})
    expected = classifier.predict({"mood": rows})
    assert np.array_equal(classifier.predict({"mood": form(rows)}), expected)
    assert classifier.predict_proba({"mood": form(rows)}).shape == (2, 2)
    assert classifier.score({"mood": form(rows)}) == classifier.score(env.valid)


class Name(str):
    """A plain subclass of str."""


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ({Name("mood"): ITEMS}, None),
        (long_frame().assign(task=column_of([Name("mood")] * 4)), None),
        (TEXTS, pd.DataFrame({Name("mood"): ["good", "poor"] * 2})),
        (TEXTS, pd.Series(["good", "poor"] * 2, name=Name("mood"))),
    ],
    ids=["dict", "long", "wide", "series"],
)
def test_names_of_tasks_become_plain_strings(X, y):
    """The name of a task that is a subclass of str becomes a plain string."""
    table, rows, *_ = Reader(COLUMNS, None).training_rows(X, y, None, None)
    assert table.task_names == ["mood"]
    assert {type(task) for task in [*table.tasks, *rows.classes]} == {str}


@pytest.mark.parametrize(
    ("name", "error", "message"), [(Word.A, TypeError, r"\(Word\)"), ("a\0", ValueError, "NUL")]
)
def test_bad_names_of_a_series(env, name, error, message):
    """A Series whose name cannot be the name of a task raises an error about y."""
    y = pd.Series(["x", "y"], name=name)
    assert_raises(lambda: env.new().fit(["a", "b"], y), error, f"^y: the name of a task.*{message}")


def two_of_one_name():
    """Return a table of pyarrow with two columns of one name."""
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.Table.from_arrays([pyarrow.array(["a", "b"])] * 2, names=["text", "text"])


def refused_by_narwhals(monkeypatch):
    """Return an object for which narwhals raises the error of two columns of one name."""

    class Table:
        __len__ = None

    def from_native(native, **options):
        if isinstance(native, Table):
            raise DuplicateError("Expected unique column names, got:\n- 'text' 2 times")
        return convert(native, **options)

    convert = nw.from_native
    monkeypatch.setattr(nw, "from_native", from_native)
    return Table()


@pytest.mark.parametrize("is_real", [True, False], ids=["pyarrow", "fake"])
def test_two_columns_of_one_name_in_another_library(env, is_real, monkeypatch):
    """A table of another library with two columns of one name raises an error that names it."""
    table = two_of_one_name() if is_real else refused_by_narwhals(monkeypatch)
    message = "has two columns of the same name. Rename or drop one of them."
    assert_raises(lambda: env.new().fit(table, [1, 2]), ValueError, f"^X {message}")
    assert_raises(lambda: env.new().fit(["a", "b"], table), ValueError, f"^y {message}")
    assert_raises(lambda: env.fitted.predict(table), ValueError, f"^X {message}")
    assert_raises(lambda: env.fitted.partial_fit(["a", "b"], table), ValueError, f"^y {message}")


def test_odd_texts_are_predicted(env):
    """Empty, long, NUL and control characters, and emoji have finite probabilities."""
    texts = ["", " ", "\0", "a\0b", "\n\t\r", "\U0001f600", "\u202e", "a" * 10**5, "\ufffd"]
    for p in env.fitted.predict_proba(texts).values():
        assert p.shape == (len(texts), 2)
        assert np.isfinite(p).all()
    assert len(env.fitted.predict([], task="mood")) == 0
    assert env.fitted.predict_all([]).shape == (0, 2)


def test_normal_forms_of_a_text_stay_together():
    """A text in two Unicode normalization forms is on one side of every split."""
    names = [f"caf\u00e9 {i}" for i in range(30)]
    texts = [*names, *(name.replace("\u00e9", "e\u0301") for name in names)]
    y = ["x", "y"] * 30
    rows = Reader(COLUMNS, None).training_rows(texts, y, None, None)[1]
    assert len(rows.texts.distinct) == 60
    assert rows.texts.groups.tolist() == [*range(30), *range(30)]
    config = MultiheadConfig(training=TrainingConfig(test_size=0.3, val_size=0.3))._filled()
    split = hold_out_rows(config, FitRows(None, rows, {}), 0).split
    for part in split:
        assert set(part % 30) == {row % 30 for row in part}
    sides = [set(part % 30) for part in split]
    assert all(sides)
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    for train, test in TaskStratifiedKFold(3).split(texts, y):
        assert not set(train % 30) & set(test % 30)
    given = FitRows(None, rows.take(np.arange(30)), {}, rows.take(np.arange(30, 60)))
    with pytest.warns(UserWarning, match="30 validation texts also occur in X"):
        hold_out_rows(config, given, 0)


@pytest.mark.parametrize(
    "value",
    [DIGITS, [DIGITS], NoRepr(), [NoRepr()], nested(), "x" * 10**6, pd.DataFrame({"a": [1, 2]})],
    ids=["int", "ints", "no-repr", "list", "nested", "long", "frame"],
)
def test_every_value_can_be_shown(value):
    """A value of any kind can be shown on one short line."""
    assert 0 < len(short(value)) <= 60
    assert "\n" not in short(value)
