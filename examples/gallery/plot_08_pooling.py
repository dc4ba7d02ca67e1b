"""
Pooling for short texts and for keywords
========================================

The encoder returns a vector for each token. Pooling turns them into one embedding: their mean, the
vector of the first token, the maximum of each dimension, or a mean with weights that each task
learns. This example compares the four on short messages.
"""

import matplotlib.pyplot as plt
import pandas as pd

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)
from rapidfit_sk.datasets import load_support_messages

messages = load_support_messages()
is_test = messages["text"].factorize()[0] % 2 == 0


def f1_with(pooling):
    """Train on half of the messages, and return the macro-F1 of each task on the others."""
    config = MultiheadConfig(
        training=TrainingConfig(
            model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=2, test_size=0
        ),
        encoder=EncoderConfig(unfreeze_layers=2),
        eval=EvalConfig(calibrate=False),
        pooling=pooling,
    )
    classifier = MultiheadClassifier(config, random_state=0).fit(messages[~is_test])
    return classifier.evaluate(messages[is_test]).query("metric == 'macro_f1'").set_index("task")


scores = {pooling: f1_with(pooling) for pooling in ("attention", "mean", "max", "cls")}
values = pd.DataFrame({pooling: each["value"] for pooling, each in scores.items()})
values.round(3)

# %%
# The lines are 95 % intervals.

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
colors = ["#0072b2", "#d55e00", "#009e73", "#999999"]
for i, (pooling, each) in enumerate(scores.items()):
    at = [x + 0.2 * i - 0.3 for x in range(len(each))]
    errors = [each["value"] - each["low"], each["high"] - each["value"]]
    ax.bar(at, each["value"], 0.18, yerr=errors, capsize=2, label=pooling, color=colors[i])
ax.set_xticks(range(len(values)), values.index)
ax.set(ylabel="macro-F1 on test rows", ylim=(0, 1))
ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
plt.show()

# %%
# This encoder was pretrained with mean pooling, so the vector of its first token has learned
# little, and ``"cls"`` is the worst choice, although the texts are short. With an encoder that was
# pretrained on the first token, for example BERT, ``"cls"`` may be better. ``"attention"``, the
# default, starts from the mean and learns which tokens matter to each task.
