"""
Look at a trained model
=======================

Each display of ``rapidfit_sk.plotting`` answers one question about a fitted classifier. They follow
the displays of scikit-learn: ``from_estimator`` draws at once, and the axes are in ``axes_`` or
``ax_``.
"""

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.inspection import error_report, explain
from rapidfit_sk.plotting import (
    CalibrationGridDisplay,
    ConfusionGridDisplay,
    CoverageDisplay,
    EmbeddingDisplay,
    TaskComparisonDisplay,
    TrainingHistoryDisplay,
)

messages = load_support_messages()
config = MultiheadConfig(
    training=TrainingConfig(
        model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=5, test_size=0.3, val_size=0.2
    )
)
classifier = MultiheadClassifier(config, random_state=0).fit(messages)
test = messages.iloc[classifier.test_indices_]

# %%
# How did the training go?
# ------------------------
#
# The shaded epochs train encoder layers, and the dotted line is the epoch whose weights were kept.

_ = TrainingHistoryDisplay.from_estimator(classifier)

# %%
# How good is it?
# ---------------
#
# The intervals come from the bootstrap over the test texts. With 90 texts per task, they are wide.

_ = TaskComparisonDisplay.from_estimator(classifier, test)

# %%
# The same numbers as a frame:

scores = classifier.evaluate(test)
scores[scores["metric"] == "accuracy"].round(3)

# %%
# Which labels does it confuse?
# -----------------------------

_ = ConfusionGridDisplay.from_estimator(classifier, test)

# %%
# Can its confidence be trusted?
# ------------------------------
#
# On the diagonal, the confidence is the accuracy. Bars show the number of rows.

_ = CalibrationGridDisplay.from_estimator(classifier, test)

# %%
# What is gained if uncertain texts get no label?
# -----------------------------------------------

_ = CoverageDisplay.from_estimator(classifier, test)

# %%
# What does the encoder see?
# --------------------------
#
# The two main directions of the text embeddings, colored by the intent:

_ = EmbeddingDisplay.from_estimator(classifier, test, task="intent")

# %%
# Where is it wrong, and why?
# ---------------------------

report = error_report(classifier, test)
report.errors[["task", "text", "label", "predicted", "confidence"]].head(5).round(3)

# %%
# The words that decided the first of these errors. In a notebook and on this page they are colored:

worst = report.errors.iloc[0]
explain(classifier, worst["text"], worst["task"])

# %%
# ``classifier.report("report.html", test)`` writes the scores, the errors and all pictures except
# the embeddings to one page.
