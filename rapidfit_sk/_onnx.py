"""Export of a fitted classifier to one ONNX graph, with a report that compares it with torch."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ._fitted import FittedModel
from ._folders import replace_folder, write_checksums
from ._forks import computes, held_at_fork
from ._model import MultiheadModule, twin_of
from ._persistence import labels_to_plain, library_versions
from ._rows import CodedRows, Texts
from ._typing import ArrayOrFrame, RowsLike
from ._validation import (
    InvalidParameterError,
    array_like,
    check_argument,
    check_task,
    listed,
    none,
    one_of,
    path,
    real,
    short,
)
from .datasets import load_support_messages

try:
    import onnx
    import onnxscript  # noqa: F401, torch needs it
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from .serving import (
        DESCRIPTION,
        FORMAT,
        FORMAT_VERSION,
        GRAPH,
        TOKENIZER,
        OnnxMultiheadClassifier,
        mean_of_windows,
    )
except ImportError as error:
    raise ImportError(
        "export_onnx needs onnx, onnxscript and onnxruntime. Install them with: "
        'pip install "rapidfit-sk[onnx]"'
    ) from error

# A protobuf file has at most 2 GiB, so larger weights are stored in a file beside the graph.
LARGEST_GRAPH = 2**30

# The accepted values of a report by default; see the parameter `tolerance` of `export_onnx`. With
# few rows, the loss of accuracy may be two rows.
_FEW_ROWS = 2
TOLERANCES = {
    "the largest difference of a probability": 1e-3,
    "the loss of accuracy": 0.02,
    "the share of changed labels": 0.05,
}

_ADVICE = {
    "the largest difference of a probability": "Please report this with the output of "
    "rapidfit_sk.show_versions().",
    "the loss of accuracy": "Export with quantize=None, or accept the loss with 'tolerance'.",
    "the share of changed labels": "Pass labeled rows of your own as X to compare accuracies, or "
    "export with quantize=None.",
}
# The difference of 0.5 and 0.48 is a number slightly above 0.02.
_ROUNDING = 1e-9
_COLUMNS = ["n_rows", "largest_difference", "changed", "accuracy", "accuracy_onnx"]
_LIBRARIES = ("onnx", "onnxruntime", "tokenizers")

# Names of nodes that belong to a head begin with it.
_HEAD = "head/"

# torch.export changes global state.
_EXPORTING = held_at_fork(threading.RLock())


@computes
def export_onnx(
    classifier: Any,
    folder: str | PathLike[str],
    tasks: list[str] | None,
    quantize: str | None,
    X: RowsLike | None,
    y: ArrayOrFrame | None,
    tolerance: float | None,
) -> pd.DataFrame:
    """Export a fitted classifier; see :meth:`MultiheadClassifier.export_onnx`."""
    check_argument("folder", folder, path())
    check_argument("tasks", tasks, array_like() | none)
    check_argument("quantize", quantize, one_of("int8") | none)
    check_argument("tolerance", tolerance, real(0, 1) | none)
    model = classifier._snapshot()
    names = _checked_tasks(classifier._predicted_tasks(model), tasks)
    compared = _rows_to_compare(classifier, model, names, X, y)
    reports: list[pd.DataFrame] = []

    def write(into: Path):
        graph = graph_of(model, names)
        if quantize is not None:
            graph = quantized(graph)
        description = _describe(classifier, model, names, quantize)
        (into / TOKENIZER).write_bytes(_tokenizer_file(model))
        _save_graph(graph, into / GRAPH)
        _finish(into, description)
        exported = OnnxMultiheadClassifier(into, n_threads=1)
        report = compare(_in_float32(model), exported, compared, is_labeled=X is not None)
        check_report(report, quantize, tolerance)
        _finish(into, description | {"report": report.to_dict("records")})
        reports.append(report)

    replace_folder(Path(folder), write, DESCRIPTION)
    return reports[0]


def _finish(folder: Path, description: dict[str, Any]):
    """Write the description and the checksums of all files."""
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1))
    write_checksums(folder)


def _checked_tasks(known: list[str], tasks: list[str] | None) -> list[str]:
    """Return the tasks to export in the order of the model."""
    if tasks is None:
        return known
    tasks = list(tasks)
    for task in tasks:
        check_task(task, known)
    if not tasks:
        raise InvalidParameterError(
            "The 'tasks' parameter must contain a task. Got an empty list instead. The tasks "
            f"are: {listed(known)}. Pass None for all of them."
        )
    return [task for task in known if task in set(tasks)]


# --------------------------------------------------------------------------------------------
# The graph


class ExportedModule(nn.Module):
    """The computation of a fitted module as a function of tensors only.

    Parameters
    ----------
    module : MultiheadModule
        The module. Its encoder is not changed.
    heads : list of int
        Numbers of the heads.
    """

    def __init__(self, module: MultiheadModule, heads: list[int]):
        super().__init__()
        self.encoder = twin_of(module.encoder).cpu()
        # The plain form of attention gives a smaller graph. Older versions of transformers choose
        # the form when they build the encoder, so the graph keeps theirs.
        if hasattr(self.encoder, "set_attn_implementation"):
            self.encoder.set_attn_implementation("eager")
        self.heads = nn.ModuleList(copy.deepcopy(module.heads[i]).cpu() for i in heads)
        self._pool = module._pool
        self.eval()

    def forward(self, input_ids, attention_mask, mean=None):
        """Return the logits of each head.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of int64, shape (n_windows, length)
            A batch of windows.
        mean : Tensor of float32, shape (n_texts, n_windows), or None
            The matrix that averages the windows of each text.
        """
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        tokens = output.last_hidden_state
        logits = []
        for head in self.heads:
            embeddings = self._pool(tokens, attention_mask, None, head.query)
            logits.append(head(embeddings if mean is None else mean @ embeddings))
        return tuple(logits)


def graph_of(model: FittedModel, tasks: list[str]) -> onnx.ModelProto:
    """Return the graph of a fitted model with an output of logits for each task."""
    module = ExportedModule(model.net.module_, [model.tasks.index(task) for task in tasks])
    inputs = _example(has_windows=model.tokenizer.long_text == "windows")
    dynamic = dict.fromkeys(inputs, (torch.export.Dim.AUTO, torch.export.Dim.AUTO))
    with _EXPORTING, _without_advice():
        exported = torch.export.export(module, (), inputs, dynamic_shapes=dynamic)
        program = torch.onnx.export(
            exported,
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=[output_of(task) for task in tasks],
        )
    if program is None:  # only if torch wrote a file
        raise RuntimeError("torch.onnx.export returned no program.")
    graph = program.model_proto
    _clean(graph)
    return graph


def output_of(task: str) -> str:
    """Return the name of the output with the logits of a task."""
    return f"logits/{task}"


def _example(has_windows: bool) -> dict[str, torch.Tensor]:
    """Return example inputs of the graph; all of their dimensions are dynamic."""
    ids = torch.ones((3, 5), dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if has_windows:
        inputs["mean"] = torch.from_numpy(mean_of_windows(np.array([1, 2])))
    return inputs


def _clean(graph: onnx.ModelProto):
    """Name dimensions and heads, and remove the paths and lines of source files."""
    for node in graph.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key.endswith("name_scopes")), "")
        if "'heads." in scopes:
            node.name = _HEAD + node.name
        del node.metadata_props[:]
        node.doc_string = ""
    for value in graph.graph.value_info:
        del value.metadata_props[:]
    del graph.graph.metadata_props[:]
    _name_dimensions(graph.graph)


def _name_dimensions(graph: onnx.GraphProto):
    """Replace the numbers of dynamic dimensions by names."""
    of_windows = ("windows", "length")
    named = {
        "input_ids": of_windows,
        "attention_mask": of_windows,
        "mean": ("texts", "windows"),
    }
    names = {
        dimension.dim_param: name
        for value in graph.input
        for dimension, name in zip(_dimensions(value), named[value.name], strict=True)
    }
    for value in [*graph.input, *graph.output]:
        for dimension in _dimensions(value):
            if dimension.dim_param:
                dimension.dim_param = names[dimension.dim_param]


def _dimensions(value: onnx.ValueInfoProto) -> Iterable[Any]:
    return value.type.tensor_type.shape.dim


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Context in which torch does not log that torchvision is missing, which is not needed."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")

    def refuse(record):
        return False

    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


def quantized(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with the weights of the encoder as 8-bit integers.

    Activations are quantized while the graph runs, with the range of their values in a batch.
    """
    heads = [node.name for node in graph.graph.node if node.name.startswith(_HEAD)]
    # onnxruntime splits a Gemm into a MatMul and an Add before it compares names.
    heads += [f"{name}_MatMul" for name in heads]
    # onnxruntime would otherwise advise to optimize the graph, which the export has done.
    graph.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / GRAPH
        quantize_dynamic(
            graph,
            file,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=heads,
            use_external_data_format=_is_large(graph),
        )
        return onnx.load(file)


def _is_large(graph: onnx.ModelProto) -> bool:
    """Return whether the weights of a graph need a file of their own."""
    # ModelProto.ByteSize fails above 2 GiB.
    return sum(len(each.raw_data) for each in graph.graph.initializer) > LARGEST_GRAPH


def _save_graph(graph: onnx.ModelProto, file: Path):
    """Write a graph, with the weights in another file if they are large."""
    is_large = _is_large(graph)
    onnx.save_model(
        graph,
        file,
        save_as_external_data=is_large,
        location=f"{file.name}.data" if is_large else None,
        convert_attribute=False,
    )


# --------------------------------------------------------------------------------------------
# The files beside the graph


def _tokenizer_file(model: FittedModel) -> bytes:
    """Return the tokenizer in the format of the library tokenizers."""
    files = model.tokenizer.files()
    if TOKENIZER not in files:
        kind = type(model.tokenizer.tokenizer).__name__
        raise ValueError(
            f"The tokenizer {kind} cannot be exported, because it has no {TOKENIZER}. Use an "
            "encoder with a fast tokenizer."
        )
    return files[TOKENIZER]


def _describe(
    classifier: Any, model: FittedModel, tasks: list[str], quantize: str | None
) -> dict[str, Any]:
    """Return everything that a prediction needs, apart from the graph and the tokenizer."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "quantize": quantize,
        "columns": {
            "text": classifier.text_column,
            "task": classifier.task_column if classifier._reads_tasks else None,
        },
        "tasks": [_describe_task(model, task) for task in tasks],
        "tokens": asdict(model.tokenizer.rules),
        "versions": library_versions() | {name: version(name) for name in _LIBRARIES},
    }


def _describe_task(model: FittedModel, task: str) -> dict[str, Any]:
    threshold = (model.thresholds or {}).get(task)
    return {
        "name": task,
        "output": output_of(task),
        "temperature": model.temperatures[task],
        **({} if threshold is None else {"threshold": threshold}),
        **labels_to_plain(model.classes[task]),
    }


# --------------------------------------------------------------------------------------------
# The report


def _rows_to_compare(classifier: Any, model: FittedModel, tasks: list[str], X, y) -> CodedRows:
    """Return the rows of a report; without X, they are texts of each task without labels."""
    if X is not None:
        rows = classifier._rows_to_score(model, X, y)
        codes = [model.tasks.index(task) for task in tasks]
        for task, code in zip(tasks, codes, strict=True):
            if code not in rows.tasks:
                raise ValueError(
                    f"X has no rows of task {short(task)}, so it cannot be compared. Add rows of "
                    "it, or leave it out of 'tasks'."
                )
        return rows.take(np.isin(rows.tasks, codes))
    if y is not None:
        raise ValueError("y was given without X. Pass both or neither of them.")
    strings = [*load_support_messages()["text"], *classifier.label_texts_["text"]]
    texts = Texts.of(dict.fromkeys(strings))
    of_rows = np.tile([model.tasks.index(task) for task in tasks], len(texts))
    unknown = np.full(len(of_rows), -1)
    weights = np.ones(len(of_rows), np.float32)
    return CodedRows(texts.repeat(len(tasks)), of_rows, unknown, weights, model.classes)


def _in_float32(model: FittedModel) -> FittedModel:
    """Return a model with the same weights that predicts in float32, as the graph does."""
    net, module = copy.copy(model.net), copy.copy(model.net.module_)
    module.precision = "float32"
    net.__dict__["module_"] = module
    return replace(model, net=net)


def compare(
    model: FittedModel, exported: OnnxMultiheadClassifier, rows: CodedRows, *, is_labeled: bool
) -> pd.DataFrame:
    """Compare the predictions of an exported classifier with those of the fitted model.

    Returns
    -------
    report : DataFrame
        One row per task; see :meth:`MultiheadClassifier.export_onnx`.
    """
    found = []
    for code, before in enumerate(model.probabilities(rows.texts, rows.tasks)):
        task, own = model.tasks[code], rows.take(rows.tasks == code)
        if task in exported and len(own):
            after = exported[task].predict_proba(list(own.texts.strings()))
            labels = own.labels if is_labeled else None
            found.append({"task": task} | _compared(before, after, labels))
    return pd.DataFrame(found, columns=["task", *_COLUMNS])


def _compared(before: np.ndarray, after: np.ndarray, labels: np.ndarray | None) -> dict[str, Any]:
    """Return the differences between the probabilities before and after an export."""
    one, other = before.argmax(axis=1), after.argmax(axis=1)
    values = (
        len(before),
        float(abs(before - after).max()),
        float(np.mean(one != other)),
        None if labels is None else float(np.mean(one == labels)),
        None if labels is None else float(np.mean(other == labels)),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def check_report(report: pd.DataFrame, quantize: str | None, tolerance: float | None):
    """Raise RuntimeError if an export loses more than the tolerance."""
    for row in report.to_dict("records"):
        loss, what = _loss(row, quantize)
        limit = _limit(what, row["n_rows"]) if tolerance is None else tolerance
        if not loss <= limit + _ROUNDING:
            raise RuntimeError(
                f"The exported classifier differs too much from the fitted one: {what} of task "
                f"{short(row['task'])} is {loss:.4g} on {row['n_rows']} rows, and the tolerance is "
                f"{limit:.4g}. Nothing was written. {_ADVICE[what]}"
            )


def _limit(what: str, n_rows: int) -> float:
    """Return the default tolerance of a value on some rows."""
    is_accuracy = what == "the loss of accuracy"
    return max(TOLERANCES[what], _FEW_ROWS / n_rows if is_accuracy else 0)


def _loss(row: dict[str, Any], quantize: str | None) -> tuple[float, str]:
    """Return the value that the tolerance limits, and its name."""
    if quantize is None:
        return row["largest_difference"], "the largest difference of a probability"
    if not pd.isna(row["accuracy"]):
        return row["accuracy"] - row["accuracy_onnx"], "the loss of accuracy"
    return row["changed"], "the share of changed labels"
