"""Private generators replace the global ones and keep the distributions."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rapidfit_sk._model.randomness import UseGenerator, private_seeds


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_seeds():
    """An int always gives the same seeds; None gives new ones and does not change numpy's state."""
    assert private_seeds(3, 4) == private_seeds(3, 4)
    assert private_seeds(3, 4) != private_seeds(4, 4)
    state = np.random.get_state()[1].copy()
    assert private_seeds(None, 4) != private_seeds(None, 4)
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: nn.Linear(3, 4).weight.detach(),
        lambda: nn.Embedding(3, 4).weight.detach(),
        lambda: F.dropout(torch.ones(50), 0.5),
        lambda: nn.Dropout(0.5)(torch.ones(50)),
        lambda: torch.rand(5),
        lambda: torch.randperm(50),
        lambda: torch.empty(5).normal_(),
        lambda: F.scaled_dot_product_attention(*[torch.ones(1, 2, 5, 4)] * 3, dropout_p=0.5),
    ],
)
def test_draws_are_private_and_repeatable(draw):
    """The same generator gives the same values, and the global state does not change."""
    before = torch.random.get_rng_state()
    with UseGenerator(generator()):
        first = draw()
    with UseGenerator(generator()):
        second = draw()
    with UseGenerator(generator(1)):
        other = draw()
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_dropout_drops_its_share():
    """Dropped values are 0, and other values are scaled to keep the mean."""
    ones = torch.ones(100_000)
    with UseGenerator(generator()):
        result = F.dropout(ones, 0.25)
        assert F.dropout(ones, 0.25, training=False) is ones
        assert F.dropout(ones, 1.0).sum() == 0
    torch.testing.assert_close(result.unique(), torch.tensor([0.0, 4 / 3]))
    assert abs((result == 0).float().mean() - 0.25) < 0.01


def test_dropout_gradient():
    """The gradient passes through the kept values with their scale."""
    x = torch.ones(100, requires_grad=True)
    with UseGenerator(generator()):
        result = F.dropout(x, 0.5)
    result.sum().backward()
    assert torch.equal(x.grad, result.detach())


@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal"])
def test_attention_is_torch_attention(mask):
    """With hardly any dropout, attention equals torch's attention for every kind of mask."""
    query, key, value = torch.randn(3, 2, 4, 6, 8, generator=generator())
    options = {"scale": 0.3}
    if mask == "causal":
        options["is_causal"] = True
    elif mask != "none":
        allowed = torch.rand(2, 1, 6, 6, generator=generator()) < 0.7
        allowed |= torch.eye(6, dtype=torch.bool)
        lowest = torch.zeros(2, 1, 6, 6).masked_fill(~allowed, -torch.inf)
        options["attn_mask"] = allowed if mask == "bool" else lowest
    expected = F.scaled_dot_product_attention(query, key, value, **options)
    with UseGenerator(generator()):
        result = F.scaled_dot_product_attention(query, key, value, dropout_p=1e-7, **options)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_attention_with_all_keys_masked():
    """If all keys are masked, the result is 0 as in torch, and gradients are finite."""
    query = torch.randn(1, 1, 3, 8, generator=generator(), requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])
    with UseGenerator(generator()):
        result = F.scaled_dot_product_attention(query, query, query, mask, dropout_p=1e-7)
    expected = F.scaled_dot_product_attention(query, query, query, mask)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    result.sum().backward()
    assert query.grad.isfinite().all()


def test_grouped_query_attention():
    """Fewer key heads than query heads are shared as in torch."""
    query, key = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8)
    options = {"enable_gqa": True}
    expected = F.scaled_dot_product_attention(query, key, key, **options)
    with UseGenerator(generator()):
        result = F.scaled_dot_product_attention(query, key, key, dropout_p=1e-7, **options)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_attention_dropout_drops():
    """Dropout acts on attention weights: with values of 1, results differ from 1."""
    ones = torch.ones(1, 1, 50, 4)
    with UseGenerator(generator()):
        result = F.scaled_dot_product_attention(ones, ones, ones, dropout_p=0.5)
    assert result.std() > 0.05
    assert abs(result.mean() - 1) < 0.1


@pytest.mark.parametrize("p", [1e-7, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_rate_and_scale(p, dtype):
    """The dropped share is p, the scale compensates for it, and neighbors are independent."""
    x = torch.ones(101, 999, dtype=dtype)
    with UseGenerator(generator()):
        y = F.dropout(x, p).float()
    kept = y != 0
    assert abs(kept.float().mean() - (1 - p)) < 4 * (p * (1 - p) / x.numel()) ** 0.5 + 2**-16
    if kept.any():
        assert y[kept].unique().numel() == 1
        assert y.isfinite().all()
    if 0.05 < p < 0.95:
        assert y.mean() == pytest.approx(1, abs=0.02)
        for shift in (1, 2, 3, 4):  # four values come from one random word
            together = (kept.flatten()[shift:] & kept.flatten()[:-shift]).float().mean()
            assert together == pytest.approx((1 - p) ** 2, abs=0.01)
