"""
Maximum accuracy
================

Time does not matter, and you want the best model. This example compares the number of encoder
layers that train and the number of epochs, and shows what each step costs.
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

# %%
# The heads always train alone in the first epoch (``encoder.freeze_epochs=1``). The encoder has
# six layers.


def measure(unfreeze_layers, epochs):
    """Train on half of the messages; return seconds, and the accuracy on the others."""
    config = MultiheadConfig(
        training=TrainingConfig(
            model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=epochs, test_size=0
        ),
        encoder=EncoderConfig(unfreeze_layers=unfreeze_layers),
        eval=EvalConfig(calibrate=False),
    )
    classifier = MultiheadClassifier(config, random_state=0).fit(messages[~is_test])
    seconds = classifier.history_.query("metric == 'seconds'")["value"].sum()
    scores = classifier.evaluate(messages[is_test]).query("metric == 'accuracy'")
    return [seconds, *scores[["value", "low", "high"]].mean()]


measured = pd.DataFrame(
    {
        "heads only, 5 epochs": measure(0, 5),
        "2 layers, 1 epoch": measure(2, 1),
        "6 layers, 1 epoch": measure(6, 1),
        "6 layers, 2 epochs": measure(6, 2),
    },
    index=["seconds", "accuracy", "low", "high"],
).T
measured.round(3)

# %%
# The columns "low" and "high" are the ends of the 95 % intervals, averaged over the three tasks
# like the accuracy.

fig, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
names = [f"{name} ({seconds:.0f} s)" for name, seconds in measured["seconds"].items()]
errors = [measured["accuracy"] - measured["low"], measured["high"] - measured["accuracy"]]
ax.errorbar(measured["accuracy"], names, xerr=errors, fmt="o", capsize=3, color="#0072b2")
ax.invert_yaxis()
ax.margins(y=0.15)
ax.set(xlabel="accuracy on 150 texts, with 95 % intervals")
plt.show()

# %%
# Both more encoder layers and more epochs raise the accuracy. Neither can damage the encoder
# much, because it learns at a lower rate than the heads (``encoder.lr_multiplier``) and only after
# them. A larger encoder (``training.model_name``) is the next step; see :doc:`/faq`.
