"""Tokenization of texts, once per text."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from .._forks import held_at_fork
from .encoders import tokenizer_from_files, tokenizer_to_files

# Bounds for texts that are cut anyway: characters per token that are read at first, and at most.
# The second bound is for texts with few tokens, such as long runs of white space.
CHARS_PER_TOKEN, MOST_CHARS_PER_TOKEN = 32, 1024

# Number of characters that are tokenized at once. It limits the memory, and the time for which
# other threads wait for the lock.
CHARS_PER_CALL = 200_000


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


# A fast tokenizer stores its truncation length as state, and threads may share a tokenizer. A
# fork waits for the end of a call, because it would copy locked locks inside the tokenizer.
_TOKENIZING = held_at_fork(threading.Lock())


class TextTokenizer:
    """A tokenizer with a maximum length and a rule for longer texts.

    Special tokens that occur in a text are read as ordinary text.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        The tokenizer of the encoder.
    max_length : int
        Maximum number of tokens that the encoder reads at once, including special tokens.
    long_text : {"truncate", "head_tail", "windows"}, default="truncate"
        Rule for longer texts, see :class:`rapidfit_sk.TrainingConfig`.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, long_text: str = "truncate"
    ):
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.long_text = long_text
        self._n_special = _n_special(tokenizer)
        self._special_tokens = _special_tokens(tokenizer)
        self._unknown_id = _unknown_id(tokenizer)
        self._control_ids = set(tokenizer.all_special_ids) - {self._unknown_id}
        self._padding = _padding_id(tokenizer)
        self._cuts_left = getattr(tokenizer, "truncation_side", "right") == "left"

    def __getstate__(self):
        """Return the tokenizer as its files, which do not depend on the version of its class."""
        kept = {"max_length": self.max_length, "long_text": self.long_text}
        return {"files": self.files(), **kept}

    @property
    def padding_token(self) -> str:
        """The token that pads texts, also if the tokenizer does not define one."""
        return str(self.tokenizer.convert_ids_to_tokens(self._padding))

    def files(self) -> dict[str, bytes]:
        """Return the files of the tokenizer, without the settings of its last call."""
        with _TOKENIZING:
            fast = getattr(self.tokenizer, "backend_tokenizer", None)
            if fast is not None:  # each call sets truncation and padding again
                fast.no_truncation()
                fast.no_padding()
            return tokenizer_to_files(self.tokenizer)

    def __setstate__(self, state):
        """Load the tokenizer from its files."""
        tokenizer = tokenizer_from_files(state["files"])
        self.__init__(tokenizer, state["max_length"], state["long_text"])  # type: ignore[misc]

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
        of_texts = [self._windows(ids or [self._padding]) for ids in lists]
        windows = list(chain.from_iterable(of_texts))
        starts = _bounds(map(len, windows))
        flat = np.fromiter(chain.from_iterable(windows), np.int32, count=starts[-1])
        firsts = _bounds(map(len, of_texts))
        n_unknown = np.diff(_bounds(flat == self._unknown_id)[starts[firsts]])
        n_ordinary = np.diff(starts[firsts]) - sum(self._n_special) * np.diff(firsts)
        if self.long_text != "windows":
            is_cut = is_cut | (np.fromiter(map(len, lists), int) > self.max_length)
        return TokenIds(flat, starts, firsts, self._padding, is_cut, n_unknown, n_ordinary)

    # ----------------------------------------------------------------------------------------
    # Texts

    def _without_special_tokens(self, text: str) -> str:
        """Return a text in which a space breaks each special token that the user typed."""
        for token in self._special_tokens:
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
        return [text[-n:] if self._cuts_left else text[:n]]

    # ----------------------------------------------------------------------------------------
    # Token ids

    def _read(self, texts: list[str], bounds: NDArray[np.int64]) -> list[list[list[int]]]:
        """Return the token ids of the ends of each text."""
        ends = [self._ends(text, int(n)) for text, n in zip(texts, bounds, strict=True)]
        # A limited number of characters is tokenized at a time, so a long end has several parts.
        parts = [[_parts_of(end) for end in of_text] for of_text in ends]
        flat = [part for of_text in parts for of_end in of_text for part in of_end]
        ids = chain.from_iterable(self._ids(group) for group in _groups(flat))
        return [
            [self._concatenated([next(ids) for _ in of_end]) for of_end in of_text]
            for of_text in parts
        ]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        with _TOKENIZING:
            return self.tokenizer(
                texts,
                truncation=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                split_special_tokens=True,
                verbose=False,  # it would warn about long texts, which are cut later
            )["input_ids"]

    def _concatenated(self, parts: list[list[int]]) -> list[int]:
        """Join the ids of the parts of a text, with special tokens only around all of them."""
        if len(parts) == 1:
            return parts[0]
        n_before, n_after = self._n_special
        inner = chain.from_iterable(ids[n_before : len(ids) - n_after] for ids in parts)
        return [*parts[0][:n_before], *inner, *parts[0][len(parts[0]) - n_after :]]

    def _without_control(self, ids: list[int]) -> list[int]:
        """Replace special tokens inside a text, which its normalization may have created."""
        n_before, n_after = self._n_special
        inner = ids[n_before : len(ids) - n_after]
        if self._control_ids.isdisjoint(inner):
            return ids
        unknown = [self._unknown_id] if self._unknown_id >= 0 else []
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
        n_before, n_after = self._n_special
        before, after = ids[:n_before], ids[len(ids) - n_after :]
        inner = ids[n_before : len(ids) - n_after]
        width = max(1, self.max_length - n_before - n_after)
        if self.long_text == "truncate":
            return [before + (inner[-width:] if self._cuts_left else inner[:width]) + after]
        # Windows have equal lengths, because a short last window would count as much as the others.
        windows = np.array_split(inner, -(-len(inner) // width))
        return [before + window.tolist() + after for window in windows]


def _n_special(tokenizer) -> tuple[int, int]:
    """Return the number of special tokens before and after a text."""
    with _TOKENIZING:
        mask = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    return mask.index(0), mask[::-1].index(0)


def _special_tokens(tokenizer) -> list[str]:
    """Return the special tokens, the longest first, because one may contain another."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = {str(token) for token in added if token.special}
    special |= set(tokenizer.all_special_tokens)
    return sorted((token for token in special if len(token) > 1), key=len, reverse=True)


def _unknown_id(tokenizer) -> int:
    """Return the id of unknown tokens; -1 if the tokenizer has none, as with bytes as tokens."""
    unknown = tokenizer.unk_token_id
    # GPT-2 and similar tokenizers have one token for all purposes, which is never unknown text.
    is_shared = unknown in (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return -1 if unknown is None or is_shared else unknown


def _padding_id(tokenizer) -> int:
    """Return the id that pads texts, and that replaces an empty text without special tokens.

    Many causal models have no padding token. Any id works for padding, because it is masked. The
    token that ends texts is the best substitute for an empty text, because it has no meaning.
    """
    names = ("pad", "eos", "bos", "sep", "cls")
    ids = (getattr(tokenizer, f"{name}_token_id") for name in names)
    return next((each for each in ids if each is not None), 0)


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


class TokensOnDemand:
    """Token ids of texts, which are tokenized on first access.

    If all embeddings are cached, the texts are never tokenized.

    Parameters
    ----------
    texts : list of str
        Distinct texts.
    tokenizer : TextTokenizer
        The tokenizer.
    """

    def __init__(self, texts: list[str], tokenizer: TextTokenizer):
        self.texts = texts
        self.tokenizer = tokenizer
        self._read: TokenIds | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def _token_ids(self) -> TokenIds:
        # `functools.cached_property` of Python 3.11 would block all other threads meanwhile.
        if self._read is None:
            self._read = self.tokenizer(self.texts)
        return self._read

    @property
    def ids(self) -> NDArray[np.int32]:
        """All token ids, as in :class:`TokenIds`."""
        return self._token_ids.ids

    @property
    def starts(self) -> NDArray[np.int64]:
        """Bounds of the windows, as in :class:`TokenIds`."""
        return self._token_ids.starts

    @property
    def firsts(self) -> NDArray[np.int64]:
        """Bounds of the texts, as in :class:`TokenIds`."""
        return self._token_ids.firsts

    @property
    def padding(self) -> int:
        """The id that pads shorter windows."""
        return self._token_ids.padding

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each text, shape (n_texts,)."""
        return self._token_ids.lengths

    @property
    def is_cut(self) -> NDArray[np.bool_]:
        """Whether each text is longer than what the encoder reads of it, shape (n_texts,)."""
        return self._token_ids.is_cut

    @property
    def n_unknown(self) -> NDArray[np.int64]:
        """Number of unknown tokens of each text, shape (n_texts,)."""
        return self._token_ids.n_unknown

    @property
    def n_ordinary(self) -> NDArray[np.int64]:
        """Number of tokens of each text without special tokens, shape (n_texts,)."""
        return self._token_ids.n_ordinary
