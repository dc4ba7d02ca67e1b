"""The command `predict` on CSV files: its results, and runs that are killed and continue."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from rapidfit_sk import _predict_files
from rapidfit_sk.__main__ import main
from rapidfit_sk.bulk import BatchPredictor


class StoppedError(BaseException):
    """An interruption that no code handles, as a stand-in for the end of the process."""


ODD_TEXTS = ['two\nlines, with a comma and "quotes"', "", " spaces ", "Ä €", "NA", "null", "1e5"]


@pytest.fixture(scope="module")
def model(fitted, tmp_path_factory):
    """A folder with the saved classifier; tests must not change it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted.save(folder)
    return folder


@pytest.fixture(scope="module")
def texts(messages):
    """A hundred texts, some of which are hard to read from a CSV file."""
    return [*ODD_TEXTS, *messages["text"].unique()[: 100 - len(ODD_TEXTS)]]


@pytest.fixture
def source(texts, tmp_path, monkeypatch):
    """A CSV file with seven parts."""
    monkeypatch.setattr(_predict_files, "PART_ROWS", 16)
    monkeypatch.setattr(_predict_files, "_BATCH_ROWS", 5)
    frame = pd.DataFrame({"id": [f"{i:05d}" for i in range(100)], "text": texts, "empty": ""})
    frame.to_csv(tmp_path / "in.csv", index=False)
    return tmp_path / "in.csv"


@pytest.fixture
def target(tmp_path):
    """The file to write."""
    return tmp_path / "results" / "out.csv"


def run(*arguments):
    """Run the command in this process, and return its exit status."""
    return main(["predict", *map(str, arguments)])


def read(path):
    """Return the values of a CSV file as they are."""
    return pd.read_csv(path, dtype=str, na_filter=False)


@pytest.fixture
def expected(model, source):
    """The whole result, from one prediction in memory."""
    return BatchPredictor(model)(read(source))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def stops_before_join(monkeypatch):
    """Runs of this test stop when all parts are finished, until the patch is undone."""

    def stop(*_):
        raise StoppedError

    monkeypatch.setattr(_predict_files, "_join", stop)
    return monkeypatch


# --------------------------------------------------------------------------------------------
# Results


def test_all_columns_and_rows_stay(model, source, target, expected):
    """Each value of the input stays as it is, and one label per task follows in each row."""
    assert run(model, source, target) == 0
    pd.testing.assert_frame_equal(read(target), expected, check_dtype=False)
    assert names_in(target.parent) == ["out.csv", "out.csv.run.json"]


def test_options(model, source, target, texts):
    """The options choose the task, the columns to keep and the probabilities."""
    options = ["--task", "intent", "--proba", "--key", "empty", "--key", "id"]
    assert run(model, source, target, *options) == 0
    found = pd.read_csv(target, dtype={"id": str})
    predicted = BatchPredictor(model, "intent", proba=True).predict(texts)
    assert found.columns.tolist() == ["empty", "id", *predicted.columns]
    assert found["id"].tolist() == [f"{i:05d}" for i in range(100)]
    pd.testing.assert_frame_equal(found[predicted.columns], predicted, check_dtype=False)


def test_text_column(model, source, target, expected):
    """Another column can contain the texts."""
    read(source).rename(columns={"text": "message"}).to_csv(source, index=False)
    assert run(model, source, target, "--text-column", "message", "--key", "id") == 0
    found = read(target)
    assert found["intent"].tolist() == expected["intent"].tolist()


@pytest.mark.parametrize("content", ["text\n", "id,text\n"])
def test_no_rows(model, tmp_path, target, content):
    """A header without rows leads to a header without rows."""
    (tmp_path / "in.csv").write_text(content)
    assert run(model, tmp_path / "in.csv", target) == 0
    assert target.read_text() == content.strip() + ",sentiment,intent,emotion\n"


def test_byte_order_mark(model, source, target, expected):
    """The mark that some programs write before the header is not part of a name."""
    source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes())
    assert run(model, source, target) == 0
    pd.testing.assert_frame_equal(read(target), expected, check_dtype=False)


def test_progress(model, source, target, capfd):
    """The progress bar is on standard error, and ends at the number of rows."""
    assert run(model, source, target, "--progress") == 0
    output, errors = capfd.readouterr()
    assert output == ""
    assert "100/100" in errors
    assert f"{target} is complete." in errors


def test_memory_is_constant(model, tmp_path, monkeypatch):
    """No more than one part of the input is in memory."""
    monkeypatch.setattr(_predict_files, "PART_ROWS", 10)
    (tmp_path / "in.csv").write_text("text\n" + "one text\n" * 95)
    sizes = []
    predict_texts = _predict_files._predict_texts

    def counted(predictor, texts, *others):
        sizes.append(len(texts))
        return predict_texts(predictor, texts, *others)

    monkeypatch.setattr(_predict_files, "_predict_texts", counted)
    assert run(model, tmp_path / "in.csv", tmp_path / "out.csv") == 0
    assert sizes == [10] * 9 + [5]


# --------------------------------------------------------------------------------------------
# Runs that stop and continue


@pytest.mark.parametrize("after", [False, True])
def test_stop_at_each_step(model, source, target, expected, monkeypatch, after):
    """A run that stops before or after any of its renames continues to the same result."""
    replace, left = os.replace, [0]

    def stopping(old, new):
        if after:
            replace(old, new)
        left[0] -= 1
        if left[0] == 0:
            raise StoppedError
        if not after:
            replace(old, new)

    n_stops = 0
    for n_steps in range(1, 20):
        left[0] = n_steps
        monkeypatch.setattr(os, "replace", stopping)
        try:
            run(model, source, target)
        except StoppedError:
            n_stops += 1
            assert after or not target.exists()
        monkeypatch.setattr(os, "replace", replace)
        if left[0] > 0:
            break
        assert run(model, source, target) == 0
        pd.testing.assert_frame_equal(read(target), expected, check_dtype=False)
        assert names_in(target.parent) == ["out.csv", "out.csv.run.json"]
        target.unlink()
        target.with_name("out.csv.run.json").unlink()
    assert n_stops == 10  # the record, seven parts, the joined file and the result


def test_finished_parts_are_not_predicted_again(model, source, target, monkeypatch):
    """A run that continues predicts exactly the rows that are not finished."""
    predict, rows, limit = BatchPredictor.predict, [], [50]

    def counted(self, X, *, first_row=0):
        if len(X) and first_row >= limit[0]:
            raise StoppedError
        rows.extend(range(first_row, first_row + len(X)))
        return predict(self, X, first_row=first_row)

    monkeypatch.setattr(BatchPredictor, "predict", counted)
    with pytest.raises(StoppedError):
        run(model, source, target)
    n_before, limit[0] = len(rows), 100
    assert rows == list(range(n_before))
    assert run(model, source, target) == 0
    assert rows[n_before:] == list(range(48, 100))


def test_progress_continues(model, source, target, stops_before_join, capfd):
    """The bar of a run that continues starts with the finished rows."""
    with pytest.raises(StoppedError):
        run(model, source, target)
    stops_before_join.undo()
    capfd.readouterr()
    assert run(model, source, target, "--progress") == 0
    assert "100row" in capfd.readouterr().err


def test_lost_part(model, source, target, expected, stops_before_join):
    """If the machine lost a part, the run continues before it."""
    with pytest.raises(StoppedError):
        run(model, source, target)
    stops_before_join.undo()
    parts = sorted((target.parent / "out.csv.parts" / "000000").iterdir())
    assert [path.name for path in parts[:2]] == ["000000000000-16.csv", "000000000016-16.csv"]
    parts[1].unlink()
    assert run(model, source, target) == 0
    pd.testing.assert_frame_equal(read(target), expected, check_dtype=False)


def test_complete_run_does_nothing(model, source, target, monkeypatch):
    """The same command after a complete run succeeds without a prediction."""
    assert run(model, source, target) == 0
    before = target.read_bytes()
    monkeypatch.setattr(BatchPredictor, "predict", None)
    assert run(model, source, target) == 0
    assert target.read_bytes() == before


RUN = """
import sys
from rapidfit_sk import _predict_files
from rapidfit_sk.__main__ import main
_predict_files.PART_ROWS = 16
sys.exit(main(["predict", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_killed_process(model, source, target, expected):
    """A process that is killed between two parts continues in another process."""
    command = [sys.executable, "-c", RUN, *map(str, (model, source, target))]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    parts = target.parent / "out.csv.parts"
    while process.poll() is None and len(list(parts.glob("*/*.csv"))) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not target.exists()
    assert names_in(target.parent) == ["out.csv.parts", "out.csv.run.json"]
    assert run(model, source, target) == 0
    pd.testing.assert_frame_equal(read(target), expected, check_dtype=False)


def test_interruption(model, source, target, monkeypatch, capfd):
    """Ctrl-C leads to one line that says how to continue."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_predict_files, "_predict_texts", interrupt)
    assert run(model, source, target) == 130
    assert "Call the same command again to continue." in capfd.readouterr().err


# --------------------------------------------------------------------------------------------
# Errors


def error_of(capfd, *arguments):
    """Run the command, which must fail, and return its message."""
    capfd.readouterr()
    assert run(*arguments) == 1
    message = capfd.readouterr().err
    assert message.startswith("error: ")
    assert "Traceback" not in message
    return message


def test_wrong_paths(model, source, target, tmp_path, capfd):
    """Missing and unknown files are named, and nothing is written."""
    other = tmp_path / "in.xlsx"
    other.write_text("")
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ((tmp_path / "no", source, target), "There is no folder"),
        ((model, tmp_path / "no.csv", target), "There is no file or folder"),
        ((model, other, target), "must end in .csv or .parquet, got 'in.xlsx'"),
        ((model, source, tmp_path / "out.parquet"), "must end in .csv, as IN does"),
        ((model, source, source), "OUT must not be IN"),
        ((model, tmp_path / "empty", target), "has no files that end in .parquet"),
        ((model, source, target, "--text-column", "txt"), "no column 'txt'. Did you mean 'text'"),
        ((model, source, target, "--key", "ids"), "Did you mean 'id'? .* with --key"),
        ((model, source, target, "--task", "intnt"), "Did you mean 'intent'"),
    ]:
        found = error_of(capfd, *arguments)
        assert all(part in found for part in message.split(" .* ")), found
    assert names_in(tmp_path) == ["empty", "in.csv", "in.xlsx"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no columns"),
        ("text,text\na,b\n", "has 2 columns named 'text'"),
        ("id,text\n1,a,b\n", "first row of .* has 3 values, but its header has 2"),
        ("id,text,intent\n1,a,b\n", "'intent', which is also the name of a predicted column"),
    ],
)
def test_wrong_content(model, tmp_path, target, capfd, content, message):
    """A file without a valid header is refused, and nothing is written."""
    (tmp_path / "in.csv").write_text(content)
    found = error_of(capfd, model, tmp_path / "in.csv", target)
    assert all(part in found for part in message.split(" .* ")), found
    assert not target.parent.exists()


def test_blank_lines(model, tmp_path, target):
    """A blank line is a row of a file with one column, and no row of a file with several."""
    source = tmp_path / "in.csv"
    source.write_text("text\nhello\n\n  \nworld\n")
    assert run(model, source, target) == 0
    assert read(target)["text"].tolist() == ["hello", "", "  ", "world"]
    source.write_text("id,text\n1,hello\n\n2,\n")
    assert run(model, source, tmp_path / "several.csv") == 0
    assert read(tmp_path / "several.csv")["text"].tolist() == ["hello", ""]


def test_line_breaks_in_values(model, tmp_path, target):
    """Values with any line break, quote or comma come back as they were."""
    texts = ["a\rb", "a\r\nb", "a\nb", 'a "b", c', "plain"]
    frame = pd.DataFrame({"id": range(5), "text": texts})
    frame.to_csv(tmp_path / "in.csv", index=False, quoting=csv.QUOTE_ALL)
    assert run(model, tmp_path / "in.csv", target) == 0
    with target.open(newline="", encoding="utf-8") as file:
        assert [row[1] for row in csv.reader(file)] == ["text", *texts]


def test_wrong_row(model, source, target, tmp_path, capfd):
    """A row with too many values, or bytes in another encoding, stop the run with the reason."""
    before = source.read_bytes()
    source.write_bytes(before + b"1,a,b,c\n")
    assert "Expected 3 fields in line 102, saw 4. A value" in error_of(capfd, model, source, target)
    source.write_bytes(before + "1,ä,b\n".encode("latin-1"))
    assert "not a CSV file in UTF-8" in error_of(capfd, model, source, tmp_path / "new.csv")


def changed_model(model, source, tmp_path, make_classifier, messages):
    folder = tmp_path / "other"
    make_classifier(epochs=0).fit(messages).save(folder)
    return [folder, source]


def changed_input(model, source, *_):
    with source.open("a") as file:
        file.write("100,a,\n")
    return [model, source]


CHANGES = {
    "MODEL": changed_model,
    "IN": changed_input,
    "--task": lambda model, source, *_: [model, source, "--task", "intent"],
    "--proba": lambda model, source, *_: [model, source, "--proba"],
    "--text-column": lambda model, source, *_: [model, source, "--text-column", "text"],
    "columns (--key)": lambda model, source, *_: [model, source, "--key", "id"],
}


def state_of(target):
    """Return the names next to a result, and its record."""
    return names_in(target.parent), json.loads(target.with_name("out.csv.run.json").read_text())


def check_is_refused(name, target, capfd, arguments):
    """Check that a command refuses the target of another run, and changes nothing."""
    before = state_of(target)
    folder, path, *options = arguments
    message = error_of(capfd, folder, path, target, *options)
    assert f"belongs to a run with another {name}. To start again, remove out.csv, " in message
    assert state_of(target) == before


@pytest.fixture
def arguments(model, source, tmp_path, make_classifier, messages):
    """The arguments of a command that differs in one of its inputs; applied after a run."""
    return lambda name: CHANGES[name](model, source, tmp_path, make_classifier, messages)


@pytest.mark.parametrize("name", CHANGES)
def test_complete_result_of_another_run(model, source, target, arguments, capfd, name):
    """The result of another model, input or option is refused, and stays as it is."""
    assert run(model, source, target) == 0
    check_is_refused(name, target, capfd, arguments(name))


@pytest.mark.parametrize("name", CHANGES)
def test_parts_of_another_run(model, source, target, arguments, capfd, stops_before_join, name):
    """Parts of another model, input or option are refused, and stay as they are."""
    with pytest.raises(StoppedError):
        run(model, source, target)
    check_is_refused(name, target, capfd, arguments(name))


def test_foreign_result(model, source, target, capfd):
    """Files that no run has written are refused, and stay as they are."""
    target.parent.mkdir()
    target.write_text("mine")
    assert "there is no record of the run" in error_of(capfd, model, source, target)
    assert target.read_text() == "mine"
    target.unlink()
    (target.parent / "out.csv.parts").mkdir()
    (target.parent / "out.csv.parts" / "notes.txt").write_text("mine")
    assert "there is no record of the run" in error_of(capfd, model, source, target)
    assert names_in(target.parent / "out.csv.parts") == ["notes.txt"]


def test_damaged_record(model, source, target, capfd):
    """A record that is not valid is refused with its name and a way out."""
    assert run(model, source, target) == 0
    for content in ("", "3", '{"model": '):
        target.with_name("out.csv.run.json").write_text(content)
        message = error_of(capfd, model, source, target)
        assert "out.csv.run.json' is not valid. To start again, remove" in message


def test_two_processes(model, source, target, capfd):
    """A second process of the same job is refused while the first one works."""
    from filelock import FileLock

    (target.parent / "out.csv.parts").mkdir(parents=True)
    with FileLock(target.parent / "out.csv.parts" / "lock"):
        assert "Another process is writing" in error_of(capfd, model, source, target)
    assert run(model, source, target) == 0


def test_help_is_fast():
    """The help needs no pandas, scikit-learn or torch beyond the import of the package."""
    code = (
        "import sys, contextlib\n"
        "from rapidfit_sk.__main__ import main\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main(['predict', '--help'])\n"
        "sys.exit(bool({'torch', 'transformers', 'rapidfit_sk.bulk'} & set(sys.modules)))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0
    assert "--text-column" in found.stdout
