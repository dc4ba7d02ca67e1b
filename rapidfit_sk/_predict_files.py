"""Predict a file or a folder of files in parts, and continue a run that was killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from tqdm import tqdm

from ._folders import sync
from ._report import shows_bars
from ._table_files import FORMATS, TableFormat
from ._validation import listed, short, suggestion
from .bulk import BatchPredictor, text_column_of

# Number of rows in a part. A run that is killed loses at most the work on one part.
PART_ROWS = 16_384
# Number of rows between two updates of the progress bar.
_BATCH_ROWS = 4096
_FORMAT_VERSION = 1
_PARQUET = ".parquet"
_NO_TEXTS = pd.Series([], dtype=object)
# Names in the folder of finished parts: its lock, the result, and a file that is being written.
_LOCK, _RESULT, _NEW = "lock", "result", "new"
# How messages name the entries of the record of a run.
_NAMES = {
    "format_version": "version of rapidfit_sk",
    "model": "MODEL",
    "input": "IN",
    "columns": "columns (--key)",
    "text_column": "--text-column",
    "task": "--task",
    "proba": "--proba",
}


@dataclass(frozen=True)
class Job:
    """A prediction of files.

    Attributes
    ----------
    predictor : BatchPredictor
        The function that predicts.
    source : Path
        A CSV file, a Parquet file, or a folder of Parquet files.
    target : Path
        The file or folder to write, of the same kind.
    keys : list of str or None
        The columns of the input to keep; None for all.
    """

    predictor: BatchPredictor
    source: Path
    target: Path
    keys: list[str] | None

    @property
    def record(self) -> Path:
        """The file that describes the run, next to the result."""
        return self.target.with_name(self.target.name + ".run.json")

    @property
    def work(self) -> Path:
        """The folder of finished parts and files, next to the result."""
        return self.target.with_name(self.target.name + ".parts")


@dataclass(frozen=True)
class _Table:
    """A file of the input, with the places of its parts and of its result.

    Attributes
    ----------
    path : Path
        The file.
    kept : list of str
        The columns to keep.
    text_column : str
        The column of texts.
    parts : Path
        The folder of its finished parts.
    joined : Path
        The file that contains the rows of all parts.
    """

    path: Path
    kept: list[str]
    text_column: str
    parts: Path
    joined: Path

    @property
    def format(self) -> TableFormat:
        """The format of the file."""
        return FORMATS[self.path.suffix]

    def finished(self) -> tuple[list[Path], int]:
        """Return the finished parts, and their number of rows."""
        paths, n_rows = [], 0
        for path in sorted(self.parts.glob(f"*{self.format.ending}")):
            first, n = map(int, path.stem.split("-"))
            if first != n_rows:
                break  # a failure of the machine has lost the part before this one
            paths.append(path)
            n_rows += n
        return paths, n_rows

    def n_finished(self) -> int:
        """Return the number of rows of finished parts, or of the whole file if it is joined."""
        return self.format.n_rows(self.joined) or 0 if self.joined.exists() else self.finished()[1]


def predict_files(job: Job, *, progress: bool = False):
    """Predict all texts of a job.

    A run that was killed continues with the first part that it did not finish. The result appears
    under its name when it is complete.

    Parameters
    ----------
    job : Job
        The job.
    progress : bool, default=False
        Whether to show a progress bar on standard error.

    Raises
    ------
    FileNotFoundError
        If the input does not exist.
    FileExistsError
        If the result exists and does not belong to the same job.
    ValueError, TypeError
        If the input or a text is not valid.
    RuntimeError
        If another process works on the same job.
    """
    files = _files(job)
    description = _describe(job, files)
    _check_record(job, description)
    if not job.target.exists():
        tables = _tables(job, files)
        job.work.mkdir(parents=True, exist_ok=True)
        with _only_process(job):
            _check_record(job, description)
            if not job.target.exists():
                _write_record(job, description)
                _predict_tables(job, tables, progress)
    shutil.rmtree(job.work, ignore_errors=True)


# --------------------------------------------------------------------------------------------
# Input


def _files(job: Job) -> list[Path]:
    """Return the files of the input; raise an error if they or the target are of another kind."""
    source, target = job.source, job.target
    if not source.exists():
        raise FileNotFoundError(f"There is no file or folder {str(source)!r}. Pass another IN.")
    if target.resolve() == source.resolve():
        raise ValueError("OUT must not be IN, which is read until the end. Pass another OUT.")
    if source.is_dir():
        files = sorted(path for path in source.rglob(f"*{_PARQUET}") if path.is_file())
        if not files:
            raise ValueError(f"The folder {str(source)!r} has no files that end in {_PARQUET}.")
        if target.resolve().is_relative_to(source.resolve()):
            raise ValueError("OUT must not be inside the folder IN. Pass another OUT.")
        return files
    if source.suffix not in FORMATS:
        raise ValueError(
            f"The name of the input must end in {' or '.join(FORMATS)}, got {source.name!r}. "
            "Convert the file, or pass a folder of Parquet files."
        )
    if target.suffix != source.suffix:
        raise ValueError(
            f"The name of OUT must end in {source.suffix}, as IN does, got {target.name!r}."
        )
    return [source]


def _tables(job: Job, files: list[Path]) -> list[_Table]:
    """Return the checked files of the input."""
    text_column = text_column_of(job.predictor)
    return [_table(job, number, path, text_column) for number, path in enumerate(files)]


def _table(job: Job, number: int, path: Path, text_column: str) -> _Table:
    file_format = FORMATS[path.suffix]
    columns = file_format.columns(path)
    kept = columns if job.keys is None else job.keys
    _check_columns(path, columns, [text_column], "--text-column")
    _check_columns(path, columns, kept, "--key")
    file_format.check_texts(path, text_column)
    for name in job.predictor.predict(_NO_TEXTS).columns.intersection(kept):
        raise ValueError(
            f"{str(path)!r} has a column {short(name)}, which is also the name of a predicted "
            "column. Pass the columns to keep with --key, without this one."
        )
    inside = path.relative_to(job.source) if job.source.is_dir() else Path(job.target.name)
    parts = job.work / f"{number:06d}"
    return _Table(path, kept, text_column, parts, job.work / _RESULT / inside)


def _check_columns(path, columns, names, option):
    """Raise ValueError for a name that is not a column of a file."""
    for name in names:
        if name not in columns:
            raise ValueError(
                f"{str(path)!r} has no column {short(name)}.{suggestion(name, columns)} Its "
                f"columns are: {listed(columns)}. Choose one with {option}."
            )


# --------------------------------------------------------------------------------------------
# Record of a run


def _describe(job: Job, files: list[Path]) -> dict[str, Any]:
    """Return what decides about the result, as plain data."""
    states = [(str(path.relative_to(job.source)), path.stat()) for path in files]
    stamps = [[name, state.st_size, state.st_mtime_ns] for name, state in states]
    given = {
        "path": os.path.abspath(job.source),
        "n_files": len(files),
        "size": sum(state.st_size for _, state in states),
        "files_sha256": hashlib.sha256(json.dumps(stamps).encode()).hexdigest(),
    }
    predictor = job.predictor
    return {
        "format_version": _FORMAT_VERSION,
        "model": predictor.model_id,
        "input": given,
        "columns": job.keys,
        "text_column": predictor.text_column,
        "task": predictor.task,
        "proba": predictor.proba,
    }


def _check_record(job: Job, description: dict[str, Any]):
    """Raise FileExistsError if files of another run, or other files, are in the way."""
    way_out = (
        f"To start again, remove {job.target.name}, {job.work.name} and {job.record.name} in "
        f"{str(job.target.parent)!r}. To keep them, pass another OUT."
    )
    if not job.record.exists():
        for path in (job.target, job.work):
            if path.exists() and not _is_new(path, job):
                raise FileExistsError(
                    f"{str(path)!r} exists, and there is no record of the run that wrote it. "
                    f"{way_out}"
                )
        return
    try:
        recorded = dict(json.loads(job.record.read_text()))
    except (TypeError, ValueError) as error:
        raise FileExistsError(f"{str(job.record)!r} is not valid. {way_out}") from error
    different = [_NAMES[key] for key in _NAMES if recorded.get(key) != description[key]]
    if different:
        raise FileExistsError(
            f"{str(job.target)!r} belongs to a run with another {', another '.join(different)}. "
            f"{way_out}"
        )


def _is_new(path: Path, job: Job) -> bool:
    """Check whether a path is the folder of a job that was killed before it had a record."""
    if path != job.work or not path.is_dir():
        return False
    return {each.name for each in path.iterdir()} <= {_LOCK, job.record.name}


def _write_record(job: Job, description: dict[str, Any]):
    new = job.work / job.record.name
    new.write_text(json.dumps(description, indent=1))
    _publish(new, job.record)


@contextlib.contextmanager
def _only_process(job: Job) -> Iterator[None]:
    """Context in which no other process works on the job."""
    try:
        with FileLock(job.work / _LOCK, timeout=0):
            yield
    except Timeout as error:
        raise RuntimeError(
            f"Another process is writing {str(job.target)!r}. Wait for it, or pass another OUT."
        ) from error


# --------------------------------------------------------------------------------------------
# Prediction


def _predict_tables(job: Job, tables: list[_Table], progress: bool):
    """Predict all files, and move the result to its place."""
    with _bar(tables, progress) as bar:
        for table in tables:
            if not table.joined.exists():
                _predict_table(job.predictor, table, bar)
    result = job.work / _RESULT
    _publish(result if job.source.is_dir() else result / job.target.name, job.target)


def _bar(tables: list[_Table], progress: bool) -> tqdm:
    """Return a progress bar that starts with the rows of an earlier process."""
    sizes = [table.format.n_rows(table.path) for table in tables]
    return tqdm(
        total=sum(size or 0 for size in sizes) or None,
        initial=sum(table.n_finished() for table in tables),
        desc="predicting",
        unit="row",
        unit_scale=True,
        mininterval=0.5 if shows_bars() else 10,  # a log file gets a line each time
        disable=not progress,
    )


def _predict_table(predictor: BatchPredictor, table: _Table, bar: tqdm):
    """Predict the parts of a file that are not finished, and join all parts."""
    table.parts.mkdir(exist_ok=True)
    _, first = table.finished()
    needed = list(dict.fromkeys([*table.kept, table.text_column]))
    is_estimated = table.format.n_rows(table.path) is None
    for part in table.format.parts(table.path, needed, PART_ROWS, first):
        if is_estimated:
            bar.total = part.n_rows_of_file
        texts = table.format.texts(part.rows, table.text_column)
        predicted = _predict_texts(predictor, texts, first, bar)
        new = table.parts / _NEW
        table.format.write(new, part.rows, table.kept, predicted)
        _publish(new, table.parts / f"{first:012d}-{len(texts)}{table.format.ending}")
        first += len(texts)
    _join(predictor, table)


def _predict_texts(predictor, texts: pd.Series, first: int, bar: tqdm) -> pd.DataFrame:
    """Return the predictions for the texts of a part, and advance the bar after each batch."""
    found = []
    for start in range(0, len(texts), _BATCH_ROWS):
        batch = texts.iloc[start : start + _BATCH_ROWS]
        found.append(predictor.predict(batch, first_row=first + start))
        bar.update(len(batch))
    return pd.concat(found, ignore_index=True)


def _join(predictor: BatchPredictor, table: _Table):
    """Write one file with the rows of all parts, and remove the parts."""
    parts, _ = table.finished()
    table.joined.parent.mkdir(parents=True, exist_ok=True)
    new = table.parts / _NEW
    table.format.join(table.path, table.kept, predictor.predict(_NO_TEXTS), parts, new)
    _publish(new, table.joined)
    shutil.rmtree(table.parts)


def _publish(new: Path, path: Path):
    """Rename a finished file or folder, after all of its data are on the disk."""
    sync(new)
    os.replace(new, path)
    sync(path.parent)
