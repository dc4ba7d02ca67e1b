"""Forks beside threads that predict or load: `test_forks.py` runs this file in a new process."""

import faulthandler
import os
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

from rapidfit_sk import MultiheadClassifier
from rapidfit_sk.testing import tiny_encoder

from .small import LABELS, TEXTS, make

warnings.simplefilter("ignore")


def works(classifier, folder, expected):
    """Check that a forked process predicts, loads, unpickles and trains."""
    loaded = MultiheadClassifier.load(folder)
    for each in (classifier, loaded):
        if not np.allclose(each.predict_proba(TEXTS), expected, atol=1e-6):
            return False
    classifier.add_task(TEXTS, LABELS, task="other")
    return classifier.predict_all(TEXTS).shape == (16, 2)


def fork(patience, *arguments):
    process = os.fork()
    if process:
        return process
    faulthandler.dump_traceback_later(patience / 2)  # shows where a process hangs
    try:
        os._exit(0 if works(*arguments) else 1)
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(2)


def outcome(process, patience):
    """Return the exit status of a process, or "hung" after killing it."""
    for _ in range(int(patience / 0.05)):
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return "hung"


def main(activity, n_forks, patience):
    classifier = make(tiny_encoder())
    classifier.fit(TEXTS, LABELS)
    expected = classifier.predict_proba(TEXTS)
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base, "model")
        classifier.save(folder)
        act = {
            "predict": lambda: classifier.predict(TEXTS * 16),
            "load": lambda: MultiheadClassifier.load(folder),
            "nothing": lambda: time.sleep(0.01),
        }[activity]
        stop = threading.Event()

        def repeat():
            while not stop.is_set():
                act()

        threads = [threading.Thread(target=repeat) for _ in range(2)]
        for thread in threads:
            thread.start()
        found = []
        for i in range(n_forks):
            time.sleep(0.01 * (i % 3))
            found.append(outcome(fork(patience, classifier, folder, expected), patience))
        stop.set()
        for thread in threads:
            thread.join()
    sys.stdout.write(" ".join(map(str, found)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
