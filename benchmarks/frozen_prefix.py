"""Fine-tuning of the top layers with and without cached hidden states of the frozen layers."""

from __future__ import annotations

import tempfile
import warnings

import torch
from transformers import AutoConfig, AutoModel

from rapidfit_sk import find_encoder
from rapidfit_sk._model.encoders import load_tokenizer

from ._data import BUNDLED, classifier, read, recipe
from ._measure import Result, in_turns, ratio


def run(options):
    """Time ten epochs on an encoder of 12 layers, 4 of which are trainable."""
    rows = read(options.data, options.texts or 400, n_tokens=options.tokens)
    with tempfile.TemporaryDirectory() as folder:
        deep_encoder(folder)
        config = recipe(folder, heads_only=0, fine_tuning=10)

        def fit(room):
            with warnings.catch_warnings(action="ignore"):
                classifier(config, cache_memory=room, cache_disk=0).fit(rows)

        seconds = in_turns({"kept": lambda: fit(0.25), "again": lambda: fit(0)}, options.repeats)
    value = ratio(seconds, "again", "kept")
    return [Result("frozen-prefix", "without / with kept states", value, ">= 1.5", seconds)]


def deep_encoder(folder, n_layers=12):
    """Write a random encoder with the layers and the width of the default encoder."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(find_encoder(BUNDLED), num_hidden_layers=n_layers)
    AutoModel.from_config(config).save_pretrained(folder)
    load_tokenizer(BUNDLED).save_pretrained(folder)
    return folder
