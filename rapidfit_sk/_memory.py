"""Embeddings that outlive a fit: each text is encoded once, by whichever process needs it first."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import joblib
import numpy as np
from filelock import FileLock

from ._encoders import describe_encoder, take_source, tokenizer_to_files, weights_digest
from ._module import is_lowered

# Texts that are encoded before what is there is stored and others have their turn.
CHUNK = 4096


def open_store(memory, module, tokenizer) -> EmbeddingStore | None:
    """Open the embeddings that a folder has of an encoder, a tokenizer and a length.

    Parameters
    ----------
    memory : str, path-like, joblib.Memory or None
        Where they are; nowhere for None.
    module : MultiheadModule
        Its encoder, pooling and precision are part of what an embedding depends on.
    tokenizer : TextTokenizer
        So are its files and its length.

    Returns
    -------
    store : EmbeddingStore or None
        None where there is no memory.
    """
    # Even without a memory: from here on the weights may change.
    source = take_source(module.encoder)
    folder = _folder(memory)
    if folder is None:
        return None
    parts = {
        "encoder": describe_encoder(module.encoder),
        "weights": weights_digest(module.encoder, source),
        "pooling": module.pooling,
        "bfloat16": is_lowered(module.precision, next(module.parameters()).device.type),
        "max_length": tokenizer.max_length,
        "tokenizer": {
            name: hashlib.sha256(content).hexdigest()
            for name, content in tokenizer_to_files(tokenizer.tokenizer).items()
        },
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return EmbeddingStore(folder / digest[:32], module.encoder.config.hidden_size)


def _folder(memory) -> Path | None:
    """Return where the embeddings of a memory are; `memory.clear()` removes them too."""
    if memory is None:
        return None
    if not hasattr(memory, "store_backend"):
        memory = joblib.Memory(memory, verbose=0)
    backend = memory.store_backend
    return None if backend is None else Path(backend.location, "rapidfit_sk")


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
    reads meanwhile, or after a process that was killed, sees complete rows only.
    """

    def __init__(self, folder, width):
        self.folder = folder
        self.width = width

    def embed(self, texts, encode) -> np.ndarray:
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

    def _find(self, keys) -> np.ndarray:
        """Return the row of each key, -1 where there is none."""
        known = self._known_keys()
        if not len(known):
            return np.full(len(keys), -1)
        order = np.argsort(known)
        place = np.searchsorted(known, keys, sorter=order)
        rows = order[np.minimum(place, len(order) - 1)]
        return np.where(known[rows] == keys, rows, -1)

    def _known_keys(self) -> np.ndarray:
        path = self.folder / "keys"
        if not path.exists():
            return np.empty(0, "S16")
        content = path.read_bytes()
        return np.frombuffer(content[: len(content) // 16 * 16], "S16")

    def _rows(self) -> np.ndarray:
        shape = (len(self._known_keys()), self.width)
        return np.memmap(self.folder / "embeddings", np.float32, "r", shape=shape)

    def _append(self, keys, embeddings):
        """Add rows behind the complete ones; what an interrupted process left there goes."""
        n = len(self._known_keys())
        for name, size, new in (("embeddings", 4 * self.width, embeddings), ("keys", 16, keys)):
            with open(self.folder / name, "ab") as file:
                file.truncate(n * size)
                file.write(np.ascontiguousarray(new).tobytes())


def _keys(texts) -> np.ndarray:
    """Hash texts to 16 bytes each."""
    digests = (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for text in texts
    )
    return np.frombuffer(b"".join(digests), "S16")
