"""Run benchmarks: `python -m benchmarks NAME --data PATH`."""

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
    "frozen-prefix",
    "search",
    "predict",
    "predict-tasks",
    "bf16",
    "scaling",
    "peers",
    "ablation",
    "quality",
]


def main():
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=[*NAMES, "all"], help="the benchmark")
    parser.add_argument(
        "--data",
        action="extend",
        nargs="+",
        help="long CSVs with the columns text, task and label. Without it, the messages that ship "
        "with the package are taken, and repeated. Each file is a data set to the benchmark "
        "quality, and so are several with commas between, and the word messages.",
    )
    parser.add_argument("--texts", type=int, help="how many distinct texts to draw")
    parser.add_argument("--tokens", type=int, help="keep texts of about so many tokens")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side")
    parser.add_argument("--peer", help="the python that has the package of the benchmark peers")
    parser.add_argument("--json", help="a file to write the results to")
    quality = parser.add_argument_group("quality")
    quality.add_argument("--methods", default="default,single,tfidf,frozen", help="what to compare")
    quality.add_argument("--rows-per-class", default="8,32,all", help="sizes of training data")
    quality.add_argument("--seeds", type=int, default=3, help="how many draws of training data")
    quality.add_argument("--first-seed", type=int, default=0, help="the first of them")
    quality.add_argument("--on", choices=["test", "validation"], default="test", help="score on")
    quality.add_argument("--precision", default="float32", help="of the encoder, in our methods")
    quality.add_argument("--setfit", help="the python that has the package setfit")
    quality.add_argument("--setfit-iterations", type=int, default=20, help="pairs of a row, halved")
    quality.add_argument(
        "--set", type=_leaf, action="append", default=[], help="a leaf for our methods, as a=1"
    )
    options = parser.parse_args()
    options.set = dict(options.set)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    print(", ".join(f"{name} {value}" for name, value in machine().items()), flush=True)
    results = []
    # What takes hours, or another environment, is asked for by name.
    everything = [name for name in NAMES if name != "quality" and (name != "peers" or options.peer)]
    for name in everything if options.name == "all" else [options.name]:
        module = importlib.import_module(f".{name.replace('-', '_')}", __package__)
        results += module.run(options)
        if results:
            show(results)
    if options.json and results:
        write(results, options.json)


def _leaf(text):
    """Read `head__dropout=0.5`."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


if __name__ == "__main__":
    main()
