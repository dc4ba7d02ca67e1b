"""The same seed gives the same model, whatever modes and generators are set outside."""

import copy
import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

from rapidfit_sk import MultiheadClassifier
from rapidfit_sk._model import UseGenerator
from rapidfit_sk._model.randomness import ZeroInit
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

from .small import LABELS, TEXTS, make


def generators():
    """Return the states of all global generators."""
    import random

    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_global_generators_stand_still(architecture, tmp_path):
    """Fitting, loading, unpickling and copying leave the global generators alone."""
    encoder = tiny_encoder(architecture=architecture)
    before = generators()
    classifier = make(encoder).fit(TEXTS, LABELS)
    classifier.add_task(TEXTS, LABELS, task="other").save(tmp_path / "model")
    MultiheadClassifier.load(tmp_path / "model")
    pickle.loads(pickle.dumps(classifier))
    copy.deepcopy(classifier)
    joblib.dump(classifier, tmp_path / "file")
    joblib.load(tmp_path / "file")
    assert generators() == before


INITIALIZERS = [
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "orthogonal_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
]
DRAWS = {
    "bernoulli": lambda: torch.bernoulli(torch.full((3,), 0.5)),
    "bernoulli_": lambda: torch.empty(3).bernoulli_(0.5),
    "cauchy_": lambda: torch.empty(3).cauchy_(),
    "exponential_": lambda: torch.empty(3).exponential_(),
    "geometric_": lambda: torch.empty(3).geometric_(0.5),
    "log_normal_": lambda: torch.empty(3).log_normal_(),
    "multinomial": lambda: torch.multinomial(torch.ones(3), 2),
    "normal": lambda: torch.normal(torch.zeros(3), 1.0),
    "poisson": lambda: torch.poisson(torch.ones(3)),
    "rand": lambda: torch.rand(3),
    "rand_like": lambda: torch.rand_like(torch.empty(3)),
    "randint": lambda: torch.randint(9, (3,)),
    "randn": lambda: torch.randn(3),
    "randn_like": lambda: torch.randn_like(torch.empty(3)),
    "random_": lambda: torch.empty(3).random_(),
    "randperm": lambda: torch.randperm(3),
    "Linear": lambda: torch.nn.Linear(3, 3),
    "Embedding": lambda: torch.nn.Embedding(3, 3),
    "Conv1d": lambda: torch.nn.Conv1d(3, 3, 1),
    "GRU": lambda: torch.nn.GRU(3, 3),
    "MultiheadAttention": lambda: torch.nn.MultiheadAttention(4, 2),
    **{
        f"{name} by {how}": lambda name=name, how=how: (
            getattr(torch.nn.init, name)(torch.empty(4, 4))
            if how == "position"
            else getattr(torch.nn.init, name)(tensor=torch.empty(4, 4))
        )
        for name in INITIALIZERS
        for how in ("position", "keyword")
    },
}


@pytest.mark.parametrize("mode", [UseGenerator, ZeroInit])
@pytest.mark.parametrize("draw", DRAWS)
def test_random_functions_use_the_private_generator(mode, draw):
    """Each random function of torch leaves the global generator alone inside both modes."""
    before = torch.get_rng_state()
    with mode(torch.Generator()) if mode is UseGenerator else mode():
        DRAWS[draw]()
    assert torch.equal(torch.get_rng_state(), before)


MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_the_caller_change_nothing(encoder_name, mode):
    """Fitting, adding a task and predicting inside a mode of torch gives the same bits."""

    def shares():
        classifier = make(encoder_name).fit(TEXTS, LABELS)
        classifier.add_task(TEXTS, LABELS, task="other").partial_fit(
            TEXTS, pd.Series(LABELS, name="label")
        )
        return classifier.predict_proba(TEXTS)

    expected = shares()
    with MODES[mode]():
        found = shares()
    for task in ("label", "other"):
        assert np.array_equal(expected[task], found[task])


def test_another_default_dtype_is_one_clear_error(encoder_name):
    """Under a float64 default dtype, training raises one error and prediction still works."""
    classifier = make(encoder_name).fit(TEXTS, LABELS)
    expected = classifier.predict_proba(TEXTS)
    torch.set_default_dtype(torch.float64)
    try:
        for train in (classifier.fit, classifier.partial_fit):
            with pytest.raises(RuntimeError, match="default dtype is torch.float64"):
                train(TEXTS, LABELS)
        assert np.array_equal(classifier.predict_proba(TEXTS), expected)
        assert np.array_equal(copy.deepcopy(classifier).predict_proba(TEXTS), expected)
    finally:
        torch.set_default_dtype(torch.float32)


FIT = """
import hashlib, sys
from tests.reliability.small import LABELS, TEXTS, make
classifier = make(sys.argv[1]).fit(TEXTS, LABELS)
print(hashlib.sha256(classifier.predict_proba(TEXTS).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_agree_to_the_bit(encoder_name):
    """Two processes with the same seed, libraries and threads predict the same bits."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = [
        subprocess.run(
            [sys.executable, "-c", FIT, encoder_name],
            capture_output=True,
            text=True,
            check=True,
            env={**environment, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] != ""
