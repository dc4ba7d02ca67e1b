"""Explanation of one prediction: the words that decided."""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from .._abstention import with_missing
from .._evaluation import check_classifier
from .._html import escape, fragment, page, paragraph, printable, write_page
from .._rows import Texts
from .._validation import check_argument, check_task, is_unicode, listed, none, short, text

# Scripts without spaces between words: each character is a word.
_ALONE = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
# Characters that join two parts of a word.
_JOINERS = "'\u2019\u200c\u200d"
# Number of words that are left out in one call of the model.
_AT_ONCE = 64
# Colors of words that support and that oppose the label (red, green, blue).
_FOR, _AGAINST, _READ = (86, 180, 233), (230, 159, 0), (160, 160, 160)
# Words below this share of the largest effect have no color in a terminal. The opacity of the
# largest effect in HTML keeps the text readable on a light and on a dark background.
_FAINT, _MOST = 0.05, 0.6


@dataclass(frozen=True, eq=False)
class Explanation:
    """The words of a text that decided one prediction.

    :func:`explain` returns it. A notebook shows the colored text.

    Parameters
    ----------
    text, task : str
        See below.
    label : object
        See below.
    probability : float
        See below.
    words : DataFrame
        See below.
    correlation : float
        See below.

    Attributes
    ----------
    text : str
        The text.
    task : str
        The task.
    label : object
        The label that is explained.
    probability : float
        The probability of this label.
    words : DataFrame
        One row per word, with the columns

        - `word`, and the positions `start` and `end` of its characters;
        - `effect`: how much the probability of the label falls if the word is left out. A negative
          value means that the word speaks against the label;
        - `attention`: the share of the attention of the head that its tokens have. Missing if the
          head has no query or the tokenizer gives no positions.
    correlation : float
        Spearman's rank correlation between `attention` and the size of `effect`. If it is low or
        missing, do not explain this prediction by its attention.

    See Also
    --------
    explain : Explain a prediction.

    Examples
    --------
    >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.inspection import explain
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> config = MultiheadConfig(training=TrainingConfig(model_name=tiny_encoder(), epochs=1))
    >>> classifier = MultiheadClassifier(config, random_state=0).fit(load_support_messages())
    >>> explanation = explain(classifier, "It broke!", "intent", label="complain")
    >>> explanation.label, explanation.words["word"].tolist()
    ('complain', ['It', 'broke', '!'])
    """

    text: str
    task: str
    label: Any
    probability: float
    words: pd.DataFrame
    correlation: float

    def __repr__(self) -> str:
        """Show the label and the words with the largest effects."""
        largest = self.words.reindex(self.words["effect"].abs().sort_values(ascending=False).index)
        shown = "\n".join(
            f"  {effect:+.3f}  {printable(word)}"
            for word, effect in zip(largest["word"][:5], largest["effect"], strict=False)
        )
        return f"{self._title()}\n{shown}" if shown else self._title()

    def __str__(self) -> str:
        """Return the colored text in a terminal, and the text of `repr` elsewhere."""
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        return self.to_ansi() if is_terminal else repr(self)

    def to_ansi(self) -> str:
        """Return the text with colors for a terminal: blue supports the label, orange opposes it.

        Returns
        -------
        colored : str
            The text with escape sequences for colors of 24 bits.
        """

        def colored(part: str, shade: tuple[tuple[int, int, int], float]) -> str:
            if shade[1] < _FAINT:
                return printable(part)
            red, green, blue = _mixed(*shade)
            return f"\x1b[48;2;{red};{green};{blue}m\x1b[38;2;0;0;0m{printable(part)}\x1b[0m"

        shown = self._joined(self._shades("effect"), colored, printable)
        return f"{self._title()}\n{shown}"

    def _repr_html_(self) -> str:
        """Show the text twice in a notebook: colored by effect and by attention."""
        return fragment(self._title(), *self._sections())

    def _sections(self) -> list[str]:
        """Return the text twice: colored by effect and by attention."""

        def colored(part: str, shade: tuple[tuple[int, int, int], float]) -> str:
            (red, green, blue), opacity = shade
            color = f"rgba({red}, {green}, {blue}, {_MOST * opacity:.2f})"
            return f'<span style="background: {color}; padding: 0.1em 0;">{escape(part)}</span>'

        shown = [
            paragraph("Blue words support the label, and orange words oppose it:"),
            f"<p class='text'>{self._joined(self._shades('effect'), colored, escape)}</p>",
        ]
        if self.words["attention"].notna().any():
            shown += [
                paragraph(f"Attention (rank correlation with the effects: {self._agreement()}):"),
                f"<p class='text'>{self._joined(self._shades('attention'), colored, escape)}</p>",
            ]
        return shown

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write the colored text as a page that needs no other file.

        Parameters
        ----------
        path : str or path-like
            The file to write. It is replaced if it exists.
        """
        write_page(path, page(self._title(), *self._sections()))

    def _title(self) -> str:
        return printable(f"{self.task}: {self.label} (probability {self.probability:.3f})")

    def _agreement(self) -> str:
        return "unknown" if np.isnan(self.correlation) else f"{self.correlation:.2f}"

    def _shades(self, column: str) -> list[tuple[tuple[int, int, int], float]]:
        """Return the color of each word, and its opacity from 0 to 1."""
        values = self.words[column].fillna(0).to_numpy(dtype=float)
        largest = np.abs(values).max(initial=0) or 1
        colors = [_READ if column == "attention" else _FOR if v > 0 else _AGAINST for v in values]
        return list(zip(colors, (np.abs(values) / largest).tolist(), strict=True))

    def _joined(self, shades: list[Any], colored: Any, plain: Any) -> str:
        """Return the text with colored words, and everything between them plain."""
        parts, end = [], 0
        for start, stop, shade in zip(self.words["start"], self.words["end"], shades, strict=True):
            parts += [plain(self.text[end:start]), colored(self.text[start:stop], shade)]
            end = stop
        return "".join([*parts, plain(self.text[end:])])


def explain(
    classifier: Any, text: str, task: str | None = None, *, label: Any = None
) -> Explanation:
    """Explain one prediction by the words of the text.

    Each word is left out once, and the change of the probability is its effect (occlusion, [1]_).
    As a second view, the result has the attention of the head to each word. Attention alone is no
    explanation [2]_, so the result states how well both agree.

    Parameters
    ----------
    classifier : MultiheadClassifier or TextClassifier
        A fitted classifier.
    text : str
        The text. One prediction runs for each word that the encoder reads.
    task : str or None, default=None
        The task. None is allowed if the classifier has one task.
    label : object or None, default=None
        The label to explain; None for the predicted one.

    Returns
    -------
    explanation : Explanation
        The effects and the attention of all words. A notebook shows the colored text, and so does
        ``print`` in a terminal.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        Before `fit`.
    TypeError, ValueError
        If `text` is not a string, or the task or the label does not exist.

    Notes
    -----
    Colors are relative to the largest effect in the text, so read the size of an effect in
    `words`.

    Words that the encoder does not read, because the text is too long, have no effect.

    A word that is left out can make a sentence odd, and two words that say the same hide each
    other: without one of them, the other still decides.

    References
    ----------
    .. [1] Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014; Li,
       Monroe and Jurafsky, "Understanding Neural Networks through Representation Erasure", 2016.
    .. [2] Jain and Wallace, "Attention is not Explanation", NAACL 2019.

    Examples
    --------
    >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.inspection import explain
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> config = MultiheadConfig(training=TrainingConfig(model_name=tiny_encoder(), epochs=1))
    >>> classifier = MultiheadClassifier(config, random_state=0).fit(load_support_messages())
    >>> explanation = explain(classifier, "Where is my parcel?", "intent")
    >>> explanation.words["word"].tolist()
    ['Where', 'is', 'my', 'parcel', '?']
    """
    check_classifier("explain", classifier)
    model = classifier._snapshot()
    name = _checked_task(classifier._predicted_tasks(model), task)
    if not isinstance(text, str) or not is_unicode(text):
        raise TypeError(f"'text' must be a string of valid Unicode, got {short(text)}.")
    code, classes = model.tasks.index(name), model.classes[name]
    spans = _words(text)
    p = _probabilities(model, code, [text])[0]
    chosen = p.argmax() if label is None else _code_of(label, name, classes)
    effects = np.zeros(len(spans))
    read = np.flatnonzero(_are_read(model.tokenizer.spans(text), spans))
    for start in range(0, len(read), _AT_ONCE):
        at = read[start : start + _AT_ONCE]
        without = [text[: spans[i][0]] + text[spans[i][1] :] for i in at]
        effects[at] = p[chosen] - _probabilities(model, code, without)[:, chosen]
    attention = _attention_of(model.attention(text, code), spans)
    words = pd.DataFrame(
        {
            "word": [text[start:end] for start, end in spans],
            "start": [start for start, _ in spans],
            "end": [end for _, end in spans],
            "effect": effects,
            "attention": attention,
        }
    )
    return Explanation(
        text,
        name,
        with_missing(classes)[chosen],
        float(p[chosen]),
        words,
        _rank_correlation(attention, np.abs(effects)),
    )


def _words(text: str) -> list[tuple[int, int]]:
    """Return the start and the end of each word and of each sign."""
    found: list[tuple[int, int]] = []
    for i, character in enumerate(text):
        follows = bool(found) and found[-1][1] == i and _is_letter(text[found[-1][0]])
        is_mark = unicodedata.category(character).startswith("M")
        if (
            follows
            and (is_mark or (_is_letter(character) and not _ALONE.search(text[i - 1 : i + 1])))
        ) or (follows and character in _JOINERS and i + 1 < len(text) and _is_letter(text[i + 1])):
            found[-1] = (found[-1][0], i + 1)
        elif not character.isspace():
            found.append((i, i + 1))
    return found


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"


def _probabilities(model: Any, code: int, texts: list[str]) -> NDArray[np.float64]:
    """Return the probabilities of some texts for one task."""
    found = Texts.of(texts)
    return model.probabilities(found, np.full(len(found), code))[code]


def _are_read(
    windows: list[list[tuple[int, int]]] | None, spans: list[tuple[int, int]]
) -> NDArray[np.bool_]:
    """Return whether the encoder reads a part of each word; True if the tokens are not known."""
    if windows is None:
        return np.ones(len(spans), dtype=bool)
    tokens = [(start, end, 1.0) for window in windows for start, end in window]
    return _attention_of(tokens, spans) > 0


def _checked_task(tasks: list[str], task: str | None) -> str:
    """Return the task to explain."""
    check_argument("task", task, text() | none)
    if task is None and len(tasks) > 1:
        raise ValueError(f"The classifier has several tasks: {listed(tasks)}. Pass one as 'task'.")
    name = tasks[0] if task is None else task
    check_task(name, tasks)
    return name


def _code_of(label: Any, task: str, classes: np.ndarray) -> int:
    """Return the code of a label."""
    known = classes.tolist()
    if label not in known:
        raise ValueError(
            f"{short(label)} is not a label of task {short(task)}. The labels are: {listed(known)}."
        )
    return known.index(label)


def _attention_of(
    tokens: list[tuple[int, int, float]] | None, spans: list[tuple[int, int]]
) -> NDArray[np.float64]:
    """Return the attention to each word: that of the tokens whose last character it contains."""
    if tokens is None:
        return np.full(len(spans), np.nan)
    found = np.zeros(len(spans))
    ends = np.array([end for _, end in spans], dtype=int)
    for start, end, share in tokens:
        word = int(np.searchsorted(ends, end))  # the first word that ends at this place or later
        if start < end and word < len(spans) and spans[word][0] < end:
            found[word] += share
    return found


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's correlation; nan if it is not defined."""
    if len(first) < 3 or any(np.isnan(each).any() or np.ptp(each) == 0 for each in (first, second)):
        return float("nan")
    return float(spearmanr(first, second).statistic)


def _mixed(rgb: tuple[int, int, int], opacity: float) -> tuple[int, ...]:
    """Return a color on white with an opacity from 0 to 1."""
    return tuple(round(255 - opacity * (255 - part)) for part in rgb)
