"""An exception at any line of a method that trains leaves the classifier as it was."""

import functools
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from transformers.utils import logging as transformers_logging

import rapidfit_sk
from rapidfit_sk import EncoderConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk._compat import CallbackSupportMixin
from rapidfit_sk._model import encoders, tokens
from rapidfit_sk.testing import tiny_encoder

PACKAGE = str(Path(rapidfit_sk.__file__).parent)
TEXTS = ["good word", "bad thing", "a good day", "a bad day", "good", "bad"]
LABELS = ["p", "n", "p", "n", "p", "n"]
TOPICS = ["x", "x", "y", "y", "x", "y"]


class Fault(BaseException):
    """An exception that no code of the library expects."""


@functools.cache
def lines_of(code):
    """Return the numbers of the lines of a function."""
    return {line for _, _, line in code.co_lines()}


class Lines:
    """Trace function that counts the lines of the package and raises at one of them."""

    def __init__(self, target=None):
        self.target = target
        self.seen = {}

    def __call__(self, frame, event, arg):
        code = frame.f_code
        if self.target is None:
            return self.local if code.co_filename.startswith(PACKAGE) else None
        # Only the function with the line is traced, because a trace takes its time.
        file, line = self.target
        return self.local if code.co_filename == file and line in lines_of(code) else None

    def local(self, frame, event, arg):
        if event == "line":
            place = (frame.f_code.co_filename, frame.f_lineno)
            self.seen[place] = None
            if place == self.target:
                self.target = None
                raise Fault(f"{place[0]}:{place[1]}")
        return self.local

    def run(self, function):
        sys.settrace(self)
        try:
            function()
        finally:
            sys.settrace(None)


@pytest.fixture(scope="module")
def encoder():
    return tiny_encoder(n_layers=1)


@pytest.fixture
def classifier(encoder):
    training = TrainingConfig(
        model_name=encoder, epochs=1, learning_rate=1e-3, test_size=0.34, min_steps_per_epoch=1
    )
    config = MultiheadConfig(training=training, encoder=EncoderConfig(unfreeze_layers=1))
    return MultiheadClassifier(config, random_state=0)


def state_of(classifier):
    """Return everything that a fit may change: attributes, weights, modes, hooks and answers."""
    if not hasattr(classifier, "model_"):
        return {name: id(value) for name, value in vars(classifier).items()}
    module = classifier.net_.module_
    return {
        "attributes": {name: id(value) for name, value in vars(classifier).items()},
        "weights": {name: t.clone() for name, t in module.state_dict().items()},
        "grads": [p.requires_grad for p in module.parameters()],
        "modes": [part.training for part in module.modules()],
        "hooks": [len(part._forward_pre_hooks) for part in module.modules()],
        "forwards": ["forward" in vars(part) for part in module.modules()],
        "history": len(classifier.net_.history),
        "answers": classifier.predict_proba(TEXTS, task="label").tolist(),
    }


def same(before, after):
    assert before.keys() == after.keys()
    for name in before.keys() - {"weights"}:
        assert before[name] == after[name], name
    for name, tensor in before.get("weights", {}).items():
        assert torch.equal(tensor, after["weights"][name]), name


def interrupt(place, function):
    """Run a function that raises Fault at a line."""
    Lines(place).run(function)
    pytest.fail(f"no exception at {place}")


def locks_are_free():
    """Check from another thread that no lock of the library was left behind."""
    found = []

    def check():
        for lock in (encoders._LOADING, tokens._TOKENIZING):
            found.append(lock.acquire(timeout=1))
            if found[-1]:
                lock.release()

    thread = threading.Thread(target=check)
    thread.start()
    thread.join()
    return all(found)


ACTIONS = {
    "first fit": (False, lambda c: c.fit(TEXTS, LABELS)),
    "fit": (True, lambda c: c.fit(TEXTS, [*LABELS[:5], "o"])),
    "partial_fit": (True, lambda c: c.partial_fit(TEXTS, [*LABELS[:5], "o"])),
    "add_task": (True, lambda c: c.add_task(TEXTS, TOPICS, task="topic")),
    "tune_thresholds": (True, lambda c: c.tune_thresholds(TEXTS, LABELS, coverage=0.5)),
}


def lines_of_action(classifier, action):
    """Return the lines that run in an action, and a classifier after it."""
    fitted_before, act = ACTIONS[action]
    whole = Lines()
    for _ in range(2):  # some lines run only the first time
        other = MultiheadClassifier(**classifier.get_params(deep=False))
        if fitted_before:
            other.fit(TEXTS, LABELS)
        whole.seen.clear()
        transformers_logging.enable_progress_bar()
        whole.run(lambda other=other: act(other))
    return list(whole.seen), other


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("action", ACTIONS)
def test_an_exception_in_a_line_changes_nothing(classifier, action):
    """An exception in a line that runs leaves the old state whole, and the next call works.

    Each line of a second fit and of a tuning is tried. Other trainings try each line that a second
    fit does not run, and a quarter of those that it does.
    """
    fitted_before, act = ACTIONS[action]
    if fitted_before:
        classifier.fit(TEXTS, LABELS)
    lines, other = lines_of_action(classifier, action)
    assert len(lines) > 300
    if action not in ("fit", "tune_thresholds"):
        shared = set(lines_of_action(classifier, "fit")[0])
        lines = [line for i, line in enumerate(lines) if line not in shared or i % 4 == 0]
    before = state_of(classifier)
    for place in lines:
        # A fault in the line that would enable them leaves the progress bars of transformers off.
        transformers_logging.enable_progress_bar()
        with pytest.raises(Fault, match=place[0]):
            interrupt(place, lambda: act(classifier))
        same(before, state_of(classifier))
        assert locks_are_free()
    assert act(classifier).predict(TEXTS).shape == other.predict(TEXTS).shape
    assert np.array_equal(classifier.predict(TEXTS), other.predict(TEXTS))


# --------------------------------------------------------------------------------------------
# Ctrl-C


class Interrupts(Callback):
    """Sends this process the signal of Ctrl-C at a training step."""

    def __init__(self, step=2):
        self.step = step

    def on_train_begin(self, net, **kwargs):
        self.n_steps_ = 0

    def on_batch_end(self, net, training=False, **kwargs):
        self.n_steps_ += training
        if training and self.n_steps_ == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("others", [[], [SkorchEarlyStopping(monitor="train_loss")]])
def test_ctrl_c_is_no_finished_fit(classifier, others):
    """Ctrl-C during training raises KeyboardInterrupt and leaves the earlier fit as it was."""
    classifier.set_params(config__training__epochs=3)
    classifier.fit(TEXTS, LABELS)
    before = state_of(classifier)
    classifier.set_params(callbacks=[*others, Interrupts()])
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread only")
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(TEXTS, LABELS)
    after = state_of(classifier)
    before["attributes"].pop("callbacks"), after["attributes"].pop("callbacks")
    same(before, after)


class InterruptsPatience(SkorchEarlyStopping):
    """An EarlyStopping of skorch during which the user presses Ctrl-C."""

    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore")
def test_ctrl_c_inside_early_stopping_of_skorch(classifier):
    """A KeyboardInterrupt from skorch's EarlyStopping only stops the fit if patience ran out."""
    classifier.set_params(
        config__training__epochs=3, callbacks=[InterruptsPatience(monitor="train_loss")]
    )
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(TEXTS, LABELS)
    assert not hasattr(classifier, "model_")
    stopping = SkorchEarlyStopping(monitor="train_loss", patience=1, threshold=100)
    classifier.set_params(callbacks=[stopping]).fit(TEXTS, LABELS)
    assert len(classifier.net_.history) < 4


# --------------------------------------------------------------------------------------------
# Callbacks that fail or that write to the encoder


if hasattr(CallbackSupportMixin, "set_callbacks"):

    class Fails:
        """A callback of scikit-learn that fails in one of its hooks."""

        def __init__(self, hook):
            self.hook = hook

        def _call(self, hook):
            if hook == self.hook:
                raise OSError(f"no disk in {hook}")

        def setup(self, estimator, context):
            self._call("setup")

        def on_fit_task_begin(self, estimator, context, **kwargs):
            self._call("begin")

        def on_fit_task_end(self, estimator, context, **kwargs):
            if context.task_name == "fit":
                self._call("end")

        def teardown(self, estimator, context):
            self._call("teardown")

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("hook", ["setup", "begin", "end", "teardown"])
    def test_a_callback_of_scikit_learn_that_fails(classifier, hook):
        """A callback that fails in any hook, also in the last one, leaves the old state whole."""
        classifier.fit(TEXTS, LABELS)
        before = state_of(classifier)
        classifier.set_callbacks(Fails(hook))
        with pytest.raises(OSError, match=hook):
            classifier.fit(TEXTS, TOPICS)
        classifier.set_callbacks()
        same(before, state_of(classifier))


class Writes(Callback):
    """Writes to the encoder, and fails afterwards if `fails` is true."""

    def __init__(self, fails=False):
        self.fails = fails

    def on_epoch_end(self, net, **kwargs):
        with torch.no_grad():
            for parameter in net.module_.encoder.parameters():
                parameter.data += 1
        if self.fails:
            raise RuntimeError("halfway")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fails", [False, True])
def test_a_callback_of_add_task_cannot_change_the_model(classifier, fails):
    """A callback that writes to the encoder in add_task is an error and changes no prediction."""
    classifier.fit(TEXTS, LABELS)
    before = state_of(classifier)
    classifier.set_params(callbacks=[Writes(fails)])
    with pytest.raises((ValueError, RuntimeError), match="halfway" if fails else "the encoder"):
        classifier.add_task(TEXTS, TOPICS, task="topic")
    classifier.set_params(callbacks=None)
    after = state_of(classifier)
    before["attributes"].pop("callbacks"), after["attributes"].pop("callbacks")
    same(before, after)
