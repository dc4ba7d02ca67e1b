"""A fit that was killed continues from its checkpoint and gives the same model to the bit."""

import errno
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from skorch.callbacks import Callback, Freezer

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk._training.checkpoints import Checkpoints, from_bytes, to_bytes

FILE = "checkpoint.safetensors"
ROOT = Path(__file__).parents[2]

FITS = {
    "calibration fit": {},
    "validation rows": {"training__val_size": 0.2, "eval__patience": 1},
    "frozen encoder": {"encoder__unfreeze_layers": 0},
    "whole encoder": {"encoder__unfreeze_layers": None, "encoder__freeze_epochs": 0},
    "mean pooling": {"pooling": "mean", "training__gradient_accumulation_steps": 2},
    "gradient checkpointing": {"training__gradient_checkpointing": True, "pooling": "cls"},
    "hidden layer": {"head__hidden_layers": 1, "head__init": "random", "task_sampling": "equal"},
}


def make(encoder, folder=None, config=(), **parameters):
    training = TrainingConfig(
        model_name=encoder, epochs=2, learning_rate=1e-3, batch_size=8, min_steps_per_epoch=4
    )
    full = MultiheadConfig(training=training).set_params(**dict(config))
    parameters = {"random_state": 0, "checkpoint_dir": folder, **parameters}
    return MultiheadClassifier(full, **parameters)


def same_fit(one, other):
    weights = [each.net_.module_.state_dict() for each in (one, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert one.temperatures_ == other.temperatures_
    assert one.test_scores_ == other.test_scores_
    histories = [
        [{k: v for k, v in epoch.items() if k != "dur"} for epoch in each.net_.history]
        for each in (one, other)
    ]
    assert histories[0] == histories[1]


class Stop(BaseException):
    """An interruption."""


def interrupt_after(monkeypatch, n_writes):
    """Interrupt the fit after a number of checkpoints."""
    write, written = Checkpoints._write, []

    def interrupted(self):
        write(self)
        written.append(1)
        if len(written) == n_writes:
            raise Stop

    monkeypatch.setattr(Checkpoints, "_write", interrupted)


@pytest.fixture
def rows(messages):
    return messages[:80]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("fit", "with_memory"),
    [*((fit, False) for fit in FITS), ("calibration fit", True), ("frozen encoder", True)],
)
def test_an_interrupted_fit_continues(encoder_name, rows, tmp_path, monkeypatch, fit, with_memory):
    """Whenever a fit is interrupted, its second call gives the bits of an uninterrupted fit."""
    memory = str(tmp_path / "memory") if with_memory else None
    whole = make(encoder_name, config=FITS[fit], memory=memory).fit(rows)
    n_interrupted = 0
    for n_writes in (1, 3, 5, 8):
        folder = tmp_path / f"checkpoints{n_writes}"
        with monkeypatch.context() as patch:
            interrupt_after(patch, n_writes)
            classifier = make(encoder_name, folder, FITS[fit], checkpoint_steps=3, memory=memory)
            try:
                classifier.fit(rows)
            except Stop:
                n_interrupted += 1
                assert (folder / FILE).exists()
        classifier = make(encoder_name, folder, FITS[fit], checkpoint_steps=3, memory=memory)
        same_fit(whole, classifier.fit(rows))
        assert list(folder.iterdir()) == []
    assert n_interrupted >= 3


PARAMETERS = {
    "bfloat16": {"precision": "bfloat16"},
    "freezing callback": {"callbacks": [Freezer("encoder.*", at=3)]},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_an_interrupted_fit(encoder_name, rows, tmp_path, monkeypatch, name):
    """A fit in bfloat16, or with layers that a callback freezes, continues to the same bits."""
    options = {"config": {"training__epochs": 4, "training__val_size": 0.2}, **PARAMETERS[name]}
    whole = make(encoder_name, **options).fit(rows)
    for n_writes in (2, 4):
        with monkeypatch.context() as patch:
            interrupt_after(patch, n_writes)
            with pytest.raises(Stop):
                make(encoder_name, tmp_path, **options).fit(rows)
        same_fit(whole, make(encoder_name, tmp_path, **options).fit(rows))


@pytest.mark.filterwarnings("ignore")
def test_bfloat16_uses_the_current_weights(encoder_name, rows):
    """In bfloat16, each step casts the weights of this step, so the losses are close to float32."""
    options = {"config": {"training__epochs": 4, "training__learning_rate": 5e-3}}
    losses = [
        make(encoder_name, precision=precision, **options).fit(rows).net_.history[:, "train_loss"]
        for precision in ("float32", "bfloat16")
    ]
    np.testing.assert_allclose(*losses, rtol=5e-3)


@pytest.mark.filterwarnings("ignore")
def test_a_warm_start_continues(encoder_name, rows, tmp_path, monkeypatch):
    """An interrupted warm start continues, and another earlier model is refused."""
    first = make(encoder_name, warm_start=True).fit(rows)
    state = dict(vars(first))
    whole = first.fit(rows[:60])
    again = make(encoder_name, tmp_path, warm_start=True)
    vars(again).update({key: value for key, value in state.items() if key.endswith("_")})
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Stop):
            again.fit(rows[:60])
    with pytest.raises(ValueError, match="the weights of the earlier fit differ"):
        make(encoder_name, tmp_path, warm_start=True).fit(rows[:60])
    same_fit(whole, again.fit(rows[:60]))


@pytest.mark.filterwarnings("ignore")
def test_without_a_seed_the_seeds_come_from_the_checkpoint(
    encoder_name, rows, tmp_path, monkeypatch
):
    """A fit without random_state continues with the seeds with which it began."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(Stop):
            make(encoder_name, tmp_path, random_state=None).fit(rows)
    begun = from_bytes((tmp_path / FILE).read_bytes()[:-32])
    keep = make(encoder_name, tmp_path, random_state=None, keep_checkpoints=True).fit(rows)
    assert from_bytes((tmp_path / FILE).read_bytes()[:-32])["seeds"] == begun["seeds"]
    same_fit(keep, make(encoder_name, tmp_path, random_state=None).fit(rows))


@pytest.mark.filterwarnings("ignore")
def test_a_finished_fit_removes_its_checkpoint(encoder_name, rows, tmp_path):
    """A finished fit leaves an empty folder, or its last checkpoint if it is asked to keep it."""
    plain = make(encoder_name).fit(rows)
    same_fit(plain, make(encoder_name, tmp_path / "a").fit(rows))
    assert list((tmp_path / "a").iterdir()) == []
    kept = make(encoder_name, tmp_path / "b", keep_checkpoints=True).fit(rows)
    assert (tmp_path / "b" / FILE).exists()
    again = make(encoder_name, tmp_path / "b", keep_checkpoints=True)
    same_fit(kept, again.fit(rows))


CHANGES = {
    "rows": (lambda c, rows: c.fit(rows[:79]), "the rows differ"),
    "labels": (
        lambda c, rows: c.fit(rows.assign(label=rows["label"].to_numpy()[::-1])),
        "the rows differ",
    ),
    "order": (lambda c, rows: c.fit(rows[::-1]), "the rows differ"),
    "weights": (lambda c, rows: c.fit(rows, sample_weight=[2.0] * 80), "the rows differ"),
    "validation rows": (
        lambda c, rows: c.fit(rows, X_val=rows[:9]),
        "the validation rows differ",
    ),
    "rate": (
        lambda c, rows: c.set_params(config__training__learning_rate=2e-3).fit(rows),
        "'training.learning_rate' was 0.001 and is 0.002 now",
    ),
    "dropout": (
        lambda c, rows: c.set_params(config__head__dropout=0.4).fit(rows),
        "'head.dropout' was .* and is 0.4 now",
    ),
    "seed": (lambda c, rows: c.set_params(random_state=1).fit(rows), "'random_state' was 0"),
    "callbacks": (
        lambda c, rows: c.set_params(callbacks=[Callback()]).fit(rows),
        r"'callbacks' was \[\] and is \[.*Callback\({}\).*\] now",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", CHANGES)
def test_another_fit_in_the_same_folder(encoder_name, rows, tmp_path, monkeypatch, change):
    """Other data or another configuration is one clear error, and the checkpoint stays."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Stop):
            make(encoder_name, tmp_path).fit(rows)
    content = (tmp_path / FILE).read_bytes()
    act, message = CHANGES[change]
    with pytest.raises(ValueError, match=f"belongs to another fit: {message}.*delete this one"):
        act(make(encoder_name, tmp_path), rows)
    assert (tmp_path / FILE).read_bytes() == content


@pytest.mark.filterwarnings("ignore")
def test_two_fits_in_one_folder_at_once(encoder_name, rows, tmp_path):
    """A folder that another fit is using is an error."""
    with (
        FileLock(tmp_path / "checkpoint.lock"),
        pytest.raises(ValueError, match="Another fit is writing checkpoints"),
    ):
        make(encoder_name, tmp_path).fit(rows)
    make(encoder_name, tmp_path).fit(rows)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "garbage"])
def test_a_damaged_checkpoint(encoder_name, rows, tmp_path, monkeypatch, damage):
    """A damaged checkpoint is one clear error, never another model."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Stop):
            make(encoder_name, tmp_path).fit(rows)
    content = bytearray((tmp_path / FILE).read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    changed = {"cut": content[:-500], "empty": b"", "garbage": b"x" * 1000}.get(damage, content)
    (tmp_path / FILE).write_bytes(changed)
    with pytest.raises(ValueError, match="is damaged"):
        make(encoder_name, tmp_path).fit(rows)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_full_disk(encoder_name, rows, tmp_path, monkeypatch, call):
    """On a full disk, the fit raises OSError and the last good checkpoint is still there."""
    whole = make(encoder_name).fit(rows)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(Stop):
            make(encoder_name, tmp_path).fit(rows)
    content = (tmp_path / FILE).read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if call == "open":
            patch.setattr("rapidfit_sk._training.checkpoints.open", full, raising=False)
        else:
            patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left on device. The last complete one, if"):
            make(encoder_name, tmp_path).fit(rows)
    assert (tmp_path / FILE).read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.lock", FILE]
    same_fit(whole, make(encoder_name, tmp_path).fit(rows))


class Counts(Callback):
    """Stops nothing, but has a state."""

    def __init__(self, value=None):
        self.value = value

    def on_train_begin(self, net, **kwargs):
        self.steps_, self.array_, self.best_ = 0, np.zeros(3), {"a": (1, None)}
        self.other_ = self.value

    def on_batch_end(self, net, training=False, **kwargs):
        self.steps_ += training
        self.array_ += 1


@pytest.mark.filterwarnings("ignore")
def test_state_of_callbacks(encoder_name, rows, tmp_path, monkeypatch):
    """A callback of the user continues with its state."""
    whole = make(encoder_name, callbacks=[Counts()]).fit(rows)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        with pytest.raises(Stop):
            make(encoder_name, tmp_path, callbacks=[Counts()]).fit(rows)
    again = make(encoder_name, tmp_path, callbacks=[Counts()]).fit(rows)
    counts = [dict(each.net_.callbacks_)["Counts"] for each in (whole, again)]
    assert counts[0].steps_ == counts[1].steps_
    assert np.array_equal(counts[0].array_, counts[1].array_)
    assert counts[0].best_ == counts[1].best_


NOT_PLAIN = [
    Path(),
    Counter("a"),
    {(0, 1): 3},
    {np.int64(1): 2},
    torch.ones(2).bfloat16(),
    object(),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", NOT_PLAIN, ids=lambda value: type(value).__name__)
def test_state_that_is_not_plain(encoder_name, rows, tmp_path, value):
    """A state that would not come back as it was is an error before the first checkpoint."""
    classifier = make(
        encoder_name, tmp_path, {"eval__calibrate": False}, callbacks=[("mine", Counts(value))]
    )
    with pytest.raises(TypeError, match="cannot store state/callbacks/mine/other_.*checkpoint_dir"):
        classifier.fit(rows)


@pytest.mark.filterwarnings("ignore")
def test_another_callback_of_the_same_name(encoder_name, rows, tmp_path):
    """Another class or another parameter of a callback is another fit."""
    make(encoder_name, tmp_path, callbacks=[("m", Counts())], keep_checkpoints=True).fit(rows)
    for other in (Counts(value=1), Freezer("encoder.*")):
        with pytest.raises(ValueError, match="'callbacks' was .*Counts.* and is"):
            make(encoder_name, tmp_path, callbacks=[("m", other)]).fit(rows)


@pytest.mark.filterwarnings("ignore")
def test_a_relative_folder(encoder_name, rows, tmp_path, monkeypatch):
    """A change of the working directory during a fit does not move its checkpoints."""

    class Moves(Callback):
        def on_epoch_end(self, net, **kwargs):
            os.chdir(tmp_path.parent)

    monkeypatch.chdir(tmp_path)
    make(encoder_name, "relative", callbacks=[Moves()], keep_checkpoints=True).fit(rows)
    assert (tmp_path / "relative" / FILE).exists()


def test_plain_data_round_trips():
    """Nested plain data, tensors and arrays come back with their types and bits."""
    value = {
        "a": [1, 2.5, None, True, "x\0é", 2**100],
        3: (np.arange(4).reshape(2, 2), torch.tensor(1.5), torch.zeros(0, 3)),
        "b": {"c": torch.arange(3, dtype=torch.uint8), "d": [[], {}, (), {1, 2}]},
        "inf": [float("inf"), float("nan")],
    }
    found = from_bytes(to_bytes(value))
    assert found["a"] == value["a"]
    assert list(found) == list(value)
    for one, other in zip(found[3], value[3], strict=True):
        assert type(one) is type(other)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    assert found["b"]["d"] == [[], {}, (), {1, 2}]
    assert np.isnan(found["inf"][1])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", ["calibration", "validation"])
def test_killed_fits(tmp_path, kind):
    """Fits that SIGKILL hits at random moments and in writes end with the bits of a whole fit."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.killed_fit", kind, str(tmp_path), "20"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["kills"] >= 20
    assert found["in a write"] >= 5
    assert found["different"] == 0
    assert found["left"] == []
