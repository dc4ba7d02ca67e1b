"""
Tasks of different sizes
========================

One task has many rows, another one has few. ``task_sampling`` sets how many rows of each task an
epoch draws. This example counts them for the three strategies and compares the scores.
"""

# %%
# The task "intent" keeps 16 of its rows; the other tasks keep all rows of the training texts.

import matplotlib.pyplot as plt
import pandas as pd
from skorch.callbacks import Callback

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
train, test = messages[~is_test], messages[is_test]
few_intents = train[train["task"] == "intent"].groupby("label").head(4)
train = pd.concat([train[train["task"] != "intent"], few_intents])
train["task"].value_counts().to_dict()

# %%
# A skorch callback counts the rows of each task in the steps of an epoch.


class RowCounts(Callback):
    """Count the training rows of each task in the last epoch."""

    def on_epoch_begin(self, net, **kwargs):
        """Start to count."""
        self.counts_ = 0

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Add the rows of one optimizer step."""
        if training:
            for part in batch:
                self.counts_ = self.counts_ + pd.Series([len(y) for y in part.targets["labels"]])


counts, scores = {}, {}
for strategy in ("proportional", "sqrt", "equal"):
    config = MultiheadConfig(
        training=TrainingConfig(
            model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=2, test_size=0
        ),
        encoder=EncoderConfig(unfreeze_layers=2),
        eval=EvalConfig(calibrate=False),
        task_sampling=strategy,
    )
    classifier = MultiheadClassifier(config, random_state=0, callbacks=[("rows", RowCounts())])
    classifier.fit(train)
    rows = dict(classifier.net_.callbacks_)["rows"].counts_
    counts[strategy] = pd.Series(rows.to_numpy(), index=classifier.tasks_)
    scores[strategy] = (
        classifier.evaluate(test).set_index("task").query("metric == 'log_loss'")["value"]
    )

# %%
# The number of rows in an epoch is the same for all strategies, so more rows of one task mean
# fewer of the others. Rows of the small task occur several times in an epoch of ``"sqrt"`` and
# ``"equal"``.

counts = pd.DataFrame(counts).T
ax = counts.plot.barh(stacked=True, figsize=(7, 2.4), color=["#0072b2", "#d55e00", "#999999"])
for bars in ax.containers:
    ax.bar_label(bars, label_type="center", color="white")
ax.invert_yaxis()
ax.set(xlabel="rows in an epoch")
ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
ax.figure.tight_layout()
plt.show()

# %%
# Log loss on the test rows, lower is better:

pd.DataFrame(scores).T.round(3)

# %%
# The small task profits a little, but no strategy replaces rows: its 16 rows say the same however
# often they are drawn. Labels for more texts help more than a strategy does.
