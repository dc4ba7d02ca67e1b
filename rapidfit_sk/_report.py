"""Messages for the user on standard error."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm


def report(message: str) -> None:
    """Write a message to standard error, above the progress bars if there are any."""
    if sys.stderr is not None:
        tqdm.write(message, file=sys.stderr)


def shows_bars() -> bool:
    """Check whether standard error can redraw a line: in a terminal or a Jupyter notebook."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if get_ipython is None else get_ipython()
    return "IPKernelApp" in getattr(shell, "config", {})
