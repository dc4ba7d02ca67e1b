"""MLflow: a classifier as an artifact of a run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")

import mlflow
from mlflow.exceptions import MlflowException

from .small import TEXTS

# MLflow calls functions that SQLAlchemy deprecates, and warns about its own type hints.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:.*Any type hint:UserWarning"
)

ROOT = Path(__file__).parents[2]
AGAIN = """
import json
import sys

import mlflow

mlflow.set_tracking_uri(sys.argv[1])
labels = mlflow.pyfunc.load_model(sys.argv[2]).predict(json.loads(sys.argv[3]))
shares = mlflow.sklearn.load_model(sys.argv[2]).predict_proba(json.loads(sys.argv[3]))
print(json.dumps([labels.tolist(), shares.tolist()]))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Address of a tracking store in a temporary folder; it takes seconds to create."""
    folder = tmp_path_factory.mktemp("mlflow")
    address = f"sqlite:///{folder / 'runs.db'}"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address)
    experiment = mlflow.create_experiment("texts", artifact_location=(folder / "files").as_uri())
    mlflow.set_experiment(experiment_id=experiment)
    yield address
    mlflow.set_tracking_uri(before)


def log(classifier, **options):
    """Log a classifier in a new run and return its address."""
    with mlflow.start_run():
        # Without a list of packages, MLflow starts a process to find them.
        return mlflow.sklearn.log_model(
            classifier, name="m", input_example=TEXTS[:2], pip_requirements=[], **options
        ).model_uri


def again(store, uri):
    """Return the labels from pyfunc and the probabilities, both computed by another process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AGAIN, store, uri, json.dumps(TEXTS)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_cloudpickle(fitted_texts, store, tmp_path, monkeypatch):
    """A classifier logged with cloudpickle predicts the same in another process."""
    monkeypatch.chdir(tmp_path)
    uri = log(fitted_texts, serialization_format="cloudpickle")
    labels, shares = again(store, uri)
    assert labels == fitted_texts.predict(TEXTS).tolist()
    np.testing.assert_allclose(shares, fitted_texts.predict_proba(TEXTS), rtol=1e-5)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_skops_with_trusted_types(fitted_texts, store):
    """The default format works too, if the user trusts the types that it names."""
    with pytest.raises(MlflowException, match="skops_trusted_types"):
        log(fitted_texts)
    skops = pytest.importorskip("skops.io")
    trusted = skops.get_untrusted_types(data=skops.dumps(fitted_texts))
    uri = log(fitted_texts, skops_trusted_types=trusted)
    assert again(store, uri)[0] == fitted_texts.predict(TEXTS).tolist()


@pytest.mark.slow
def test_the_input_example(fitted_texts, store):
    """From an example of texts, MLflow infers that the model takes and returns strings."""
    uri = log(fitted_texts, serialization_format="cloudpickle")
    signature = mlflow.models.get_model_info(uri).signature
    assert [kind.name for kind in signature.inputs.input_types()] == ["string"]
    assert [kind.name for kind in signature.outputs.input_types()] == ["string"]
    with pytest.raises(MlflowException):
        mlflow.pyfunc.load_model(uri).predict([1.5])
