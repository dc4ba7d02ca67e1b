"""Heads that predict from label texts alone, and the label texts of a trained model."""

from __future__ import annotations

import numpy as np

from ._fitted import FittedModel, LabelTextsOfTask
from ._rows import CodedRows, Texts, encode_labels
from ._training import SCALE, MultiheadNet, label_directions


def in_full(label_texts: CodedRows, tasks: list[int]) -> dict[int, np.ndarray]:
    """Return weights of 1 for the labels of some tasks."""
    sizes = [len(classes) for classes in label_texts.classes.values()]
    return {task: np.ones(sizes[task]) for task in tasks}


def set_heads_without_rows(model: FittedModel):
    """Set the heads that have not trained on rows to the directions of the texts of their labels.

    They depend on the encoder, so they are set again after each training.
    """
    label_texts = model.label_texts or {}
    for code, task in enumerate(model.tasks):
        if task not in model.trained_tasks and task in label_texts:
            _set_directions(model, code, label_texts[task].texts)


def _set_directions(model: FittedModel, task: int, texts: list[list[str]]):
    """Set an output layer to the directions of the texts of its labels."""
    labels = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
    distinct = Texts.of(text for own in texts for text in own)
    embeddings = model.net.embed_texts(model.tokenizer, distinct.distinct)[distinct.codes]
    features = model.net.hidden_features(task, embeddings)
    directions = label_directions(features, labels, len(texts))
    scale = SCALE / np.linalg.norm(features, axis=1).mean()
    # No text has a cosine similarity below -1, so a class without texts is never predicted.
    bias = np.where(directions.any(axis=1), 0, -2 * SCALE)
    model.net.set_output_layer(task, scale * directions, bias)


def label_texts_of(
    net: MultiheadNet, rows: CodedRows, label_texts: CodedRows | None, start: FittedModel | None
) -> dict[str, LabelTextsOfTask]:
    """Return the label texts of all tasks after a training, and how much they counted.

    Parameters
    ----------
    net : MultiheadNet
        The trained net.
    rows : CodedRows
        The rows that it has trained on.
    label_texts : CodedRows or None
        The label texts of the training.
    start : FittedModel or None
        The model that the training started from.
    """
    earlier = {} if start is None else _moved_texts(start, rows.classes)
    if label_texts is None:
        return earlier
    known = [] if start is None else [*start.trained_tasks, *earlier]
    without_rows = np.setdiff1d(np.arange(len(rows.classes)), rows.tasks).tolist()
    unused = [code for code in without_rows if list(rows.classes)[code] not in known]
    weights = in_full(label_texts, unused) | dict(net.callbacks_)["label_texts"].weights_
    found = LabelTextsOfTask.of_tasks(label_texts, weights)
    return earlier | {
        task: earlier[task].updated(own) if task in earlier else own for task, own in found.items()
    }


def _moved_texts(start: FittedModel, classes: dict[str, np.ndarray]) -> dict[str, LabelTextsOfTask]:
    """Return the label texts of an earlier model for the classes of a new one."""
    return {
        task: texts.moved_to(encode_labels(start.classes[task], classes[task]), len(classes[task]))
        for task, texts in (start.label_texts or {}).items()
    }
