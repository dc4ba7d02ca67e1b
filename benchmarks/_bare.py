"""The bare encoder on sorted batches."""

from __future__ import annotations

import torch

from rapidfit_sk._model.encoders import load_encoder, load_tokenizer

from ._data import BUNDLED


def tokenized(texts, model_name=BUNDLED, n_tokens=2048):
    """Return the encoder, and batches of token ids that are sorted by length."""
    tokenizer = load_tokenizer(model_name)
    texts = sorted(texts, key=lambda text: len(tokenizer.tokenize(text)))
    batches, start = [], 0
    while start < len(texts):
        n = max(1, n_tokens // (len(tokenizer.tokenize(texts[start])) + 3))
        batches.append(tokenizer(texts[start : start + n], padding=True, return_tensors="pt"))
        start += n
    return load_encoder(model_name).eval().requires_grad_(False), batches


def run_encoder(encoder, batches, lowered=False):
    """Run the encoder on the batches."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=lowered):
        for batch in batches:
            encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])


def one_pass(rows, model_name=BUNDLED):
    """Load the encoder and its tokenizer, and encode each text once."""
    tokenizer = load_tokenizer(model_name)
    encoder = load_encoder(model_name).eval().requires_grad_(False)
    texts = sorted(rows["text"].unique(), key=len)
    batches = (
        tokenizer(texts[i : i + 128], padding=True, truncation=True, return_tensors="pt")
        for i in range(0, len(texts), 128)
    )
    run_encoder(encoder, batches)
