"""LIME: explanations from thousands of perturbed texts in one call."""

import json
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
    """LIME passes 5,000 perturbations of two words in one call, which encodes four texts."""
    calls = []

    class Recorded:
        @staticmethod
        def predict_proba(texts):
            calls.append(len(texts))
            return fitted_texts.predict_proba(texts)

    found = explain(Recorded, "good thing", num_samples=5000)
    assert words(found) == {"good", "thing"}
    assert calls == [5000]
    assert sum(encoded) == 4


def test_the_empty_text(fitted_texts):
    """A perturbation without any word has probabilities, like each other text."""
    shares = fitted_texts.predict_proba(["", " ", "good word 1"])
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert words(explain(fitted_texts, "good", num_samples=50)) == {"good"}


# The feed-forward layer is so wide that its activations for 4,000 texts take 1.3 GB.
MEMORY = """
import json, re
from pathlib import Path

from lime.lime_text import LimeTextExplainer
from transformers import BertConfig, BertModel

from rapidfit_sk.testing import tiny_encoder
from tests.ecosystem.small import LABELS, TEXTS, make

folder = tiny_encoder(n_layers=1)
BertModel(BertConfig.from_pretrained(folder, intermediate_size=2048)).save_pretrained(folder)
classifier = make(folder).fit(TEXTS, LABELS)


def peak():
    # In bytes, since the last call.
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])


def predict_proba(texts):
    peak()
    before = peak()
    shares = classifier.predict_proba(texts)
    print(json.dumps([len(texts), len(set(texts)), peak() - before]))
    return shares


text = " ".join(f"a{i}" for i in range(20))
explainer = LimeTextExplainer(class_names=["n", "p"], random_state=0)
explainer.explain_instance(text, predict_proba, num_samples=5000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory():
    """One call with 5,000 perturbations takes a fraction of the memory of all activations."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    n_texts, n_distinct, used = json.loads(done.stdout.splitlines()[-1])
    assert n_texts == 5000
    assert n_distinct > 4000
    assert used < 500e6
