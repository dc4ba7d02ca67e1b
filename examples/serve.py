"""Serve an exported classifier over HTTP, without torch.

Export a fitted classifier with ``classifier.export_onnx("model")``, then run

    python -m pip install numpy onnxruntime tokenizers fastapi uvicorn prometheus-client
    python examples/serve.py model

and ask for the labels of texts:

    curl localhost:8000/predict -H "content-type: application/json" -d '{"texts": ["Where is it?"]}'

With ``--min-confidence tuned``, texts below the tuned threshold of a task get no label (``null``).
Requests that arrive while the model is busy are answered together, in one batch. ``/health`` says
whether the server accepts requests, for which model, and with which minimum confidence;
``/metrics`` counts requests and texts without a label for Prometheus. On SIGTERM, the server
answers the requests that it has accepted, for at most 30 seconds, and then stops.
Put it behind a proxy that limits the size of requests and the clients that may send them.
"""

import argparse
import asyncio
import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

# The library tokenizers would otherwise use all cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from rapidfit_sk.serving import OnnxMultiheadClassifier

# Texts in one call of the model, and texts that may wait for it.
LARGEST_BATCH, MOST_WAITING = 256, 1024
# Characters of a text, and of all texts of a request. Long texts take their time, although the
# encoder reads only a part of them.
LONGEST_TEXT, LONGEST_REQUEST = 20_000, 200_000

# Seconds in which requests are answered after SIGTERM.
SHUTDOWN = 30


def check_length(texts):
    """Raise ValueError if the texts of a request are too long together."""
    if sum(map(len, texts)) > LONGEST_REQUEST:
        raise ValueError(
            f"The texts have more than {LONGEST_REQUEST:,} characters together. Send fewer or "
            "shorter ones."
        )
    return texts


class Texts(BaseModel):
    """Texts to classify."""

    model_config = ConfigDict(extra="forbid")
    texts: Annotated[
        list[Annotated[str, Field(max_length=LONGEST_TEXT)]],
        Field(min_length=1, max_length=LARGEST_BATCH),
        AfterValidator(check_length),
    ]


class Prediction(BaseModel):
    """The label of a text for one task, and its probability; no label below the minimum."""

    label: str | int | float | bool | None
    probability: float


class Answer(BaseModel):
    """The predictions of each text, by task."""

    predictions: list[dict[str, Prediction]]


class Batcher:
    """Answers waiting requests together: one call of the model for all of their texts.

    Nothing waits for a batch to fill. A request that arrives while the model is idle starts at
    once, and requests that arrive while it is busy form the next batch.

    Parameters
    ----------
    predict : callable
        Takes a list of texts and returns a list of predictions. It runs in a thread.
    metrics : Metrics
        Counts the batches.
    """

    def __init__(self, predict, metrics):
        self.predict = predict
        self.metrics = metrics
        self.waiting = []  # texts, the future of their predictions, and whether nobody waits
        self.arrived = asyncio.Event()
        self.is_closing = False
        self.thread = ThreadPoolExecutor(1)
        self.worker = asyncio.create_task(self._work())

    async def submit(self, texts, is_gone):
        """Return the predictions of some texts, after waiting for the model.

        `is_gone` is an asynchronous function. If it returns True, nobody waits for the predictions
        any more, so they are not computed.
        """
        if self.is_closing or self.n_waiting + len(texts) > MOST_WAITING:
            raise HTTPException(503, "The server is busy or stops. Try again later.")
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((texts, future, is_gone))
        self.arrived.set()
        return await future

    @property
    def n_waiting(self):
        """Number of texts that wait for the model."""
        return sum(len(texts) for texts, _, _ in self.waiting)

    async def close(self):
        """Answer the waiting requests, and refuse new ones."""
        self.is_closing = True
        self.arrived.set()
        await self.worker
        self.thread.shutdown()

    async def _work(self):
        while self.waiting or not self.is_closing:
            if not self.waiting:
                self.arrived.clear()
                await self.arrived.wait()
            elif batch := await self._next_batch():
                await self._answer(batch)

    async def _next_batch(self):
        """Remove waiting requests, at least one, until a batch is full."""
        batch, n = [], 0
        while self.waiting and (not batch or n + len(self.waiting[0][0]) <= LARGEST_BATCH):
            texts, future, is_gone = self.waiting.pop(0)
            nobody_waits = await is_gone()
            if future.done():  # a shutdown that takes too long cancels it
                continue
            if nobody_waits:
                future.set_exception(HTTPException(499, "The client has closed its connection."))
            else:
                batch.append((texts, future))
                n += len(texts)
        return batch

    async def _answer(self, batch):
        texts = [text for of_request, _ in batch for text in of_request]
        self.metrics.batches.observe(len(texts))
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self.thread, self.predict, texts)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for of_request, future in batch:
            own, found = found[: len(of_request)], found[len(of_request) :]
            if not future.done():
                future.set_result(own)


class Metrics:
    """Figures for Prometheus."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "requests", "Requests by status", ["status"], registry=self.registry
        )
        self.abstentions = Counter(
            "abstentions", "Texts without a label, by task", ["task"], registry=self.registry
        )
        self.waiting = Gauge(
            "waiting_texts", "Texts that wait for the model", registry=self.registry
        )
        self.seconds = Histogram(
            "request_seconds", "Time of requests with an answer", registry=self.registry
        )
        self.batches = Histogram(
            "batch_texts",
            "Texts in a batch",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )


class CountRequests:
    """Middleware that counts requests for predictions by status, and measures their time."""

    def __init__(self, app, metrics):
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope, receive, send):
        """Pass a request on, and look at the status of its answer."""
        if scope["type"] != "http" or scope["path"] != "/predict":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), "500"

        async def send_and_look(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, send_and_look)
        finally:
            self.metrics.requests.labels(status).inc()
            if status == "200":
                self.metrics.seconds.observe(time.perf_counter() - start)


def min_confidence(given):
    """Return the value of --min-confidence: "tuned", or a number from 0 to 1."""
    if given == "tuned":
        return given
    with contextlib.suppress(ValueError):
        if 0 <= float(given) <= 1:
            return float(given)
    raise argparse.ArgumentTypeError(f"must be 'tuned' or a number from 0 to 1, got {given!r}")


def minimum_of(given, classifier):
    """Return the minimum confidence of each task; "tuned" leaves out those without a threshold."""
    if given != "tuned":
        return dict.fromkeys(classifier.tasks_, given)
    if not classifier.thresholds_:
        raise SystemExit(
            "--min-confidence tuned: the model has no thresholds. Call tune_thresholds before "
            "export_onnx, or pass a number."
        )
    return classifier.thresholds_


def predict_with(classifier, minimum):
    """Return a function that maps texts to their predictions, by task."""
    least = {task: minimum.get(task, 0.0) for task in classifier.tasks_}

    def predict(texts):
        found = classifier.predict_proba(texts)
        by_task = found if isinstance(found, dict) else {classifier.tasks_[0]: found}
        labels = {}
        for task, p in by_task.items():
            names = [*classifier.classes_[task].tolist(), None]
            codes = np.where(p.max(axis=1) < least[task], -1, p.argmax(axis=1))
            labels[task] = [names[code] for code in codes]
        return [
            {
                task: {"label": labels[task][i], "probability": float(p[i].max())}
                for task, p in by_task.items()
            }
            for i in range(len(texts))
        ]

    return predict


def make_app(classifier, minimum):
    """Return an application that predicts with a classifier.

    `minimum` has the minimum confidence of some tasks.
    """
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app):
        batcher = app.state.batcher = Batcher(predict_with(classifier, minimum), metrics)
        metrics.waiting.set_function(lambda: batcher.n_waiting)
        yield
        await app.state.batcher.close()

    app = FastAPI(title="Text classification", lifespan=lifespan)
    app.add_middleware(CountRequests, metrics=metrics)

    @app.exception_handler(RequestValidationError)
    async def refuse(request, error):
        # The default answer repeats the request, which may not be valid Unicode.
        found = [{"loc": each["loc"], "msg": each["msg"]} for each in error.errors()]
        return JSONResponse({"detail": found}, 422)

    @app.post("/predict", response_model=Answer)
    async def predict(content: Texts, request: Request) -> JSONResponse:
        found = await app.state.batcher.submit(content.texts, request.is_disconnected)
        for task in minimum:
            n = sum(prediction[task]["label"] is None for prediction in found)
            metrics.abstentions.labels(task).inc(n)
        return JSONResponse({"predictions": found})

    @app.get("/health")
    async def health() -> dict[str, Any]:
        if app.state.batcher.worker.done():
            raise HTTPException(503, "The server does not predict any more. Start it again.")
        return {
            "status": "ok",
            "tasks": classifier.tasks_,
            "model": classifier.model_id[:12],
            "min_confidence": minimum,
        }

    @app.get("/metrics")
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def main():
    """Serve the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder that export_onnx wrote")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 for any")
    parser.add_argument("--threads", type=int, default=1, help="threads of a prediction")
    parser.add_argument(
        "--min-confidence",
        type=min_confidence,
        default=0.0,
        help="probability below which a text gets no label, or 'tuned'; 0 by default",
    )
    options = parser.parse_args()
    classifier = OnnxMultiheadClassifier(options.model, n_threads=options.threads)
    uvicorn.run(
        make_app(classifier, minimum_of(options.min_confidence, classifier)),
        host=options.host,
        port=options.port,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN,
    )


if __name__ == "__main__":
    main()
