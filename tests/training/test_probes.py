"""Output layers start from probes, which are logistic regressions on embeddings."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import Callback

from rapidfit_sk import EncoderConfig, HeadConfig, LossConfig
from rapidfit_sk._training.probes import fit_probe


@pytest.fixture
def features():
    """Noisy features of three classes, each around its own direction, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    return (np.eye(3, 8)[labels] + rng.normal(scale=0.3, size=(120, 8))).astype(np.float32), labels


def predicted(features, layer):
    """Return the classes that a linear layer predicts."""
    weight, bias = layer
    return (features @ weight.T + bias).argmax(axis=1)


def test_probe_is_a_logistic_regression(features):
    """A probe predicts the classes that LogisticRegression predicts, for three and two classes."""
    x, labels = features
    x = x / np.linalg.norm(x, axis=1).mean()
    for some in (labels >= 0, labels < 2):
        expected = LogisticRegression(C=1.0).fit(x[some], labels[some]).predict(x[some])
        layer = fit_probe(x[some], labels[some], np.ones(some.sum()), n_classes=3)
        assert (predicted(x[some], layer) == expected).mean() > 0.98


def test_scale_of_features_does_not_matter(features):
    """The probe of features that are a hundred times larger computes the same logits."""
    x, labels = features
    small = fit_probe(x, labels, np.ones(120), n_classes=3)
    large = fit_probe(100 * x, labels, np.ones(120), n_classes=3)
    np.testing.assert_allclose(x @ small[0].T, 100 * x @ large[0].T, atol=0.02)


def test_small_weights_and_missing_classes(features):
    """A class with small weights is rarely predicted, and a class without rows never is."""
    x, labels = features
    light = np.where(labels == 1, 1e-3, 1.0)
    assert (predicted(x, fit_probe(x, labels, light, n_classes=3)) == 1).mean() < 0.1
    layer = fit_probe(x, 2 * labels, np.ones(120), n_classes=6)
    assert not layer[0][[1, 3, 5]].any()
    assert set(predicted(x, layer)) == {0, 2, 4}


class Start(Callback):
    """Callback that records the weights of the output layers before the first training batch."""

    def on_batch_begin(self, net, training=False, **kwargs):
        if training and not hasattr(self, "weights_"):
            self.weights_ = [head[-1].weight.detach().clone() for head in net.module_.heads]


def initial_weights(classifier):
    """Return the weights of the output layers before the first training batch."""
    return dict(classifier.net_.callbacks_)["Start"].weights_


@pytest.mark.parametrize("hidden_layers", [0, 1])
def test_heads_start_from_the_probe(make_classifier, messages, hidden_layers):
    """Before any training, heads that start from a probe score higher than random heads."""
    scores = {}
    for init in ("probe", "random"):
        classifier = make_classifier(
            epochs=0,
            learning_rate=1e-12,
            encoder=EncoderConfig(freeze_epochs=1, unfreeze_layers=0),
            head=HeadConfig(init=init, hidden_layers=hidden_layers),
        ).fit(messages)
        scores[init] = classifier.score(messages.iloc[classifier.train_indices_])
    assert scores["probe"] > scores["random"] + 0.15


def test_probe_without_head_only_epochs(make_classifier, messages):
    """Heads start from the same probe with and without head-only epochs."""
    options = {"test_size": 0, "val_size": 0, "loss": LossConfig(use_class_weights=False)}
    first, second = (
        make_classifier(
            encoder=EncoderConfig(freeze_epochs=n, unfreeze_layers=2),
            callbacks=[Start()],
            **options,
        ).fit(messages)
        for n in (0, 1)
    )
    for one, other in zip(initial_weights(first), initial_weights(second), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_warm_start_keeps_trained_heads(make_classifier, messages):
    """A warm start keeps the trained heads, and only the head of a new task gets a probe."""
    classifier = make_classifier(warm_start=True, val_size=0, test_size=0, callbacks=[Start()])
    old = messages[messages["task"] != "emotion"]
    before = [head[-1].weight.clone() for head in classifier.fit(old).net_.module_.heads]
    after = initial_weights(classifier.fit(messages))
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    fresh = make_classifier(head=HeadConfig(init="random"), callbacks=[Start()]).fit(messages)
    assert after[2].norm() != pytest.approx(initial_weights(fresh)[2].norm().item(), rel=0.05)


def test_task_with_rows_of_one_class_has_no_probe(make_classifier, messages):
    """If all rows of a task have the same class, its head starts from random weights."""
    rows = messages[(messages["task"] == "sentiment") & (messages["label"] == "negative")]
    labels = {"sentiment": ["negative", "positive", "neutral"]}
    first, second = (
        initial_weights(
            make_classifier(
                task_labels=labels,
                label_texts=None,
                head=HeadConfig(init=init),
                callbacks=[Start()],
            ).partial_fit(rows)
        )
        for init in ("probe", "random")
    )
    assert torch.equal(first[0], second[0])
