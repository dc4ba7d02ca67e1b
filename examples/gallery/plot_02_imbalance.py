"""
Imbalanced classes
==================

One class has far fewer rows than the others, and the model rarely predicts it. Class weights,
which are on by default, raise the loss of its rows. The focal loss reduces the loss of rows that
the model already predicts well. This example compares both with 10 rows of one class and 50 of
each other class.
"""

# %%
# Complaints are made rare: 10 of them train, and all others are test rows.

import matplotlib.pyplot as plt
import pandas as pd

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    LossConfig,
    MultiheadConfig,
    TextClassifier,
    TrainingConfig,
)
from rapidfit_sk.datasets import load_support_messages

messages = load_support_messages()
intents = messages[messages["task"] == "intent"].sample(frac=1, random_state=0)
n_train = intents["label"].map({"complain": 10}).fillna(50)
is_train = intents.groupby("label").cumcount() < n_train
train, test = intents[is_train], intents[~is_train]
pd.DataFrame({"training": train["label"].value_counts(), "test": test["label"].value_counts()})

# %%
# Only the heads train (``unfreeze_layers=0``), which takes seconds.

LOSSES = {
    "plain": LossConfig(use_class_weights=False),
    "focal loss": LossConfig(use_class_weights=False, use_focal_loss=True),
    "class weights (default)": LossConfig(),
    "both": LossConfig(use_focal_loss=True),
}


def recall_with(loss):
    """Train with a loss, and return the recall of each class on the test rows."""
    config = MultiheadConfig(
        training=TrainingConfig(model_name="sentence-transformers/all-MiniLM-L6-v2"),
        encoder=EncoderConfig(unfreeze_layers=0),
        eval=EvalConfig(calibrate=False),
        loss=loss,
    )
    classifier = TextClassifier(config, random_state=0).fit(train["text"], train["label"])
    scores = classifier.evaluate(test["text"], test["label"], level="class")
    return scores.set_index("label")["recall"]


recall = pd.DataFrame({name: recall_with(loss) for name, loss in LOSSES.items()})
recall.round(2)

# %%
# Without weights, the rare class is hardly ever predicted. Class weights find about half of it and
# cost little elsewhere. The focal loss helps less than class weights, and adds nothing to them
# here. The section "Rare classes" of :doc:`/accuracy` has the same comparison with 50 and 1,000
# rows.

ax = recall.T.plot.bar(
    figsize=(7, 3), rot=0, width=0.8, color=["#bbbbbb", "#999999", "#d55e00", "#777777"]
)
ax.set(ylabel="recall on test rows", ylim=(0, 1))
ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
ax.figure.tight_layout()
plt.show()
