"""skops: a file without pickle, for whoever trusts its types."""

import numpy as np
import pytest

pytest.importorskip("skops", reason="skops is not installed")

import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from .small import TEXTS

OWN = ("rapidfit_sk.", "skorch.", "torch.", "functools.partial")


def test_skops(fitted_texts, tmp_path):
    """A file of skops loads after its types are trusted, and predicts the same to the bit."""
    file = tmp_path / "model.skops"
    skops.io.dump(fitted_texts, file)
    with pytest.raises(UntrustedTypesFoundException, match="rapidfit_sk"):
        skops.io.load(file)
    types = skops.io.get_untrusted_types(file=file)
    assert all(name.startswith(OWN) for name in types)
    loaded = skops.io.load(file, trusted=types)
    assert np.array_equal(loaded.predict_proba(TEXTS), fitted_texts.predict_proba(TEXTS))
