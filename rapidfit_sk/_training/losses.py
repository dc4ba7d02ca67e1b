"""Cross-entropy and focal loss with class weights and task weights."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from torch.nn import functional as F


class MultiheadLoss(nn.Module):
    """Weighted loss of a batch that may contain several tasks.

    Parameters
    ----------
    class_weights : list of array-like, each of shape (n_classes_of_task,)
        Weights of the classes of each task.
    task_weights : array-like of shape (n_tasks,)
        Weight of each task.
    label_smoothing : float
        Share of the target that is spread evenly over all classes.
    focal_gamma : float
        Exponent of the focal factor; 0 for cross-entropy.

    Notes
    -----
    Each row adds the product of its task weight, its row weight and its loss. Divided by the
    total weight of all rows, the loss is a sum over tasks: the task weight, times the share of the
    task in the batch, times the mean loss of the task.

    The class weight multiplies the whole smoothed cross-entropy of a row.
    `torch.nn.functional.cross_entropy(weight=, label_smoothing=)` instead weights each term of the
    smoothed target by its own class. With class sizes of 20 to 1 and a smoothing of 0.1,
    the optimal probability of the large class would then be 0.49 for each of its rows.
    """

    def __init__(
        self,
        class_weights: Iterable[ArrayLike],
        task_weights: Iterable[float],
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
    ):
        super().__init__()
        self.task_weights = [float(weight) for weight in task_weights]
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        for task, weights in enumerate(class_weights):
            tensor = torch.as_tensor(weights, dtype=torch.float32)
            self.register_buffer(f"class_weights_{task}", tensor, persistent=False)

    def forward(
        self, logits: list[torch.Tensor], targets: dict[str, list[torch.Tensor]]
    ) -> torch.Tensor:
        """Compute the loss.

        Parameters
        ----------
        logits : list of Tensor, each of shape (n_rows_of_task, n_classes_of_task)
            The logits of each task.
        targets : dict
            ``labels`` and ``weights``: lists with one tensor of shape (n_rows_of_task,) per task.
            Rows with the label -1 do not contribute to the loss.

        Returns
        -------
        loss : Tensor of shape ()
            The weighted sum over rows. The losses of small batches add up to the loss of a larger
            batch, because the loss is not a mean.
        """
        parts = zip(self.task_weights, logits, targets["labels"], targets["weights"], strict=True)
        losses = (
            task_weight * torch.dot(self.row_losses(task, part, labels), weights)
            for task, (task_weight, part, labels, weights) in enumerate(parts)
            if len(labels)
        )
        return sum(losses, start=logits[0].new_zeros(()))

    def class_weights(self, task: int) -> torch.Tensor:
        """Return the weight of each class of one task."""
        return getattr(self, f"class_weights_{task}")

    def row_losses(self, task: int, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row of one task, class weights included."""
        loss = F.cross_entropy(
            logits,
            labels,
            ignore_index=-1,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        if self.focal_gamma:
            # The focal factor uses the plain probability, without class weights or smoothing.
            known = labels.clamp(min=0).unsqueeze(-1)
            p_true = logits.softmax(-1).gather(-1, known).squeeze(-1)
            # For exponents below 1, the gradient is infinite at p = 1, so 1 - p stays above 0.
            loss = (1 - p_true).clamp(min=1e-7) ** self.focal_gamma * loss
        # A label of -1 selects the weight of the last class, but the loss of its row is 0.
        return self.class_weights(task)[labels] * loss


def inverse_frequency(
    labels: np.ndarray, weights: np.ndarray, n_classes: int
) -> NDArray[np.float64]:
    """Return ``n_rows / (n_classes * n_rows_of_class)`` for each class, counting row weights.

    Parameters
    ----------
    labels : ndarray of int, shape (n_rows,)
        Label codes of the training rows of one task.
    weights : ndarray of float, shape (n_rows,)
        Weights of the rows: a row of weight 2 counts as two rows.
    n_classes : int
        Number of classes. A class without rows has weight 0 and is not counted.

    Returns
    -------
    weights : ndarray of float, shape (n_classes,)
        Class weights, with a weighted mean of 1 over the rows.

    Examples
    --------
    >>> from rapidfit_sk._training.losses import inverse_frequency
    >>> inverse_frequency(np.array([0] * 1000 + [1] * 50), np.ones(1050), 2)
    array([ 0.525, 10.5  ])
    """
    counts = np.bincount(labels, weights, minlength=n_classes)
    present = counts > 0
    result = np.zeros(n_classes)
    result[present] = counts.sum() / (present.sum() * counts[present])
    return result
