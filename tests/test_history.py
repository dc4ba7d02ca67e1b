"""`history_`: all values that the trainings of a classifier recorded, as a tidy frame."""

import json
from copy import deepcopy

import joblib
import numpy as np
import pandas as pd
import pytest
from skorch.callbacks import Callback

from rapidfit_sk import EncoderConfig, MultiheadClassifier, TextClassifier
from rapidfit_sk._folders import write_checksums
from rapidfit_sk._history import history_frame


def value_of(history, **place):
    """Return the only value at a place."""
    kept = history
    for column, value in place.items():
        kept = kept[kept[column].isna() if value is None else kept[column] == value]
    (value,) = kept["value"]
    return value


def test_values_are_those_of_the_net(fitted):
    """Each value of the net's history is in the frame, at its training, epoch, task and metric."""
    history = fitted.history_
    assert history.columns.tolist() == ["training", "phase", "epoch", "task", "metric", "value"]
    assert history["training"].unique().tolist() == ["fit 1"]
    last = fitted.net_.history[-1]
    place = {"training": "fit 1", "epoch": len(fitted.net_.history)}
    for name, metric in {"train_loss": "train_loss", "valid_f1": "f1", "dur": "seconds"}.items():
        assert value_of(history, **place, task=None, metric=metric) == last[name]
    for task in fitted.tasks_:
        shown = value_of(history, **place, task=task, metric="accuracy")
        assert shown == last[f"valid_accuracy/{task}"]
    assert not history["metric"].str.contains("best|count|batches|trains").any()


def test_phases(make_classifier, messages):
    """Epochs in which encoder layers train are fine-tuning, also if their number is 0."""
    encoder = EncoderConfig(freeze_epochs=2, unfreeze_layers=1)
    history = make_classifier(encoder=encoder, epochs=1).fit(messages).history_
    phases = history.groupby("epoch")["phase"].unique().map(list).to_dict()
    assert phases == {1: ["heads only"], 2: ["heads only"], 3: ["fine-tuning"]}
    frozen = make_classifier(encoder=EncoderConfig(freeze_epochs=1, unfreeze_layers=0), epochs=1)
    assert set(frozen.fit(messages).history_["phase"]) == {"heads only"}


def test_kept_epoch(make_classifier, messages):
    """The kept epoch is the one whose validation accuracy the classifier has."""
    classifier = make_classifier(epochs=3).fit(messages)
    history = classifier.history_
    kept = history[(history["metric"] == "kept") & (history["value"] == 1)]
    assert len(kept) == 1
    validation = messages.iloc[classifier.val_indices_]
    place = {"epoch": kept["epoch"].item(), "task": None, "metric": "accuracy"}
    assert classifier.score(validation) == pytest.approx(value_of(history, **place))
    assert (
        kept["epoch"].item() == 1 + dict(classifier.net_.callbacks_)["early_stopping"].best_epoch_
    )


@pytest.fixture(scope="module")
def calibrated(messages, encoder_name):
    """A classifier with a calibration fit in its training."""
    config = {"training": {"model_name": encoder_name, "epochs": 1}}
    return MultiheadClassifier(config, random_state=0).fit(messages)


def test_calibration_fit(calibrated):
    """The calibration fit is in the history before the training that it belongs to."""
    history = calibrated.history_
    assert history["training"].unique().tolist() == ["calibration 1", "fit 1"]
    assert set(history.groupby("training")["epoch"].max()) == {2}
    losses = history[history["metric"] == "train_loss"].groupby("training")["value"].first()
    assert losses.nunique() == 2


def test_trainings_of_a_new_task(calibrated, messages):
    """A new task adds its trainings, and the numbers of the others stay."""
    classifier = deepcopy(calibrated)
    before = classifier.history_
    classifier.add_task(messages[messages["task"] == "intent"].assign(task="new"))
    history = classifier.history_
    pd.testing.assert_frame_equal(history.head(len(before)), before)
    assert history["training"].unique().tolist()[2:] == ["calibration 2", "fit 2"]


def test_partial_fit(messages, make_classifier):
    """Each call of partial_fit is one more training of one epoch."""
    classifier = make_classifier().partial_fit(messages).partial_fit(messages)
    history = classifier.history_
    epochs = history.groupby("training")["epoch"].max()
    assert epochs.to_dict() == {"fit 1": 1, "fit 2": 1}


def test_history_is_saved(calibrated, tmp_path):
    """A saved folder and a pickle have the whole history."""
    calibrated.save(tmp_path / "model")
    loaded = MultiheadClassifier.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.history_, calibrated.history_)
    joblib.dump(calibrated, tmp_path / "model.joblib")
    pd.testing.assert_frame_equal(
        joblib.load(tmp_path / "model.joblib").history_, calibrated.history_
    )


def test_earlier_folders(calibrated, tmp_path):
    """A folder of an earlier version, without calibration epochs and phases, still loads."""
    calibrated.save(tmp_path / "model")
    path = tmp_path / "model" / "classifier.json"
    description = json.loads(path.read_text())
    del description["calibration_history"]
    for epoch in description["history"]:
        del epoch["trains_encoder"]
    path.write_text(json.dumps(description))
    (tmp_path / "model" / "checksums.json").unlink()
    write_checksums(tmp_path / "model")
    history = MultiheadClassifier.load(tmp_path / "model").history_
    assert history["training"].unique().tolist() == ["fit 1"]
    assert history["phase"].unique().tolist() == ["heads only", "fine-tuning"]


def test_checkpoint_has_the_calibration(make_config, messages, tmp_path):
    """A fit that continues after its calibration fit has the history of an uninterrupted one."""

    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            if net.epoch_ == 1 and not (tmp_path / "stopped").exists():
                (tmp_path / "stopped").touch()
                raise RuntimeError("stop")

    def fit(folder):
        config = make_config(val_size=None)
        classifier = MultiheadClassifier(
            config, random_state=0, checkpoint_dir=tmp_path / folder, callbacks=[Stop()]
        )
        return classifier.fit(messages).history_

    with pytest.raises(RuntimeError, match="stop"):
        fit("interrupted")
    continued, whole = fit("interrupted"), fit("whole")
    is_time = whole["metric"] == "seconds"
    assert whole["training"].unique().tolist() == ["calibration 1", "fit 1"]
    pd.testing.assert_frame_equal(continued[~is_time], whole[~is_time])


def test_values_of_callbacks(make_classifier, messages):
    """Numbers that a callback records are in the frame; other values are not."""

    class Record(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("size", 7)
            net.history.record("gpu/memory", np.float32(1.5))
            net.history.record("name", "seven")
            net.history.record("event_saved", True)

    history = make_classifier(callbacks=[Record()]).fit(messages).history_
    assert (history.loc[history["metric"] == "size", "value"] == 7).all()
    of_gpu = history[history["metric"] == "gpu/memory"]
    assert (of_gpu["value"] == 1.5).all()
    assert of_gpu["task"].isna().all()
    assert not {"name", "event_saved"} & set(history["metric"])


def test_names_of_tasks_with_a_slash():
    """The name of a task may contain a slash, or end like a record that is left out."""
    epoch = {"epoch": 1, "valid_f1/a/b": 0.5, "valid_f1/x_batch_count": 0.7, "lr_encoder": 0.0}
    history = history_frame([{**epoch, "train_batch_count": 3}], [])
    assert value_of(history, metric="f1", task="a/b") == 0.5
    assert value_of(history, metric="f1", task="x_batch_count") == 0.7
    assert "train_batch_count" not in set(history["metric"])


def test_history_of_a_text_classifier(make_config, messages):
    """A TextClassifier has a history, too, and none before fit."""
    rows = messages[messages["task"] == "intent"]
    classifier = TextClassifier(make_config(), random_state=0)
    assert not hasattr(classifier, "history_")
    history = classifier.fit(rows["text"], rows["label"]).history_
    assert set(history["task"].dropna()) == {"label"}
    assert np.isfinite(history["value"]).all()
