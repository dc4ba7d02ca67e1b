"""SHAP: the contribution of each token to a probability."""

import numpy as np
import pytest

pytest.importorskip("shap", reason="shap is not installed")

import shap


@pytest.mark.slow  # it compiles with numba
def test_contributions_add_up(fitted_texts):
    """The contributions of the tokens add up to the probabilities."""
    kinds = set()

    def predict_proba(texts):
        kinds.update(map(type, texts))
        return fitted_texts.predict_proba(texts)

    explainer = shap.Explainer(
        predict_proba, shap.maskers.Text(r"\W+"), output_names=["n", "p"], seed=0
    )
    texts = ["good word bad", "bad thing 3"]
    found = explainer(texts, silent=True)
    shares = fitted_texts.predict_proba(texts)
    for values, base, share in zip(found.values, found.base_values, shares, strict=True):
        np.testing.assert_allclose(values.sum(axis=0) + base, share, atol=1e-4)
    assert any(issubclass(kind, np.str_) for kind in kinds)


@pytest.mark.slow
def test_the_method_itself(fitted_texts):
    """The method predict_proba can be passed as it is."""
    found = shap.Explainer(fitted_texts.predict_proba, shap.maskers.Text(r"\W+"), seed=0)(
        ["good word"], silent=True
    )
    assert found.values[0].shape[1] == 2
