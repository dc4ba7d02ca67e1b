"""Run a benchmark: `python -m benchmarks NAME --data PATH`."""

from __future__ import annotations

import argparse
import ast
import importlib
import logging

from ._measure import machine, show, write

NAMES = [
    "train-loop",
    "train-naive",
    "heads-only",
    "helpers",
    "frozen-prefix",
    "search",
    "predict",
    "predict-tasks",
    "latency",
    "serving",
    "bf16",
    "scaling",
    "peers",
    "ablation",
    "quality",
    "abstention",
    "sharing-intervals",
]


def main():
    """Run the benchmarks that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=[*NAMES, "all"], help="name of the benchmark")
    parser.add_argument(
        "--data",
        action="extend",
        nargs="+",
        help="CSV files in long form, with the columns text, task and label. The default is the "
        "bundled messages, repeated if there are too few. The benchmark quality treats each "
        "argument as one data set: a file, several files joined by commas, or the word messages.",
    )
    parser.add_argument("--texts", type=int, help="number of distinct texts to draw")
    parser.add_argument("--tokens", type=int, help="keep texts with about this number of tokens")
    parser.add_argument("--repeats", type=int, default=3, help="number of timed runs of each side")
    parser.add_argument("--peer", help="Python of an environment with rapidfit, for peers")
    parser.add_argument("--json", help="file to write the results to")
    quality = parser.add_argument_group("quality")
    quality.add_argument("--methods", default="default,single,tfidf,frozen", help="methods")
    quality.add_argument("--rows-per-class", default="8,32,all", help="sizes of the training data")
    quality.add_argument("--seeds", type=int, default=3, help="number of seeds")
    quality.add_argument("--first-seed", type=int, default=0, help="first seed")
    quality.add_argument(
        "--on", choices=["test", "validation"], default="test", help="rows to score"
    )
    quality.add_argument("--precision", default="float32", help="precision of the encoder")
    quality.add_argument("--plot", help="file for a picture")
    quality.add_argument("--setfit", help="Python of an environment with setfit")
    quality.add_argument("--setfit-iterations", type=int, default=20, help="pairs per row / 2")
    quality.add_argument(
        "--set", type=_leaf, action="append", default=[], help="parameter to set: name=value"
    )
    abstention = parser.add_argument_group("abstention")
    abstention.add_argument("--out-of-scope", help="file with texts outside of the first data set")
    abstention.add_argument("--models", help="folder that keeps the fitted models")
    options = parser.parse_args()
    options.set = dict(options.set)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    print(", ".join(f"{name} {value}" for name, value in machine().items()), flush=True)
    results = []
    # `all` leaves out benchmarks that take hours or need another environment.
    everything = [
        name
        for name in NAMES
        if name not in ("helpers", "quality", "abstention", "serving", "sharing-intervals")
        and (name != "peers" or options.peer)
    ]
    for name in everything if options.name == "all" else [options.name]:
        module = importlib.import_module(f".{name.replace('-', '_')}", __package__)
        results += module.run(options)
        if results:
            show(results)
    if options.json and results:
        write(results, options.json)


def _leaf(text):
    """Parse a parameter such as `head__dropout=0.5`."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


if __name__ == "__main__":
    main()
