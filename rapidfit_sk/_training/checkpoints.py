"""Checkpoints of a fit, from which a fit that was killed continues."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors.numpy import load, save

from .._folders import sync
from .._validation import short
from .distributed import Ranks

FORMAT_VERSION = 3
_FILE, _LOCK = "checkpoint.safetensors", "checkpoint.lock"
_DIGEST_SIZE = 32

# Data, parameters and versions that a fit depends on, by name, as plain data.
Fingerprint: TypeAlias = dict[str, Any]


class Calibration(NamedTuple):
    """Result of a calibration fit.

    Attributes
    ----------
    temperatures : dict of {str: float}
        The temperature of each task.
    history : list of dict
        Its epochs.
    """

    temperatures: dict[str, float]
    history: list[dict[str, Any]]


# Seeds, calibration and state of the training in a checkpoint, or None for each of them.
_State: TypeAlias = tuple[list[int] | None, Calibration | None, dict[str, Any] | None]


class Checkpoints:
    """Checkpoints of one fit in a folder. The folder holds only the last one.

    If several processes train together, only the first one reads and writes the folder.

    Parameters
    ----------
    folder : Path
        The folder.
    fingerprint : dict
        What the fit depends on, as plain data.
    n_steps : int or None
        Number of optimizer steps after which a checkpoint is written within an epoch; None for
        checkpoints at the end of each epoch only.
    report : callable or None
        Takes a message for the user.

    Attributes
    ----------
    seeds : list of int or None
        The seeds of the fit, once they are known.
    calibration : Calibration or None
        The result of the calibration fit, once it has finished.
    training : dict or None
        The state of the current training, from :func:`training_state`; None if it has not started.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint, n_steps: int | None, report=None):
        self.folder = folder
        self.fingerprint = fingerprint
        self.n_steps = n_steps
        self.report = report or (lambda sentence: None)
        self.ranks = Ranks.current()
        self.seeds: list[int] | None = None
        self.calibration: Calibration | None = None
        self.training: dict[str, Any] | None = None

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path, *args: Any) -> Iterator[Self]:
        """Open a folder for one fit at a time, and read its checkpoint if there is one.

        Raises
        ------
        OSError
            If the folder cannot be created or written.
        ValueError
            If another fit uses the folder, or its checkpoint belongs to another fit or is damaged.
        """
        checkpoints = cls(folder, *args)
        with contextlib.ExitStack() as stack:
            state = checkpoints.ranks.from_first(lambda: checkpoints._open(stack))
            checkpoints.seeds, checkpoints.calibration, checkpoints.training = state
            yield checkpoints

    def _open(self, stack: contextlib.ExitStack) -> _State:
        """Lock the folder until the stack is closed, and read its checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(
                f"Another fit is writing checkpoints to {str(self.folder)!r}. Pass another folder "
                "as 'checkpoint_dir', one for each fit that runs at the same time."
            ) from error
        stack.callback(lock.release)
        for unfinished in self.folder.glob(f"{_FILE}.*.tmp"):
            unfinished.unlink()  # left by a process that was killed
        return self._read()

    def start(self, seeds: list[int]) -> list[int]:
        """Return the seeds in the checkpoint, or the given seeds if there is no checkpoint."""
        self.seeds = self.seeds or seeds
        return self.seeds

    def finish_calibration(self, calibration: Calibration):
        """Store the result of the calibration fit, which then does not run again."""
        self.calibration, self.training = calibration, None
        self._write()

    def update(self, training: dict[str, Any]):
        """Replace the checkpoint by one with this state of the training."""
        self.training = training
        self._write()
        self.training = None  # it refers to the weights and moments that go on training

    def is_due(self, n_steps: int) -> bool:
        """Check whether to write a checkpoint after this number of steps of an epoch."""
        return self.n_steps is not None and n_steps % self.n_steps == 0

    # ----------------------------------------------------------------------------------------
    # File

    def _write(self):
        """Write the checkpoint to a new file, which replaces the old one once it is complete."""
        if not self.ranks.is_first:
            return
        state = {
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "seeds": self.seeds,
            "calibration": None if self.calibration is None else list(self.calibration),
            "training": self.training,
        }
        content = to_bytes(state)
        new = self.folder / f"{_FILE}.{os.getpid()}.tmp"
        try:
            with open(new, "wb") as file:
                file.write(content)
                file.write(_digest(content))
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.folder / _FILE)
            sync(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise OSError(
                error.errno,
                f"A checkpoint could not be written: {error.strerror}. The last complete one, if "
                "there is one, is not changed. Check the space and the permissions of the folder "
                "in 'checkpoint_dir', and fit again to continue",
                str(self.folder),
            ) from error

    def _read(self) -> _State:
        """Read the checkpoint of the folder, if there is one."""
        path = self.folder / _FILE
        if not path.exists():
            return None, None, None
        content = path.read_bytes()
        payload, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
        if _digest(payload) != digest:
            raise self._error("is damaged")
        state = from_bytes(payload)
        if state["format_version"] != FORMAT_VERSION:
            raise self._error("was written by another version of rapidfit_sk")
        different = _first_difference(state["fingerprint"], self.fingerprint)
        if different:
            raise self._error(f"belongs to another fit: {different}")
        self.report(f"Continuing the fit whose checkpoint is in {str(self.folder)!r}.")
        calibration = state["calibration"]
        known = None if calibration is None else Calibration(*calibration)
        return state["seeds"], known, state["training"]

    def _error(self, problem) -> ValueError:
        return ValueError(
            f"The checkpoint in {str(self.folder)!r} {problem}. To continue that fit, pass the "
            "same data and parameters. To start a new fit, pass another folder as "
            "'checkpoint_dir', or delete this one."
        )


def remove_checkpoint(folder: Path):
    """Remove the checkpoint of a finished fit, if that is possible."""
    for name in (_FILE, _LOCK):
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def _digest(content) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()


def _first_difference(before: Fingerprint, now: Fingerprint) -> str | None:
    """Return a sentence about the first difference of two fingerprints, or None."""
    for name in {**now, **before}:
        was, is_now = before.get(name), now.get(name)
        if was == is_now:
            continue
        if name.startswith("the "):  # a hash, which says nothing to a reader
            return f"{name} differ"
        return f"{name!r} was {was} and is {is_now} now"
    return None


# --------------------------------------------------------------------------------------------
# Plain data


def to_bytes(value: Any) -> bytes:
    """Return nested plain data and tensors in the format of safetensors, without pickle.

    Raises
    ------
    TypeError
        If a value is neither plain data nor an array. The message states its place.
    """
    arrays: dict[str, np.ndarray] = {}
    structure = json.dumps(_flattened(value, arrays, "state"))
    return save({**arrays, _NO_ARRAY: np.zeros(0)}, metadata={"structure": structure})


def from_bytes(content: bytes) -> Any:
    """Return the value that :func:`to_bytes` wrote."""
    n = int.from_bytes(content[:8], "little")
    structure = json.loads(content[8 : 8 + n])["__metadata__"]["structure"]
    return _restored(json.loads(structure), load(content))


# Some versions of safetensors need an array.
_NO_ARRAY = "none"


def _flattened(value: Any, arrays: dict[str, np.ndarray], place: str) -> Any:
    """Return a value for JSON, with the names of its arrays instead of the arrays."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict and all(type(key) in (bool, int, float, str) for key in value):
        items = [[key, _flattened(each, arrays, f"{place}/{key}")] for key, each in value.items()]
        return {"dict": items}
    if type(value) in (list, tuple, set):
        items = [_flattened(each, arrays, f"{place}/{i}") for i, each in enumerate(value)]
        return items if type(value) is list else {type(value).__name__: items}
    kind, array = _as_array(value)
    if array is None:
        raise TypeError(
            f"A checkpoint cannot store {place}, {short(value)} ({type(value).__name__}). Keep "
            "numbers, strings, arrays, or lists, tuples, sets and dicts of them in callbacks, "
            "leave the attribute out of `__getstate__`, or set 'checkpoint_dir' to None."
        )
    name = str(len(arrays))
    arrays[name] = np.ascontiguousarray(array)
    return {kind: name, "shape": array.shape}


def _as_array(value: Any) -> tuple[str, np.ndarray | None]:
    """Return the kind of an array or a tensor and its values, or None for any other value."""
    if isinstance(value, torch.Tensor):
        has_dtype = value.dtype not in (torch.bfloat16, torch.complex64, torch.complex128)
        return "tensor", value.detach().cpu().numpy() if has_dtype else None
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        return "array", value
    return "array", None


def _restored(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return the value that :func:`_flattened` converted."""
    if isinstance(value, list):
        return [_restored(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {key: _restored(each, arrays) for key, each in value["dict"]}
    for kind in (tuple, set):
        if kind.__name__ in value:
            return kind(_restored(each, arrays) for each in value[kind.__name__])
    (form, name), (_, shape) = value.items()
    array = arrays[name].reshape(shape).copy()
    return torch.from_numpy(array) if form == "tensor" else array
