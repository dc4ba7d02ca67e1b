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
