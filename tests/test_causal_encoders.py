"""Classifiers on causal encoders such as GPT-2, OPT and Llama."""

import pickle

import joblib
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

from rapidfit_sk import EncoderConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk._model import embedding_width, layer_stack, load_tokenizer
from rapidfit_sk.testing import tiny_encoder

CAUSAL = ["gpt2", "opt", "llama"]
TEXTS = ["Why?", "", "Do you ship to Norway, and what does it cost?", "It broke. " * 12]
LONG = [f"{text} {'and so on ' * 40}{text[::-1]}" for text in TEXTS]


@pytest.fixture(scope="module", params=CAUSAL)
def folder(request):
    """A tiny causal encoder with six layers."""
    return tiny_encoder(architecture=request.param, n_layers=6)


@pytest.fixture(scope="module")
def rows(messages):
    """Two tasks with few rows."""
    return messages[messages["task"].isin(["intent", "sentiment"])].head(60)


def assert_same(one, other, texts=(*TEXTS, *LONG), atol=0.0):
    """Check that two classifiers predict the same probabilities."""
    expected, found = one.predict_proba(texts), other.predict_proba(texts)
    assert expected.keys() == found.keys()
    for task, p in expected.items():
        np.testing.assert_allclose(found[task], p, atol=atol, rtol=0)


def test_default_configuration(folder, rows):
    """A fit with the default configuration trains the top four layers, and nothing below them."""
    config = MultiheadConfig(training=TrainingConfig(model_name=folder, epochs=2))
    classifier = MultiheadClassifier(config, random_state=0).fit(rows)
    before, after = AutoModel.from_pretrained(folder), classifier.net_.module_.encoder
    assert after.config.num_hidden_layers == 6
    changed = [
        any(not torch.equal(a, b) for a, b in zip(x.parameters(), y.parameters(), strict=True))
        for x, y in zip(layer_stack(before), layer_stack(after), strict=True)
    ]
    assert changed == [False, False, True, True, True, True]
    one, other = before.get_input_embeddings().weight, after.get_input_embeddings().weight
    assert torch.equal(one, other)
    assert classifier.tokenizer_.tokenizer.get_vocab() == load_tokenizer(folder).get_vocab()


@pytest.mark.parametrize("pooling", ["attention", "mean", "max"])
def test_padding_does_not_change_probabilities(make_classifier, folder, rows, pooling):
    """The probabilities of a text do not depend on the lengths of the texts in its batch."""
    classifier = make_classifier(model_name=folder, pooling=pooling).fit(rows)
    together = classifier.predict_proba(TEXTS)
    for i, text in enumerate(TEXTS):
        for task, p in classifier.predict_proba([text]).items():
            np.testing.assert_allclose(p[0], together[task][i], atol=1e-6)


@pytest.mark.filterwarnings("ignore:Texts are cut")
@pytest.mark.parametrize("long_text", ["truncate", "head_tail", "windows"])
def test_saved_classifiers_predict_the_same(make_classifier, folder, rows, tmp_path, long_text):
    """Folder, joblib and pickle restore a classifier that needs a substitute for padding."""
    options = {"model_name": folder, "max_length": 16, "long_text": long_text}
    classifier = make_classifier(**options).fit(rows)
    classifier.save(tmp_path / "model")
    joblib.dump(classifier, tmp_path / "file")
    for loaded in (
        MultiheadClassifier.load(tmp_path / "model"),
        joblib.load(tmp_path / "file"),
        pickle.loads(pickle.dumps(classifier)),
    ):
        assert_same(classifier, loaded)
        tokens = [each.tokenizer_(LONG) for each in (classifier, loaded)]
        assert tokens[0].padding == tokens[1].padding
        assert np.array_equal(tokens[0].ids, tokens[1].ids)
        assert np.diff(tokens[1].starts).max() <= 16


def test_later_training(make_classifier, folder, rows):
    """`add_task` keeps the predictions of other tasks, and `partial_fit` changes them."""
    first, second = (rows[rows["task"] == task] for task in ("intent", "sentiment"))
    classifier = make_classifier(model_name=folder).fit(first)
    before = classifier.predict_proba(TEXTS)
    after = classifier.add_task(second).predict_proba(TEXTS, task="intent")
    assert np.array_equal(after, before)
    classifier.partial_fit(rows)
    assert not np.array_equal(classifier.predict_proba(TEXTS, task="intent"), before)


def test_bfloat16(make_classifier, folder, rows):
    """Probabilities in bfloat16 are close to those in float32, and not equal to them."""
    full, half = (
        make_classifier(model_name=folder, precision=precision).fit(rows)
        for precision in ("float32", "bfloat16")
    )
    assert_same(full, half, atol=0.05)
    p, q = (each.predict_proba(TEXTS, task="intent") for each in (full, half))
    assert not np.array_equal(p, q)


def test_embedding_cache(make_classifier, folder, rows, tmp_path):
    """A fit from cached embeddings of the pretrained encoder gives the same classifier."""
    options = {"model_name": folder, "encoder": EncoderConfig(freeze_epochs=2, unfreeze_layers=0)}
    plain = make_classifier(**options).fit(rows)
    for _ in range(2):
        assert_same(plain, make_classifier(memory=tmp_path, **options).fit(rows), atol=1e-6)
    assert list(tmp_path.iterdir())


def test_first_token_is_refused_as_embedding(make_classifier, folder, rows):
    """Pooling of the first token is refused with the reason and with the other poolings."""
    message = r"'pooling'.* 'attention', 'mean' or 'max' for \w+Model. Got 'cls'.*earlier tokens"
    with pytest.raises(ValueError, match=message):
        make_classifier(model_name=folder, pooling="cls").fit(rows)


def test_keys_and_values_are_not_kept(make_classifier, folder, rows):
    """The encoder does not keep keys and values, which only the generation of text needs."""
    classifier = make_classifier(model_name=folder, epochs=0).fit(rows)
    for each in (classifier, pickle.loads(pickle.dumps(classifier))):
        ids = torch.tensor([[5, 6, 7]])
        output = each.net_.module_.encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
        assert output.past_key_values is None


def test_opt_with_a_narrow_embedding(make_classifier, rows, tmp_path):
    """An OPT that projects its output, as OPT-350m does, is trained, saved and cached."""
    name = tiny_encoder(tmp_path / "encoder", architecture="opt")
    config = AutoConfig.from_pretrained(name)
    config.word_embed_proj_dim, config.do_layer_norm_before = 16, False
    AutoModel.from_config(config).save_pretrained(name)
    classifier = make_classifier(model_name=name, memory=tmp_path / "memory").fit(rows)
    encoder = classifier.net_.module_.encoder
    assert (embedding_width(encoder), encoder.config.hidden_size) == (16, 32)
    assert [head[-1].in_features for head in classifier.net_.module_.heads] == [16, 16]
    classifier.save(tmp_path / "model")
    assert_same(classifier, MultiheadClassifier.load(tmp_path / "model"))
