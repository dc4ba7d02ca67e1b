"""Save and load a fitted classifier as weights, JSON and tokenizer files, without pickle."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import joblib
import numpy as np
import psutil
import torch
from skorch.history import History

from ._atomic import replace_fitted
from ._coverage import Coverage
from ._fitted import FittedModel, LabelTextsOfTask
from ._fitting import find_device
from ._folders import (
    aligned_bytes,
    is_aligned,
    read_checksums,
    read_file,
    read_folder,
    read_tensor_file,
    replace_folder,
    verify,
    write_checksums,
)
from ._model import TextTokenizer, longest_input, module_to_parts, tokenizer_from_files
from ._model_card import model_card
from ._parameters import ParameterGroup
from ._rows import Texts, parameter_labels, plain_label
from ._schema import (
    CARD,
    DESCRIPTION,
    ESTIMATORS,
    FORMAT,
    FORMAT_VERSION,
    INDICES,
    TOKENIZER,
    WEIGHTS,
    Layout,
    check_description,
    check_finite,
    check_format,
    classes_from_plain,
    header_of,
    read_header,
)
from ._training import MultiheadNet
from ._validation import (
    array_like,
    check_argument,
    check_parameters,
    mapping_to,
    path,
    short,
    warn_user,
)
from .config import MultiheadConfig

_FEATURES = {"feature_names_in_", "n_features_in_"}
_MAX_DESCRIPTION, _MAX_TOKENIZER, _MAX_TOKENIZER_FILES = 2**30, 2**28, 100
_MAX_REASON = 500  # transformers lists all of its architectures in one sentence

# Errors of the operating system that the contents of a folder cause.
_OF_CONTENTS = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENODEV,
    errno.ENAMETOOLONG,
}

# The type of a MultiheadClassifier, which cannot be imported here: its module imports this one.
_Classifier = TypeVar("_Classifier", bound=ParameterGroup)


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a saved classifier depends on."""
    libraries = ("numpy", "scikit-learn", "skorch", "torch", "transformers")
    own = {"rapidfit_sk": sys.modules[__package__].__version__}
    return own | {name: version(name) for name in libraries}


# --------------------------------------------------------------------------------------------
# Saving


def save_classifier(classifier: Any, folder: str | os.PathLike[str]):
    """Save a fitted classifier to a folder; see :meth:`MultiheadClassifier.save`."""
    check_argument("folder", folder, path())
    classifier = _snapshot(classifier)
    parts = module_to_parts(classifier.model_.net.module_)
    description = _describe(classifier) | {"encoder": parts["encoder"]}
    content = json.dumps(description, indent=1, default=_plain)
    # Parameters that load would refuse are refused before anything is written.
    _with_parameters(type(classifier), json.loads(content)["parameters"])
    files = classifier.model_.tokenizer.files()
    card = card_of(classifier)

    def write(into: Path):
        (into / DESCRIPTION).write_text(content)
        (into / CARD).write_text(card, "utf-8")
        _write_weights(parts["weights"], into / WEIGHTS)
        (into / TOKENIZER).mkdir()
        for name, data in files.items():
            (into / TOKENIZER / name).write_bytes(data)
        write_checksums(into)

    replace_folder(Path(folder), write, DESCRIPTION)


def card_of(classifier: Any) -> str:
    """Return the model card of a fitted classifier; see :meth:`MultiheadClassifier.model_card`."""
    return model_card(_snapshot(classifier), _name_of(type(classifier)), library_versions())


def _write_weights(weights: dict[str, np.ndarray], path: Path):
    """Write arrays to a safetensors file, at places that are aligned if the file is mapped."""
    start, order = header_of(weights)
    with path.open("wb") as file:
        file.write(start)
        for name in order:
            file.write(weights[name].data)


def _snapshot(classifier):
    """Return a copy with the attributes of one moment, because another thread may fit meanwhile."""
    copy = object.__new__(type(classifier))
    copy.__dict__ = dict(vars(classifier))
    return copy


def _describe(classifier) -> dict[str, Any]:
    model = classifier.model_
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "estimator": _name_of(type(classifier)),
        "versions": library_versions(),
        "parameters": _parameters(classifier),
        "tasks": [_describe_task(model, task) for task in model.tasks],
        "module": model.net.get_params_for("module"),
        "max_length": model.tokenizer.max_length,
        "long_text": model.tokenizer.long_text,
        "test_scores": classifier.test_scores_,
        "coverage": {task: vars(each) for task, each in (model.coverage or {}).items()},
        "history": list(model.net.history),
        "calibration_history": model.calibration_history or [],
        "indices": {name: getattr(classifier, name).tolist() for name in INDICES},
        "features": {name: vars(classifier)[name] for name in _FEATURES & vars(classifier).keys()},
    }


def _describe_task(model: FittedModel, task: str) -> dict[str, Any]:
    """Return the name, the classes and everything else about a task as plain data."""
    texts, n_rows = (model.label_texts or {}).get(task), (model.n_rows or {}).get(task)
    threshold = (model.thresholds or {}).get(task)
    return {
        "name": task,
        "temperature": model.temperatures[task],
        **labels_to_plain(model.classes[task]),
        **({} if texts is None else {"label_texts": vars(texts)}),
        **({} if n_rows is None else {"n_rows": n_rows}),
        **({} if threshold is None else {"threshold": threshold}),
    }


def _parameters(classifier) -> dict[str, Any]:
    """Return the constructor parameters as plain data, and warn about those that are not."""
    parameters = classifier.get_params(deep=False)
    config = parameters["config"]
    if config is not None:
        config = classifier._group("config")
        unset = {name: None for name, group in config.get_params(False).items() if group is None}
        parameters["config"] = config.to_dict() | unset
    with_callbacks = parameters.pop("callbacks") or vars(classifier).get("_skl_callbacks")
    left_out = ["callbacks"] if with_callbacks else []
    for name, kind in (("random_state", np.random.RandomState), ("memory", joblib.Memory)):
        if isinstance(parameters[name], kind):
            del parameters[name]
            left_out.append(name)
    if parameters.get("task_labels") is not None:
        parameters["task_labels"] = _plain_task_labels(parameters["task_labels"])
    parameters["label_texts"] = _texts_to_pairs(parameters["label_texts"])
    _check_plain(parameters)
    if left_out:
        warn_user(
            f"The parameters {left_out} contain objects that are not plain data, so they are not "
            "saved. All fitted attributes are saved. Set the parameters again after loading, or "
            "use joblib.dump."
        )
    return parameters


def _plain_task_labels(task_labels) -> dict[str, list[Any]]:
    """Return the labels of each task as a list; fit also accepts sets, Series and other types."""
    check_argument("task_labels", task_labels, mapping_to(array_like()))
    owner = "The 'task_labels' parameter, task "
    return {
        task: [plain_label(label) for label in parameter_labels(labels, f"{owner}{short(task)}")]
        for task, labels in task_labels.items()
    }


def _texts_to_pairs(texts: Any) -> Any:
    """Return label texts with lists of pairs, because JSON has only strings as keys."""
    if not isinstance(texts, dict):
        return texts
    if any(isinstance(each, dict) for each in texts.values()):
        return {task: _texts_to_pairs(each) for task, each in texts.items()}
    return [
        [plain_label(label), each if isinstance(each, str) else list(each)]
        for label, each in texts.items()
    ]


def _texts_from_pairs(texts: Any) -> Any:
    """Return the argument of :func:`_texts_to_pairs`."""
    if isinstance(texts, dict):
        return {task: _texts_from_pairs(each) for task, each in texts.items()}
    return dict(texts) if isinstance(texts, list) else texts


def _check_plain(parameters: dict[str, Any], prefix: str = ""):
    """Raise TypeError for the first parameter that cannot be saved as JSON."""
    for name, value in parameters.items():
        if isinstance(value, dict):
            _check_plain(value, f"{prefix}{name}__")
            continue
        try:
            json.dumps(value, default=_plain)
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(
                f"The {prefix + str(name)!r} parameter cannot be saved as JSON. Got "
                f"{short(value)}. Set it to plain data, or use joblib.dump."
            ) from error


def labels_to_plain(classes: np.ndarray) -> dict[str, Any]:
    """Return the classes of a task as plain data."""
    return {"dtype": classes.dtype.str, "classes": classes.tolist()}


def _plain(value):
    """Convert a value that JSON does not support to one that it supports."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, torch.device | os.PathLike):
        return str(value)
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be saved as JSON.")


# --------------------------------------------------------------------------------------------
# Loading


def load_classifier(kind: type[_Classifier], folder: str | os.PathLike[str]) -> _Classifier:
    """Load a classifier of class `kind` from a folder; see :meth:`MultiheadClassifier.load`."""
    check_argument("folder", folder, path())
    return read_folder(Path(folder), functools.partial(_load, kind))


def load_shared(kinds: list[type[_Classifier]], folder: Path) -> _Classifier:
    """Load a classifier of any of these classes, with weights that processes share.

    The weights are mapped into memory. :meth:`MultiheadClassifier.save` may replace the folder
    meanwhile, but no program may change the file of weights in place.
    """
    return read_folder(folder, functools.partial(_load_any, kinds))


def _load_any(kinds: list[type[_Classifier]], folder: Path) -> _Classifier:
    with _one_error(kinds[0], folder):
        description = json.loads(read_file(folder / DESCRIPTION, _MAX_DESCRIPTION))
        check_format(description)
        saved = description.get("estimator", ESTIMATORS[0])
        kind = next((each for each in kinds if each.__name__ == saved), kinds[0])
    return _load(kind, folder, mapped=True)


def _load(kind: type[_Classifier], folder: Path, *, mapped: bool = False) -> _Classifier:
    """Load a classifier from a folder. Nothing is built until all files have been checked."""
    with _one_error(kind, folder):
        content = read_file(folder / DESCRIPTION, _MAX_DESCRIPTION)
        description = json.loads(content)
        check_format(description)
        checksums = read_checksums(folder)
        verify(checksums, DESCRIPTION, content)
        files = _read_tokenizer(folder, checksums)
        tensors, data = _read_weights(folder, checksums, mapped)
        _check_kind(kind, description.get("estimator", "MultiheadClassifier"))
        check_description(description, tensors)
        weights = {name: _array(layout, data) for name, layout in tensors.items()}
        check_finite(weights)
        parts = {"encoder": description["encoder"], "weights": weights}
        return _restore(kind, description, parts, files)


def _check_kind(kind: type, name: object):
    """Raise ValueError if a classifier of another class was saved."""
    if _name_of(kind) != name and name in ESTIMATORS:
        raise ValueError(f"it was saved by {name}, so use {name}.load")


def _name_of(kind: type) -> str:
    """Return the name of a class, or of the base class if it is a user's subclass."""
    return next(each.__name__ for each in kind.__mro__ if each.__name__ in ESTIMATORS)


def _read_tokenizer(folder: Path, checksums: dict[str, str]) -> dict[str, bytes]:
    """Return the files of the tokenizer by name."""
    names = sorted(path.name for path in (folder / TOKENIZER).iterdir())
    found = {DESCRIPTION, WEIGHTS, *(f"{TOKENIZER}/{name}" for name in names)}
    for name in sorted((found ^ checksums.keys()) - {CARD}):
        raise ValueError(f"{name} does not match the names in checksums.json")
    if len(names) > _MAX_TOKENIZER_FILES:
        raise ValueError(f"its tokenizer has {len(names)} files")
    files, left = {}, _MAX_TOKENIZER
    for name in names:
        files[name] = read_file(folder / TOKENIZER / name, left)
        verify(checksums, f"{TOKENIZER}/{name}", files[name])
        left -= len(files[name])
    return files


def _read_weights(folder, checksums, mapped) -> tuple[dict[str, Layout], np.ndarray]:
    limit = psutil.virtual_memory().total
    start, data = read_tensor_file(folder / WEIGHTS, limit, mapped=mapped)
    verify(checksums, WEIGHTS, start, data)
    return read_header(start, len(data)), data


def _array(layout: Layout, data: np.ndarray) -> np.ndarray:
    """Return a tensor as a view of the data, or as a copy if the view is not aligned."""
    part = data[layout.start : layout.stop]
    if not is_aligned(part):
        copy = aligned_bytes(len(part))
        copy[:] = part
        part = copy
    return part.view(layout.dtype).reshape(layout.shape)


def _restore(
    kind: type[_Classifier],
    description: dict[str, Any],
    parts: dict[str, Any],
    files: dict[str, bytes],
) -> _Classifier:
    classifier = _with_parameters(kind, description["parameters"])
    model = _model(description, parts, files, find_device(classifier.device))
    _check_fits(model)
    _check_predicts(model)
    features = description["features"]
    if "feature_names_in_" in features:
        features["feature_names_in_"] = np.array(features["feature_names_in_"], dtype=object)
    attributes = {
        "model_": model,
        "test_scores_": description["test_scores"],
        "saved_with_": description["versions"],
        **{name: np.array(description["indices"][name], dtype=int) for name in INDICES},
        **features,
    }
    replace_fitted(classifier, attributes)
    return classifier


def _with_parameters(kind: type[_Classifier], parameters: dict[str, Any]) -> _Classifier:
    """Return a classifier with plain parameters, which are checked."""
    parameters = dict(parameters)
    if parameters.get("config") is not None:
        parameters["config"] = MultiheadConfig.from_dict(parameters["config"])
        parameters["config"]._filled()
    if "label_texts" in parameters:
        parameters["label_texts"] = _texts_from_pairs(parameters["label_texts"])
    classifier = kind(**parameters)
    check_parameters(classifier, classifier._constraints)
    return classifier


def _model(description, parts, files, device) -> FittedModel:
    """Return the fitted model that a checked description and weights describe."""
    classes = {task["name"]: classes_from_plain(task) for task in description["tasks"]}
    temperatures = {task["name"]: float(task["temperature"]) for task in description["tasks"]}
    tokenizer = TextTokenizer(
        tokenizer_from_files(files), description["max_length"], description["long_text"]
    )
    net = MultiheadNet.rebuilt(
        parts,
        History(description["history"]),
        **{f"module__{key}": value for key, value in description["module"].items()},
        device=device,
    )
    coverage = {task: Coverage(**each) for task, each in description.get("coverage", {}).items()}
    tasks = {task["name"]: task for task in description["tasks"]}
    texts = {name: task["label_texts"] for name, task in tasks.items() if "label_texts" in task}
    return FittedModel(
        net,
        tokenizer,
        classes,
        temperatures,
        coverage,
        label_texts={name: LabelTextsOfTask(**each) for name, each in texts.items()},
        n_rows={name: task["n_rows"] for name, task in tasks.items() if "n_rows" in task},
        thresholds={
            name: float(task["threshold"]) for name, task in tasks.items() if "threshold" in task
        },
        calibration_history=description.get("calibration_history"),
    )


def _check_fits(model: FittedModel):
    """Raise ValueError if the tokenizer has longer texts or more tokens than the encoder reads."""
    encoder, tokenizer = model.net.module_.encoder, model.tokenizer.tokenizer
    longest = longest_input(encoder, tokenizer)
    if model.tokenizer.max_length > longest:
        raise ValueError(
            f"its 'max_length' is {model.tokenizer.max_length}, but its encoder and tokenizer "
            f"read at most {longest} tokens"
        )
    n_rows = getattr(encoder.config, "vocab_size", None)
    largest = max(tokenizer.get_vocab().values(), default=0)
    if n_rows is not None and largest >= n_rows:
        raise ValueError(f"its tokenizer has token {largest}, but its encoder has only {n_rows}")


def _check_predicts(model: FittedModel):
    """Raise ValueError if the probabilities of one text are not finite.

    Some values in the configuration of an encoder have an effect only when it runs.
    """
    module, n_tasks = model.net.module_, len(model.tasks)
    compiles, module.compiles = module.compiles, False  # compilation would take minutes
    try:
        p = model.probabilities(Texts.of(["a"] * n_tasks), np.arange(n_tasks))
    finally:
        module.compiles = compiles
    if not all(np.isfinite(each).all() for each in p):
        raise ValueError("its probabilities are not finite")


@contextlib.contextmanager
def _one_error(kind: type, folder: Path) -> Iterator[None]:
    """Convert any error about the contents of a folder to a ValueError with one clear message."""
    try:
        yield
    except BaseException as error:
        if not _is_of_contents(error, folder):
            raise
        reason = str(error).strip().rstrip(".").splitlines()
        raise ValueError(
            f"The folder {str(folder)!r} does not contain a valid classifier written by "
            f"{_name_of(kind)}.save: "
            f"{reason[0][:_MAX_REASON] if reason else type(error).__name__}. "
            "Nothing was loaded. Save the classifier again, or pass another folder."
        ) from error


def _is_of_contents(error: BaseException, folder: Path) -> bool:
    """Return whether the contents of a folder, not the state of the machine, caused an error."""
    if not isinstance(error, Exception):
        return type(error).__name__ == "PanicException"  # tokenizers raises it for some files
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return False
    if not isinstance(error, OSError) or error.errno is None:
        return True
    is_inside = error.filename is not None and str(error.filename).startswith(str(folder))
    return is_inside and error.errno in _OF_CONTENTS
