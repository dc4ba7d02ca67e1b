"""`tiny_encoder`, an encoder for tests."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folder_is_a_hugging_face_encoder(tmp_path, architecture):
    """transformers loads the folder like any other encoder, and the encoder is tiny."""
    folder = tiny_encoder(tmp_path, architecture=architecture, n_layers=2)
    assert folder == str(tmp_path)
    encoder = AutoModel.from_pretrained(folder)
    assert encoder.config.model_type == architecture
    assert sum(p.numel() for p in encoder.parameters()) < 200_000
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("A message, with a word from nowhere: zyx.")["input_ids"]
    if tokenizer.cls_token_id is None:  # the tokenizer of a causal model
        assert tokenizer.decode(ids, skip_special_tokens=True).startswith("A message, with")
        return
    assert ids[0] == tokenizer.cls_token_id
    assert ids[-1] == tokenizer.sep_token_id
    assert tokenizer.unk_token_id not in ids


def test_causal_models_have_few_special_tokens():
    """The tokenizers of causal models have no padding token, or no token before a text."""
    special = {}
    for architecture in ("gpt2", "opt", "llama"):
        tokenizer = AutoTokenizer.from_pretrained(tiny_encoder(architecture=architecture))
        special[architecture] = tokenizer.pad_token, tokenizer.decode(tokenizer("")["input_ids"])
    assert special == {"gpt2": (None, ""), "opt": ("<pad>", "</s>"), "llama": (None, "<s>")}


def test_seed(tmp_path):
    """The seed determines the weights."""
    weights = [
        AutoModel.from_pretrained(tiny_encoder(seed=seed)).get_input_embeddings().weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_unknown_architecture():
    """The message lists the available architectures."""
    with pytest.raises(ValueError, match="must be one of bert, .*Got 'gpt'"):
        tiny_encoder(architecture="gpt")


def test_temporary_folder_is_removed_at_exit():
    """Without a given folder, a temporary folder is used and removed at exit."""
    code = "from rapidfit_sk.testing import tiny_encoder; print(tiny_encoder())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    folder = done.stdout.strip()
    assert "tiny-encoder-" in folder
    assert not Path(folder).exists()
