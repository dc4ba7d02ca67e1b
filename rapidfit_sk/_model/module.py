"""`MultiheadModule`: one encoder with a head for each task."""

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

from .._forks import computes
from .adapters import adapters_of, add_adapters, merge_adapters
from .encoders import (
    describe_encoder,
    embedding_width,
    empty_encoder,
    layer_stack,
    load_encoder,
    loading,
    with_layers,
)
from .heads import build_head
from .pooling import POOLING, attention_pooling, attention_weights, mean_of_windows
from .randomness import UseGenerator, ZeroInit


class MultiheadModule(nn.Module):
    """One encoder and one head for each task.

    Parameters
    ----------
    encoder : torch.nn.Module
        A Hugging Face encoder, or any module that takes `input_ids` and `attention_mask` and
        returns an object with `last_hidden_state`.
    heads : list of Head
        One head per task, in the order of the tasks. They have no names, because a `ModuleDict`
        refuses task names such as `type`, `keys` and `v1.2`.
    pooling : {"attention", "mean", "cls", "max"}
        Computation of a text embedding from token embeddings. With "attention", each head has its
        own text embedding, which depends on its query: a vector that the head learns.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        Precision of the matrix products in the encoder. Weights, pooling and heads are always
        float32. "auto" is bfloat16 in a training, if the hardware supports it, and float32
        otherwise.
    compile : bool, default=False
        Whether to compile the encoder for full passes without gradients.

    Attributes
    ----------
    in_training : bool
        Whether a training runs, which "auto" depends on.
    n_frozen : int or None
        Number of frozen layers at the bottom of the encoder. It is None if the whole encoder is
        frozen, and 0 if all layers train, with or without the embeddings.
    trainable_layers : int or None
        The argument of the last call of :meth:`train_encoder_layers`.
    unfreeze_log : list of int
        The value of `n_frozen` after each call of :meth:`train_encoder_layers` that left a part of
        the encoder trainable.
    """

    in_training = False

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
        # Start in evaluation mode, because the encoder may be shared with a module that predicts.
        self.training = False
        self.train_encoder_layers(0)

    def forward(
        self, rows: list[torch.Tensor], embeddings: torch.Tensor | None = None, **inputs: Any
    ) -> list[torch.Tensor]:
        """Compute the logits of each task for its texts in a batch.

        Parameters
        ----------
        rows : list of Tensor, each of shape (n_rows_of_task,)
            For each task, the positions of its texts in the batch. A head without rows is not run
            and gets no gradient.
        embeddings : Tensor of shape (n_texts, width) or None, default=None
            The output of :meth:`embed`, if it is already computed and all heads use it.
        **inputs : dict of Tensor
            The arguments of :meth:`embed`, if `embeddings` is None.

        Returns
        -------
        logits : list of Tensor, each of shape (n_rows_of_task, n_classes_of_task)
            The logits of each task.
        """
        # Heads without a learned query share one text embedding.
        read = functools.cache(self._embeddings_by_query(embeddings, **inputs))
        return [_logits(head, read, at) for head, at in zip(self.heads, rows, strict=True)]

    def _embeddings_by_query(self, embeddings, attention_mask=None, firsts=None, **inputs):
        """Return a function that maps the query of a head to the embeddings for this head."""
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
        """Encode a batch and pool the tokens of each text, without the query of a head.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of shape (n_windows, length)
            The batch, with one or several windows per text.
        firsts : Tensor of int64, shape (n_texts,), or None, default=None
            The first window of each text; None if each text has one window.
        states : Tensor of shape (n_windows, length, width) or None, default=None
            The hidden states that enter the layer given to :meth:`resume_at`. If they are given,
            only this layer and the layers above it run.
        eager : bool, default=False
            Whether to use the original encoder even if there is a compiled one, because hooks on
            its layers must run.

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
        lower = self.is_lowered(device)
        # Cached casts of weights would outlive the step that changes the weights if the caller has
        # another autocast context open.
        cast = torch.autocast(device, torch.bfloat16, cache_enabled=False)
        with cast if lower else contextlib.nullcontext():
            output = encoder(input_ids=input_ids, attention_mask=attention_mask)
        return output.last_hidden_state.float()

    def is_lowered(self, device: str) -> bool:
        """Return whether the encoder computes in bfloat16 now, on a type of device."""
        is_possible = self.in_training or self.precision != "auto"
        return is_possible and uses_bfloat16(self.precision, device)

    @contextlib.contextmanager
    def outside_of_training(self) -> Iterator[None]:
        """Context in which the module computes as in a prediction."""
        before, self.in_training = self.in_training, False
        try:
            yield
        finally:
            self.in_training = before

    def attention(
        self, head: int, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Return how much each token counts for a head with a query.

        Parameters
        ----------
        head : int
            The number of the head.
        input_ids, attention_mask : Tensor of shape (n_windows, length)
            The windows of a batch.

        Returns
        -------
        weights : Tensor of shape (n_windows, length)
            Weights that sum to 1 for each window.
        """
        tokens = self._tokens(input_ids, attention_mask)
        return attention_weights(tokens, attention_mask, self.heads[head].query)

    def _pool(self, tokens, mask, firsts, query=None):
        if query is None:
            windows = POOLING[self.pooling](tokens, mask)
        else:
            windows = attention_pooling(tokens, mask, query)
        return windows if firsts is None else mean_of_windows(windows, firsts)

    def _upper_encoder(self, states: torch.Tensor) -> PreTrainedModel:
        if self._upper is None:
            raise RuntimeError("Call resume_at with a layer before you pass states.")
        return self._upper.on(states)

    def _full_encoder(self, eager: bool) -> Callable[..., Any]:
        if eager or not self.compiles or torch.is_grad_enabled():
            return self.encoder
        if self._compiled is None:
            # A list keeps torch from registering the compiled encoder as another submodule.
            self._compiled = [torch.compile(self.encoder, dynamic=True)]
        return self._compiled[0]

    def __getstate__(self):
        """Return the state without views of the encoder: the compiled one and the upper layers."""
        return {**super().__getstate__(), "_compiled": None, "_upper": None, "in_training": False}

    @property
    def heads_share_embeddings(self) -> bool:
        """Whether no head has a learned query, so all heads use the output of `embed`."""
        return not any(map(_has_learned_query, self.heads))

    @property
    def reads_embeddings(self) -> bool:
        """Whether training needs only embeddings, because the encoder is frozen."""
        return self.n_frozen is None and self.heads_share_embeddings

    def resume_at(self, layer: int | None) -> bool:
        """Prepare to run only the layers from `layer` to the top.

        Parameters
        ----------
        layer : int or None
            The first layer to run; None ends the preparation.

        Returns
        -------
        possible : bool
            Whether the encoder has a stack of layers that can start at this layer.
        """
        self._upper = None if layer is None else UpperLayers.of(self.encoder, layer)
        return self._upper is not None

    def n_frozen_with(self, n_layers: int | None) -> int | None:
        """Return the value of `n_frozen` for `n_layers` trainable layers.

        The module is not changed.

        Raises
        ------
        ValueError
            In the same cases as :meth:`train_encoder_layers`.
        """
        if n_layers is None:
            return 0
        if n_layers == 0:
            return None
        return max(0, len(layer_stack(self.encoder)) - n_layers)

    def train_encoder_layers(self, n_layers: int | None):
        """Unfreeze the top layers of the encoder and freeze its other parts.

        Parameters
        ----------
        n_layers : int or None
            Number of trainable layers; all layers if the encoder has fewer. With None, the whole
            encoder trains, including its embeddings.

        Raises
        ------
        ValueError
            If only a part should train and the layers of the encoder are not found.
        """
        self.n_frozen = self.n_frozen_with(n_layers)
        self.trainable_layers = n_layers
        if n_layers is None:
            self._trainable = [self.encoder]
        else:
            self._trainable = layer_stack(self.encoder)[-n_layers:] if n_layers else []
        if self.n_frozen is not None:
            self.unfreeze_log.append(self.n_frozen)
        self.encoder.requires_grad_(False)
        for module in self._trainable:
            for parameter in adapters_of(module) or module.parameters():
                parameter.requires_grad_(True)
        self.train(self.training)

    def add_adapters(self, n_layers: int | None, rank: int):
        """Add adapters to the top layers, which then train instead of the weights of the layers.

        Parameters
        ----------
        n_layers : int or None
            Number of layers; None for all layers.
        rank : int
            The rank of the adapters.

        Raises
        ------
        ImportError
            If peft is not installed.
        ValueError
            If the layers of the encoder are not found.
        """
        with loading():  # it creates parameters, see build_module
            add_adapters(layer_stack(self.encoder)[-(n_layers or 0) :], rank)
        self.train_encoder_layers(self.trainable_layers)

    def merge_adapters(self):
        """Merge the adapters into the weights of the encoder."""
        merge_adapters(self.encoder)
        self._compiled = None

    def train(self, mode: bool = True) -> Self:
        """Set training mode; frozen parts of the encoder stay in evaluation mode.

        Dropout in a frozen layer would only add noise. The encoder may be shared with a module that
        predicts in another thread, so its frozen parts never leave evaluation mode, not even
        briefly.
        """
        self.training = mode
        self.heads.train(mode)
        live = {id(part) for module in self._trainable for part in module.modules()}
        for part in self.encoder.modules():
            part.training = mode and id(part) in live
        return self


def twin_of(encoder: PreTrainedModel) -> PreTrainedModel:
    """Return an encoder that shares the memory of all weights with another one, and nothing else.

    Hooks, modes and `requires_grad` of the twin do not affect the original, which may predict in
    another thread.
    """
    parameters = list(encoder.parameters())
    twins = {id(p): nn.Parameter(p.data, requires_grad=False) for p in parameters}
    return copy.deepcopy(encoder, memo=twins)


def _logits(head, read, at) -> torch.Tensor:
    """Return the logits of a head for some texts; without texts, the head is not run."""
    if len(at):
        return head(read(head.query)[at])
    return head[-1].bias.new_empty(0, len(head[-1].bias))


def _has_learned_query(head) -> bool:
    return head.query is not None and bool(head.query.any())


class UpperLayers:
    """The upper layers of an encoder, which run on the hidden states that enter them.

    Parameters
    ----------
    encoder : torch.nn.Module
        An encoder whose first layer is an :class:`_EntryLayer`.
    entry : _EntryLayer
        The first layer, which receives the hidden states.
    """

    def __init__(self, encoder: PreTrainedModel, entry: _EntryLayer):
        self.encoder = encoder
        self.entry = entry

    @classmethod
    def of(cls, encoder: PreTrainedModel, first: int) -> Self | None:
        """Return the layers from `first` on, or None if the encoder has no stack of layers."""
        layers = layer_stack(encoder)
        entry = _EntryLayer(layers[first])
        upper = with_layers(encoder, [entry, *layers[first + 1 :]])
        return None if upper is None else cls(upper, entry)

    def on(self, states: torch.Tensor) -> PreTrainedModel:
        """Return an encoder that continues from these states and ignores its input."""
        self.entry.states = states
        return self.encoder


class _EntryLayer(nn.Module):
    """A layer that uses given states instead of the output of the layer below.

    It has the attributes of the wrapped layer, because the encoder may read them.
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
        """Return an attribute of this module or of the wrapped layer."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


@contextlib.contextmanager
def states_entering(layer: nn.Module, *, stop: bool = False) -> Iterator[list[torch.Tensor]]:
    """Record the hidden states that enter a layer of an encoder.

    Parameters
    ----------
    layer : torch.nn.Module
        The layer.
    stop : bool, default=False
        Whether to stop the forward pass at this layer; its output is then not computed.

    Yields
    ------
    seen : list of Tensor
        The hidden states of each forward pass.
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
    """Stops the forward pass of an encoder when its remaining layers are not needed."""


@contextlib.contextmanager
def checkpointed_layers(encoder: PreTrainedModel, generator: torch.Generator) -> Iterator[None]:
    """Let trainable layers store only their input and recompute the rest for the gradient.

    The context is for one forward pass. Outside of it, the encoder is unchanged.

    Parameters
    ----------
    encoder : torch.nn.Module
        The encoder. Its layers are restored at the end, even after an error.
    generator : torch.Generator
        The generator for dropout. The recomputation draws the same numbers.
    """

    def contexts():
        return contextlib.nullcontext(), UseGenerator(generator.clone_state())

    try:
        layers = set(layer_stack(encoder))
    except ValueError as error:
        raise ValueError(
            f"The layers of {type(encoder).__name__} were not found, so gradient checkpointing is "
            "not possible. Set training.gradient_checkpointing to False."
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
    """Return whether an encoder trains in bfloat16 on a type of device.

    "auto" is float32 if the hardware does not support bfloat16.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Before 2.12, torch has no public function for this. If these are missing, "auto" is float32.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device == "cpu" and any(getattr(torch.cpu, name, bool)() for name in checks)


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
        Number of classes of each task.
    head : dict
        Parameters of :class:`rapidfit_sk.HeadConfig` without `init`.
    pooling : {"attention", "mean", "cls", "max"}
        Computation of a text embedding from token embeddings.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        Precision of the matrix products in the encoder.
    compile : bool, default=False
        Whether to compile the encoder.

    Returns
    -------
    module : MultiheadModule
        The module, with a frozen encoder.
    """
    # Heads are built under the same lock: while a thread loads an encoder, transformers 4 creates
    # every new parameter of the process without data.
    with loading():
        encoder = load_encoder(model_name)
        width = embedding_width(encoder)
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
    """Build a module with new heads on an existing encoder, which it shares.

    The other parameters are as in :func:`build_module`.
    """
    with loading():
        heads = [build_head(embedding_width(encoder), n, pooling, **head) for n in n_classes]
    heads = [each.to(encoder.device) for each in heads]
    return MultiheadModule(encoder, heads, pooling, precision, compile)


# --------------------------------------------------------------------------------------------
# Warm start: a larger copy of a module


def grown_copy(
    module: MultiheadModule,
    places: list[np.ndarray],
    *,
    n_classes: list[int],
    head: dict[str, Any],
    precision: str,
    compile: bool,
) -> MultiheadModule:
    """Copy a module with wider heads for new classes and additional heads for new tasks.

    Parameters
    ----------
    module : MultiheadModule
        The module to copy. It is not changed.
    places : list of ndarray of int, each of shape (n_old_classes_of_task,)
        For each head of `module`, the positions of its classes among the new classes.
    n_classes : list of int
        Number of classes of each task; the tasks of `module` come first.
    head : dict
        Parameters of :class:`rapidfit_sk.HeadConfig` without `init`.
    precision, compile
        As in :func:`build_module`.

    Returns
    -------
    module : MultiheadModule
        Outputs of old classes keep their weights, and outputs of new classes have random weights.
    """
    with loading():
        encoder, heads = copy.deepcopy(module.encoder), [*copy.deepcopy(module.heads)]
        for old, place, n in zip(heads, places, n_classes, strict=False):
            old[-1] = _widened(old[-1], place, n)
        width = embedding_width(encoder)
        for n in n_classes[len(places) :]:
            heads.append(build_head(width, n, module.pooling, **head))
    return MultiheadModule(encoder, heads, module.pooling, precision, compile)


def _widened(layer, place, n) -> nn.Linear:
    """Return an output layer with `n` outputs that has the outputs of `layer` at `place`."""
    if n == layer.out_features:
        return layer
    wider = nn.Linear(layer.in_features, n)
    with torch.no_grad():
        wider.weight[place] = layer.weight.cpu()
        wider.bias[place] = layer.bias.cpu()
    return wider


# --------------------------------------------------------------------------------------------
# Conversion of a module to plain data and arrays, and back


def module_to_parts(module: MultiheadModule) -> dict[str, Any]:
    """Return the configuration and the weights of a module as plain data and arrays.

    Returns
    -------
    parts : dict
        ``encoder`` is the configuration of the encoder, and ``weights`` maps names to arrays. If
        several names share a parameter, only the first one is included.
    """
    if adapters_of(module.encoder):  # a callback pickles the net during a training
        module = copy.deepcopy(module)
        module.merge_adapters()
    first = _first_names(module)
    state = module.state_dict()
    # Not all strides can be saved.
    weights = {
        name: state[name].cpu().contiguous().numpy() for name in first if first[name] == name
    }
    return {"encoder": describe_encoder(module.encoder), "weights": weights}


@computes
@loading()  # transformers replaces functions of torch while another thread loads
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
    """Build a module from the output of :func:`module_to_parts`, without copying the arrays.

    Parameters
    ----------
    parts : dict
        Output of :func:`module_to_parts`.
    n_classes, head, pooling, precision, compile
        As in :func:`build_module`.
    model_name : str or None
        Ignored, because nothing is looked up by name.

    Returns
    -------
    module : MultiheadModule
        The module, in evaluation mode.

    Raises
    ------
    ValueError
        If names, shapes or kinds of the weights do not match the architecture. Nothing is allocated
        in this case, unless torch cannot build the architecture without memory.
    """

    def build():
        encoder = empty_encoder(parts["encoder"])
        with loading(), ZeroInit():
            heads = [build_head(embedding_width(encoder), n, pooling, **head) for n in n_classes]
        return MultiheadModule(encoder, heads, pooling, precision, compile)

    _check_weights(_outline(build), parts["weights"])
    module = build()
    _check_weights(module, parts["weights"])
    first = _first_names(module)
    tensors = {name: _as_tensor(array) for name, array in parts["weights"].items()}
    module.load_state_dict({n: tensors[f] for n, f in first.items()}, assign=True)
    for name, other in first.items():
        if name != other:  # restore sharing, which the assignment has removed
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, module.get_parameter(other))
    return module.eval()


def _outline(build: Callable[[], MultiheadModule]) -> MultiheadModule | None:
    """Return a module without memory for its weights, or None if that is not possible."""
    try:
        with torch.device("meta"):
            return build()
    except (NotImplementedError, RuntimeError):
        return None


def _check_weights(module: MultiheadModule | None, weights: dict[str, np.ndarray]):
    """Raise ValueError if names, shapes or kinds of weights differ from those of a module."""
    if module is None:
        return
    state, first = module.state_dict(), _first_names(module)
    names = {name for name, other in first.items() if name == other}
    for name in sorted(names ^ weights.keys()):
        problem = "are missing" if name in names else "have no place in the architecture"
        raise ValueError(f"the weights {name!r} {problem}")
    for name in sorted(names):
        expected, found = tuple(state[name].shape), weights[name].shape
        if expected != found:
            raise ValueError(f"the weights {name!r} have shape {found}, expected {expected}")
        if state[name].is_floating_point() != (weights[name].dtype.kind == "f"):
            raise ValueError(f"the weights {name!r} have dtype {weights[name].dtype}")


def _first_names(module) -> dict[str, str]:
    """Map each name in the state of a module to the first name of the same tensor."""
    first: dict[int, str] = {}
    state = module.state_dict(keep_vars=True)
    return {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}


def _as_tensor(array) -> torch.Tensor:
    """Return a tensor that uses the memory of an array.

    A read-only memory map is mapped again in private mode. Processes then share its pages until one
    of them writes, and torch gets a writable array.
    """
    if isinstance(array, np.memmap) and not array.flags.writeable and array.filename:
        array = np.memmap(array.filename, array.dtype, "c", array.offset, array.shape)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
