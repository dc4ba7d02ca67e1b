"""HTML of reports: escaped tables in sections, for a notebook or as a page of its own.

All styles are inside, and there are no scripts, so a page needs no network and nothing in it runs.
"""

from __future__ import annotations

import base64
import html
import os
import re
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

# Functions that return the text of a cell, by the name of its column.
Formats: TypeAlias = Mapping[str, Callable[[Any], str]]

# Control characters except tab and line breaks; HTML does not allow them.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

# Maximum number of characters of a cell.
_MOST_CHARACTERS = 300
# Maximum number of characters of a cell that keeps its words whole, and the class of other cells.
_SHORT, _LONG = 40, ' class="long"'

_STYLE = """\
.rapidfit { --text: #1b1f24; --dim: #57606a; --line: #d0d7de; --back: #ffffff; --stripe: #f6f8fa;
  --accent: #0969da; color: var(--text); background: var(--back); line-height: 1.45;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-size: 15px; }
.rapidfit h1 { font-size: 1.5em; margin: 0.6em 0; }
.rapidfit h2 { font-size: 1.2em; margin: 1.6em 0 0.5em; border-bottom: 1px solid var(--line); }
.rapidfit h3 { font-size: 1em; margin: 1.2em 0 0.4em; }
.rapidfit p, .rapidfit li { margin: 0.4em 0; max-width: 48em; overflow-wrap: anywhere; }
.rapidfit .table { overflow-x: auto; margin: 0.6em 0; }
.rapidfit table { border-collapse: collapse; font-size: 0.92em; }
.rapidfit th, .rapidfit td { padding: 0.3em 0.7em; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; unicode-bidi: isolate; color: inherit; }
.rapidfit th { color: var(--dim); font-weight: 600; white-space: nowrap; }
.rapidfit .long { min-width: 16em; max-width: 34em; overflow-wrap: anywhere; }
.rapidfit .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.rapidfit tbody tr:nth-child(odd) { background: var(--stripe); }
.rapidfit .text { white-space: pre-wrap; overflow-wrap: anywhere; }
.rapidfit .dim { color: var(--dim); }
.rapidfit details { margin: 0.8em 0; }
.rapidfit summary { cursor: pointer; color: var(--accent); }
.rapidfit pre { overflow-x: auto; background: var(--stripe); padding: 0.8em; }
.rapidfit img { max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
.rapidfit .picture { overflow-x: auto; max-width: none; }
@media (max-width: 40em) { .rapidfit img { max-width: none; } }
@media (prefers-color-scheme: dark) {
  .rapidfit { --text: #e6edf3; --dim: #9aa4af; --line: #3d444d; --back: #0d1117;
    --stripe: #161b22; --accent: #6cb0ff; }
}
"""
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}body {{ margin: 0; }}
main {{ max-width: 70em; margin: 0 auto; padding: 0.5em 1.2em 4em; }}
html, body {{ background: #ffffff; }}
@media (prefers-color-scheme: dark) {{ html, body {{ background: #0d1117; }} }}
</style>
</head>
<body class="rapidfit">
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def escape(value: object) -> str:
    """Return a value as text that HTML shows literally, without control characters.

    Examples
    --------
    >>> escape("<b>1 & 2</b>")
    '&lt;b&gt;1 &amp; 2&lt;/b&gt;'
    """
    return html.escape(printable(value))


def cut(text: str) -> str:
    """Return the first 300 characters of a longer text."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def printable(value: object) -> str:
    """Return a value as text without control characters."""
    return _CONTROL.sub("\ufffd", str(value))


def table(frame: pd.DataFrame, formats: Formats | None = None, *, empty: str = "None.") -> str:
    """Return a table of the rows of a frame, without its index.

    Parameters
    ----------
    frame : DataFrame
        The rows.
    formats : dict of {str: callable} or None, default=None
        Functions that return the text of a value, by column. Other floats have three decimals.
    empty : str, default="None."
        The text instead of a table without rows.
    """
    if frame.empty:
        return paragraph(empty)
    formats = formats or {}
    kinds = [
        ' class="number"' if pd.api.types.is_numeric_dtype(kind) else "" for kind in frame.dtypes
    ]
    names = [escape(name).replace("_", " ") for name in frame.columns]
    head = "".join(f"<th{kind}>{name}</th>" for kind, name in zip(kinds, names, strict=True))
    columns = [
        [escape(cut(formats.get(str(name), _shown)(value))) for value in frame.iloc[:, i].tolist()]
        for i, name in enumerate(frame.columns)
    ]
    rows = (
        "".join(_cell(cell, kind) for kind, cell in zip(kinds, cells, strict=True))
        for cells in zip(*columns, strict=True)
    )
    body = "\n".join(f"<tr>{cells}</tr>" for cells in rows)
    return (
        f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _cell(content: str, kind: str) -> str:
    """Return a cell; only long ones may break inside of a word."""
    return f"<td{kind or _LONG * (len(content) > _SHORT)}>{content}</td>"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.3f}"
    return "" if value is None else str(value)


def paragraph(text: object) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def code(text: object) -> str:
    """Return text with its line breaks and spaces."""
    return f"<pre>{escape(text)}</pre>"


def bullets(texts: Iterable[object]) -> str:
    """Return a list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def section(title: object, *bodies: str) -> str:
    """Return a section with a title and HTML below it."""
    return f"<section><h2>{escape(title)}</h2>\n" + "\n".join(bodies) + "</section>"


def details(summary: object, *bodies: str) -> str:
    """Return HTML that opens with a click on its summary."""
    return f"<details><summary>{escape(summary)}</summary>\n" + "\n".join(bodies) + "</details>"


def picture(svg: bytes, description: object) -> str:
    """Return an image that contains the bytes of an SVG file."""
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    return f'<p class="picture"><img alt="{escape(description)}" src="{source}"></p>'


def fragment(title: object, *sections: str) -> str:
    """Return HTML for a notebook, whose styles affect nothing else."""
    body = "\n".join(sections)
    return f'<div class="rapidfit"><style>{_STYLE}</style><h1>{escape(title)}</h1>\n{body}</div>'


def page(title: object, *sections: str) -> str:
    """Return a whole page."""
    return _PAGE.format(title=escape(title), style=_STYLE, body="\n".join(sections))


def write_page(path: str | PathLike[str], content: str):
    """Write a page to a file, which is replaced once the page is complete."""
    target = Path(path)
    new = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        new.write_text(content, encoding="utf-8")
        os.replace(new, target)
    finally:
        new.unlink(missing_ok=True)
