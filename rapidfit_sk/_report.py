"""Messages for the user: to the log of the application, or to standard error."""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm

LOGGER = logging.getLogger("rapidfit_sk")


def report(message: str) -> None:
    """Log a message if the application shows such messages; otherwise, write it to standard error.

    Where standard error can redraw a line, the message is written above the progress bars.
    """
    if not shows_bars() and LOGGER.isEnabledFor(logging.INFO) and LOGGER.hasHandlers():
        LOGGER.info(message)
    elif sys.stderr is not None:
        tqdm.write(message, file=sys.stderr)


def shows_bars() -> bool:
    """Check whether standard error can redraw a line: in a terminal or a Jupyter notebook."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if get_ipython is None else get_ipython()
    return "IPKernelApp" in getattr(shell, "config", {})
