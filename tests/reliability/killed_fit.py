"""Fits that are killed: `test_checkpoints.py` runs this file in a process of its own.

The process imports everything once. For each fit, it forks a process, which it kills with SIGKILL.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

from rapidfit_sk import EvalConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.testing import tiny_encoder

warnings.simplefilter("ignore")
ENCODER = tiny_encoder(n_layers=3)
ROWS = load_support_messages()[:150]


def classifier(kind, folder):
    training = TrainingConfig(
        model_name=ENCODER, epochs=2, learning_rate=1e-3, batch_size=8, min_steps_per_epoch=6
    )
    config = MultiheadConfig(training=training, task_sampling="sqrt")
    if kind == "validation":  # otherwise, a calibration fit runs first
        config.set_params(training__val_size=0.2, eval=EvalConfig(patience=2, metric="f1"))
    return MultiheadClassifier(
        config, random_state=0, precision="float32", checkpoint_dir=folder, checkpoint_steps=2
    )


def describe(fitted):
    """Return hashes of everything that must be the same to the bit."""
    digest = hashlib.sha256()
    for tensor in fitted.net_.module_.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    history = [
        {key: value for key, value in epoch.items() if key != "dur"}
        for epoch in fitted.net_.history
    ]
    return {
        "weights": digest.hexdigest(),
        "history": json.dumps(history, default=float),
        "temperatures": fitted.temperatures_,
        "test_scores": fitted.test_scores_,
    }


def fork_fit(kind, folder, result, kill_in_call=None):
    """Fit in a new process, which may kill itself in the n-th call of fsync."""
    process = os.fork()
    if process:
        return process
    if kill_in_call is not None:
        fsync, calls = os.fsync, iter(range(1, 10**6))

        def killed(descriptor):
            if next(calls) == kill_in_call:
                os.kill(os.getpid(), signal.SIGKILL)
            fsync(descriptor)

        os.fsync = killed
    fitted = classifier(kind, folder).fit(ROWS)
    result.write_text(json.dumps(describe(fitted)))
    os._exit(0)


def wait(process, seconds=None):
    """Wait for a process, kill it after some seconds, and return whether it was killed."""
    if seconds is not None:
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status)


def main(kind, base, n_kills):
    base = Path(base)
    result = base / "result.json"
    started = time.monotonic()
    wait(fork_fit(kind, None, result))
    duration = time.monotonic() - started
    expected = json.loads(result.read_text())
    rng = random.Random(0)
    found = {"kills": 0, "in a write": 0, "fits": 0, "different": 0, "left": []}
    while found["kills"] < n_kills:
        folder = base / "checkpoints"
        shutil.rmtree(folder, ignore_errors=True)
        result.unlink()
        while not result.exists():
            # Every other process is killed in a write: in the fsync of the file or of the folder.
            if rng.random() < 0.5:
                killed = wait(fork_fit(kind, folder, result, kill_in_call=rng.randint(1, 12)))
                found["in a write"] += killed
            else:
                killed = wait(fork_fit(kind, folder, result), rng.uniform(0, duration))
            found["kills"] += killed
            if found["kills"] >= 3 * n_kills:
                break
        found["fits"] += 1
        found["different"] += json.loads(result.read_text()) != expected
        found["left"] = sorted(path.name for path in folder.iterdir())
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
