"""Sampler of the training rows in each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Number of steps whose texts are sorted by length together. More steps would reduce the padding,
# but also the randomness of batches.
POOL = 16

# Smallest ratio of included rows to rows of data at which they lengthen an epoch. They cost time
# only if there are few rows, because a training on few rows gains from more steps.
NOTABLE = 0.25


def rows_per_task(counts: ArrayLike, strategy: str, rounds: int = 1) -> NDArray[np.int64]:
    """Compute how many rows of each task an epoch draws.

    Parameters
    ----------
    counts : array-like of int, shape (n_tasks,)
        Number of training rows of each task.
    strategy : {"proportional", "sqrt", "equal"}
        Whether rows are drawn in proportion to the size of each task, in proportion to its square
        root, or in equal numbers.
    rounds : int, default=1
        Number of passes over the data in an epoch.

    Returns
    -------
    rows : ndarray of int, shape (n_tasks,)
        Rows to draw from each task; they add up to ``rounds * sum(counts)``.

    Examples
    --------
    >>> from rapidfit_sk._training.sampling import rows_per_task
    >>> rows_per_task([900, 100], "sqrt")
    array([750, 250])
    """
    sizes = rounds * np.asarray(counts)
    power = {"proportional": 1.0, "sqrt": 0.5, "equal": 0.0}[strategy]
    share = sizes**power * (sizes > 0)
    exact = sizes.sum() * share / share.sum()
    rows = np.floor(exact + 1e-9).astype(int)
    # The rows lost to rounding go to the tasks that lost the largest fraction.
    short = sizes.sum() - rows.sum()
    rows[np.argsort(rows - exact, kind="stable")[:short]] += 1
    return rows


class TaskSampler:
    """Sampler that draws batches of training rows for each epoch.

    Parameters
    ----------
    texts : ndarray of int, shape (n_rows,)
        The text of each row. Rows of one text share a batch, so the text is encoded once.
    tasks : ndarray of int, shape (n_rows,)
        The task of each row.
    batch_size : int
        Number of distinct texts in a batch.
    n_accumulated : int
        Number of batches in an optimizer step.
    min_steps : int
        Minimum number of optimizer steps in an epoch. An epoch over small data makes several
        passes to reach it.
    rng : numpy.random.Generator
        Random generator that shuffles the rows.
    lengths : callable
        Returns the length of each text, or None if batches need no sorting by length. It is called
        once per epoch.
    n_data : int or None, default=None
        Number of rows at the start that are data; None for all of them. The other rows are not
        drawn before :meth:`include`.
    notable : float, default=0.25
        Smallest ratio of included rows to rows of data at which they lengthen an epoch.

    Notes
    -----
    The rows of each task are drawn from a shuffled queue, which carries over to the next epoch and
    is refilled when it is empty. Every row is therefore drawn over the course of several epochs.

    By default, included rows lengthen an epoch only if there is at least one of them for every four
    rows of data. Otherwise, an epoch draws as many rows as there are rows of data, and each row of
    a task equally often.
    """

    def __init__(
        self,
        texts: NDArray[np.int64],
        tasks: NDArray[np.int64],
        *,
        batch_size: int,
        n_accumulated: int,
        min_steps: int,
        rng: np.random.Generator,
        lengths: Callable[[], NDArray[np.int64] | None],
        n_data: int | None = None,
        notable: float = NOTABLE,
    ):
        data = slice(n_data)
        self.texts = texts
        self.tasks = tasks
        self.batch_size = batch_size
        self.n_accumulated = n_accumulated
        # The last step of an epoch may be incomplete and have as little as one text.
        self._n_least = (min_steps - 1) * batch_size * n_accumulated + 1
        self.rounds = self._passes(texts[data])
        self.rng = rng
        self.lengths = lengths
        self._rows = [np.flatnonzero(tasks[data] == task) for task in range(tasks[data].max() + 1)]
        self._of_data = self._rows
        self._counts = [len(rows) for rows in self._rows]
        self.notable = notable
        self._queues = [np.empty(0, dtype=int) for _ in self._rows]
        self._steps: list[list[np.ndarray]] = []

    def include(self, rows: NDArray[np.int64]):
        """Draw some rows together with the data of their tasks from now on."""
        self._rows = [
            np.concatenate([own, rows[self.tasks[rows] == task]])
            for task, own in enumerate(self._of_data)
        ]
        self._counts = [len(own) for own in self._of_data]
        if len(rows) and len(rows) >= self.notable * sum(self._counts):
            self._counts = [len(own) for own in self._rows]
            self.rounds = self._passes(self.texts[np.concatenate(self._rows)])

    def _passes(self, texts: NDArray[np.int64]) -> int:
        """Return the number of passes over some texts that an epoch needs."""
        return max(1, -(-self._n_least // len(np.unique(texts))))

    def draw_epoch(self, strategy: str = "proportional"):
        """Draw the rows of the next epoch and split them into batches, grouped by step.

        Parameters
        ----------
        strategy : {"proportional", "sqrt", "equal"}, default="proportional"
            How many rows of each task to draw; see :func:`rows_per_task`.
        """
        wanted = rows_per_task(self._counts, strategy, self.rounds)
        drawn = np.concatenate([self._take(task, n) for task, n in enumerate(wanted)])
        batches = self._batches(drawn)
        n = self.n_accumulated
        self._steps = [batches[i : i + n] for i in range(0, len(batches), n)]

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """Yield the batches of each step as a list of arrays of row numbers."""
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def state(self) -> dict[str, Any]:
        """Return the state of the sampler: its queues, its current epoch and its generator."""
        batches = list(chain.from_iterable(self._steps))
        return {
            "queues": self._queues,
            # One array for all batches, because there may be millions of them.
            "rows": np.concatenate(batches),
            "batch_sizes": np.array([len(batch) for batch in batches]),
            "step_sizes": np.array([len(step) for step in self._steps]),
            "rng": self.rng.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]):
        """Continue from the output of :meth:`state`."""
        batches = np.split(state["rows"], np.cumsum(state["batch_sizes"])[:-1])
        ends = np.cumsum(state["step_sizes"])
        self._steps = [
            batches[end - n : end] for n, end in zip(state["step_sizes"], ends, strict=True)
        ]
        self._queues = state["queues"]
        self.rng.bit_generator.state = state["rng"]

    def _take(self, task, n):
        """Take the next `n` rows of a task from its queue."""
        parts = [self._queues[task]]
        while sum(map(len, parts)) < n:
            parts.append(self.rng.permutation(self._rows[task]))
        queue = np.concatenate(parts)
        self._queues[task] = queue[n:]
        return queue[:n]

    def _batches(self, rows):
        """Group the rows of each text, shuffle the texts and split them into batches.

        A row that is drawn k times belongs to k different groups. Its repeats are spread over the
        epoch and do not multiply its weight in one batch.
        """
        units = np.column_stack([_repeats_so_far(rows), self.texts[rows]])
        distinct, unit = np.unique(units, axis=0, return_inverse=True)
        place = self._places(distinct[:, 1])[unit.ravel()]
        order = np.argsort(place, kind="stable")
        batch = place[order] // self.batch_size
        return np.split(rows[order], np.flatnonzero(np.diff(batch)) + 1)

    def _places(self, texts):
        """Return a random position for each text that puts texts of similar length in a batch.

        Sorting the whole epoch by length would group the same texts in every epoch. Texts are
        therefore sorted within random pools of a few steps. The steps are then shuffled to spread
        long texts over the whole epoch.
        """
        lengths = self.lengths()
        order = self.rng.permutation(len(texts))
        if lengths is not None:
            in_step = self.batch_size * self.n_accumulated
            pool = np.arange(len(order)) // (POOL * in_step)
            # Sort each pool up or down at random, or the incomplete last step would always have the
            # longest texts.
            sign = self.rng.choice([-1, 1], size=pool.max() + 1)
            # Repeats of a text have the same length and would be sorted into one batch. Sorting
            # each round of repeats separately spreads them over the pool.
            drawn = texts[order]
            rounds = _repeats_so_far(pool * len(lengths) + drawn)
            order = order[np.lexsort([sign[pool] * lengths[drawn], rounds, pool])]
            order = _with_steps_shuffled(order, in_step, self.rng)
        places = np.empty(len(order), dtype=int)
        places[order] = np.arange(len(order))
        return places


def _with_steps_shuffled(order, n, rng) -> np.ndarray:
    """Shuffle an order in steps of `n` texts; an incomplete last step stays at the end."""
    full, rest = np.split(order, [len(order) // n * n])
    return np.concatenate([rng.permutation(full.reshape(-1, n)).ravel(), rest])


def _repeats_so_far(rows) -> np.ndarray:
    """Count for each entry how often its value occurs before it.

    Examples
    --------
    >>> _repeats_so_far(np.array([7, 3, 7, 7]))
    array([0, 0, 1, 2])
    """
    order = np.argsort(rows, kind="stable")
    _, starts, counts = np.unique(rows[order], return_index=True, return_counts=True)
    repeats = np.empty(len(rows), dtype=int)
    repeats[order] = np.arange(len(rows)) - np.repeat(starts, counts)
    return repeats
