"""A fit in several processes is the fit of one process with larger batches."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from rapidfit_sk._model import TokensOnDemand
from rapidfit_sk._training.batches import Batches, Embeddings, TextRows
from rapidfit_sk._training.distributed import ALONE, Ranks
from rapidfit_sk.testing import tiny_encoder

from . import distributed_fits

ROOT = Path(__file__).parents[2]
FITS = "tests.training.distributed_fits"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def start(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def prepare(base):
    """Run all fits in one process and in two, after a job in which one process was killed."""
    config = Path(tiny_encoder(base / "encoder"), "config.json")
    without_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps(json.loads(config.read_text()) | without_dropout))
    (base / "kill").touch()
    killed = start(*TORCHRUN, "-m", FITS, "die", base)
    (base / "kill").unlink()
    left = sorted(path.name for path in (base / "checkpoints").iterdir())
    (base / "killed.json").write_text(
        json.dumps({"returncode": killed.returncode, "stderr": killed.stderr, "left": left})
    )
    for arguments in (TORCHRUN, []):
        done = start(*arguments, "-m", FITS, "run_all", base)
        assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def base(tmp_path_factory, worker_id):
    """Folder with the results of all jobs, which run once for all workers of pytest-xdist."""
    shared = tmp_path_factory.getbasetemp()
    base = (shared if worker_id == "master" else shared.parent) / "distributed"
    with FileLock(f"{base}.lock"):
        if not base.exists():
            base.mkdir()
            prepare(base)
    return base


def found_in(base, rank, size):
    return json.loads((base / f"run_all-{rank}-of-{size}.json").read_text())


@pytest.mark.slow
def test_processes_end_with_the_same_model(base):
    """Weights, scores, losses, kept epochs and temperatures are the same to the bit."""
    first, second = (found_in(base, rank, 2)["fits"] for rank in range(2))
    assert len(first) == 9
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("fit", [fit.__name__ for fit in distributed_fits.SAME_STEPS])
def test_two_processes_train_as_one_with_the_doubled_batch(base, fit):
    """Without dropout, losses differ by less than 1e-6 and weights by less than 1e-5."""
    two, one = (found_in(base, 0, size)["fits"][fit] for size in (2, 1))
    assert [list(epoch) for epoch in two["history"]] == [list(epoch) for epoch in one["history"]]
    for name in ("train_loss", "valid_loss"):
        losses = [[e[name] for e in each["history"] if name in e] for each in (two, one)]
        np.testing.assert_allclose(*losses, rtol=1e-6)
    weights = [np.load(base / f"{fit}-{size}.npz") for size in (2, 1)]
    for name in weights[1].files:
        np.testing.assert_allclose(weights[0][name], weights[1][name], atol=1e-5, err_msg=name)
    assert two["temperatures"] == pytest.approx(one["temperatures"], rel=1e-5)
    assert two["test_scores"] == one["test_scores"]


@pytest.mark.slow
def test_early_stopping_decides_once(base):
    """A fit that stops early stops in all processes after the same epoch."""
    histories = [
        found_in(base, rank, 2)["fits"]["with_early_stopping"]["history"] for rank in range(2)
    ]
    assert len(histories[0]) == len(histories[1]) < 13
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_each_text_is_encoded_once_per_job(base):
    """If the encoder is frozen, two processes together encode as many texts as one."""
    one = found_in(base, 0, 1)["n_encoded"]
    two = [found_in(base, rank, 2)["n_encoded"] for rank in range(2)]
    assert sum(two) == one
    assert min(two) > 0


@pytest.mark.slow
def test_only_the_first_process_writes(base):
    """Only the first process shows progress and writes checkpoints and the embedding cache."""
    shown = [found_in(base, rank, 2)["shown"]["with_checkpoints"] for rank in range(2)]
    assert "Continuing the fit" in shown[0]
    assert "epoch 3 of 3" in shown[0]
    assert shown[1] == ""
    assert (base / "memory-0").exists()
    assert not (base / "memory-1").exists()
    assert list((base / "whole-0").iterdir())
    assert not (base / "whole-1").exists()


@pytest.mark.slow
def test_a_killed_process_ends_the_job(base):
    """The job of a killed process ends with an error and leaves its last checkpoint."""
    killed = json.loads((base / "killed.json").read_text())
    assert killed["returncode"] != 0
    assert "SIGKILL" in killed["stderr"]
    assert "checkpoint.safetensors" in killed["left"]
    assert not (base / "die-0-of-2.json").exists()


@pytest.mark.slow
def test_a_killed_job_continues(base):
    """The next job continues from the checkpoint and ends with the bits of a whole job."""
    fits = found_in(base, 0, 2)["fits"]
    assert fits["with_checkpoints"] == fits["uninterrupted"]
    assert list((base / "checkpoints").iterdir()) == []


MESSAGES = {
    "other_rows": ["ValueError: .*the rows differ between rank 0 and rank 1"] * 2,
    "other_parameter": ["ValueError: .*'training.epochs' differs between rank 0 and rank 1"] * 2,
    "damaged_checkpoint": [
        "ValueError: The checkpoint in .* is damaged",
        "RuntimeError: The process with rank 0 raised ValueError: The checkpoint in .* is damaged",
    ],
    "diverged": ["FloatingPointError: Training diverged in epoch"] * 2,
}


@pytest.mark.slow
@pytest.mark.parametrize("failure", MESSAGES)
def test_failures_end_in_all_processes(base, failure):
    """Other data in one process, a damaged checkpoint and NaN are errors in all processes."""
    for rank, message in enumerate(MESSAGES[failure]):
        found = found_in(base, rank, 2)["failures"][failure]
        assert re.match(message, found, re.S)


# --------------------------------------------------------------------------------------------
# Parts, in one process


def make_rows(texts):
    texts = np.array(texts)
    tokens = TokensOnDemand([str(i) for i in range(texts.max() + 1)], None)
    return TextRows(tokens, texts, np.arange(len(texts)) % 2, 2, np.zeros(len(texts), dtype=int))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_processes_share_each_batch(size):
    """Each row of a batch is in the share of exactly one process, with all rows of its text."""
    rows = make_rows([0, 1, 2, 3, 0, 1, 4, 4, 2])
    batch = np.array([8, 0, 4, 6, 2, 7])
    shares = [rows.share_of(batch, Ranks(rank, size)) for rank in range(size)]
    assert sorted(np.concatenate(shares)) == sorted(batch)
    texts = [set(rows.texts[share].tolist()) for share in shares]
    assert sum(map(len, texts)) == len(set().union(*texts)) == 3


def test_a_process_may_have_no_rows_of_a_step():
    """A batch of one text is empty in the second process, but counts the rows of both."""
    rows = make_rows([0, 0, 1])
    source = Embeddings(torch.zeros(2, 3))
    steps = [
        next(iter(Batches(rows, lambda: source, [[np.array([2])]], Ranks(rank, 2))))
        for rank in range(2)
    ]
    assert [part.is_empty for (part,) in steps] == [False, True]
    assert [part.n_rows for (part,) in steps] == [1, 1]


def test_without_a_group_there_is_one_process():
    """Without a process group, all methods return the value of this process."""
    assert Ranks.current() == ALONE
    assert ALONE.gather("value") == ["value"]
    assert ALONE.from_first(lambda: "value") == "value"
    assert ALONE.map(str, range(3)) == ["0", "1", "2"]
    assert ALONE.share_of([1, 2]) == [1, 2]
