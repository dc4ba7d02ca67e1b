"""Train one classifier for three tasks on the bundled messages with the bundled encoder.

Run ``python examples/quickstart.py``. It needs the extra [bundled] and no network.
"""

import os
import time

os.environ["HF_HUB_OFFLINE"] = "1"

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.datasets import load_support_messages

NEW_TEXTS = [
    "Two tickets for the evening show, please!",
    "Third time this month the line is dead. Unbelievable.",
    "I am parting with my grandmother's piano, it breaks my heart.",
    "How do I change the address on my account?",
]


def main():
    """Train, and print the data, the scores and some predictions."""
    messages = load_support_messages()
    print(f"{messages['text'].nunique()} messages, {len(messages)} labels:")
    counts = messages.groupby("task")["label"].value_counts().astype(object)
    print(counts.unstack(0, fill_value="").to_string())

    config = MultiheadConfig(
        training=TrainingConfig(model_name="sentence-transformers/all-MiniLM-L6-v2")
    )
    classifier = MultiheadClassifier(config, random_state=0, verbose=1)
    start = time.perf_counter()
    print()
    classifier.fit(messages)
    print(f"Trained in {time.perf_counter() - start:.0f} s.")

    print("\nOne task as a scikit-learn classifier:")
    sentiment = classifier["sentiment"]
    for text, label, probabilities in zip(
        NEW_TEXTS, sentiment.predict(NEW_TEXTS), sentiment.predict_proba(NEW_TEXTS), strict=True
    ):
        print(f"  {label:9} {probabilities.max():.2f}  {text}")

    print("\nAll three tasks in one pass through the encoder:")
    table = classifier.predict_all(NEW_TEXTS)
    table.insert(0, "text", NEW_TEXTS)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
