"""Label texts: the words of a name, or a description that the user wrote."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from .._validation import IN_FOLDS, Constraint, array_like, is_unicode, listed, short, suggestion
from .labels import CodedRows, encode_labels
from .texts import Texts
from .values import (
    column_values,
    is_label,
    is_task_name,
    label_error,
    parameter_labels,
    plain_label,
)

# A value of the parameter `label_texts`.
LabelTexts: TypeAlias = Literal["auto"] | Mapping[str, Mapping[Any, Any]] | None

# Constraints on it. The texts themselves are checked where they are read.
LABEL_TEXTS = Constraint(
    "a dict of {task name: {label: a text or a list of texts}}",
    lambda value: (
        isinstance(value, dict)
        and all(isinstance(each, dict) for each in value.values())
        and all(map(is_task_name, value))
    ),
)
LABEL_TEXTS_OF_TASK = Constraint(
    "a dict of {label: a text or a list of texts}",
    lambda value: isinstance(value, dict) and all(map(_may_be_texts, value.values())),
)


def _may_be_texts(value: Any) -> bool:
    return isinstance(value, str) or array_like().accepts(value)


_SEPARATORS = re.compile(r"[_\-/\s]+")
_HUMPS = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def words_of(label: Any) -> list[str]:
    """Return the parts of a label that is made of words, or an empty list for any other label.

    A part is a word if it has no digit and at least two letters, or one letter of a script without
    upper and lower case. At least half of the parts must be words.

    Examples
    --------
    >>> words_of("card_arrival"), words_of("PlayMusic"), words_of("track/order-status")
    (['card', 'arrival'], ['Play', 'Music'], ['track', 'order', 'status'])
    >>> words_of("A"), words_of("J45.9"), words_of(3)
    ([], [], [])
    """
    if not isinstance(label, str):
        return []
    parts = [part for part in _SEPARATORS.split(_HUMPS.sub(" ", label)) if part]
    return parts if 2 * sum(map(_is_word, parts)) >= max(1, len(parts)) else []


def _is_word(part: str) -> bool:
    letters = [char for char in part if char.isalpha()]
    if any(char.isdigit() for char in part):
        return False
    return len(letters) > 1 or any(char.lower() == char.upper() for char in letters)


def texts_of_names(labels: Iterable[Any]) -> dict[Any, list[str]]:
    """Return the text of each label whose name is made of words.

    Labels whose words are the same, such as "LABEL_0" and "LABEL_1", have no text.

    Examples
    --------
    >>> texts_of_names(["card_arrival", "LABEL_0", "LABEL_1", "7"])
    {'card_arrival': ['card arrival']}
    """
    parts = {label: words_of(label) for label in labels}
    words = {label: _key(of_label) for label, of_label in parts.items()}
    n_same = Counter(words.values())
    return {
        label: [" ".join(of_label)]
        for label, of_label in parts.items()
        if of_label and n_same[words[label]] == 1
    }


def _key(parts: list[str]) -> tuple[str, ...]:
    return tuple(part.casefold() for part in parts if _is_word(part))


def texts_by_label(label_texts: LabelTexts, task: str, labels: Iterable[Any]) -> dict[Any, Any]:
    """Return the texts of each label of a task: given texts, and otherwise the words of its name.

    Parameters
    ----------
    label_texts : "auto", dict or None
        The parameter of the classifier.
    task : str
        The task.
    labels : iterable
        Its labels, as objects of Python.
    """
    if label_texts is None:
        return {}
    return texts_of_names(labels) | given_texts(label_texts, task)


def given_texts(label_texts: LabelTexts, task: str) -> dict[Any, list[str]]:
    """Return the texts that the user gave for labels of a task.

    Raises
    ------
    ValueError, TypeError
        If a label is not valid, a text is not a non-empty string, or two labels have the same
        texts.
    """
    if not isinstance(label_texts, Mapping):
        return {}
    owner = f"The 'label_texts' parameter, task {short(task)}"
    found = {}
    for label, texts in label_texts.get(task, {}).items():
        if not is_label(label):
            raise label_error(label, owner)
        found[plain_label(label)] = _checked(texts, f"{owner}, label {short(label)}")
    same = [label for label, texts in found.items() if list(found.values()).count(texts) > 1]
    if same:
        raise ValueError(
            f"{owner}: the labels {listed(same)} have the same texts. Describe each label with "
            "texts of its own."
        )
    return found


def _checked(texts: Any, place: str) -> list[str]:
    texts = [texts] if isinstance(texts, str) else list(column_values(texts, place))
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(
                f"{place}: a text must be a string, got {short(text)} ({type(text).__name__}). "
                "Pass a text or a list of texts."
            )
    if not texts or not all(text.strip() and is_unicode(text) for text in texts):
        raise ValueError(
            f"{place}: got {short(texts)}. Pass at least one text, and no text that is empty or "
            "not valid Unicode."
        )
    return [str.__str__(text) for text in texts]


def label_text_rows(label_texts: LabelTexts, classes: Mapping[str, np.ndarray]) -> CodedRows | None:
    """Return the label texts as rows, or None if there are none.

    Parameters
    ----------
    label_texts : "auto", dict or None
        The parameter of the classifier.
    classes : dict of {str: ndarray}
        The classes of each task.

    Returns
    -------
    rows : CodedRows or None
        One row per text. The weights of the texts of a label add up to 1.
    """
    rows: list[tuple[str, int, int, float]] = []
    for code, (task, labels) in enumerate(classes.items()):
        texts = texts_by_label(label_texts, task, labels.tolist())
        places = encode_labels(_objects(texts), labels)
        for place, of_label in zip(places, texts.values(), strict=True):
            # A text may belong to a label that the rows of a later call have.
            if place >= 0:
                rows += [(text, code, place, 1 / len(of_label)) for text in of_label]
    if not rows:
        return None
    strings, tasks, label_codes, weights = zip(*rows, strict=True)
    return CodedRows(
        Texts.of(strings),
        np.array(tasks, dtype=np.int64),
        np.array(label_codes, dtype=np.int64),
        np.array(weights, dtype=np.float32),
        dict(classes),
    )


def _objects(values: Iterable[Any]) -> np.ndarray:
    values = list(values)
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result


def declared_tasks(
    label_texts: LabelTexts,
    task_labels: Mapping[str, Any],
    tasks: Iterable[str],
    *,
    in_part: bool = False,
) -> dict[str, list[Any]]:
    """Return the labels of declared tasks without rows that texts can predict.

    Parameters
    ----------
    label_texts : "auto", dict or None
        The parameter of the classifier.
    task_labels : dict of {str: array-like}
        The classes of some tasks.
    tasks : iterable of str
        The tasks that have rows.
    in_part : bool, default=False
        Whether the rows of the tasks may come in a later call.

    Raises
    ------
    ValueError
        If the name of a declared task is close to the name of a task with rows.
    """
    tasks = list(tasks)
    own = list(label_texts) if isinstance(label_texts, Mapping) else []
    found = {}
    for task in dict.fromkeys([*own, *task_labels]):
        if task in tasks:
            continue
        given = given_texts(label_texts, task)
        labels = list(given)
        if task in task_labels:
            owner = f"The 'task_labels' parameter, task {short(task)}"
            labels = list(map(plain_label, parameter_labels(task_labels[task], owner)))
        if not labels or not texts_by_label(label_texts, task, labels):
            continue
        name = "label_texts" if task in own else "task_labels"
        others = [each for each in tasks if each not in own and each not in task_labels]
        close = "" if in_part else suggestion(task, others)
        if close:
            raise ValueError(
                f"The {name!r} parameter names {short(task)}, which has no rows.{close} The tasks "
                f"with rows are: {listed(tasks)}. Correct the name or, if it is another task, fit "
                f"without it and add it with add_task. {IN_FOLDS}"
            )
        found[task] = labels
    return found
