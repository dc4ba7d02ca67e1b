"""All accepted forms of input give the same table, and errors name the invalid cell."""

import numpy as np
import pandas as pd
import pytest

from rapidfit_sk._rows.tables import (
    Columns,
    read_labeled,
    read_texts,
    read_unlabeled,
)

COLUMNS = Columns("text", "task", "label")
LONG = pd.DataFrame(
    {
        "text": ["fine", "bad", "fine", "why"],
        "task": ["mood", "mood", "intent", "intent"],
        "label": ["good", "poor", "tell", "ask"],
    },
    index=[7, 7, 3, 1],
)
ROWS = {
    ("fine", "mood", "good"),
    ("bad", "mood", "poor"),
    ("fine", "intent", "tell"),
    ("why", "intent", "ask"),
}
GUIDE = {
    task: [{"text": text, "label": label} for text, name, label in sorted(ROWS) if name == task]
    for task in ("mood", "intent")
}
WIDE = pd.DataFrame({"mood": ["good", "poor", None], "intent": ["tell", np.nan, "ask"]})


def rows_of(table):
    """Return the set of (text, task, label) rows of a table."""
    return set(zip(table.texts.strings(), table.tasks, table.labels, strict=True))


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (LONG, None),
        (LONG.drop(columns="label"), LONG["label"].tolist()),
        (LONG.drop(columns="label"), LONG["label"].to_numpy()),
        (LONG.drop(columns="label"), LONG["label"].reset_index(drop=True)),
        (LONG.drop(columns="label"), LONG[["label"]].reset_index(drop=True)),
        (GUIDE, None),
        (["fine", "bad", "why"], WIDE),
        (np.array(["fine", "bad", "why"]), WIDE),
        (np.array([["fine"], ["bad"], ["why"]], dtype=object), WIDE),
        (pd.Series(["fine", "bad", "why"], index=[5, 5, 5]), WIDE),
        (pd.DataFrame({"anything": ["fine", "bad", "why"]}), WIDE),
        (pd.DataFrame({"text": ["fine", "bad", "why"], "more": [1, 2, 3]}), WIDE),
    ],
)
def test_all_forms_give_the_same_rows(X, y):
    """All forms of input give the same rows, and y matches X by position, not by index."""
    assert rows_of(read_labeled(X, y, COLUMNS)) == ROWS


def test_y_takes_precedence_over_the_label_column():
    """Labels in y take precedence over the label column of X."""
    table = read_labeled(LONG, ["a", "b", "c", "d"], COLUMNS)
    assert table.labels.tolist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("name", [None, "mood", ""])
def test_one_dimensional_y_is_one_task(name):
    """A one-dimensional y is one task, with the name of the Series or of the label column."""
    table = read_labeled(["a", "b"], pd.Series([1, 2], name=name), COLUMNS)
    assert table.task_names == [name or "label"]


def test_positions_refer_to_x():
    """Rows of wide labels have the position of their text in X.

    Rows of a dict have a position across all tasks and a row number within their task.
    """
    wide = read_labeled(["fine", "bad", "why"], WIDE, COLUMNS)
    assert wide.positions.tolist() == [0, 1, 0, 2]
    guide = read_labeled(GUIDE, None, COLUMNS)
    assert guide.positions.tolist() == [0, 1, 2, 3]
    assert guide.rows.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "values",
    [
        np.array([1, 2], dtype=np.int32),
        np.array([1.5, 2.5], dtype=np.float32),
        np.array([True, False]),
        np.array(["a", "b"]),
        pd.Series([1, 2], dtype="int16"),
        pd.Series(["a", "b"], dtype="category"),
        pd.Series([1, 2], dtype="Int64"),
        pd.Series([True, False], dtype="boolean"),
        [np.int8(3), np.int8(4)],
    ],
)
def test_labels_keep_their_type(values):
    """Labels in the table have the values and the type of the input."""
    table = read_labeled(["a", "b"], values, COLUMNS)
    expected = values.tolist() if isinstance(values, pd.Series) else list(values)
    assert table.labels.tolist() == expected
    if isinstance(values, np.ndarray):
        assert all(isinstance(label, values.dtype.type) for label in table.labels)


def changed(column, row, value):
    """Return the long frame with one changed cell."""
    frame = LONG.astype(object)
    frame.iloc[row, frame.columns.get_loc(column)] = value
    return frame


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (
            LONG.drop(columns="task"),
            None,
            ValueError,
            "no column 'task'\\. Its columns are: 'text', 'label'",
        ),
        (LONG.drop(columns="text"), None, ValueError, "no column 'text'"),
        (LONG.drop(columns="label"), None, ValueError, "no column 'label'.*or pass the labels as"),
        (LONG.rename(columns={"task": "tasks"}), None, ValueError, "Did you mean 'tasks'"),
        (LONG.iloc[:0], None, ValueError, "no rows"),
        ({}, None, ValueError, "no rows"),
        (changed("text", 2, None), None, ValueError, r"'text', row 2 \(task 'intent'\).*missing"),
        (changed("text", 2, np.nan), None, ValueError, r"'text', row 2 \(task 'intent'\).*missing"),
        (changed("text", 1, 3.5), None, TypeError, r"'text', row 1 \(task 'mood'\).*3.5 \(float\)"),
        (changed("task", 3, np.nan), None, ValueError, "'task', row 3.*non-empty string, got nan"),
        (changed("task", 3, ""), None, ValueError, "'task', row 3.*non-empty string, got ''"),
        (changed("task", 3, 5), None, TypeError, "'task', row 3.*non-empty string, got 5"),
        (changed("label", 3, None), None, ValueError, r"'label', row 3 \(task 'intent'\).*missing"),
        (changed("label", 0, pd.NA), None, ValueError, r"'label', row 0 \(task 'mood'\).*missing"),
        (changed("label", 0, (1, 2)), None, TypeError, r"'label', row 0.*got \(1, 2\) \(tuple\)"),
        (LONG, ["a", "b"], ValueError, "same number of rows, got 4 and 2"),
        (["a", "b"], WIDE, ValueError, "same number of rows, got 2 and 3"),
        (["a", "b"], None, ValueError, "y is missing"),
        ("one text", ["a"], TypeError, r"one string, 'one text'. Pass a list of texts: \['one"),
        (["a", None], [1, 2], ValueError, "'text', row 1: the text is missing"),
        (["a", 2], [1, 2], TypeError, "'text', row 1: a text must be a string, got 2"),
        (["a", "b"], "ab", TypeError, "y must be a list, an array or a Series, got 'ab'"),
        (["a", "b"], [1, np.nan], ValueError, r"'label', row 1 \(task 'label'\).*missing"),
        (np.ones((2, 3)), [1, 2], ValueError, r"one-dimensional, got an array of shape \(2, 3\)"),
        (LONG, WIDE, ValueError, "frame with 2 columns"),
        (
            ["a", "b", "c"],
            WIDE.assign(mood=None),
            ValueError,
            "Task 'mood' has no labels\\. Drop the task",
        ),
        (["a"], pd.DataFrame(index=[0]), ValueError, "no columns"),
        (["a", "b", "c"], WIDE.set_axis(["t", "t"], axis=1), ValueError, "two columns named 't'"),
        (pd.concat([LONG, LONG["text"]], axis=1), None, ValueError, "X has two columns named 'tex"),
        (["a", "\ud800"], [1, 2], ValueError, "'text', row 1: the text is not valid Unicode"),
        (
            ["a", "b"],
            pd.Series([1, None], dtype="category"),
            ValueError,
            r"'label', row 1 \(task 'label'\): the label is missing",
        ),
        (["a"], np.array(["2020-01-01"], "M8[ns]"), TypeError, r"'label', row 0.*\(datetime64\)"),
        (["a", "b", "c"], WIDE.rename(columns={"mood": 3}), TypeError, "non-empty string, got 3"),
        (GUIDE, ["a"], ValueError, "already contains the labels. Omit y"),
        ({"mood": "text"}, None, TypeError, "Task 'mood' must map to a list of dicts, got 'text'"),
        ({**GUIDE, "more": []}, None, ValueError, "Task 'more' has no labels\\. Drop the task"),
        ({"mood": [{"text": "a"}]}, None, ValueError, "Row 0 of task 'mood'.*the key 'label'"),
        ({"mood": ["a"]}, None, ValueError, "Row 0 of task 'mood' must be a dict.*got 'a'"),
        ({"": [{"text": "a", "label": "b"}]}, None, ValueError, "non-empty string, got ''"),
    ],
)
def test_invalid_input_raises(X, y, error, message):
    """The error names the task, the column and the first invalid row, or the missing part."""
    with pytest.raises(error, match=message):
        read_labeled(X, y, COLUMNS)


def test_known_task_without_labels_is_skipped():
    """If a known task has no labels, as in a small fold, the other tasks are still read."""
    table = read_labeled(["a", "b", "c"], WIDE.assign(mood=None), COLUMNS, tasks=["mood", "intent"])
    assert table.task_names == ["intent"]


@pytest.mark.parametrize(("name", "task"), [("mood", "mood"), ("other", None), (None, None)])
def test_one_dimensional_y_belongs_to_a_known_task(name, task):
    """A one-dimensional y belongs to the only known task, or to the known task of its name."""
    y = pd.Series(["x", "y"], name=name)
    assert read_labeled(["a", "b"], y, COLUMNS, tasks=["only"]).task_names == ["only"]
    if task:
        assert read_labeled(["a", "b"], y, COLUMNS, tasks=["mood", "z"]).task_names == [task]
    else:
        with pytest.raises(ValueError, match="one column per task, pass it as a Series named"):
            read_labeled(["a", "b"], y, COLUMNS, tasks=["mood", "z"])


def test_prediction_needs_no_labels():
    """For prediction, a frame or a dict needs no labels."""
    assert (
        read_unlabeled(LONG.drop(columns="label"), COLUMNS).tasks.tolist() == LONG["task"].tolist()
    )
    questions = read_unlabeled({"mood": [{"text": "fine"}]}, COLUMNS)
    assert (questions.texts.distinct, questions.tasks.tolist()) == (["fine"], ["mood"])


def test_texts_are_read_from_a_frame():
    """Texts are read from the text column, or from the only column of a frame."""
    assert read_texts(LONG, COLUMNS).strings().tolist() == LONG["text"].tolist()
    assert read_texts(pd.DataFrame({"q": ["a"]}), COLUMNS).distinct == ["a"]
    with pytest.raises(ValueError, match="no column 'text'"):
        read_texts(pd.DataFrame({"q": ["a"], "r": ["b"]}), COLUMNS)


def test_input_does_not_change():
    """Reading changes neither X nor y."""
    before, labels = LONG.copy(), WIDE.copy()
    read_labeled(LONG, None, COLUMNS)
    read_labeled(["a", "b", "c"], WIDE, COLUMNS)
    pd.testing.assert_frame_equal(LONG, before)
    pd.testing.assert_frame_equal(WIDE, labels)
