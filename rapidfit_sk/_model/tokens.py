"""Texts -> token ids, once."""

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
    """Token ids of many texts, end to end in one array.

    Attributes
    ----------
    ids : ndarray of int32, shape (n_tokens,)
        All ids, special tokens included.
    starts : ndarray of int64, shape (n_windows + 1,)
        Piece i has ``ids[starts[i]:starts[i + 1]]``.
    firsts : ndarray of int64, shape (n_texts + 1,)
        Text i has the windows from ``firsts[i]`` to ``firsts[i + 1]``: one, or several where long
        texts are read in windows.
    padding : int
        The id that fills up shorter windows of a batch.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    padding: int

    def __len__(self) -> int:
        return len(self.firsts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, shape (n_texts,)."""
        return np.diff(self.starts[self.firsts])


# A fast tokenizer keeps the length it cuts at as state; two threads may share one.
_TOKENIZING = threading.Lock()


class TextTokenizer:
    """A tokenizer together with the length it cuts at.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        The tokenizer of the encoder.
    max_length : int
        Tokens that the encoder reads at once, special tokens included.
    long_text : {"truncate", "head_tail", "windows"}, default="truncate"
        What becomes of a longer text, see :class:`rapidfit_sk.TrainingConfig`.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, long_text: str = "truncate"
    ):
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.long_text = long_text

    def __getstate__(self):
        """Keep the tokenizer as its files, which outlive the versions of its class."""
        kept = {"max_length": self.max_length, "long_text": self.long_text}
        return {"files": self.files(), **kept}

    def files(self) -> dict[str, bytes]:
        """Return the files of the tokenizer, the same before and after it was used."""
        with _TOKENIZING:
            fast = getattr(self.tokenizer, "backend_tokenizer", None)
            if fast is not None:  # how it cut and filled up last; each call says so anew
                fast.no_truncation()
                fast.no_padding()
            return tokenizer_to_files(self.tokenizer)

    def __setstate__(self, state):
        """Load the tokenizer from its files."""
        self.tokenizer = tokenizer_from_files(state["files"])
        self.max_length = state["max_length"]
        self.long_text = state["long_text"]

    def __call__(self, texts: Sequence[str]) -> TokenIds:
        """Tokenize a list of texts in one go."""
        cuts = self.long_text == "truncate"
        with _TOKENIZING:
            lists = self.tokenizer(
                list(texts),
                truncation=cuts,
                max_length=self.max_length if cuts else None,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,  # it would warn of long texts, which are cut below
            )["input_ids"]
        # Some tokenizers have no padding token; what stands there is masked anyway.
        padding = self.tokenizer.pad_token_id or 0
        # Without special tokens an empty text would have no token at all to read.
        of_texts = [self._windows(ids or [padding]) for ids in lists]
        windows = list(chain.from_iterable(of_texts))
        starts = _bounds(map(len, windows))
        flat = np.fromiter(chain.from_iterable(windows), np.int32, count=starts[-1])
        return TokenIds(flat, starts, _bounds(map(len, of_texts)), padding)

    def _windows(self, ids: list[int]) -> list[list[int]]:
        """Cut the token ids of one text into what the encoder reads at once."""
        if len(ids) <= self.max_length:
            return [ids]
        if self.long_text == "head_tail":
            # Special tokens stand at both ends, and stay there.
            n_tail = self.max_length // 2
            return [ids[: self.max_length - n_tail] + ids[len(ids) - n_tail :]]
        n_before, n_after = self._n_special
        before, after = ids[:n_before], ids[len(ids) - n_after :]
        inner = ids[n_before : len(ids) - n_after]
        width = max(1, self.max_length - n_before - n_after)
        # Of even length, so that none is a short rest that counts as much as the others.
        windows = np.array_split(inner, -(-len(inner) // width))
        return [before + window.tolist() + after for window in windows]

    @cached_property
    def _n_special(self) -> tuple[int, int]:
        """How many special tokens stand before and after a text."""
        with _TOKENIZING:
            mask = self.tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
        return mask.index(0), mask[::-1].index(0)


def _bounds(counts: Iterable[int]) -> NDArray[np.int64]:
    """Return where each of some groups begins, and where the last one ends."""
    ends = np.cumsum(np.fromiter(counts, np.int64))
    return np.concatenate([[0], ends])


class TokensOnDemand:
    """The token ids of some texts, tokenized when they are first asked for.

    Where the embeddings of the texts are known they never are.

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
        """The bounds of windows, as in :class:`TokenIds`."""
        return self._token_ids.starts

    @property
    def firsts(self) -> NDArray[np.int64]:
        """The bounds of texts, as in :class:`TokenIds`."""
        return self._token_ids.firsts

    @property
    def padding(self) -> int:
        """The id that fills up shorter windows."""
        return self._token_ids.padding

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, shape (n_texts,)."""
        return self._token_ids.lengths
