"""The page `docs/ecosystem.md`: its examples run in their order."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

for name in ("cleanlab", "lime", "mapie", "mlflow", "shap", "skops"):
    pytest.importorskip(name, reason=f"{name} is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "ecosystem.md"


def blocks():
    """Return the examples of the page, without prompts and outputs."""
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S):
        examples = doctest.DocTestParser().get_examples(block)
        yield "".join(example.source for example in examples) or block


@pytest.mark.slow
# MLflow calls functions that SQLAlchemy deprecates, and warns about its own type hints.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*Any type hint:UserWarning")
def test_examples(tmp_path, monkeypatch):
    """Each example runs in an empty folder, and gives what the page says about it."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    mlflow.set_experiment("page")  # other tests may have chosen one of another store
    values = {}
    try:
        for block in blocks():
            exec(compile(block, str(PAGE), "exec"), values)
    finally:
        mlflow.set_tracking_uri(before)
    classifier, X = values["classifier"], values["X"]
    assert len(values["issues"]) > 0
    assert len(values["explanation"].as_list(values["explanation"].available_labels()[0])) > 0
    assert values["contributions"].values[0].shape[1] == 4
    assert values["sets"].shape == (1, 4, 1)
    assert np.array_equal(values["loaded"].predict_proba(X), classifier.predict_proba(X))
