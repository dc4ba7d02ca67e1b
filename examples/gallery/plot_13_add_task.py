"""
Add a task, and compare with the old model
==========================================

A classifier of sentiment and intent is in use, and now it must find emotions, too. There are three
ways: add a head to the old model, train all tasks together again, or train a second model.
"""

# %%
# All models are compared on the same texts, which none of them trains on. A hash of the text gives
# each text the same part today and in a month, without a list of texts. Both
# ``split_column`` and the comparison below use it.

import zlib
from copy import deepcopy

import matplotlib.pyplot as plt
import pandas as pd
from scipy.stats import binomtest

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.plotting import TaskComparisonDisplay


def part_of(text):
    """Return the part of a text."""
    return "test" if zlib.crc32(text.encode()) % 3 == 0 else "train"


messages = load_support_messages()
messages["split"] = messages["text"].map(part_of)
is_new = messages["task"] == "emotion"
config = MultiheadConfig(
    training=TrainingConfig(model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=3),
    encoder=EncoderConfig(unfreeze_layers=2),
    eval=EvalConfig(calibrate=False),
)
unfitted = MultiheadClassifier(config, split_column="split", random_state=0)
old = deepcopy(unfitted).fit(messages[~is_new])

# %%
# ``add_task`` changes a classifier, so it gets a copy. It trains only the new head, in seconds, and
# the old tasks stay the same to the bit. ``fit`` with all rows trains the encoder for all tasks.
# ``classifier_for`` returns a classifier of one task; it has no ``split_column``, so it gets the
# training rows only.

added = deepcopy(old).add_task(messages[is_new])
joint = deepcopy(unfitted).fit(messages)
emotions = messages[is_new & (messages["split"] == "train")]
alone = old.classifier_for("emotion").fit(emotions["text"], emotions["label"])

# %%
# The old model refuses rows of the new task, so they are left out.

test = messages[messages["split"] == "test"]
own = test[test["task"] == "emotion"]
scores = {
    "old": old.evaluate(test[test["task"].isin(old.tasks_)]),
    "add_task": added.evaluate(test),
    "joint fit": joint.evaluate(test),
    "second model": alone.evaluate(own["text"], own["label"]),
}
TaskComparisonDisplay.from_scores(scores, metrics=["accuracy"])
plt.show()

# %%
# Intervals of two models overlap even if one of them is reliably better, because both are wrong on
# the same hard texts. McNemar's test counts the texts on which only one of them is right. For the
# old tasks, ``add_task`` predicts the same labels as the old model.


def compare(a, b, task):
    """Return the numbers of texts on which only one of two models is right, and a p-value."""
    rows = test[test["task"] == task]
    right = [model.predict(rows["text"], task=task) == rows["label"] for model in (a, b)]
    only_a, only_b = (right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()
    p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return {"task": task, "only a": only_a, "only b": only_b, "p-value": round(p, 3)}


found = [compare(old, joint, task) for task in old.tasks_]
found.append(compare(added, joint, "emotion"))
pd.DataFrame(found, index=["old, joint fit", "old, joint fit", "add_task, joint fit"])

# %%
# Six texts are too few for a verdict about the new task; with your data, use a larger test. Decide
# by your needs: ``add_task`` is safe for the old tasks, a joint fit trains the encoder for the
# new task, too, and a second model costs a second encoder at each prediction. The test compares
# two fitted models; repeat both with several ``random_state``, because seeds differ, too.
#
# The winner is one object with all tasks. ``save`` and ``load`` keep it.

joint.predict_all(["Where is my parcel?!", "Thank you so much, it is beautiful."])

# %%
# ``remove_task`` removes a head again. To rename a task, rename the column of ``predict_all``; the
# name in the classifier changes only with another fit.

added.remove_task("emotion").tasks_
