"""The example of a server: validation, shared batches, health, metrics and shutdown."""

import argparse
import asyncio
import contextlib
import copy
import http.client
import json
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rapidfit_sk.serving import OnnxMultiheadClassifier

pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")

SERVE = Path(__file__).parents[2] / "examples" / "serve.py"
TEXTS = ["good word 1", "bad thing 2", "good word 3"]


@pytest.fixture(scope="module")
def folder(fitted_texts, tmp_path_factory):
    """Folder of an exported classifier of texts."""
    folder = tmp_path_factory.mktemp("served") / "model"
    fitted_texts.export_onnx(folder)
    return folder


@contextlib.contextmanager
def running(folder, *options):
    """Run the example, and give its process and its port."""
    command = [sys.executable, SERVE, folder, "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stderr.readline, "")
        started = (re.search(r"running on http://127.0.0.1:(\d+)", line) for line in lines)
        yield process, int(next(found for found in started if found)[1])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def server(folder):
    """A process that runs the example, and its port."""
    with running(folder) as started:
        yield started


def ask(port, path, content=None, method=None):
    """Return the status and the content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = None if content is None else json.dumps(content)
    headers = {"Content-Type": "application/json"}
    connection.request(method or ("GET" if content is None else "POST"), path, body, headers)
    answer = connection.getresponse()
    found = answer.read().decode()
    connection.close()
    return answer.status, found


def test_server(server, folder):
    """The server answers with labels and probabilities, refuses bad requests, and counts all."""
    _, port = server
    model = OnnxMultiheadClassifier(folder).model_id[:12]
    status, found = ask(port, "/health")
    expected = {"status": "ok", "tasks": ["label"], "model": model, "min_confidence": {"label": 0}}
    assert (status, json.loads(found)) == (200, expected)
    status, found = ask(port, "/predict", {"texts": TEXTS})
    classifier = OnnxMultiheadClassifier(folder)
    p = classifier.predict_proba(TEXTS)
    assert status == 200
    for i, prediction in enumerate(json.loads(found)["predictions"]):
        assert prediction["label"]["label"] == classifier.predict(TEXTS)[i]
        assert prediction["label"]["probability"] == pytest.approx(p[i].max(), abs=1e-5)
    refused = [{"texts": []}, {"texts": [1]}, {"text": TEXTS}, {"texts": ["a"] * 257}]
    refused += [{"texts": ["\ud800"]}, {"texts": [float("nan")]}, {"texts": ["a" * 20_001]}]
    refused += [{"texts": ["a" * 1000] * 201}]
    for wrong in refused:
        assert ask(port, "/predict", wrong)[0] == 422
    assert ask(port, "/predict")[0] == 405
    status, metrics = ask(port, "/metrics")
    assert status == 200
    assert 'requests_total{status="200"} 1.0' in metrics
    assert f'requests_total{{status="422"}} {len(refused)}.0' in metrics
    assert 'requests_total{status="405"} 1.0' in metrics
    assert 'abstentions_total{task="label"} 0.0' in metrics
    assert "batch_texts_sum 3.0" in metrics


def test_minimum_confidence(folder):
    """Texts below the minimum confidence get no label, but their probability."""
    serve = runpy.run_path(str(SERVE))
    classifier = OnnxMultiheadClassifier(folder)
    plain = serve["predict_with"](classifier, {})(TEXTS)
    least = sorted(each["label"]["probability"] for each in plain)[1]
    minimum = serve["minimum_of"](serve["min_confidence"](str(least)), classifier)
    found = serve["predict_with"](classifier, minimum)(TEXTS)
    for before, after in zip(plain, found, strict=True):
        p = after["label"]["probability"]
        assert p == before["label"]["probability"]
        assert after["label"]["label"] == (before["label"]["label"] if p >= least else None)
    assert sum(each["label"]["label"] is None for each in found) == 1
    assert serve["Prediction"](label=None, probability=0.4).label is None


def test_tuned_thresholds(fitted, messages, folder, tmp_path):
    """The tuned thresholds must exist; /health shows them, and /metrics counts missing labels."""
    serve = runpy.run_path(str(SERVE))
    with pytest.raises(SystemExit, match="has no thresholds. Call tune_thresholds before"):
        serve["minimum_of"]("tuned", OnnxMultiheadClassifier(folder))
    texts = messages["text"].head(48).tolist()
    tuned = copy.deepcopy(fitted).tune_thresholds(messages, coverage={"intent": 0.5})
    tuned.export_onnx(tmp_path / "model")
    with running(tmp_path / "model", "--min-confidence", "tuned") as (_, port):
        shown = json.loads(ask(port, "/health")[1])["min_confidence"]
        assert shown == pytest.approx(tuned.thresholds_)
        found = json.loads(ask(port, "/predict", {"texts": texts})[1])["predictions"]
        n = sum(each["intent"]["label"] is None for each in found)
        assert 0 < n < 48
        assert all(each["sentiment"]["label"] for each in found)
        assert f'abstentions_total{{task="intent"}} {n}.0' in ask(port, "/metrics")[1]


@pytest.mark.parametrize("wrong", ["2", "-0.1", "nan", "tund", ""])
def test_invalid_minimum_confidence(wrong):
    """Another minimum is an error of the command line that states what is allowed."""
    serve = runpy.run_path(str(SERVE))
    with pytest.raises(argparse.ArgumentTypeError, match="'tuned' or a number from 0 to 1, got"):
        serve["min_confidence"](wrong)


def accepted(port):
    """Return the number of texts that are answered, that run, or that wait."""
    _, metrics = ask(port, "/metrics")
    values = dict(re.findall(r"^(batch_texts_sum|waiting_texts) (\S+)$", metrics, re.M))
    return sum(map(float, values.values()))


def test_graceful_shutdown(server):
    """On SIGTERM, requests that were accepted are answered, and the process ends."""
    process, port = server
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, port, "/predict", {"texts": TEXTS * 40}) for _ in range(8)]
        while accepted(port) < 8 * 120:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        answers = [each.result() for each in asked]
    assert {status for status, _ in answers} == {200}
    assert all(len(json.loads(found)["predictions"]) == 120 for _, found in answers)
    process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM)


def batcher_of(predict):
    """Return the batcher of the example for a function that predicts."""
    example = runpy.run_path(str(SERVE))
    return example["Batcher"](predict, example["Metrics"]())


async def never():
    """Return False: the client still waits."""
    return False


def test_concurrent_requests_share_a_batch():
    """Requests that arrive while the model is busy are answered together, each with its own."""
    sizes, is_free = [], threading.Event()

    def predict(texts):
        sizes.append(len(texts))
        is_free.wait(60)
        return [text.upper() for text in texts]

    async def ask_all():
        batcher = batcher_of(predict)
        first = asyncio.create_task(batcher.submit(["a"], never))
        while not sizes:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(batcher.submit([f"b{i}", f"c{i}"], never)) for i in range(5)]
        await asyncio.sleep(0)
        is_free.set()
        found = await asyncio.gather(first, *rest)
        await batcher.close()
        return found

    found = asyncio.run(ask_all())
    assert found == [["A"], *([f"B{i}", f"C{i}"] for i in range(5))]
    assert sizes == [1, 10]


def test_errors_and_limits_of_a_batch():
    """An error of the model reaches its requests, and a full or closed server refuses others."""

    def predict(texts):
        if "bad" in texts:
            raise ValueError("a bad text")
        return texts

    async def ask_all():
        batcher = batcher_of(predict)
        found = await asyncio.gather(batcher.submit(["bad"], never), return_exceptions=True)
        found += [await batcher.submit(["good"], never)]
        full = [batcher.submit(["x"] * 256, never) for _ in range(20)]
        found += [await asyncio.gather(*full, return_exceptions=True)]
        await batcher.close()
        found += await asyncio.gather(batcher.submit(["late"], never), return_exceptions=True)
        return found

    bad, good, full, late = asyncio.run(ask_all())
    assert isinstance(bad, ValueError)
    assert good == ["good"]
    refused = [each for each in full if isinstance(each, Exception)]
    assert {each.status_code for each in refused} == {503}
    assert 0 < len(refused) < 20
    assert late.status_code == 503


def test_close_answers_all_that_wait():
    """A batcher that closes answers the requests that wait, and only then ends."""

    def predict(texts):
        time.sleep(0.05)
        return texts

    async def ask_all():
        batcher = batcher_of(predict)
        asked = [asyncio.create_task(batcher.submit([str(i)] * 200, never)) for i in range(4)]
        await asyncio.sleep(0)
        await batcher.close()
        return [task.done() and await task for task in asked]

    assert asyncio.run(ask_all()) == [[str(i)] * 200 for i in range(4)]


def test_a_shutdown_that_takes_too_long():
    """Requests that a server has cancelled are dropped, and the batcher closes without an error."""
    computed, is_free = [], threading.Event()

    def predict(texts):
        computed.extend(texts)
        is_free.wait(60)
        return texts

    async def gone():
        return True

    async def ask_all():
        batcher = batcher_of(predict)
        first = asyncio.create_task(batcher.submit(["first"], never))
        while not computed:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(batcher.submit(["x"], each)) for each in (never, gone)]
        await asyncio.sleep(0)
        for task in (first, *rest):
            task.cancel()
        is_free.set()
        await batcher.close()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    assert all(isinstance(each, asyncio.CancelledError) for each in asyncio.run(ask_all()))
    assert computed == ["first"]


def test_closed_connections_and_large_requests():
    """A request whose client has gone is not computed, and one that exceeds a batch runs alone."""
    computed = []

    def predict(texts):
        computed.extend(texts)
        return texts

    async def gone():
        return True

    async def ask_all():
        batcher = batcher_of(predict)
        found = await asyncio.gather(
            batcher.submit(["gone"], gone),
            batcher.submit(["x"] * 300, never),
            batcher.submit(["here"], never),
            return_exceptions=True,
        )
        await batcher.close()
        return found

    refused, large, here = asyncio.run(ask_all())
    assert (refused.status_code, len(large), here) == (499, 300, ["here"])
    assert computed == [*["x"] * 300, "here"]
