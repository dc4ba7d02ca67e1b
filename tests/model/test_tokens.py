"""Texts are tokenized once, into one array."""

from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from tokenizers import processors

from rapidfit_sk._model.encoders import load_tokenizer
from rapidfit_sk._model.tokens import TextTokenizer
from rapidfit_sk._training.batches import PaddedTokens
from rapidfit_sk.testing import tiny_encoder


def test_ids_match_the_tokenizer(encoder_name):
    """The ids of a text are the tokenizer's ids for it alone, including special tokens."""
    tokenizer = load_tokenizer(encoder_name)
    texts = ["Do you ship to Norway?", "", "Why!"]
    tokens = TextTokenizer(tokenizer, 32)(texts)
    assert len(tokens) == 3
    assert tokens.ids.dtype == np.int32
    for i, text in enumerate(texts):
        ids = tokens.ids[tokens.starts[i] : tokens.starts[i + 1]]
        assert ids.tolist() == tokenizer(text)["input_ids"]
    assert tokens.lengths.tolist() == [len(tokenizer(text)["input_ids"]) for text in texts]


def test_empty_text_has_a_token(encoder_name):
    """An empty text has a token, even if the tokenizer adds no special tokens."""
    tokenizer = load_tokenizer(encoder_name)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    tokens = TextTokenizer(tokenizer, 32)(["", "why"])
    assert tokens.lengths[0] == 1
    assert tokens.ids[0] == tokenizer.pad_token_id


@pytest.mark.parametrize(
    ("architecture", "name"), [("gpt2", "eos"), ("llama", "eos"), ("opt", "pad")]
)
def test_padding_without_a_padding_token(architecture, name):
    """A tokenizer without a padding token pads with its end token; the vocabulary is the same."""
    tokenizer = load_tokenizer(tiny_encoder(architecture=architecture))
    n, pad = len(tokenizer), tokenizer.pad_token_id
    tokens = TextTokenizer(tokenizer, 32)(["why", "", "Do you ship to Norway?"])
    padding = getattr(tokenizer, f"{name}_token_id")
    assert tokens.padding == padding
    inputs = PaddedTokens(tokens).inputs(np.arange(3))
    assert (inputs["input_ids"][inputs["attention_mask"] == 0] == padding).all()
    assert inputs["attention_mask"].sum(1).tolist() == tokens.lengths.tolist()
    assert inputs["attention_mask"][:, 0].all()  # padding follows the text
    assert (len(tokenizer), tokenizer.pad_token_id) == (n, pad)


def test_empty_text_of_a_causal_encoder():
    """An empty text is the end token if the tokenizer adds no special tokens, not a word."""
    tokenizer = load_tokenizer(tiny_encoder(architecture="gpt2"))
    tokens = TextTokenizer(tokenizer, 32)(["", "!"])
    assert tokens.ids.tolist() == [tokenizer.eos_token_id, tokenizer("!")["input_ids"][0]]


def test_texts_are_cut(encoder_name):
    """No text is longer than max_length, and a cut text ends with the special token."""
    tokenizer = load_tokenizer(encoder_name)
    tokens = TextTokenizer(tokenizer, 6)(["one two three four five six seven", "one"])
    assert tokens.lengths[0] == 6
    assert tokens.ids[5] == tokenizer.sep_token_id


LONG = " ".join(f"word{number}" for number in range(40))


def read(encoder_name, long_text, max_length=16):
    tokenizer = TextTokenizer(load_tokenizer(encoder_name), max_length, long_text)
    tokens = tokenizer(["short", LONG, ""])
    pieces = [tokens.ids[a:b].tolist() for a, b in pairwise(tokens.starts)]
    return [pieces[a:b] for a, b in pairwise(tokens.firsts)]


def test_head_and_tail(encoder_name):
    """Half of the tokens come from each end of the text, including special tokens."""
    whole = read(encoder_name, "truncate", max_length=10_000)[1][0]
    short, (cut,), _ = read(encoder_name, "head_tail")
    assert cut == whole[:8] + whole[-8:]
    assert short == read(encoder_name, "truncate")[0]


@pytest.mark.parametrize("architecture", ["bert", "roberta", "t5", "deberta-v2"])
def test_windows_contain_the_whole_text(architecture):
    """Windows of equal length contain all tokens in order, each with special tokens."""
    folder = tiny_encoder(architecture=architecture)
    whole = read(folder, "truncate", max_length=10_000)[1][0]
    texts = read(folder, "windows")
    tokenizer = load_tokenizer(folder)
    n_before, n_after = TextTokenizer(tokenizer, 16, "windows").rules.n_special
    inner = [piece[n_before : len(piece) - n_after] for piece in texts[1]]
    assert list(chain.from_iterable(inner)) == whole[n_before : len(whole) - n_after]
    assert max(map(len, texts[1])) <= 16
    assert max(map(len, inner)) - min(map(len, inner)) <= 1
    assert {tuple(piece[:n_before]) for piece in texts[1]} == {tuple(whole[:n_before])}
    assert [len(text) for text in texts] == [1, len(texts[1]), 1]


def test_an_embedding_of_windows_is_their_mean(make_classifier, messages):
    """The embedding of a text of two windows is their mean, also within a batch."""
    classifier = make_classifier(max_length=16, long_text="windows").fit(messages)
    module, tokenizer = classifier.net_.module_, classifier.tokenizer_
    tokens = tokenizer(["short", LONG, "another one"])
    with torch.no_grad():
        together = module.embed(**PaddedTokens(tokens).inputs(np.arange(3)))
        firsts = tokens.firsts[1:3]
        alone = [
            module.embed(torch.as_tensor(tokens.ids[a:b])[None].long(), torch.ones(1, b - a))
            for a, b in pairwise(tokens.starts[firsts[0] : firsts[1] + 1])
        ]
    torch.testing.assert_close(together[1], torch.cat(alone).mean(0), atol=1e-5, rtol=1e-4)


def test_windows_train_with_the_activation_cache(make_classifier, messages):
    """The activation cache does not change the training on windows."""
    texts = messages["text"] + " " + messages["text"] + " " + messages["text"]
    rows = messages.assign(text=texts).head(200)
    options = {"max_length": 16, "long_text": "windows", "epochs": 2}
    kept, bare = (
        make_classifier(cache_memory=room, cache_disk=room, **options).fit(rows)
        for room in (0.25, 0)
    )
    for task, p in kept.predict_proba(rows["text"].unique()).items():
        np.testing.assert_allclose(p, bare.predict_proba(rows["text"].unique())[task], atol=1e-3)
