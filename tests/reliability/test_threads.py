"""Calls that change one classifier take turns, and readers see one state."""

import pickle
import threading

import numpy as np
import pytest

from rapidfit_sk import MultiheadClassifier
from rapidfit_sk.testing import tiny_encoder

from .small import LABELS, TEXTS, make


@pytest.fixture(scope="module")
def encoder():
    return tiny_encoder(n_layers=1)


@pytest.fixture
def classifier(encoder):
    return make(encoder, {"training__min_steps_per_epoch": 1})


def run_together(*functions):
    """Run functions in threads that start at the same time, and raise the first exception."""
    barrier, errors = threading.Barrier(len(functions)), []

    def run(function):
        barrier.wait()
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_tasks_that_threads_add_at_once(classifier):
    """No task is lost if six threads add one each; the result does not depend on their order."""
    classifier.fit(TEXTS, LABELS)
    before = classifier.predict_proba(TEXTS, task="label")
    names = [f"task{i}" for i in range(6)]
    run_together(
        *(lambda name=name: classifier.add_task(TEXTS, LABELS, task=name) for name in names)
    )
    assert sorted(classifier.tasks_) == ["label", *names]
    assert np.array_equal(classifier.predict_proba(TEXTS, task="label"), before)
    shares = [classifier.predict_proba(TEXTS, task=name) for name in names]
    assert all(np.array_equal(shares[0], other) for other in shares)
    assert len(classifier.net_.history) == 7 * 2


def test_training_in_parts_by_threads(classifier):
    """Each partial_fit of several threads continues from the one before it."""
    classifier.partial_fit(TEXTS, LABELS)
    run_together(*[lambda: classifier.partial_fit(TEXTS, LABELS)] * 5)
    assert len(classifier.net_.history) == 6


@pytest.mark.parametrize("change", ["fit", "add_task"])
def test_saves_during_a_change(classifier, tmp_path, change):
    """Each folder and pickle that is written during a refit or add_task loads, and is one state."""
    classifier.fit(TEXTS, LABELS)
    done = threading.Event()

    def changes():
        for i in range(12):
            if change == "fit":
                extra = [f"class {i}"] * (i % 3)
                classifier.fit(TEXTS + ["more"] * len(extra), LABELS + extra)
            else:
                classifier.add_task(TEXTS, LABELS, task=f"task{i}")
        done.set()

    def saves():
        n = 0
        while not done.is_set() or n < 8:
            classifier.save(tmp_path / "model")
            loaded = MultiheadClassifier.load(tmp_path / "model")
            copy = pickle.loads(pickle.dumps(classifier))
            for each in (loaded, copy):
                shares = each.predict_proba(TEXTS[:2], task="label")
                assert shares.shape == (2, len(each.classes_["label"]))
                assert len(each.train_indices_) in (16, 17, 18)
                if change == "fit":
                    assert len(each.classes_["label"]) == 2 + (len(each.train_indices_) > 16)
            n += 1

    run_together(changes, saves)


def test_predictions_during_a_change(classifier):
    """Predictions during refits and new tasks have the columns of one state."""
    classifier.fit(TEXTS, LABELS)
    done = threading.Event()

    def changes():
        for i in range(6):
            classifier.add_task(TEXTS, LABELS, task=f"task{i}")
            classifier.fit(TEXTS, LABELS)
        done.set()

    def predicts():
        while not done.is_set():
            assert classifier.predict_all(TEXTS).shape[0] == 16
            assert classifier.predict_proba(TEXTS, task="label").shape == (16, 2)

    run_together(changes, predicts)
