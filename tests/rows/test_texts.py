"""Columns of texts: each distinct text stands once, and rows are numbers."""

import numpy as np
import pytest

from rapidfit_sk._rows.texts import Texts

STRINGS = ["b", "a\0b", "a\0c", "a", "b"]


def test_texts_are_told_apart():
    """Equal texts share a number; texts that agree up to a NUL do not."""
    texts = Texts.of(STRINGS)
    assert texts.codes.tolist() == [0, 1, 2, 3, 0]
    assert texts.distinct == STRINGS[:4]


@pytest.mark.parametrize("rows", [[4, 2, 2], [True, False, True, True, False], [False] * 5])
def test_some_rows_are_numbered_as_if_read_alone(rows):
    """Taken rows have the numbers that the same strings would get without the others."""
    rows = np.array(rows)
    strings = np.array(STRINGS, dtype=object)[rows]
    taken, alone = Texts.of(STRINGS).take(rows), Texts.of(strings)
    assert taken.codes.tolist() == alone.codes.tolist()
    assert taken.distinct == alone.distinct
    assert taken.strings().tolist() == list(strings)


def test_repeated_rows_follow_each_other():
    """Each row is repeated in place, and no text is added."""
    texts = Texts.of(["x", "y"]).repeat(2)
    assert texts.strings().tolist() == ["x", "x", "y", "y"]
    assert texts.distinct == ["x", "y"]
