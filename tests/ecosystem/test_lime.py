"""LIME: explanations from thousands of perturbed texts in one call."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lime", reason="lime is not installed")

from lime.lime_text import LimeTextExplainer

ROOT = Path(__file__).parents[2]


def explain(classifier, text, **options):
    """Return the explanation of the probability of the second class."""
    explainer = LimeTextExplainer(class_names=["n", "p"], random_state=0)
    return explainer.explain_instance(text, classifier.predict_proba, **options)


def words(explanation):
    """Return the words of an explanation."""
    return {word for word, _ in explanation.as_list()}


@pytest.mark.parametrize("text", ["good word 3", "bad thing 4"])
def test_words_that_decide(fitted_texts, text):
    """The explanation is about the classifier's probabilities, and its weights add up to them."""
    found = explain(fitted_texts, text, num_samples=300)
    share = fitted_texts.predict_proba([text])[0]
    np.testing.assert_allclose(found.predict_proba, share, rtol=1e-5)
    assert words(found) == set(text.split())
    assert found.local_pred[0] == pytest.approx(share[1], abs=0.3)
    assert max(abs(weight) for _, weight in found.as_list()) > 0.01


def test_repeats_are_encoded_once(fitted_texts, encoded):
    """Of 5,000 perturbations of two words, only the four distinct texts are encoded."""
    found = explain(fitted_texts, "good thing", num_samples=5000)
    assert words(found) == {"good", "thing"}
    assert sum(encoded) <= 4


def test_the_empty_text(fitted_texts):
    """A perturbation without any word has probabilities, like each other text."""
    shares = fitted_texts.predict_proba(["", " ", "good word 1"])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert words(explain(fitted_texts, "good", num_samples=50)) == {"good"}


MEMORY = """
import sys

import psutil
from lime.lime_text import LimeTextExplainer

from tests.ecosystem.small import LABELS, TEXTS, make

classifier = make().fit(TEXTS, LABELS)
explainer = LimeTextExplainer(class_names=["n", "p"], random_state=0)
text = " ".join(f"word{i} good bad" for i in range(60))
explainer.explain_instance(text, classifier.predict_proba, num_samples=100)
process, most = psutil.Process(), 0


def predict_proba(texts):
    global most
    before = process.memory_info().rss
    shares = classifier.predict_proba(texts)
    most = max(most, process.memory_info().rss - before)
    return shares


explainer.explain_instance(text, predict_proba, num_samples=int(sys.argv[1]))
print(most // 2**20)
"""


@pytest.mark.slow
def test_memory():
    """5,000 perturbations of a text of 180 words take less than 300 MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, "5000"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert int(done.stdout) < 300
