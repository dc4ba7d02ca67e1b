"""A column of texts that stores each distinct text once."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of texts that stores each distinct text once.

    Attributes
    ----------
    codes : ndarray of int64, shape (n_rows,)
        The code of the text of each row. Codes start at 0 and follow the order of first appearance.
    distinct : list of str
        The text of each code.

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
        """Build a column from strings.

        The codes come from a dict, because pandas 2 does not distinguish strings that differ only
        after a NUL character.
        """
        numbers: dict[str, int] = {}
        codes = [
            numbers.setdefault(text if type(text) is str else str.__str__(text), len(numbers))
            for text in strings
        ]
        return cls(np.array(codes, dtype=np.int64), list(numbers))

    @property
    def groups(self) -> NDArray[np.int64]:
        """The group of the text of each row, for splits.

        Texts that differ only in Unicode normalization are in the same group, because they are the
        same for a reader and often for a tokenizer. Otherwise, groups equal `codes`.
        """
        if all(text.isascii() for text in self.distinct):
            return self.codes
        normal = (unicodedata.normalize("NFC", text) for text in self.distinct)
        return Texts.of(normal).codes[self.codes]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Sequence[int] | np.ndarray) -> Texts:
        """Return a subset of the rows, with new codes for their texts."""
        codes, kept = pd.factorize(self.codes[rows])
        return Texts(codes.astype(np.int64), [self.distinct[code] for code in kept])

    def repeat(self, n: int) -> Texts:
        """Return a column in which each row is repeated `n` times in succession."""
        return Texts(np.repeat(self.codes, n), self.distinct)

    def strings(self) -> NDArray[np.object_]:
        """Return the text of each row as an array."""
        distinct = np.empty(len(self.distinct), dtype=object)
        distinct[:] = self.distinct
        return distinct[self.codes]
