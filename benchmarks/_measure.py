"""Time callables in alternation, so a slow moment of a shared machine affects all of them."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from tqdm.auto import tqdm

import rapidfit_sk


@dataclass
class Result:
    """A figure of a benchmark and its bar.

    Attributes
    ----------
    name : str
        Name of the benchmark.
    case : str
        Description of the measurement.
    value : float
        The figure, usually a ratio of two times.
    bar : str
        The required range, such as ``"<= 1.05"``; empty if there is none.
    details : dict
        The measurements that the figure was computed from.
    """

    name: str
    case: str
    value: float
    bar: str = ""
    details: dict = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Return "met" or "missed", or an empty string without a bar."""
        if not self.bar:
            return ""
        sign, limit = self.bar.split()
        met = self.value <= float(limit) if sign == "<=" else self.value >= float(limit)
        return "met" if met else "missed"


def in_turns(sides: dict, repeats: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Run each callable `repeats` times, in alternation.

    Parameters
    ----------
    sides : dict of {str: callable}
        Callables to time, by name.
    repeats : int
        Number of timed runs of each callable.
    warm_up : bool, default=True
        Whether each callable first runs once without being timed.

    Returns
    -------
    seconds : dict of {str: list of float}
        Times of the runs of each callable. Every other round runs in reverse order.
    """
    seconds = {name: [] for name in sides}
    for turn in tqdm(range(-warm_up, repeats), desc=" / ".join(sides), leave=False):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            start = time.perf_counter()
            sides[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds, over, under) -> float:
    """Return the ratio of two median times."""
    return statistics.median(seconds[over]) / statistics.median(seconds[under])


def machine() -> dict:
    """Return the processor and the versions that the figures depend on."""
    return {
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "rapidfit_sk": rapidfit_sk.__version__,
    }


def show(results):
    """Print the results as a table."""
    rows = [("benchmark", "case", "value", "bar", "")]
    rows += [(r.name, r.case, f"{r.value:.2f}", r.bar, r.verdict) for r in results]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = zip(row, widths, strict=True)
        print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
    sys.stdout.flush()


def write(results, path):
    """Write the results and a description of the machine to a JSON file."""
    content = {
        "machine": machine(),
        "results": [vars(r) | {"verdict": r.verdict} for r in results],
    }
    Path(path).write_text(json.dumps(content, indent=1))
