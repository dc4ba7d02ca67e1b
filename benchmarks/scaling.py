"""Time and memory of training and prediction as the data grows."""

from __future__ import annotations

import resource
import subprocess
import sys
import warnings

import numpy as np

from ._data import classifier, read, recipe
from ._measure import Result, in_turns

SIZES = (1000, 4000, 16000)


def run(options):
    """Fit a power law to the times, and compare the peak memory of prediction."""
    data = {n: read(options.data, n, n_tokens=options.tokens, repeat=True) for n in SIZES}
    config = recipe(heads_only=1, fine_tuning=1, unfreeze_layers=1, batch_size=32)
    fitted = {}

    def fit(n):
        with warnings.catch_warnings(action="ignore"):
            fitted[n] = classifier(config, precision="auto").fit(data[n])

    fits = in_turns({str(n): lambda n=n: fit(n) for n in SIZES}, 1, warm_up=False)
    model = fitted[SIZES[0]]
    predictions = in_turns(
        {str(n): lambda n=n: model.predict_all(data[n]["text"]) for n in SIZES}, 1
    )
    peaks = {n: _peak_of_predict(options, n) for n in (SIZES[1], SIZES[2])}
    return [
        Result("scaling", "exponent of fit", _exponent(fits), "<= 1.05", fits),
        Result("scaling", "exponent of predict", _exponent(predictions), "<= 1.05", predictions),
        Result(
            "scaling",
            "peak memory of predict, 16k / 4k texts",
            peaks[SIZES[2]] / peaks[SIZES[1]],
            "<= 1.05",
            {str(n): peak for n, peak in peaks.items()},
        ),
    ]


def _exponent(seconds):
    times = [np.median(seconds[str(n)]) for n in SIZES]
    return float(np.polyfit(np.log(SIZES), np.log(times), 1)[0])


def _peak_of_predict(options, n):
    """Return the peak memory of a process that predicts, in megabytes."""
    arguments = [sys.executable, "-m", "benchmarks.scaling", str(n), *(options.data or [])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _main(n, *paths):
    rows = read(list(paths), int(n), repeat=True)
    config = recipe(heads_only=0, fine_tuning=1, unfreeze_layers=0)
    warnings.simplefilter("ignore")
    model = classifier(config, precision="auto").fit(rows.head(500))
    texts = rows["text"].drop_duplicates()
    model.predict_all(texts.head(1000))
    model.predict_all(texts)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    _main(*sys.argv[1:])
