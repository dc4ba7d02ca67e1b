"""Folders of fine-tuned encoders, as other libraries and `model_name` load them."""

import functools
import json
import stat

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModel, AutoTokenizer

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TextClassifier, TrainingConfig
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

LONG = "do you ship the red kettle to norway, and how long does it take? " * 40
TEXTS = [
    "Do you ship to Norway?",
    "It broke again!",
    "",
    "naïve café ☕ 日本語",
    "spaces   and\ttabs",
    LONG,
]
DATA = {
    "mood": [{"text": f"text {i} is good", "label": "good"} for i in range(8)]
    + [{"text": f"text {i} is bad", "label": "bad"} for i in range(8)],
}
# GPT-2 adds no special tokens, so other libraries have nothing to encode in an empty text.
WITHOUT_SPECIAL_TOKENS = {"gpt2"}

pytestmark = pytest.mark.filterwarnings("ignore:Task 'mood' has only:UserWarning")


@functools.cache
def train(architecture="bert", pooling="mean", unfreeze_layers=2, **training):
    """Return a classifier whose encoder has been fine-tuned; tests must not change it."""
    options = {"epochs": 2, "learning_rate": 1e-3, "test_size": 0, "long_text": "truncate"}
    options |= {"model_name": tiny_encoder(architecture=architecture, n_layers=2)} | training
    config = MultiheadConfig(training=TrainingConfig(**options), pooling=pooling)
    config.set_params(encoder__freeze_epochs=1, encoder__unfreeze_layers=unfreeze_layers)
    return MultiheadClassifier(config, random_state=0).fit(DATA)


def embeddings_of(classifier, texts):
    """Return the embeddings that heads without a learned query use."""
    return classifier.net_.embed_texts(classifier.tokenizer_, texts)


@pytest.fixture(scope="module")
def classifier():
    """A classifier with the defaults for pooling and long texts; tests must not change it."""
    return train(pooling="attention", long_text="head_tail", max_length=32)


@pytest.fixture(scope="module")
def folder(classifier, tmp_path_factory):
    """The folder of its encoder."""
    folder = tmp_path_factory.mktemp("encoders") / "encoder"
    classifier.save_encoder(folder)
    return folder


def read(folder, name):
    return json.loads((folder / name).read_text("utf-8"))


def sentence_embeddings(folder, texts):
    """Return the embeddings of texts by sentence-transformers."""
    library = pytest.importorskip("sentence_transformers")
    return library.SentenceTransformer(str(folder), device="cpu").encode(texts)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sentence_transformers(architecture, tmp_path):
    """sentence-transformers computes the embeddings of each architecture, also of a long text."""
    classifier = train(architecture)
    classifier.save_encoder(tmp_path / "encoder")
    texts = [text for text in TEXTS if text or architecture not in WITHOUT_SPECIAL_TOKENS]
    found = sentence_embeddings(tmp_path / "encoder", texts)
    np.testing.assert_allclose(found, embeddings_of(classifier, texts), atol=1e-5)


@pytest.mark.parametrize("pooling", ["attention", "cls", "max"])
def test_pooling(pooling, tmp_path):
    """The first token and the maximum are pooled as in the classifier, and attention as a mean."""
    classifier = train(pooling=pooling)
    classifier.save_encoder(tmp_path / "encoder")
    found = sentence_embeddings(tmp_path / "encoder", TEXTS)
    np.testing.assert_allclose(found, embeddings_of(classifier, TEXTS), atol=1e-5)


def test_long_texts(classifier, folder):
    """Of a long text, the first tokens are read, also if the classifier reads both ends."""
    found, own = sentence_embeddings(folder, TEXTS), embeddings_of(classifier, TEXTS)
    np.testing.assert_allclose(found[:-1], own[:-1], atol=1e-5)
    assert np.abs(found[-1] - own[-1]).max() > 1e-3
    np.testing.assert_allclose(found[-1:], sentence_embeddings(folder, [LONG + "more"]), atol=1e-5)


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "t5"])
def test_auto_model(architecture, tmp_path):
    """AutoModel finds all weights under its own names, and AutoTokenizer pads and cuts texts."""
    classifier = train(architecture)
    classifier.save_encoder(tmp_path / "encoder")
    encoder, report = AutoModel.from_pretrained(tmp_path / "encoder", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert encoder.dtype == torch.float32
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    texts = [text for text in TEXTS if text]
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.inference_mode():
        states = encoder.eval()(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    mean = (states * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(mean, embeddings_of(classifier, texts), atol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "t5", "gpt2"])
def test_as_model_name(architecture, tmp_path):
    """A classifier that starts from the folder has the embeddings of the fine-tuned encoder."""
    first = train(architecture)
    first.save_encoder(tmp_path / "encoder")
    second = train(model_name=str(tmp_path / "encoder"), unfreeze_layers=0)
    assert np.array_equal(embeddings_of(second, TEXTS), embeddings_of(first, TEXTS))
    untrained = train(architecture, unfreeze_layers=0)
    assert not np.allclose(embeddings_of(untrained, TEXTS), embeddings_of(first, TEXTS), atol=1e-3)


def test_after_loading(classifier, folder, tmp_path):
    """A classifier that was saved and loaded writes the same files."""
    classifier.save(tmp_path / "classifier")
    loaded = MultiheadClassifier.load(tmp_path / "classifier")
    loaded.save_encoder(tmp_path / "encoder")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "1_Pooling/config.json"):
        assert (tmp_path / "encoder" / name).read_bytes() == (folder / name).read_bytes(), name
    found = sentence_embeddings(tmp_path / "encoder", TEXTS)
    assert np.array_equal(found, sentence_embeddings(folder, TEXTS))


def test_text_embeddings_inference(classifier, folder):
    """The folder has the files and fields from which text-embeddings-inference starts.

    These are the fields that its router requires in each file.
    """
    config, pooling = read(folder, "config.json"), read(folder, "1_Pooling/config.json")
    assert config["architectures"] == ["BertModel"]
    assert config["model_type"] == "bert"
    assert type(config["max_position_embeddings"]) is type(config["pad_token_id"]) is int
    assert pooling["pooling_mode_mean_tokens"] is True
    others = ("cls_token", "max_tokens", "mean_sqrt_len_tokens")
    assert [pooling[f"pooling_mode_{name}"] for name in others] == [False] * 3
    assert read(folder, "sentence_bert_config.json")["max_seq_length"] == 32
    assert read(folder, "config_sentence_transformers.json")["prompts"] == {}
    kinds = [module["type"] for module in read(folder, "modules.json")]
    assert kinds == [f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling")]
    assert read(folder, "tokenizer.json")["truncation"] is None
    assert read(folder, "tokenizer_config.json")["model_max_length"] == 256


def test_weights(classifier, folder):
    """All weights are float32, and none belongs to a head."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        assert file.metadata() == {"format": "pt"}
    assert tensors.keys() == classifier.net_.module_.encoder.state_dict().keys()
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert len(modes) == 1


def test_tied_and_transposed_weights(tmp_path):
    """Weights that share memory or are stored transposed are saved with their values."""
    classifier = train.__wrapped__()
    layers = classifier.net_.module_.encoder.encoder.layer
    layers[1].output.dense.weight = layers[0].output.dense.weight
    inner = layers[0].intermediate.dense.weight
    inner.data = inner.data.T.contiguous().T
    classifier.save_encoder(tmp_path / "encoder")
    with safe_open(tmp_path / "encoder" / "model.safetensors", "pt") as file:
        saved = file.get_tensor("encoder.layer.0.intermediate.dense.weight")
        names = set(file.keys())
    assert torch.equal(saved, inner)
    assert "encoder.layer.0.output.dense.weight" in names
    found = sentence_embeddings(tmp_path / "encoder", TEXTS)
    np.testing.assert_allclose(found, embeddings_of(classifier, TEXTS), atol=1e-5)


def test_the_folder_is_replaced_as_a_whole(classifier, tmp_path):
    """An earlier encoder is replaced; saved classifiers and other files are refused and stay."""
    target = tmp_path / "encoder"
    assert classifier.save_encoder(target) is classifier
    (target / "config.json").write_text("{}")
    classifier.save_encoder(target)
    assert read(target, "config.json")["model_type"] == "bert"
    (target / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="contains files that .*'notes.txt'"):
        classifier.save_encoder(target)
    classifier.save(tmp_path / "classifier")
    with pytest.raises(ValueError, match="something else that rapidfit_sk.*Pass another folder"):
        classifier.save_encoder(tmp_path / "classifier")
    MultiheadClassifier.load(tmp_path / "classifier")


def test_text_classifier(tmp_path):
    """TextClassifier saves its encoder in the same way."""
    training = TrainingConfig(model_name=tiny_encoder(), epochs=1, long_text="truncate")
    texts, labels = zip(*[(row["text"], row["label"]) for row in DATA["mood"]], strict=True)
    classifier = TextClassifier(MultiheadConfig(training=training), random_state=0)
    classifier.fit(list(texts), list(labels)).save_encoder(tmp_path / "encoder")
    found = sentence_embeddings(tmp_path / "encoder", TEXTS)
    np.testing.assert_allclose(found, embeddings_of(classifier, TEXTS), atol=1e-5)
