"""
Optimize F1 instead of accuracy
===============================

If classes are imbalanced, a model that ignores the rare ones still has a high accuracy. Macro-F1
counts all classes equally. ``eval.metric`` sets which of them chooses the epoch whose weights are
kept.
"""

# %%
# Complaints are rare, in the training rows and in the validation rows.

import matplotlib.pyplot as plt
import pandas as pd

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    MultiheadConfig,
    TextClassifier,
    TrainingConfig,
)
from rapidfit_sk.datasets import load_support_messages

messages = load_support_messages()
intents = messages[messages["task"] == "intent"].sample(frac=1, random_state=0)
position = intents.groupby("label").cumcount()
rare = intents["label"] == "complain"
train = intents[(position < 40) & ~(rare & (position >= 6))]
validation = intents[(position >= 40) & ~(rare & (position < 69))]
pd.DataFrame(
    {"training": train["label"].value_counts(), "validation": validation["label"].value_counts()}
)

# %%
# With ``metric="f1"``, the classifier keeps the weights of the epoch with the highest macro-F1 on
# the validation rows. A later epoch within one standard error of it is preferred
# (``eval.one_se_rule``).

config = MultiheadConfig(
    training=TrainingConfig(model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=5),
    encoder=EncoderConfig(unfreeze_layers=2),
    eval=EvalConfig(metric="f1", calibrate=False),
)
classifier = TextClassifier(config, random_state=0)
classifier.fit(train["text"], train["label"], X_val=validation["text"], y_val=validation["label"])
of_all_tasks = classifier.history_.query("task.isna()")
scores = of_all_tasks.pivot(index="epoch", columns="metric", values="value")
kept = classifier.history_.query("metric == 'kept' and value == 1")["epoch"].item()
print(f"highest accuracy in epoch {scores['accuracy'].idxmax()}")
print(f"highest macro-F1 in epoch {scores['f1'].idxmax()}")
print(f"kept: epoch {kept}")

# %%
# The bands are one standard error wide on both sides.

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for metric, color in {"accuracy": "#0072b2", "f1": "#d55e00"}.items():
    ax.plot(scores[metric], color=color, marker="o", label={"f1": "macro-F1"}.get(metric, metric))
    error = scores[f"{metric}_se"]
    band = (scores[metric] - error, scores[metric] + error)
    ax.fill_between(scores.index, *band, color=color, alpha=0.15, linewidth=0)
ax.axvline(kept, color="#777777", linestyle="--", label="kept epoch")
ax.set(xlabel="epoch", ylabel="on validation rows")
ax.legend(frameon=False, loc="upper left")
plt.show()

# %%
# Macro-F1 is lower, because the rare class counts as much as the others, and less exact: each of
# the 6 rare validation rows moves the recall of its class by 17 points. Use ``metric="f1"`` if
# rare classes matter to you, and hold out enough rows of them.
