"""Train and predict with the package `rapidfit`; run by `peers`, in the package's environment.

It reads task.json in the working directory and writes answer.json there.
"""

import inspect
import json
import time
from pathlib import Path

from rapidfit.classifiers import MultiheadClassifier, MultiheadConfig
from rapidfit.classifiers import config as groups
from transformers import set_seed


def group(name, values):
    """Build a group of the configuration from the parameters that the package has."""
    kind = getattr(groups, f"{name.capitalize()}Config")
    known = inspect.signature(kind).parameters
    return kind(**{key: value for key, value in values.items() if key in known})


def main():
    """Run the task in task.json."""
    task = json.loads(Path("task.json").read_text())
    parts = {name: group(name, values) for name, values in task["config"].items()}
    config = MultiheadConfig(**parts)
    set_seed(task.get("seed", 0))
    classifier = MultiheadClassifier(config)
    start = time.perf_counter()
    classifier.train(task["data"])
    trained = time.perf_counter()
    # In parts, because the package puts all texts of a call into one batch.
    texts, predicted = task["texts"], {name: [] for name in task["data"]}
    for at in range(0, len(texts), 64):
        for name, answers in classifier.predict_all_tasks(texts[at : at + 64]).items():
            predicted[name] += [answer["label"] for answer in answers]
    answer = {
        "training": trained - start,
        "prediction": time.perf_counter() - trained,
        "predicted": predicted,
    }
    Path("answer.json").write_text(json.dumps(answer))


main()
