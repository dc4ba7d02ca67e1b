"""`FittedModel`: the immutable result of a fit, which predicts labels and probabilities."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ._abstention import min_confidences, with_missing
from ._arrays import common_dtype
from ._coverage import Coverage
from ._forks import computes
from ._history import n_trainings, renumbered
from ._model import TextTokenizer, TokensOnDemand, embedding_width
from ._rows import (
    CodedRows,
    Texts,
    confidences,
    confident_codes,
    fit_temperatures,
    log_probabilities,
    probabilities,
    scores_per_task,
)
from ._training import EmbeddingCache, Embeddings, MultiheadNet, PaddedTokens, TextRows
from ._typing import MinConfidence
from ._validation import check_task

# Number of distinct texts that are tokenized at once. It limits the memory of a prediction, apart
# from its output.
CHUNK = 4096


@dataclass(frozen=True)
class LabelTextsOfTask:
    """Texts of the labels of a task.

    Attributes
    ----------
    texts : list of list of str
        The texts of each class, which may be none.
    weights : list of float
        How much the texts of each class counted, in rows.
    """

    texts: list[list[str]]
    weights: list[float]

    @classmethod
    def of_tasks(
        cls, rows: CodedRows, weights: Mapping[int, np.ndarray]
    ) -> dict[str, LabelTextsOfTask]:
        """Return the texts of each task that has weights."""
        strings = rows.texts.strings()
        found = {}
        for code, (task, classes) in enumerate(rows.classes.items()):
            if code in weights:
                own = rows.tasks == code
                places = (own & (rows.labels == label) for label in range(len(classes)))
                texts = [strings[at].tolist() for at in places]
                found[task] = cls(texts, weights[code].tolist())
        return found

    def moved_to(self, places: np.ndarray, n_classes: int) -> LabelTextsOfTask:
        """Return the texts of a task that has more classes now, with the old ones at new places."""
        texts: list[list[str]] = [[] for _ in range(n_classes)]
        weights = [0.0] * n_classes
        for place, own, weight in zip(places, self.texts, self.weights, strict=True):
            texts[place], weights[place] = own, weight
        return LabelTextsOfTask(texts, weights)

    def updated(self, other: LabelTextsOfTask) -> LabelTextsOfTask:
        """Return these texts, replaced by the texts of another training for classes in it."""
        own = zip(self.texts, self.weights, strict=True)
        new = zip(other.texts, other.weights, strict=True)
        pairs = [after if after[0] else before for before, after in zip(own, new, strict=True)]
        return LabelTextsOfTask([texts for texts, _ in pairs], [weight for _, weight in pairs])


@dataclass(frozen=True, eq=False)
class FittedModel:
    """Trained net, with everything that is needed to predict labels and probabilities.

    A fitted model does not change after training. One thread can predict with it while another
    thread fits or adds a task, because this creates a new fitted model.

    Attributes
    ----------
    net : MultiheadNet
        The trained net, with a head for each task.
    tokenizer : TextTokenizer
        The tokenizer of its encoder.
    classes : dict of {str: ndarray}
        The sorted classes of each task. The order of the keys is the order of the tasks.
    temperatures : dict of {str: float}
        The temperature that divides the logits of each task.
    coverage : dict of {str: Coverage} or None, default=None
        How much of the training texts of each task the encoder reads; None if it is not known.
    memory : EmbeddingCache or None, default=None
        The embedding cache of the encoder. It is not pickled, because its folder may not exist on
        another machine.
    label_texts : dict of {str: LabelTextsOfTask} or None, default=None
        The texts of the labels of the tasks that have some.
    n_rows : dict of {str: int} or None, default=None
        Number of rows that each head has trained on, over all trainings. A task for which it is
        not known is left out.
    thresholds : dict of {str: float} or None, default=None
        The tuned minimum confidence of each task that has one.
    calibration_history : list of dict or None, default=None
        The epochs of the calibration fits, each with the number of its training.
    """

    net: MultiheadNet
    tokenizer: TextTokenizer
    classes: dict[str, np.ndarray]
    temperatures: dict[str, float]
    coverage: dict[str, Coverage] | None = None
    memory: EmbeddingCache | None = field(default=None, repr=False)
    label_texts: dict[str, LabelTextsOfTask] | None = None
    n_rows: dict[str, int] | None = None
    thresholds: dict[str, float] | None = None
    calibration_history: list[dict[str, Any]] | None = None

    @property
    def tasks(self) -> list[str]:
        """The tasks in their order."""
        return list(self.classes)

    def describe_rows(self, task: str) -> str:
        """Return the number of rows and label texts behind the head of a task, in words."""
        n_rows, of_task = (self.n_rows or {}).get(task), (self.label_texts or {}).get(task)
        pairs = [] if of_task is None else zip(of_task.texts, of_task.weights, strict=True)
        n_texts = sum(len(texts) for texts, weight in pairs if weight)
        rows = {None: "an unknown number of rows", 0: "no rows"}.get(n_rows, f"{n_rows} rows")
        return f"{rows} and {n_texts} label texts" if n_texts else rows

    @property
    def trained_tasks(self) -> list[str]:
        """The tasks whose heads have trained on rows."""
        return [task for task in self.tasks if (self.n_rows or {}).get(task) != 0]

    @property
    def n_dimensions(self) -> int:
        """The number of dimensions of an embedding."""
        return embedding_width(self.net.module_.encoder)

    # ----------------------------------------------------------------------------------------
    # Prediction

    @computes
    def codes(
        self,
        texts: Texts,
        tasks: NDArray[np.int64],
        minimum: Mapping[str, float] | None = None,
    ) -> NDArray[np.int64]:
        """Predict the label code of each row.

        Parameters
        ----------
        texts : Texts
            The text of each row. Each distinct text is encoded once.
        tasks : ndarray of int64, shape (n_rows,)
            The task of each row.
        minimum : dict of {str: float} or None, default=None
            The minimum confidence of each task, from :meth:`min_confidence_of`.

        Returns
        -------
        codes : ndarray of int64, shape (n_rows,)
            The label codes, with -1 for rows below the minimum confidence.
        """
        least = [(minimum or {}).get(task, 0.0) for task in self.tasks]
        codes = np.empty(len(texts), dtype=np.int64)
        for rows, logits in self._iter_logits(texts, tasks):
            parts = zip(rows, logits, self.temperatures.values(), least, strict=True)
            for at, part, temperature, lowest in parts:
                codes[at] = confident_codes(part, temperature, lowest)
        return codes

    def labels(
        self,
        texts: Texts,
        tasks: NDArray[np.int64],
        minimum: Mapping[str, float] | None = None,
    ) -> np.ndarray:
        """Predict the label of each row, with a dtype for all of them; see :meth:`codes`."""
        codes = self.codes(texts, tasks, minimum)
        requested = {code: self.labels_of(self.tasks[code], minimum) for code in np.unique(tasks)}
        labels = np.empty(len(texts), dtype=common_dtype(requested.values()))
        for code, classes in requested.items():
            rows = tasks == code
            labels[rows] = classes[codes[rows]]
        return labels

    def labels_by_task(
        self,
        texts: Texts,
        requested: NDArray[np.int64],
        minimum: Mapping[str, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """Predict the label of each text for some tasks, which are given by their codes."""
        tasks = np.tile(requested, len(texts))
        codes = self.codes(texts.repeat(len(requested)), tasks, minimum)
        names = [self.tasks[code] for code in requested]
        return {
            name: self.labels_of(name, minimum)[codes[tasks == code]]
            for name, code in zip(names, requested, strict=True)
        }

    def labels_of(self, task: str, minimum: Mapping[str, float] | None) -> np.ndarray:
        """Return the label of each code: with a minimum confidence, None for the code -1."""
        classes = self.classes[task]
        return classes if minimum is None else with_missing(classes)

    def min_confidence_of(
        self, given: MinConfidence | None, requested: NDArray[np.int64]
    ) -> dict[str, float] | None:
        """Return the minimum confidence of each requested task; None to predict all rows.

        Raises
        ------
        ValueError, TypeError
            If `given` names a task that the model does not have, or if it is "tuned" and the
            threshold of a task was not tuned.
        """
        tasks = [self.tasks[code] for code in requested]
        return min_confidences(given, tasks, self.thresholds or {}, self.tasks)

    def task_codes(self, task: str | None) -> NDArray[np.int64]:
        """Return the code of a task, or the codes of all tasks if `task` is None.

        Raises
        ------
        TypeError, ValueError
            If the name of the task is not a string, or if the model does not have the task.
        """
        if task is None:
            return np.arange(len(self.classes))
        self.check_task(task)
        return np.array([self.tasks.index(task)])

    def check_task(self, task: object):
        """Raise TypeError or ValueError if `task` is not the name of a task of this model."""
        check_task(task, self.tasks)

    @computes
    def logits(self, texts: Texts, tasks: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Compute the logits of each row.

        Parameters
        ----------
        texts, tasks
            As in :meth:`codes`.

        Returns
        -------
        logits : list of ndarray of float32, each of shape (n_rows_of_task, n_classes_of_task)
            The logits of the rows of each task, in their order.
        """
        n_classes = [len(classes) for classes in self.classes.values()]
        counts = np.bincount(tasks, minlength=len(n_classes))
        result = [np.empty(shape, np.float32) for shape in zip(counts, n_classes, strict=True)]
        place = np.empty(len(texts), dtype=np.int64)  # position of a row in its task
        for task, count in enumerate(counts):
            place[tasks == task] = np.arange(count)
        for rows, logits in self._iter_logits(texts, tasks):
            for of_task, at, part in zip(result, rows, logits, strict=True):
                of_task[place[at]] = part
        return result

    def probabilities(self, texts: Texts, tasks: NDArray[np.int64]) -> list[NDArray[np.float64]]:
        """Predict the class probabilities of each row, in the format of :meth:`logits`."""
        logits = zip(self.classes, self.logits(texts, tasks), strict=True)
        return [probabilities(part, self.temperatures[task]) for task, part in logits]

    def log_probabilities(
        self, texts: Texts, tasks: NDArray[np.int64]
    ) -> list[NDArray[np.float64]]:
        """Predict the logarithms of :meth:`probabilities`."""
        logits = zip(self.classes, self.logits(texts, tasks), strict=True)
        return [log_probabilities(part, self.temperatures[task]) for task, part in logits]

    @computes
    def attention(self, text: str, task: int) -> list[tuple[int, int, float]] | None:
        """Return how much each token of a text counts for a task, by the query of its head.

        Returns
        -------
        tokens : list of (int, int, float), or None
            The start and the end of the characters of each token, and its share of the attention.
            None if the head has no query, or if the characters are not known.
        """
        spans = self.tokenizer.spans(text)
        if spans is None or self.net.module_.heads[task].query is None:
            return None
        weights = self.net.attention(task, TokensOnDemand([text], self.tokenizer))
        return [
            (start, end, float(weight) / len(spans))
            for window, shares in zip(spans, weights, strict=True)
            for (start, end), weight in zip(window, shares, strict=False)
        ]

    @computes
    def embed(self, texts: Texts) -> NDArray[np.float32]:
        """Return the embedding of each text, pooled as for a head without a query."""
        distinct = [
            self.net.embed_texts(self.tokenizer, texts.distinct[start : start + CHUNK])
            for start in range(0, len(texts.distinct), CHUNK)
        ]
        none = np.empty((0, self.n_dimensions), np.float32)
        return np.concatenate([none, *distinct])[texts.codes]

    def score(self, rows: CodedRows) -> dict[str, dict[str, float]]:
        """Return the scores of each task on coded rows."""
        if not len(rows):
            return {}
        predicted = self.codes(rows.texts, rows.tasks)
        scores = scores_per_task(rows.tasks, rows.labels, predicted, rows.weights)
        return {self.tasks[code]: score for code, score in scores.items()}

    def _iter_logits(
        self, texts: Texts, tasks: NDArray[np.int64]
    ) -> Iterator[tuple[list[NDArray[np.int64]], list[NDArray[np.float32]]]]:
        """Yield row numbers and logits per task, encoding each distinct text once."""
        order = np.argsort(texts.codes, kind="stable")
        starts = range(0, len(texts.distinct), CHUNK)
        bounds = np.searchsorted(texts.codes[order], [*starts, len(texts.distinct)])
        for start, first, last in zip(starts, bounds, bounds[1:], strict=False):
            rows, chunk = order[first:last], texts.distinct[start : start + CHUNK]
            tokens = TokensOnDemand(chunk, self.tokenizer)
            dataset = TextRows(tokens, texts.codes[rows] - start, tasks[rows], len(self.classes))
            for at, logits in self.net.iter_logits(dataset, self._source(chunk, tokens)):
                yield [rows[part] for part in at], logits

    def _source(self, texts: list[str], tokens: TokensOnDemand) -> Embeddings | PaddedTokens:
        """Return embeddings from the cache if they are valid for all heads, and tokens if not."""
        memory = self.memory
        if memory is None or memory.is_stale() or not self.net.module_.heads_share_embeddings:
            return PaddedTokens(tokens)
        return Embeddings(torch.from_numpy(memory.embed(texts)))

    def confidences(self, rows: CodedRows) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return the confidence of each row, and whether its label is predicted, by task.

        Tasks without rows are left out. A label that is not a class is never predicted.
        """
        found = {}
        for code, (task, part) in enumerate(
            zip(self.classes, self.logits(rows.texts, rows.tasks), strict=True)
        ):
            if len(part):
                is_correct = part.argmax(axis=1) == rows.labels[rows.tasks == code]
                found[task] = confidences(part, self.temperatures[task]), is_correct
        return found

    # ----------------------------------------------------------------------------------------
    # Modified copies

    def with_task(self, other: FittedModel) -> FittedModel:
        """Return a copy with the single task of another model, trained on the same encoder."""
        return self._with_net(
            self.net.with_head_of(other.net),
            classes=self.classes | other.classes,
            temperatures=self.temperatures | other.temperatures,
            coverage=(self.coverage or {}) | (other.coverage or {}),
            label_texts=(self.label_texts or {}) | (other.label_texts or {}),
            n_rows=(self.n_rows or {}) | (other.n_rows or {}),
            calibration_history=self._calibration_history_with(other),
        )

    def _calibration_history_with(self, other: FittedModel) -> list[dict[str, Any]]:
        """Return both histories; the trainings of `other` come after those of this model."""
        later = renumbered(other.calibration_history or [], n_trainings(self.net.history))
        return [*(self.calibration_history or []), *later]

    def without_task(self, task: str) -> FittedModel:
        """Return a copy without a task. The weights of the encoder and the other heads stay."""
        by_task: dict[str, dict[str, Any]] = {
            "classes": self.classes,
            "temperatures": self.temperatures,
            "coverage": self.coverage or {},
            "label_texts": self.label_texts or {},
            "n_rows": self.n_rows or {},
            "thresholds": self.thresholds or {},
        }
        rest = {
            name: {key: value for key, value in values.items() if key != task}
            for name, values in by_task.items()
        }
        return self._with_net(self.net.without_head(self.tasks.index(task)), **rest)

    def _with_net(self, net: MultiheadNet, **fields: Any) -> FittedModel:
        """Return a copy with a net that has the same encoder, and with other fields."""
        encode = functools.partial(net.embed_texts, self.tokenizer)
        memory = None if self.memory is None else self.memory.moved_to(net.module_, encode)
        return replace(self, net=net, memory=memory, **fields)

    def fit_temperatures(self, rows: CodedRows) -> FittedModel:
        """Return a copy with temperatures that are fitted on calibration rows.

        A task without calibration rows gets the common temperature of the other tasks.
        """
        logits = self.logits(rows.texts, rows.tasks)
        of_tasks = [rows.take(rows.tasks == task) for task in range(len(logits))]
        parts = zip(logits, of_tasks, strict=True)
        found = fit_temperatures([(z, part.labels, part.weights) for z, part in parts])
        return self.with_temperatures(dict(zip(self.classes, found, strict=True)))

    def without_memory(self) -> FittedModel:
        """Return a copy without the embedding cache."""
        return self if self.memory is None else replace(self, memory=None)

    def with_temperatures(self, temperatures: dict[str, float]) -> FittedModel:
        """Return a copy with other temperatures for some tasks, and without thresholds."""
        return replace(self, temperatures=self.temperatures | temperatures, thresholds=None)

    def with_thresholds(self, thresholds: dict[str, float]) -> FittedModel:
        """Return a copy with other thresholds for some tasks."""
        return replace(self, thresholds=(self.thresholds or {}) | thresholds)

    # ----------------------------------------------------------------------------------------
    # Pickling

    def __getstate__(self):
        """Return the state without the embedding cache."""
        return {**vars(self), "memory": None}

    def __setstate__(self, state):
        """Set the fields in `__dict__`, because a frozen dataclass cannot assign them."""
        vars(self).update(state)
