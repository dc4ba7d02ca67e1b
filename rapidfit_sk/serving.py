"""Prediction from a folder that `export_onnx` wrote, without torch, transformers and skorch.

This module needs numpy, onnxruntime and tokenizers, and no other package.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._abstention import MIN_CONFIDENCE, min_confidences, with_missing
from ._arrays import as_columns, common_dtype
from ._folders import (
    CHECKSUMS,
    hash_of,
    identity,
    read_checksums,
    read_file,
    read_folder,
    verify,
    verify_file,
)
from ._tokens import BoundedTokenizer, TokenIds, TokenRules, by_length, places
from ._validation import (
    check_argument,
    check_task,
    integer,
    is_name,
    is_unicode,
    listed,
    none,
    path,
    short,
)

try:
    import onnxruntime
    from tokenizers import Tokenizer
except ImportError as error:
    raise ImportError(
        "rapidfit_sk.serving needs onnxruntime and tokenizers. Install them with: "
        'pip install "rapidfit-sk[onnx]". A server without torch needs only: '
        "pip install --no-deps rapidfit-sk && pip install numpy onnxruntime tokenizers"
    ) from error

__all__ = ["OnnxMultiheadClassifier", "OnnxTaskClassifier"]

GRAPH, DESCRIPTION, TOKENIZER = "model.onnx", "onnx.json", "tokenizer.json"
FORMAT, FORMAT_VERSION = "rapidfit_sk_onnx", 1
# A file that only `save` writes.
_SAVED = "classifier.json"
_MAX_DESCRIPTION, _MAX_TOKENIZER = 2**26, 2**28

# An array for one task, or a dict of arrays for several tasks.
Probabilities: TypeAlias = NDArray[np.float64] | dict[str, NDArray[np.float64]]

# Types of labels by the kind of their dtype.
_KINDS: dict[str, set[type]] = {
    "b": {bool},
    "i": {int},
    "u": {int},
    "f": {float},
    "U": {str},
    "O": {bool, int, float, str},
}

# Number of distinct texts that are tokenized at once. It limits the memory of a prediction.
_CHUNK = 4096


class OnnxMultiheadClassifier:
    """Fitted classifier of several tasks that predicts with onnxruntime.

    It gives the predictions of the :class:`~rapidfit_sk.MultiheadClassifier` or
    :class:`~rapidfit_sk.TextClassifier` whose `export_onnx` wrote the folder, but needs neither
    torch nor transformers, skorch, scikit-learn or pandas.

    Parameters
    ----------
    folder : str or path-like
        The folder that ``export_onnx`` wrote.
    n_threads : int or None, default=None
        Number of threads that onnxruntime uses. With None, it uses one per core. A server with
        several processes should use 1, and set the environment variable
        ``TOKENIZERS_PARALLELISM`` to "false", because the library tokenizers has its own threads.

    Attributes
    ----------
    tasks_ : list of str
        The exported tasks.
    classes_ : dict of {str: ndarray}
        The sorted classes of each task.
    temperatures_ : dict of {str: float}
        The temperature that divides the logits of each task.
    thresholds_ : dict of {str: float}
        The tuned minimum confidence of each task that has one.
    model_id : str
        A hash of the files of the folder, which tells two models apart.
    description_ : dict
        Everything that ``onnx.json`` contains, such as the versions of the libraries and the report
        of the export.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If ``export_onnx`` did not write the folder, or if a file is missing or changed.

    See Also
    --------
    rapidfit_sk.MultiheadClassifier.export_onnx : Writes the folder.

    Notes
    -----
    Several threads can predict at the same time. A pickle contains the path of the folder only. In
    a server that forks, create the classifier after the fork, because a forked process does not
    have the threads of onnxruntime.

    Examples
    --------
    >>> import tempfile
    >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
    >>> from rapidfit_sk.datasets import load_support_messages
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> training = TrainingConfig(model_name=tiny_encoder(), epochs=1, learning_rate=1e-3)
    >>> classifier = MultiheadClassifier(MultiheadConfig(training=training), random_state=0)
    >>> folder = tempfile.mkdtemp()
    >>> report = classifier.fit(load_support_messages()).export_onnx(folder)
    >>> served = OnnxMultiheadClassifier(folder)
    >>> list(served.predict_all(["Where is my parcel?"]))
    ['sentiment', 'intent', 'emotion']
    >>> served["sentiment"].predict_proba(["What a lovely shop!"]).shape
    (1, 3)
    """

    def __init__(self, folder: str | PathLike[str], *, n_threads: int | None = None):
        check_argument("folder", folder, path())
        check_argument("n_threads", n_threads, integer(1) | none)
        self.folder = str(folder)
        self.n_threads = n_threads
        self._load()

    def _load(self):
        content = read_folder(Path(self.folder), self._read)
        self.description_, self._tokenizer, self._session = content
        tasks = {task["name"]: task for task in self.description_["tasks"]}
        self.tasks_ = list(tasks)
        self.classes_ = {name: _classes(task) for name, task in tasks.items()}
        self.temperatures_ = {name: task["temperature"] for name, task in tasks.items()}
        self.thresholds_ = {
            name: task["threshold"] for name, task in tasks.items() if "threshold" in task
        }
        self._outputs = {name: task["output"] for name, task in tasks.items()}
        self._columns = self.description_["columns"]

    def _read(
        self, folder: Path
    ) -> tuple[dict[str, Any], _FileTokenizer, onnxruntime.InferenceSession]:
        """Read the files of a folder and check that they belong together."""
        with _one_error(folder):
            before = identity(folder)
            _check_is_export(folder)
            content = read_file(folder / DESCRIPTION, _MAX_DESCRIPTION)
            description = json.loads(content)
            _check_format(description)
            checksums = read_checksums(folder)
            self.model_id = hash_of(checksums)
            verify(checksums, DESCRIPTION, content)
            tokens = read_file(folder / TOKENIZER, _MAX_TOKENIZER)
            verify(checksums, TOKENIZER, tokens)
            for name in {GRAPH, *checksums} - {DESCRIPTION, TOKENIZER}:
                if Path(name).name != name:
                    raise ValueError(f"{CHECKSUMS} names {short(name)}")
                verify_file(checksums, folder / name)
            session = self._session_of(folder / GRAPH)
            # onnxruntime has opened the graph by its path.
            if identity(folder) != before:
                raise ValueError("it was replaced while it was read")
            check_description(description, session)
            return description, _FileTokenizer(tokens, _rules(description)), session

    def _session_of(self, graph: Path) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        if self.n_threads is not None:
            options.intra_op_num_threads = self.n_threads
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def __getstate__(self):
        """Return the parameters; the folder is read again."""
        return {"folder": self.folder, "n_threads": self.n_threads}

    def __setstate__(self, state):
        """Read the folder again."""
        vars(self).update(state)
        self._load()

    def __repr__(self) -> str:
        """Return the folder and the tasks."""
        return f"{type(self).__name__}({self.folder!r}, n_threads={self.n_threads})"

    # ----------------------------------------------------------------------------------------
    # Prediction

    def predict(
        self,
        X: ArrayLike,
        task: str | None = None,
        *,
        min_confidence: float | Mapping[str, float] | str | None = None,
    ) -> np.ndarray:
        """Predict labels.

        Parameters
        ----------
        X : array-like of str, frame or dict of columns
            Texts, or an object with a text column: a frame, or a dict of lists.
        task : str or None, default=None
            The task to predict. None means the task of each row if X has a task column, and all
            tasks otherwise.
        min_confidence : float, dict, "tuned" or None, default=None
            The probability that the predicted label of a row must have. Rows below it get None
            instead of a label. A dict ``{task: float}`` sets it for some tasks, and "tuned" uses
            `thresholds_`. None predicts a label for each row.

        Returns
        -------
        labels : ndarray of shape (n_rows,) or (n_texts, n_tasks)
            As :meth:`rapidfit_sk.MultiheadClassifier.predict` returns them.

        Raises
        ------
        TypeError, ValueError
            If X contains something other than texts, if a task was not exported, or if "tuned" is
            used for a task without a threshold.
        """
        check_argument("min_confidence", min_confidence, MIN_CONFIDENCE)
        texts, of_rows = self._read_rows(X, task)
        if of_rows is None:
            found = self._labels(texts, self._requested(task), min_confidence)
            return as_columns(list(found.values()))
        return self._labels_of_rows(texts, of_rows, min_confidence)

    def predict_all(
        self,
        X: ArrayLike,
        *,
        min_confidence: float | Mapping[str, float] | str | None = None,
    ) -> dict[str, np.ndarray]:
        """Predict the label of each text for every task.

        Parameters
        ----------
        X : array-like of str, frame or dict of columns
            Texts, or an object with a text column.
        min_confidence : float, dict, "tuned" or None, default=None
            As in :meth:`predict`.

        Returns
        -------
        labels : dict of {str: ndarray of shape (n_texts,)}
            The labels of each task. ``pandas.DataFrame(labels)`` is the frame that
            :meth:`rapidfit_sk.MultiheadClassifier.predict_all` returns.
        """
        check_argument("min_confidence", min_confidence, MIN_CONFIDENCE)
        return self._labels(self._read_texts(X), self.tasks_, min_confidence)

    @overload
    def predict_proba(self, X: ArrayLike, task: str) -> NDArray[np.float64]: ...

    @overload
    def predict_proba(self, X: ArrayLike, task: None = None) -> Probabilities: ...

    def predict_proba(self, X: ArrayLike, task: str | None = None) -> Probabilities:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of str, frame or dict of columns
            As in :meth:`predict`.
        task : str or None, default=None
            As in :meth:`predict`.

        Returns
        -------
        probabilities : ndarray of shape (n_rows, n_classes), or dict of such arrays
            An array for one task, and a dict of arrays for several tasks, as
            :meth:`rapidfit_sk.MultiheadClassifier.predict_proba` returns them.
        """
        texts, of_rows = self._read_rows(X, task)
        if of_rows is None or not len(of_rows):
            found = self._probabilities(texts, self._requested(task))
        else:
            rows = {name: np.flatnonzero(of_rows == name) for name in self._present(of_rows)}
            every = self._probabilities(texts, list(rows))
            found = {name: every[name][at] for name, at in rows.items()}
        return next(iter(found.values())) if len(found) == 1 else found

    def __getitem__(self, task: str) -> OnnxTaskClassifier:
        """Return the view of one task."""
        self._requested(task)
        return OnnxTaskClassifier(self, task)

    def __contains__(self, task: object) -> bool:
        """Check whether a task was exported."""
        return task in self.tasks_

    # ----------------------------------------------------------------------------------------
    # From texts to logits

    def _labels(self, texts: list[str], tasks: list[str], min_confidence) -> dict[str, np.ndarray]:
        """Return the labels of each task: with a minimum confidence, None below it."""
        minimum = min_confidences(min_confidence, tasks, self.thresholds_, self.tasks_)

        def code(task, logits):
            codes = logits.argmax(axis=1)
            if minimum is not None:
                codes[self._softmax(task, logits).max(axis=1, initial=0) < minimum[task]] = -1
            return codes

        codes = self._of_texts(texts, tasks, code)
        classes = {task: self.classes_[task] for task in tasks}
        if minimum is not None:
            classes = {task: with_missing(own) for task, own in classes.items()}
        return {task: classes[task][codes[task]] for task in tasks}

    def _labels_of_rows(self, texts: list[str], of_rows: np.ndarray, min_confidence) -> np.ndarray:
        """Return the label of each row for the task of the row."""
        found = self._labels(texts, self._present(of_rows), min_confidence)
        labels = np.empty(len(texts), common_dtype(found.values()))
        for task, own in found.items():
            labels[of_rows == task] = own[of_rows == task]
        return labels

    def _probabilities(self, texts: list[str], tasks: list[str]) -> dict[str, NDArray[np.float64]]:
        return self._of_texts(texts, tasks, self._softmax)

    def _softmax(self, task: str, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities of logits, at the temperature of a task."""
        scaled = logits / self.temperatures_[task]
        exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)

    def _of_texts(
        self,
        texts: list[str],
        tasks: list[str],
        compute: Callable[[str, NDArray[np.float64]], np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Compute a value for each text and task from its logits; each distinct text runs once."""
        numbers: dict[str, int] = {}
        codes = [numbers.setdefault(text, len(numbers)) for text in texts]
        distinct = list(numbers)
        # An empty first chunk defines the shapes if there are no texts.
        found = {task: [compute(task, np.empty((0, len(self.classes_[task]))))] for task in tasks}
        for start in range(0, len(distinct), _CHUNK):
            logits = self._logits(distinct[start : start + _CHUNK], tasks)
            for task in tasks:
                found[task].append(compute(task, logits[task]))
        return {task: np.concatenate(parts)[codes] for task, parts in found.items()}

    def _logits(self, texts: list[str], tasks: list[str]) -> dict[str, NDArray[np.float64]]:
        """Return the logits of distinct texts for each task."""
        tokens = self._tokenizer(texts)
        result = {task: np.empty((len(texts), len(self.classes_[task]))) for task in tasks}
        names = [self._outputs[task] for task in tasks]
        for batch in by_length(tokens.lengths):
            outputs = self._session.run(names, self._inputs(tokens, batch))
            for task, logits in zip(tasks, outputs, strict=True):
                result[task][batch] = logits
        if not all(np.isfinite(logits).all() for logits in result.values()):
            raise FloatingPointError(
                "The graph returns logits that are not finite, so there is no prediction. Fit the "
                "classifier again with a lower 'training.learning_rate', and export it again."
            )
        return result

    def _inputs(self, tokens: TokenIds, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Return the inputs of the graph for some texts."""
        at, mask = places(tokens, batch)
        inputs: dict[str, np.ndarray] = {
            "input_ids": np.where(mask, tokens.ids[at], tokens.padding).astype(np.int64),
            "attention_mask": mask.astype(np.int64),
        }
        if self._tokenizer.long_text == "windows":
            inputs["mean"] = mean_of_windows(tokens.firsts[batch + 1] - tokens.firsts[batch])
        return inputs

    # ----------------------------------------------------------------------------------------
    # Input

    def _requested(self, task: str | None) -> list[str]:
        """Return the tasks to predict, after checking the name of a task."""
        if task is None:
            return self.tasks_
        check_task(task, self.tasks_)
        return [task]

    def _present(self, of_rows: np.ndarray) -> list[str]:
        """Return the tasks of some rows in the order of `tasks_`, after checking their names."""
        present = set(of_rows.tolist())
        for task in present:
            self._requested(task)
        return [task for task in self.tasks_ if task in present]

    def _read_rows(self, X, task: str | None) -> tuple[list[str], np.ndarray | None]:
        """Return the texts and, if X has a task column that counts, the task of each row."""
        texts = self._read_texts(X)
        column = self._columns["task"]
        if task is not None or column is None or column not in (_column_names(X) or []):
            return texts, None
        names = list(_column(X, column))
        if len(names) != len(texts):
            raise ValueError(
                f"X has {len(texts)} texts and {len(names)} tasks. Pass a task for each text."
            )
        of_rows = np.empty(len(texts), dtype=object)
        of_rows[:] = names
        return texts, of_rows

    def _column_of_texts(self, X) -> Any:
        """Return the texts of a frame, of a dict of columns, or of an array-like."""
        names, column = _column_names(X), self._columns["text"]
        if names is None:
            return X[:, 0] if np.shape(X)[1:] == (1,) else X
        if len(names) == 1 and not isinstance(X, Mapping):
            (column,) = names
        if column not in names:
            raise ValueError(
                f"X has no column {column!r}. Its columns are: {listed(names)}. Rename a column, "
                "or pass the texts themselves."
            )
        return _column(X, column)

    def _read_texts(self, X) -> list[str]:
        """Return the checked texts of X."""
        if isinstance(X, str):
            raise TypeError(f"X is one string, {short(X)}. Pass a list of texts: [{short(X)}].")
        texts = [_plain(text) for text in self._column_of_texts(X)]
        for row, text in enumerate(texts):
            _check_text(text, row)
        return texts


class OnnxTaskClassifier:
    """View of one task of an :class:`OnnxMultiheadClassifier`.

    ``classifier["sentiment"]`` returns a view.

    Parameters
    ----------
    classifier : OnnxMultiheadClassifier
        The classifier of several tasks.
    task : str
        One of its tasks.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The sorted classes of the task.
    """

    def __init__(self, classifier: OnnxMultiheadClassifier, task: str):
        self.classifier = classifier
        self.task = task

    @property
    def classes_(self) -> np.ndarray:
        """The sorted classes of the task."""
        return self.classifier.classes_[self.task]

    def predict(self, X: ArrayLike, *, min_confidence: float | str | None = None) -> np.ndarray:
        """Predict the label of each text.

        Parameters
        ----------
        X : array-like of str, frame or dict of columns
            Texts, or an object with a text column.
        min_confidence : float, "tuned" or None, default=None
            As in :meth:`OnnxMultiheadClassifier.predict`.

        Returns
        -------
        labels : ndarray of shape (n_texts,)
            The labels.
        """
        return self.classifier.predict(X, self.task, min_confidence=min_confidence)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of str, frame or dict of columns
            Texts, or an object with a text column.

        Returns
        -------
        probabilities : ndarray of shape (n_texts, n_classes)
            Probabilities, with columns in the order of `classes_`. Rows sum to 1.
        """
        return self.classifier._probabilities(self.classifier._read_texts(X), [self.task])[
            self.task
        ]


class _FileTokenizer(BoundedTokenizer):
    """A tokenizer from the bytes of a ``tokenizer.json``.

    Parameters
    ----------
    content : bytes
        The content of the file.
    rules : TokenRules
        Rules for long texts and special tokens.
    """

    def __init__(self, content: bytes, rules: TokenRules):
        super().__init__(rules)
        self._tokenizer = Tokenizer.from_buffer(content)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]


def mean_of_windows(counts: np.ndarray) -> NDArray[np.float32]:
    """Return the matrix that averages the windows of each text.

    Parameters
    ----------
    counts : ndarray of int, shape (n_texts,)
        Number of windows of each text.

    Returns
    -------
    matrix : ndarray of float32, shape (n_texts, n_windows)
        Row i has the value ``1 / counts[i]`` at the windows of text i, and 0 elsewhere.

    Examples
    --------
    >>> mean_of_windows(np.array([1, 2]))
    array([[1. , 0. , 0. ],
           [0. , 0.5, 0.5]], dtype=float32)
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    is_own = np.arange(len(counts))[:, None] == owner
    return np.where(is_own, 1 / counts[:, None], 0).astype(np.float32)


def _column_names(X: Any) -> list[Any] | None:
    """Return the names of the columns of a frame or of a dict; None for other objects."""
    if isinstance(X, Mapping):
        return list(X)
    names = getattr(X, "column_names", getattr(X, "columns", None))
    return None if names is None else list(names)


def _column(X: Any, name: Any) -> Any:
    """Return a column of a frame or of a dict."""
    if (_column_names(X) or []).count(name) > 1:
        raise ValueError(f"X has two columns named {name!r}. Rename or drop one of them.")
    column = X[name]
    return column.to_pylist() if hasattr(column, "to_pylist") else column


def _plain(text: Any) -> Any:
    """Return a string of numpy or of another subclass as a str, and other objects unchanged."""
    return str.__str__(text) if isinstance(text, str) else text


def _check_text(text: object, row: int):
    """Raise TypeError or ValueError for an object that is not a valid text."""
    if not isinstance(text, str):
        raise TypeError(
            f"Row {row}: a text must be a string, got {short(text)} ({type(text).__name__}). Drop "
            "the row or fill in a text."
        )
    if not is_unicode(text):
        raise ValueError(
            f"Row {row}: the text is not valid Unicode, because it contains half of a surrogate "
            f"pair ({short(text)}). Drop the row or correct the text."
        )


def _check_format(description: Any):
    """Raise ValueError if a description is not the one of an exported classifier."""
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"{DESCRIPTION} does not describe an exported classifier")
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"it has format version {short(version)}, but this version of rapidfit_sk reads "
            f"version {FORMAT_VERSION}"
        )


def check_description(description: dict[str, Any], session: onnxruntime.InferenceSession):
    """Raise ValueError or another error if a description is not valid for a graph."""
    columns, tasks = description["columns"], description["tasks"]
    _require(is_name(columns["text"]), "the name of its text column")
    _require(columns["task"] is None or is_name(columns["task"]), "the name of its task column")
    names = [task["name"] for task in tasks]
    _require(bool(names) and all(map(is_name, names)), "the names of its tasks")
    _require(len(set(names)) == len(names), "the names of its tasks")
    widths = {output.name: output.shape[-1] for output in session.get_outputs()}
    for task in tasks:
        of_task = f"of task {short(task['name'])}"
        _require(_is_number(task["temperature"], 0), f"the temperature {of_task}")
        _require(0 <= task.get("threshold", 0) <= 1, f"the threshold {of_task}")
        n_classes = len(_classes(task))
        _require(n_classes > 1, f"the classes {of_task}")
        _require(widths.get(task["output"]) == n_classes, f"the output {of_task}")
    _rules(description)


def _classes(task: dict[str, Any]) -> np.ndarray:
    """Return the classes of a task, after checking that they are labels of one kind."""
    labels, dtype = task["classes"], np.dtype(task["dtype"])
    what = f"the classes of task {short(task['name'])}"
    kinds = {type(label) for label in labels}
    _require(len(kinds) == 1 and kinds <= _KINDS.get(dtype.kind, set()), what)
    if dtype.kind == "U":  # strings take as much memory as the longest one needs
        _require(dtype.itemsize == 4 * max(map(len, labels)), what)
    classes = np.array(labels, dtype=dtype)
    _require(classes.tolist() == labels, what)
    return classes


def _rules(description: dict[str, Any]) -> TokenRules:
    """Return the rules of a tokenizer, after checking them."""
    rules = TokenRules(**description["tokens"])
    ids = [rules.padding, *rules.control_ids, *rules.n_special]
    _require(all(type(each) is int and each >= 0 for each in ids), "the ids of special tokens")
    _require(type(rules.unknown_id) is int and len(rules.n_special) == 2, "the special tokens")
    _require(all(map(is_name, rules.special_tokens)), "the special tokens")
    _require(type(rules.max_length) is int and rules.max_length > 0, "the 'max_length'")
    _require(rules.long_text in ("truncate", "head_tail", "windows"), "the 'long_text'")
    return rules


def _is_number(value: Any, above: float) -> bool:
    return isinstance(value, float | int) and above < value < float("inf")


def _require(is_valid: bool, what: str):
    if not is_valid:
        raise ValueError(f"{what} in {DESCRIPTION} is not valid")


def _check_is_export(folder: Path):
    """Raise ValueError for the folder of a classifier that `save` has written."""
    if (folder / _SAVED).exists() and not (folder / DESCRIPTION).exists():
        raise ValueError(
            "it was written by save. Load it with MultiheadClassifier.load or TextClassifier.load, "
            "and call export_onnx"
        )


@contextlib.contextmanager
def _one_error(folder: Path) -> Iterator[None]:
    """Convert any error about the contents of a folder to a ValueError with one message."""
    try:
        yield
    except (MemoryError, PermissionError):
        raise
    except Exception as error:
        lines = str(error).strip().rstrip(".").splitlines()
        raise ValueError(
            f"The folder {str(folder)!r} does not contain a valid classifier written by "
            f"export_onnx: {lines[0] if lines else type(error).__name__}. Export the classifier "
            "again, or pass another folder."
        ) from error
