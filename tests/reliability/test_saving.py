"""A save is whole: after a kill, an error or a refit at any moment, a folder holds one model."""

import contextlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import warnings

import numpy as np
import pytest
import torch

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk import _folders as folders
from rapidfit_sk._atomic import replace_fitted
from rapidfit_sk._model.module import module_from_parts, module_to_parts
from rapidfit_sk.testing import tiny_encoder

TEXTS = ["Do you ship to Norway?", "It broke again!"]
DATA = {
    "mood": [{"text": f"text {i} is good", "label": "good"} for i in range(8)]
    + [{"text": f"text {i} is bad", "label": "bad"} for i in range(8)]
}
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs signals and modes of POSIX")


def train(seed=0, encoder=None):
    training = TrainingConfig(
        model_name=encoder or tiny_encoder(n_layers=1), epochs=0, test_size=0, max_length=32
    )
    config = MultiheadConfig(training=training)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the data is small
        return MultiheadClassifier(config, random_state=seed).fit(DATA)


@pytest.fixture(scope="module")
def two():
    """Two classifiers with different predictions."""
    return train(), train(encoder=tiny_encoder(n_layers=1, seed=1))


def which(folder, classifiers):
    """Return the number of the classifier that a folder contains."""
    loaded = MultiheadClassifier.load(folder).predict_proba(TEXTS)
    same = [np.array_equal(loaded, each.predict_proba(TEXTS)) for each in classifiers]
    return same.index(True)


# --------------------------------------------------------------------------------------------
# Kills and errors


@pytest.mark.slow
@on_posix
def test_killed_saves(two, tmp_path):
    """After a kill, the folder loads as one of two models, and the next save tidies up."""
    names = [str(tmp_path / f"of-{number}") for number in range(2)]
    for classifier, name in zip(two, names, strict=True):
        classifier.save(name)
    (tmp_path / "parent").mkdir()
    target, rng = tmp_path / "parent" / "model", random.Random(0)
    two[0].save(target)
    left, found = 0, set()
    # One process imports everything, and each of its forks is killed.
    killer = KILLER.format(delays=[rng.uniform(0, 0.06) for _ in range(25)])
    command = [sys.executable, "-c", killer, *names, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for _ in process.stdout:
            found.add(which(target, two))
            left += len(os.listdir(target.parent)) > 1
            two[0].save(target)
            assert os.listdir(target.parent) == ["model"]
            assert which(target, two) == 0
            process.stdin.write(b"\n")
            process.stdin.flush()
    assert process.returncode == 0
    assert found <= {0, 1}
    assert left  # some kills were in the middle of a save


KILLER = """
import os, signal, sys, time, torch
from rapidfit_sk import MultiheadClassifier

torch.set_num_threads(1)
first, second = map(MultiheadClassifier.load, sys.argv[1:3])
for delay in {delays}:
    child = os.fork()
    if not child:
        while True:
            second.save(sys.argv[3])
            first.save(sys.argv[3])
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(flush=True)
    sys.stdin.readline()
"""
CALLS = [
    "chmod",
    "close",
    "fsync",
    "mkdir",
    "open",
    "rename",
    "rmdir",
    "scandir",
    "stat",
    "unlink",
]


@on_posix
@pytest.mark.parametrize("call", CALLS)
def test_error_of_the_system(two, tmp_path, monkeypatch, call):
    """If a call of the system fails at any place, the folder holds one of the two models."""
    (tmp_path / "parent").mkdir()
    target = tmp_path / "parent" / "model"
    calls = FailingCalls(getattr(os, call), str(tmp_path))
    for place in range(1, 120):
        two[0].save(target)
        calls.fail_at(place)
        monkeypatch.setattr(os, call, calls)
        with contextlib.suppress(Injected):
            two[1].save(target)
        monkeypatch.undo()
        assert which(target, two) in (0, 1)
        two[1].save(target)
        assert os.listdir(target.parent) == ["model"]
        if calls.left > 0:
            return  # the save has fewer calls of this kind
    raise AssertionError("the table of places is too short")


class Injected(OSError):
    """An error that a test injects."""


class FailingCalls:
    """A function of the system that fails once, at a call for a path or a descriptor of a test."""

    def __init__(self, real, root):
        self.real, self.root, self.left = real, root, 0

    def fail_at(self, place):
        self.left = place

    def __call__(self, *args, **kwargs):
        self.left -= isinstance(args[0], int) or self.root in os.fspath(args[0])
        if self.left == 0:
            self.left = -1
            raise Injected(5, "injected")
        return self.real(*args, **kwargs)


def test_error_before_the_swap_keeps_the_old_model(two, tmp_path, monkeypatch):
    """If the data cannot be written to the disk, save raises the error and keeps the old model."""
    two[0].save(tmp_path / "model")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        two[1].save(tmp_path / "model")
    monkeypatch.undo()
    assert which(tmp_path / "model", two) == 0
    assert os.listdir(tmp_path) == ["model"]


@on_posix
def test_everything_is_on_the_disk_before_the_swap(two, tmp_path, monkeypatch):
    """Each file and folder is synchronized before the rename, and the parent folder after it."""
    events, fsync, rename = [], os.fsync, os.rename
    monkeypatch.setattr(
        os, "fsync", lambda fd: events.append(os.path.realpath(f"/dev/fd/{fd}")) or fsync(fd)
    )
    monkeypatch.setattr(os, "rename", lambda *args: events.append("rename") or rename(*args))
    two[0].save(tmp_path / "model")
    before, after = events[: events.index("rename")], events[events.index("rename") + 1 :]
    names = {os.path.basename(path) for path in before}
    assert {path.name for path in (tmp_path / "model").rglob("*")} <= names
    assert after == [str(tmp_path.resolve())]


# --------------------------------------------------------------------------------------------
# Stale folders and locks


def stale(target):
    folder = target.with_name(f".{target.name}.{'0' * 32}")
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"half")
    return folder


@on_posix
def test_stale_folders_are_removed(two, tmp_path):
    """save removes what killed saves to the same name have left, and nothing else."""
    left = stale(tmp_path / "model")
    others = [stale(tmp_path / "another"), tmp_path / ".model.notes", tmp_path / ".model"]
    for other in others[1:]:
        other.mkdir()
    two[0].save(tmp_path / "model")
    assert not left.exists()
    assert all(other.exists() for other in others)


@on_posix
def test_folder_of_a_running_save_is_kept(two, tmp_path):
    """save keeps the new folder of another save that is still running."""
    running = stale(tmp_path / "model")
    lock = folders._lock(running)
    two[0].save(tmp_path / "model")
    assert running.exists()
    os.close(lock)
    two[0].save(tmp_path / "model")
    assert not running.exists()


@on_posix
def test_new_folder_that_is_taken_for_a_stale_one(two, tmp_path, monkeypatch):
    """If another save removes the new folder before it is locked, save makes another one."""
    real, removed = folders._lock, []

    def late(folder):
        if folder.name.startswith(".model.") and len(removed) < 3:
            removed.append(folder)
            if len(removed) == 1:
                shutil.rmtree(folder)  # removed before it is opened
            elif len(removed) == 2:
                raise BlockingIOError("locked by a cleaner")
            else:
                lock = real(folder)
                shutil.rmtree(folder)  # removed after it was opened
                return lock
        return real(folder)

    monkeypatch.setattr(folders, "_lock", late)
    two[0].save(tmp_path / "model")
    assert len(removed) == 3
    assert which(tmp_path / "model", two) == 0


def test_file_system_without_locks(two, tmp_path, monkeypatch):
    """On a file system without locks, save works and removes no folder that may be in use."""
    running = stale(tmp_path / "model")

    def no_locks(*args, **kwargs):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(folders, "_lock", no_locks)
    two[0].save(tmp_path / "model")
    assert which(tmp_path / "model", two) == 0
    assert running.exists()


def test_saves_in_many_threads(two, tmp_path):
    """Several threads can save to one folder, which then has one whole model."""
    errors = []

    def save(classifier):
        try:
            for _ in range(5):
                classifier.save(tmp_path / "model")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(each,)) for each in (*two, *two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert which(tmp_path / "model", two) in (0, 1)
    assert os.listdir(tmp_path) == ["model"]


SAVERS = """
import os, sys, torch
import numpy as np
from rapidfit_sk import MultiheadClassifier

torch.set_num_threads(1)
classifiers = [MultiheadClassifier.load(name) for name in sys.argv[1:3]]
texts = ["Do you ship to Norway?", "It broke again!"]
expected = [each.predict_proba(texts) for each in classifiers]
children = []
for number in range(3):
    children.append(os.fork())
    if not children[-1]:
        failed = 1
        try:
            for _ in range(40):
                classifiers[number % 2].save(sys.argv[3])
            failed = 0
        finally:
            os._exit(failed)
running, loads = set(children), 0
while running:
    p = MultiheadClassifier.load(sys.argv[3]).predict_proba(texts)
    if not any(np.array_equal(p, each) for each in expected):
        sys.exit("a mixed model")
    loads += 1
    for child in list(running):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            running.remove(child)
            if status:
                sys.exit("a save failed")
print(loads)
"""


@pytest.mark.slow
@on_posix
def test_saves_and_loads_in_many_processes(two, tmp_path):
    """While three processes save to one folder, another one always loads a whole model."""
    names = [str(tmp_path / f"of-{number}") for number in range(2)]
    for classifier, name in zip(two, names, strict=True):
        classifier.save(name)
    (tmp_path / "parent").mkdir()
    target = tmp_path / "parent" / "model"
    two[0].save(target)
    command = [sys.executable, "-c", SAVERS, *names, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1
    assert os.listdir(target.parent) == ["model"]


@on_posix
@pytest.mark.parametrize("place", ["_restore_backup", "_check_may_replace", "_swap"])
def test_changes_hold_the_lock(two, tmp_path, monkeypatch, place):
    """save holds the lock of the parent folder whenever it checks or renames folders in it."""
    real, refused = getattr(folders, place), []

    def recorded(*args):
        with pytest.raises(BlockingIOError):
            os.close(folders._lock(tmp_path.resolve()))
        refused.append(place)
        return real(*args)

    monkeypatch.setattr(folders, place, recorded)
    two[0].save(tmp_path / "model")
    assert refused


def test_only_copy_is_kept(two, tmp_path):
    """The backup is not removed if there is no folder, whatever a save did before."""
    two[0].save(tmp_path / "model")
    target = tmp_path.resolve() / "model"
    target.rename(folders._backup_of(target))
    folders._remove_backup(target)
    assert which(target, two) == 0


def test_load_between_two_renames(two, tmp_path, monkeypatch):
    """If neither name is there, load waits for the save that renames them."""
    two[0].save(tmp_path / "model")
    real, seen = folders._folder_to_read, []

    def between(folder):
        seen.append(folder)
        return None if len(seen) == 1 else real(folder)

    monkeypatch.setattr(folders, "_folder_to_read", between)
    assert which(tmp_path / "model", two) == 0
    assert len(seen) > 1


def test_load_beside_a_busy_saver(two, tmp_path, monkeypatch):
    """If the folder is replaced during each attempt, load makes the next save wait."""
    two[0].save(tmp_path / "model")
    identities = iter(range(10**6))
    with monkeypatch.context() as patch:
        patch.setattr(folders, "identity", lambda path: next(identities))
        attempts = []

        def read(folder):
            attempts.append(folder)
            if len(attempts) <= folders._ATTEMPTS:
                raise ValueError("replaced")
            return "read"

        assert folders.read_folder(tmp_path / "model", read) == "read"


@on_posix
def test_lock_that_is_never_free(two, tmp_path, monkeypatch):
    """If another process never releases the lock, save says so and writes nothing."""
    monkeypatch.setattr(folders, "_MAX_WAITS", 2)
    lock = folders._lock(tmp_path)
    with pytest.raises(TimeoutError, match="holds the lock of the folder"):
        two[0].save(tmp_path / "model")
    os.close(lock)
    assert os.listdir(tmp_path) == []


# --------------------------------------------------------------------------------------------
# Paths


@pytest.mark.parametrize("name", ["m" * 128, "m" * 129, "m" * 225, "m" * 255, "\u00e9" * 127])
def test_long_names(two, tmp_path, name):
    """Every name that the file system allows works, also after a kill."""
    target = tmp_path.resolve() / name
    for _ in range(2):
        two[0].save(target)
    folders._hidden(target, "0" * 32).mkdir()
    target.rename(folders._backup_of(target))
    assert which(target, two) == 0
    two[1].save(target)
    assert which(target, two) == 1
    assert os.listdir(tmp_path) == [name] or os.name == "nt"


@on_posix
@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("/", "The folder '/' is the root of a file system"),
        ("m" * 256, "is too long for its file system. Pass a shorter one."),
        ("loop", "the symbolic link .* leads back to itself"),
        ("loop/model", "the symbolic link .* leads back to itself"),
    ],
)
def test_impossible_paths(two, tmp_path, monkeypatch, folder, message):
    """A path that can have no folder is refused before anything is written, and when loaded."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setattr("rapidfit_sk._persistence._write_weights", None)
    for use in (two[0].save, MultiheadClassifier.load):
        with pytest.raises(ValueError, match=message):
            use(tmp_path / folder)
    assert os.listdir(tmp_path) == ["loop"]


# --------------------------------------------------------------------------------------------
# Modes, snapshots and strides


@on_posix
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_modes_follow_the_umask(two, tmp_path, umask):
    """All files have the mode that the umask gives, also if they replace an earlier save."""
    before = os.umask(umask)
    try:
        for _ in range(2):
            two[0].save(tmp_path / "model")
            for path in (tmp_path / "model").rglob("*"):
                expected = 0o777 if path.is_dir() else 0o666
                assert stat.S_IMODE(path.stat().st_mode) == expected & ~umask, path
    finally:
        os.umask(before)


def test_refit_during_a_save(tmp_path, monkeypatch):
    """A refit during a save changes nothing in the folder: it holds the model of the start."""
    classifier = train()
    expected = classifier.predict_proba(TEXTS)
    other = train(encoder=tiny_encoder(n_layers=2, seed=1))
    real = type(classifier.model_.net).get_params_for

    def refitting(net, prefix):
        replace_fitted(classifier, {k: v for k, v in vars(other).items() if k.endswith("_")})
        return real(net, prefix)

    monkeypatch.setattr(type(classifier.model_.net), "get_params_for", refitting)
    classifier.save(tmp_path / "model")
    monkeypatch.undo()
    assert classifier.model_ is other.model_
    loaded = MultiheadClassifier.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(TEXTS), expected)


def test_transposed_weights(tmp_path):
    """Weights with transposed strides are saved with their values."""
    classifier = train()
    expected = classifier.predict_proba(TEXTS)
    with torch.no_grad():
        for parameter in classifier.net_.module_.parameters():
            if parameter.ndim == 2:
                parameter.data = parameter.data.t().contiguous().t()
    parts = module_to_parts(classifier.net_.module_)
    assert all(array.flags.c_contiguous for array in parts["weights"].values())
    loaded = MultiheadClassifier.load(classifier.save(tmp_path / "x") and tmp_path / "x")
    for name, value in loaded.net_.module_.state_dict().items():
        assert torch.equal(value, classifier.net_.module_.state_dict()[name])
    np.testing.assert_allclose(loaded.predict_proba(TEXTS), expected, rtol=1e-5)


def test_invalid_parameter_is_refused_by_save(two, tmp_path):
    """save refuses parameters that load would refuse, and writes nothing."""
    classifier = train().set_params(config__training__epochs=-1)
    with pytest.raises(ValueError, match="'epochs' parameter"):
        classifier.save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_module_from_parts_names_the_weights(two):
    """Missing, unexpected and wrongly shaped weights raise one error that names them."""
    net = two[0].net_
    parts, parameters = module_to_parts(net.module_), net.get_params_for("module")
    name = "heads.0.2.weight"
    for change, message in (
        ({name: None}, "'heads.0.2.weight' are missing"),
        ({"more": np.zeros(1, np.float32)}, "'more' have no place"),
        ({name: np.zeros((3, 32), np.float32)}, "have shape \\(3, 32\\), expected \\(2, 32\\)"),
        ({name: np.zeros((2, 32), np.int64)}, "have dtype int64"),
    ):
        changed = parts["weights"] | change
        weights = {key: value for key, value in changed.items() if value is not None}
        with pytest.raises(ValueError, match=message):
            module_from_parts(parts | {"weights": weights}, **parameters)


# --------------------------------------------------------------------------------------------
# Loading where nothing can be written

LOAD = """
import sys, tempfile

def refuse(*args, **kwargs):
    raise OSError(30, "Read-only file system")

import joblib, numpy as np
from rapidfit_sk import MultiheadClassifier
tempfile.mkdtemp = tempfile.mkstemp = tempfile.TemporaryDirectory = refuse
for load, path in ((MultiheadClassifier.load, sys.argv[1]), (joblib.load, sys.argv[2])):
    p = load(path).predict_proba(["Do you ship to Norway?", "It broke again!"])
    print(np.asarray(p).tobytes().hex())
"""


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_load_without_a_place_to_write(tmp_path, architecture):
    """Folder and pickle load without a home and without a temporary folder."""
    import joblib

    classifier = train(encoder=tiny_encoder(architecture=architecture, n_layers=1))
    classifier.save(tmp_path / "model")
    joblib.dump(classifier, tmp_path / "model.joblib")
    env = dict(os.environ, HOME="/nonexistent", TMPDIR="/nonexistent", HF_HOME="/nonexistent/hf")
    for path in tmp_path.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = [sys.executable, "-c", LOAD, tmp_path / "model", tmp_path / "model.joblib"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    expected = classifier.predict_proba(TEXTS).tobytes().hex()
    assert done.stdout.split() == [expected, expected], done.stderr


def test_full_temporary_folder_is_reported_as_such(two, tmp_path, monkeypatch):
    """If a tokenizer needs a temporary folder and it is full, the error says so."""
    two[0].save(tmp_path / "model")
    (tmp_path / "model" / "tokenizer" / "tokenizer.json").unlink()
    folders.write_checksums(tmp_path / "model")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "/tmp/somewhere")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(OSError, match="No space left on device: '/tmp/somewhere'"):
        MultiheadClassifier.load(tmp_path / "model")

    def none(*args, **kwargs):
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "mkdtemp", none)
    with pytest.raises(FileNotFoundError, match="No usable temporary directory"):
        MultiheadClassifier.load(tmp_path / "model")


def test_old_folder_loads(two, tmp_path):
    """A folder loads if it has entries that earlier versions wrote and this one does not."""
    two[0].save(tmp_path / "model")
    path = tmp_path / "model" / "classifier.json"
    description = json.loads(path.read_text())
    description["encoder"] |= {
        "chunk_size_feed_forward": 0,
        "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
        "label2id": {"LABEL_0": 0, "LABEL_1": 1},
        "output_attentions": False,
        "output_hidden_states": False,
        "problem_type": None,
        "return_dict": True,
    }
    description["history"] = [{"batches": [], "epoch": 1, "train_loss": float("nan")}]
    for name in ("checkpoint_dir", "checkpoint_steps", "keep_checkpoints"):
        description["parameters"].pop(name, None)
    path.write_text(json.dumps(description))
    folders.write_checksums(tmp_path / "model")
    assert which(tmp_path / "model", two) == 0
