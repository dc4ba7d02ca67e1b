"""
Complex tasks: hidden layers
============================

A linear head adds up evidence for each class. It cannot learn a class that depends on a
combination of two properties. This example generates such a task and compares linear heads, hidden
layers and a fine-tuned encoder.
"""

# %%
# The label is "keep" for good food and for bad vehicles, and "return" for all others. Neither the
# adjective nor the noun says anything about the label by itself.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    MultiheadConfig,
    TextClassifier,
    TrainingConfig,
)

GOOD = ["wonderful", "lovely", "excellent", "great", "perfect", "delightful", "superb", "fantastic"]
BAD = ["terrible", "awful", "broken", "useless", "dreadful", "horrible", "poor", "disappointing"]
FOOD = ["soup", "bread", "cheese", "cake", "salad", "coffee", "rice", "apple"]
VEHICLES = ["train", "car", "bicycle", "bus", "truck", "boat", "plane", "scooter"]

rows = pd.DataFrame(
    [
        (f"The {noun} was {adjective}.", adjective in GOOD, noun in FOOD)
        for adjective in GOOD + BAD
        for noun in FOOD + VEHICLES
    ],
    columns=["text", "is_good", "is_food"],
)
rows["label"] = np.where(rows["is_good"] == rows["is_food"], "keep", "return")
rows = rows.sample(frac=1, random_state=0)
train, test = rows[:128], rows[128:]
train[["text", "label"]].head(4)

# %%
# 128 texts train, and the other 128 are test rows.


def score_of(hidden_layers, unfreeze_layers, epochs):
    """Return the accuracy on training and test rows."""
    config = MultiheadConfig(
        training=TrainingConfig(model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=epochs),
        encoder=EncoderConfig(unfreeze_layers=unfreeze_layers),
        head=HeadConfig(hidden_layers=hidden_layers),
        eval=EvalConfig(calibrate=False),
    )
    classifier = TextClassifier(config, random_state=0).fit(train["text"], train["label"])
    return [classifier.score(part["text"], part["label"]) for part in (train, test)]


scores = pd.DataFrame(
    {
        "linear head": score_of(0, 0, epochs=10),
        "one hidden layer": score_of(1, 0, epochs=10),
        "two hidden layers": score_of(2, 0, epochs=10),
        "linear head, two encoder layers train": score_of(0, 2, epochs=4),
    },
    index=["training rows", "test rows"],
).T
scores.round(2)

# %%
# Half of the labels are correct by chance.

ax = scores.plot.barh(figsize=(7, 2.8), width=0.75, color=["#bbbbbb", "#0072b2"])
ax.axvline(0.5, color="black", linewidth=1)
ax.invert_yaxis()
ax.set(xlabel="accuracy", xlim=(0, 1))
ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
ax.figure.tight_layout()
plt.show()

# %%
# If the encoder is frozen, a hidden layer solves the task and a linear head does not. If encoder
# layers train, which is the default, they do the work of hidden layers. On the tasks of
# :doc:`/accuracy`, hidden layers have no measurable effect, so start without them.
