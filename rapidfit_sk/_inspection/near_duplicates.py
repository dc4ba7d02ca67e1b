"""Pairs of texts that are nearly the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

# Length of the sequences of characters that are compared, and the cosine similarity of two texts
# that are nearly the same.
_N, SIMILAR = 4, 0.9
# Sequences in more texts than this suggest no pair, because the number of pairs grows with the
# square. Texts with the same phrase are then found as neighbors in sorted order.
_MOST_TEXTS = 30
# Number of characters that are compared at each end of a long text.
_MOST_CHARACTERS = 1000
_SIGNS = re.compile(r"[\W_]+")
_DIGITS = re.compile(r"\d+")


def near_duplicates(texts: Sequence[str], parts: Sequence[str] | None = None) -> pd.DataFrame:
    """Return pairs of texts that are nearly the same.

    Two texts are nearly the same if they are equal without signs, numbers, case and the form of
    their Unicode characters, or if the cosine similarity of their sequences of four characters is
    at least 0.9. Of texts that are equal in this sense, each is paired with the first one, or with
    parts, with the first one in each other part.

    Parameters
    ----------
    texts : sequence of str
        Distinct texts. With `parts`, a text may occur once in each part.
    parts : sequence of str or None, default=None
        The part of each text. Only pairs in different parts are then returned.

    Returns
    -------
    pairs : DataFrame
        The columns `first` and `second`, positions in `texts`, and `similarity`; the most similar
        pairs come first.

    Notes
    -----
    Texts are compared if they share a sequence of characters that occurs in at most 30 texts, or
    if they are neighbors in the order of their beginnings or of their ends. Time and memory
    therefore grow almost linearly with the number of texts. In long texts, only the first and the
    last 1,000 characters are compared.
    """
    members: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        members.setdefault(_plain(text), []).append(i)
    same = ((form, form, 1.0) for form, own in members.items() if len(own) > 1)
    close = _similar_pairs([form for form in members if len(form) >= _N])
    pairs = [
        (*pair, similarity)
        for one, other, similarity in [*same, *close]
        for pair in _links(members[one], members[other], parts)
    ]
    frame = pd.DataFrame(pairs, columns=["first", "second", "similarity"])
    return frame.sort_values(
        ["similarity", "first", "second"], ascending=[False, True, True], ignore_index=True
    )


def _plain(text: str) -> str:
    """Return a text without case, signs and numbers, or a text without letters unchanged."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    plain = _SIGNS.sub(" ", _DIGITS.sub("0", folded)).strip()
    return plain if any(map(str.isalpha, plain)) else text


def _links(
    one: list[int], other: list[int], parts: Sequence[str] | None
) -> Iterable[tuple[int, int]]:
    """Return pairs of texts of two groups, of which each text is nearly the same as all others."""
    if parts is None:
        return [(one[0], i) for i in one[1:]] if one is other else [_ordered(one[0], other[0])]
    return dict.fromkeys(
        _ordered(i, j)
        for group, first_of_part in ((one, _firsts(other, parts)), (other, _firsts(one, parts)))
        for i in group
        for part, j in first_of_part.items()
        if parts[i] != part
    )


def _ordered(i: int, j: int) -> tuple[int, int]:
    return (i, j) if i < j else (j, i)


def _firsts(group: list[int], parts: Sequence[str]) -> dict[str, int]:
    """Return the first text of each part."""
    return {parts[i]: i for i in reversed(group)}


def _similar_pairs(texts: list[str]) -> list[tuple[str, str, float]]:
    """Return pairs of distinct texts whose sequences of characters are similar."""
    if len(texts) < 2:
        return []
    ends = [
        text
        if len(text) <= 2 * _MOST_CHARACTERS
        else text[:_MOST_CHARACTERS] + text[-_MOST_CHARACTERS:]
        for text in texts
    ]
    vectorizer = CountVectorizer(
        analyzer="char", ngram_range=(_N, _N), binary=True, dtype=np.int32, lowercase=False
    )
    counts = vectorizer.fit_transform(ends).tocsr()
    first, second = _candidates(ends, counts)
    found = _cosine(counts, first, second)
    kept = np.flatnonzero(found >= SIMILAR)
    return [(texts[first[i]], texts[second[i]], float(found[i])) for i in kept]


def _candidates(texts: list[str], counts: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of texts that may be nearly the same, each pair once."""
    n_texts = np.diff(counts.tocsc().indptr)
    rare = counts[:, np.flatnonzero((n_texts > 1) & (n_texts <= _MOST_TEXTS))]
    shared = sparse.triu(rare @ rare.T, k=1).tocoo()
    sizes, n_rare = np.diff(counts.indptr), np.diff(rare.indptr)
    first, second = shared.row, shared.col
    # Two similar texts share all but a few of their sequences, and so all but a few of the rare.
    needed = SIMILAR * np.sqrt(sizes[first] * sizes[second])
    enough = np.ones(len(first), dtype=bool)
    for own in (first, second):
        enough &= n_rare[own] - shared.data <= sizes[own] - needed
    pairs = [first[enough].astype(np.int64) * len(texts) + second[enough]]
    for keys in (texts, [text[::-1] for text in texts]):
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__))
        low, high = np.minimum(order[:-1], order[1:]), np.maximum(order[:-1], order[1:])
        pairs.append(low * len(texts) + high)
    codes = np.unique(np.concatenate(pairs))
    return codes // len(texts), codes % len(texts)


def _cosine(counts: sparse.csr_array, first: np.ndarray, second: np.ndarray) -> NDArray[np.float64]:
    """Return the cosine similarity of pairs of rows, a limited number at a time."""
    sizes = np.diff(counts.indptr)
    found = np.empty(len(first))
    for start in range(0, len(first), 100_000):
        part = slice(start, start + 100_000)
        one, other = first[part], second[part]
        shared = np.asarray(counts[one].multiply(counts[other]).sum(axis=1)).ravel()
        found[part] = shared / np.sqrt(sizes[one] * sizes[other])
    return found
