"""With faults of the disk, the embedding cache warns and returns the true embeddings."""

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest

from rapidfit_sk import EncoderConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk._training import cache
from rapidfit_sk._training.cache import RECORD, EmbeddingStore
from rapidfit_sk._validation import InvalidParameterError
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.testing import tiny_encoder

# With this width, a record and a row have the same size, so both files have the same size, too.
WIDTH = RECORD.itemsize // 4
TEXTS = [f"text {i}" for i in range(50)]
NEW = [f"new text {i}" for i in range(5)]
DAMAGED = "has damaged rows"
UNUSABLE = "cannot be used"


def true_embeddings(texts, width=WIDTH):
    """Return embeddings that depend on every character of a text."""
    seeds = (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts)
    return np.array([np.random.default_rng(seed).normal(size=width) for seed in seeds], np.float32)


class Encoder:
    """Encoder that logs the texts that it encodes."""

    def __init__(self, factor=1.0):
        self.texts = []
        self.factor = factor

    def __call__(self, texts):
        self.texts.extend(texts)
        return np.float32(self.factor) * true_embeddings(texts)


def embed(store, texts, encode=None):
    """Check the embeddings of some texts, and return the messages of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embeddings = store.embed(texts, encode or Encoder())
    np.testing.assert_array_equal(embeddings, true_embeddings(texts))
    return [str(warning.message) for warning in caught]


def check_intact(folder, texts):
    """Check that a new store finds all texts without a warning."""
    encode = Encoder()
    assert embed(EmbeddingStore(folder, WIDTH), texts, encode) == []
    assert encode.texts == []


@pytest.fixture
def folder(tmp_path):
    """Folder of a store that has `TEXTS`."""
    embed(EmbeddingStore(tmp_path / "store", WIDTH), TEXTS)
    return tmp_path / "store"


# --------------------------------------------------------------------------------------------
# Corrupted files


def flip(data, rng, at=None):
    at = rng.integers(8 * len(data)) if at is None else at % (8 * len(data))
    changed = bytearray(data)
    changed[at // 8] ^= 1 << (at % 8)
    return bytes(changed)


def overwrite(data, rng, block, unit=1):
    """Overwrite a place with a block; `unit` is what the place is a multiple of."""
    at = unit * int(rng.integers((len(data) - len(block)) // unit + 1))
    return data[:at] + block + data[at + len(block) :]


def cut(data, rng, unit=1):
    """Return a part of some data of up to a quarter of its length, and the rest."""
    length = unit * int(rng.integers(1, len(data) // unit // 4))
    at = unit * int(rng.integers((len(data) - length) // unit + 1))
    return data[at : at + length], data[:at] + data[at + length :]


def insert(data, rng, block):
    at = int(rng.integers(len(data) + 1))
    return data[:at] + block + data[at:]


def swap_halves(data, shift=0):
    half = len(data) // 2 + shift
    return data[half:] + data[:half]


def move_halves(data, half):
    rows = np.frombuffer(data, np.uint8).reshape(-1, ROW).copy()
    rows[:, half] = np.roll(rows[:, half], 1, axis=0)
    return rows.tobytes()


ROW = RECORD.itemsize

# Each corruption is a function of the content of a file and a random generator. None deletes it.
CORRUPTIONS = {
    **{f"bit {at}": lambda data, rng, at=at: flip(data, rng, at) for at in range(-3, 3)},
    **{f"random bit {i}": flip for i in range(30)},
    **{f"{n} bits": lambda data, rng, n=n: _repeat(flip, n)(data, rng) for n in (2, 10, 100)},
    **{
        f"truncated by {n}": lambda data, rng, n=n: data[:-n]
        for n in (1, 4, 16, ROW - 1, ROW, ROW + 1, 10 * ROW, 20 * ROW + 5)
    },
    **{f"truncated {i}": lambda data, rng: data[: rng.integers(len(data))] for i in range(5)},
    **{
        f"zeros {n}": lambda data, rng, n=n: overwrite(data, rng, bytes(n))
        for n in (1, 4, 16, ROW, 100, 512, 1024)
    },
    **{
        f"zeroed row {i}": lambda data, rng: overwrite(data, rng, bytes(ROW), ROW) for i in range(3)
    },
    **{
        f"random bytes {n}": lambda data, rng, n=n: overwrite(data, rng, rng.bytes(n))
        for n in (1, 4, 16, ROW, 100, 512)
    },
    "zeros": lambda data, rng: bytes(len(data)),
    "ones": lambda data, rng: b"\xff" * len(data),
    "swapped halves": lambda data, rng: swap_halves(data),
    "swapped halves, shifted": lambda data, rng: swap_halves(data, 7),
    # Each half of a record, which is a key or a checksum, moves to the next record.
    "moved first halves": lambda data, rng: move_halves(data, slice(None, ROW // 2)),
    "moved second halves": lambda data, rng: move_halves(data, slice(ROW // 2, None)),
    "reversed rows": lambda data, rng: b"".join(reversed(_rows(data))),
    **{
        f"shuffled rows {i}": lambda data, rng: b"".join(_shuffled(_rows(data), rng))
        for i in range(3)
    },
    **{
        f"repeated block {i}": lambda data, rng: overwrite(data, rng, cut(data, rng)[0])
        for i in range(3)
    },
    **{
        f"repeated rows {i}": lambda data, rng: overwrite(data, rng, cut(data, rng, ROW)[0], ROW)
        for i in range(5)
    },
    **{
        f"inserted block {i}": lambda data, rng: insert(data, rng, cut(data, rng)[0])
        for i in range(3)
    },
    **{f"lost block {i}": lambda data, rng: cut(data, rng)[1] for i in range(3)},
    **{f"lost rows {i}": lambda data, rng: cut(data, rng, ROW)[1] for i in range(3)},
    **{
        f"appended {n} bytes": lambda data, rng, n=n: data + rng.bytes(n)
        for n in (1, 16, ROW, 10 * ROW)
    },
    "appended itself": lambda data, rng: data + data,
    "emptied": lambda data, rng: b"",
    "deleted": lambda data, rng: None,
}


def _repeat(corrupt, n):
    def repeated(data, rng):
        for _ in range(n):
            data = corrupt(data, rng)
        return data

    return repeated


def _rows(data):
    return [data[at : at + ROW] for at in range(0, len(data), ROW)]


def _shuffled(rows, rng):
    return [rows[i] for i in rng.permutation(len(rows))]


def corrupt(folder, names, change, seed):
    """Corrupt some files of a store."""
    rng = np.random.default_rng(seed)
    for name in names:
        data = change((folder / name).read_bytes(), rng)
        if data is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(data)


FILES = {"keys": ["keys"], "embeddings": ["embeddings"], "both": ["keys", "embeddings"]}


@pytest.mark.parametrize("is_open", [False, True], ids=["new store", "open store"])
@pytest.mark.parametrize("names", FILES.values(), ids=FILES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupted_files(folder, name, names, is_open):
    """After any corruption, the embeddings are true and the next store finds all of them."""
    store = EmbeddingStore(folder, WIDTH)
    if is_open:
        embed(store, TEXTS[::2])
    corrupt(folder, names, CORRUPTIONS[name], seed=len(name) + 100 * is_open)
    messages = embed(store, NEW + TEXTS[::-1])
    assert len(messages) <= 1
    assert all(DAMAGED in message and str(folder) in message for message in messages)
    check_intact(folder, TEXTS + NEW)


def exchange(one, other):
    """Exchange the contents of two files."""
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])


def test_exchanged_files(folder):
    """Exchanging the two files, which have the same size, changes no embeddings."""
    exchange(folder / "keys", folder / "embeddings")
    embed(EmbeddingStore(folder, WIDTH), TEXTS)
    check_intact(folder, TEXTS)


@pytest.mark.parametrize("names", FILES.values(), ids=FILES)
def test_files_of_another_encoder(folder, names):
    """Files from the folder of another encoder are not used, although the texts are the same."""
    other = folder.with_name("other")
    EmbeddingStore(other, WIDTH).embed(TEXTS, Encoder(factor=2))
    for name in names:
        exchange(folder / name, other / name)
    assert len(embed(EmbeddingStore(folder, WIDTH), TEXTS)) == 1
    check_intact(folder, TEXTS)


def test_a_store_warns_once_about_damage(folder):
    """One warning names the folder, however often damaged rows are found."""
    store = EmbeddingStore(folder, WIDTH)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            corrupt(folder, ["embeddings"], lambda data, rng: swap_halves(data), seed=0)
            store.embed(TEXTS, Encoder())
    (warning,) = caught
    assert DAMAGED in str(warning.message)
    assert str(folder) in str(warning.message)
    assert warning.filename == __file__


def test_only_damaged_rows_are_encoded_again(folder):
    """One flipped bit costs one text."""
    corrupt(folder, ["embeddings"], lambda data, rng: flip(data, rng, 8 * (7 * ROW + 2)), seed=0)
    encode = Encoder()
    assert len(embed(EmbeddingStore(folder, WIDTH), TEXTS, encode)) == 1
    assert encode.texts == [TEXTS[7]]


@pytest.mark.filterwarnings(f"ignore:.*{DAMAGED}")
def test_threads_repair_a_row_once(folder):
    """Stores that find the same damaged rows encode each text once."""
    corrupt(folder, ["embeddings"], lambda data, rng: swap_halves(data), seed=0)
    encode, barrier = Encoder(), threading.Barrier(4)

    def read(_):
        barrier.wait()
        return EmbeddingStore(folder, WIDTH).embed(TEXTS, encode)

    with ThreadPoolExecutor(4) as pool:
        for embeddings in pool.map(read, range(4)):
            np.testing.assert_array_equal(embeddings, true_embeddings(TEXTS))
    assert sorted(encode.texts) == sorted(TEXTS)


def test_reading_during_writes(folder):
    """A reader finds only complete rows while another store appends some."""
    writer, reader = EmbeddingStore(folder, WIDTH), EmbeddingStore(folder, WIDTH)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [writer.embed([f"{i}"], Encoder()) for i in range(100)])
        while not writing.done():
            # filterwarnings turns a warning about damaged rows into an error.
            np.testing.assert_array_equal(reader.embed(TEXTS, Encoder()), true_embeddings(TEXTS))
        writing.result()
    check_intact(folder, [f"{i}" for i in range(100)])


class Hangs(BaseException):
    """Raised in the main thread when a store waits for a pipe."""


def hang(*args):
    raise Hangs


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs alarms and pipes")
@pytest.mark.parametrize("name", ["embeddings", "keys"])
@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)],
    ids=["pipe", "folder", "endless device"],
)
def test_other_kinds_of_files(folder, name, make):
    """Something else in the place of a file is reported, and not waited for."""
    (folder / name).unlink()
    make(folder / name)
    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(60)  # only so that a pipe that is waited for fails this test
    try:
        (message,) = embed(EmbeddingStore(folder, WIDTH), [*TEXTS, *NEW])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert UNUSABLE in message


@pytest.mark.skipif(sys.platform != "linux", reason="needs sparse files")
def test_files_that_do_not_fit_in_memory(folder):
    """Files that are larger than the memory are reported, and not read."""
    for name in ("embeddings", "keys"):
        os.truncate(folder / name, 2**41)
    (message,) = embed(EmbeddingStore(folder, WIDTH), [*TEXTS, *NEW])
    assert UNUSABLE in message
    assert "does not fit in memory" in message


def test_too_little_memory(folder, monkeypatch):
    """If the index does not get the memory that seems to be free, the store warns and goes on."""

    def refuse(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(np, "fromfile", refuse)
    (message,) = embed(EmbeddingStore(folder, WIDTH), [*TEXTS, *NEW])
    assert "cannot be used: MemoryError." in message


# --------------------------------------------------------------------------------------------
# Failing calls


class Disk:
    """Disk whose operations call `before` with the number of operations so far.

    A write is two operations, because it may fail after a part of the data.
    """

    def __init__(self, monkeypatch, before):
        self.before = before
        self.n = itertools.count()
        replaced = [(Path, "mkdir"), (np, "fromfile"), (os, "fsync"), (cache.FileLock, "acquire")]
        for owner, name in replaced:
            monkeypatch.setattr(owner, name, self.step_before(getattr(owner, name)))
        monkeypatch.setattr(cache, "open", self.open, raising=False)

    def step(self):
        self.before(next(self.n))

    def step_before(self, function):
        def called(*args, **kwargs):
            self.step()
            return function(*args, **kwargs)

        return called

    @contextlib.contextmanager
    def open(self, *args, **kwargs):
        self.step()
        with open(*args, **kwargs) as file:
            yield OpenFile(file, self)


class OpenFile:
    """File whose operations are steps of a disk."""

    def __init__(self, file, disk):
        self.file = file
        self.disk = disk

    def __getattr__(self, name):
        method = getattr(self.file, name)
        return method if name == "fileno" else self.disk.step_before(method)

    def write(self, data):
        self.disk.step()
        self.file.write(data[: len(data) // 2 + 3])
        self.file.flush()
        self.disk.step()
        self.file.write(data[len(data) // 2 + 3 :])


def count_steps(folder, monkeypatch):
    """Return the number of operations in which a store finds one text and appends others."""
    with monkeypatch.context() as patch:
        disk = Disk(patch, before=lambda n: None)
        embed(EmbeddingStore(folder, WIDTH), [TEXTS[0], *NEW])
    return next(disk.n)


# A test below checks the number of operations.
STEPS = range(26)


def test_number_of_steps(folder, monkeypatch):
    """The tests of failing calls cover every operation of a read with an append."""
    assert count_steps(folder, monkeypatch) == len(STEPS)


@pytest.mark.parametrize("lasts", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("step", STEPS)
def test_failing_calls(folder, monkeypatch, step, code, lasts):
    """If any call fails, one warning gives the reason and stored rows are not damaged."""

    def fail(n):
        if n == step or (lasts and n > step):
            raise OSError(code, os.strerror(code))

    store = EmbeddingStore(folder, WIDTH)
    with monkeypatch.context() as patch:
        Disk(patch, before=fail)
        messages = embed(store, [TEXTS[0], *NEW]) + embed(store, [TEXTS[1], "another", *NEW])
    assert len(messages) == 1
    for words in (UNUSABLE, str(folder), os.strerror(code)):
        assert words in messages[0]
    check_intact(folder, TEXTS)
    embed(EmbeddingStore(folder, WIDTH), NEW)
    check_intact(folder, TEXTS + NEW)


@pytest.mark.parametrize("step", STEPS)
def test_interrupts(folder, monkeypatch, step):
    """An interrupt at any step damages no stored rows and releases the lock."""

    def interrupt(n):
        if n == step:
            raise KeyboardInterrupt

    store = EmbeddingStore(folder, WIDTH)
    with monkeypatch.context() as patch:
        Disk(patch, before=interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.embed([TEXTS[0], *NEW], Encoder())
    check_intact(folder, TEXTS)
    assert embed(EmbeddingStore(folder, WIDTH), TEXTS + NEW) == []
    check_intact(folder, TEXTS + NEW)


def test_killed_writers(folder, tmp_path, monkeypatch):
    """Wherever a writer is killed, the files that it leaves are a complete store."""
    # A process that is killed before a step leaves the files as they are then.
    copies = []

    def copy(n):
        copies.append(tmp_path / str(n) / folder.name)
        copy_files(folder, copies[-1])

    with monkeypatch.context() as patch:
        Disk(patch, before=copy)
        embed(EmbeddingStore(folder, WIDTH), [TEXTS[0], *NEW])
    assert len(copies) == len(STEPS)
    for left in copies:
        check_intact(left, TEXTS)
        assert embed(EmbeddingStore(left, WIDTH), NEW + TEXTS) == []
        check_intact(left, TEXTS + NEW)


def copy_files(source, target):
    """Copy the files of a folder without calls that the tests replace."""
    os.makedirs(target)
    for name in os.listdir(source):
        with open(source / name, "rb") as old, open(target / name, "wb") as new:
            new.write(old.read())


def test_later_failures_do_not_warn_again(folder, monkeypatch):
    """After a failed append, the store reads stored texts and no longer tries to store any."""

    def fail(n):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = EmbeddingStore(folder, WIDTH)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        assert len(embed(store, NEW)) == 1
    encode = Encoder()
    assert embed(store, [*TEXTS, "another"], encode) == []
    assert encode.texts == ["another"]
    assert embed(store, ["another"], encode) == []
    assert encode.texts == ["another"] * 2


@pytest.mark.parametrize("name", ["keys", "embeddings", "lock"])
def test_folders_in_place_of_files(tmp_path, name):
    """A folder in place of a file is a fault like any other."""
    (tmp_path / "store" / name).mkdir(parents=True)
    (message,) = embed(EmbeddingStore(tmp_path / "store", WIDTH), TEXTS)
    assert UNUSABLE in message


def test_errors_of_the_encoder_are_raised(folder):
    """An OSError of the encoder is not a fault of the cache."""

    def encode(texts):
        raise OSError("the encoder")

    with pytest.raises(OSError, match="the encoder"):
        EmbeddingStore(folder, WIDTH).embed(NEW, encode)
    check_intact(folder, TEXTS)


FULL_DISK = """
import resource, sys, warnings
from pathlib import Path
import numpy as np
from rapidfit_sk._training.cache import EmbeddingStore

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
encode = lambda texts: np.array([[float(text)] * 8 for text in texts], np.float32)
texts = [str(i) for i in range(10_000)]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = EmbeddingStore(Path(sys.argv[1]), 8).embed(texts, encode)
print(len(caught), (found == encode(texts)).all())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
def test_limit_of_file_size(tmp_path):
    """If the system refuses a write halfway, the rows of earlier chunks are kept."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "store"), str(5000 * ROW + 7)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "True"], done.stderr
    known = [str(i) for i in range(cache.CHUNK)]
    found = EmbeddingStore(tmp_path / "store", WIDTH).embed(known, pytest.fail)
    assert (found == np.arange(cache.CHUNK, dtype=np.float32)[:, None]).all()


# --------------------------------------------------------------------------------------------
# Folders


class PathLike:
    """Object with a path."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


def impossible_folders(tmp_path):
    """Return values of `memory` whose folder cannot exist."""
    (tmp_path / "file").write_text("some file")
    gone = joblib.Memory(tmp_path / "gone", verbose=0)
    shutil.rmtree(tmp_path / "gone")
    (tmp_path / "gone").write_text("some file")
    return [
        "/dev/null/x",
        "a\0b",
        str(tmp_path / "file"),
        tmp_path / "file" / "folder" / "folder",
        PathLike(str(tmp_path / "file" / "folder")),
        tmp_path / ("x" * 300),
        gone,
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="the folders are possible or have other names")
def test_impossible_folders(tmp_path):
    """A folder that cannot exist is an invalid parameter."""
    for memory in impossible_folders(tmp_path):
        with pytest.raises(InvalidParameterError) as caught:
            cache._open_folder(memory)
        assert str(caught.value) == (
            "The 'memory' parameter of MultiheadClassifier must be the path of a folder that can "
            f"be created, a joblib.Memory or None. Got {memory!r} instead."
        )
    assert (tmp_path / "file").read_text() == "some file"


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EIO, errno.EDQUOT])
def test_folders_that_cannot_be_created_now(tmp_path, monkeypatch, code):
    """If the folder cannot be created at the moment, there is no cache and one warning."""

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.warns(UserWarning, match=f"memory.*{os.strerror(code)}") as caught:
        assert cache._open_folder(tmp_path / "memory") is None
    assert len(caught) == 1


def test_location_is_the_one_of_joblib(tmp_path, monkeypatch):
    """A path and the `joblib.Memory` of this path share a folder, and git ignores it."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for location in ("relative", "~/cache", str(tmp_path / "absolute")):
        memory = joblib.Memory(location, verbose=0)
        folder = cache._open_folder(location)
        assert folder == cache._open_folder(memory)
        assert folder.is_absolute()
        assert (folder / ".gitignore").read_text() == "*\n"
        memory.clear(warn=False)
        assert not folder.exists()


# --------------------------------------------------------------------------------------------
# Fits

FROZEN = EncoderConfig(freeze_epochs=1, unfreeze_layers=0)
MESSAGES = load_support_messages().head(60)


def fit(encoder, memory):
    """Fit a small classifier with a frozen encoder."""
    training = TrainingConfig(model_name=encoder, epochs=1, learning_rate=1e-3, test_size=0)
    config = MultiheadConfig(training=training, encoder=FROZEN)
    return MultiheadClassifier(config, memory=memory, random_state=0).fit(MESSAGES)


def weights(classifier):
    return {name: p.detach().numpy() for name, p in classifier.net_.module_.named_parameters()}


def check_weights(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for name, values in one.items():
        # The last bits depend on which texts share a batch of the encoder.
        np.testing.assert_allclose(other[name], values, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Folder of a tiny encoder."""
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def plain(encoder):
    """A classifier that was fitted without a cache."""
    return fit(encoder, memory=None)


@pytest.fixture(scope="module")
def filled(encoder, tmp_path_factory):
    """Folder with the cache of an earlier fit."""
    memory = tmp_path_factory.mktemp("filled")
    fit(encoder, memory)
    return memory


IN_FITS = ["random bit 0", "swapped halves", "reversed rows", "zeros 512", "truncated by 33"]


@pytest.mark.parametrize("name", IN_FITS)
@pytest.mark.parametrize("file", ["keys", "embeddings"])
@pytest.mark.filterwarnings(f"ignore:.*{DAMAGED}", "ignore:There are no validation rows")
def test_fits_with_a_corrupted_cache(encoder, plain, filled, tmp_path, file, name):
    """A fit with a corrupted cache gives the weights of a fit without a cache."""
    shutil.copytree(filled, tmp_path / "memory")
    (store,) = {path.parent for path in (tmp_path / "memory").rglob("keys")}
    corrupt(store, [file], CORRUPTIONS[name], seed=0)
    check_weights(plain, fit(encoder, tmp_path / "memory"))


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("is_new", [True, False], ids=["new folder", "filled folder"])
def test_fits_with_a_folder_that_cannot_be_written(
    encoder, plain, filled, tmp_path, monkeypatch, code, is_new
):
    """A fit and predictions go on without storing, and warn in the user's line."""
    if not is_new:
        shutil.copytree(filled, tmp_path / "memory")
    refused, os_open, os_mkdir = str(tmp_path / "memory"), os.open, os.mkdir

    def fail_in_memory(function):
        def called(path, *args, **kwargs):
            if os.fspath(path).startswith(refused):
                raise OSError(code, os.strerror(code))
            return function(path, *args, **kwargs)

        return called

    monkeypatch.setattr(os, "open", fail_in_memory(os_open))
    monkeypatch.setattr(os, "mkdir", fail_in_memory(os_mkdir))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier = fit(encoder, tmp_path / "memory")
        for texts in (["a text that is new"], ["another one"]):
            p, q = (c.predict_proba(texts, task="intent") for c in (classifier, plain))
            np.testing.assert_allclose(p, q, atol=1e-5)
    caught = [w for w in caught if UNUSABLE in str(w.message)]
    # The calibration fit and the final fit may both warn, because each opens the cache.
    (message,) = {str(w.message) for w in caught}
    assert len(caught) <= 2
    assert refused in message
    assert os.strerror(code) in message
    assert {w.filename for w in caught} == {__file__}
    check_weights(plain, classifier)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev/null")
def test_fits_with_an_impossible_folder(encoder):
    """`fit` raises the error for a folder that cannot exist."""
    with pytest.raises(InvalidParameterError, match="'memory' parameter of MultiheadClassifier"):
        fit(encoder, "/dev/null/x")
