"""The page `docs/track_experiments.md`: trackers get the history of each epoch from skorch."""

import re
from pathlib import Path

import pytest
from skorch.callbacks import WandbLogger

from rapidfit_sk import EncoderConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.testing import tiny_encoder

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytest.importorskip("tensorboard", reason="tensorboard is not installed")

# MLflow calls functions that SQLAlchemy deprecates, and TensorBoard some of numpy and protobuf.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PAGE = Path(__file__).parents[2] / "docs" / "track_experiments.md"
METRICS = {
    "train_loss",
    "valid_loss",
    "valid_accuracy",
    "valid_accuracy/intent",
    "valid_f1/emotion",
    "lr_encoder",
    "lr_heads",
    "dur",
    "temperature/intent",
}


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """Run the first two examples of the page on a tiny encoder, and return their names."""
    import mlflow

    encoder = tiny_encoder()
    folder = tmp_path_factory.mktemp("trackers")
    mlflow_block, board_block, _ = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S
    )
    before = mlflow.get_tracking_uri()
    values = {"folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        name = '"sentence-transformers/all-MiniLM-L6-v2"'
        assert name in mlflow_block
        code = mlflow_block.replace(name, f"{encoder!r}, epochs=1")
        try:
            exec(compile(code, str(PAGE), "exec"), values)
            values["data"] = mlflow.get_run(values["run"].info.run_id).data
            values["status"] = mlflow.get_run(values["run"].info.run_id).info.status
        finally:
            mlflow.set_tracking_uri(before)
        values["with_mlflow"] = values["classifier"]
        exec(compile(board_block, str(PAGE), "exec"), values)
    return values


@pytest.mark.slow
def test_mlflow(values):
    """MLflow has the last epoch of the history, the test scores, and a finished run."""
    metrics = values["data"].metrics
    assert METRICS | {"test accuracy of intent"} <= set(metrics)
    last = values["with_mlflow"].net_.history[-1]
    assert {name: metrics[name] for name in METRICS} == {name: last[name] for name in METRICS}
    assert values["data"].params == {"epochs": "10", "random_state": "0"}
    assert values["status"] == "FINISHED"


@pytest.mark.slow
def test_tensorboard(values):
    """TensorBoard has one value per epoch, under the names of the history."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(values["folder"] / "logs" / "first")).Reload()
    assert set(events.Tags()["scalars"]) >= METRICS
    written = [event.value for event in events.Scalars("valid_accuracy/intent")]
    history = values["classifier"].net_.history
    assert written == pytest.approx(history[:, "valid_accuracy/intent"])
    assert [event.step for event in events.Scalars("train_loss")] == history[:, "epoch"]


class RunRecorder:
    """What a run of wandb is to the callback; like it, copies are the same run."""

    def __init__(self):
        self.logged, self.watched = [], []

    def __deepcopy__(self, memo):
        return self

    def watch(self, module):
        """Remember a module."""
        self.watched.append(module)

    def log(self, values):
        """Remember the values of an epoch."""
        self.logged.append(values)


def test_wandb(messages):
    """A run gets the module and the values of each epoch, also without validation rows."""
    run = RunRecorder()
    config = MultiheadConfig(
        training=TrainingConfig(model_name=tiny_encoder(), epochs=1, min_steps_per_epoch=1),
        encoder=EncoderConfig(unfreeze_layers=0),
    )
    classifier = MultiheadClassifier(config, callbacks=[WandbLogger(run, save_model=False)])
    classifier.fit(messages)
    history = classifier.net_.history
    assert [values["train_loss"] for values in run.logged] == history[:, "train_loss"]
    assert len(run.watched) == 1
