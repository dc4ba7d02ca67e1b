"""Save and load a fitted classifier as weights, JSON and tokenizer files, without pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import joblib
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from skorch.history import History

from ._fitted import FittedModel
from ._fitting import find_device
from ._model import TextTokenizer, module_to_parts, tokenizer_from_files, tokenizer_to_files
from ._training import MultiheadNet
from ._validation import warn_user
from .config import MultiheadConfig, ParameterGroup

FORMAT = "rapidfit_sk classifier"
FORMAT_VERSION = 1
WEIGHTS, DESCRIPTION, CHECKSUMS, TOKENIZER = (
    "model.safetensors",
    "classifier.json",
    "checksums.json",
    "tokenizer",
)
_FEATURES = {"feature_names_in_", "n_features_in_"}
_INDICES = ("train_indices_", "val_indices_", "test_indices_")
# Attributes that fitting and loading set.
FITTED = {"model_", "test_scores_", "saved_with_", *_INDICES, *_FEATURES}

# The type of a MultiheadClassifier, which cannot be imported here: its module imports this one.
_Classifier = TypeVar("_Classifier", bound=ParameterGroup)


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a saved classifier depends on."""
    libraries = ("numpy", "scikit-learn", "skorch", "torch", "transformers")
    own = {"rapidfit_sk": sys.modules[__package__].__version__}
    return own | {name: version(name) for name in libraries}


# --------------------------------------------------------------------------------------------
# Conversion to and from plain data


def save_classifier(classifier: Any, folder: str | os.PathLike[str]):
    """Save a fitted classifier to a folder; see :meth:`MultiheadClassifier.save`."""
    model = classifier.model_
    parts = module_to_parts(model.net.module_)
    description = _describe(classifier, model) | {"encoder": parts["encoder"]}
    files = tokenizer_to_files(model.tokenizer.tokenizer)

    def write(into: Path):
        save_file(parts["weights"], into / WEIGHTS)
        (into / DESCRIPTION).write_text(json.dumps(description, indent=1, default=_plain))
        (into / TOKENIZER).mkdir()
        for name, content in files.items():
            (into / TOKENIZER / name).write_bytes(content)
        (into / CHECKSUMS).write_text(json.dumps(_checksums(into), indent=1))

    _replace_folder(Path(folder), write)


def load_classifier(kind: type[_Classifier], folder: str | os.PathLike[str]) -> _Classifier:
    """Load a classifier of class `kind` from a folder; see :meth:`MultiheadClassifier.load`."""
    path = _folder_to_read(Path(folder).resolve())
    with _one_error(path):
        description = json.loads((path / DESCRIPTION).read_text())
        _check_format(description)
        _check_files(path)
        files = {file.name: file.read_bytes() for file in (path / TOKENIZER).iterdir()}
        parts = {"encoder": description["encoder"], "weights": load_file(path / WEIGHTS)}
        return _restore(kind, description, parts, files)


def _describe(classifier, model: FittedModel) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": library_versions(),
        "parameters": _parameters(classifier),
        "tasks": [
            {"name": task, "temperature": model.temperatures[task], **_labels_to_plain(classes)}
            for task, classes in model.classes.items()
        ],
        "module": model.net.get_params_for("module"),
        "max_length": model.tokenizer.max_length,
        "long_text": model.tokenizer.long_text,
        "test_scores": classifier.test_scores_,
        "history": list(model.net.history),
        "indices": {name: getattr(classifier, name).tolist() for name in _INDICES},
        "features": {name: vars(classifier)[name] for name in _FEATURES & vars(classifier).keys()},
    }


def _restore(
    kind: type[_Classifier],
    description: dict[str, Any],
    parts: dict[str, Any],
    files: dict[str, bytes],
) -> _Classifier:
    parameters = dict(description["parameters"])
    if parameters["config"] is not None:
        parameters["config"] = MultiheadConfig.from_dict(parameters["config"])
    classifier = kind(**parameters)
    classes = {task["name"]: _labels_from_plain(task) for task in description["tasks"]}
    if [len(each) for each in classes.values()] != description["module"]["n_classes"]:
        raise ValueError("its tasks and classes do not match its heads")
    net = MultiheadNet.rebuilt(
        parts,
        History(description["history"]),
        **{f"module__{key}": value for key, value in description["module"].items()},
        device=find_device(classifier.device),
    )
    tokenizer = TextTokenizer(
        tokenizer_from_files(files), int(description["max_length"]), description["long_text"]
    )
    temperatures = {task["name"]: float(task["temperature"]) for task in description["tasks"]}
    features = description["features"]
    if "feature_names_in_" in features:
        features["feature_names_in_"] = np.array(features["feature_names_in_"], dtype=object)
    classifier._replace_fitted(
        model_=FittedModel(net, tokenizer, classes, temperatures),
        test_scores_=description["test_scores"],
        saved_with_=description["versions"],
        **{name: np.array(description["indices"][name], dtype=int) for name in _INDICES},
        **{name: features[name] for name in _FEATURES & set(features)},
    )
    return classifier


def _parameters(classifier) -> dict[str, Any]:
    """Return the constructor parameters as plain data, and warn about those that are not."""
    parameters = classifier.get_params(deep=False)
    config = parameters["config"]
    if config is not None:
        unset = {name: None for name, group in config.get_params(False).items() if group is None}
        parameters["config"] = config.to_dict() | unset
    with_callbacks = parameters.pop("callbacks") or vars(classifier).get("_skl_callbacks")
    left_out = ["callbacks"] if with_callbacks else []
    for name, kind in (("random_state", np.random.RandomState), ("memory", joblib.Memory)):
        if isinstance(parameters[name], kind):
            del parameters[name]
            left_out.append(name)
    if left_out:
        warn_user(
            f"The parameters {left_out} contain objects that are not plain data, so they are not "
            "saved. All fitted attributes are saved. Set the parameters again after loading, or "
            "use joblib.dump."
        )
    return parameters


def _labels_to_plain(classes) -> dict[str, Any]:
    return {"dtype": classes.dtype.str, "classes": classes.tolist()}


def _labels_from_plain(task) -> np.ndarray:
    return np.array(task["classes"], dtype=np.dtype(task["dtype"]))


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
# Folders


def _checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the weights, the description and each tokenizer file."""
    paths = [folder / WEIGHTS, folder / DESCRIPTION, *(folder / TOKENIZER).iterdir()]
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in sorted(paths)}


def _sha256(path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_files(folder):
    expected = json.loads((folder / CHECKSUMS).read_text())
    found = _checksums(folder)
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise ValueError(f"{name} does not match {CHECKSUMS}")


def _check_format(description):
    if description["format"] != FORMAT:
        raise ValueError(f"its format is {description['format']!r}, not {FORMAT!r}")
    if description["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"its format version is {description['format_version']}, but this version of "
            f"rapidfit_sk supports at most {FORMAT_VERSION}; upgrade rapidfit_sk"
        )


@contextlib.contextmanager
def _one_error(folder: Path) -> Iterator[None]:
    """Convert any error about the contents of a folder to a ValueError with one clear message."""
    try:
        yield
    except (PermissionError, torch.OutOfMemoryError):
        raise  # the contents of the folder are not the cause
    except (
        ArithmeticError,
        AttributeError,
        ImportError,
        LookupError,
        OSError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"The folder {str(folder)!r} does not contain a valid classifier written by "
            "MultiheadClassifier.save: "
            f"{reason.splitlines()[0] if reason else type(error).__name__}. "
            "Nothing was loaded. Save the classifier again, or pass another folder."
        ) from error


def _backup_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before-save")


def _folder_to_read(folder: Path) -> Path:
    """Return the folder, or its backup if a save was interrupted between its two renames."""
    if folder.exists():
        return folder
    if _backup_of(folder).exists():
        return _backup_of(folder)
    raise FileNotFoundError(
        f"There is no folder {str(folder)!r}. Pass a folder that MultiheadClassifier.save wrote."
    )


def _replace_folder(folder: Path, write: Callable[[Path], None]):
    """Write a new folder next to `folder`, and replace `folder` by it once it is complete."""
    folder = folder.resolve()
    backup = _backup_of(folder)
    if backup.exists() and not folder.exists():
        backup.rename(folder)
    _check_may_replace(folder)
    new = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        new.mkdir(parents=True)
        write(new)
        if folder.exists():
            shutil.copymode(folder, new)  # keep restrictive permissions
        shutil.rmtree(backup, ignore_errors=True)
        if folder.exists():
            folder.rename(backup)
        new.rename(folder)
    finally:
        if backup.exists() and not folder.exists():
            backup.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(backup, ignore_errors=True)


def _check_may_replace(folder: Path):
    """Raise ValueError unless there is no such folder, or it is empty or an earlier save."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file. Pass a folder to save to.")
    if folder == Path.cwd() or folder.is_mount():
        raise ValueError(
            f"The folder {str(folder)!r} is the working directory or a mount point, which cannot "
            "be replaced as a whole. Pass a folder inside it."
        )
    strangers = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    if strangers and (folder / CHECKSUMS).is_file():
        with contextlib.suppress(ValueError, OSError):
            ours = {*json.loads((folder / CHECKSUMS).read_text()), CHECKSUMS}
            strangers = [name for name in strangers if name not in ours]
    if strangers:
        raise ValueError(
            f"The folder {str(folder)!r} contains files that MultiheadClassifier.save did not "
            f"write ({', '.join(map(repr, strangers[:3]))}). Saving would replace the whole "
            "folder. Pass another folder, or empty this one."
        )
