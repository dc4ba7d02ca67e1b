"""With the embedding cache, folds, candidates and processes encode each text only once."""

import contextlib
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from rapidfit_sk import EncoderConfig, MultiheadClassifier
from rapidfit_sk._model.encoders import load_encoder
from rapidfit_sk._training.cache import RECORD, EmbeddingStore
from rapidfit_sk.model_selection import TaskStratifiedKFold, multitask_scoring, task_scorer
from rapidfit_sk.testing import tiny_encoder

FROZEN = EncoderConfig(freeze_epochs=1, unfreeze_layers=0)


@pytest.fixture
def make_frozen(make_classifier, tmp_path):
    """Build a classifier with a frozen encoder and an embedding cache."""

    def make(**kwargs):
        options = {"encoder": FROZEN, "epochs": 1, "memory": tmp_path / "memory", **kwargs}
        return make_classifier(test_size=0.0, val_size=0.0, **{"label_texts": None, **options})

    return make


GRID = {"config__head__hidden_layers": [0, 1], "config__task_sampling": ["proportional", "equal"]}


SCORINGS = {
    "default": None,
    "one task": task_scorer("intent"),
    "all tasks": multitask_scoring(["sentiment", "intent", "emotion"])["mean_accuracy"],
}


@pytest.mark.filterwarnings("ignore:There are no validation rows")
@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
def test_a_search_encodes_each_text_once(make_frozen, messages, encoded, scoring):
    """A search with four candidates, three shuffled folds and a refit encodes each text once."""
    folds = TaskStratifiedKFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(make_frozen(), GRID, cv=folds, scoring=scoring).fit(messages)
    assert sum(encoded) == messages["text"].nunique()
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@contextlib.contextmanager
def logging_passes():
    """Log the process and the number of texts of each encoder pass to a file."""
    from transformers import BertModel

    forward = BertModel.forward

    def logged(module, *args, **kwargs):
        with open(os.environ["RAPIDFIT_TEST_LOG"], "a") as file:
            file.write(f"{os.getpid()}:{len(kwargs['input_ids'])}\n")
        return forward(module, *args, **kwargs)

    BertModel.forward = logged
    try:
        yield
    finally:
        BertModel.forward = forward


class LoggingClassifier(MultiheadClassifier):
    """Classifier that logs the encoder passes of `fit` and `score`."""

    def fit(self, X, y=None):
        with logging_passes():
            return super().fit(X, y)

    def score(self, X, y=None):
        with logging_passes():
            return super().score(X, y)


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_processes_share_the_cache(make_frozen, messages, tmp_path, monkeypatch):
    """With n_jobs=2, no process encodes a text that another process has encoded."""
    log = tmp_path / "log"
    classifier = LoggingClassifier(**make_frozen().get_params(deep=False))
    monkeypatch.setenv("RAPIDFIT_TEST_LOG", str(log))
    # Processes that joblib started for another test do not have the variable.
    get_reusable_executor().shutdown(wait=True)
    search = GridSearchCV(
        classifier,
        {"config__head__dropout": [0.0, 0.3]},
        cv=TaskStratifiedKFold(3, shuffle=True, random_state=0),
        n_jobs=2,
    ).fit(messages)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    lines = [line.split(":") for line in log.read_text().split()]
    # The refit runs in this process and finds all texts in the cache.
    assert str(os.getpid()) not in {pid for pid, _ in lines}
    assert sum(int(n_texts) for _, n_texts in lines) == messages["text"].nunique()


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_cache_does_not_change_predictions(make_frozen, messages, tmp_path):
    """Predictions are the same without a cache, with an empty one and with a filled one."""
    plain = make_frozen(memory=None).fit(messages)
    filled = make_frozen().fit(messages)
    found = make_frozen(memory=joblib.Memory(tmp_path / "memory", verbose=0)).fit(messages)
    texts = ["Do you ship to Norway?", *messages["text"].head(20)]
    for task, p in plain.predict_proba(texts).items():
        for other in (filled, found):
            np.testing.assert_allclose(other.predict_proba(texts)[task], p, atol=1e-5)


@pytest.mark.filterwarnings("ignore:There are no validation rows", "ignore:Texts are cut after")
def test_cache_key(make_frozen, messages, encoded):
    """Cache entries depend on `max_length`, pooling, precision and weights, not on batches."""
    n = messages["text"].nunique()
    make_frozen().fit(messages)
    for options in (
        {"max_length": 4},
        {"pooling": "max"},
        {"precision": "bfloat16"},
        {"model_name": tiny_encoder(seed=1)},
    ):
        encoded.clear()
        make_frozen(**options).fit(messages)
        assert sum(encoded) == n
    encoded.clear()
    make_frozen(batch_size=8, random_state=1).fit(messages.sample(frac=1, random_state=0))
    assert encoded == []


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_changed_weights_are_hashed_again(make_frozen, messages, encoded):
    """Texts are encoded again after the weights change in the folder or in memory."""
    n = messages["text"].nunique()
    folder = tiny_encoder()
    make_frozen(model_name=folder).fit(messages)
    encoder = load_encoder(folder)
    with torch.no_grad():
        encoder.encoder.layer[0].output.dense.weight.mul_(0.5)
    encoder.save_pretrained(folder)
    encoded.clear()
    changed = make_frozen(model_name=folder).fit(messages)
    assert sum(encoded) == n
    encoded.clear()
    intents = messages[messages["task"] == "intent"]
    changed.add_task(intents.assign(task="again"))
    assert encoded == []
    # A change through `.data` does not increase the version counter of the tensor.
    changed.net_.module_.encoder.encoder.layer[0].output.dense.weight.data.mul_(0.5)
    changed.add_task(intents.assign(task="once more"))
    assert sum(encoded) == intents["text"].nunique()


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_cache_is_not_used_after_weight_changes(make_frozen, messages):
    """Predictions do not use the cache after the weights of the encoder change."""
    classifier, texts = make_frozen().fit(messages), messages["text"].head(20)
    before = classifier.predict_proba(texts, task="intent")
    classifier.add_task(messages[messages["task"] == "intent"].assign(task="again"))
    with torch.no_grad():
        classifier.net_.module_.encoder.encoder.layer[0].output.dense.weight.mul_(1.5)
    assert np.abs(classifier.predict_proba(texts, task="intent") - before).max() > 1e-4


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_memory_accepts_path_like_objects(make_frozen, messages, tmp_path):
    """`memory` accepts any path-like object."""

    class PathLike:
        def __fspath__(self):
            return str(tmp_path / "elsewhere")

    make_frozen(memory=PathLike()).fit(messages)
    assert len(list(Path(tmp_path / "elsewhere").rglob("keys"))) == 1


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_missing_pooler_does_not_matter(make_frozen, messages, encoded):
    """Embeddings are found even if the checkpoint lacks the pooler, whose weights are random."""
    folder = tiny_encoder()
    encoder = load_encoder(folder)
    states = {k: v for k, v in encoder.state_dict().items() if not k.startswith("pooler.")}
    encoder.save_pretrained(folder, state_dict=states)
    make_frozen(model_name=folder).fit(messages)
    encoded.clear()
    make_frozen(model_name=folder, random_state=1).fit(messages)
    assert encoded == []


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_fine_tuned_embeddings_are_not_cached(make_frozen, messages, encoded, tmp_path):
    """Head-only epochs use the cache, but embeddings of a fine-tuned encoder are not stored."""
    trains = EncoderConfig(freeze_epochs=1, unfreeze_layers=1)
    classifier = make_frozen(encoder=trains).fit(messages)
    (store,) = Path(tmp_path / "memory").rglob("keys")
    size = store.stat().st_size
    assert size == RECORD.itemsize * messages["text"].nunique()
    encoded.clear()
    for _ in range(2):
        classifier.predict(["some text that is new"], task="intent")
    assert sum(encoded) == 2
    assert [path.stat().st_size for path in Path(tmp_path / "memory").rglob("keys")] == [size]


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_memory_can_be_unset_after_the_fit(make_frozen, messages, tmp_path):
    """If `memory=None` is set on a fitted classifier, `predict` stores no embeddings."""
    classifier = make_frozen().fit(messages)
    (keys,) = Path(tmp_path / "memory").rglob("keys")
    size = keys.stat().st_size
    classifier.set_params(memory=None).predict(["some text that is new"], task="intent")
    assert keys.stat().st_size == size


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_cache_is_used_after_head_only_epochs(make_frozen, messages, encoded):
    """Predictions use the cache if training ended after the head-only epochs."""
    later = EncoderConfig(freeze_epochs=1, unfreeze_layers=2)
    classifier = make_frozen(encoder=later, epochs=0).fit(messages)
    encoded.clear()
    classifier.predict(messages["text"].tolist(), task="intent")
    assert encoded == []


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_cache_is_not_used_after_training_in_a_callback(make_frozen, messages, tmp_path):
    """Predictions do not use the cache if a callback trained the encoder for an epoch."""

    class TrainsOnce(Callback):
        def on_epoch_begin(self, net, **kwargs):
            net.module_.train_encoder_layers(None if net.epoch_ == 1 else 0)

    options = {"epochs": 3, "callbacks": [TrainsOnce()]}
    plain = make_frozen(memory=None, **options).fit(messages)
    cached = make_frozen(**options).fit(messages)
    for task, p in plain.predict_proba(messages["text"].head(20)).items():
        q = cached.predict_proba(messages["text"].head(20))[task]
        np.testing.assert_allclose(p, q, atol=1e-4)
    (keys,) = Path(tmp_path / "memory").rglob("keys")
    assert keys.stat().st_size == RECORD.itemsize * messages["text"].nunique()


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_clear_removes_embeddings(make_frozen, messages, encoded, tmp_path):
    """`joblib.Memory.clear` removes the embeddings, so the next fit encodes all texts."""
    memory = joblib.Memory(tmp_path / "memory", verbose=0)
    classifier = make_frozen(memory=memory).fit(messages)
    memory.clear(warn=False)
    encoded.clear()
    clone(classifier).fit(messages)
    assert sum(encoded) == messages["text"].nunique()
    make_frozen(memory=joblib.Memory(None)).fit(messages)


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_saved_classifiers_do_not_need_the_cache(make_frozen, messages, encoded, tmp_path):
    """Classifiers from a pickle or a saved folder predict without a cache."""
    classifier = make_frozen(memory=joblib.Memory(tmp_path / "memory", verbose=0)).fit(messages)
    with pytest.warns(UserWarning, match="memory"):
        classifier.save(tmp_path / "saved")
    expected = classifier.predict(["hi"], task="intent")
    joblib.dump(classifier, tmp_path / "dumped")
    shutil.rmtree(tmp_path / "memory")
    for again in (
        MultiheadClassifier.load(tmp_path / "saved"),
        joblib.load(tmp_path / "dumped"),
    ):
        encoded.clear()
        assert again.predict(["hi"], task="intent") == expected
        assert encoded == [1]
    assert not list(tmp_path.glob("memory/**/keys"))


def test_invalid_memory(messages):
    """A `memory` that is not a path, a joblib.Memory or None raises an error."""
    with pytest.raises(ValueError, match="'memory' parameter of MultiheadClassifier"):
        MultiheadClassifier(memory=3).fit(messages)


class TestStore:
    """The store of embeddings on disk."""

    def test_only_new_texts_are_encoded(self, tmp_path):
        """Only texts that are not stored are encoded, and each text gets its own embedding."""
        store, encoded_texts = EmbeddingStore(tmp_path / "s", 2), []

        def encode(texts):
            encoded_texts.extend(texts)
            return np.array([[len(text), ord(text[0])] for text in texts], np.float32)

        assert store.embed([], encode).shape == (0, 2)
        assert store.embed(["b", "aa"], encode).tolist() == [[1, 98], [2, 97]]
        found = EmbeddingStore(tmp_path / "s", 2).embed(["aa", "ccc", "b"], encode)
        assert found.tolist() == [[2, 97], [3, 99], [1, 98]]
        assert encoded_texts == ["b", "aa", "ccc"]

    def test_second_store_waits(self, tmp_path):
        """A store waits while another one encodes the same text, so no text is encoded twice."""
        encoded_texts, started = [], threading.Event()

        def encode(texts):
            encoded_texts.extend(texts)
            started.set()
            time.sleep(0.2)
            return np.array([[len(text)] for text in texts], np.float32)

        def embed(texts):
            return EmbeddingStore(tmp_path / "s", 1).embed(texts, encode)

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(embed, ["a", "bb", "ccc"])
            started.wait()
            second = pool.submit(embed, ["ccc", "dddd", "bb"])
            assert first.result().ravel().tolist() == [1, 2, 3]
            assert second.result().ravel().tolist() == [3, 4, 2]
        assert encoded_texts == ["a", "bb", "ccc", "dddd"]

    @pytest.mark.parametrize("name", ["keys", "embeddings"])
    def test_incomplete_write_is_ignored(self, tmp_path, name):
        """An incomplete row at the end of a file is ignored."""
        store = EmbeddingStore(tmp_path / "s", 2)
        encode = lambda texts: np.array([[len(t), 0] for t in texts], np.float32)  # noqa: E731
        store.embed(["a", "bb"], encode)
        with open(tmp_path / "s" / name, "ab") as file:
            file.write(b"12345")
        assert store.embed(["ccc", "bb"], encode).tolist() == [[3, 0], [2, 0]]
        assert store.embed(["a", "ccc"], encode).tolist() == [[1, 0], [3, 0]]

    @pytest.mark.parametrize("name", ["keys", "embeddings"])
    @pytest.mark.parametrize("left", [0, 1, 2])
    def test_texts_of_truncated_files_are_encoded_again(self, tmp_path, name, left):
        """Texts are encoded again if a power failure or a partial copy cut off one of the files."""
        folder = tmp_path / "s"
        encode = lambda texts: np.array([[len(t), 0] for t in texts], np.float32)  # noqa: E731
        for fresh in (False, True):
            store = EmbeddingStore(folder, 2)
            store.embed(["a", "bb", "ccc"], encode)
            size = (folder / name).stat().st_size // 3
            os.truncate(folder / name, left * size + 3 * fresh)
            store = EmbeddingStore(folder, 2) if fresh else store
            assert store.embed(["ccc", "bb"], encode).tolist() == [[3, 0], [2, 0]]
            assert store.embed(["dddd", "a"], encode).tolist() == [[4, 0], [1, 0]]
            shutil.rmtree(folder)

    def test_replaced_files_of_the_same_size_are_read_again(self, tmp_path):
        """The keys are read again if other files replace the store, even with the same size."""
        encode = lambda texts: np.array([[len(t), 0] for t in texts], np.float32)  # noqa: E731
        store = EmbeddingStore(tmp_path / "s", 2)
        store.embed(["a", "bb"], encode)
        EmbeddingStore(tmp_path / "other" / "s", 2).embed(["bb", "ccc"], encode)
        shutil.rmtree(tmp_path / "s")
        (tmp_path / "other" / "s").rename(tmp_path / "s")
        assert store.embed(["bb", "ccc"], encode).tolist() == [[2, 0], [3, 0]]

    def test_interrupt_loses_only_the_current_chunk(self, tmp_path, monkeypatch):
        """An interrupt loses only the current chunk of texts and releases the lock."""
        monkeypatch.setattr("rapidfit_sk._training.cache.CHUNK", 2)
        store, encoded_texts = EmbeddingStore(tmp_path / "s", 1), []

        def encode(texts):
            if encoded_texts:
                raise KeyboardInterrupt
            encoded_texts.extend(texts)
            return np.ones((len(texts), 1), np.float32)

        with pytest.raises(KeyboardInterrupt):
            store.embed(["a", "b", "c"], encode)
        encoded_texts.clear()
        assert store.embed(["a", "b", "c"], encode).shape == (3, 1)
        assert encoded_texts == ["c"]
