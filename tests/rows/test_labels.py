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
from rapidfit_sk._rows.values import exact_array

COLUMNS = Columns("text", "task", "label")


def table_of(**labels):
    """Return a table with the given labels of each task, one distinct text per row."""
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
def test_classes_are_sorted_and_keep_their_type(labels, dtype):
    """The classes of a task are its sorted distinct labels, in the type of the labels."""
    classes = learn_classes(table_of(t=labels))["t"]
    assert classes.dtype == dtype
    assert classes.tolist() == sorted(set(labels))


def test_tasks_have_separate_label_types():
    """The classes of each task in a long frame have the type of the labels of this task."""
    classes = learn_classes(table_of(a=["x", "y"], b=[1, 2], c=[True, False]))
    assert [classes[task].dtype.kind for task in "abc"] == ["O", "i", "b"]


def test_codes_index_the_classes():
    """Indexing the classes with the codes gives the original labels."""
    labels = np.array(["b", "a", "c", "b"], dtype=object)
    classes = np.array(["a", "b", "c"], dtype=object)
    codes = encode_labels(labels, classes)
    assert classes[codes].tolist() == labels.tolist()


def test_unknown_label_and_task():
    """An unknown label gets the code -1, and an unknown task raises an error."""
    classes = {"t": np.array(["a", "b"], dtype=object)}
    assert encode_table(table_of(t=["a", "z"]), classes).labels.tolist() == [0, -1]
    with pytest.raises(
        ValueError, match=r"Row 0: Task 'u' was not seen in fit.*are: 't'\. Leave out"
    ):
        encode_table(table_of(u=["a", "b"]), classes)


def test_unknown_training_label_raises():
    """A training label that equals no class raises an error that names its row."""
    classes = {"t": np.array(["a", "b"], dtype=object)}
    assert encode_training_table(table_of(t=["b", "a"]), classes).labels.tolist() == [1, 0]
    message = r"In row 1 \(task 't'\), the label 'z' \(str\) does not equal any class"
    with pytest.raises(ValueError, match=message):
        encode_training_table(table_of(t=["a", "z"]), classes)


def test_task_with_one_class_raises():
    """A task with only one class raises an error that names the task and the class."""
    with pytest.raises(ValueError, match=r"Task 'mood' has only one class \('good'\)"):
        learn_classes(table_of(mood=["good", "good"]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["good", 1], "mixes strings and numbers as labels \\('good' and 1\\)"),
        ([2, True, 2], "mixes numbers and bools as labels \\(2 and True\\)"),
    ],
)
def test_mixed_label_types_raise(labels, message):
    """Labels of a task that mix strings, numbers and bools raise an error."""
    with pytest.raises(TypeError, match=f"Task 'mood' {message}"):
        learn_classes(table_of(mood=labels))


def test_labels_match_classes_in_single_precision():
    """The label 0.1 matches the class 0.1 in single precision, but the string "0.1" does not."""
    classes = np.array([0.1, 0.2], dtype=np.float32)
    labels = np.array([0.1, np.float32(0.2), "0.1"], dtype=object)
    assert encode_labels(labels, classes).tolist() == [0, 1, -1]


def repeated_texts(labels):
    """Return the table and the coded rows of the texts "a", "a", "b", "b" and "c"."""
    frame = pd.DataFrame({"text": ["a", "a", "b", "b", "c"], "task": "t"})
    table = read_labeled(frame, np.array(labels, dtype=object), COLUMNS)
    return table, encode_table(table, learn_classes(table))


def test_contradictory_labels_are_counted():
    """Rows with the same text and task are counted if their labels differ, otherwise not."""
    with pytest.warns(UserWarning, match=r"^2 rows .* The first one is row 0 \(task 't'\)"):
        warn_of_contradictions(*repeated_texts(["x", "y", "x", "x", "y"]))
    warn_of_contradictions(*repeated_texts([1, 1.0, 2, 2, 1]))


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([np.uint64(1), np.int64(2)], np.int64),
        ([np.uint64(2**63), 1], np.uint64),
        ([np.int8(1), np.int16(300)], np.int16),
        ([np.float16(0.5), np.int8(1)], np.float16),
        ([2**53, 0.5], np.float64),
        ([np.str_("a"), np.str_("a\0")], object),
        ([2**63, -1], None),
        ([2**53 + 1, 0.5], None),
    ],
)
def test_exact_arrays(labels, dtype):
    """An array of labels has the first dtype that holds all of them exactly, if there is one."""
    distinct = [
        str.__str__(x) if isinstance(x, str) else int(x) if x == int(x) else float(x)
        for x in labels
    ]
    found = exact_array(labels, distinct)
    if dtype is None:
        assert found is None
    else:
        assert found.dtype == dtype
        assert found.tolist() == distinct


def test_labels_beyond_the_classes():
    """A label out of the range of float16 is no class, not even the class inf."""
    classes = np.array([0.5, np.inf], dtype=np.float16)
    assert encode_labels(np.array([0.5, 1e10, 2**63, np.inf], object), classes).tolist() == [
        0,
        -1,
        -1,
        1,
    ]


@pytest.mark.parametrize(
    ("classes", "labels", "codes"),
    [
        ([0.0, 2.0**53], [2**53 + 1, 2**53, 0], [-1, 1, 0]),
        (np.float16([0.0, 2048]), [2049, 2048], [-1, 1]),
        ([0, 1], [True, False], [-1, -1]),
        ([0, 1], [True, 1, 1.0, np.bool_(False), "1"], [-1, 1, 1, -1, -1]),
        ([False, True], [1, True, np.bool_(False)], [-1, 1, 0]),
        ([0, 1], [10**400, 1], [-1, 1]),
    ],
)
def test_labels_do_not_merge(classes, labels, codes):
    """Ints are compared exactly, and a bool or a string never equals a number."""
    assert encode_labels(np.array(labels, dtype=object), np.array(classes)).tolist() == codes


def test_labels_of_another_kind_raise():
    """A task whose labels all differ in kind from its classes raises an error with both types."""
    classes = {"t": np.array([1, 2]), "u": np.array(["a", "b"], dtype=object)}
    message = r"The label of row 0 \(task 't'\) is '1' \(str\).* numbers: 1, 2"
    with pytest.raises(TypeError, match=message):
        encode_table(table_of(t=["1", "2"], u=["a"]), classes)
    assert encode_table(table_of(t=[1, "2"], u=["c"]), classes).labels.tolist() == [0, -1, -1]
