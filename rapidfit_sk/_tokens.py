"""Token ids of texts: rules for long texts and for special tokens, without torch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# Bounds for texts that are cut anyway: characters per token that are read at first, and at most.
# The second bound is for texts with few tokens, such as long runs of white space.
CHARS_PER_TOKEN, MOST_CHARS_PER_TOKEN = 32, 1024

# Number of characters that are tokenized at once. It limits the memory, and the time for which
# other threads wait for the lock.
CHARS_PER_CALL = 200_000

# Seconds between two such calls. Without a pause, a thread that has released a lock often gets it
# again before a thread that waits for it.
PAUSE = 0.0005

# Maximum number of tokens, padding included, in a batch without gradients. It is large enough to
# keep all cores busy, but small enough to keep the activations of a layer in the processor's cache.
TOKENS_PER_PASS = 2048


@dataclass(frozen=True)
class TokenIds:
    """Token ids of many texts, concatenated in one array.

    Attributes
    ----------
    ids : ndarray of int32, shape (n_tokens,)
        All ids, including special tokens.
    starts : ndarray of int64, shape (n_windows + 1,)
        Window i has the ids ``ids[starts[i]:starts[i + 1]]``.
    firsts : ndarray of int64, shape (n_texts + 1,)
        Text i has the windows from ``firsts[i]`` to ``firsts[i + 1]``: one, or several if a long
        text is read in windows.
    padding : int
        The id that pads shorter windows of a batch.
    is_cut : ndarray of bool, shape (n_texts,)
        Whether a text is longer than what the encoder reads of it.
    n_unknown : ndarray of int64, shape (n_texts,)
        Number of tokens of each text that stand for characters outside of the vocabulary.
    n_ordinary : ndarray of int64, shape (n_texts,)
        Number of tokens of each text, without special tokens.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    padding: int
    is_cut: NDArray[np.bool_]
    n_unknown: NDArray[np.int64]
    n_ordinary: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.firsts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each text, shape (n_texts,)."""
        return np.diff(self.starts[self.firsts])


class HasWindows(Protocol):
    """The bounds of windows and texts, as in :class:`TokenIds`."""

    @property
    def starts(self) -> NDArray[np.int64]: ...

    @property
    def firsts(self) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class TokenRules:
    """What the ids of a text depend on, apart from the vocabulary.

    Attributes
    ----------
    max_length : int
        Maximum number of tokens that the encoder reads at once, including special tokens.
    long_text : {"truncate", "head_tail", "windows"}
        Rule for longer texts, see :class:`rapidfit_sk.TrainingConfig`.
    n_special : tuple of (int, int)
        Number of special tokens before and after a text.
    special_tokens : list of str
        The special tokens, the longest first, because one may contain another.
    control_ids : list of int
        Ids of the special tokens that must not occur inside a text.
    unknown_id : int
        The id of unknown tokens; -1 if there is none, as with bytes as tokens.
    padding : int
        The id that pads texts, and that replaces an empty text without special tokens.
    cuts_left : bool
        Whether "truncate" removes the beginning of a text instead of its end.
    """

    max_length: int
    long_text: str
    n_special: tuple[int, int]
    special_tokens: list[str]
    control_ids: list[int]
    unknown_id: int
    padding: int
    cuts_left: bool


class BoundedTokenizer:
    """Base class of tokenizers with a maximum length and a rule for longer texts.

    Special tokens that occur in a text are read as ordinary text. Subclasses define `_ids`.

    Parameters
    ----------
    rules : TokenRules
        The rules.
    """

    def __init__(self, rules: TokenRules):
        self.rules = rules
        self._control_ids = set(rules.control_ids)

    @property
    def max_length(self) -> int:
        """Maximum number of tokens that the encoder reads at once."""
        return self.rules.max_length

    @property
    def long_text(self) -> str:
        """Rule for longer texts."""
        return self.rules.long_text

    def __call__(self, texts: Sequence[str]) -> TokenIds:
        """Tokenize a list of texts."""
        texts = [self._without_special_tokens(text) for text in texts]
        bounds = np.full(len(texts), CHARS_PER_TOKEN * self.max_length)
        ends = self._read(texts, bounds)
        few = [
            i
            for i, (text, ids) in enumerate(zip(texts, ends, strict=True))
            if self._is_cut(text, bounds[i]) and min(map(len, ids)) <= self.max_length
        ]
        bounds[few] = MOST_CHARS_PER_TOKEN * self.max_length
        for i, ids in zip(few, self._read([texts[i] for i in few], bounds[few]), strict=True):
            ends[i] = ids
        lists = [self._without_control(self._concatenated(ids)) for ids in ends]
        is_cut = [self._is_cut(text, n) for text, n in zip(texts, bounds, strict=True)]
        return self._joined(lists, np.array(is_cut, dtype=bool))

    def _joined(self, lists: list[list[int]], is_cut: NDArray[np.bool_]) -> TokenIds:
        """Cut the ids of all texts and join them."""
        # Without special tokens, an empty text would have no token.
        of_texts = [self._windows(ids or [self.rules.padding]) for ids in lists]
        windows = list(chain.from_iterable(of_texts))
        starts = _bounds(map(len, windows))
        flat = np.fromiter(chain.from_iterable(windows), np.int32, count=starts[-1])
        firsts = _bounds(map(len, of_texts))
        n_unknown = np.diff(_bounds(flat == self.rules.unknown_id)[starts[firsts]])
        n_ordinary = np.diff(starts[firsts]) - sum(self.rules.n_special) * np.diff(firsts)
        if self.long_text != "windows":
            is_cut = is_cut | (np.fromiter(map(len, lists), int) > self.max_length)
        return TokenIds(flat, starts, firsts, self.rules.padding, is_cut, n_unknown, n_ordinary)

    # ----------------------------------------------------------------------------------------
    # Texts

    def _without_special_tokens(self, text: str) -> str:
        """Return a text in which a space breaks each special token that the user typed."""
        for token in self.rules.special_tokens:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def _is_cut(self, text: str, n: int) -> bool:
        """Return whether only ends of `n` characters of a text are tokenized."""
        n_ends = {"truncate": 1, "head_tail": 2}.get(self.long_text)
        return n_ends is not None and len(text) > n_ends * n

    def _ends(self, text: str, n: int) -> list[str]:
        """Return the parts of a text that can hold the tokens that the encoder reads."""
        if not self._is_cut(text, n):
            return [text]
        if self.long_text == "head_tail":
            return [text[:n], text[-n:]]
        return [text[-n:] if self.rules.cuts_left else text[:n]]

    # ----------------------------------------------------------------------------------------
    # Token ids

    def _read(self, texts: list[str], bounds: NDArray[np.int64]) -> list[list[list[int]]]:
        """Return the token ids of the ends of each text."""
        ends = [self._ends(text, int(n)) for text, n in zip(texts, bounds, strict=True)]
        # A limited number of characters is tokenized at a time, so a long end has several parts.
        parts = [[_parts_of(end) for end in of_text] for of_text in ends]
        flat = [part for of_text in parts for of_end in of_text for part in of_end]
        ids = chain.from_iterable(self._ids_of_groups(flat))
        return [
            [self._concatenated([next(ids) for _ in of_end]) for of_end in of_text]
            for of_text in parts
        ]

    def _ids_of_groups(self, texts: list[str]) -> Iterator[list[list[int]]]:
        """Yield the ids of successive texts, a limited number of characters at a time."""
        for number, group in enumerate(_groups(texts)):
            if number:
                time.sleep(PAUSE)
            yield self._ids(group)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of each text with its special tokens; texts contain none of them."""
        raise NotImplementedError

    def _concatenated(self, parts: list[list[int]]) -> list[int]:
        """Join the ids of the parts of a text, with special tokens only around all of them."""
        if len(parts) == 1:
            return parts[0]
        n_before, n_after = self.rules.n_special
        inner = chain.from_iterable(ids[n_before : len(ids) - n_after] for ids in parts)
        return [*parts[0][:n_before], *inner, *parts[0][len(parts[0]) - n_after :]]

    def _without_control(self, ids: list[int]) -> list[int]:
        """Replace special tokens inside a text, which its normalization may have created."""
        n_before, n_after = self.rules.n_special
        inner = ids[n_before : len(ids) - n_after]
        if self._control_ids.isdisjoint(inner):
            return ids
        unknown = [self.rules.unknown_id] if self.rules.unknown_id >= 0 else []
        plain = (unknown if i in self._control_ids else [i] for i in inner)
        return [*ids[:n_before], *chain.from_iterable(plain), *ids[len(ids) - n_after :]]

    def _windows(self, ids: list[int]) -> list[list[int]]:
        """Cut the token ids of a text into windows that the encoder can read."""
        if len(ids) <= self.max_length:
            return [ids]
        if self.long_text == "head_tail":
            # Both halves keep the special tokens at their end of the text.
            n_tail = self.max_length // 2
            return [ids[: self.max_length - n_tail] + ids[len(ids) - n_tail :]]
        n_before, n_after = self.rules.n_special
        before, after = ids[:n_before], ids[len(ids) - n_after :]
        inner = ids[n_before : len(ids) - n_after]
        width = max(1, self.max_length - n_before - n_after)
        if self.long_text == "truncate":
            return [before + (inner[-width:] if self.rules.cuts_left else inner[:width]) + after]
        # Windows have equal lengths, because a short last window would count as much as the others.
        windows = np.array_split(inner, -(-len(inner) // width))
        return [before + window.tolist() + after for window in windows]


def _parts_of(text: str) -> list[str]:
    """Split a text into parts of at most `CHARS_PER_CALL` characters, at spaces if possible."""
    parts = []
    while len(text) > CHARS_PER_CALL:
        space = text.rfind(" ", CHARS_PER_CALL // 2, CHARS_PER_CALL)
        end = CHARS_PER_CALL if space < 0 else space
        parts.append(text[:end])
        text = text[end:]
    return [*parts, text]


def _groups(texts: list[str]) -> Iterator[list[str]]:
    """Yield successive texts with at most `CHARS_PER_CALL` characters together."""
    group: list[str] = []
    n = 0
    for text in texts:
        if group and n + len(text) > CHARS_PER_CALL:
            yield group
            group, n = [], 0
        group.append(text)
        n += len(text)
    if group:
        yield group


def _bounds(counts: Iterable[int]) -> NDArray[np.int64]:
    """Return the start of each group, followed by the end of the last one."""
    ends = np.cumsum(np.fromiter(counts, np.int64))
    return np.concatenate([[0], ends])


# --------------------------------------------------------------------------------------------
# Batches


def places(tokens: HasWindows, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the token positions of some texts, padded to the longest window among them.

    Parameters
    ----------
    tokens : TokenIds or TokensOnDemand
        The tokens of all texts.
    texts : ndarray of int, shape (n_texts,)
        Numbers of the texts.

    Returns
    -------
    at : ndarray of int64, shape (n_windows, length)
        Positions in ``tokens.ids``. Positions outside of the mask mean nothing.
    mask : ndarray of bool, shape (n_windows, length)
        True for a token, False for padding.
    """
    windows = _ranges(tokens.firsts[texts], tokens.firsts[texts + 1])
    starts = tokens.starts[windows]
    lengths = tokens.starts[windows + 1] - starts
    column = np.arange(lengths.max())
    mask = column < lengths[:, None]
    # The mask hides all positions beyond the end of a window, so any valid index will do.
    return np.where(mask, starts[:, None] + column, 0), mask


def by_length(lengths: np.ndarray) -> list[np.ndarray]:
    """Split texts into batches of similar length, the longest first.

    Parameters
    ----------
    lengths : ndarray of int, shape (n_texts,)
        Number of tokens of each text.

    Returns
    -------
    batches : list of ndarray of int
        Text numbers. A batch of several texts has at most `TOKENS_PER_PASS` tokens, padding
        included.

    Examples
    --------
    >>> [batch.tolist() for batch in by_length(np.array([3, 1000, 5, 1500]))]
    [[3], [1, 2], [0]]
    """
    order = np.argsort(-lengths, kind="stable")
    batches: list[np.ndarray] = []
    start = 0
    while start < len(order):
        n = max(1, TOKENS_PER_PASS // int(lengths[order[start]]))
        batches.append(order[start : start + n])
        start += n
    return batches


def _ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the concatenated integers of several ranges.

    Examples
    --------
    >>> _ranges(np.array([5, 2]), np.array([7, 3]))
    array([5, 6, 2])
    """
    counts = ends - starts
    offsets = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return np.arange(counts.sum()) + offsets
