"""A tiny random encoder for tests and examples that need no download."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
import weakref
from collections import Counter
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from ._model import UseGenerator, loading
from .datasets import load_support_messages

__all__ = ["ARCHITECTURES", "tiny_encoder"]

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

#: Architectures of :func:`tiny_encoder`, with the configuration of their tiny models.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"max_position_embeddings": 258, "type_vocab_size": 1},
    "xlm-roberta": {"max_position_embeddings": 258, "type_vocab_size": 1},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_heads": 2, "n_layers": None},
    "mpnet": {"max_position_embeddings": 258},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 32,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
    },
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 16},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_heads": 2, "num_layers": None},
    "gpt2": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "llama": {"num_key_value_heads": 1},
}

# Special tokens of the causal architectures, whose tokenizers read bytes: the one before each text,
# the one for the end, and the one for padding. "" means that there is none.
_CAUSAL = {
    "gpt2": ("", "<|endoftext|>", ""),
    "opt": ("</s>", "</s>", "<pad>"),
    "llama": ("<s>", "</s>", ""),
}


def tiny_encoder(
    folder: str | PathLike[str] | None = None,
    *,
    architecture: str = "bert",
    n_layers: int = 4,
    seed: int = 0,
) -> str:
    """Write a tiny encoder with random weights and its tokenizer to a folder.

    The tokenizers of "gpt2" and "llama" have no padding token, as is usual for causal models.

    Parameters
    ----------
    folder : str, path-like or None, default=None
        The folder. None creates a temporary folder that is removed when Python exits.
    architecture : str, default="bert"
        A key of :data:`ARCHITECTURES`.
    n_layers : int, default=4
        Number of layers of the encoder.
    seed : int, default=0
        Seed of the random weights.

    Returns
    -------
    folder : str
        The folder, a valid `model_name` of :class:`rapidfit_sk.TrainingConfig`.

    Raises
    ------
    ValueError
        If the architecture is not in :data:`ARCHITECTURES`.

    Examples
    --------
    >>> from transformers import AutoConfig
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> AutoConfig.from_pretrained(tiny_encoder(n_layers=2)).num_hidden_layers
    2
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"architecture must be one of {known}. Got {architecture!r} instead.")
    path = _temporary_folder() if folder is None else Path(folder)
    tokenizer = _byte_tokenizer(architecture) if architecture in _CAUSAL else _word_tokenizer()
    tokenizer.save_pretrained(path)
    with loading(), UseGenerator(torch.Generator().manual_seed(seed)):
        config = _config(architecture, n_layers, tokenizer)
        AutoModel.from_config(config).save_pretrained(path)
    return str(path)


def _config(architecture, n_layers, tokenizer):
    special = {key: n_layers if value is None else value for key, value in _own(architecture)}
    common = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": n_layers,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if architecture not in _CAUSAL:
        first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
        common |= {"bos_token_id": first, "eos_token_id": last}
        common |= {"cls_token_id": first, "sep_token_id": last}
    if "dim" in special or "d_model" in special:
        # DistilBERT and T5 have other names for these sizes.
        common = {k: v for k, v in common.items() if not k.startswith(("hidden", "num_", "inter"))}
    return AutoConfig.for_model(architecture, **{**common, **special})


def _own(architecture):
    return ARCHITECTURES[architecture].items()


def _word_tokenizer() -> PreTrainedTokenizerFast:
    """Build a WordPiece tokenizer from the words of the bundled messages."""
    words = Counter(
        word
        for text in load_support_messages()["text"].unique()
        for word in re.findall(r"\w+", text.lower())
    )
    frequent = sorted(word for word, count in words.items() if count > 1 and len(word) > 1)
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = _SPECIAL + characters + [f"##{character}" for character in characters] + frequent
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=256,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _byte_tokenizer(architecture) -> PreTrainedTokenizerFast:
    """Build a tokenizer of bytes and frequent sequences of them, with few special tokens."""
    first, end, padding = _CAUSAL[architecture]
    named = {"bos_token": first or end, "eos_token": end, "unk_token": end, "pad_token": padding}
    named = {name: token for name, token in named.items() if token}
    tokenizer = Tokenizer.from_str(_byte_pairs())
    tokenizer.add_special_tokens(list(dict.fromkeys(named.values())))
    if first:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, tokenizer.token_to_id(first))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=256, **named)


@functools.cache
def _byte_pairs() -> str:
    """Return a tokenizer with byte pairs of the bundled messages, as JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(sorted(load_support_messages()["text"].unique()), trainer)
    return tokenizer.to_str()


class _TemporaryFolders:
    """Owner of temporary folders, which are removed when it is finalized at exit."""


_owner = _TemporaryFolders()


def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="tiny-encoder-")
    weakref.finalize(_owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
