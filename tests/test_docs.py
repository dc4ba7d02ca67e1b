"""The pages: tables render, code runs, names are listed, and comparisons are true."""

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

import rapidfit_sk
from rapidfit_sk import MultiheadConfig

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


def tables_of(markdown):
    """Return each table of a page as a list of its rows, and each row as a list of its cells.

    A `|` separates cells even inside inline code, unless a backslash escapes it.
    """
    without_code = re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S)
    blocks = re.findall(r"(?:^[ ]{0,3}\|.*\n?)+", without_code, flags=re.M)
    return [[cells_of(line) for line in block.splitlines()] for block in blocks]


def cells_of(line):
    """Return the cells of one line of a table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def renders(table):
    """Return whether the second row is a delimiter and all rows have the same number of cells."""
    has_delimiter = len(table) > 1 and all(re.fullmatch(r":?-+:?", cell) for cell in table[1])
    return has_delimiter and len({len(row) for row in table}) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_render(page):
    """Header, delimiter and body of each table have the same number of cells."""
    broken = [table[0] for table in tables_of(page.read_text("utf-8")) if not renders(table)]
    assert broken == []


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", True),
        ("| a | b |\n|---|---|\n| `x\\|y` | 2 |\n", True),
        ("| a | b | c |\n|---|---|\n| 1 | 2 | 3 |\n", False),
        ("| a | b |\n|---|---|\n| 1 |\n", False),
        ("| a | b |\n|---|---|\n| `x|y` | 2 |\n", False),
        ("| a | b |\n| 1 | 2 |\n", False),
    ],
)
def test_broken_tables_are_found(markdown, expected):
    """A missing delimiter row and a row with too few or too many cells count as broken."""
    assert [renders(table) for table in tables_of(f"Text.\n\n{markdown}\nText.\n")] == [expected]


def test_comparison_with_the_guide():
    """The page lists the values of `MultiheadConfig.guide()` and of the defaults, and no others."""
    page = (ROOT / "docs" / "from_the_guide.md").read_text("utf-8")
    rows = [row for table in tables_of(page) for row in table if row[0].startswith("`")]
    listed = {row[0].strip("`").replace(".", "__"): row[1:3] for row in rows}
    guide, ours = MultiheadConfig.guide().get_params(), MultiheadConfig().get_params()
    for name, (in_guide, in_ours) in listed.items():
        assert ast.literal_eval(in_guide.strip("`")) == guide[name], name
        assert ast.literal_eval(in_ours.strip("`")) == ours[name], name
    leaves = set(guide) - set(MultiheadConfig._groups)
    assert {name for name in leaves if guide[name] != ours[name]} <= set(listed)


def test_versions_of_the_ecosystem():
    """The page names each package in the version of `constraints.txt`, and tests that exist."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    pins = {name.lower(): version for name, version in pins.items()}
    page = (ROOT / "docs" / "ecosystem.md").read_text("utf-8")
    (rows,) = [table[2:] for table in tables_of(page) if table[0][:2] == ["package", "version"]]
    assert {row[0]: row[1] for row in rows} == {row[0]: pins[row[0].lower()] for row in rows}
    files = {path.name for path in (ROOT / "tests" / "ecosystem").glob("test_*.py")}
    assert {row[-1].strip("`") for row in rows} == files - {"test_page.py"}


# The tests that run the code of a page, besides the doctests.
RUN_BY = {
    "ecosystem.md": "ecosystem/test_page.py",
    "index.md": "test_docs.py",
    "performance.md": "test_docs.py",
    "track_experiments.md": "ecosystem/test_trackers.py",
}


def code_blocks(page):
    """Return the Python blocks of a page that are no doctests and are not marked as not run."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"(<!-- not run: .+ -->\n)?^ *```python\n(.*?)^ *```", text, re.M | re.S)
    return [code for mark, code in blocks if not mark and ">>>" not in code]


def test_each_block_runs():
    """Each Python block is a doctest, runs in a test, or has a mark that says why it does not."""
    pages = {page.name for page in ROOT.glob("docs/*.md") if code_blocks(page)}
    assert pages == set(RUN_BY)
    for page, test in RUN_BY.items():
        assert "test_docs" in test or page in (ROOT / "tests" / test).read_text("utf-8")


@pytest.mark.parametrize("page", [name for name, test in RUN_BY.items() if test == "test_docs.py"])
def test_code_of_pages(page, messages, monkeypatch, tmp_path):
    """The code of a page runs, here on fewer rows and with fewer steps."""
    less = functools.partial(rapidfit_sk.TrainingConfig, epochs=1, min_steps_per_epoch=1)
    monkeypatch.setattr("rapidfit_sk.TrainingConfig", less)
    monkeypatch.setattr("rapidfit_sk.datasets.load_support_messages", lambda: messages[:200])
    monkeypatch.chdir(tmp_path)
    for code in code_blocks(ROOT / "docs" / page):
        exec(compile(code, page, "exec"), {})


def test_reference_is_complete():
    """The reference lists each public name of each public module, and no other names."""
    modules = ["", "bulk", "callbacks", "datasets", "inspection", "model_selection"]
    modules += ["plotting", "serving", "testing"]
    expected = set()
    for module in modules:
        path = f"rapidfit_sk.{module}".rstrip(".")
        names = importlib.import_module(path).__all__
        expected |= {f"{path}.{name}" for name in names if name != "ARCHITECTURES"}
    page = (ROOT / "docs" / "api.rst").read_text("utf-8")
    listed, module = set(), ""
    for line in page.splitlines():
        if match := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = match[1]
        elif match := re.match(r"   (\w[\w.]*)$", line):
            listed.add(f"{module}.{match[1]}")
    assert listed == expected


def test_pages_are_listed():
    """Each page is in a table of contents, so that readers find it."""
    pages = {page.stem for page in ROOT.glob("docs/*.md")} | {"api"}
    contents = "".join(
        "".join(re.findall(r"^```{toctree}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S))
        for page in ROOT.glob("docs/*.md")
    )
    assert pages - set(contents.split()) == {"index"}
