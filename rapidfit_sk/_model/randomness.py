"""Private random generators: nothing here draws from, or seeds, a global one."""

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
    """Turn scikit-learn's `random_state` into `n` independent seeds.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        None means fresh entropy from the operating system. scikit-learn would draw from numpy's
        global generator here, which a fit should leave as it was.
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
    """A context in which torch's random functions draw from a generator of our own.

    Parameters
    ----------
    generator : torch.Generator
        A generator on the device that the tensors are on.

    Notes
    -----
    Dropout takes no generator, so each `Dropout` in a pretrained encoder draws from the global
    one: two fits in two threads then disturb each other, and every fit changes what the user
    draws next. A torch function mode holds for the current thread only [1]_ and sees the
    functional form of dropout, whichever module calls it. It adds a microsecond to each call.

    What it does not see is a random call inside of one of torch's own composite functions, such
    as `torch.nn.functional.multi_head_attention_forward` or a recurrent layer. The encoders of
    transformers are not built on those.

    References
    ----------
    .. [1] https://docs.pytorch.org/docs/stable/notes/extending.html
    """

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Replace `func` where it draws random numbers."""
        kwargs = kwargs or {}
        if func in _REPLACED:
            return _REPLACED[func](self.generator, *args, **kwargs)
        if self._wants_generator(func, args, kwargs):
            kwargs = {**kwargs, "generator": self.generator}
        return func(*args, **kwargs)

    def _wants_generator(self, func, args, kwargs):
        if getattr(func, "__name__", "") not in _TAKE_GENERATOR or kwargs.get("generator"):
            return False
        on_tensor = args and isinstance(args[0], torch.Tensor)
        device = args[0].device if on_tensor else torch.device(kwargs.get("device") or "cpu")
        return device.type == self.generator.device.type


class ZeroInit(TorchFunctionMode):
    """A context in which tensors are filled with zeros instead of random numbers.

    For a module whose weights are at hand already: drawing millions of numbers that are then
    replaced would be most of the time of loading. Zeros, since `torch.nn.init.trunc_normal_`
    draws until all numbers are in range.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Replace `func` where it fills a tensor with random numbers."""
        if args and getattr(func, "__name__", "") in _FILL_AT_RANDOM:
            return args[0].zero_()
        return func(*args, **(kwargs or {}))


def dropout(generator, input, p=0.5, training=True, inplace=False):
    """Drop values as `torch.nn.functional.dropout` does, with a generator."""
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0
    scale = _dropout_scale(generator, input, p)
    return input.mul_(scale) if inplace else input * scale


def _dropout_scale(generator, input, p):
    """Return 0 where a value is dropped, and where it is kept what makes up for that.

    On a CPU torch draws a Bernoulli variable from 64 random bits, one after the other, which takes
    longer than the layer. Here 16 bits make one, and p is rounded to a multiple of 2 ** -16.
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
    """Attend as `torch.nn.functional.scaled_dot_product_attention` does, with a generator.

    Without dropout it is that function; with dropout torch takes this slower path itself on a
    CPU. The formula is the one in its documentation.
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
        # A query that sees no key has no shares; the softmax of nothing is not a number.
        shares = shares.masked_fill(~attn_mask, 0)
    return dropout(generator, shares, dropout_p) @ value


_REPLACED: dict[Callable[..., Any], Callable[..., torch.Tensor]] = {
    F.dropout: dropout,
    F.scaled_dot_product_attention: attention,
}

_FILL_AT_RANDOM = {"normal_", "uniform_"}

# By name: transformers puts functions of its own in the place of those of torch.nn.init.
_TAKE_GENERATOR = {
    "bernoulli",
    "bernoulli_",
    "kaiming_uniform_",
    "multinomial",
    "normal",
    "normal_",
    "rand",
    "randint",
    "randn",
    "random_",
    "randperm",
    "uniform_",
}
