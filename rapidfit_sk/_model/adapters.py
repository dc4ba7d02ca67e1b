"""LoRA adapters: small matrices that train instead of the weights of linear layers."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from torch import nn
from transformers.pytorch_utils import Conv1D

# Factor of the product of the two matrices of an adapter. With it and a rank of 8, a step changes a
# weight about as much as a step of the same learning rate does without adapters.
_SCALE = 16


def add_adapters(layers: Iterable[nn.Module], rank: int):
    """Add an adapter to each linear layer inside some layers of an encoder.

    The output of the layers does not change, because one matrix of each adapter is zero.

    Parameters
    ----------
    layers : iterable of torch.nn.Module
        Layers of an encoder; a layer may occur several times.
    rank : int
        The rank of the adapters.

    Raises
    ------
    ImportError
        If peft is not installed.
    """
    peft = _import_peft()
    for layer in dict.fromkeys(layers):
        linear = {n: part for n, part in layer.named_modules() if isinstance(part, _LINEAR)}
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=_SCALE * rank,
            target_modules=list(linear),
            fan_in_fan_out=any(isinstance(part, Conv1D) for part in linear.values()),
        )
        peft.inject_adapter_in_model(config, layer)
        del layer.peft_config


def adapters_of(module: nn.Module) -> list[nn.Parameter]:
    """Return the matrices of all adapters inside a module."""
    return [p for name, p in module.named_parameters() if ".lora_" in name]


def merge_adapters(module: nn.Module):
    """Add the product of each adapter to the weights of its layer, and remove the adapter."""
    layers = {n: part for n, part in module.named_modules() if hasattr(part, "base_layer")}
    for name, layer in layers.items():
        layer.merge()
        module.set_submodule(name, layer.base_layer)


# Conv1D is a linear layer with a transposed weight, which GPT-2 uses.
_LINEAR = (nn.Linear, Conv1D)


def _import_peft() -> ModuleType:
    try:
        import peft
    except ImportError as error:
        raise ImportError(
            "encoder.adapter='lora' needs the package peft. Install it with "
            'pip install "rapidfit-sk[peft]", or set encoder.adapter to None.'
        ) from error
    return peft
