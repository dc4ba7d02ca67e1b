"""Texts -> token ids, once."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from ._encoders import tokenizer_from_files, tokenizer_to_files


@dataclass(frozen=True)
class TokenIds:
    """Token ids of many texts, end to end in one array.

    Attributes
    ----------
    ids : ndarray of int32, shape (n_tokens,)
        All ids, special tokens included.
    starts : ndarray of int64, shape (n_texts + 1,)
        Text i has ``ids[starts[i]:starts[i + 1]]``.
    padding : int
        The id that fills up shorter texts of a batch.
    """

    ids: np.ndarray
    starts: np.ndarray
    padding: int

    def __len__(self):
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, shape (n_texts,)."""
        return np.diff(self.starts)


# A fast tokenizer keeps the length it cuts at as state; two threads may share one.
_TOKENIZING = threading.Lock()


class TextTokenizer:
    """A tokenizer together with the length it cuts at.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        The tokenizer of the encoder.
    max_length : int
        Tokens of a text that are kept, special tokens included.
    """

    def __init__(self, tokenizer, max_length):
        self.tokenizer = tokenizer
        self.max_length = max_length

    def __getstate__(self):
        """Keep the tokenizer as its files, which outlive the versions of its class."""
        return {"files": self.files(), "max_length": self.max_length}

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

    def __call__(self, texts) -> TokenIds:
        """Tokenize a list of texts in one go."""
        with _TOKENIZING:
            lists = self.tokenizer(
                list(texts),
                truncation=True,
                max_length=self.max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
        # Some tokenizers have no padding token; what stands there is masked anyway.
        padding = self.tokenizer.pad_token_id or 0
        # Without special tokens an empty text would have no token at all to read.
        lists = [ids or [padding] for ids in lists]
        starts = np.zeros(len(lists) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in lists], out=starts[1:])
        flat = np.fromiter(chain.from_iterable(lists), np.int32, count=starts[-1])
        return TokenIds(flat, starts, padding)


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

    def __init__(self, texts, tokenizer):
        self.texts = texts
        self.tokenizer = tokenizer

    def __len__(self):
        return len(self.texts)

    @cached_property
    def _token_ids(self) -> TokenIds:
        return self.tokenizer(self.texts)

    # What there is of TokenIds.
    ids = property(lambda self: self._token_ids.ids)
    starts = property(lambda self: self._token_ids.starts)
    padding = property(lambda self: self._token_ids.padding)
    lengths = property(lambda self: self._token_ids.lengths)
