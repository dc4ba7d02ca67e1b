"""
Training, validation and test rows
==================================

How many rows should be held out? This example shows the rows that each setting holds out, and how
exact a score on the test rows is.
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

SETTINGS = {
    "defaults": {},
    "test_size=0.3": {"test_size": 0.3},
    "test_size=0.15, val_size=0.15": {"test_size": 0.15, "val_size": 0.15},
    "test_size=0, val_size=0": {"test_size": 0, "val_size": 0},
}


def fit(setting):
    """Train only the heads, to be fast."""
    config = MultiheadConfig(
        training=TrainingConfig(
            model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=3, **setting
        ),
        encoder=EncoderConfig(unfreeze_layers=0),
        eval=EvalConfig(calibrate=False),
    )
    return MultiheadClassifier(config, random_state=0).fit(messages)


fitted = {name: fit(setting) for name, setting in SETTINGS.items()}

# %%
# The attributes ``train_indices_``, ``val_indices_`` and ``test_indices_`` contain the positions
# of the rows.

PARTS = {"training": "train_indices_", "validation": "val_indices_", "test": "test_indices_"}
sizes = pd.DataFrame(
    {
        name: {part: len(getattr(classifier, rows)) for part, rows in PARTS.items()}
        for name, classifier in fitted.items()
    }
).T
ax = sizes.plot.barh(stacked=True, figsize=(7, 2.6), color=["#0072b2", "#d55e00", "#999999"])
for bars in ax.containers:
    labels = [n if n else "" for n in bars.datavalues.astype(int)]
    ax.bar_label(bars, labels, label_type="center", color="white")
ax.invert_yaxis()
ax.set(xlabel="rows")
ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
ax.figure.tight_layout()
plt.show()

# %%
# By default, fewer than 2,000 rows are too few for validation rows: all epochs run, and none of
# them is chosen. All rows of a text are always in the same part, for all tasks:

classifier = fitted["test_size=0.15, val_size=0.15"]
texts = [set(messages["text"].iloc[getattr(classifier, rows)]) for rows in PARTS.values()]
print([len(part) for part in texts], "texts")
print(len(texts[0] & texts[1]), len(texts[0] & texts[2]), len(texts[1] & texts[2]), "shared")

# %%
# More test rows make the score more exact. These are the 95 % intervals of the accuracy of
# "sentiment":

frames = [
    fitted[name].evaluate(messages.iloc[fitted[name].test_indices_]).assign(setting=name)
    for name in list(SETTINGS)[:3]
]
scores = pd.concat(frames).query("task == 'sentiment' and metric == 'accuracy'")
scores.set_index("setting")[["n", "value", "low", "high"]].round(2)

# %%
# With 30 test rows, the interval is more than 20 points wide. If a decision depends on a few
# points, use more test rows, or cross-validation, which tests on all of them; see
# :doc:`/scikit_learn`.
