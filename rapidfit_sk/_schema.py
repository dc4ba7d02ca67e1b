"""Checks of a saved description and saved weights, before anything is built from them."""

from __future__ import annotations

import itertools
import json
import math
import re
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._folders import ALIGNMENT
from ._rows import parameter_labels
from ._validation import (
    LARGEST_INT,
    Constraint,
    boolean,
    instance_of,
    integer,
    none,
    one_of,
    real,
    text,
)

# Names in the folder of a classifier.
WEIGHTS, DESCRIPTION, TOKENIZER = "model.safetensors", "classifier.json", "tokenizer"
CARD = "README.md"  # its author may change or remove it

FORMAT = "rapidfit_sk classifier"
FORMAT_VERSION = 1
ESTIMATORS = ("MultiheadClassifier", "TextClassifier")
INDICES = ("train_indices_", "val_indices_", "test_indices_")

_DTYPES = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
_LONG_TEXT = ("truncate", "head_tail", "windows")
_LABELS = re.compile(r"[<>|=](b1|[iu][1248]|f[248]|O|U\d{1,9})")


@dataclass(frozen=True)
class Layout:
    """Place of a tensor in the data of a safetensors file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


# --------------------------------------------------------------------------------------------
# Constraints


def _of_all(phrase: str, is_one: Callable[[Any], bool]) -> Constraint:
    """Allow a list whose items all pass a test."""
    return Constraint(phrase, lambda value: isinstance(value, list) and all(map(is_one, value)))


def _of_dict(phrase: str, is_one: Callable[[Any], bool]) -> Constraint:
    """Allow a dict whose values all pass a test; the keys of JSON are strings."""
    return Constraint(
        phrase, lambda value: isinstance(value, dict) and all(map(is_one, value.values()))
    )


def _is_str(value) -> bool:
    return isinstance(value, str)


def _is_dict(value) -> bool:
    return isinstance(value, dict)


def _is_texts(value) -> bool:
    """Check for a list of lists of strings."""
    is_list = isinstance(value, list) and all(isinstance(each, list) for each in value)
    return is_list and all(_is_str(text) for each in value for text in each)


def _is_scores(value) -> bool:
    """Check for a dict of numbers; a score may be nan."""
    return isinstance(value, dict) and all(isinstance(v, int | float) for v in value.values())


def _is_positions(value) -> bool:
    array = np.array(value) if isinstance(value, list) else np.array(0)
    return array.ndim == 1 and (not array.size or (array.dtype.kind == "i" and array.min() >= 0))


_DESCRIPTION = {
    "versions": _of_dict("a dict of strings", _is_str),
    "parameters": instance_of(dict),
    "tasks": _of_all("a list of dicts", _is_dict),
    "module": instance_of(dict),
    "max_length": integer(1),
    "long_text": one_of(*_LONG_TEXT),
    "history": _of_all("a list of dicts", _is_dict),
    "indices": instance_of(dict),
    "features": instance_of(dict),
    "encoder": instance_of(dict),
}
_BY_TASK = _of_dict("a dict of dicts of numbers", _is_scores)
_OPTIONS = {
    "coverage": _BY_TASK,
    "estimator": one_of(*ESTIMATORS),
    "calibration_history": _of_all("a list of dicts", _is_dict),
}
_TASK = {
    "name": text(),
    "temperature": real(1e-6, 1e6),
    "dtype": Constraint(
        "the dtype of bools, numbers, strings or objects",
        lambda value: isinstance(value, str) and _LABELS.fullmatch(value) is not None,
    ),
    "classes": instance_of(list),
}
_TASK_OPTIONS = {
    "label_texts": Constraint(
        "a dict of texts and weights from 0 to 1",
        lambda value: (
            _is_dict(value)
            and value.keys() == {"texts", "weights"}
            and _is_texts(value["texts"])
            and isinstance(value["weights"], list)
            and all(map(real(0, 1).accepts, value["weights"]))
        ),
    ),
    "n_rows": integer(0),
    "threshold": real(0, 1),
}
_MODULE = {
    "n_classes": _of_all("a list of ints", lambda value: type(value) is int),
    "head": instance_of(dict),
    "pooling": one_of("attention", "mean", "cls", "max"),
}
_MODULE_OPTIONS = {
    "model_name": text() | none,
    "precision": one_of("float32", "bfloat16", "auto"),
    "compile": boolean(),
}
_FEATURES = {
    "n_features_in_": integer(0, LARGEST_INT),
    "feature_names_in_": _of_all("a list of strings", _is_str),
}
_POSITIONS = Constraint("a list of row numbers", _is_positions)


def _head(n_tensors: int) -> dict[str, Constraint]:
    return {
        "hidden_layers": integer(0, n_tensors),
        "hidden_multiplier": real(0, 1e6, closed="right"),
        "activation": one_of("gelu", "relu", "silu", "tanh"),
        "dropout": real(0, 1, closed="left"),
        "normalize": boolean(),
    }


def _check(where: str, values: dict[str, Any], required: dict[str, Constraint], **optional: Any):
    """Raise ValueError if a value is missing or not allowed."""
    for name, constraint in (required | optional).items():
        if name not in values:
            if name in optional:
                continue
            raise ValueError(f"{where}{name!r} is missing")
        if not constraint.accepts(values[name]):
            raise ValueError(
                f"{where}{name!r} must be {constraint.phrase}, got {reprlib.repr(values[name])}"
            )


def _check_known(where: str, values: dict[str, Any], known: Iterable[str]):
    for name in values:
        if name not in known:
            raise ValueError(f"{where}{reprlib.repr(name)} is unknown")


# --------------------------------------------------------------------------------------------
# The description


def check_format(description: Any):
    """Raise ValueError if a description is not a dict of a format that this version reads."""
    if not isinstance(description, dict):
        raise ValueError("the description is not a dict")
    if description.get("format") != FORMAT:
        raise ValueError(f"its format is {reprlib.repr(description.get('format'))}, not {FORMAT!r}")
    version: Any = description.get("format_version")
    if not integer(1).accepts(version):
        raise ValueError(f"its format version is {reprlib.repr(version)}, not an int")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"its format version is {reprlib.repr(version)}, but this version of rapidfit_sk "
            f"supports at most {FORMAT_VERSION}; upgrade rapidfit_sk"
        )


def check_description(description: dict[str, Any], tensors: dict[str, Layout]):
    """Raise ValueError for the first value of a description that cannot be right.

    Parameters
    ----------
    description : dict
        The description, of the right format.
    tensors : dict of {str: Layout}
        The tensors of the file of weights, which bound all sizes in the description.
    """
    _check("", description, _DESCRIPTION, **_OPTIONS)
    is_one = description.get("estimator") == "TextClassifier"
    scores = Constraint("a dict of numbers", _is_scores) if is_one else _BY_TASK
    _check("", description, {"test_scores": scores})
    _check("", description["indices"], dict.fromkeys(INDICES, _POSITIONS))
    _check_known("", description["features"], _FEATURES)
    _check("", description["features"], {}, **_FEATURES)
    for number, task in enumerate(description["tasks"]):
        _check(f"in task {number}, ", task, _TASK, **_TASK_OPTIONS)
        _check_label_texts(task)
    names = [task["name"] for task in description["tasks"]]
    if len(set(names)) < len(names):
        raise ValueError("several tasks have the same name")
    _check_module(description["module"], tensors)
    _check_heads(description, tensors)
    check_encoder(description["encoder"], tensors)


def _check_label_texts(task):
    """Check that there are one list of texts and one weight per class."""
    if any(len(part) != len(task["classes"]) for part in task.get("label_texts", {}).values()):
        name = reprlib.repr(task["name"])
        raise ValueError(f"the label texts of task {name} do not match its classes")


def _check_module(module, tensors):
    _check_known("in the module, ", module, _MODULE | _MODULE_OPTIONS)
    _check("in the module, ", module, _MODULE, **_MODULE_OPTIONS)
    constraints = _head(len(tensors))
    _check_known("in the head, ", module["head"], constraints)
    _check("in the head, ", module["head"], constraints)


def _check_heads(description, tensors):
    """Check that tasks, classes, heads and the shapes of their weights fit together."""
    n_classes = [len(task["classes"]) for task in description["tasks"]]
    if not n_classes or n_classes != description["module"]["n_classes"]:
        raise ValueError("its tasks and classes do not match its heads")
    matrices: dict[int, dict[int, tuple[int, ...]]] = {}
    for name, layout in tensors.items():
        if found := re.fullmatch(r"heads\.(\d{1,9})\.(\d{1,9})\.weight", name):
            matrices.setdefault(int(found[1]), {})[int(found[2])] = layout.shape
    n_outputs = [_n_outputs(matrices.get(head, {})) for head in range(len(n_classes))]
    if n_outputs != n_classes or len(matrices) != len(n_classes):
        raise ValueError("its tasks and classes do not match the weights of its heads")


def _n_outputs(matrices: dict[int, tuple[int, ...]]) -> int:
    """Return the number of outputs of the last layer of a head; -1 if there is no such layer."""
    shape = matrices[max(matrices)] if matrices else ()
    return shape[0] if len(shape) == 2 else -1


def classes_from_plain(task: dict[str, Any]) -> np.ndarray:
    """Return the classes of a task as an array.

    Raises
    ------
    ValueError
        If they are not at least two valid, distinct, sorted labels of one kind that fit the dtype.
    """
    labels, dtype = task["classes"], np.dtype(_bounded_dtype(task))
    kinds = {type(label) for label in labels}
    allowed = {"b": bool, "i": int, "u": int, "f": float, "U": str}
    kind = allowed.get(dtype.kind)
    is_one_kind = len(kinds) == 1 and kinds <= ({kind} if kind else {bool, int, float, str})
    if not is_one_kind or len(labels) < 2:
        raise ValueError(f"the classes of task {task['name']!r} are not several labels of one kind")
    parameter_labels(labels, f"the classes of task {task['name']!r}")
    if not all(first < second for first, second in itertools.pairwise(labels)):
        raise ValueError(f"the classes of task {task['name']!r} are not sorted and distinct")
    try:
        classes = np.array(labels, dtype=dtype)
    except OverflowError:
        classes = np.empty(0)
    if classes.tolist() != labels:
        raise ValueError(f"the classes of task {task['name']!r} do not fit dtype {task['dtype']!r}")
    return classes


def _bounded_dtype(task) -> str:
    """Return the dtype of classes; strings may take as much memory as the longest one needs."""
    dtype = task["dtype"]
    if dtype[1] == "U":
        longest = max((len(label) for label in task["classes"] if _is_str(label)), default=0)
        if int(dtype[2:]) != longest:
            raise ValueError(f"the dtype {dtype!r} does not match the longest label")
    return dtype


# --------------------------------------------------------------------------------------------
# The configuration of the encoder

# Each layer, group or expert has weights, and each of these sizes is a dimension of a weight.
_COUNTS = re.compile("layers|groups|group_num|blocks|experts")
_SIZES = {
    "attention_head_size",
    "d_embed",
    "d_ff",
    "d_head",
    "d_inner",
    "d_kv",
    "d_model",
    "dim",
    "emb_dim",
    "embedding_size",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "ffn_dim",
    "head_dim",
    "hidden_dim",
    "hidden_size",
    "intermediate_size",
    "n_embd",
    "n_head",
    "n_heads",
    "n_inner",
    "num_attention_heads",
    "num_heads",
    "num_key_value_heads",
    "pooler_hidden_size",
    "relative_attention_num_buckets",
    "type_vocab_size",
    "vocab_size",
    "word_embed_proj_dim",
}
_POSITION_TABLES = re.compile(r"position_embeddings|embed_positions|\bwpe\b")
_MAX_INT = 2**20  # no other size of an encoder is larger
_FLOAT = real(-1e12, 1e12)
_MAX_DEPTH, _MAX_ITEMS = 8, 4096


@dataclass(frozen=True)
class _Bounds:
    """The largest values that numbers in the configuration of an encoder can have."""

    count: int
    size: int
    positions: int

    @classmethod
    def from_weights(cls, tensors: dict[str, Layout]) -> _Bounds:
        """Return the bounds that follow from the shapes of the weights."""
        stacked = [layout.shape[0] for layout in tensors.values() if len(layout.shape) == 3]
        tables = [
            layout.shape[0]
            for name, layout in tensors.items()
            if len(layout.shape) == 2 and _POSITION_TABLES.search(name)
        ]
        return cls(
            max(len(tensors), *stacked, 0),
            max((size for layout in tensors.values() for size in layout.shape), default=0),
            max(tables, default=_MAX_INT),
        )

    def of(self, key: str, value: Any) -> Constraint:
        """Return the constraint on a number."""
        if isinstance(value, float):
            is_epsilon = key.endswith(("eps", "epsilon"))
            return real(0, 1, closed="right") if is_epsilon else _FLOAT
        if "position_embeddings" in key or key == "n_positions":
            return integer(-1, self.positions)  # -1: no limit
        if _COUNTS.search(key):
            return integer(0, self.count)
        if key in _SIZES:
            return integer(0, self.size)
        # The base of rotary embeddings is no size.
        return _FLOAT if "theta" in key or "base" in key else integer(-_MAX_INT, _MAX_INT)


def check_encoder(config: dict[str, Any], tensors: dict[str, Layout]):
    """Raise ValueError if a number in the configuration of an encoder is not plausible."""
    _check("in the encoder, ", config, {"model_type": text()})
    _check_bounds("encoder", config, _Bounds.from_weights(tensors), 0)


def _check_bounds(key: str, value: Any, bounds: _Bounds, depth: int):
    """Check the numbers in a value of the configuration, at any depth."""
    if isinstance(value, dict | list):
        if depth > _MAX_DEPTH or len(value) > _MAX_ITEMS:
            raise ValueError(f"in the encoder, {reprlib.repr(key)} is too large")
        items = value.items() if isinstance(value, dict) else ((key, each) for each in value)
        for name, each in items:
            _check_bounds(name, each, bounds, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check("in the encoder, ", {key: value}, {key: bounds.of(key, value)})


# --------------------------------------------------------------------------------------------
# Weights


_MAX_TENSORS = 2**14


def header_of(weights: dict[str, np.ndarray]) -> tuple[bytes, list[str]]:
    """Return the start of a safetensors file, and the names of its tensors in their order.

    The tensors whose sizes are multiples of the alignment of torch come first, and spaces fill the
    header up to such a multiple. These tensors are aligned in memory if the file is mapped.
    """
    kinds = {np.dtype(code): kind for kind, code in _DTYPES.items()}
    order = sorted(weights, key=lambda name: (_is_uneven(weights[name]), name))
    header, end = {}, 0
    for name in order:
        array, start = weights[name], end
        end += array.nbytes
        entry = {"dtype": kinds[array.dtype], "shape": array.shape, "data_offsets": [start, end]}
        header[name] = entry
    content = json.dumps(header).encode()
    content += b" " * (-(8 + len(content)) % ALIGNMENT)
    return len(content).to_bytes(8, "little") + content, order


def _is_uneven(array: np.ndarray) -> tuple[bool, int]:
    """Return a key that puts arrays last that would shift others to places without alignment."""
    return array.nbytes % ALIGNMENT != 0, -array.itemsize


def read_header(start: bytes, n_data: int) -> dict[str, Layout]:
    """Return the layout of each tensor of a safetensors file.

    Parameters
    ----------
    start : bytes
        The start of the file: 8 bytes and the header.
    n_data : int
        Number of bytes after the header.

    Returns
    -------
    tensors : dict of {str: Layout}
        The tensors, which cover the data without gaps and overlaps. Each has at least one byte.
    """
    header = json.loads(start[8:])
    if not isinstance(header, dict):
        raise ValueError("the header of the weights is not a dict")
    header.pop("__metadata__", None)
    if len(header) > _MAX_TENSORS:
        raise ValueError(f"it has {len(header)} weights, but at most {_MAX_TENSORS} are allowed")
    tensors = {name: _layout(name, entry) for name, entry in header.items()}
    end = 0
    for name, layout in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        n_bytes = math.prod(layout.shape) * layout.dtype.itemsize
        if layout.start != end or layout.stop - layout.start != n_bytes:
            raise ValueError(f"the place of the weights {reprlib.repr(name)} is not valid")
        end = layout.stop
    if end != n_data:
        raise ValueError(f"the weights take {end} bytes, but the file has {n_data}")
    return tensors


def _layout(name: str, entry: Any) -> Layout:
    """Return the layout that an entry of a header describes."""
    if not name.startswith(("encoder.", "heads.")):
        raise ValueError(f"the weights {reprlib.repr(name)} have no place")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of the weights {reprlib.repr(name)} is not valid")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise ValueError(
            f"the weights {reprlib.repr(name)} have dtype {reprlib.repr(kind)}, but only "
            f"{', '.join(_DTYPES)} are allowed"
        )
    for values, lengths in ((shape, range(9)), (offsets, (2,))):
        if not isinstance(values, list) or len(values) not in lengths:
            raise ValueError(f"the entry of the weights {reprlib.repr(name)} is not valid")
    # A tensor without data would allow any size in the description.
    if not all(map(_is_size, [*shape, *offsets])) or 0 in shape:
        raise ValueError(f"the entry of the weights {reprlib.repr(name)} is not valid")
    return Layout(np.dtype(_DTYPES[kind]), tuple(shape), offsets[0], offsets[1])


def _is_size(value) -> bool:
    return type(value) is int and 0 <= value < 2**48


def check_finite(weights: dict[str, np.ndarray]):
    """Raise ValueError for the first weights that are nan or infinite."""
    for name, array in weights.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"the weights {reprlib.repr(name)} are not finite")
