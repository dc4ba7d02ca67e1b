"""Folders that are replaced as a whole, and files that are read once and verified."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import TypeVar

import numpy as np

from ._forks import held_at_fork

try:
    import fcntl

    HAS_LOCKS = True
except ImportError:  # Windows
    HAS_LOCKS = False

CHECKSUMS = "checksums.json"
# Bytes at which a tensor starts, as in memory that torch allocates. The last bits of a product can
# depend on it.
ALIGNMENT = 64
# Number of times that a folder is read while others may replace it, before they have to wait.
_ATTEMPTS = 20
_MAX_WAITS = 60_000  # of ten milliseconds; a save holds the lock for much less
_MAX_CHECKSUMS, _MAX_HEADER = 2**20, 16 * 2**20
_MAX_STEM = 128  # bytes; file systems allow names of 255 bytes

# Threads take turns even on file systems without locks. A thread that reads a folder may fork.
_TURN = held_at_fork(threading.RLock())

_Result = TypeVar("_Result")


# --------------------------------------------------------------------------------------------
# Reading


def read_folder(folder: Path, read: Callable[[Path], _Result]) -> _Result:
    """Call `read` on a folder, again if the folder is replaced or removed meanwhile.

    Parameters
    ----------
    folder : Path
        A folder that :func:`replace_folder` wrote.
    read : callable
        Function that reads the folder. It must raise an OSError or a ValueError if files are
        missing or do not belong together.

    Returns
    -------
    result : object
        The result of `read`, all from one state of the folder.

    Raises
    ------
    FileNotFoundError
        If there is neither the folder nor the backup that an interrupted save leaves.
    ValueError
        If there can be no such folder.
    """
    folder = _resolved(folder)
    for _ in range(_ATTEMPTS):
        path = _folder_to_read(folder)
        if path is None:
            break  # no such folder, or another process is between its two renames
        before = identity(path)
        try:
            return read(path)
        except (OSError, ValueError):
            # A backup that is being removed may have lost files of its subfolders only.
            if (path, before) == (_folder_to_read(folder), identity(path)):
                raise
    with _turn(folder.parent):
        path = _folder_to_read(folder)
        if path is not None:
            return read(path)
    raise FileNotFoundError(
        f"There is no folder {str(folder)!r}. Pass a folder that 'save' wrote to load a "
        "classifier, and one that 'export_onnx' wrote to predict without torch."
    )


def _folder_to_read(folder: Path) -> Path | None:
    """Return the folder, or its backup if a save was interrupted between its two renames."""
    return next((path for path in (folder, _backup_of(folder)) if path.exists()), None)


def _resolved(folder: Path) -> Path:
    """Return the path of a folder without symbolic links; raise ValueError if it cannot be one."""
    resolved = Path(os.path.realpath(folder))
    if not resolved.name:
        raise ValueError(
            f"The folder {str(folder)!r} is the root of a file system, which cannot be a saved "
            "classifier. Pass a folder inside it."
        )
    if _is_too_long(resolved):
        raise ValueError(
            f"The path {str(folder)!r} is too long for its file system. Pass a shorter one."
        )
    for path in (resolved, *resolved.parents):
        if path.is_symlink():
            raise ValueError(
                f"The folder {str(folder)!r} cannot be found, because the symbolic link "
                f"{str(path)!r} leads back to itself. Remove the link, or pass another folder."
            )
    return resolved


def _is_too_long(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def identity(path: Path) -> tuple[int, int, int] | None:
    """Return values that differ between a folder and another one that takes its place."""
    try:
        status = path.stat()
    except OSError:
        return None
    # A new folder may get the inode of a removed one, but not its time.
    return status.st_dev, status.st_ino, status.st_ctime_ns


@contextlib.contextmanager
def _open_regular(path: Path, limit: int) -> Iterator[tuple[FileIO, int]]:
    """Open a regular file, and yield it with its size; other kinds could block or never end."""
    _check_regular(path, path.stat(), limit)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    # The file may have been replaced by one of another kind, so its kind is checked again.
    with open(os.open(path, flags), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        _check_regular(path, status, limit)
        yield file, status.st_size


def _check_regular(path, status, limit):
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is not a regular file")
    if status.st_size > limit:
        raise ValueError(f"{path.name} has {status.st_size} bytes, but at most {limit} are allowed")


def read_file(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes."""
    with _open_regular(path, limit) as (file, size):
        return _fill(file, bytearray(size))


def read_tensor_file(path: Path, limit: int, *, mapped: bool = False) -> tuple[bytes, np.ndarray]:
    """Return the start of a safetensors file and its data, without a second copy of the data.

    Parameters
    ----------
    path : Path
        A regular file.
    limit : int
        Maximum size of the file in bytes.
    mapped : bool, default=False
        Whether to map the data instead of reading it. Processes then share its pages until one of
        them writes. A mapped file must not be changed in place.

    Returns
    -------
    start : bytes
        The length of the header (8 bytes) and the header.
    data : ndarray of uint8
        All other bytes, in aligned memory; a mapped file decides about the alignment.
    """
    with _open_regular(path, limit) as (file, size):
        start = _fill(file, bytearray(min(8, size)))
        n_header = int.from_bytes(start, "little")
        if size < 8 or n_header > min(size - 8, _MAX_HEADER):
            raise ValueError(f"{path.name} is not a safetensors file")
        start += _fill(file, bytearray(n_header))
        if mapped and size > len(start):
            return start, np.memmap(file, np.uint8, "c", offset=len(start))
        data = aligned_bytes(size - len(start))
        _fill(file, data)
        return start, data


def _fill(file, buffer):
    """Read from a file until a buffer is full, and return it; arrays are filled, too."""
    view = memoryview(buffer)
    while len(view):
        n_read = file.readinto(view)
        if not n_read:
            raise ValueError(f"{Path(file.name).name} was truncated while it was read")
        view = view[n_read:]
    return bytes(buffer) if isinstance(buffer, bytearray) else buffer


def aligned_bytes(n: int) -> np.ndarray:
    """Return an array of `n` bytes in memory that is aligned as torch aligns it."""
    array = np.empty(n + ALIGNMENT, np.uint8)
    offset = -array.ctypes.data % ALIGNMENT
    return array[offset : offset + n]


def is_aligned(array: np.ndarray) -> bool:
    """Check whether the memory of an array is aligned as torch aligns it."""
    return array.ctypes.data % ALIGNMENT == 0


def hash_of(checksums: dict[str, str]) -> str:
    """Return one hash of the files that have these checksums."""
    return hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()


def read_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder, as its file of checksums has them."""
    checksums = json.loads(read_file(folder / CHECKSUMS, _MAX_CHECKSUMS))
    if not isinstance(checksums, dict):
        raise ValueError(f"{CHECKSUMS} does not contain an object")
    return checksums


def verify(checksums: dict[str, str], name: str, *parts: bytes | np.ndarray):
    """Raise ValueError if the SHA-256 of the parts of a file is not the expected one."""
    if checksums.get(name) != _sha256(*parts):
        raise ValueError(f"{name} does not match {CHECKSUMS}")


def verify_file(checksums: dict[str, str], path: Path):
    """Raise ValueError if the SHA-256 of a file, which is not read as a whole, is another one."""
    with _open_regular(path, sys.maxsize) as (file, _):
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if checksums.get(path.name) != digest:
        raise ValueError(f"{path.name} does not match {CHECKSUMS}")


def _sha256(*parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


# --------------------------------------------------------------------------------------------
# Writing


def write_checksums(folder: Path):
    """Write the SHA-256 of all files of a folder, except the file of checksums, into the folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    checksums = {
        path.relative_to(folder).as_posix(): _sha256_of_file(path)
        for path in paths
        if path.name != CHECKSUMS
    }
    (folder / CHECKSUMS).write_text(json.dumps(checksums, indent=1))


def _sha256_of_file(path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_folder(folder: Path, write: Callable[[Path], None], marker: str):
    """Write a new folder next to `folder`, and replace `folder` by it once it is complete.

    If the process is killed or the machine stops at any time, there is either the old folder or
    the new one, whole. It may be under the name of the backup, which :func:`read_folder` finds.

    Parameters
    ----------
    folder : Path
        The folder to replace. It may be missing or empty, or an earlier result.
    write : callable
        Function that writes all files into a folder.
    marker : str
        Name of a file that each earlier result contains. A folder of another kind, such as a saved
        classifier instead of an exported one, is not replaced.

    Raises
    ------
    ValueError
        If the folder contains other files, or cannot be replaced.
    TimeoutError
        If other processes do not release the lock of the parent folder for ten minutes.
    """
    folder = _resolved(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _turn(folder.parent):
        _restore_backup(folder)
        _check_may_replace(folder, marker)  # before the work of writing
        _remove_stale(folder)
    with _new_folder(folder) as new:
        write(new)
        for path in [*new.rglob("*"), new]:
            sync(path)
        with _turn(folder.parent):
            _restore_backup(folder)
            _check_may_replace(folder, marker)
            _swap(new, folder)


def _hidden(folder: Path, ending: str) -> Path:
    """Return the path of a hidden folder next to `folder`; a hash replaces a long name."""
    name = os.fsencode(folder.name)
    stem = folder.name if len(name) <= _MAX_STEM else _sha256(name)
    return folder.with_name(f".{stem}.{ending}")


def _backup_of(folder: Path) -> Path:
    return _hidden(folder, "before-save")


def _restore_backup(folder: Path):
    backup = _backup_of(folder)
    if backup.exists() and not folder.exists():
        backup.rename(folder)


def _remove_backup(folder: Path):
    """Remove the backup of a folder, unless it is all that is left of the folder."""
    if folder.exists():
        shutil.rmtree(_backup_of(folder), ignore_errors=True)


def _swap(new: Path, folder: Path):
    """Rename a folder to `folder`, whose former content is restored if that fails."""
    _remove_backup(folder)
    try:
        if folder.exists():
            shutil.copymode(folder, new)  # keep restrictive permissions
            folder.rename(_backup_of(folder))
        new.rename(folder)
        # The backup is only removed once the renames would survive a failure of the machine.
        sync(folder.parent)
    finally:
        _restore_backup(folder)
        _remove_backup(folder)


def sync(path: Path):
    """Wait until a file, or the names in a folder, are on the disk."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return  # Windows cannot open folders
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot do this for folders.
        if not is_folder or error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _check_may_replace(folder: Path, marker: str):
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
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )
    if strangers and (folder / CHECKSUMS).is_file():
        with contextlib.suppress(ValueError, RecursionError):
            ours = {*read_checksums(folder), CHECKSUMS}
            strangers = [name for name in strangers if name not in ours]
    if strangers:
        raise ValueError(
            f"The folder {str(folder)!r} contains files that MultiheadClassifier.save did not "
            f"write ({', '.join(map(repr, strangers[:3]))}). Saving would replace the whole "
            "folder. Pass another folder, or empty this one."
        )
    if (folder / CHECKSUMS).exists() and not (folder / marker).exists():
        raise ValueError(
            f"The folder {str(folder)!r} contains no {marker}, so it is something else that "
            "rapidfit_sk has written, such as a saved classifier, an encoder or an exported "
            "classifier. It would be lost. Pass another folder, or remove this one."
        )


# --------------------------------------------------------------------------------------------
# Locks. A process that writes a new folder holds the lock of this folder, so a new folder whose
# lock is free is left from a process that was killed.


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a new, locked folder next to `folder`, and remove it if it is still there."""
    while True:
        new = _hidden(folder, uuid.uuid4().hex)
        new.mkdir()
        try:
            lock = _lock(new)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process took the folder for a stale one before it was locked
        except OSError:
            lock = None  # this file system has no locks
        if lock is None or _is_at(new, lock):
            break
        _unlock(lock)
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)
        _unlock(lock)


def _remove_stale(folder: Path):
    """Remove new folders of saves to `folder` that were killed."""
    name = re.compile(re.escape(_hidden(folder, "").name) + "[0-9a-f]{32}")
    for path in folder.parent.iterdir() if HAS_LOCKS else ():
        if name.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                lock = _lock(path)
                shutil.rmtree(path, ignore_errors=True)
                _unlock(lock)


@contextlib.contextmanager
def _turn(parent: Path) -> Iterator[None]:
    """Context for changes in `parent`: one thread at a time, and one process if it has locks."""
    lock = _wait_for_lock(parent)
    try:
        with _TURN:
            yield
    finally:
        _unlock(lock)


def _wait_for_lock(folder: Path) -> int | None:
    """Return a descriptor that holds the lock of a folder; None without support."""
    for _ in range(_MAX_WAITS):
        try:
            return _lock(folder)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            return None  # this file system has no locks
    raise TimeoutError(
        f"Another process holds the lock of the folder {str(folder)!r} for too long. Stop it, or "
        "use a folder with another parent folder."
    )


def _lock(folder: Path) -> int | None:
    """Lock a folder, and return a descriptor that holds the lock; None without support.

    Raises
    ------
    BlockingIOError
        If another descriptor holds the lock.
    """
    if not HAS_LOCKS:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unlock(descriptor: int | None):
    if descriptor is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Check whether a path still leads to the folder of a descriptor, or cannot be checked."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError as error:
        return not isinstance(error, FileNotFoundError)
