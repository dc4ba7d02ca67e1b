"""The effect of each technique: `fit` with one technique disabled at a time."""

from __future__ import annotations

import contextlib
import functools
import warnings
from unittest.mock import patch

import numpy as np
import torch

from rapidfit_sk._model import randomness as _randomness
from rapidfit_sk._training import net as _net
from rapidfit_sk._training.activations import ActivationCache
from rapidfit_sk._training.batches import PaddedTokens, TextRows
from rapidfit_sk._training.sampling import TaskSampler

from ._data import classifier, read, recipe
from ._measure import Result, in_turns, ratio

LENGTH = 128
ALL = "all techniques"


def run(options):
    """Time `fit`, then `fit` without each technique, then `fit` with bfloat16."""
    rows = read(options.data, options.texts or 300, n_tokens=options.tokens)

    def fit(without=contextlib.nullcontext, **params):
        with without(), warnings.catch_warnings(action="ignore"):
            classifier(recipe(), **params).fit(rows)

    sides = {ALL: fit}
    sides |= {f"without {name}": lambda off=off: fit(off) for name, off in OFF.items()}
    sides["without cached hidden states"] = lambda: fit(cache_memory=0, cache_disk=0)
    sides["with bfloat16"] = lambda: fit(precision="bfloat16")
    fit()  # The first fit is slower, for example because files are read for the first time.
    seconds = in_turns(sides, options.repeats, warm_up=False)
    return [
        Result("ablation", f"{name} / {ALL}", ratio(seconds, name, ALL), "", seconds)
        for name in sides
    ]


def _all_layers_in_heads_only_epochs():
    def source(self):
        self.module.resume_at(None)
        return PaddedTokens(self.tokens) if self.module.n_frozen is None else kept(self)

    kept = ActivationCache.source
    return patch.object(ActivationCache, "source", source)


def _any_length_in_a_batch():
    def places(self, texts):
        lengths, self.lengths = self.lengths, lambda: None
        try:
            return sorted_places(self, texts)
        finally:
            self.lengths = lengths

    sorted_places = TaskSampler._places
    return patch.object(TaskSampler, "_places", places)


def _padding_to_128():
    def places(self, texts):
        at, mask = short_places(self, texts)
        more = [(0, 0), (0, LENGTH - mask.shape[1])]
        return np.pad(at, more), np.pad(mask, more)

    short_places = PaddedTokens.places
    return patch.object(PaddedTokens, "places", places)


def _a_pass_for_each_row():
    def each_alone(rows, tokenizer):
        return TextRows(
            tokenizer(list(rows.texts.strings())),
            np.arange(len(rows)),
            rows.tasks,
            len(rows.classes),
            rows.labels,
            rows.weights,
        )

    return patch.object(TextRows, "of", each_alone)


def _unfused_optimizer():
    plain = functools.partial(torch.optim.AdamW, fused=False)

    def initialize_optimizer(self):
        self.optimizer_ = plain(self._parameter_groups())
        return self

    return patch.object(_net.MultiheadNet, "initialize_optimizer", initialize_optimizer)


def _dropout_of_torch():
    def scale(generator, input, p):
        return torch.empty_like(input).bernoulli_(1 - p, generator=generator).div_(1 - p)

    return patch.object(_randomness, "_dropout_scale", scale)


OFF = {
    "cached embeddings": _all_layers_in_heads_only_epochs,
    "batches of similar length": _any_length_in_a_batch,
    "padding to the batch (to 128 instead)": _padding_to_128,
    "one pass for all tasks of a text": _a_pass_for_each_row,
    "fused AdamW": _unfused_optimizer,
    "dropout from 16 bits": _dropout_of_torch,
}
