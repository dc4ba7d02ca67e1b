"""Texts are tokenized once, end to end in one array."""

import numpy as np
from tokenizers import processors

from rapidfit_sk._encoders import load_tokenizer
from rapidfit_sk._tokens import TextTokenizer


def test_ids_are_those_of_the_tokenizer(encoder_name):
    """Each text has the ids that the tokenizer gives it alone, special tokens included."""
    tokenizer = load_tokenizer(encoder_name)
    texts = ["Do you ship to Norway?", "", "Why!"]
    tokens = TextTokenizer(tokenizer, 32)(texts)
    assert len(tokens) == 3
    assert tokens.ids.dtype == np.int32
    for i, text in enumerate(texts):
        ids = tokens.ids[tokens.starts[i] : tokens.starts[i + 1]]
        assert ids.tolist() == tokenizer(text)["input_ids"]
    assert tokens.lengths.tolist() == [len(tokenizer(text)["input_ids"]) for text in texts]


def test_no_text_is_without_tokens(encoder_name):
    """Where a tokenizer adds no special tokens, an empty text still has one to read."""
    tokenizer = load_tokenizer(encoder_name)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    tokens = TextTokenizer(tokenizer, 32)(["", "why"])
    assert tokens.lengths[0] == 1
    assert tokens.ids[0] == tokenizer.pad_token_id


def test_texts_are_cut(encoder_name):
    """No text is longer than max_length, and a cut one still ends with the special token."""
    tokenizer = load_tokenizer(encoder_name)
    tokens = TextTokenizer(tokenizer, 6)(["one two three four five six seven", "one"])
    assert tokens.lengths[0] == 6
    assert tokens.ids[5] == tokenizer.sep_token_id
