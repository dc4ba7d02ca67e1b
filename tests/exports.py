"""A fixture that builds the ONNX graph of a model once, because this takes many seconds."""

import copy

import pytest

from rapidfit_sk import _onnx as onnx_module


@pytest.fixture(scope="module", autouse=True)
def each_graph_once():
    """Keep the real graph of each model and its tasks for the other exports of a file."""
    build, built = onnx_module.graph_of, {}

    def graph_of(model, tasks):
        key = (id(model.net), *tasks)
        if key not in built:
            built[key] = (model, build(model, tasks))  # the model keeps its id in use
        return copy.deepcopy(built[key][1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_module, "graph_of", graph_of)
        yield
