"""Class weights, focal factor, label smoothing, task weights and missing labels in the loss."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rapidfit_sk._training.losses import MultiheadLoss, inverse_frequency


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, c, generator=generator).requires_grad_() for n, c in ((6, 3), (2, 4))]


@pytest.fixture
def targets():
    labels = [torch.tensor([0, 1, 2, 1, 1, 0]), torch.tensor([3, 0])]
    return {"labels": labels, "weights": [torch.ones(6), torch.ones(2)]}


def loss_of(class_weights=None, task_weights=(1.0, 1.0), **kwargs):
    return MultiheadLoss(class_weights or [[1.0] * 3, [1.0] * 4], task_weights, **kwargs)


def test_inverse_frequency_is_not_clipped():
    """Classes of 1000 and 50 rows have weights in the ratio 1 to 20, with a mean of 1 over rows."""
    labels = np.repeat([0, 1], [1000, 50])
    weights = inverse_frequency(labels, np.ones(len(labels)), 2)
    assert weights[1] / weights[0] == pytest.approx(20)
    assert weights[labels].mean() == pytest.approx(1)


def test_class_without_rows():
    """A class without rows gets the weight 0 and does not change the weights of the others."""
    assert inverse_frequency(np.array([0, 2]), np.ones(2), 3).tolist() == [1, 0, 1]


def test_sum_over_tasks(logits, targets):
    """The loss is the sum of task weight x share of rows x mean loss of each task."""
    means = [F.cross_entropy(a, b) for a, b in zip(logits, targets["labels"], strict=True)]
    expected = 2.0 * 6 / 8 * means[0] + 0.5 * 2 / 8 * means[1]
    torch.testing.assert_close(loss_of(task_weights=(2.0, 0.5))(logits, targets) / 8, expected)


def test_weighted_cross_entropy(logits, targets):
    """Without label smoothing, the loss equals torch's weighted cross-entropy, summed over rows."""
    weights = [[0.2, 1.0, 5.0], [1.0, 2.0, 3.0, 4.0]]
    sums = [
        F.cross_entropy(a, b, weight=torch.tensor(w), reduction="sum")
        for a, b, w in zip(logits, targets["labels"], weights, strict=True)
    ]
    torch.testing.assert_close(loss_of(weights)(logits, targets), sum(sums))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_at_zero_is_cross_entropy(logits, targets, smoothing):
    """The focal loss is the cross-entropy for a gamma of 0 and close to it for a tiny gamma."""
    weights = [[0.2, 1.0, 5.0], [1.0, 2.0, 3.0, 4.0]]
    options = {"class_weights": weights, "label_smoothing": smoothing}
    plain = loss_of(**options)(logits, targets)
    torch.testing.assert_close(loss_of(focal_gamma=0.0, **options)(logits, targets), plain)
    near = loss_of(focal_gamma=1e-6, **options)(logits, targets)
    torch.testing.assert_close(near, plain, atol=1e-4, rtol=1e-4)


def test_focal_factor_uses_the_plain_probability(logits, targets):
    """The focal factor is (1 - p)^gamma, and class weights and smoothing do not change p."""
    weights = [[0.2, 1.0, 5.0], [1.0, 2.0, 3.0, 4.0]]
    options = {"class_weights": weights, "label_smoothing": 0.1}
    plain, focal = loss_of(**options), loss_of(focal_gamma=2.0, **options)
    labels = targets["labels"][0]
    p = logits[0].softmax(-1)[torch.arange(6), labels]
    expected = (1 - p) ** 2 * plain.row_losses(0, logits[0], labels)
    torch.testing.assert_close(focal.row_losses(0, logits[0], labels), expected)


def test_smoothing_does_not_favor_small_classes():
    """The loss of a row of a large class is lowest if its class has a probability of 0.95.

    The classes have 1000 and 50 rows. With torch's combination of class weights and label
    smoothing, the lowest loss would be at 0.49.
    """
    weights = [inverse_frequency(np.repeat([0, 1], [1000, 50]), np.ones(1050), 2)]
    loss = MultiheadLoss(weights, [1.0], label_smoothing=0.1)
    grid = torch.linspace(-6, 6, 2001)
    logits = torch.stack([grid, torch.zeros_like(grid)], dim=1)
    losses = loss.row_losses(0, logits, torch.zeros(2001, dtype=torch.int64))
    best = logits[losses.argmin()].softmax(-1)[0]
    assert best == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("gamma", [0.3, 0.5, 1.0, 2.0])
def test_focal_gradient_is_finite_at_probability_one(gamma):
    """The gradient of the focal loss is finite if the probability of the label is exactly 1."""
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    loss = MultiheadLoss([[1.0, 1.0]], [1.0], label_smoothing=0.1, focal_gamma=gamma)
    loss.row_losses(0, logits, torch.tensor([0])).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_row_weights(logits, targets):
    """A row with weight 0 has no effect, and a row with weight 2 counts as two rows."""
    loss = loss_of([[0.2, 1.0, 5.0], [1.0] * 4], label_smoothing=0.1, focal_gamma=1.0)

    def subset(rows):
        labels = [targets["labels"][0][rows], targets["labels"][1]]
        weights = [torch.ones(len(rows)), torch.ones(2)]
        return loss([logits[0][rows], logits[1]], {"labels": labels, "weights": weights})

    targets["weights"][0] = torch.tensor([0.0, 1, 1, 1, 1, 1])
    torch.testing.assert_close(loss(logits, targets), subset([1, 2, 3, 4, 5]))
    targets["weights"][0] = torch.tensor([2.0, 1, 1, 1, 1, 1])
    torch.testing.assert_close(loss(logits, targets), subset([0, 0, 1, 2, 3, 4, 5]))


def test_unknown_labels_and_empty_tasks_add_nothing(logits, targets):
    """Rows with the label code -1 and tasks without rows add neither loss nor gradient."""
    labels = {"labels": [torch.tensor([-1]), torch.tensor([], dtype=torch.int64)]}
    labels["weights"] = [torch.ones(1), torch.zeros(0)]
    loss = loss_of(focal_gamma=2.0)([logits[0][:1], logits[1][:0]], labels)
    loss.backward()
    assert loss == 0
    assert logits[0].grad.abs().sum() == 0
