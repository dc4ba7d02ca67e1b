"""Embeddings that outlive a fit: each text is encoded once, by whichever process needs it first."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import joblib
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from .._model import (
    MultiheadModule,
    TextTokenizer,
    describe_encoder,
    take_fingerprint,
    uses_bfloat16,
    weights_digest,
)
from .._typing import MemoryLike
from .guard import Guard

# Texts that are encoded before what is there is stored and others have their turn.
CHUNK = 4096

# Takes texts and returns their embeddings.
Encode: TypeAlias = Callable[[list[str]], NDArray[np.float32]]


def open_cache(
    memory: MemoryLike | None, module: MultiheadModule, tokenizer: TextTokenizer, encode: Encode
) -> EmbeddingCache | None:
    """Open the embeddings that a folder has of an encoder, a tokenizer and a length.

    Parameters
    ----------
    memory : str, path-like, joblib.Memory or None
        Where they are; nowhere for None.
    module : MultiheadModule
        Its encoder, pooling and precision are part of what an embedding depends on.
    tokenizer : TextTokenizer
        So are its files and its length.
    encode : callable
        Takes a list of texts and returns their embeddings.

    Returns
    -------
    memory : EmbeddingCache or None
        None where there is no memory.
    """
    # Even without a memory: from here on the weights may change.
    fingerprint = take_fingerprint(module.encoder)
    folder = _folder(memory)
    if folder is None:
        return None
    parts = {
        "encoder": describe_encoder(module.encoder),
        "weights": weights_digest(module.encoder, fingerprint),
        # What is kept of attention is what it starts from.
        "pooling": "mean" if module.pooling == "attention" else module.pooling,
        "bfloat16": uses_bfloat16(module.precision, next(module.parameters()).device.type),
        "max_length": tokenizer.max_length,
        "long_text": tokenizer.long_text,
        "tokenizer": {
            name: hashlib.sha256(content).hexdigest() for name, content in tokenizer.files().items()
        },
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    # Not the bare digest: `joblib.Memory.reduce_size` would take it for one of its own.
    store = EmbeddingStore(folder / f"encoder-{digest[:32]}", module.encoder.config.hidden_size)
    return EmbeddingCache(store, encode, Guard(module))


def _folder(memory: MemoryLike | None) -> Path | None:
    """Return where the embeddings of a memory are; `memory.clear()` removes them too."""
    if memory is None:
        return None
    if isinstance(memory, str | os.PathLike):
        backend = joblib.Memory(os.fspath(memory), verbose=0).store_backend
    else:
        backend = memory.store_backend
    return None if backend is None else Path(backend.location, "rapidfit_sk")


class EmbeddingCache:
    """Embeddings of an encoder that outlive a fit, right as long as the encoder stays as it is.

    Parameters
    ----------
    store : EmbeddingStore
        Has the embeddings that were computed before.
    encode : callable
        Takes a list of texts and returns their embeddings.
    guard : Guard
        Notices when the encoder changes.
    """

    def __init__(self, store: EmbeddingStore, encode: Encode, guard: Guard):
        self.store = store
        self.encode = encode
        self.guard = guard

    def is_stale(self) -> bool:
        """Return whether the encoder may have changed since."""
        return self.guard.is_stale()

    def filled_by(self, encode: Encode) -> EmbeddingCache:
        """Return the same memory for another net that shares the encoder."""
        return EmbeddingCache(self.store, encode, self.guard)

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the embeddings of distinct texts; each is encoded once, by whoever asks first."""
        return self.store.embed(texts, self.encode)


class EmbeddingStore:
    """A growing table of text -> embedding in a folder that processes share.

    Parameters
    ----------
    folder : Path
        Where it is; it is made when something is stored.
    width : int
        Width of an embedding.

    Notes
    -----
    ``keys`` has 16 bytes for each text, the beginning of its BLAKE2b hash, and ``embeddings`` its
    row of float32. Rows are only ever added, under a lock, and a key after its embedding: who
    reads meanwhile, or after a process that was killed, sees complete rows only. Where a file is
    shorter than the other one, as after a power failure, the rows that both have count.
    """

    def __init__(self, folder: Path, width: int):
        self.folder = folder
        self.width = width
        # The keys, their order, and the state of the files that they were read in.
        self._index: tuple[np.ndarray, np.ndarray, list] = np.empty(0, "S16"), np.empty(0, int), []

    def embed(self, texts: list[str], encode: Encode) -> NDArray[np.float32]:
        """Return the embeddings of some texts, and keep those that are new.

        Parameters
        ----------
        texts : list of str
            Distinct texts.
        encode : callable
            Takes a list of texts and returns their embeddings. While it runs, other processes
            that miss a text wait, for it may be the same one.

        Returns
        -------
        embeddings : ndarray of float32, shape (n_texts, width)
            One for each text.
        """
        keys = _keys(texts)
        rows = self._find(keys)
        while (rows < 0).any():
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "lock"):
                rows = self._find(keys)
                missing = np.flatnonzero(rows < 0)[:CHUNK]
                if len(missing):
                    self._append(keys[missing], encode([texts[i] for i in missing]))
            rows = self._find(keys)
        if not len(rows):
            return np.empty((0, self.width), np.float32)
        return self._rows()[rows]

    def _find(self, keys: np.ndarray) -> NDArray[np.int64]:
        """Return the row of each key, -1 where there is none."""
        known, order = self._known_keys()
        if not len(known):
            return np.full(len(keys), -1)
        place = np.searchsorted(known, keys, sorter=order)
        rows = order[np.minimum(place, len(order) - 1)]
        return np.where(known[rows] == keys, rows, -1)

    def _known_keys(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys of the complete rows and their order; read where a file has changed."""
        files = self.folder / "keys", self.folder / "embeddings"
        try:
            states = [path.stat() for path in files]
            state = [(s.st_ino, s.st_size, s.st_mtime_ns) for s in states]
            known, order, seen = self._index
            if state == seen:
                return known, order
            n = min(states[0].st_size // 16, states[1].st_size // (4 * self.width))
            known = np.fromfile(files[0], "S16", count=n)
        except FileNotFoundError:
            return np.empty(0, "S16"), np.empty(0, int)
        order = np.argsort(known)
        self._index = known, order, state
        return known, order

    def _rows(self) -> NDArray[np.float32]:
        shape = (len(self._known_keys()[0]), self.width)
        return np.memmap(self.folder / "embeddings", np.float32, "r", shape=shape)

    def _append(self, keys: np.ndarray, embeddings: np.ndarray):
        """Add rows behind the complete ones; what an interrupted process left there goes."""
        n = len(self._known_keys()[0])
        for name, size, new in (("embeddings", 4 * self.width, embeddings), ("keys", 16, keys)):
            with open(self.folder / name, "ab") as file:
                file.truncate(n * size)
                file.write(np.ascontiguousarray(new).tobytes())
                file.flush()
                os.fsync(file.fileno())


def _keys(texts: list[str]) -> np.ndarray:
    """Hash texts to 16 bytes each."""
    digests = (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for text in texts
    )
    return np.frombuffer(b"".join(digests), "S16")
