"""Training with a `Recipe`: fixed settings, calibration fits, and texts numbered once."""

import functools

import numpy as np
import pytest
from skorch.callbacks import Callback

from rapidfit_sk import EncoderConfig, LossConfig
from rapidfit_sk._engine import recipe_of
from rapidfit_sk._fitting import fit_calibrated, fit_head, fit_model
from rapidfit_sk._held_out import FitRows, hold_out_rows
from rapidfit_sk._rows.labels import encode_training_table, learn_classes
from rapidfit_sk._rows.tables import Columns, read_labeled
from rapidfit_sk._rows.texts import Texts
from rapidfit_sk._training.net import MultiheadNet
from rapidfit_sk.callbacks import TrainingProgress


@pytest.fixture
def rows(messages):
    """Coded rows of all tasks."""
    table = read_labeled(messages[:240], None, Columns("text", "task", "label"))
    return encode_training_table(table, learn_classes(table))


@pytest.fixture
def make_recipe(make_classifier):
    """Build a recipe as the classifier does."""

    def make(**kwargs):
        classifier = make_classifier(**kwargs)
        return recipe_of(classifier, classifier._checked_config(), [1, 2, 3])

    return make


def test_fit_does_not_change_its_recipe(make_recipe, rows):
    """A fit does not change the configuration of its recipe, even with `val_size=None`."""
    recipe = make_recipe(val_size=None, loss=LossConfig(task_weights={"intent": 2.0}))
    before = recipe.config.to_dict()
    fit_calibrated(fit_model, recipe, hold_out_rows(recipe.config, FitRows(None, rows, {}), 0))
    assert recipe.config.to_dict() == before
    assert before["training"]["val_size"] is None


def test_the_same_recipe_gives_the_same_model(make_recipe, rows):
    """Two fits of one recipe on the same rows agree to the bit."""
    recipe = make_recipe()
    first, second = (fit_model(recipe, rows).logits(rows.texts, rows.tasks) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


class UserCallback(Callback):
    """A callback of the user."""


def test_calibration_fit_has_no_callbacks_of_the_user(make_recipe, rows, monkeypatch):
    """A calibration fit shows its progress, but runs without the user's callbacks."""
    trainings = []
    begin = MultiheadNet.on_train_begin

    def record_training(self, net, **kwargs):
        names = {type(callback) for _, callback in self.callbacks_}
        trainings.append((self.verbose, UserCallback in names, TrainingProgress in names))
        begin(self, net, **kwargs)

    monkeypatch.setattr(MultiheadNet, "on_train_begin", record_training)
    recipe = make_recipe(val_size=None, callbacks=[UserCallback()], verbose=1)
    parts = hold_out_rows(recipe.config, FitRows(None, rows, {}), 0)
    model = fit_calibrated(fit_model, recipe, parts)
    assert trainings == [(1, False, True), (1, True, True)]
    assert set(model.temperatures.values()) != {1.0}


def test_a_head_calibrates_as_a_fit_does(make_recipe, rows):
    """A head that trains on a fitted encoder has its own temperature, from a calibration fit."""
    encoder = EncoderConfig(freeze_epochs=2, unfreeze_layers=0)
    recipe = make_recipe(val_size=None, encoder=encoder, epochs=0)
    model = fit_model(recipe, rows)
    before = [parameter.clone() for parameter in model.net.module_.parameters()]
    intent = rows.take(rows.tasks == 1)
    one = type(intent)(
        intent.texts, intent.tasks * 0, intent.labels, intent.weights,
        {"purpose": rows.classes["intent"]},
    )  # fmt: skip
    parts = hold_out_rows(recipe.config, FitRows(None, one, {}), 0)
    head = fit_calibrated(functools.partial(fit_head, model), recipe, parts)
    assert list(head.classes) == ["purpose"]
    assert head.temperatures["purpose"] != 1.0
    both = model.with_task(head)
    assert both.tasks == [*model.tasks, "purpose"]
    assert model.tasks == list(rows.classes)
    after = model.net.module_.parameters()
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_texts_are_numbered_once_in_a_fit(make_classifier, messages, monkeypatch):
    """A fit numbers the texts of its rows once, for splits, training and scores."""
    calls = []
    number = Texts.of.__func__

    def counted(cls, strings):
        strings = list(strings)
        calls.append(len(strings))
        return number(cls, strings)

    monkeypatch.setattr(Texts, "of", classmethod(counted))
    make_classifier(val_size=None).fit(messages[:240])
    assert calls.count(240) == 1


@pytest.mark.parametrize("chooses", [{"eval__patience": 1}, {"eval__metric": "f1"}], ids=str)
def test_few_rows_are_held_out_only_to_choose_an_epoch(make_config, rows, chooses):
    """With `val_size=None`, few rows all train, unless a parameter needs validation rows."""
    few = make_config(val_size=None)._filled()
    given = FitRows(None, rows, {})
    assert hold_out_rows(few, given, 0).validation is None
    assert hold_out_rows(few, given, 0).needs_calibration_fit
    choosy = make_config(val_size=None).set_params(**chooses)._filled()
    parts = hold_out_rows(choosy, given, 0)
    assert len(parts.validation) == pytest.approx(0.1 * len(parts.train), rel=0.3)
    assert not parts.needs_calibration_fit
    with pytest.warns(UserWarning, match="There are no validation rows"):
        parts = hold_out_rows(choosy, FitRows(None, rows.take(np.arange(4)), {}), 0)
    assert parts.validation is None
    assert parts.needs_calibration_fit
    with pytest.warns(UserWarning, match="There are no validation rows, so training runs for all"):
        hold_out_rows(make_config(val_size=0).set_params(**chooses)._filled(), given, 0)
