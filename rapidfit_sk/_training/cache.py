"""Embedding cache: embeddings of the pretrained encoder that outlive a fit."""

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
        None if there is no memory.
    """
    # Take it even without a memory: once the weights have changed, it no longer describes them.
    fingerprint = take_fingerprint(module.encoder)
    folder = _folder(memory)
    if folder is None:
        return None
    parts = {
        "encoder": describe_encoder(module.encoder),
        "weights": weights_digest(module.encoder, fingerprint),
        # Attention pooling without a learned query gives the mean, so both share cached embeddings.
        "pooling": "mean" if module.pooling == "attention" else module.pooling,
        "bfloat16": uses_bfloat16(module.precision, next(module.parameters()).device.type),
        "max_length": tokenizer.max_length,
        "long_text": tokenizer.long_text,
        "tokenizer": {
            name: hashlib.sha256(content).hexdigest() for name, content in tokenizer.files().items()
        },
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    # With a bare digest as its name, `joblib.Memory.reduce_size` would treat it as a joblib item.
    store = EmbeddingStore(folder / f"encoder-{digest[:32]}", module.encoder.config.hidden_size)
    return EmbeddingCache(store, encode, Guard(module))


def _folder(memory: MemoryLike | None) -> Path | None:
    """Return the folder for the embeddings of a memory; `memory.clear()` also removes it."""
    if memory is None:
        return None
    if isinstance(memory, str | os.PathLike):
        backend = joblib.Memory(os.fspath(memory), verbose=0).store_backend
    else:
        backend = memory.store_backend
    return None if backend is None else Path(backend.location, "rapidfit_sk")


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

    def filled_by(self, encode: Encode) -> EmbeddingCache:
        """Return a cache with the same store that computes missing embeddings with `encode`."""
        return EmbeddingCache(self.store, encode, self.guard)

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the embeddings of distinct texts, each encoded once among all processes."""
        return self.store.embed(texts, self.encode)


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
    The file ``keys`` has the BLAKE2b hash of each text, 16 bytes long, and ``embeddings`` a row of
    float32. Rows are only added, under a lock, and each key is written after its embedding.
    Readers therefore find only complete rows, even during a write or after a process was killed.
    If one file is shorter than the other, as after a power failure, only the rows that both files
    have are used.
    """

    def __init__(self, folder: Path, width: int):
        self.folder = folder
        self.width = width
        # The keys, their sort order, and the state of the files when the keys were read.
        self._index: tuple[np.ndarray, np.ndarray, list] = np.empty(0, "S16"), np.empty(0, int), []

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
        """Return the row number of each key, -1 for a missing key."""
        known, order = self._known_keys()
        if not len(known):
            return np.full(len(keys), -1)
        place = np.searchsorted(known, keys, sorter=order)
        rows = order[np.minimum(place, len(order) - 1)]
        return np.where(known[rows] == keys, rows, -1)

    def _known_keys(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys of complete rows and their sort order, read again if a file changed."""
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
        """Append rows, overwriting incomplete ones that an interrupted process left."""
        n = len(self._known_keys()[0])
        for name, size, new in (("embeddings", 4 * self.width, embeddings), ("keys", 16, keys)):
            with open(self.folder / name, "ab") as file:
                file.truncate(n * size)
                file.write(np.ascontiguousarray(new).tobytes())
                file.flush()
                os.fsync(file.fileno())


def _keys(texts: list[str]) -> np.ndarray:
    """Compute a 16-byte hash of each text."""
    digests = (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for text in texts
    )
    return np.frombuffer(b"".join(digests), "S16")
