"""Progress on standard error: lines in a log, a bar in a terminal or a notebook, and scores."""

import os
import re
import subprocess
import sys
import types

import numpy as np
import pytest
from skorch.callbacks import Callback

from rapidfit_sk import EncoderConfig

# A fit of 1 head-only epoch and 2 others, with 50 steps each. In floats, the sum of 150 times 1/50
# is more than 3.
SCRIPT = """
import sys, warnings
from tqdm import TqdmWarning
from rapidfit_sk import MultiheadClassifier
from rapidfit_sk.datasets import load_support_messages

warnings.simplefilter("ignore")
warnings.simplefilter("error", TqdmWarning)
rows = load_support_messages()
config = {
    "training": {"model_name": sys.argv[1], "epochs": 2, "batch_size": 4, "test_size": 0},
    "encoder": {"unfreeze_layers": 2},
}
held_out = rows["text"].isin(rows["text"].unique()[:100])
classifier = MultiheadClassifier(
    config, label_texts=None, random_state=0, precision="float32", verbose=int(sys.argv[2])
)
classifier.fit(rows[~held_out], X_val=rows[held_out])
assert {epoch["train_batch_count"] for epoch in classifier.net_.history} == {50}
"""
TASKS = ["sentiment", "intent", "emotion"]


@pytest.fixture
def command(encoder_name):
    """Return the command that trains in a process of its own."""
    return lambda verbose: [sys.executable, "-c", SCRIPT, encoder_name, str(verbose)]


def lines_of(epochs):
    """Return the lines of epochs in a text."""
    return [line for line in re.split(r"[\r\n]+", epochs) if line.startswith("epoch ")]


def check_scores(line, metric):
    """Check that a line has a score of each task."""
    assert re.search(
        rf"validation {metric}: " + ", ".join(rf"'{task}' \d\.\d{{3}}" for task in TASKS), line
    )


@pytest.mark.slow
@pytest.mark.parametrize("verbose", [1, 2])
def test_a_log_has_one_line_per_epoch(command, verbose):
    """Without a terminal, each epoch writes one line, and nothing redraws a line.

    F1 scores and learning rates are in the lines with verbose=2 only.
    """
    done = subprocess.run(command(verbose), capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "\r" not in done.stderr
    lines = lines_of(done.stderr)
    assert [line.split(" | ")[:2] for line in lines] == [
        ["epoch 1 of 3", "heads only"],
        ["epoch 2 of 3", "top 2 layers"],
        ["epoch 3 of 3", "top 2 layers"],
    ]
    for line in lines:
        assert re.search(r"\| train loss \d\.\d{4} \| validation loss \d\.\d{4} \|", line)
        check_scores(line, "accuracy")
        assert ("validation f1" in line) == ("learning rate: encoder " in line) == (verbose == 2)
    if verbose == 2:
        check_scores(lines[0], "f1")
    ends = [line.rpartition(" | ")[2] for line in lines]
    assert ends[0] == "time left unknown"  # the layers that train later take another time
    assert re.fullmatch(r"time left \d\d:\d\d", ends[1])
    assert ends[2] == "time left 00:00"
    # Nothing else is written, apart from the table of scores.
    assert len(done.stderr.splitlines()) == len(lines) + 2 + len(TASKS)


def run_in_terminal(command):
    """Run a command whose standard error is a terminal of 100 columns, and return its output."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    terminal, error = pty.openpty()
    termios.tcsetwinsize(error, (24, 100))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    with subprocess.Popen(
        command, stderr=error, stdout=subprocess.PIPE, env=environment
    ) as process:
        os.close(error)
        shown = b""
        try:
            while part := os.read(terminal, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(terminal)
        assert process.stdout.read() == b""
    assert process.returncode == 0, shown.decode()
    return shown.decode()


@pytest.mark.slow
@pytest.mark.parametrize("verbose", [1, 2])
def test_a_terminal_shows_a_bar_per_phase(command, verbose):
    """In a terminal, a bar counts to the last epoch of each phase exactly, and shows a time left.

    With verbose=2, lines are above the bars.
    """
    shown = run_in_terminal(command(verbose))
    for phase, n in {"heads only": 1, "top 2 layers": 2}.items():
        counts = re.findall(rf"training, {phase}: +\S* +epoch (\d\.\d)/{n} \[\d\d:\d\d<", shown)
        assert (counts[0], counts[-1]) == ("0.0", f"{n}.0")
    assert "valid_accuracy=" in shown
    assert "Warning" not in shown
    assert len(lines_of(shown)) == (3 if verbose == 2 else 0)
    assert "Scores on the validation rows" in shown


def test_a_notebook_shows_a_bar(make_classifier, messages, capsys, monkeypatch):
    """In a Jupyter kernel, whose standard error is not a terminal, a fit shows a bar."""
    monkeypatch.delenv("COLUMNS", raising=False)  # it would limit the width of the bar
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    make_classifier(verbose=1).fit(messages)
    err = capsys.readouterr().err
    assert "training, heads only:" in err
    assert "training, top 2 layers:" in err
    assert err.count("epoch 1.0/1") >= 2
    assert not lines_of(err)
    assert "Widget" not in err


def test_a_log_of_the_application(make_classifier, messages, capsys, caplog):
    """If the application logs messages of this package, lines go to its log only."""
    with caplog.at_level("INFO", logger="rapidfit_sk"):
        make_classifier(verbose=1).fit(messages)
    logged = [record.getMessage() for record in caplog.records]
    assert len([line for line in logged if line.startswith("epoch ")]) == 2
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert capsys.readouterr().err == ""
    caplog.clear()
    with caplog.at_level("WARNING", logger="rapidfit_sk"):
        make_classifier(verbose=1).fit(messages)
    assert not caplog.records
    assert len(lines_of(capsys.readouterr().err)) == 2


def test_nothing_without_verbose(make_classifier, messages, capsys, caplog):
    """With verbose=0, nothing is shown or logged, not even of a calibration fit."""
    with caplog.at_level("DEBUG", logger="rapidfit_sk"):
        make_classifier(val_size=None, test_size=0).fit(messages)
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize(
    ("layers", "phase"),
    [
        (None, "whole encoder"),
        (0, "heads only"),
        (1, "top layer"),
        (3, "top 3 layers"),
        (4, "all layers"),
        (9, "all layers"),
    ],
)
def test_lines_name_the_layers_that_train(make_classifier, messages, capsys, layers, phase):
    """The line of a fine-tuning epoch names the trainable layers of an encoder with 4 layers."""
    encoder = EncoderConfig(freeze_epochs=0, unfreeze_layers=layers)
    make_classifier(encoder=encoder, verbose=1).fit(messages[:100])
    (line,) = lines_of(capsys.readouterr().err)
    assert line.split(" | ")[1] == phase


class Interrupt(Callback):
    """Callback that interrupts an epoch, like a person who presses Ctrl+C."""

    at: int | None = None

    def on_epoch_begin(self, net, **kwargs):
        if net.epoch_ == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("verbose", [(0, 1), (1, 0), (1, 1)])
def test_an_interrupted_fit_continues_with_another_verbosity(
    make_classifier, messages, tmp_path, capsys, monkeypatch, verbose
):
    """`verbose` may change before a fit continues, whose lines begin with the interrupted epoch."""
    first, second = verbose
    interrupted = make_classifier(
        epochs=3, checkpoint_dir=tmp_path / "fit", verbose=first, callbacks=[Interrupt()]
    )
    monkeypatch.setattr(Interrupt, "at", 2)
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(messages)
    assert len(lines_of(capsys.readouterr().err)) == 2 * first
    monkeypatch.setattr(Interrupt, "at", None)
    interrupted.set_params(verbose=second).fit(messages)
    lines = [line.partition(" | ")[0] for line in lines_of(capsys.readouterr().err)]
    assert lines == (["epoch 3 of 4", "epoch 4 of 4"] if second else [])


# --------------------------------------------------------------------------------------------
# Scores at the end of a fit


def table_of(shown):
    """Return the title of the table of scores, and its rows."""
    lines = shown.splitlines()
    (start,) = (i for i, line in enumerate(lines) if line.startswith("Scores on"))
    rows = (line.split() for line in lines[start + 2 :])
    return lines[start], {task: list(map(float, numbers)) for task, *numbers in rows}


def test_scores_on_test_rows_come_first(make_classifier, messages, capsys):
    """With test rows and validation rows, the table has the scores on the test rows."""
    fitted = make_classifier(verbose=1).fit(messages)
    title, rows = table_of(capsys.readouterr().err)
    assert title == "Scores on the test rows"
    for task, score in fitted.test_scores_.items():
        np.testing.assert_allclose(rows[task], list(score.values()), atol=5e-4)


@pytest.mark.parametrize("warm", [False, True])
def test_scores_of_the_kept_epoch(make_classifier, messages, capsys, warm):
    """With validation rows only, the table has their scores in the epoch that `fit` keeps.

    After a warm start, this epoch is counted from the start of the second fit.
    """
    valid = messages["text"].isin(messages["text"].unique()[:60])
    options = {"test_size": 0, "epochs": 3, "learning_rate": 0.05, "verbose": 1}
    classifier = make_classifier(**options, warm_start=warm)
    n_before = 0
    if warm:
        n_before = len(classifier.fit(messages[~valid]).net_.history)
        capsys.readouterr()
    classifier.fit(messages[~valid], X_val=messages[valid])
    best = dict(classifier.net_.callbacks_)["early_stopping"].best_epoch_
    title, rows = table_of(capsys.readouterr().err)
    assert title == (
        f"Scores on the validation rows after epoch {best + 1}, whose weights were kept"
    )
    kept = classifier.net_.history[n_before + best]
    for task, (accuracy, f1, n_rows) in rows.items():
        assert accuracy == pytest.approx(kept[f"valid_accuracy/{task}"], abs=5e-4)
        assert f1 == pytest.approx(kept[f"valid_f1/{task}"], abs=5e-4)
        assert n_rows == (messages[valid]["task"] == task).sum()
        # The weights are those of this epoch.
        part = messages[valid & (messages["task"] == task)]
        score = classifier[task].score(part["text"], part["label"])
        assert accuracy == pytest.approx(score, abs=5e-4)


def test_without_held_out_rows_there_are_no_scores(make_classifier, messages, capsys):
    """Without test rows and validation rows, `verbose` reports that there are no scores."""
    make_classifier(test_size=0, val_size=0, verbose=1).fit(messages)
    assert capsys.readouterr().err.endswith("No rows were held out, so there are no scores.\n")
