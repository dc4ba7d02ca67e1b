"""HTML of reports: nothing in a value is markup, and a page needs nothing else."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from rapidfit_sk._html import (
    bullets,
    details,
    escape,
    fragment,
    page,
    picture,
    section,
    table,
    write_page,
)

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</td></tr></table>",
    "[/INST] & 'quoted'",
    "nul \x00 and escape \x1b[31m",
    "lone \ud800 surrogate",
    "\u202eesrever",
]


class Reader(HTMLParser):
    """Parser that collects tags and text, and checks that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.texts, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(html):
    """Return a parser that has read some HTML."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


@pytest.mark.parametrize("value", HOSTILE)
def test_values_are_text(value):
    """A value in any place is shown as text: it adds no tag and no attribute."""
    # pyarrow, if it is installed, would refuse a surrogate.
    names = pd.Index([value, "n"], dtype=object)
    frame = pd.DataFrame([[value, 1]], columns=names, dtype=object)
    parts = [table(frame), bullets([value]), details(value, picture(b"<svg/>", value))]
    found = read(page(value, section(value, *parts)))
    plain = read(page("t", section("t", table(frame.set_axis(["a", "n"], axis=1).assign(a="x")))))
    assert set(found.tags) == {*plain.tags, "ul", "li", "details", "summary", "p", "img"}
    shown = "".join(c if c.isprintable() or c in "\n\u202e" else "\ufffd" for c in value)
    assert sum(text == shown for text in found.texts) >= 5
    assert not {name for name, _ in found.attributes if name.startswith("on")}
    page(value).encode("utf-8")


def test_a_page_needs_nothing_else(tmp_path):
    """A page has no script, no link and no address, and is a file of UTF-8."""
    write_page(
        tmp_path / "page.html", page("Ärger", section("漢字", table(pd.DataFrame({"a": [1]}))))
    )
    content = (tmp_path / "page.html").read_text("utf-8")
    found = read(content)
    assert not {"script", "link", "iframe", "a"} & set(found.tags)
    assert not re.search(r"https?:|url\(|@import", content)
    assert "prefers-color-scheme: dark" in content
    assert "width=device-width" in content
    assert {"Ärger", "漢字"} <= set(found.texts)


def test_numbers():
    """Numbers are at the right with three decimals or their own format; missing ones are empty."""
    frame = pd.DataFrame({"a": [0.12345, np.nan], "n_rows": [3, 4], "b": [None, "x"]})
    html = table(frame, {"n_rows": "{:,.1f}".format})
    cells = re.findall(r"<td( class=\"number\")?>(.*?)</td>", html)
    number = ' class="number"'
    assert cells == [
        (number, "0.123"),
        (number, "3.0"),
        ("", ""),
        (number, ""),
        (number, "4.0"),
        ("", "x"),
    ]
    assert "n rows" in html


def test_a_table_without_rows():
    """A frame without rows is a sentence."""
    assert table(pd.DataFrame({"a": []}), empty="No errors.") == "<p>No errors.</p>"


def test_names_of_columns_may_repeat():
    """Two columns of the same name both have their values."""
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert re.findall(r">(\d)<", table(frame)) == ["1", "2"]


def test_a_fragment_has_its_own_styles():
    """Each rule of a fragment is limited to the fragment."""
    style = re.search("<style>(.*?)</style>", fragment("t"), re.S)[1]
    selectors = re.findall(r"([^{}]+)\{", re.sub(r"@media[^{]*\{", "", style))
    assert len(selectors) > 10
    assert all(part.strip().startswith(".rapidfit") for s in selectors for part in s.split(","))
    assert escape(1) == "1"
