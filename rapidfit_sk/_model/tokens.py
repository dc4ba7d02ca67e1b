"""Tokenization of texts, once per text."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from .encoders import tokenizer_from_files, tokenizer_to_files


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
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    padding: int

    def __len__(self) -> int:
        return len(self.firsts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each text, shape (n_texts,)."""
        return np.diff(self.starts[self.firsts])


# A fast tokenizer stores its truncation length as state, and threads may share a tokenizer.
_TOKENIZING = threading.Lock()


class TextTokenizer:
    """A tokenizer with a maximum length and a rule for longer texts.

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

    def __getstate__(self):
        """Return the tokenizer as its files, which do not depend on the version of its class."""
        kept = {"max_length": self.max_length, "long_text": self.long_text}
        return {"files": self.files(), **kept}

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
        self.tokenizer = tokenizer_from_files(state["files"])
        self.max_length = state["max_length"]
        self.long_text = state["long_text"]

    def __call__(self, texts: Sequence[str]) -> TokenIds:
        """Tokenize a list of texts in one call of the tokenizer."""
        cuts = self.long_text == "truncate"
        with _TOKENIZING:
            lists = self.tokenizer(
                list(texts),
                truncation=cuts,
                max_length=self.max_length if cuts else None,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,  # it would warn about long texts, which are cut below
            )["input_ids"]
        # Some tokenizers have no padding token; any id works, because padding is masked.
        padding = self.tokenizer.pad_token_id or 0
        # Without special tokens, an empty text would have no token.
        of_texts = [self._windows(ids or [padding]) for ids in lists]
        windows = list(chain.from_iterable(of_texts))
        starts = _bounds(map(len, windows))
        flat = np.fromiter(chain.from_iterable(windows), np.int32, count=starts[-1])
        return TokenIds(flat, starts, _bounds(map(len, of_texts)), padding)

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
        # Windows have equal lengths, because a short last window would count as much as the others.
        windows = np.array_split(inner, -(-len(inner) // width))
        return [before + window.tolist() + after for window in windows]

    @cached_property
    def _n_special(self) -> tuple[int, int]:
        """Number of special tokens before and after a text."""
        with _TOKENIZING:
            mask = self.tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
        return mask.index(0), mask[::-1].index(0)


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

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def _token_ids(self) -> TokenIds:
        return self.tokenizer(self.texts)

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
