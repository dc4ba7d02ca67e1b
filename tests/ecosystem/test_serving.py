"""Servers of predictions: threads of FastAPI and forked processes of gunicorn."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from .small import TEXTS

ROOT = Path(__file__).parents[2]


def test_threads_of_fastapi(fitted_texts):
    """An endpoint that answers from several threads gives the probabilities of predict_proba."""
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    from fastapi import Body, FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()

    @app.post("/")
    def shares(texts: list[str] = Body()) -> list[list[float]]:  # noqa: B008
        return fitted_texts.predict_proba(texts).tolist()

    parts = [TEXTS[i : i + 3] for i in range(0, 48, 3)] * 4
    with TestClient(app) as client, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda texts: client.post("/", json=texts).json(), parts))
    for texts, answer in zip(parts, answers, strict=True):
        np.testing.assert_allclose(answer, fitted_texts.predict_proba(texts), rtol=1e-5)


@pytest.fixture
def gunicorn(fitted_texts, tmp_path):
    """Address of a gunicorn with two workers, forked after the model has predicted."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    fitted_texts.save(tmp_path / "model")
    application = f"tests.ecosystem.served:make_application({str(tmp_path / 'model')!r})"
    with socket.create_server(("127.0.0.1", 0)) as server:
        options = [f"--bind=fd://{server.fileno()}", "--preload", "--workers=2", "--timeout=120"]
        options += ["--no-control-socket", f"--pythonpath={ROOT}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, application],
            pass_fds=[server.fileno()],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "2"},
            stderr=subprocess.PIPE,
        )
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            process.terminate()
            process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_of_gunicorn(fitted_texts, gunicorn):
    """Each worker that is forked from a process with a used model gives the right probabilities."""

    def ask(_):
        request = urllib.request.Request(gunicorn, json.dumps(TEXTS).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(40)))
    expected = fitted_texts.predict_proba(TEXTS)
    for answer in answers:
        np.testing.assert_allclose(answer["shares"], expected, rtol=1e-4)
    assert len({answer["process"] for answer in answers}) == 2
