"""A process that is forked beside busy threads can predict, load and train."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rapidfit_sk._forks import computes, held_at_fork

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.slow
@pytest.mark.parametrize("n_threads", ["1", "2"])
@pytest.mark.parametrize("activity", ["predict", "load", "nothing"])
def test_forks_beside_threads(activity, n_threads):
    """No forked process hangs or fails while two threads of its parent are busy."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.forked", activity, "10", "60"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": n_threads},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["0"] * 10, done.stderr[-5000:]


def forked(check):
    """Run a check in a forked process and return its exit code."""
    process = os.fork()
    if not process:
        os._exit(0 if check() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_a_fork_waits_for_a_lock():
    """A forked process never inherits a lock that another thread holds."""
    lock = held_at_fork(threading.RLock())
    held, release = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    threading.Timer(0.2, release.set).start()
    assert forked(lambda: lock.acquire(blocking=False)) == 0
    thread.join()


def test_computations_move_to_another_thread_after_a_fork():
    """A decorated function runs in its own thread before a fork, and in a new one afterwards."""
    where = computes(threading.get_ident)
    assert where() == threading.get_ident()
    assert forked(lambda: where() != threading.get_ident() and where() == where()) == 0

    @computes
    def fails():
        raise ValueError("as before")

    def raises():
        with pytest.raises(ValueError, match="as before"):
            fails()
        return True

    assert forked(raises) == 0
