"""Train on a CSV file with the columns text, task and label, plain or compressed.

Run ``python examples/train_csv.py reviews.csv.gz --rows-per-label 20``.

If the file has a column ``split`` (train, val or validation, test), the example uses these splits.
Otherwise, it holds rows out at random. Set ``HF_HUB_OFFLINE=0`` in the environment to let
``--model`` download an encoder.
"""

import argparse
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pandas as pd

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig


def parse_arguments():
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("path", help="path of the CSV file")
    parser.add_argument(
        "--rows-per-label", type=int, help="train on the texts of the first N rows of each label"
    )
    parser.add_argument(
        "--model",
        default="sentence-transformers/all-MiniLM-L6-v2",
        help="folder or name of the encoder",
    )
    parser.add_argument(
        "--epochs", type=int, default=TrainingConfig().epochs, help="fine-tuning epochs"
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=TrainingConfig().learning_rate,
        help="peak learning rate of the encoder",
    )
    parser.add_argument("--seed", type=int, default=0, help="random_state of the classifier")
    return parser.parse_args()


def read_parts(path, rows_per_label):
    """Return training, validation and test rows; None for a split that the file lacks."""
    # Labels such as "NA" and "007" must stay strings.
    rows = pd.read_csv(path, keep_default_na=False, dtype=str)
    if "split" not in rows:
        rows["split"] = "train"
    parts = {name: part.drop(columns="split") for name, part in rows.groupby("split", sort=False)}
    if "train" not in parts or not parts.keys() <= {"train", "val", "validation", "test"}:
        raise SystemExit(
            "The column 'split' must contain train, and may contain val, validation and test. "
            f"Got {sorted(parts)}."
        )
    train, test = parts["train"], parts.get("test")
    val = parts.get("val", parts.get("validation"))
    if rows_per_label is not None:
        first = train.groupby(["task", "label"], sort=False).head(rows_per_label)
        # A chosen text keeps its rows of all tasks.
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
        training.set_params(test_size=0)  # the file has test rows
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
