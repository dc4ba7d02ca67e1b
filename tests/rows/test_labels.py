"""Labels are converted to codes and back."""

import numpy as np
import pandas as pd
import pytest

from rapidfit_sk._rows.labels import (
    encode_labels,
    encode_table,
    encode_training_table,
    learn_classes,
    warn_of_contradictions,
)
from rapidfit_sk._rows.tables import Columns, read_labeled

COLUMNS = Columns("text", "task", "label")


def table_of(**labels):
    frame = pd.DataFrame(
        [(f"{task} {i}", task, v) for task, values in labels.items() for i, v in enumerate(values)],
        columns=["text", "task", "label"],
    ).astype(object)
    frame["label"] = pd.Series(
        [value for values in labels.values() for value in values], dtype=object
    )
    return read_labeled(frame, None, COLUMNS)


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (["b", "a", "b"], object),
        ([3, 1, 3], np.int64),
        ([True, False, True], bool),
        ([2.5, 1.0, 2.5], float),
        ([np.int8(3), np.int8(1)], np.int8),
        ([np.str_("b"), np.str_("a")], np.dtype("<U1")),
    ],
)
def test_classes_are_sorted_and_typed(labels, dtype):
    """Classes are the sorted distinct labels in their own type."""
    classes = learn_classes(table_of(t=labels))["t"]
    assert classes.dtype == dtype
    assert classes.tolist() == sorted(set(labels))


def test_tasks_may_differ_in_type():
    """Each task of a long frame has the type of its own labels."""
    classes = learn_classes(table_of(a=["x", "y"], b=[1, 2], c=[True, False]))
    assert [classes[task].dtype.kind for task in "abc"] == ["O", "i", "b"]


def test_round_trip():
    """Codes map back to the labels."""
    labels = np.array(["b", "a", "c", "b"], dtype=object)
    classes = np.array(["a", "b", "c"], dtype=object)
    codes = encode_labels(labels, classes)
    assert classes[codes].tolist() == labels.tolist()


def test_unknown_label_and_task():
    """An unknown label gets the code -1, and an unknown task raises an error."""
    classes = {"t": np.array(["a", "b"], dtype=object)}
    assert encode_table(table_of(t=["a", "z"]), classes).labels.tolist() == [0, -1]
    with pytest.raises(ValueError, match=r"Row 0: Task 'u' was not seen in fit.*are: 't'"):
        encode_table(table_of(u=["a", "b"]), classes)


def test_training_rows_have_codes_throughout():
    """A training row whose label equals no class raises an error with its place."""
    classes = {"t": np.array(["a", "b"], dtype=object)}
    assert encode_training_table(table_of(t=["b", "a"]), classes).labels.tolist() == [1, 0]
    message = r"In row 1 \(task 't'\), the label 'z' \(str\) does not equal any class"
    with pytest.raises(ValueError, match=message):
        encode_training_table(table_of(t=["a", "z"]), classes)


def test_one_class_only():
    """A task with one class raises an error that names it."""
    with pytest.raises(ValueError, match=r"Task 'mood' has only one class \('good'\)"):
        learn_classes(table_of(mood=["good", "good"]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["good", 1], "mixes strings and numbers as labels \\('good' and 1\\)"),
        ([2, True, 2], "mixes numbers and bools as labels \\(2 and True\\)"),
    ],
)
def test_mixed_types_are_refused(labels, message):
    """A task must not mix strings, numbers and bools."""
    with pytest.raises(TypeError, match=f"Task 'mood' {message}"):
        learn_classes(table_of(mood=labels))


def test_single_precision_is_compared_as_such():
    """0.1 matches the class 0.1 in single precision, and a string is an unknown label."""
    classes = np.array([0.1, 0.2], dtype=np.float32)
    labels = np.array([0.1, np.float32(0.2), "0.1"], dtype=object)
    assert encode_labels(labels, classes).tolist() == [0, 1, -1]


def contradicting(labels):
    frame = pd.DataFrame({"text": ["a", "a", "b", "b", "c"], "task": "t"})
    table = read_labeled(frame, np.array(labels, dtype=object), COLUMNS)
    return table, encode_table(table, learn_classes(table))


def test_contradictions_are_counted():
    """Rows with the same text and task but different labels are counted; repeats are not."""
    with pytest.warns(UserWarning, match=r"^2 rows .* The first one is row 0 \(task 't'\)"):
        warn_of_contradictions(*contradicting(["x", "y", "x", "x", "y"]))
    warn_of_contradictions(*contradicting([1, 1.0, 2, 2, 1]))
