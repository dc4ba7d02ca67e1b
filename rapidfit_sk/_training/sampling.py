"""How many rows of each task an epoch draws: pure functions and a sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Steps whose texts are sorted by length together. More would leave less padding, and less to
# chance.
POOL = 16


def rows_per_task(counts: ArrayLike, strategy: str, rounds: int = 1) -> NDArray[np.int64]:
    """Share out an epoch among tasks.

    Parameters
    ----------
    counts : array-like of int, shape (n_tasks,)
        Training rows of each task.
    strategy : {"proportional", "sqrt", "equal"}
        In proportion to the size of the task, to its square root, or the same for each.
    rounds : int, default=1
        How often the epoch goes over the data.

    Returns
    -------
    rows : ndarray of int, shape (n_tasks,)
        They add up to ``rounds * sum(counts)``.

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
    """Batches of training rows, drawn anew for each epoch.

    Parameters
    ----------
    texts : ndarray of int, shape (n_rows,)
        The text of each row. Rows of one text share a batch, and so one encoder pass.
    tasks : ndarray of int, shape (n_rows,)
        The task of each row.
    batch_size : int
        Distinct texts in a batch.
    n_accumulated : int
        Batches in a step.
    min_steps : int
        Steps of an epoch, at the least: small data is gone over several times.
    rng : numpy.random.Generator
        Where the order comes from.
    lengths : callable
        Returns the length of each text, or None where it does not matter; asked for each epoch.

    Notes
    -----
    Each task hands out its rows in a shuffled order that goes on where the last epoch stopped
    and is shuffled anew when used up: over epochs, every row has its turn.
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
    ):
        self.texts = texts
        self.batch_size = batch_size
        self.n_accumulated = n_accumulated
        # The last step of an epoch may be cut short, down to a single text.
        n_least = (min_steps - 1) * batch_size * n_accumulated + 1
        self.rounds = max(1, -(-n_least // len(np.unique(texts))))
        self.rng = rng
        self.lengths = lengths
        self._rows = [np.flatnonzero(tasks == task) for task in range(tasks.max() + 1)]
        self._queues = [np.empty(0, dtype=int) for _ in self._rows]
        self._steps: list[list[np.ndarray]] = []

    def draw_epoch(self, strategy: str = "proportional"):
        """Draw the rows of the next epoch and cut them into steps of batches.

        Parameters
        ----------
        strategy : {"proportional", "sqrt", "equal"}, default="proportional"
            How tasks share the epoch, see :func:`rows_per_task`.
        """
        counts = [len(rows) for rows in self._rows]
        wanted = rows_per_task(counts, strategy, self.rounds)
        drawn = np.concatenate([self._take(task, n) for task, n in enumerate(wanted)])
        batches = self._batches(drawn)
        n = self.n_accumulated
        self._steps = [batches[i : i + n] for i in range(0, len(batches), n)]

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """Yield, for each step, the list of its batches: arrays of row numbers."""
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def _take(self, task, n):
        """Take the next `n` rows of a task from its queue."""
        parts = [self._queues[task]]
        while sum(map(len, parts)) < n:
            parts.append(self.rng.permutation(self._rows[task]))
        queue = np.concatenate(parts)
        self._queues[task] = queue[n:]
        return queue[:n]

    def _batches(self, rows):
        """Put rows of one text together, shuffle the texts, and cut.

        A row that is drawn k times stands in k different units, so that its repeats spread over
        the epoch instead of weighing k times as much in one batch.
        """
        units = np.column_stack([_repeats_so_far(rows), self.texts[rows]])
        distinct, unit = np.unique(units, axis=0, return_inverse=True)
        place = self._places(distinct[:, 1])[unit.ravel()]
        order = np.argsort(place, kind="stable")
        batch = place[order] // self.batch_size
        return np.split(rows[order], np.flatnonzero(np.diff(batch)) + 1)

    def _places(self, texts):
        """Return the place of each text in the epoch: a shuffle, in which batches are of a length.

        Sorting the whole epoch by length would put the same texts together each time. So it is
        sorted within pools of a few steps, drawn anew for each epoch; then the steps are
        shuffled, so that no part of the epoch has the longer texts.
        """
        lengths = self.lengths()
        order = self.rng.permutation(len(texts))
        if lengths is not None:
            in_step = self.batch_size * self.n_accumulated
            pool = np.arange(len(order)) // (POOL * in_step)
            # Up or down by chance: the step that is cut short at the end has either.
            sign = self.rng.choice([-1, 1], size=pool.max() + 1)
            # A text that stands in a pool k times has the same length k times: once in each of k
            # rounds, or it would fill a batch.
            drawn = texts[order]
            rounds = _repeats_so_far(pool * len(lengths) + drawn)
            order = order[np.lexsort([sign[pool] * lengths[drawn], rounds, pool])]
            order = _with_steps_shuffled(order, in_step, self.rng)
        places = np.empty(len(order), dtype=int)
        places[order] = np.arange(len(order))
        return places


def _with_steps_shuffled(order, n, rng) -> np.ndarray:
    """Shuffle the steps of `n` texts in an order; what is left over at its end stays there."""
    full, rest = np.split(order, [len(order) // n * n])
    return np.concatenate([rng.permutation(full.reshape(-1, n)).ravel(), rest])


def _repeats_so_far(rows) -> np.ndarray:
    """Return, for each entry, how often its value stands before it.

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
