"""Searches and bulk prediction on clusters of Dask and Ray, with two worker processes each."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rapidfit_sk.bulk import BatchPredictor
from rapidfit_sk.testing import tiny_encoder

from .engines import search_scores
from .small import TEXTS

pytestmark = pytest.mark.slow

# Eight files of 30 rows, and one without rows.
FRAMES = [pd.DataFrame({"id": range(i, i + 30), "text": TEXTS[:30]}) for i in range(0, 240, 30)]
FRAMES.append(FRAMES[0].iloc[:0])


@pytest.fixture(scope="module", params=["dask", "ray"])
def results(request, fitted_texts, tmp_path_factory):
    """Folder with the input and the results of one engine."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    tiny_encoder(folder / "encoder", n_layers=1)
    fitted_texts.save(folder / "model")
    (folder / "in").mkdir()
    for i, frame in enumerate(FRAMES):
        frame.to_parquet(folder / "in" / f"{i}.parquet", index=False)
    # Ray would otherwise write a token to the home folder, report its use over the network, and
    # give its workers a low priority, which is slow beside other tests.
    own = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    subprocess.run(
        [sys.executable, "-m", "tests.ecosystem.engines", request.param, str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **own},
        check=True,
        timeout=600,
    )
    return folder


def test_searches(results):
    """Searches on a cluster, also with an embedding cache, have the scores of a single process."""
    found = json.loads((results / "scores.json").read_text())
    expected = search_scores(results, "own cache")
    assert found.keys() == expected.keys()
    assert len(found) == 12
    for name, scores in expected.items():
        np.testing.assert_allclose(found[name], scores, rtol=1e-5, err_msg=name)
        assert scores[0] != scores[1]
    caches = [{path.name for path in (results / c).rglob("*")} for c in ("cache", "own cache")]
    assert caches[0] == caches[1] != set()


def test_predictions(results, fitted_texts):
    """Each row is predicted once, with the labels and probabilities of a single process."""
    found = pd.read_parquet(results / "out").sort_values("id", ignore_index=True)
    whole = pd.concat(FRAMES, ignore_index=True)
    expected = BatchPredictor(results / "model", proba=True)(whole)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert found["label"].tolist() == fitted_texts.predict(whole["text"]).tolist()
