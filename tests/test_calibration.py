"""Temperatures: probabilities mean what they say, and labels stay as they are."""

import joblib
import numpy as np
import pytest

from rapidfit_sk import EvalConfig, MultiheadClassifier
from rapidfit_sk._calibration import fit_temperature, probabilities

TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]


def drawn(n, temperature, seed=0):
    """Logits, and labels drawn from what they say at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(n, 4)).astype(np.float32)
    p = probabilities(logits, temperature)
    return logits, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_is_found(temperature):
    """Labels drawn at a temperature give it back."""
    logits, labels = drawn(20_000, temperature)
    assert fit_temperature(logits, labels, np.ones(20_000)) == pytest.approx(temperature, rel=0.05)


def test_few_rows_say_little():
    """Three rows that are all right do not make the model certain; no rows change nothing."""
    logits = np.array([[1.0, 0.0]] * 3, np.float32)
    assert 0.3 < fit_temperature(logits, np.zeros(3, int), np.ones(3)) < 1
    assert fit_temperature(logits[:0], np.zeros(0, int), np.ones(0)) == 1
    assert fit_temperature(logits, np.full(3, -1), np.ones(3)) == 1


def test_rows_weigh():
    """A row of weight 2 counts as two; only ratios matter."""
    logits, labels = drawn(200, 2.0)
    weights = np.tile([1.0, 2.0], 100)
    twice = np.repeat(np.arange(200), np.tile([1, 2], 100))
    weighted = fit_temperature(logits, labels, weights)
    repeated = fit_temperature(logits[twice], labels[twice], np.ones(300))
    assert weighted == pytest.approx(repeated, rel=0.02)
    assert fit_temperature(logits, labels, 8 * weights) == pytest.approx(weighted, rel=1e-6)


@pytest.fixture(scope="module")
def sharp(encoder_name, messages):
    """A classifier that is far too sure, with and without temperatures."""
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
    part = rows[rows["task"] == task]
    p = classifier.predict_proba(part["text"], task)
    codes = np.searchsorted(classifier.classes_[task], part["label"])
    return -np.log(p[np.arange(len(part)), codes]).mean()


def test_calibration_changes_probabilities_and_no_label(sharp, messages):
    """The validation rows become likelier; what is predicted stays the same."""
    calibrated, plain = sharp
    assert set(plain.temperatures_.values()) == {1.0}
    rows = messages.iloc[calibrated.val_indices_]
    for task, temperature in calibrated.temperatures_.items():
        assert temperature != 1
        assert log_loss(calibrated, rows, task) < log_loss(plain, rows, task)
        first, second = (c.predict_proba(messages["text"], task) for c in sharp)
        assert np.array_equal(first.argmax(axis=1), second.argmax(axis=1))
    assert calibrated.predict_all(TEXTS).equals(plain.predict_all(TEXTS))


def test_temperatures_are_those_of_the_weights_that_were_kept(sharp):
    """They come from the validation pass of the epoch whose weights the model has."""
    net = sharp[0].net_
    kept = dict(net.callbacks_)["early_stopping"].best_epoch_
    for task, temperature in sharp[0].temperatures_.items():
        assert net.history[kept, f"temperature/{task}"] == temperature


def test_temperatures_are_stored(sharp, tmp_path):
    """A dump and a folder bring them back."""
    classifier, _ = sharp
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


def test_temperatures_live_on(make_classifier, messages):
    """A task that is added brings its own; one that trains without validation rows has none."""
    classifier = make_classifier(val_size=0.3).fit(messages[messages["task"] == "sentiment"])
    before = dict(classifier.temperatures_)
    classifier.add_task(messages[messages["task"] == "intent"])
    assert classifier.temperatures_["sentiment"] == before["sentiment"]
    assert classifier.temperatures_["intent"] != 1
    classifier.partial_fit(messages[messages["task"] == "intent"].head(50))
    assert classifier.temperatures_ == {"sentiment": before["sentiment"], "intent": 1.0}
    classifier.set_params(warm_start=True, config__eval__calibrate=False)
    with pytest.warns(UserWarning, match="An earlier fit may have trained"):
        classifier.fit(messages)
    assert set(classifier.temperatures_.values()) == {1.0}


def test_nothing_is_calibrated_without_validation_rows(make_classifier, messages):
    """The temperature is 1 where no rows were held out."""
    classifier = make_classifier(val_size=0, eval=EvalConfig(calibrate=True)).fit(messages)
    assert set(classifier.temperatures_.values()) == {1.0}
