"""Shares of the texts that an encoder does not read: cut texts and unknown tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ._model import TokensOnDemand
from ._rows import CodedRows
from ._validation import warn_user

# A larger share leads to a warning.
NOTABLE = 0.05


@dataclass(frozen=True)
class Coverage:
    """Shares of the texts of a task that the encoder does not read.

    Attributes
    ----------
    truncated : float
        Share of the texts that are longer than `max_length` and are not read to the end.
    unknown : float
        Share of the tokens that stand for characters outside of the vocabulary.
    """

    truncated: float
    unknown: float


def coverage_of(rows: CodedRows, tokens: TokensOnDemand) -> dict[str, Coverage]:
    """Return the coverage of each task that has rows.

    Parameters
    ----------
    rows : CodedRows
        Rows of several tasks.
    tokens : TokensOnDemand
        The tokens of their distinct texts.
    """
    found = {}
    for code, task in enumerate(rows.classes):
        texts = np.unique(rows.texts.codes[rows.tasks == code])
        if len(texts):
            n_tokens = max(1, tokens.n_ordinary[texts].sum())
            unknown = float(tokens.n_unknown[texts].sum() / n_tokens)
            found[task] = Coverage(float(tokens.is_cut[texts].mean()), unknown)
    return found


def warn_of_coverage(coverage: dict[str, Coverage], tasks: Iterable[str], max_length: int):
    """Warn about tasks with a notable share of cut texts or of unknown tokens."""
    given = {task: coverage[task] for task in tasks if task in coverage}
    cut = _listed({task: each.truncated for task, each in given.items()})
    if cut:
        warn_user(
            f"Texts are cut after {max_length} tokens: {cut}. Increase training.max_length, or set "
            "training.long_text to 'head_tail' or 'windows', if the rest of the texts matters."
        )
    unknown = _listed({task: each.unknown for task, each in given.items()})
    if unknown:
        warn_user(
            f"The tokenizer does not know all characters of the texts. Unknown tokens: {unknown}. "
            "All unknown tokens look the same to the encoder. If they matter, set "
            "training.model_name to an encoder for this language or script."
        )


def _listed(shares: dict[str, float]) -> str:
    """Return the notable shares and their tasks, formatted for a message."""
    notable = {task: share for task, share in shares.items() if share > NOTABLE}
    return ", ".join(f"{share:.0%} of task {task!r}" for task, share in notable.items())
