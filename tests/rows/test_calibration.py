"""Temperatures calibrate probabilities and do not change predicted labels."""

import re

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from rapidfit_sk import EncoderConfig, EvalConfig, MultiheadClassifier
from rapidfit_sk._rows.calibration import fit_temperatures, probabilities
from rapidfit_sk._training import MultiheadNet
from rapidfit_sk._training.net import StopTraining

TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]


def fit_temperature(*task):
    """Fit the temperature of a single task."""
    return fit_temperatures([task])[0]


def draw_rows(n, temperature, seed=0):
    """Return random logits and labels drawn from their probabilities at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(n, 4)).astype(np.float32)
    p = probabilities(logits, temperature)
    return logits, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_is_recovered(temperature):
    """The fitted temperature is the one at which the labels were drawn."""
    logits, labels = draw_rows(20_000, temperature)
    assert fit_temperature(logits, labels, np.ones(20_000)) == pytest.approx(temperature, rel=0.05)


def test_few_rows_have_little_effect():
    """Three correct rows lower the temperature only a little; without labeled rows, it is 1."""
    logits = np.array([[1.0, 0.0]] * 3, np.float32)
    assert 0.3 < fit_temperature(logits, np.zeros(3, int), np.ones(3)) < 1
    assert fit_temperature(logits[:0], np.zeros(0, int), np.ones(0)) == 1
    assert fit_temperature(logits, np.full(3, -1), np.ones(3)) == 1


def test_row_weights_act_as_repetitions():
    """A row with weight 2 counts as two rows, and only the ratios of weights matter."""
    logits, labels = draw_rows(200, 2.0)
    weights = np.tile([1.0, 2.0], 100)
    twice = np.repeat(np.arange(200), np.tile([1, 2], 100))
    weighted = fit_temperature(logits, labels, weights)
    repeated = fit_temperature(logits[twice], labels[twice], np.ones(300))
    assert weighted == pytest.approx(repeated, rel=0.02)
    assert fit_temperature(logits, labels, 8 * weights) == pytest.approx(weighted, rel=1e-6)


def test_small_task_stays_near_the_common_temperature():
    """A task with five rows stays near the common temperature; a task with 1,000 rows does not."""
    (many, labels), (few, few_labels) = draw_rows(1000, 3.0), draw_rows(5, 1.0, seed=1)
    large = many, labels, np.ones(1000)
    first, second = fit_temperatures([large, (few, few_labels, np.ones(5))])
    assert first == pytest.approx(3, rel=0.15)
    assert 1.5 < second < 4
    own, _ = draw_rows(1000, 0.5, seed=2)
    labels = draw_rows(1000, 0.5, seed=2)[1]
    # A second task without rows does not change the temperature.
    empty = few[:0], few_labels[:0], np.ones(0)
    alone = fit_temperature(few, few_labels, np.ones(5))
    assert fit_temperatures([(few, few_labels, np.ones(5)), empty]) == [alone] * 2
    assert fit_temperatures([large, (own, labels, np.ones(1000))])[1] == pytest.approx(0.5, rel=0.2)
    assert fit_temperatures([large, (few[:0], few_labels[:0], np.ones(0))])[1] == pytest.approx(
        first, rel=0.1
    )


@pytest.fixture(scope="module")
def overconfident(encoder_name, messages):
    """An overconfident classifier with temperatures, and the same classifier without them."""
    classifier = MultiheadClassifier(random_state=0).set_params(
        config__training__model_name=encoder_name,
        config__training__learning_rate=3e-2,
        config__training__val_size=0.3,
        config__training__epochs=5,
        config__encoder__unfreeze_layers=0,
        config__eval__metric="loss",
        config__eval__one_se_rule=False,
    )
    plain = MultiheadClassifier(**classifier.get_params(deep=False))
    plain.config = MultiheadClassifier().set_params(**classifier.get_params()).config
    return classifier.fit(messages), plain.set_params(config__eval__calibrate=False).fit(messages)


def log_loss(classifier, rows, task):
    """Return the mean log loss of the rows of a task."""
    part = rows[rows["task"] == task]
    p = classifier.predict_proba(part["text"], task)
    codes = np.searchsorted(classifier.classes_[task], part["label"])
    return -np.log(p[np.arange(len(part)), codes]).mean()


def test_calibration_changes_probabilities_but_no_labels(overconfident, messages):
    """Calibration reduces the log loss of the validation rows and changes no predicted label."""
    calibrated, plain = overconfident
    assert set(plain.temperatures_.values()) == {1.0}
    rows = messages.iloc[calibrated.val_indices_]
    counts = rows["task"].value_counts()
    losses = [sum(n * log_loss(c, rows, task) for task, n in counts.items()) for c in overconfident]
    assert losses[0] < losses[1]
    for task, temperature in calibrated.temperatures_.items():
        assert temperature != 1
        first, second = (c.predict_proba(messages["text"], task) for c in overconfident)
        assert np.array_equal(first.argmax(axis=1), second.argmax(axis=1))
    assert calibrated.predict_all(TEXTS).equals(plain.predict_all(TEXTS))


def test_temperatures_come_from_the_best_epoch(overconfident):
    """Temperatures come from the validation pass of the best epoch."""
    net = overconfident[0].net_
    kept = dict(net.callbacks_)["early_stopping"].best_epoch_
    for task, temperature in overconfident[0].temperatures_.items():
        assert net.history[kept, f"temperature/{task}"] == temperature


def test_temperatures_are_saved(overconfident, tmp_path):
    """Saving with joblib or to a folder keeps the temperatures and the probabilities."""
    classifier, _ = overconfident
    joblib.dump(classifier, tmp_path / "classifier.joblib")
    classifier.save(tmp_path / "folder")
    loaded = [
        joblib.load(tmp_path / "classifier.joblib"),
        MultiheadClassifier.load(tmp_path / "folder"),
    ]
    for other in loaded:
        assert other.temperatures_ == classifier.temperatures_
        for task, p in classifier.predict_proba(TEXTS).items():
            assert np.array_equal(p, other.predict_proba(TEXTS)[task])


def test_temperatures_after_more_training(make_classifier, messages):
    """`add_task` fits one new temperature; training without calibration rows keeps all of them."""
    classifier = make_classifier(val_size=0.3).fit(messages[messages["task"] == "sentiment"])
    before = dict(classifier.temperatures_)
    classifier.add_task(messages[messages["task"] == "intent"])
    assert classifier.temperatures_["sentiment"] == before["sentiment"]
    assert classifier.temperatures_["intent"] != 1
    before = classifier.temperatures_
    classifier.partial_fit(messages[messages["task"] == "intent"].head(50))
    assert classifier.temperatures_ == before
    classifier.set_params(warm_start=True, config__eval__calibrate=False)
    with pytest.warns(UserWarning, match="An earlier fit may have trained"):
        classifier.fit(messages)
    assert set(classifier.temperatures_.values()) == {1.0}


class TrainingCounter(Callback):
    """Callback that counts how often a training begins."""

    count = 0

    def on_train_begin(self, net, **kwargs):
        type(self).count += 1


@pytest.fixture(scope="module")
def calibrated(encoder_name, messages):
    """Overconfident classifiers with and without temperatures, and rows that were held out."""
    TrainingCounter.count = 0
    classifier = MultiheadClassifier(random_state=0, callbacks=[TrainingCounter()]).set_params(
        config__training__model_name=encoder_name,
        config__training__learning_rate=5e-3,
        config__training__test_size=0,
        config__training__epochs=20,
        config__head__dropout=0.0,
    )
    texts = messages["text"].drop_duplicates().sample(frac=0.5, random_state=0)
    is_held_out = messages["text"].isin(texts)
    plain = clone(classifier).set_params(config__eval__calibrate=False)
    classifier.fit(messages[~is_held_out])
    return classifier, plain.fit(messages[~is_held_out]), messages[is_held_out]


def test_calibration_fit_changes_only_temperatures(calibrated):
    """The calibration fit provides the temperatures and does not change the main training."""
    classifier, plain, held_out = calibrated
    assert not len(classifier.val_indices_)
    assert np.array_equal(classifier.train_indices_, plain.train_indices_)
    for (name, one), other in zip(
        classifier.net_.module_.state_dict().items(),
        plain.net_.module_.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(one, other), name
    assert classifier.predict_all(held_out["text"]).equals(plain.predict_all(held_out["text"]))
    assert min(classifier.temperatures_.values()) > 1
    losses = [sum(log_loss(c, held_out, task) for task in c.tasks_) for c in calibrated[:2]]
    assert losses[0] < 0.8 * losses[1]
    assert set(plain.temperatures_.values()) == {1.0}


def test_callbacks_do_not_run_in_the_calibration_fit(calibrated):
    """Callbacks run only in the main training, and the history contains only its epochs."""
    assert TrainingCounter.count == 2
    assert len(calibrated[0].net_.history) == 21


def test_verbose_announces_the_calibration_fit(make_config, messages, capsys):
    """With `verbose`, the calibration fit is announced, and its epochs have lines that name it."""
    classifier = MultiheadClassifier(make_config(val_size=None), random_state=0, verbose=1)
    classifier.fit(messages.head(200))
    shown = capsys.readouterr().err
    assert shown.count("Calibrating: training once") == 1
    lines = re.findall(r"^(?:\w+ \| )?epoch \d+ of \d+", shown, re.MULTILINE)
    epochs = ["epoch 1 of 2", "epoch 2 of 2"]
    assert lines == [f"calibration | {epoch}" for epoch in epochs] + epochs
    classifier.set_params(config__eval__calibrate=False).fit(messages.head(200))
    assert "Calibrating: training once" not in capsys.readouterr().err


class StopsEarly(Callback):
    """Callback that stops the training after the first epoch."""

    def on_epoch_end(self, net, **kwargs):
        raise StopTraining


def test_stopped_training_ignores_the_calibration_fit(make_classifier, messages):
    """If a callback stops the main training, the temperatures of the calibration fit are unused."""
    whole = make_classifier(val_size=None).fit(messages)
    short = make_classifier(val_size=None, callbacks=[StopsEarly()]).fit(messages)
    assert 1.0 not in whole.temperatures_.values()
    assert set(short.temperatures_.values()) == {1.0}


def test_warm_start_has_no_calibration_fit(make_classifier, messages, monkeypatch):
    """A warm start runs no calibration fit, because the model may have trained on all rows."""
    classifier = make_classifier(val_size=None, warm_start=True, test_size=0).fit(messages)
    before = classifier.temperatures_
    assert 1.0 not in before.values()
    begins = []
    begin = MultiheadNet.on_train_begin
    monkeypatch.setattr(
        MultiheadNet,
        "on_train_begin",
        lambda self, *a, **k: begins.append(1) or begin(self, *a, **k),
    )
    classifier.fit(messages)
    assert len(begins) == 1
    assert classifier.temperatures_ == before


def test_task_without_calibration_rows_has_the_common_temperature(make_classifier, messages):
    """A task without calibration rows gets the common temperature of the other tasks."""
    few = pd.DataFrame({"text": ["a b", "c d"], "task": "tiny", "label": ["x", "y"]})
    rows = pd.concat([messages, few], ignore_index=True)
    found = make_classifier(val_size=None, test_size=0).fit(rows).temperatures_
    others = [found[task] for task in found if task != "tiny"]
    assert found["tiny"] != 1
    assert min(others) <= found["tiny"] <= max(others)


def test_calibration_fit_uses_the_embedding_cache(make_classifier, messages, tmp_path, encoded):
    """With a frozen encoder and `memory`, a second fit and its calibration fit encode no text."""
    frozen = EncoderConfig(freeze_epochs=1, unfreeze_layers=0)
    options = {"val_size": None, "test_size": 0, "encoder": frozen, "memory": str(tmp_path)}
    first = make_classifier(**options).fit(messages)
    assert sum(encoded) >= messages["text"].nunique()
    encoded.clear()
    second = make_classifier(**options).fit(messages)
    assert not encoded
    assert second.temperatures_ == first.temperatures_


def test_add_task_calibrates_small_tasks(make_classifier, messages):
    """`add_task` calibrates a task with few rows, and other tasks keep their temperatures."""
    classifier = make_classifier(val_size=None).fit(messages[messages["task"] == "sentiment"])
    before = dict(classifier.temperatures_)
    assert before["sentiment"] != 1
    classifier.add_task(messages[messages["task"] == "intent"])
    assert classifier.temperatures_["sentiment"] == before["sentiment"]
    assert classifier.temperatures_["intent"] != 1


def test_classes_with_one_row_are_not_calibrated(make_classifier, minimal_setup, capsys, encoded):
    """If each class has only one row, there are no calibration rows and no calibration fit."""
    classifier = make_classifier(val_size=None, test_size=0, verbose=1).fit(minimal_setup)
    n_passes = len(encoded)
    assert "Calibrating: training once" not in capsys.readouterr().err
    assert set(classifier.temperatures_.values()) == {1.0}
    encoded.clear()
    classifier.set_params(config__eval__calibrate=False).fit(minimal_setup)
    assert len(encoded) == n_passes


def test_val_size_zero_disables_calibration(make_classifier, messages):
    """With `val_size=0`, all temperatures are 1 even if `calibrate` is True."""
    classifier = make_classifier(val_size=0, eval=EvalConfig(calibrate=True)).fit(messages)
    assert set(classifier.temperatures_.values()) == {1.0}
