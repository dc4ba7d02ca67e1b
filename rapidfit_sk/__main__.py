"""Command line: ``python -m rapidfit_sk predict MODEL IN OUT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

_PREDICT = """\
Add predictions to the rows of a CSV file, a Parquet file, or a folder of Parquet files of any size.

A command that was killed continues if it is called again. OUT appears when it is complete. Until
then, OUT.parts contains the finished parts. OUT.run.json describes the run: the model, the input
and the options.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit status."""
    given = _parser().parse_args(arguments)
    try:
        return _predict(given)
    except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
        return _fail(f"error: {error}", 1)
    except KeyboardInterrupt:
        return _fail("Interrupted. Call the same command again to continue.", 130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m rapidfit_sk", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser(
        "predict",
        help="predict the texts of files",
        description=_PREDICT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("model", metavar="MODEL", help="folder that save wrote")
    predict.add_argument("source", metavar="IN", type=Path, help="CSV or Parquet file, or folder")
    predict.add_argument("target", metavar="OUT", type=Path, help="file or folder to write")
    predict.add_argument("--task", help="the task to predict (default: all tasks)")
    predict.add_argument(
        "--proba",
        action="store_true",
        help="add 'TASK confidence', and the probability of each class as 'TASK=CLASS'",
    )
    predict.add_argument(
        "--text-column", metavar="NAME", help="text column of IN (default: that of the model)"
    )
    predict.add_argument(
        "--key",
        metavar="NAME",
        action="append",
        help="column of IN to keep; can be given several times (default: all columns)",
    )
    predict.add_argument("--progress", action="store_true", help="show progress and the time left")
    return parser


def _predict(given: argparse.Namespace) -> int:
    # The option --help would otherwise wait for pandas and scikit-learn.
    from ._predict_files import Job, predict_files
    from ._report import report
    from .bulk import BatchPredictor

    options = {"proba": given.proba, "text_column": given.text_column}
    predictor = BatchPredictor(given.model, given.task, **options)
    predict_files(Job(predictor, given.source, given.target, given.key), progress=given.progress)
    report(f"{given.target} is complete.")
    return 0


def _fail(message: str, status: int) -> int:
    from ._report import report

    report(message)
    return status


if __name__ == "__main__":
    sys.exit(main())
