"""A column of texts stores each distinct text once."""

import numpy as np
import pytest

from rapidfit_sk._rows.texts import Texts

STRINGS = ["b", "a\0b", "a\0c", "a", "b"]


def test_codes_distinguish_texts():
    """Equal texts share a code, but texts that differ only after a NUL character do not."""
    texts = Texts.of(STRINGS)
    assert texts.codes.tolist() == [0, 1, 2, 3, 0]
    assert texts.distinct == STRINGS[:4]


@pytest.mark.parametrize("rows", [[4, 2, 2], [True, False, True, True, False], [False] * 5])
def test_selected_rows_get_new_codes(rows):
    """Selected rows have the same codes as a new column of the selected texts."""
    rows = np.array(rows)
    strings = np.array(STRINGS, dtype=object)[rows]
    taken, alone = Texts.of(STRINGS).take(rows), Texts.of(strings)
    assert taken.codes.tolist() == alone.codes.tolist()
    assert taken.distinct == alone.distinct
    assert taken.strings().tolist() == list(strings)


def test_repeated_rows_follow_each_other():
    """Repetitions of a row follow each other, and no distinct text is added."""
    texts = Texts.of(["x", "y"]).repeat(2)
    assert texts.strings().tolist() == ["x", "x", "y", "y"]
    assert texts.distinct == ["x", "y"]


def test_groups_join_normal_forms():
    """Groups join the Unicode normal forms of a text and equal the codes of other texts."""
    texts = Texts.of(["caf\u00e9", "b", "cafe\u0301", "b\0", "b"])
    assert texts.codes.tolist() == [0, 1, 2, 3, 1]
    assert texts.groups.tolist() == [0, 1, 0, 2, 1]
    plain = Texts.of(STRINGS)
    assert plain.groups is plain.codes


def test_texts_are_plain_strings():
    """Strings of numpy become plain strings and keep a NUL character at the end."""
    texts = Texts.of([np.str_("a\0"), np.str_("a"), "a"])
    assert texts.distinct == ["a\0", "a"]
    assert {type(text) for text in texts.distinct} == {str}
