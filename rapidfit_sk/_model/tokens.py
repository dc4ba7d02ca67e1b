"""Tokenization of texts, once per text."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from .._forks import held_at_fork
from .._tokens import BoundedTokenizer, TokenIds, TokenRules
from .encoders import tokenizer_from_files, tokenizer_to_files

# A fast tokenizer stores its truncation length as state, and threads may share a tokenizer. A
# fork waits for the end of a call, because it would copy locked locks inside the tokenizer.
_TOKENIZING = held_at_fork(threading.Lock())


class TextTokenizer(BoundedTokenizer):
    """A tokenizer of transformers with a maximum length and a rule for longer texts.

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
        unknown_id = _unknown_id(tokenizer)
        rules = TokenRules(
            max_length,
            long_text,
            n_special=_n_special(tokenizer),
            special_tokens=_special_tokens(tokenizer),
            control_ids=sorted({*tokenizer.all_special_ids} - {unknown_id}),
            unknown_id=unknown_id,
            padding=_padding_id(tokenizer),
            cuts_left=getattr(tokenizer, "truncation_side", "right") == "left",
        )
        super().__init__(rules)

    def __getstate__(self):
        """Return the tokenizer as its files, which do not depend on the version of its class."""
        kept = {"max_length": self.max_length, "long_text": self.long_text}
        return {"files": self.files(), **kept}

    @property
    def padding_token(self) -> str:
        """The token that pads texts, also if the tokenizer does not define one."""
        return str(self.tokenizer.convert_ids_to_tokens(self.rules.padding))

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

    def spans(self, text: str) -> list[list[tuple[int, int]]] | None:
        """Return the characters of the text that each token of each window stands for.

        Returns
        -------
        spans : list of list of (int, int), or None
            The start and the end of each token, which are equal for special tokens. None if they
            are not known: for tokenizers in Python, and for a text that is changed or cut before
            its tokens are known.
        """
        if not self.tokenizer.is_fast:
            return None
        found = self._encoded([text], return_offsets_mapping=True)
        (ids,), (spans,) = found["input_ids"], found["offset_mapping"]
        windows = self._windows(list(range(len(ids))))
        read = self([text])
        if [ids[at] for window in windows for at in window] != read.ids.tolist():
            return None
        return [[tuple(spans[at]) for at in window] for window in windows]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self._encoded(texts)["input_ids"]

    def _encoded(self, texts: list[str], **options: bool) -> Any:
        with _TOKENIZING:
            return self.tokenizer(
                texts,
                truncation=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                split_special_tokens=True,
                verbose=False,  # it would warn about long texts, which are cut later
                **options,
            )


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
