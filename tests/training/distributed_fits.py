"""Fits in several processes: `test_distributed.py` runs this file with torchrun.

The arguments are an action and a folder, to which each process writes what it found.
"""

import contextlib
import datetime
import hashlib
import io
import json
import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from skorch.callbacks import Callback
from transformers import BertModel

from rapidfit_sk import HeadConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.datasets import load_support_messages

# Number of texts of a step, which the processes share.
N_TEXTS = 16


def rank_and_size():
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def rows_of(tasks=("sentiment", "intent", "emotion"), n=150):
    messages = load_support_messages()
    return messages[messages["task"].isin(tasks)][:n].reset_index(drop=True)


def with_rare_task():
    """Return rows of a task with two texts, which most batches do not have, and of another task."""
    rows = rows_of(["intent"], 49)
    rare = rows[:2].assign(task="rare", label=["a", "b"])
    return rows.merge(rare, how="outer")


def make(base, config=(), **parameters):
    """Return a classifier without dropout whose steps have `N_TEXTS` texts in all processes."""
    training = TrainingConfig(
        model_name=str(base / "encoder"),
        epochs=2,
        learning_rate=1e-3,
        batch_size=N_TEXTS // rank_and_size()[1],
        min_steps_per_epoch=1,
        test_size=0,
    )
    config = {"encoder__unfreeze_layers": 2, **dict(config)}
    full = MultiheadConfig(training=training, head=HeadConfig(dropout=0.0)).set_params(**config)
    parameters = {"random_state": 0, "precision": "float32", **parameters}
    return MultiheadClassifier(full, **parameters)


class DiesOnce(Callback):
    """Kills the process of rank 1 in the last epoch, if there is a file that tells it to."""

    def __init__(self, file):
        self.file = file

    def on_batch_begin(self, net, training=False, **kwargs):
        if training and net.epoch_ == 2 and rank_and_size()[0] == 1 and Path(self.file).exists():
            os.kill(os.getpid(), signal.SIGKILL)


# --------------------------------------------------------------------------------------------
# Fits. Each function takes a folder and returns a fitted classifier.


def with_validation(base):
    config = {"training__val_size": 0.2, "training__test_size": 0.1}
    return make(base, config).fit(rows_of())


def with_few_rows_of_a_task(base):
    config = {"training__gradient_accumulation_steps": 2, "eval__calibrate": False}
    return make(base, config).fit(with_rare_task())


def with_calibration_fit(base):
    return make(base, {"pooling": "mean", "task_sampling": "sqrt"}).fit(rows_of(n=60))


def with_early_stopping(base):
    """Fit with dropout and a rate that is too high, so the scores soon fall."""
    config = {"training__val_size": 0.2, "training__epochs": 12, "training__learning_rate": 3e-2}
    config |= {"eval__patience": 1, "eval__metric": "loss", "head__dropout": 0.5}
    return make(base, config).fit(rows_of())


def without_a_seed(base):
    return make(base, {"head__dropout": 0.2}, random_state=None).fit(rows_of(n=60))


def grown(base):
    """Fit one task, train for one more epoch on other rows, and add a task."""
    classifier = make(base, {"training__val_size": 0.2}).fit(rows_of(["intent"], 60))
    classifier.partial_fit(rows_of(["emotion"], 40))
    return classifier.add_task(rows_of(["sentiment"], 40))


def of_one_task(base):
    classifier = make(base).classifier_for("intent")
    rows = rows_of(["intent"], 60)
    return classifier.fit(rows["text"], rows["label"], helpers=rows_of(["emotion"], 30))


def with_checkpoints(base):
    """Fit with all that is written to disk or shown."""
    return make(
        base,
        {"training__val_size": 0.2, "head__dropout": 0.2},
        callbacks=[DiesOnce(str(base / "kill"))],
        checkpoint_dir=base / "checkpoints",
        checkpoint_steps=2,
        memory=base / f"memory-{rank_and_size()[0]}",
        verbose=1,
    ).fit(rows_of())


def uninterrupted(base):
    folder = base / f"whole-{rank_and_size()[0]}"
    classifier = make(
        base,
        {"training__val_size": 0.2, "head__dropout": 0.2},
        callbacks=[DiesOnce("never")],
        checkpoint_dir=folder,
        keep_checkpoints=True,
    )
    return classifier.fit(rows_of())


# They have no dropout, so two processes take the same steps as one.
SAME_STEPS = [with_validation, with_few_rows_of_a_task, with_calibration_fit, grown, of_one_task]
FITS = [*SAME_STEPS, with_early_stopping, without_a_seed, uninterrupted, with_checkpoints]


# --------------------------------------------------------------------------------------------
# Fits that fail. Each function takes a folder.


def other_rows(base):
    make(base).fit(rows_of(n=60 + rank_and_size()[0]))


def other_parameter(base):
    make(base, {"training__epochs": 2 + rank_and_size()[0]}).fit(rows_of(n=60))


def damaged_checkpoint(base):
    folder = base / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint.safetensors").write_bytes(b"x" * 1000)
    make(base, checkpoint_dir=folder).fit(rows_of(n=60))


def diverged(base):
    make(base, {"training__learning_rate": 1e30}).fit(rows_of(n=60))


FAILURES = [other_rows, other_parameter, damaged_checkpoint, diverged]


# --------------------------------------------------------------------------------------------
# Descriptions


def describe(classifier):
    """Return the parts of a fit that must be the same in all processes."""
    digest = hashlib.sha256()
    for tensor in classifier.net_.module_.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    history = [
        {name: float(value) for name, value in epoch.items() if name not in ("dur", "batches")}
        for epoch in classifier.net_.history
    ]
    return {
        "weights": digest.hexdigest(),
        "history": history,
        "temperatures": classifier.model_.temperatures,
        "test_scores": classifier.test_scores_,
    }


def weights_of(classifier):
    state = classifier.net_.module_.state_dict()
    return {name: tensor.numpy().copy() for name, tensor in state.items()}


def n_encoded(base):
    """Return how many texts this process encodes in a fit of the heads alone."""
    counts, forward = [], BertModel.forward

    def counted(self, *args, **kwargs):
        counts.append(len(kwargs["input_ids"]))
        return forward(self, *args, **kwargs)

    BertModel.forward = counted
    try:
        config = {"encoder__unfreeze_layers": 0, "training__val_size": 0.2, "pooling": "mean"}
        make(base, config).fit(rows_of())
    finally:
        BertModel.forward = forward
    return sum(counts)


def run_all(base):
    """Run the fits, and store the weights of the first process.

    One process runs only the fits that are compared with those of two processes.
    """
    found = {"fits": {}, "failures": {}, "shown": {}, "n_encoded": n_encoded(base)}
    rank, size = rank_and_size()
    for fit in SAME_STEPS if size == 1 else FITS:
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            classifier = fit(base)
        found["fits"][fit.__name__] = describe(classifier)
        found["shown"][fit.__name__] = shown.getvalue()
        if rank == 0:
            np.savez(base / f"{fit.__name__}-{size}.npz", **weights_of(classifier))
    for fit in FAILURES if size > 1 else []:
        try:
            fit(base)
        except (ValueError, RuntimeError, FloatingPointError) as error:
            found["failures"][fit.__name__] = f"{type(error).__name__}: {error}"
    return found


def die(base):
    """Fit until the process of rank 1 kills itself."""
    with_checkpoints(base)


ACTIONS = {"run_all": run_all, "die": die}


def main(action, base):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    rank, size = rank_and_size()
    found = ACTIONS[action](base)
    (base / f"{action}-{rank}-of-{size}.json").write_text(json.dumps(found))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
