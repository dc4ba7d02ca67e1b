"""Fixtures that need no network: tiny encoders under real names in a temporary cache."""

import json
import os
import tempfile

# huggingface_hub reads these variables when it is imported, so they are set first.
_home = tempfile.TemporaryDirectory(prefix="hf-home-", ignore_cleanup_errors=True)
os.environ["HF_HOME"] = _home.name
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("HF_HUB_CACHE", None)
# Pictures are drawn without a window.
os.environ["MPLBACKEND"] = "agg"
# torch reads this variable when it is imported. A tiny encoder is fastest with one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import sentencepiece
import torch

from rapidfit_sk import EncoderConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.testing import tiny_encoder

# precision="auto" is float32 in this process, so that results depend less on the machine.
torch.cpu._is_avx512_bf16_supported = torch.cpu._is_amx_tile_supported = lambda: False

CACHED = {
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": "bert",
    "FacebookAI/xlm-roberta-base": "xlm-roberta",
    "microsoft/deberta-v3-base": "deberta-v2",
}


def put_into_cache(name, architecture):
    """Store a tiny encoder in the layout of the Hugging Face cache."""
    folder = Path(_home.name, "hub", "models--" + name.replace("/", "--"))
    revision = "0" * 40
    files = folder / "snapshots" / revision
    tiny_encoder(files, architecture=architecture, n_layers=8)
    if architecture == "deberta-v2":
        store_as_sentencepiece(files)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)


def store_as_sentencepiece(folder):
    """Store the tokenizer only as a sentencepiece model, as DeBERTa-v3 does."""
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    pieces = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    with open(folder / "spm.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(load_support_messages()["text"].unique()),
            model_writer=file,
            vocab_size=500,
            minloglevel=2,
            **{f"{name}_piece": piece for name, piece in pieces.items()},
            **{f"{name}_id": i for i, name in enumerate(pieces)},
        )
    config = {"do_lower_case": False, "vocab_type": "spm"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="session")
def cached_encoders():
    """Names of the encoders in the guide, with a tiny encoder in the cache for each name."""
    for name, architecture in CACHED.items():
        put_into_cache(name, architecture)
    return list(CACHED)


@pytest.fixture(scope="session")
def encoder_name():
    """Folder of a tiny BERT with four layers."""
    return tiny_encoder()


@pytest.fixture(scope="session")
def messages():
    """The bundled messages as a long frame."""
    return load_support_messages()


@pytest.fixture
def minimal_setup():
    """The data of the first example in the guide: two tasks with two rows each."""
    return {
        "sentiment": [
            {"text": "I love this!", "label": "positive"},
            {"text": "This is terrible", "label": "negative"},
        ],
        "intent": [
            {"text": "I want to buy", "label": "purchase"},
            {"text": "How does this work?", "label": "question"},
        ],
    }


@pytest.fixture
def make_config(encoder_name):
    """Function that builds a configuration that trains fast.

    Its keywords are groups of the configuration or parameters of `training`.
    """

    def make(*, encoder=None, **training):
        groups = {k: training.pop(k) for k in list(training) if k in MultiheadConfig().get_params()}
        training = {
            "model_name": encoder_name,
            "epochs": 1,
            "learning_rate": 1e-3,
            "batch_size": 32,
            # One pass over the rows per epoch, and validation rows even in small data.
            "min_steps_per_epoch": 1,
            "val_size": 0.1,
            **training,
        }
        encoder = encoder or EncoderConfig(freeze_epochs=1, unfreeze_layers=2)
        return MultiheadConfig(training=TrainingConfig(**training), encoder=encoder, **groups)

    return make


@pytest.fixture
def make_classifier(make_config):
    """Function that builds a classifier with a tiny encoder that trains fast."""

    def make(*, random_state=0, config=None, **kwargs):
        own = {k: kwargs.pop(k) for k in list(kwargs) if k in MultiheadClassifier().get_params()}
        return MultiheadClassifier(
            config or make_config(**kwargs), random_state=random_state, **own
        )

    return make


@pytest.fixture(scope="session")
def fitted(encoder_name, messages):
    """A classifier fitted on the bundled messages; tests must not change it."""
    config = MultiheadConfig(
        training=TrainingConfig(
            model_name=encoder_name, epochs=2, learning_rate=1e-3, batch_size=32, val_size=0.1
        ),
        encoder=EncoderConfig(freeze_epochs=1, unfreeze_layers=2),
    )
    return MultiheadClassifier(config, random_state=0).fit(messages)


@pytest.fixture
def encoded(monkeypatch):
    """List to which each forward pass of a BERT encoder appends its number of texts."""
    from transformers import BertModel

    counts = []
    forward = BertModel.forward

    def counted(self, *args, **kwargs):
        counts.append(len(kwargs["input_ids"]))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(BertModel, "forward", counted)
    return counts
