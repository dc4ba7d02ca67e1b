"""Properties of reading that hold for any frame, label, text, name and weight."""

import traceback
import unicodedata
import warnings

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rapidfit_sk import MultiheadConfig, TrainingConfig
from rapidfit_sk._held_out import FitRows, hold_out_rows
from rapidfit_sk._rows import Columns, Reader, Texts, encode_labels
from rapidfit_sk._validation import short
from rapidfit_sk.model_selection import TaskStratifiedKFold

COLUMNS = Columns("text", "task", "label")
READER = Reader(COLUMNS, None)

# Examples are the same in each run, and none are stored.
check = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

characters = st.characters(exclude_categories=())  # includes halves of surrogate pairs
any_text = st.text(characters, max_size=8) | st.sampled_from(["a", "a\0", "a\0\0", "\0", "", " a"])
large_ints = st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1, -(2**63)])
ints = st.integers(-5, 5) | large_ints | st.integers()
floats = st.floats(width=64) | st.sampled_from([0.1, 0.5, float(2**53)])
strings = any_text | any_text.map(np.str_)
numpy_ints = st.one_of(
    st.integers(-128, 127).map(np.int8),
    st.integers(0, 255).map(np.uint8),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.integers(0, 2**64 - 1).map(np.uint64),
)
numpy_floats = st.floats(width=16).map(np.float16) | st.floats(width=32).map(np.float32)
bools = st.booleans() | st.booleans().map(np.bool_)
others = st.one_of(
    st.none(),
    st.binary(max_size=3),
    st.complex_numbers(),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.just(np.datetime64("2020")),
    st.just(np.timedelta64(1, "s")),
    st.just(np.longdouble(1)),
    st.lists(st.integers(), max_size=2),
)


def lists(*kinds, min_size=1):
    return st.lists(st.one_of(*kinds), min_size=min_size, max_size=8)


label_lists = st.one_of(
    lists(strings),
    lists(ints, numpy_ints),
    lists(ints, numpy_ints, floats, numpy_floats),
    lists(bools),
    lists(floats, numpy_floats),
    lists(strings, ints, floats, bools, others),
)


def attempt(call):
    """Return the result of a call, or None if this package refuses the input with its own error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Some labels differ only|y has missing labels")
        try:
            return call()
        except (ValueError, TypeError) as error:
            refusal = error
    frame, _ = list(traceback.walk_tb(refusal.__traceback__))[-1]
    assert frame.f_globals["__name__"].startswith("rapidfit_sk"), frame
    assert len(str(refusal)) < 1500
    return None


def object_array(values):
    result = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        result[i] = value
    return result


def exact(label):
    """Return what distinguishes a label: its kind and its exact value."""
    if isinstance(label, str):
        return "string", str.__str__(label)
    if isinstance(label, bool | np.bool_):
        return "bool", bool(label)
    return "number", label.item() if isinstance(label, np.generic) else label


@check
@given(label_lists, st.booleans())
def test_labels_are_refused_or_kept(labels, in_frame):
    """Labels of any type are refused, or each distinct one is its own class with its own code."""
    texts = [f"text {i}" for i in range(len(labels))]
    if in_frame:
        X = pd.DataFrame({"text": texts, "task": "label"})
        X["label"] = pd.Series(object_array(labels), dtype=object)
        found = attempt(lambda: READER.training_rows(X, None, None, None))
    else:
        found = attempt(lambda: READER.training_rows(texts, labels, None, None))
    if found is None:
        return
    classes, codes = found[1].classes["label"], found[1].labels
    assert len(classes) == len({exact(label) for label in labels})
    assert classes.tolist() == sorted(classes.tolist())
    assert (codes >= 0).all()
    assert [exact(classes.tolist()[code]) for code in codes] == [exact(label) for label in labels]
    assert np.array_equal(encode_labels(classes.astype(object), classes), np.arange(len(classes)))


@check
@given(label_lists, label_lists)
def test_labels_of_a_later_fit_are_refused_or_kept(first, later):
    """Labels of a later fit are refused, or each row has the class that equals its label.

    The classes are those of both fits. A float equals a class if it rounds to it.
    """
    texts = [f"text {i}" for i in range(8)]
    known = attempt(lambda: READER.training_rows(texts[: len(first)], first, None, None))
    if known is None:
        return
    before = known[1].classes
    found = attempt(lambda: READER.training_rows(texts[: len(later)], later, None, before))
    if found is None:
        return
    classes, codes = found[1].classes["label"], found[1].labels
    kept = encode_labels(before["label"], classes)
    assert (codes >= 0).all()
    assert set(kept) | set(codes) == set(range(len(classes)))
    assert len(set(kept)) == len(before["label"])
    if len(classes) == len(kept):
        assert classes.dtype == before["label"].dtype
    given_types = [
        classes.dtype.type(label) if classes.dtype.kind == "f" else label for label in later
    ]
    assert [exact(classes[code]) for code in codes] == [exact(label) for label in given_types]


@check
@given(st.lists(ints | numpy_ints, min_size=2, max_size=6, unique_by=int))
def test_ints_of_64_bits_are_accepted(labels):
    """Ints are accepted if int64 or uint64 holds all of them, and refused otherwise."""
    values = [int(label) for label in labels]
    fits = any(
        np.iinfo(kind).min <= min(values) and max(values) <= np.iinfo(kind).max
        for kind in (np.int64, np.uint64)
    )
    found = attempt(lambda: READER.training_rows([str(v) for v in values], labels, None, None))
    assert (found is not None) == fits


@check
@given(st.lists(any_text | any_text.map(np.str_), min_size=1, max_size=8))
def test_texts_are_refused_or_kept(texts):
    """Any valid Unicode is read without change, and halves of surrogate pairs are refused."""
    y = ["x", "y"] * len(texts)
    found = attempt(lambda: READER.training_rows(texts * 2, y[: 2 * len(texts)], None, None))
    is_valid = all(c < "\ud800" or c > "\udfff" for text in texts for c in text)
    assert (found is not None) == is_valid
    if found is not None:
        strings = found[0].texts.strings().tolist()
        assert strings == [str.__str__(text) for text in texts] * 2
        assert {type(text) for text in strings} == {str}


@check
@given(st.lists(any_text | any_text.map(np.str_), min_size=1, max_size=4, unique_by=str.__str__))
def test_names_of_tasks_are_refused_or_kept(names):
    """Distinct names give distinct tasks, or a name is refused."""
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": 2}]
    found = attempt(lambda: READER.training_rows(dict.fromkeys(names, rows), None, None, None))
    # With pyarrow, pandas cannot convert invalid Unicode to its dtype of strings.
    columns = pd.Index(object_array(names), dtype=object)
    y = pd.DataFrame(np.array([[1] * len(names), [2] * len(names)]), columns=columns)
    wide = attempt(lambda: READER.training_rows(["a", "b"], y, None, None))
    assert (found is None) == (wide is None)
    if found is not None:
        assert list(found[1].classes) == list(wide[1].classes)
        assert list(found[1].classes) == [str.__str__(name) for name in names]


weights_of_rows = st.lists(
    st.one_of(floats, ints, numpy_floats, numpy_ints, bools, others, strings, st.floats(0, 10)),
    min_size=4,
    max_size=4,
)


@check
@given(weights_of_rows | st.lists(st.floats(0, 1e9), min_size=4, max_size=4))
def test_weights_are_refused_or_kept(weights):
    """Weights of any type are refused, or read as the floats that they equal."""
    found = attempt(lambda: READER.training_rows(["a", "b", "c", "d"], [1, 2, 1, 2], weights, None))
    if found is None:
        return
    expected = np.array([float(weight) for weight in weights])
    assert found[0].weights.tolist() == expected[expected > 0].tolist()
    assert (found[1].weights > 0).all()
    assert np.isfinite(found[1].weights).all()


cells = st.one_of(
    lists(st.sampled_from(["x", "y", None, np.nan]), min_size=5),
    lists(st.integers(-3, 3), st.none(), min_size=5),
    lists(st.floats(-3, 3, width=16), st.none(), min_size=5),
    lists(st.booleans(), st.none(), min_size=5),
    lists(st.sampled_from([2**53 + 1, 2**53, 1, None]), min_size=5),
)


@check
@given(st.lists(cells, min_size=1, max_size=3))
def test_wide_labels_are_refused_or_kept(columns):
    """Each cell of a wide frame with a label is a row with this label, and no other cell is."""
    n = min(len(column) for column in columns)
    y = pd.DataFrame({f"t{i}": column[:n] for i, column in enumerate(columns)})
    texts = [f"text {i}" for i in range(n)]
    found = attempt(lambda: READER.training_rows(texts, y, None, None))
    if found is None:
        return
    table, rows, *_ = found
    assert len(table) == int(y.notna().to_numpy().sum())
    for i, column in enumerate(columns):
        mine = table.tasks == f"t{i}"
        is_there = y[f"t{i}"].notna().to_numpy()
        given = [value for value, there in zip(column, is_there, strict=False) if there]
        assert table.positions[mine].tolist() == np.flatnonzero(is_there).tolist()
        assert [exact(label)[1] for label in table.labels[mine]] == given
        if all(type(value) is int for value in given):
            assert rows.classes[f"t{i}"].dtype.kind == "i"


@check
@given(
    st.lists(st.text(st.sampled_from("ae\u00e9\u0301\u0308\u00fc\uff45"), max_size=4), min_size=1)
)
def test_groups_are_normal_forms(texts):
    """Two rows are in the same group if and only if their texts have the same normal form."""
    groups = Texts.of(texts).groups
    normal = [unicodedata.normalize("NFC", text) for text in texts]
    assert len(set(zip(normal, groups.tolist(), strict=True))) == len(set(normal))
    assert len(set(groups.tolist())) == len(set(normal))


@check
@given(
    st.lists(st.tuples(st.integers(0, 15), st.booleans()), min_size=12, max_size=40),
    st.integers(0, 5),
)
def test_splits_keep_normal_forms_together(rows, seed):
    """No split has two normal forms of a text on different sides."""
    words = "cafe\u0301", "caf\u00e9"
    texts = [f"{number} {words[composed]}" for number, composed in rows]
    labels = [number % 2 for number, _ in rows]
    config = MultiheadConfig(training=TrainingConfig(test_size=0.3, val_size=0.3))._filled()
    found = attempt(lambda: READER.training_rows(texts, labels, None, None))
    if found is None:  # only one class
        return
    numbers = np.array([number for number, _ in rows])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sides = list(hold_out_rows(config, FitRows(found[0], found[1], {}), seed).split)
        if len(set(numbers)) >= 2:
            for train, test in TaskStratifiedKFold(2).split(texts, labels):
                assert not set(numbers[train]) & set(numbers[test])
    parts = [set(numbers[side]) for side in sides]
    assert sum(map(len, parts)) == len(set.union(*parts))


@settings(check, max_examples=50)
@given(st.recursive(others | strings | ints | floats, lambda inner: st.lists(inner) | inner))
def test_every_value_can_be_shown(value):
    """Any value can be shown on one line of at most 60 characters."""
    assert len(short(value)) <= 60
    assert "\n" not in short(value)
