"""Run benchmarks: `python -m benchmarks NAME --data PATH`."""

from __future__ import annotations

import argparse
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
]


def main():
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=[*NAMES, "all"], help="the benchmark")
    parser.add_argument(
        "--data",
        action="append",
        help="a long CSV with the columns text, task and label; may be given more than once. "
        "Without it, the messages that ship with the package are repeated.",
    )
    parser.add_argument("--texts", type=int, help="how many distinct texts to draw")
    parser.add_argument("--tokens", type=int, help="keep texts of about so many tokens")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side")
    parser.add_argument("--peer", help="the python that has the package of the benchmark peers")
    parser.add_argument("--json", help="a file to write the results to")
    options = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    print(", ".join(f"{name} {value}" for name, value in machine().items()), flush=True)
    results = []
    everything = [name for name in NAMES if name != "peers" or options.peer]
    for name in everything if options.name == "all" else [options.name]:
        module = importlib.import_module(f".{name.replace('-', '_')}", __package__)
        results += module.run(options)
        show(results)
    if options.json:
        write(results, options.json)


if __name__ == "__main__":
    main()
