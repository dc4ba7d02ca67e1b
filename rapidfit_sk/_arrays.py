"""Functions of arrays that predictions with and without torch share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def common_dtype(arrays: Iterable[np.ndarray]) -> np.dtype:
    """Return a dtype that can hold the labels of all arrays.

    It is object if the arrays have different kinds of labels, such as strings and numbers.
    """
    dtypes = {array.dtype for array in arrays}
    if len({dtype.kind for dtype in dtypes}) != 1:
        return np.dtype(object)
    return np.result_type(*dtypes)


def as_columns(arrays: list[np.ndarray]) -> np.ndarray:
    """Return the labels of several tasks as columns, or the only array as it is."""
    if len(arrays) == 1:
        return arrays[0]
    result = np.empty((len(arrays[0]), len(arrays)), common_dtype(arrays))
    for i, labels in enumerate(arrays):
        result[:, i] = labels
    return result
