"""CSV and Parquet files that are read and written a part at a time."""

from __future__ import annotations

import contextlib
import csv
import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd

from ._validation import short


class Part(NamedTuple):
    """Consecutive rows of a file.

    Attributes
    ----------
    rows : DataFrame or pyarrow.Table
        The rows, with the requested columns.
    n_rows_of_file : int
        Number of rows of the whole file, which may be an estimate.
    """

    rows: Any
    n_rows_of_file: int


class TableFormat(Protocol):
    """Functions that read and write the files of a format."""

    ending: str

    def columns(self, path: Path) -> list[str]:
        """Return the names of the columns of a file."""

    def n_rows(self, path: Path) -> int | None:
        """Return the number of rows of a file, or None if only a pass over the file shows it."""

    def check_texts(self, path: Path, column: str):
        """Raise ValueError if it is known without a pass over the file that texts are missing."""

    def parts(self, path: Path, columns: list[str], n_rows: int, first: int) -> Iterator[Part]:
        """Yield the rows of a file from row `first` on, in parts of `n_rows`."""

    def texts(self, rows: Any, column: str) -> pd.Series:
        """Return a column of a part."""

    def write(self, path: Path, rows: Any, columns: list[str], predicted: pd.DataFrame):
        """Write some columns of a part and the predictions for it."""

    def join(
        self, source: Path, columns: list[str], predicted: pd.DataFrame, parts: list[Path], to: Path
    ):
        """Write one file with the rows of all parts.

        `predicted` is a frame with the names and dtypes of the predictions.
        """


# --------------------------------------------------------------------------------------------
# CSV


class CsvFormat:
    """CSV files with a header, in UTF-8. All values are text, so they are copied unchanged."""

    ending = ".csv"

    def columns(self, path: Path) -> list[str]:
        """Return the names in the header; raise ValueError if they do not fit the first row."""
        with _one_error(path), path.open(encoding="utf-8-sig", newline="") as file:
            header, first = (*itertools.islice(csv.reader(file), 2), [], [])[:2]
        if len(first) > len(header):
            raise ValueError(
                f"The first row of {str(path)!r} has {len(first)} values, but its header has "
                f"{len(header)}. Add a header with one name per column, separated by commas."
            )
        _check_names(path, header)
        return header

    def n_rows(self, path: Path) -> None:
        """Return None, because lines may be parts of a value."""

    def check_texts(self, path: Path, column: str):
        """Accept all files, because a missing value is an empty text."""

    def parts(self, path: Path, columns: list[str], n_rows: int, first: int) -> Iterator[Part]:
        """Yield parts, with an estimate of the number of rows from the bytes that were read."""
        size, done = path.stat().st_size, first
        skips = len(self.columns(path)) > 1
        # With `usecols`, pandas would accept rows with more values than the header.
        with _one_error(path), path.open("rb") as file, _read_csv(file, skips) as reader:
            while first:
                first -= len(reader.get_chunk(min(first, n_rows)))
            while len(rows := _next_chunk(reader, n_rows)):
                done += len(rows)
                yield Part(rows[columns], max(done, round(done * size / file.tell())))

    def texts(self, rows: pd.DataFrame, column: str) -> pd.Series:
        """Return a column of a frame."""
        return rows[column]

    def write(self, path: Path, rows: pd.DataFrame, columns: list[str], predicted: pd.DataFrame):
        """Write lines without a header."""
        frame = pd.concat([rows[columns].reset_index(drop=True), predicted], axis=1)
        path.write_text(_to_csv(frame, header=False), "utf-8", newline="")

    def join(
        self, source: Path, columns: list[str], predicted: pd.DataFrame, parts: list[Path], to: Path
    ):
        """Write a header, and copy the lines of all parts."""
        header = pd.DataFrame(columns=[*columns, *predicted.columns])
        to.write_text(_to_csv(header, header=True), "utf-8", newline="")
        with to.open("ab") as target:
            for path in parts:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, target, 2**20)


@contextlib.contextmanager
def _one_error(path: Path) -> Iterator[None]:
    """Convert errors about the content of a CSV file to a ValueError that names the file."""
    try:
        yield
    except (csv.Error, pd.errors.ParserError, UnicodeDecodeError) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise ValueError(
            f"{str(path)!r} is not a CSV file in UTF-8 with the same number of values in each row: "
            f"{reason}. A value with commas, quotes or line breaks must be in quotes."
        ) from error


def _read_csv(file, skips_blank_lines: bool):
    """Open a CSV file. In a file with one column, a blank line is a row with an empty text."""
    return pd.read_csv(
        file,
        dtype=str,
        na_filter=False,
        encoding="utf-8",
        iterator=True,
        skip_blank_lines=skips_blank_lines,
    )


def _to_csv(frame: pd.DataFrame, *, header: bool) -> str:
    """Return the lines of a frame. All values are in quotes if one has a carriage return.

    Before Python 3.13, the module csv does not put such values in quotes by itself.
    """
    form = {"index": False, "lineterminator": "\n", "header": header}
    lines = frame.to_csv(**form)
    return frame.to_csv(**form, quoting=csv.QUOTE_ALL) if "\r" in lines else lines


def _next_chunk(reader, n_rows) -> pd.DataFrame:
    """Return the next rows, or an empty frame at the end."""
    try:
        return reader.get_chunk(n_rows)
    except StopIteration:
        return pd.DataFrame()


# --------------------------------------------------------------------------------------------
# Parquet


class ParquetFormat:
    """Parquet files. Columns that are copied keep their types."""

    ending = ".parquet"

    def columns(self, path: Path) -> list[str]:
        """Return the names of the columns in the schema."""
        names = self._open(path).schema_arrow.names
        _check_names(path, names)
        return names

    def n_rows(self, path: Path) -> int:
        """Return the number of rows in the metadata."""
        return self._open(path).metadata.num_rows

    def check_texts(self, path: Path, column: str):
        """Raise ValueError if the statistics of the file count missing texts."""
        metadata = self._open(path).metadata
        for i in range(metadata.num_row_groups):
            group = metadata.row_group(i)
            chunks = (group.column(j) for j in range(group.num_columns))
            for chunk in (each for each in chunks if each.path_in_schema == column):
                if chunk.statistics is not None and chunk.statistics.null_count:
                    raise ValueError(
                        f"The column {short(column)} of {str(path)!r} has "
                        f"{chunk.statistics.null_count} missing texts in row group {i}. Fill or "
                        "drop these rows."
                    )

    def parts(self, path: Path, columns: list[str], n_rows: int, first: int) -> Iterator[Part]:
        """Yield parts, starting with the row group that contains row `first`."""
        import pyarrow as pa

        with self._open(path) as file:
            n_groups, behind = file.num_row_groups, first
            sizes = [file.metadata.row_group(i).num_rows for i in range(n_groups)]
            group = 0
            while group < n_groups and behind >= sizes[group]:
                behind, group = behind - sizes[group], group + 1
            waiting = file.schema_arrow.empty_table().select(columns)
            for batch in file.iter_batches(n_rows, range(group, n_groups), columns):
                new = pa.Table.from_batches([batch]).select(columns)
                waiting = pa.concat_tables([waiting, new.slice(behind)])
                behind -= min(behind, len(new))
                while len(waiting) >= n_rows:
                    yield Part(waiting.slice(0, n_rows), file.metadata.num_rows)
                    waiting = waiting.slice(n_rows)
            if len(waiting):
                yield Part(waiting, file.metadata.num_rows)

    def texts(self, rows: Any, column: str) -> pd.Series:
        """Return a column of a table."""
        return pd.Series(rows.column(column).to_pylist(), dtype=object)

    def write(self, path: Path, rows: Any, columns: list[str], predicted: pd.DataFrame):
        """Write a Parquet file of one row group."""
        import pyarrow.parquet as pq

        pq.write_table(_with_columns(rows.select(columns), predicted), path)

    def join(
        self, source: Path, columns: list[str], predicted: pd.DataFrame, parts: list[Path], to: Path
    ):
        """Copy the row groups of all parts."""
        import pyarrow.parquet as pq

        empty = self._open(source).schema_arrow.empty_table().select(columns)
        schema = _with_columns(empty, predicted.iloc[:0]).schema
        with pq.ParquetWriter(to, schema) as writer:
            for path in parts:
                writer.write_table(pq.read_table(path, partitioning=None).cast(schema))

    def _open(self, path: Path) -> Any:
        """Open a file; raise ImportError without pyarrow, and ValueError for another format."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise ImportError(
                "Parquet files need pyarrow: pip install 'rapidfit-sk[parquet]'."
            ) from error
        try:
            return pq.ParquetFile(path)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{str(path)!r} is not a Parquet file: {error}") from error


def _with_columns(table: Any, predicted: pd.DataFrame) -> Any:
    """Return a pyarrow table with the columns of a frame at its end."""
    import pyarrow as pa

    # The metadata describes the columns of the input, for example for pandas.
    table = table.replace_schema_metadata(None)
    for name, column in predicted.items():
        table = table.append_column(name, pa.Array.from_pandas(column, type=_arrow_type(column)))
    return table


def _arrow_type(column: pd.Series) -> Any:
    """Return the type of strings, which pyarrow cannot infer from no rows; None for other types."""
    import pyarrow as pa

    kinds = pd.api.types
    return pa.string() if kinds.is_string_dtype(column) or kinds.is_object_dtype(column) else None


# --------------------------------------------------------------------------------------------

FORMATS: dict[str, TableFormat] = {each.ending: each for each in (CsvFormat(), ParquetFormat())}


def _check_names(path, names):
    """Raise ValueError if a file has no columns, or two with the same name."""
    if not names:
        raise ValueError(f"{str(path)!r} has no columns. Pass a file with a header.")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{str(path)!r} has {count} columns named {short(name)}. Rename them.")
