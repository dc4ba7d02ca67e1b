"""The model card of a fitted classifier: metadata for the Hugging Face hub, and a description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ._fitted import FittedModel
from ._rows import wilson_interval

_HUB_NAME = re.compile(r"(?=.{3,96}$)[\w.-]+/[\w.-]+", re.ASCII)
# Names longer than this, and classes beyond this number, would make a table unreadable.
_MAX_CHARACTERS, _MAX_CLASSES = 80, 50
_METRICS = {"accuracy": "Accuracy", "f1": "Macro-F1"}
_LONG_TEXT = {
    "truncate": "the rest of a longer text is not read",
    "head_tail": "of a longer text, the start and the end are read",
    "windows": "a longer text is read in windows, whose embeddings are averaged",
}


def model_card(classifier: Any, kind: str, versions: dict[str, str]) -> str:
    """Return the card of a fitted classifier; see :meth:`MultiheadClassifier.model_card`.

    Parameters
    ----------
    classifier : MultiheadClassifier or TextClassifier
        A fitted classifier.
    kind : {"MultiheadClassifier", "TextClassifier"}
        The class that loads it.
    versions : dict of {str: str}
        The versions of the libraries.
    """
    model = classifier.model_
    scores = _scores_by_task(classifier)
    parts = [
        f"---\n{_metadata(classifier, scores).to_yaml()}\n---",
        f"# Text classifier: {_listed(model.tasks)}",
        _INVITATION,
        f"## Model details\n\n{_details(classifier, kind)}",
        f"## Uses\n\n{_USES}",
        f"## How to load\n\n{_load_example(kind)}",
        f"## Training data\n\n{_training_data(model)}",
        f"## Training procedure\n\n{_procedure(classifier)}",
        f"## Evaluation\n\n{_evaluation(scores)}",
        f"## Calibration\n\n{_calibration(classifier)}",
        f"## Limits\n\n{_limits(model)}",
        f"## Versions\n\n{_table(['library', 'version'], versions.items())}",
    ]
    card = "\n\n".join(parts) + "\n"
    return card.encode("utf-8", "replace").decode("utf-8")  # the path of a folder may not be UTF-8


_INVITATION = """\
> **To the author:** rapidfit_sk wrote this card from the fitted classifier. Only you know the
> following, so please add it: the license and the language (keys `license` and `language` of the
> metadata above), who trained the classifier and how to reach them, where the texts and labels come
> from, and for which decisions the predictions may be used. Then remove this paragraph."""

_USES = """\
The classifier predicts one label and the probabilities of all labels for each text and task of the
table under *Training data*. It knows no other labels: a text about anything else gets one of them,
too. Texts that differ from the training data in language, subject or style can have lower accuracy
than reported under *Evaluation*. Compare predictions with labels of your own texts before decisions
depend on them."""


# --------------------------------------------------------------------------------------------
# Metadata


def _metadata(classifier, scores) -> ModelCardData:
    name = _base_model(classifier)
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type="unknown",
            dataset_name=f"Test rows of the task {_line(task)}",
            dataset_config=_line(task),
            dataset_split="test",
            metric_type=metric,
            metric_name=title,
            metric_value=round(score[metric], 4),
        )
        for task, score in scores.items()
        for metric, title in _METRICS.items()
    ]
    return ModelCardData(
        library_name="rapidfit_sk",
        pipeline_tag="text-classification",
        base_model=name,
        tags=["rapidfit_sk", "scikit-learn", "multi-task"],
        metrics=list(_METRICS) if results else None,
        model_name="rapidfit_sk classifier" if results else None,
        eval_results=results or None,
    )


def _base_model(classifier) -> str | None:
    """Return the name of the pretrained encoder on the hub, or None if it was a folder."""
    name = str(classifier._group("config")._group("training").model_name)
    is_on_hub = _HUB_NAME.fullmatch(name) and not Path(name).exists()
    return name if is_on_hub else None


def _scores_by_task(classifier) -> dict[str, dict[str, float]]:
    """Return the test scores of each task; a TextClassifier has scores of one task."""
    scores = classifier.test_scores_
    is_flat = any(not isinstance(score, dict) for score in scores.values())
    return {classifier.model_.tasks[0]: scores} if is_flat else scores


# --------------------------------------------------------------------------------------------
# Sections


def _details(classifier, kind) -> str:
    model, name = classifier.model_, _base_model(classifier)
    module, tokenizer = model.net.module_, model.tokenizer
    n_weights = sum(parameter.numel() for parameter in module.parameters())
    encoder = f"[{name}](https://huggingface.co/{name})" if name else "an encoder from a folder"
    rows = {
        "class": f"`rapidfit_sk.{kind}`",
        "pretrained encoder": f"{encoder} ({_text(module.encoder.config.model_type)})",
        "heads": f"{len(model.tasks)}, one per task, on {module.pooling} pooling",
        "weights": f"{n_weights:,}",
        "longest input": f"{tokenizer.max_length} tokens; {_LONG_TEXT[tokenizer.long_text]}",
    }
    return _table(["property", "value"], rows.items())


def _load_example(kind) -> str:
    return (
        f"```python\nfrom rapidfit_sk import {kind}\n\n"
        f'classifier = {kind}.from_pretrained("OWNER/NAME")  # or the path of a folder\n'
        'classifier.predict(["a text"])\nclassifier.predict_proba(["a text"])\n```'
    )


def _training_data(model: FittedModel) -> str:
    columns = ["task", "number of labels", "labels", "rows"]
    rows = [
        [_text(task), len(classes), _listed(classes.tolist()), _text(model.describe_rows(task))]
        for task, classes in model.classes.items()
    ]
    table = _table(columns, rows)
    texts = [
        [_text(task), _text(label), _listed(own)]
        for task, of_task in (model.label_texts or {}).items()
        for label, own, weight in zip(
            model.classes[task], of_task.texts, of_task.weights, strict=True
        )
        if own and weight
    ]
    if not texts:
        return table
    intro = "These texts describe labels. The heads learned from them, too."
    return f"{table}\n\n{intro}\n\n{_table(['task', 'label', 'texts'], texts[:_MAX_CLASSES])}"


def _procedure(classifier) -> str:
    config = classifier._group("config").to_dict()
    name = _base_model(classifier) or Path(str(config["training"]["model_name"])).name
    config["training"]["model_name"] = name  # the path of a folder says nothing to others
    shown = json.dumps(config, indent=1, ensure_ascii=False, default=str)
    seed = classifier.random_state
    seeded = f"`random_state={seed}`" if isinstance(seed, int) else "no fixed `random_state`"
    return f"`rapidfit_sk.MultiheadConfig`, with {seeded}:\n\n```json\n{shown}\n```"


def _evaluation(scores) -> str:
    if not scores:
        return "The classifier has no test rows, so there are no scores of held-out rows."
    rows = [
        [
            _text(task),
            each["n_rows"],
            f"{each['accuracy']:.3f}",
            _interval(each),
            f"{each['f1']:.3f}",
        ]
        for task, each in scores.items()
    ]
    columns = ["task", "test rows", "accuracy", "95 % interval", "macro-F1"]
    return (
        f"{_table(columns, rows)}\n\nThe test rows were held out before the training. The interval "
        "is Wilson's, for rows that are independent and have equal weights. Macro-F1 has no "
        "interval, because it cannot be computed from these figures."
    )


def _interval(score: dict[str, float]) -> str:
    low, high = wilson_interval(score["accuracy"], int(score["n_rows"]))
    return f"{_figure(low)} to {_figure(high)}"


def _figure(value: float) -> str:
    return f"{value:.3f}"


_CALIBRATION = ["task", "temperature", "tuned threshold"]


def _calibration(classifier) -> str:
    model = classifier.model_
    thresholds = model.thresholds or {}
    tuned = {task: _figure(value) for task, value in thresholds.items()}
    rows = [[_text(t), _figure(value), tuned.get(t, "")] for t, value in model.temperatures.items()]
    if all(value == 1 for value in model.temperatures.values()):
        return "The probabilities are not calibrated: the temperature of each task is 1."
    return (
        "A temperature divides the logits of each task before the softmax. It maximizes the "
        "likelihood of the calibration rows, which were left out when it was fitted. A task "
        "without calibration rows has the common temperature of the others. The tuned threshold is "
        f"the minimum confidence of `min_confidence='tuned'`.\n\n{_table(_CALIBRATION, rows)}"
    )


def _limits(model: FittedModel) -> str:
    coverage = model.coverage or {}
    rows = [
        [_text(task), f"{each.truncated:.1%}", f"{each.unknown:.1%}"]
        for task, each in coverage.items()
    ]
    columns = ["task", "texts that are not read to the end", "unknown tokens"]
    shares = f"Shares of the training texts and of their tokens:\n\n{_table(columns, rows)}\n\n"
    return (
        f"{shares if rows else ''}Labels with few training rows are predicted less reliably than "
        "the scores of their task suggest. The classifier can repeat biases of its training data "
        "and of the pretrained encoder."
    )


# --------------------------------------------------------------------------------------------
# Markdown


def _table(columns: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table, whose cells must be Markdown on one line."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _listed(values: list[Any]) -> str:
    """Return the first values as Markdown, and the number of the others."""
    shown = ", ".join(map(_text, values[:_MAX_CLASSES]))
    n_more = len(values) - _MAX_CLASSES
    return f"{shown} and {n_more} more" if n_more > 0 else shown


def _text(value: Any) -> str:
    """Return a value of the user as Markdown that shows it literally, on one line."""
    escaped = re.sub(r"([\\`*_\[\]<>|~&!#$@:])", r"\\\1", _line(value))
    return escaped or "(empty)"


def _line(value: Any) -> str:
    """Return a value as one line of printable characters, cut if it is long."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    text = " ".join(text.split())
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
