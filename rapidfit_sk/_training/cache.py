"""Embedding cache: embeddings of the pretrained encoder that outlive a fit."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import psutil
from filelock import FileLock
from numpy.typing import NDArray

from .._model import (
    MultiheadModule,
    TextTokenizer,
    describe_encoder,
    embedding_width,
    take_fingerprint,
    weights_digest,
)
from .._typing import MemoryLike
from .._validation import InvalidParameterError, warn_user
from .guard import Guard

# Version of the file format. Caches in another format are ignored.
FORMAT = 2

# Record of a row of embeddings: the hash of its text and the checksum of the row.
RECORD = np.dtype([("key", "S16"), ("checksum", "S16")])

# Reasons why a folder cannot exist, in contrast to one that cannot be written at the moment.
IMPOSSIBLE = (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)

# Memory that is needed to sort the records, as a multiple of their size.
_INDEX_COPIES = 3

# Number of texts encoded before they are stored and other processes can take the lock.
CHUNK = 4096

# Takes texts and returns their embeddings.
Encode: TypeAlias = Callable[[list[str]], NDArray[np.float32]]


def open_cache(
    memory: MemoryLike | None, module: MultiheadModule, tokenizer: TextTokenizer, encode: Encode
) -> EmbeddingCache | None:
    """Open the embedding cache for an encoder and a tokenizer.

    Parameters
    ----------
    memory : str, path-like, joblib.Memory or None
        The location of the cache; None for no cache.
    module : MultiheadModule
        The module. Embeddings with another encoder, pooling or precision are cached separately.
    tokenizer : TextTokenizer
        The tokenizer. Embeddings with other tokenizer files, another maximum length or another
        treatment of long texts are cached separately.
    encode : callable
        Takes a list of texts and returns their embeddings.

    Returns
    -------
    cache : EmbeddingCache or None
        None if there is no memory, or if its folder cannot be created at the moment.

    Raises
    ------
    InvalidParameterError
        If the folder can never be created, such as a folder inside a file.

    Warns
    -----
    UserWarning
        If the folder cannot be created at the moment, such as on a full disk.
    """
    # Take it even without a memory: once the weights have changed, it no longer describes them.
    fingerprint = take_fingerprint(module.encoder)
    folder = None if memory is None else _open_folder(memory)
    if folder is None:
        return None
    parts = {
        "format": FORMAT,
        "encoder": describe_encoder(module.encoder),
        "weights": weights_digest(module.encoder, fingerprint),
        # Attention pooling without a learned query gives the mean, so both share cached embeddings.
        "pooling": "mean" if module.pooling == "attention" else module.pooling,
        "bfloat16": module.precision == "bfloat16",
        "max_length": tokenizer.max_length,
        "long_text": tokenizer.long_text,
        "tokenizer": {
            name: hashlib.sha256(content).hexdigest() for name, content in tokenizer.files().items()
        },
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    # With a bare digest as its name, `joblib.Memory.reduce_size` would treat it as a joblib item.
    store = EmbeddingStore(folder / f"encoder-{digest[:32]}", embedding_width(module.encoder))
    return EmbeddingCache(store, encode, Guard(module))


def _open_folder(memory: MemoryLike) -> Path | None:
    """Create the folder for the embeddings of a memory; return None if there is no folder."""
    folder = _folder(memory)
    if folder is None:
        return None
    try:
        # A relative path would mean another folder after a change of the working directory.
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno in IMPOSSIBLE:
            raise InvalidParameterError(
                "The 'memory' parameter of MultiheadClassifier must be the path of a folder that "
                f"can be created, a joblib.Memory or None. Got {memory!r} instead."
            ) from error
        warn_user(_unusable(folder, error))
        return None
    # joblib also keeps its caches out of git.
    with contextlib.suppress(OSError), open(folder / ".gitignore", "x") as file:
        file.write("*\n")
    return folder


def _folder(memory: MemoryLike) -> Path | None:
    """Return the folder for the embeddings of a memory; `memory.clear()` also removes it."""
    if isinstance(memory, str | os.PathLike):
        # The location of `joblib.Memory(memory)`, which cannot be asked because it writes files.
        return Path(os.path.expanduser(os.fsdecode(memory)), "joblib", "rapidfit_sk")
    backend = memory.store_backend
    return None if backend is None else Path(backend.location, "rapidfit_sk")


def _unusable(folder: Path, error: Exception) -> str:
    """Return the message for a folder that cannot be read or written."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return (
        f"The embedding cache in '{folder}' cannot be used: {reason}. New embeddings are computed "
        "without storing them. Make the folder writable, free space on its disk, or set 'memory' "
        "to another folder."
    )


def _open(path: Path, mode: str) -> contextlib.AbstractContextManager[Any]:
    """Open a regular file; a pipe in its place would wait for another process."""
    return open(path, mode, buffering=0 if mode == "rb" else -1, opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{Path(path).name!r} is not a regular file")
    return descriptor


class EmbeddingCache:
    """Embedding cache of an encoder, valid until the encoder changes.

    Parameters
    ----------
    store : EmbeddingStore
        The embeddings that are already cached.
    encode : callable
        Takes a list of texts and returns their embeddings.
    guard : Guard
        Detects changes to the encoder.
    """

    def __init__(self, store: EmbeddingStore, encode: Encode, guard: Guard):
        self.store = store
        self.encode = encode
        self.guard = guard

    def is_stale(self) -> bool:
        """Check whether the encoder may have changed since the cache was opened."""
        return self.guard.is_stale()

    def moved_to(self, module: MultiheadModule, encode: Encode) -> EmbeddingCache | None:
        """Return the cache of a module that has the same encoder; None if this one is stale."""
        if self.is_stale():
            return None
        return EmbeddingCache(self.store, encode, Guard(module))

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the embeddings of distinct texts, each encoded once among all processes."""
        return self.store.embed(texts, self.encode)


class _Index(NamedTuple):
    """Records of a store, sorted by key, and the state of the files when they were read."""

    keys: np.ndarray
    checksums: np.ndarray
    rows: np.ndarray
    state: list[tuple[int, int, int]]


class EmbeddingStore:
    """Append-only table of text embeddings in a folder that processes share.

    Parameters
    ----------
    folder : Path
        The folder of the table, created when the first embedding is stored.
    width : int
        Width of an embedding.

    Notes
    -----
    The file ``embeddings`` has rows of float32. The file ``keys`` has a record for each row: the
    BLAKE2b hash of the text and a BLAKE2b checksum of the row, 16 bytes each. The checksum also
    depends on the text and on the name of the folder, so a row in the wrong place is detected.

    Rows are only added, under a lock, and each record is written after its row. Readers therefore
    find only complete rows, even during a write or after a process was killed. If one file is
    shorter than the other, as after a power failure, only the rows that both files have are used.
    A text whose row is damaged is encoded again and gets a new row; the last record of a text
    counts.

    If the folder cannot be read or written, there is one warning, and from then on the store
    returns embeddings without storing new ones.
    """

    def __init__(self, folder: Path, width: int):
        self.folder = folder
        self.width = width
        self._index: _Index | None = None
        self._stores = True
        self._is_damaged = False
        self._warnings: list[str] = []
        self._salt = hashlib.blake2b(os.fsencode(folder.name), digest_size=16).digest()

    def embed(self, texts: list[str], encode: Encode) -> NDArray[np.float32]:
        """Return the embeddings of some texts, and store the new ones.

        Parameters
        ----------
        texts : list of str
            Distinct texts.
        encode : callable
            Takes a list of texts and returns their embeddings. While it runs, other processes
            with missing texts wait, because they may need the same texts.

        Returns
        -------
        embeddings : ndarray of float32, shape (n_texts, width)
            The embedding of each text.

        Warns
        -----
        UserWarning
            Once per store if rows are damaged, and once if the folder cannot be read or written.
        """
        keys = _keys(texts)
        embeddings = np.empty((len(texts), self.width), "<f4")
        missing = self._read(keys, embeddings, np.arange(len(texts)))
        while len(missing):
            with self._lock():
                if self._stores:
                    missing = self._read(keys, embeddings, missing)
                chunk, missing = missing[:CHUNK], missing[CHUNK:]
                if len(chunk):
                    embeddings[chunk] = encode([texts[i] for i in chunk])
                    self._append(keys[chunk], embeddings[chunk])
        self._warn()
        return embeddings

    # ----------------------------------------------------------------------------------------
    # Faults

    @contextlib.contextmanager
    def _surviving_faults(self) -> Iterator[None]:
        """Report the first fault of the folder, and store nothing after it."""
        try:
            yield
        # The lock raises a NotImplementedError on file systems that have no locks. Damaged files
        # may have any size.
        except (OSError, NotImplementedError, MemoryError) as error:
            if self._stores:
                self._stores = False
                self._warnings.append(_unusable(self.folder, error))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the lock of the folder, or go without it if nothing can be stored."""
        lock = None
        with self._surviving_faults():
            if self._stores:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(self.folder / "lock")
                lock.acquire()
        try:
            yield
        finally:
            if lock is not None:
                with self._surviving_faults():
                    lock.release()

    def _report_damage(self) -> None:
        """Report damaged rows, once."""
        if not self._is_damaged:
            self._is_damaged = True
            self._warnings.append(
                f"The embedding cache in '{self.folder}' has damaged rows. Their texts are encoded "
                "again. If this happens again, check the disk or delete the folder."
            )

    def _warn(self) -> None:
        """Warn about the faults since the last warning, when the lock is no longer held."""
        messages, self._warnings = self._warnings, []
        for message in messages:
            warn_user(message)

    # ----------------------------------------------------------------------------------------
    # Reads

    def _read(
        self, keys: np.ndarray, embeddings: NDArray[np.float32], places: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Fill in the stored embeddings at some places, and return the other places."""
        is_missing = np.ones(len(keys), bool)
        is_damaged = False
        # Other processes may delete the files at any time.
        with self._surviving_faults(), contextlib.suppress(FileNotFoundError):
            rows, checksums = self._find(keys[places])
            with _open(self.folder / "embeddings", "rb") as file:
                # A memory map would be faster, but a read error in it kills the process.
                for i in np.argsort(rows, kind="stable")[np.count_nonzero(rows < 0) :]:
                    place = places[i]
                    file.seek(4 * self.width * int(rows[i]))
                    file.readinto(embeddings[place])
                    checksum = self._checksum(keys[place], embeddings[place])
                    is_missing[place] = checksum != checksums[i]
                    is_damaged |= is_missing[place]
        if is_damaged:
            self._report_damage()
        return places[is_missing[places]]

    def _find(self, keys: np.ndarray) -> tuple[NDArray[np.int64], np.ndarray]:
        """Return the last row number of each key, -1 for a missing key, and its checksum."""
        index = self._read_index()
        if not len(index.keys):
            return np.full(len(keys), -1), np.empty(len(keys), "S16")
        places = np.searchsorted(index.keys, keys, side="right") - 1
        rows = np.where(index.keys[places] == keys, index.rows[places], -1)
        return rows, index.checksums[places]

    def _read_index(self) -> _Index:
        """Return the records of complete rows, read again if a file changed."""
        files = self.folder / "keys", self.folder / "embeddings"
        states = [path.stat() for path in files]
        state = [(s.st_ino, s.st_size, s.st_mtime_ns) for s in states]
        if self._index is not None and self._index.state == state:
            return self._index
        n = min(states[0].st_size // RECORD.itemsize, states[1].st_size // (4 * self.width))
        n_bytes = n * RECORD.itemsize
        if _INDEX_COPIES * n_bytes > psutil.virtual_memory().available:
            raise MemoryError(f"its index of {n_bytes} bytes does not fit in memory")
        with _open(files[0], "rb") as file:
            records = np.fromfile(file, RECORD, count=n)
        order = np.argsort(records["key"], kind="stable")
        keys, checksums = records["key"][order], records["checksum"][order]
        self._index = index = _Index(keys, checksums, order, state)
        return index

    def _checksum(self, key: bytes, embedding: NDArray[np.float32]) -> bytes:
        """Compute the checksum of a row."""
        digest = hashlib.blake2b(embedding.data, digest_size=16, key=key, salt=self._salt).digest()
        # numpy also strips trailing zeros from a string.
        return digest.rstrip(b"\0")

    # ----------------------------------------------------------------------------------------
    # Writes

    def _append(self, keys: np.ndarray, embeddings: NDArray[np.float32]) -> None:
        """Append rows, overwriting incomplete ones that an interrupted process left."""
        if not self._stores:
            return
        records = np.empty(len(keys), RECORD)
        records["key"] = keys
        records["checksum"] = list(map(self._checksum, keys, embeddings))
        paths = self.folder / "embeddings", self.folder / "keys"
        with (
            self._surviving_faults(),
            _open(paths[0], "ab") as rows,
            _open(paths[1], "ab") as known,
        ):
            n = min(rows.tell() // (4 * self.width), known.tell() // RECORD.itemsize)
            known.truncate(n * RECORD.itemsize)
            rows.truncate(n * 4 * self.width)
            for file, new in ((rows, embeddings), (known, records)):
                file.write(new.tobytes())
                file.flush()
                os.fsync(file.fileno())


def _keys(texts: list[str]) -> np.ndarray:
    """Compute a 16-byte hash of each text."""
    digests = (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for text in texts
    )
    return np.frombuffer(b"".join(digests), "S16")
