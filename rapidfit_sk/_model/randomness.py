"""Private random generators that replace torch's global generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def private_seeds(random_state: int | np.random.RandomState | None, n: int) -> list[int]:
    """Derive `n` independent seeds from scikit-learn's `random_state`.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        None uses fresh entropy of the operating system. scikit-learn would use numpy's global
        generator, which a fit should not change.
    n : int
        Number of seeds.

    Returns
    -------
    seeds : list of int
        Seeds for generators of numpy and torch.
    """
    if random_state is None:
        return [int(seed) for seed in np.random.SeedSequence().generate_state(n)]
    return [int(seed) for seed in check_random_state(random_state).randint(2**31 - 1, size=n)]


class UseGenerator(TorchFunctionMode):
    """Context in which torch's random functions use a private generator.

    Parameters
    ----------
    generator : torch.Generator
        A generator on the device of the tensors.

    Notes
    -----
    Dropout takes no generator, so each `Dropout` in a pretrained encoder uses the global one. Two
    fits in two threads would then disturb each other, and a fit would change the numbers that the
    user draws next. A torch function mode affects only the current thread [1]_ and intercepts the
    functional form of dropout, whichever module calls it. It adds a microsecond to each call.

    It does not intercept random calls inside torch's own composite functions, such as
    `torch.nn.functional.multi_head_attention_forward`, or inside recurrent layers. The encoders of
    transformers do not use these.

    References
    ----------
    .. [1] https://docs.pytorch.org/docs/stable/notes/extending.html
    """

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Call `func` with the private generator if it draws random numbers."""
        kwargs = kwargs or {}
        if func in _REPLACED:
            return _REPLACED[func](self.generator, *args, **kwargs)
        if self._wants_generator(func, args, kwargs):
            kwargs = {**kwargs, "generator": self.generator}
        return func(*args, **kwargs)

    def _wants_generator(self, func, args, kwargs):
        if getattr(func, "__name__", "") not in _TAKE_GENERATOR or kwargs.get("generator"):
            return False
        tensor = _first_tensor(args, kwargs)
        device = torch.device(kwargs.get("device") or "cpu") if tensor is None else tensor.device
        return device.type == self.generator.device.type


class ZeroInit(UseGenerator):
    """Context in which tensors are filled with zeros instead of random numbers.

    It is for modules whose weights are loaded afterwards, because drawing millions of numbers only
    to replace them would take most of the loading time. Zeros are safe:
    `torch.nn.init.trunc_normal_` draws until all numbers are in range. Functions that return new
    random tensors use a private generator.
    """

    def __init__(self):
        super().__init__(torch.Generator())

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Call `func`, or fill its tensor with zeros if `func` fills it with random numbers."""
        tensor = _first_tensor(args, kwargs or {})
        if tensor is not None and getattr(func, "__name__", "") in _FILL_AT_RANDOM:
            with torch.no_grad():
                return tensor.zero_()
        return super().__torch_function__(func, types, args, kwargs)


def _first_tensor(args, kwargs) -> torch.Tensor | None:
    """Return the tensor of a call; functions of `torch.nn.init` pass it as a keyword."""
    given = args[0] if args else kwargs.get("tensor", kwargs.get("input"))
    return given if isinstance(given, torch.Tensor) else None


def rand_like(generator, input, **kwargs):
    """Draw as `torch.rand_like` does, with a generator, which it does not take."""
    return torch.rand(input.shape, generator=generator, **_like(input, kwargs))


def randn_like(generator, input, **kwargs):
    """Draw as `torch.randn_like` does, with a generator, which it does not take."""
    return torch.randn(input.shape, generator=generator, **_like(input, kwargs))


def _like(tensor, kwargs) -> dict[str, Any]:
    """Return the options of a new tensor that has the type and the device of another one."""
    given = {key: value for key, value in kwargs.items() if value is not None}
    given.pop("memory_format", None)
    return {"dtype": tensor.dtype, "device": tensor.device} | given


def dropout(generator, input, p=0.5, training=True, inplace=False):
    """Apply dropout as `torch.nn.functional.dropout` does, with a generator."""
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0
    scale = _dropout_scale(generator, input, p)
    return input.mul_(scale) if inplace else input * scale


def _dropout_scale(generator, input, p):
    """Return a factor for each value: 0 if it is dropped, otherwise the inverse keep probability.

    On a CPU, torch draws each Bernoulli variable from 64 random bits, one after the other, which
    takes longer than the layer itself. This function uses 16 bits per variable, so p is rounded to
    a multiple of 2 ** -16.
    """
    if input.device.type != "cpu":
        return torch.empty_like(input).bernoulli_(1 - p, generator=generator).div_(1 - p)
    n, n_dropped = input.numel(), min(round(p * 2**16), 2**16 - 1)
    words = torch.empty(-(-n // 4), dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    bits = words.view(torch.int16)[:n].view(input.shape)
    return (bits >= n_dropped - 2**15).to(input.dtype).mul_(2**16 / (2**16 - n_dropped))


def attention(
    generator,
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    scale=None,
    enable_gqa=False,
):
    """Compute `torch.nn.functional.scaled_dot_product_attention` with a generator for dropout.

    Without dropout, it calls that function. With dropout on a CPU, torch takes this slower path as
    well. The formula is the one in torch's documentation.
    """
    if dropout_p == 0:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if enable_gqa:
        groups = query.size(-3) // key.size(-3)
        key, value = (tensor.repeat_interleave(groups, -3) for tensor in (key, value))
    factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    scores = query @ key.transpose(-2, -1) * factor  # (n_texts, n_heads, length, length)
    if is_causal:
        attn_mask = torch.ones_like(scores, dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    shares = scores.softmax(-1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # If all keys of a query are masked, the softmax is nan; its weights must be 0.
        shares = shares.masked_fill(~attn_mask, 0)
    return dropout(generator, shares, dropout_p) @ value


_REPLACED: dict[Callable[..., Any], Callable[..., torch.Tensor]] = {
    F.dropout: dropout,
    F.scaled_dot_product_attention: attention,
    torch.rand_like: rand_like,
    torch.randn_like: randn_like,
}

# Functions that fill a tensor with random numbers and take a generator.
_FILL_WITH_GENERATOR = {
    "bernoulli_",
    "cauchy_",
    "exponential_",
    "geometric_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "log_normal_",
    "normal_",
    "random_",
    "uniform_",
}
# These initializers call the functions above, which is slower than filling a tensor with zeros.
_FILL_AT_RANDOM = _FILL_WITH_GENERATOR | {
    "orthogonal_",
    "trunc_normal_",
    "xavier_normal_",
    "xavier_uniform_",
}

# Functions are compared by name, because transformers replaces those in torch.nn.init.
_TAKE_GENERATOR = _FILL_WITH_GENERATOR | {
    "bernoulli",
    "multinomial",
    "normal",
    "poisson",
    "rand",
    "randint",
    "randn",
    "randperm",
}
