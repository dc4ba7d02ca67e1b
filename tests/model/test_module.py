"""Pooling, heads and freezing of the module, for each architecture."""

import numpy as np
import pytest
import torch
from torch import nn

from rapidfit_sk import HeadConfig
from rapidfit_sk._model.encoders import layer_stack, load_encoder, load_tokenizer
from rapidfit_sk._model.heads import build_head
from rapidfit_sk._model.module import MultiheadModule, build_module
from rapidfit_sk._model.pooling import POOLING, attention_pooling
from rapidfit_sk._model.tokens import TextTokenizer
from rapidfit_sk._training.batches import PaddedTokens, TextRows
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

HEAD = HeadConfig(hidden_layers=1, dropout=0.0, normalize=False)._layout()
TEXTS = ["Why?", "Do you ship to Norway, and what does it cost?", "It broke."]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request):
    """A tiny encoder with four layers, for each architecture."""
    return tiny_encoder(architecture=request.param)


def module_of(folder, pooling="mean"):
    return build_module(model_name=folder, n_classes=[3, 2], head=HEAD, pooling=pooling)


def batch_of(folder, texts):
    tokens = TextTokenizer(load_tokenizer(folder), 64)(texts)
    n = len(texts)
    rows = TextRows(tokens, np.arange(n), np.zeros(n, int), 2)
    return rows.batch(np.arange(n), PaddedTokens(tokens)).inputs


@pytest.mark.parametrize("pooling", POOLING)
def test_padding_is_ignored(folder, pooling):
    """Padding does not change the embedding of a text, for each pooling."""
    module = module_of(folder, pooling).eval()
    inputs = batch_of(folder, TEXTS)
    with torch.no_grad():
        together = module.embed(inputs["input_ids"], inputs["attention_mask"])
        for i, text in enumerate(TEXTS):
            one = batch_of(folder, [text])
            alone = module.embed(one["input_ids"], one["attention_mask"])
            torch.testing.assert_close(together[i : i + 1], alone, atol=2e-5, rtol=1e-4)


def test_logits_have_the_shape_of_their_tasks(folder):
    """Each head returns logits for the rows of its task, and none if there are no rows."""
    inputs = batch_of(folder, TEXTS)
    inputs["rows"] = [torch.tensor([0, 2, 0]), torch.tensor([], dtype=torch.int64)]
    logits = module_of(folder)(**inputs)
    assert [tuple(part.shape) for part in logits] == [(3, 3), (0, 2)]
    torch.testing.assert_close(logits[0][0], logits[0][2])


def changed_parameters(module, inputs):
    """Take a large step and return the names of the parameters that changed."""
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    logits = module(**inputs)
    sum((part**2).sum() for part in logits).backward()
    optimizer.step()
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("k", [0, 1, 3])
def test_exactly_the_top_layers_train(folder, k):
    """With k unfrozen layers, these layers and the heads train, and nothing else does."""
    module = module_of(folder)
    module.train_encoder_layers(k)
    names = {id(p): name for name, p in module.named_parameters()}
    top = layer_stack(module.encoder)[-k:] if k else []
    expected = {names[id(p)] for layer in top for p in layer.parameters()}
    inputs = batch_of(folder, TEXTS)
    inputs["rows"] = [torch.arange(3), torch.arange(3)]
    found = changed_parameters(module, inputs)
    assert {name for name in found if name.startswith("heads")} == {
        name for name, _ in module.named_parameters() if name.startswith("heads")
    }
    in_encoder = {name for name in found if name.startswith("encoder")}
    assert in_encoder <= expected
    # Key biases have no gradient, because they shift all scores of a query equally.
    assert all(_may_stay(name) for name in expected - in_encoder), expected - in_encoder


def _may_stay(name):
    return name.endswith("bias") and any(
        key in name for key in ("key", "k_lin", "k_proj", ".k.", "pos_")
    )


def test_all_of_the_encoder_trains(folder):
    """unfreeze_layers=None also trains the embeddings."""
    module = module_of(folder)
    module.train_encoder_layers(None)
    inputs = batch_of(folder, TEXTS)
    inputs["rows"] = [torch.arange(3), torch.arange(3)]
    embedding = module.encoder.get_input_embeddings().weight
    before = embedding.detach().clone()
    changed_parameters(module, inputs)
    assert not torch.equal(embedding, before)


def test_more_trainable_layers_than_the_encoder_has(folder):
    """A k above the number of layers trains all layers, but not the embeddings."""
    module = module_of(folder)
    module.train_encoder_layers(99)
    stack = layer_stack(module.encoder)
    assert all(p.requires_grad for layer in stack for p in layer.parameters())
    assert not module.encoder.get_input_embeddings().weight.requires_grad


def test_frozen_parts_run_without_dropout(encoder_name):
    """In training mode, frozen parts of the encoder stay in evaluation mode."""
    module = module_of(encoder_name)
    module.train()
    assert not any(part.training for part in module.encoder.modules())
    assert all(part.training for part in module.heads.modules())
    module.train_encoder_layers(1)
    top = set(layer_stack(module.encoder)[-1].modules())
    assert {part for part in module.encoder.modules() if part.training} == top
    module.eval()
    assert not any(part.training for part in module.modules())


def test_unknown_layout_is_refused_only_for_a_part(encoder_name):
    """If layers are not found, it is still possible to train none or all of the encoder."""
    encoder = load_encoder(encoder_name)
    encoder.encoder.layer, encoder.encoder.blocks = None, encoder.encoder.layer
    module = MultiheadModule(encoder, [nn.Linear(32, 2)], "mean")
    module.train_encoder_layers(None)
    with pytest.raises(ValueError, match="were not found"):
        module.train_encoder_layers(2)


def test_poolings_by_hand():
    """Mean, first token and maximum ignore padding."""
    states = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [100.0, 100.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert POOLING["mean"](states, mask).tolist() == [[2.0, -3.0]]
    assert POOLING["cls"](states, mask).tolist() == [[1.0, -4.0]]
    assert POOLING["max"](states, mask).tolist() == [[3.0, -2.0]]


def test_attention_by_hand():
    """Attention without a query is the mean; with a query, it uses a softmax of its scores."""
    states = torch.tensor([[[1.0, -1.0], [3.0, 3.0], [100.0, -100.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert attention_pooling(states, mask, torch.zeros(2)).tolist() == [[2.0, 1.0]]
    # The keys are (1, -1) and (1, 1), the scores 5 * (0, 0.2) and 5 * (0, -0.2).
    for sign in (1, -1):
        share = 1 / (1 + np.exp(-sign))
        found = attention_pooling(states, mask, sign * torch.tensor([0.1, 0.1]))
        expected = torch.tensor([[1 + 2 * share, -1 + 4 * share]], dtype=torch.float32)
        torch.testing.assert_close(found, expected)


def with_queries(module):
    """Give each head of a module a different query."""
    with torch.no_grad():
        for i, head in enumerate(module.heads):
            head.query[i] = 1.0
    return module


def test_each_head_has_its_own_query(folder):
    """Heads without a query use the output of `embed`; other heads have their own embedding."""
    module = module_of(folder, "attention").eval()
    inputs = {**batch_of(folder, TEXTS), "rows": 2 * [torch.arange(3)]}
    with torch.no_grad():
        given = {"rows": inputs["rows"]}
        mean = module(**given, embeddings=module.embed(*list(inputs.values())[:2]))
        for part, other in zip(module(**inputs), mean, strict=True):
            torch.testing.assert_close(part, other, atol=2e-5, rtol=1e-4)
        assert module.heads_share_embeddings
        logits = with_queries(module)(**inputs)
        assert not module.heads_share_embeddings
        assert all(not torch.equal(a, b) for a, b in zip(logits, mean, strict=True))
        for i, text in enumerate(TEXTS):  # padding does not change the logits
            one = {**batch_of(folder, [text]), "rows": 2 * [torch.tensor([0])]}
            for part, alone in zip(logits, module(**one), strict=True):
                torch.testing.assert_close(part[i : i + 1], alone, atol=2e-5, rtol=1e-4)


def test_windows_are_pooled_by_the_query_and_averaged():
    """The logits of a text of two windows are the mean of the logits of both windows."""
    folder, head = tiny_encoder(), {**HEAD, "hidden_layers": 0}
    module = build_module(model_name=folder, n_classes=[3], head=head, pooling="attention")
    inputs, module = batch_of(folder, TEXTS), with_queries(module).eval()
    with torch.no_grad():
        (each,) = module(**{**inputs, "rows": [torch.arange(3)]})
        firsts = torch.tensor([0, 2])
        (texts,) = module(**{**inputs, "rows": [torch.arange(2)], "firsts": firsts})
    torch.testing.assert_close(texts, torch.stack([each[:2].mean(0), each[2]]))


@pytest.mark.parametrize("hidden_layers", [0, 1, 3])
def test_head_shapes(hidden_layers):
    """A head has the requested number and width of hidden layers."""
    layout = {"hidden_multiplier": 1.5, "activation": "silu", "dropout": 0.1, "normalize": False}
    head = build_head(10, 4, "mean", hidden_layers=hidden_layers, **layout)
    linear = [layer for layer in head if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [15] * hidden_layers + [4]
    assert sum(isinstance(layer, nn.SiLU) for layer in head) == hidden_layers
    assert sum(isinstance(layer, nn.Dropout) for layer in head) == max(1, hidden_layers)
    assert head(torch.ones(2, 10)).shape == (2, 4)
