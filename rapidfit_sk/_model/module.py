"""`MultiheadModule`: encode each text once, ask each head."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from .encoders import (
    describe_encoder,
    empty_encoder,
    layer_stack,
    load_encoder,
    loading,
    with_layers,
)
from .heads import build_head
from .pooling import POOLING, attention_pooling, mean_of_windows
from .randomness import UseGenerator, ZeroInit


class MultiheadModule(nn.Module):
    """One encoder and one head for each task.

    Parameters
    ----------
    encoder : torch.nn.Module
        A Hugging Face encoder, or anything that is called with `input_ids` and `attention_mask`
        and returns an object with `last_hidden_state`.
    heads : list of Head
        One for each task, in the order of the tasks. They have no names: a `ModuleDict` refuses
        tasks called `type`, `keys` or `v1.2`.
    pooling : {"attention", "mean", "cls", "max"}
        How token embeddings become a text embedding; with "attention" there is one for each
        head, by its query.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        What the encoder multiplies in. Weights, pooling and heads are float32 in each case.
    compile : bool, default=False
        Whether the encoder is compiled where it runs as a whole and without gradients.

    Attributes
    ----------
    n_frozen : int or None
        How many layers at the bottom of the encoder do not train. It is None where none of the
        encoder trains, and 0 where its embeddings do too.
    unfreeze_log : list of int
        The values that `n_frozen` has had whenever something of the encoder was let train.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        heads: Iterable[nn.Module],
        pooling: str,
        precision: str = "float32",
        compile: bool = False,
    ):
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(heads)
        self.pooling = pooling
        self.precision = precision
        self.compiles = compile
        self._compiled: list[Callable[..., Any]] | None = None
        self._trainable: list[nn.Module] = []
        self._upper: UpperLayers | None = None
        self.n_frozen: int | None = None
        self.unfreeze_log: list[int] = []
        # In evaluation mode until training begins: the parts may be in use elsewhere.
        self.training = False
        self.train_encoder_layers(0)

    def forward(
        self, rows: list[torch.Tensor], embeddings: torch.Tensor | None = None, **inputs: Any
    ) -> list[torch.Tensor]:
        """Compute the logits of each task for the texts that it is asked about.

        Parameters
        ----------
        rows : list of Tensor, each of shape (n_rows_of_task,)
            For each task the positions of its texts in the batch. The head of a task without
            rows is not run, and gets no gradient.
        embeddings : Tensor of shape (n_texts, width) or None, default=None
            What :meth:`embed` would return, where it is known and all heads read it.
        **inputs : dict of Tensor
            What :meth:`embed` takes, where it is not.

        Returns
        -------
        logits : list of Tensor, each of shape (n_rows_of_task, n_classes_of_task)
            One for each task.
        """
        # Heads without a query share one answer.
        read = functools.cache(self._embeddings_by_query(embeddings, **inputs))
        return [_logits(head, read, at) for head, at in zip(self.heads, rows, strict=True)]

    def _embeddings_by_query(self, embeddings, attention_mask=None, firsts=None, **inputs):
        """Return what takes the query of a head and gives the embeddings that the head reads."""
        if embeddings is not None:
            return lambda query: embeddings
        tokens = self._tokens(attention_mask=attention_mask, **inputs)
        return lambda query: self._pool(tokens, attention_mask, firsts, query)

    def embed(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        firsts: torch.Tensor | None = None,
        states: torch.Tensor | None = None,
        eager: bool = False,
    ) -> torch.Tensor:
        """Run the encoder over a batch, and pool as heads do that have learned no query.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of shape (n_windows, length)
            The batch: a window for each text, or several.
        firsts : Tensor of int64, shape (n_texts,), or None, default=None
            The first window of each text; None where each has one.
        states : Tensor of shape (n_windows, length, width) or None, default=None
            The hidden states that enter the layer given to :meth:`resume_at`, where they are
            known: only the layers from there on are run.
        eager : bool, default=False
            Whether to run the encoder itself, compiled or not: its layers are looked into.

        Returns
        -------
        embeddings : Tensor of float32, shape (n_texts, width)
            Text embeddings.
        """
        tokens = self._tokens(input_ids, attention_mask, states, eager)
        return self._pool(tokens, attention_mask, firsts)

    def _tokens(self, input_ids, attention_mask, states=None, eager=False):
        encoder = self._full_encoder(eager) if states is None else self._upper_encoder(states)
        device = input_ids.device.type
        lower = uses_bfloat16(self.precision, device)
        with torch.autocast(device, torch.bfloat16) if lower else contextlib.nullcontext():
            output = encoder(input_ids=input_ids, attention_mask=attention_mask)
        return output.last_hidden_state.float()

    def _pool(self, tokens, mask, firsts, query=None):
        if query is None:
            windows = POOLING[self.pooling](tokens, mask)
        else:
            windows = attention_pooling(tokens, mask, query)
        return windows if firsts is None else mean_of_windows(windows, firsts)

    def _upper_encoder(self, states: torch.Tensor) -> PreTrainedModel:
        if self._upper is None:
            raise RuntimeError("Call `resume_at` with a layer before you give the states for it.")
        return self._upper.on(states)

    def _full_encoder(self, eager: bool) -> Callable[..., Any]:
        if eager or not self.compiles or torch.is_grad_enabled():
            return self.encoder
        if self._compiled is None:
            # In a list: it is the encoder once more, and no further part of this module.
            self._compiled = [torch.compile(self.encoder, dynamic=True)]
        return self._compiled[0]

    def __getstate__(self):
        """Leave out, for copies, what is another way to run the same encoder."""
        return {**super().__getstate__(), "_compiled": None, "_upper": None}

    @property
    def heads_share_embeddings(self) -> bool:
        """Whether no head has learned what to look for, so that all read what `embed` returns."""
        return not any(map(_has_learned_query, self.heads))

    @property
    def reads_embeddings(self) -> bool:
        """Whether embeddings are all that a training needs of the encoder as it is."""
        return self.n_frozen is None and self.heads_share_embeddings

    def resume_at(self, layer: int | None) -> bool:
        """Prepare to run the layers from one on alone.

        Parameters
        ----------
        layer : int or None
            The first layer that is run; None to forget about it.

        Returns
        -------
        possible : bool
            Whether the encoder has a stack of layers that can be entered in between.
        """
        self._upper = None if layer is None else UpperLayers.of(self.encoder, layer)
        return self._upper is not None

    def n_frozen_with(self, n_layers: int | None) -> int | None:
        """Return what `n_frozen` would be with `n_layers` that train; nothing changes.

        Raises
        ------
        ValueError
            As :meth:`train_encoder_layers`.
        """
        if n_layers is None:
            return 0
        if n_layers == 0:
            return None
        return max(0, len(layer_stack(self.encoder)) - n_layers)

    def train_encoder_layers(self, n_layers: int | None):
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
        self.n_frozen = self.n_frozen_with(n_layers)
        if n_layers is None:
            self._trainable = [self.encoder]
        else:
            self._trainable = layer_stack(self.encoder)[-n_layers:] if n_layers else []
        if self.n_frozen is not None:
            self.unfreeze_log.append(self.n_frozen)
        self.encoder.requires_grad_(False)
        for module in self._trainable:
            module.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; frozen parts of the encoder stay in evaluation mode.

        A frozen layer with dropout on would blur what it gives out and learn nothing from it. The
        encoder may be shared with a module that predicts meanwhile: it does not leave that mode
        for a moment.
        """
        self.training = mode
        self.heads.train(mode)
        live = {id(part) for module in self._trainable for part in module.modules()}
        for part in self.encoder.modules():
            part.training = mode and id(part) in live
        return self


def _logits(head, read, at) -> torch.Tensor:
    """Return the logits of a head for some texts; without any, the head is not run."""
    if len(at):
        return head(read(head.query)[at])
    return head[-1].bias.new_empty(0, len(head[-1].bias))


def _has_learned_query(head) -> bool:
    return head.query is not None and bool(head.query.any())


class UpperLayers:
    """The layers of an encoder from one on, run on the hidden states that enter it.

    Parameters
    ----------
    encoder : torch.nn.Module
        An encoder that begins with an :class:`_EntryLayer`.
    entry : _EntryLayer
        Takes the states.
    """

    def __init__(self, encoder: PreTrainedModel, entry: _EntryLayer):
        self.encoder = encoder
        self.entry = entry

    @classmethod
    def of(cls, encoder: PreTrainedModel, first: int) -> Self | None:
        """Share the layers of an encoder from `first` on; None where it has no such stack."""
        layers = layer_stack(encoder)
        entry = _EntryLayer(layers[first])
        upper = with_layers(encoder, [entry, *layers[first + 1 :]])
        return None if upper is None else cls(upper, entry)

    def on(self, states: torch.Tensor) -> PreTrainedModel:
        """Return the encoder that goes on from these states, whatever it is called with."""
        self.entry.states = states
        return self.encoder


class _EntryLayer(nn.Module):
    """A layer that reads given states instead of what the layer below gives it.

    The encoder may look at attributes of its layers, so that it has those of the layer.
    """

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer
        self.training = layer.training
        self.states: torch.Tensor | None = None

    def forward(self, hidden_states, *args, **kwargs):
        """Run the layer on the given states."""
        states, self.states = self.states, None
        return self.layer(states, *args, **kwargs)

    def __getattr__(self, name):
        """Look where a module keeps its parts, then in the layer."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


@contextlib.contextmanager
def states_entering(layer: nn.Module, *, stop: bool = False) -> Iterator[list[torch.Tensor]]:
    """Keep what enters a layer of an encoder while it runs.

    Parameters
    ----------
    layer : torch.nn.Module
        The layer.
    stop : bool, default=False
        Whether to end the run there. What it would have returned is then not computed.

    Yields
    ------
    seen : list of Tensor
        The hidden states of each run.
    """
    seen: list[torch.Tensor] = []

    def hook(module, args, kwargs):
        seen.append(args[0] if args else kwargs["hidden_states"])
        if stop:
            raise _StopForward

    handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with contextlib.suppress(_StopForward):
            yield seen
    finally:
        handle.remove()


class _StopForward(Exception):
    """Ends the run of an encoder where the rest of it is not needed."""


@contextlib.contextmanager
def checkpointed_layers(encoder: PreTrainedModel, generator: torch.Generator) -> Iterator[None]:
    """Have the layers that train keep their input only, and run again for the gradient.

    It is for the forward pass: whoever looks at the encoder between passes finds it as it is.

    Parameters
    ----------
    encoder : torch.nn.Module
        The encoder; afterwards, however the pass ends, its layers run as they are.
    generator : torch.Generator
        Where dropout draws from: the second run draws the same numbers.
    """

    def contexts():
        return contextlib.nullcontext(), UseGenerator(generator.clone_state())

    try:
        layers = set(layer_stack(encoder))
    except ValueError as error:
        raise ValueError(
            f"The layers of {type(encoder).__name__} were not found, so that their inputs alone "
            "cannot be kept. Set training.gradient_checkpointing to False."
        ) from error
    for layer in layers:
        layer.forward = functools.partial(_checkpointed, layer, layer.forward, contexts)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _checkpointed(layer, forward, contexts, *args, **kwargs):
    if not layer.training:
        return forward(*args, **kwargs)
    options = {"use_reentrant": False, "preserve_rng_state": False, "context_fn": contexts}
    return checkpoint(forward, *args, **options, **kwargs)


@functools.cache
def uses_bfloat16(precision: str, device: str) -> bool:
    """Say whether an encoder multiplies in bfloat16 on a type of device.

    Where the hardware does not know bfloat16, "auto" is float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # No public function of torch tells before 2.12; without an answer it is float32.
    knows = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device == "cpu" and any(getattr(torch.cpu, name, bool)() for name in knows)


def build_module(
    *,
    model_name: str,
    n_classes: list[int],
    head: dict[str, Any],
    pooling: str,
    precision: str = "float32",
    compile: bool = False,
) -> MultiheadModule:
    """Load the encoder and build a head for each task.

    Parameters
    ----------
    model_name : str
        See :class:`rapidfit_sk.TrainingConfig`.
    n_classes : list of int
        Classes of each task.
    head : dict
        The parameters of :class:`rapidfit_sk.HeadConfig`.
    pooling : {"attention", "mean", "cls", "max"}
        How token embeddings become a text embedding.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        What the encoder multiplies in.
    compile : bool, default=False
        Whether to compile it.

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
        heads = [build_head(width, n, pooling, **head) for n in n_classes]
    return MultiheadModule(encoder, heads, pooling, precision, compile)


def build_heads(
    *,
    encoder: PreTrainedModel,
    n_classes: list[int],
    head: dict[str, Any],
    pooling: str,
    precision: str = "float32",
    compile: bool = False,
) -> MultiheadModule:
    """Build new heads on an encoder that is at hand, which is shared; see :func:`build_module`."""
    with loading():
        heads = [build_head(encoder.config.hidden_size, n, pooling, **head) for n in n_classes]
    heads = [each.to(encoder.device) for each in heads]
    return MultiheadModule(encoder, heads, pooling, precision, compile)


# --------------------------------------------------------------------------------------------
# Growth: a module that goes on from another one


def grown_copy(
    module: MultiheadModule,
    places: list[np.ndarray],
    *,
    n_classes: list[int],
    head: dict[str, Any],
    precision: str,
    compile: bool,
) -> MultiheadModule:
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
    precision, compile
        As in :func:`build_module`.

    Returns
    -------
    module : MultiheadModule
        Old columns have their old weights, new ones random weights.
    """
    with loading():
        encoder, heads = copy.deepcopy(module.encoder), [*copy.deepcopy(module.heads)]
        for old, place, n in zip(heads, places, n_classes, strict=False):
            old[-1] = _widened(old[-1], place, n)
        width = encoder.config.hidden_size
        for n in n_classes[len(places) :]:
            heads.append(build_head(width, n, module.pooling, **head))
    return MultiheadModule(encoder, heads, module.pooling, precision, compile)


def _widened(layer, place, n) -> nn.Linear:
    """Return an output layer of `n` columns that has those of `layer` in their new places."""
    if n == layer.out_features:
        return layer
    wider = nn.Linear(layer.in_features, n)
    with torch.no_grad():
        wider.weight[place] = layer.weight.cpu()
        wider.bias[place] = layer.bias.cpu()
    return wider


# --------------------------------------------------------------------------------------------
# Parts: what a module can be stored as and built from again, plain data and arrays


def module_to_parts(module: MultiheadModule) -> dict[str, Any]:
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


def module_from_parts(
    parts: dict[str, Any],
    *,
    n_classes: list[int],
    head: dict[str, Any],
    pooling: str,
    precision: str = "float32",
    compile: bool = False,
    model_name: str | None = None,
) -> MultiheadModule:
    """Build the module that :func:`module_to_parts` described, around the very arrays it is given.

    Parameters
    ----------
    parts : dict
        What :func:`module_to_parts` returned.
    n_classes, head, pooling, precision, compile
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
    with loading(), ZeroInit():
        heads = [build_head(encoder.config.hidden_size, n, pooling, **head) for n in n_classes]
    module = MultiheadModule(encoder, heads, pooling, precision, compile)
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
    first: dict[int, str] = {}
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
