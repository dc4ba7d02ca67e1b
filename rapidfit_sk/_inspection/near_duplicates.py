"""Pairs of texts that are nearly the same."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

# Length of the sequences of characters that are compared, and the cosine similarity of two texts
# that are nearly the same.
_N, SIMILAR = 4, 0.9
# Sequences in more texts than this suggest no pair: of many texts with the same phrase, few are
# nearly the same, and the number of pairs grows with the square.
_MOST_TEXTS = 30
_SIGNS = re.compile(r"[\W_]+")
_DIGITS = re.compile(r"\d+")


def near_duplicates(texts: list[str]) -> pd.DataFrame:
    """Return pairs of distinct texts that are nearly the same.

    Two texts are nearly the same if they are equal without signs, numbers, case and the form of
    their Unicode characters, or if the cosine similarity of their sequences of four characters is
    at least 0.9. Of texts that are equal in this sense, each is paired with the first one.

    Parameters
    ----------
    texts : list of str
        Distinct texts.

    Returns
    -------
    pairs : DataFrame
        The columns `first` and `second`, positions in `texts`, and `similarity`; the most similar
        pairs come first.

    Notes
    -----
    Only texts that share a sequence of characters that occurs in at most 30 texts are compared,
    so time and memory grow almost linearly with the number of texts.
    """
    forms, first_of = np.unique([_plain(text) for text in texts], return_index=True)
    order = dict(zip(forms.tolist(), first_of.tolist(), strict=True))
    pairs = [
        (order[form], i, 1.0)
        for i, form in enumerate(map(_plain, texts))
        if form and order[form] != i
    ]
    some = [form for form in forms.tolist() if len(form) >= _N]
    pairs += [
        (*sorted((order[some[i]], order[some[j]])), similarity)
        for i, j, similarity in _similar_pairs(some)
    ]
    frame = pd.DataFrame(pairs, columns=["first", "second", "similarity"])
    return frame.sort_values(
        ["similarity", "first", "second"], ascending=[False, True, True], ignore_index=True
    )


def _plain(text: str) -> str:
    """Return a text without case, signs and numbers."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _SIGNS.sub(" ", _DIGITS.sub("0", folded)).strip()


def _similar_pairs(texts: list[str]) -> list[tuple[int, int, float]]:
    """Return pairs of distinct texts whose sequences of characters are similar."""
    if len(texts) < 2:
        return []
    vectorizer = CountVectorizer(analyzer="char", ngram_range=(_N, _N), binary=True, dtype=np.int32)
    counts = vectorizer.fit_transform(texts).tocsc()
    n_texts = np.diff(counts.indptr)
    rare = counts[:, np.flatnonzero((n_texts > 1) & (n_texts <= _MOST_TEXTS))].tocsr()
    candidates = sparse.triu(rare @ rare.T, k=1).tocoo()
    first, second = candidates.coords
    found = _cosine(counts.tocsr(), first, second)
    kept = np.flatnonzero(found >= SIMILAR)
    return list(zip(first[kept].tolist(), second[kept].tolist(), found[kept].tolist(), strict=True))


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
