"""Accuracy, macro-F1 and calibration of the defaults against alternatives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score
from tqdm.auto import tqdm

from ._measure import machine
from ._quality_data import MESSAGES, name_of_set, read_set, train_and_test
from ._quality_methods import METHODS

FIGURES = ["accuracy", "f1", "ece", "seconds"]
CASE = ["data", "rows", "method", "task"]


def run(options):
    """Score each method on each data set, size and seed, and print and save the scores."""
    table = load(options.json)
    settings = {"set": options.set, "precision": options.precision}
    settings = json.dumps(settings | {"pairs": options.setfit_iterations})
    for paths in options.data or [MESSAGES]:
        rows = read_set(paths)
        for size in options.rows_per_class.split(","):
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                n = None if size == "all" else int(size)
                train, test = train_and_test(rows, n, seed, options.on)
                # Without rows, only label texts can predict.
                for method in options.methods.split(",") if n != 0 else ["default"]:
                    case = {"data": name_of_set(paths), "rows": size, "method": method}
                    case |= {"seed": seed, "on": options.on, "settings": settings}
                    if is_known(table, case):
                        continue
                    answers = METHODS[method](train, test, seed, options)
                    scored = [case | _scores(test, task, each) for task, each in answers.items()]
                    table = pd.concat([table, pd.DataFrame(scored)], ignore_index=True)
                    save(table, options.json)
                    tqdm.write(_line(scored))
    if len(table):
        table = table[(table["on"] == options.on) & (table["settings"] == settings)]
        _show(table)
        if options.plot:
            # Imported here, because only pictures need matplotlib.
            from ._quality_plot import draw

            draw(summary(table)["f1"].xs("mean", level="task"), options.plot)
    return []


def _scores(test, task, answer) -> dict:
    true = test.loc[test["task"] == task, "label"].to_numpy(dtype=object)
    right = true == answer.predicted
    f1 = f1_score(true, answer.predicted, average="macro", zero_division=0)
    return {
        "task": task,
        "accuracy": accuracy_score(true, answer.predicted),
        "f1": f1,
        "ece": np.nan if answer.confidence is None else calibration_error(answer.confidence, right),
        "seconds": answer.seconds,
    }


def calibration_error(confidence, right, n_bins=15) -> float:
    """Return the expected calibration error, from the gap between confidence and accuracy.

    Parameters
    ----------
    confidence : ndarray of float, shape (n_rows,)
        Probability of the predicted label.
    right : ndarray of bool, shape (n_rows,)
        Whether the predicted label is correct.
    n_bins : int, default=15
        Number of bins of equal width.

    Returns
    -------
    error : float
        Mean over rows of the gap between mean confidence and accuracy in their bin.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    sums = [np.bincount(bins, values, n_bins) for values in (confidence, right)]
    return float(np.abs(sums[0] - sums[1]).sum() / len(right))


def is_known(table, case) -> bool:
    """Return whether a table has results of a case."""
    if not len(table):
        return False
    return bool((table[list(case)] == pd.Series(case)).all(axis=1).any())


def _line(scored) -> str:
    first = scored[0]
    figures = ", ".join(f"{s['task']} {s['f1']:.3f} ({s['ece']:.3f})" for s in scored)
    seconds = sum(s["seconds"] for s in scored)
    return (
        f"{first['data']} {first['rows']} seed {first['seed']} {first['method']}: "
        f"F1 {np.mean([s['f1'] for s in scored]):.4f}, {figures}, {seconds:.0f} s"
    )


# --------------------------------------------------------------------------------------------
# The table


def load(path) -> pd.DataFrame:
    """Read the results of an earlier run, which this run continues."""
    if path is None or not Path(path).exists():
        return pd.DataFrame()
    return pd.DataFrame(json.loads(Path(path).read_text())["results"])


def save(table, path):
    """Write results and a description of the machine, if a file is given."""
    if path is not None:
        content = {"machine": machine(), "results": table.to_dict("records")}
        Path(path).write_text(json.dumps(content, indent=1))


def summary(table) -> pd.DataFrame:
    """Return mean and standard deviation over seeds, for each task and for their average.

    Parameters
    ----------
    table : DataFrame
        One row per data set, size, method, seed and task.

    Returns
    -------
    summary : DataFrame
        One row per data set, size, method and task. The task "mean" is the average over tasks;
        its seconds are the sum over tasks.
    """
    groups = table.groupby(["data", "rows", "method", "seed"], sort=False)
    means = groups[FIGURES].mean()
    means["seconds"] = groups["seconds"].sum()
    table = pd.concat([table, means.reset_index().assign(task="mean")])
    grouped = table.groupby(CASE, sort=False)
    result = grouped[FIGURES].mean().join(grouped[FIGURES].std().add_suffix(" sd"))
    return result.join(grouped["seed"].nunique().rename("seeds")).sort_index(
        level=["data", "rows", "task"], sort_remaining=False
    )


def _show(table):
    if not len(table):
        return
    rows = summary(table).reset_index()
    for figure in FIGURES:
        spread = rows.pop(f"{figure} sd")
        rows[figure] = [
            f"{mean:.1f}" if figure == "seconds" else _percent(mean, sd)
            for mean, sd in zip(rows[figure], spread, strict=True)
        ]
    print(rows.to_string(index=False))


def _percent(mean, sd) -> str:
    """Format a mean and, if there are several seeds, its standard deviation, in percent."""
    if np.isnan(mean):
        return "-"
    return f"{100 * mean:.1f}" + ("" if np.isnan(sd) else f" ± {100 * sd:.1f}")
