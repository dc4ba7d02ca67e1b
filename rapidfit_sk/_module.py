"""`MultiheadModule`: encode each text once, ask each head."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from ._encoders import describe_encoder, empty_encoder, layer_stack, load_encoder, loading
from ._heads import build_head
from ._pooling import POOLING
from ._randomness import LeavesZero


class MultiheadModule(nn.Module):
    """One encoder and one head for each task.

    Parameters
    ----------
    encoder : torch.nn.Module
        A Hugging Face encoder, or anything that is called with `input_ids` and `attention_mask`
        and returns an object with `last_hidden_state`.
    heads : list of torch.nn.Module
        One for each task, in the order of the tasks. They have no names: a `ModuleDict` refuses
        tasks called `type`, `keys` or `v1.2`.
    pooling : {"mean", "cls", "max"}
        How token embeddings become a text embedding.
    """

    def __init__(self, encoder, heads, pooling):
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(heads)
        self.pooling = pooling
        self._live = []
        # In evaluation mode until training begins: the parts may be in use elsewhere.
        self.training = False
        self.train_encoder_layers(0)

    def forward(self, input_ids, attention_mask, rows):
        """Compute the logits of each task for the texts that it is asked about.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of shape (n_texts, length)
            The batch.
        rows : list of Tensor, each of shape (n_rows_of_task,)
            For each task the positions of its texts in the batch. The head of a task without
            rows is not run, and gets no gradient.

        Returns
        -------
        logits : list of Tensor, each of shape (n_rows_of_task, n_classes_of_task)
            One for each task.
        """
        embeddings = self.embed(input_ids, attention_mask)
        return [
            head(embeddings[at]) if len(at) else embeddings.new_empty(0, head[-1].out_features)
            for head, at in zip(self.heads, rows, strict=True)
        ]

    def embed(self, input_ids, attention_mask):
        """Return the text embeddings of a batch, shape (n_texts, width)."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return POOLING[self.pooling](output.last_hidden_state, attention_mask)

    def train_encoder_layers(self, n_layers):
        """Let the top layers of the encoder train and freeze the rest of it.

        Parameters
        ----------
        n_layers : int or None
            Layers to train; all of them where the encoder has fewer. None trains the whole
            encoder, embeddings included.

        Raises
        ------
        ValueError
            If only a part shall train and the layers of the encoder cannot be found.
        """
        if n_layers is None:
            self._live = [self.encoder]
        else:
            self._live = layer_stack(self.encoder)[-n_layers:] if n_layers else []
        self.encoder.requires_grad_(False)
        for module in self._live:
            module.requires_grad_(True)
        self.train(self.training)

    def train(self, mode=True):
        """Set training mode; frozen parts of the encoder stay in evaluation mode.

        A frozen layer with dropout on would blur what it gives out and learn nothing from it.
        """
        super().train(mode)
        self.encoder.eval()
        for module in self._live:
            module.train(mode)
        return self


def build_module(*, model_name, n_classes, head, pooling) -> MultiheadModule:
    """Load the encoder and build a head for each task.

    Parameters
    ----------
    model_name : str
        See :class:`rapidfit_sk.TrainingConfig`.
    n_classes : list of int
        Classes of each task.
    head : dict
        The parameters of :class:`rapidfit_sk.HeadConfig`.
    pooling : {"mean", "cls", "max"}
        How token embeddings become a text embedding.

    Returns
    -------
    module : MultiheadModule
        With the encoder frozen.
    """
    # Heads are made under the same lock: while another thread loads an encoder, version 4 of
    # transformers has every new parameter of the process made without data.
    with loading():
        encoder = load_encoder(model_name)
        width = encoder.config.hidden_size
        heads = [build_head(width, n, **head) for n in n_classes]
    return MultiheadModule(encoder, heads, pooling)


# --------------------------------------------------------------------------------------------
# Growth: a module that goes on from another one


def grown_copy(module, places, *, n_classes, head) -> MultiheadModule:
    """Copy a module, with wider heads for new classes and further heads for new tasks.

    Parameters
    ----------
    module : MultiheadModule
        Stays as it is.
    places : list of ndarray of int, each of shape (n_old_classes_of_task,)
        For each head of `module`, where its classes stand among the new ones.
    n_classes : list of int
        Classes of each task; those of `module` come first.
    head : dict
        The parameters of :class:`rapidfit_sk.HeadConfig`.

    Returns
    -------
    module : MultiheadModule
        Old columns have their old weights, new ones random weights.
    """
    with loading():
        module = copy.deepcopy(module)
        for old, place, n in zip(module.heads, places, n_classes, strict=False):
            old[-1] = _widened(old[-1], place, n)
        width = module.encoder.config.hidden_size
        for n in n_classes[len(places) :]:
            module.heads.append(build_head(width, n, **head))
    return module


def _widened(layer, place, n) -> nn.Linear:
    """Return an output layer of `n` columns that has those of `layer` in their new places."""
    if n == layer.out_features:
        return layer
    wider = nn.Linear(layer.in_features, n)
    with torch.no_grad():
        wider.weight[place] = layer.weight.cpu()
        wider.bias[place] = layer.bias.cpu()
    return wider


class EmbeddingTable(nn.Module):
    """Takes the place of an encoder where its output is known: text number -> embedding.

    Parameters
    ----------
    embeddings : ndarray of float32, shape (n_texts, width)
        One row for each text.
    config : transformers.PretrainedConfig
        That of the encoder.
    """

    def __init__(self, embeddings, config):
        super().__init__()
        self.config = config
        self.register_buffer("embeddings", torch.from_numpy(embeddings), persistent=False)

    def forward(self, input_ids, attention_mask):
        """Look up texts, each a single token: (n_texts, 1) -> (n_texts, 1, width)."""
        return BaseModelOutput(last_hidden_state=self.embeddings[input_ids])


def build_head_on_table(*, table, n_classes, head) -> MultiheadModule:
    """Build a module of one new head on an :class:`EmbeddingTable`."""
    with loading():
        heads = [build_head(table.embeddings.shape[1], n, **head) for n in n_classes]
    return MultiheadModule(table, heads, "mean")


# --------------------------------------------------------------------------------------------
# Parts: what a module can be stored as and built from again, plain data and arrays


def take_apart(module) -> dict:
    """Describe a module without its classes.

    Returns
    -------
    parts : dict
        ``encoder``, the configuration of the encoder as plain data, and ``weights``, an array
        for each name; of names that share a parameter only the first has one.
    """
    first = _first_names(module)
    state = module.state_dict()
    weights = {name: state[name].cpu().numpy() for name in first if first[name] == name}
    return {"encoder": describe_encoder(module.encoder), "weights": weights}


def put_together(parts, *, n_classes, head, pooling, model_name=None) -> MultiheadModule:
    """Build the module that :func:`take_apart` described, around the very arrays it is given.

    Parameters
    ----------
    parts : dict
        What :func:`take_apart` returned.
    n_classes, head, pooling
        As in :func:`build_module`.
    model_name : str or None
        Not used: nothing is looked up by name.

    Returns
    -------
    module : MultiheadModule
        In evaluation mode.

    Raises
    ------
    RuntimeError
        If names or shapes of the weights do not fit the architecture.
    """
    encoder = empty_encoder(parts["encoder"])
    with loading(), LeavesZero():
        heads = [build_head(encoder.config.hidden_size, n, **head) for n in n_classes]
    module = MultiheadModule(encoder, heads, pooling)
    first = _first_names(module)
    tensors = {name: _as_tensor(array) for name, array in parts["weights"].items()}
    module.load_state_dict({n: tensors[f] for n, f in first.items() if f in tensors}, assign=True)
    for name, other in first.items():
        if name != other:  # assigning has parted what the architecture shares
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, module.get_parameter(other))
    return module.eval()


def _first_names(module) -> dict[str, str]:
    """Map each name in the state of a module to the first name of the same tensor."""
    first = {}
    state = module.state_dict(keep_vars=True)
    return {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}


def _as_tensor(array) -> torch.Tensor:
    """Make a tensor on the memory of an array.

    A read-only memory map is mapped anew, privately: processes share the pages until one of
    them writes, and torch need not be told that it must not.
    """
    if isinstance(array, np.memmap) and not array.flags.writeable and array.filename:
        array = np.memmap(array.filename, array.dtype, "c", array.offset, array.shape)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
