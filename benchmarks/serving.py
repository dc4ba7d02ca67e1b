"""Requests per second and times of the example of a server, with several clients at once."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from ._data import classifier, read, recipe
from ._measure import Result

SERVE = Path(__file__).parents[1] / "examples" / "serve.py"
CLIENTS = (1, 8, 32)
SECONDS = 10.0


def run(options):
    """Measure the server for each number of clients, each of which waits for its answers."""
    rows = read(options.data, options.texts or 2000, n_tokens=options.tokens)
    texts = rows["text"].drop_duplicates().tolist()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        model = Path(folder, "model")
        fitted = classifier(recipe(heads_only=1, fine_tuning=0, unfreeze_layers=0)).fit(rows)
        fitted.export_onnx(model, quantize="int8", tolerance=1.0)
        process, port = _start(model)
        try:
            found = [result for n in CLIENTS for result in _measure(port, texts, n)]
            memory = psutil.Process(process.pid).memory_info().rss
            return [*found, Result("serving", "memory of the server in MB", memory / 1e6)]
        finally:
            process.terminate()
            process.communicate()


def _start(model):
    process = subprocess.Popen(
        [sys.executable, SERVE, model, "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for line in process.stderr:
        found = re.search(r"running on http://127.0.0.1:(\d+)", line)
        if found:
            return process, int(found[1])
    raise RuntimeError("The server did not start.")


def _measure(port, texts, n_clients):
    """Let some clients ask for one text after the other, and return what they waited for."""
    end = time.perf_counter() + SECONDS
    seconds = [[] for _ in range(n_clients)]
    with ThreadPoolExecutor(n_clients) as threads:
        asked = [
            threads.submit(_ask, port, texts[i:] + texts[:i], end, own)
            for i, own in enumerate(seconds)
        ]
    for each in asked:
        each.result()  # raises the error of a client
    times = np.concatenate(seconds)
    case = f"{n_clients} clients"
    return [
        Result("serving", f"{case}: requests per second", len(times) / SECONDS),
        Result("serving", f"{case}: median in ms", 1e3 * np.median(times)),
        Result("serving", f"{case}: 99th percentile in ms", 1e3 * np.quantile(times, 0.99)),
    ]


def _ask(port, texts, end, seconds):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for text in itertools.cycle(texts):
        start = time.perf_counter()
        if start > end:
            break
        body = json.dumps({"texts": [text]})
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"The server answered {answer.status}: {answer.read()}")
        answer.read()
        seconds.append(time.perf_counter() - start)
    connection.close()
