"""Messages for the user on standard error."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm


def report(message: str) -> None:
    """Write a message to standard error, above the progress bars if there are any."""
    tqdm.write(message, file=sys.stderr)


def shows_bars() -> bool:
    """Check whether standard error can redraw a line: in a terminal or a Jupyter notebook."""
    if sys.stderr.isatty():
        return True
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return "IPKernelApp" in getattr(shell, "config", {})
