"""Fixtures of the tests of this folder."""

import os

import pytest

from rapidfit_sk.testing import tiny_encoder

from .small import LABELS, TEXTS, make

# MLflow reads this variable when it is imported, and otherwise reports its use over the network.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture(scope="package")
def encoder():
    """Folder of a tiny BERT with one layer."""
    return tiny_encoder(n_layers=1)


@pytest.fixture
def classifier(encoder):
    """A classifier of texts that is not fitted."""
    return make(encoder)


@pytest.fixture(scope="package")
def fitted_texts(encoder):
    """A fitted classifier of texts; tests must not change it."""
    return make(encoder).fit(TEXTS, LABELS)
