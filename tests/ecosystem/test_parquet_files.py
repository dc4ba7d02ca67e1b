"""The command `predict` on Parquet files and folders of them."""

import sys

import pandas as pd
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import pyarrow as pa
import pyarrow.parquet as pq

from rapidfit_sk import _predict_files
from rapidfit_sk.__main__ import main
from rapidfit_sk.bulk import BatchPredictor

from .small import TEXTS

TABLE = pa.table(
    {
        "id": pa.array([None, *range(47)], pa.int64()),
        "text": TEXTS,
        "time": pa.array(range(48), pa.timestamp("us")),
        "words": [text.split() for text in TEXTS],
        "kind": pa.array([text[:3] for text in TEXTS]).dictionary_encode(),
    }
)


@pytest.fixture(scope="module")
def model(fitted_texts, tmp_path_factory):
    """A folder with the saved classifier of texts."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted_texts.save(folder)
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of seven rows, which do not match the row groups of the tests."""
    monkeypatch.setattr(_predict_files, "PART_ROWS", 7)


def run(*arguments):
    return main(["predict", *map(str, arguments)])


def labels_of(table):
    return table.column("label").to_pylist()


@pytest.mark.parametrize("group", [1, 5, 7, 48])
def test_file(model, fitted_texts, tmp_path, group):
    """All columns keep their types and values, whatever the row groups of the file are."""
    pq.write_table(TABLE, tmp_path / "in.parquet", row_group_size=group)
    assert run(model, tmp_path / "in.parquet", tmp_path / "out.parquet", "--proba") == 0
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(TABLE.column_names).equals(TABLE)
    shares = fitted_texts.predict_proba(TEXTS)
    assert labels_of(found) == fitted_texts.predict(TEXTS).tolist()
    assert found.column_names[-4:] == ["label", "label confidence", "label=n", "label=p"]
    highest = shares.max(axis=1).tolist()
    assert found.column("label confidence").to_pylist() == pytest.approx(highest, rel=1e-5)
    for i, name in enumerate(["label=n", "label=p"]):
        assert found.column(name).to_pylist() == pytest.approx(shares[:, i].tolist(), rel=1e-5)


@pytest.mark.parametrize("group", [1, 5, 48])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_run_continues(model, tmp_path, monkeypatch, group, stop):
    """A run that stopped after some parts gives the rows once, in their order."""
    pq.write_table(TABLE, tmp_path / "in.parquet", row_group_size=group)
    predict = BatchPredictor.predict

    def stopping(self, X, *, first_row=0):
        if len(X) and first_row >= 7 * stop:
            raise KeyboardInterrupt
        return predict(self, X, first_row=first_row)

    monkeypatch.setattr(BatchPredictor, "predict", stopping)
    assert run(model, tmp_path / "in.parquet", tmp_path / "out.parquet") == 130
    monkeypatch.setattr(BatchPredictor, "predict", predict)
    assert len(list((tmp_path / "out.parquet.parts" / "000000").glob("*.parquet"))) == stop
    assert run(model, tmp_path / "in.parquet", tmp_path / "out.parquet") == 0
    assert pq.read_table(tmp_path / "out.parquet").select(TABLE.column_names).equals(TABLE)


@pytest.fixture
def folder(tmp_path):
    """A folder with three files: one in a folder of its own, and one without rows."""
    (tmp_path / "in" / "more").mkdir(parents=True)
    pq.write_table(TABLE.slice(0, 20), tmp_path / "in" / "a.parquet")
    pq.write_table(TABLE.slice(0, 0), tmp_path / "in" / "b.parquet")
    pq.write_table(TABLE.slice(20), tmp_path / "in" / "more" / "c.parquet")
    return tmp_path / "in"


def names_in(folder):
    paths = folder.rglob("*")
    return sorted(path.relative_to(folder).as_posix() for path in paths if path.is_file())


@pytest.mark.parametrize("stop", [None, "a.parquet", "b.parquet", "c.parquet"])
def test_folder(model, fitted_texts, folder, tmp_path, monkeypatch, stop, capfd):
    """A folder becomes a folder with a file per file, also if the run stops before any of them."""
    join = _predict_files._join

    def stopping(predictor, table):
        if table.path.name == stop:
            raise KeyboardInterrupt
        join(predictor, table)

    monkeypatch.setattr(_predict_files, "_join", stopping)
    assert run(model, folder, tmp_path / "out") == (130 if stop else 0)
    assert (tmp_path / "out").exists() == (stop is None)
    monkeypatch.setattr(_predict_files, "_join", join)
    assert run(model, folder, tmp_path / "out", "--progress") == 0
    assert names_in(tmp_path / "out") == ["a.parquet", "b.parquet", "more/c.parquet"]
    tables = [pq.read_table(tmp_path / "out" / name) for name in names_in(tmp_path / "out")]
    assert len({table.schema for table in tables}) == 1
    found = pa.concat_tables(tables)
    assert found.select(TABLE.column_names).equals(TABLE)
    assert labels_of(found) == fitted_texts.predict(TEXTS).tolist()
    assert names_in(tmp_path) == [
        *[f"in/{name}" for name in names_in(folder)],
        "out.run.json",
        *[f"out/{name}" for name in names_in(tmp_path / "out")],
    ]


def test_metadata_of_pandas(model, tmp_path):
    """The index of a pandas frame becomes a column, because the output has other columns."""
    TABLE.to_pandas().set_index("time").to_parquet(tmp_path / "in.parquet")
    options = ["--key", "id"]
    assert run(model, tmp_path / "in.parquet", tmp_path / "out.parquet", *options) == 0
    assert pd.read_parquet(tmp_path / "out.parquet").columns.tolist() == ["id", "label"]


@pytest.mark.parametrize("labels", [[0, 1], [False, True], [1.0, 2.0]])
def test_types_of_labels(classifier, tmp_path, labels):
    """Labels that are no strings keep their type, also in a file without rows."""
    classifier.fit(TEXTS, labels * 24).save(tmp_path / "other")
    for n in (0, 3):
        pq.write_table(TABLE.slice(0, n), tmp_path / f"{n}.parquet")
        assert run(tmp_path / "other", tmp_path / f"{n}.parquet", tmp_path / f"o{n}.parquet") == 0
        schema = pq.read_schema(tmp_path / f"o{n}.parquet")
        assert schema.field("label").type == pa.array(labels).type


def error_of(capfd, *arguments):
    capfd.readouterr()
    assert run(*arguments) == 1
    return capfd.readouterr().err


def test_missing_text(model, folder, tmp_path, capfd):
    """A missing text is reported before anything is predicted, with its file and row group."""
    table = TABLE.set_column(1, "text", pa.array([*TEXTS[:30], None, *TEXTS[31:]]))
    pq.write_table(table, folder / "more" / "c.parquet", row_group_size=12)
    message = error_of(capfd, model, folder, tmp_path / "out")
    assert "c.parquet' has 1 missing texts in row group 2." in message
    assert not (tmp_path / "out.parts").exists()
    pq.write_table(table, folder / "more" / "c.parquet", write_statistics=False)
    assert "row 30" in error_of(capfd, model, folder, tmp_path / "out")


def test_wrong_files(model, folder, tmp_path, capfd, monkeypatch):
    """A file of another format, and a result inside the input, are refused."""
    assert "inside the folder IN" in error_of(capfd, model, folder, folder / "out")
    (folder / "d.parquet").write_text("id,text\n")
    message = error_of(capfd, model, folder, tmp_path / "out")
    assert "d.parquet' is not a Parquet file" in message
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = error_of(capfd, model, folder, tmp_path / "out")
    assert "pip install 'rapidfit-sk[parquet]'" in message
