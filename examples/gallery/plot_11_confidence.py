"""
Confidence and calibration
==========================

The probabilities of a trained network can be too high or too low on average. ``fit`` therefore
divides the logits of each task by a temperature, which it chooses on rows that did not train. This
example undoes the temperature, to show what it changes.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rapidfit_sk import EncoderConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.datasets import load_support_messages

messages = load_support_messages()
part = messages["text"].factorize()[0] % 3
config = MultiheadConfig(
    training=TrainingConfig(
        model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=5, test_size=0
    ),
    encoder=EncoderConfig(unfreeze_layers=2),
)
classifier = MultiheadClassifier(config, random_state=0)
classifier.fit(messages[part == 0], X_val=messages[part == 1])
print({task: round(float(t), 2) for task, t in classifier.temperatures_.items()})

# %%
# A temperature below 1 makes probabilities more extreme: after few epochs on few rows, the network
# is less certain than it could be. Multiplied by the temperature, the logarithms of the
# probabilities are the logits of the network again, up to a constant.

test = messages[part == 2]
rows = []
for task, temperature in classifier.temperatures_.items():
    of_task = test[test["task"] == task]
    log_proba = classifier.predict_log_proba(of_task["text"], task=task)
    codes = np.searchsorted(classifier.classes_[task], of_task["label"].to_numpy())
    for name, scale in {"calibrated": 1.0, "not calibrated": temperature}.items():
        p = np.exp(log_proba * scale)
        p /= p.sum(axis=1, keepdims=True)
        correct = p.argmax(axis=1) == codes
        loss = -np.log(p[np.arange(len(p)), codes])
        found = {"confidence": p.max(axis=1), "correct": correct, "log loss": loss}
        rows.append(pd.DataFrame(found).assign(task=task, probabilities=name))
rows = pd.concat(rows)

# %%
# The labels, and so the accuracy, are the same. The confidence and the log loss differ:

rows.groupby("probabilities")[["correct", "confidence", "log loss"]].mean().round(3).rename(
    columns={"correct": "accuracy", "confidence": "mean confidence"}
)

# %%
# On the diagonal, the confidence is exactly right. Above it, predictions are more often correct
# than they claim.

bins = np.array([0, 0.6, 0.8, 0.95, 1])
fig, ax = plt.subplots(figsize=(4.5, 4), layout="constrained")
ax.plot([0.3, 1], [0.3, 1], color="#999999", linewidth=1)
for (name, each), color in zip(rows.groupby("probabilities"), ("#0072b2", "#d55e00"), strict=True):
    means = each.groupby(pd.cut(each["confidence"], bins), observed=True)[
        ["confidence", "correct"]
    ].mean()
    ax.plot(means["confidence"], means["correct"], marker="o", color=color, label=name)
ax.set(
    xlabel="mean confidence", ylabel="accuracy", xlim=(0.3, 1.02), ylim=(0.3, 1.02), aspect="equal"
)
ax.legend(frameon=False, loc="upper left")
plt.show()

# %%
# With such probabilities, a minimum confidence is meaningful. Predictions below it get no label:

texts = test["text"].drop_duplicates()
labels = classifier.predict(texts, task="intent", min_confidence=0.8)
print(f"{np.mean([label is not None for label in labels]):.0%} of the texts get a label.")

# %%
# :doc:`/abstention` shows how to choose the minimum from the precision that you need.
