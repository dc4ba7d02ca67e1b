"""Time callables in turns, so that a slow minute of a shared machine meets all of them."""

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
    """One figure of a benchmark and the bar it should meet.

    Attributes
    ----------
    name : str
        The benchmark.
    case : str
        What was measured.
    value : float
        The figure, in most cases a ratio of two times.
    bar : str
        The bar, such as ``"<= 1.05"``; empty for a figure that only informs.
    details : dict
        What the figure was made of.
    """

    name: str
    case: str
    value: float
    bar: str = ""
    details: dict = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Say whether the figure meets its bar."""
        if not self.bar:
            return ""
        sign, limit = self.bar.split()
        met = self.value <= float(limit) if sign == "<=" else self.value >= float(limit)
        return "met" if met else "missed"


def in_turns(sides: dict, repeats: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Run each callable `repeats` times, one after the other in turns.

    Parameters
    ----------
    sides : dict of {str: callable}
        What to time.
    repeats : int
        How often.
    warm_up : bool, default=True
        Whether each runs once more before, untimed.

    Returns
    -------
    seconds : dict of {str: list of float}
        The times of each. The order is turned around every other time.
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
    """Describe where the figures come from."""
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
    """Write the results and the machine as JSON."""
    content = {
        "machine": machine(),
        "results": [vars(r) | {"verdict": r.verdict} for r in results],
    }
    Path(path).write_text(json.dumps(content, indent=1))
