"""A column of texts in which each distinct text stands once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of texts: the distinct ones, and for each row the number of its text.

    Attributes
    ----------
    codes : ndarray of int64, shape (n_rows,)
        The number of each row's text. Texts are numbered in order of first appearance, without
        gaps.
    distinct : list of str
        The text of each number.

    Examples
    --------
    >>> texts = Texts.of(["a", "b", "a", "c"])
    >>> texts.codes.tolist(), texts.distinct
    ([0, 1, 0, 2], ['a', 'b', 'c'])
    >>> texts.take([3, 2]).strings().tolist()
    ['c', 'a']
    """

    codes: NDArray[np.int64]
    distinct: list[str]

    @classmethod
    def of(cls, strings: Iterable[str]) -> Texts:
        """Return a column that numbers these strings.

        With a dict, since pandas 2 takes two strings for the same if they agree up to a NUL.
        """
        numbers: dict[str, int] = {}
        codes = [numbers.setdefault(text, len(numbers)) for text in strings]
        return cls(np.array(codes, dtype=np.int64), list(numbers))

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Sequence[int] | np.ndarray) -> Texts:
        """Return some rows, their texts numbered anew."""
        codes, kept = pd.factorize(self.codes[rows])
        return Texts(codes.astype(np.int64), [self.distinct[code] for code in kept])

    def repeat(self, n: int) -> Texts:
        """Return each row `n` times in succession."""
        return Texts(np.repeat(self.codes, n), self.distinct)

    def strings(self) -> NDArray[np.object_]:
        """Return the text of each row."""
        distinct = np.empty(len(self.distinct), dtype=object)
        distinct[:] = self.distinct
        return distinct[self.codes]
