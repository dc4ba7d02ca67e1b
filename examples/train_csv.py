"""Train on any long CSV file, plain or compressed, with the columns text, task and label.

``python examples/train_csv.py reviews.csv.gz --rows-per-label 20``

Where the file has a column ``split`` (train, val or validation, test), it is followed; without
one, rows are held out at random. With ``HF_HUB_OFFLINE=0`` in the environment, ``--model`` may
name an encoder that has to be downloaded.
"""

import argparse
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pandas as pd

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("path", help="the CSV file")
    parser.add_argument(
        "--rows-per-label", type=int, help="train on the texts among the first N of a label"
    )
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--epochs", type=int, default=TrainingConfig().epochs)
    parser.add_argument("--learning-rate", type=float, default=TrainingConfig().learning_rate)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read_parts(path, rows_per_label):
    """Return training, validation and test rows; the last two are None where not given."""
    # Labels such as "NA" or "007" are text: nothing is guessed.
    rows = pd.read_csv(path, keep_default_na=False, dtype=str)
    if "split" not in rows:
        rows["split"] = "train"
    parts = {name: part.drop(columns="split") for name, part in rows.groupby("split", sort=False)}
    if "train" not in parts or not parts.keys() <= {"train", "val", "validation", "test"}:
        raise SystemExit(f"split must be train, val, validation or test; found {sorted(parts)}.")
    train, test = parts["train"], parts.get("test")
    val = parts.get("val", parts.get("validation"))
    if rows_per_label is not None:
        first = train.groupby(["task", "label"], sort=False).head(rows_per_label)
        # With a text come its labels for all tasks.
        train = train[train["text"].isin(first["text"])]
    return train, val, test


def main():
    """Train and print the scores."""
    arguments = parse_arguments()
    train, val, test = read_parts(arguments.path, arguments.rows_per_label)
    print(f"{len(train)} training rows, {train['text'].nunique()} texts")
    print(train.groupby("task")["label"].agg(rows="size", labels="nunique").to_string())

    training = TrainingConfig(
        model_name=arguments.model,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
    )
    if test is not None:
        training.set_params(test_size=0)  # the file brings its own
    classifier = MultiheadClassifier(
        MultiheadConfig(training=training), random_state=arguments.seed, verbose=test is None
    )
    start = time.perf_counter()
    classifier.fit(train, X_val=val)
    seconds = time.perf_counter() - start
    print(f"\nTrained {len(classifier.net_.history)} epochs in {seconds:.0f} s.")
    if test is None:
        return

    start = time.perf_counter()
    print(f"\nTest rows of the file ({test['text'].nunique()} texts)")
    for task, rows in test.groupby("task", sort=False):
        print(f"  {task:12} accuracy {classifier[task].score(rows, rows['label']):.3f}")
    print(f"Scored in {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
