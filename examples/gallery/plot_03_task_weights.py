"""
One important task
==================

You care most about one task, and the others only help it. ``loss.task_weights`` multiplies the
loss of each task, so a task with a higher weight has more influence on the layers that all tasks
share.
"""

import pandas as pd

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)
from rapidfit_sk.datasets import load_support_messages

messages = load_support_messages()
is_test = messages["text"].factorize()[0] % 2 == 0

# %%
# Each head has its own weights, so task weights have nearly no effect unless encoder layers train,
# too. Here, the top two layers train for two epochs.

WEIGHTS = {
    "equal weights": None,
    "sentiment counts more": {"sentiment": 4.0, "intent": 0.25, "emotion": 0.25},
    "emotion counts more": {"sentiment": 0.25, "intent": 0.25, "emotion": 4.0},
}


def losses_with(weights):
    """Train with task weights, and return the log loss of each task on the test rows."""
    config = MultiheadConfig(
        training=TrainingConfig(
            model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=2, test_size=0
        ),
        encoder=EncoderConfig(unfreeze_layers=2),
        eval=EvalConfig(calibrate=False),
        loss=LossConfig(task_weights=weights),
    )
    classifier = MultiheadClassifier(config, random_state=0).fit(messages[~is_test])
    scores = classifier.evaluate(messages[is_test]).query("metric == 'log_loss'")
    return scores.set_index("task")["value"]


losses = pd.DataFrame({name: losses_with(weights) for name, weights in WEIGHTS.items()}).T
losses.round(3)

# %%
# The log loss shows small changes that the accuracy does not. The task with the high weight
# improves, and the others pay for it. Weights of 2 or 0.5 have a smaller effect in the same
# direction.

ax = losses.plot.bar(figsize=(7, 3), rot=0, width=0.8, color=["#0072b2", "#999999", "#d55e00"])
ax.set(ylabel="log loss on test rows\n(lower is better)")
ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
ax.figure.tight_layout()
