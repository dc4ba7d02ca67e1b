"""The embedding cache: each text is encoded once for folds, candidates and processes."""

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
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from rapidfit_sk import EncoderConfig, MultiheadClassifier
from rapidfit_sk._model.encoders import load_encoder
from rapidfit_sk._training.cache import EmbeddingStore
from rapidfit_sk.model_selection import TaskStratifiedKFold, multitask_scoring, task_scorer
from rapidfit_sk.testing import tiny_encoder

FROZEN = EncoderConfig(freeze_epochs=1, unfreeze_layers=0)


@pytest.fixture
def make_frozen(make_classifier, tmp_path):
    """Build a classifier with a frozen encoder and an embedding cache."""

    def make(**kwargs):
        options = {"encoder": FROZEN, "epochs": 1, "memory": tmp_path / "memory", **kwargs}
        return make_classifier(test_size=0.0, val_size=0.0, **options)

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
    """Four candidates, three shuffled folds and the refit need one pass over the texts."""
    folds = TaskStratifiedKFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(make_frozen(), GRID, cv=folds, scoring=scoring).fit(messages)
    assert sum(encoded) == messages["text"].nunique()
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@contextlib.contextmanager
def logging_passes():
    """Write the number of texts of each pass to a file, in any process."""
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


class Logging(MultiheadClassifier):
    """Classifier that logs the passes of fits and scores."""

    def fit(self, X, y=None):
        with logging_passes():
            return super().fit(X, y)

    def score(self, X, y=None):
        with logging_passes():
            return super().score(X, y)


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_processes_share_the_work(make_frozen, messages, tmp_path, monkeypatch):
    """With n_jobs=2, no process encodes a text that another process has encoded."""
    log = tmp_path / "log"
    classifier = Logging(**make_frozen().get_params(deep=False))
    monkeypatch.setenv("RAPIDFIT_TEST_LOG", str(log))
    search = GridSearchCV(
        classifier,
        {"config__head__dropout": [0.0, 0.3]},
        cv=TaskStratifiedKFold(3, shuffle=True, random_state=0),
        n_jobs=2,
    ).fit(messages)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    lines = [line.split(":") for line in log.read_text().split()]
    assert str(os.getpid()) not in {pid for pid, _ in lines}  # the refit had nothing to encode
    assert sum(int(n_texts) for _, n_texts in lines) == messages["text"].nunique()


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_memory_changes_no_prediction(make_frozen, messages, tmp_path):
    """An empty or filled embedding cache does not change predictions."""
    plain = make_frozen(memory=None).fit(messages)
    filled = make_frozen().fit(messages)
    found = make_frozen(memory=joblib.Memory(tmp_path / "memory", verbose=0)).fit(messages)
    texts = ["Do you ship to Norway?", *messages["text"].head(20)]
    for task, p in plain.predict_proba(texts).items():
        for other in (filled, found):
            np.testing.assert_allclose(other.predict_proba(texts)[task], p, atol=1e-5)


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_key(make_frozen, messages, encoded):
    """Other lengths, poolings, precisions and weights have other cache entries."""
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
def test_changed_folder_is_hashed_again(make_frozen, messages, encoded):
    """A changed folder of an encoder is hashed again."""
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
    # torch does not count this change of the weights.
    changed.net_.module_.encoder.encoder.layer[0].output.dense.weight.data.mul_(0.5)
    changed.add_task(intents.assign(task="once more"))
    assert sum(encoded) == intents["text"].nunique()


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_predictions_after_changes_of_weights(make_frozen, messages):
    """After a change of the encoder's weights, predictions do not use the cache."""
    classifier, texts = make_frozen().fit(messages), messages["text"].head(20)
    before = classifier.predict_proba(texts, task="intent")
    classifier.add_task(messages[messages["task"] == "intent"].assign(task="again"))
    with torch.no_grad():
        classifier.net_.module_.encoder.encoder.layer[0].output.dense.weight.mul_(1.5)
    assert np.abs(classifier.predict_proba(texts, task="intent") - before).max() > 1e-4


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_any_path(make_frozen, messages, tmp_path):
    """`memory` accepts any path-like object."""

    class Somewhere:
        def __fspath__(self):
            return str(tmp_path / "elsewhere")

    make_frozen(memory=Somewhere()).fit(messages)
    assert len(list(Path(tmp_path / "elsewhere").rglob("keys"))) == 1


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_missing_pooler_does_not_matter(make_frozen, messages, encoded):
    """Embeddings are found even if a checkpoint lacks the pooler, which is then random."""
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
    """Head-only epochs use the cache, and outputs of a fine-tuned encoder are not stored."""
    trains = EncoderConfig(freeze_epochs=1, unfreeze_layers=1)
    classifier = make_frozen(encoder=trains).fit(messages)
    (store,) = Path(tmp_path / "memory").rglob("keys")
    size = store.stat().st_size
    assert size == 16 * messages["text"].nunique()
    encoded.clear()
    for _ in range(2):
        classifier.predict(["some text that is new"], task="intent")
    assert sum(encoded) == 2
    assert [path.stat().st_size for path in Path(tmp_path / "memory").rglob("keys")] == [size]


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_memory_can_be_removed_after_the_fit(make_frozen, messages, tmp_path):
    """After `memory=None` is set on a fitted classifier, predicted texts are not stored."""
    classifier = make_frozen().fit(messages)
    (keys,) = Path(tmp_path / "memory").rglob("keys")
    size = keys.stat().st_size
    classifier.set_params(memory=None).predict(["some text that is new"], task="intent")
    assert keys.stat().st_size == size


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_cache_is_used_after_head_only_epochs(make_frozen, messages, encoded):
    """Predictions use the cache if only the heads have trained."""
    later = EncoderConfig(freeze_epochs=1, unfreeze_layers=2)
    classifier = make_frozen(encoder=later, epochs=0).fit(messages)
    encoded.clear()
    classifier.predict(messages["text"].tolist(), task="intent")
    assert encoded == []


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_cache_is_not_used_after_training_in_a_callback(make_frozen, messages, tmp_path):
    """Predictions do not use the cache if a callback has trained and frozen the encoder."""

    class TrainsOnce(Callback):
        def on_epoch_begin(self, net, **kwargs):
            net.module_.train_encoder_layers(None if net.epoch_ == 1 else 0)

    options = {"epochs": 3, "callbacks": [TrainsOnce()]}
    plain = make_frozen(memory=None, **options).fit(messages)
    remembering = make_frozen(**options).fit(messages)
    for task, p in plain.predict_proba(messages["text"].head(20)).items():
        q = remembering.predict_proba(messages["text"].head(20))[task]
        np.testing.assert_allclose(p, q, atol=1e-4)
    (keys,) = Path(tmp_path / "memory").rglob("keys")
    assert keys.stat().st_size == 16 * messages["text"].nunique()


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_clear_empties_it(make_frozen, messages, encoded, tmp_path):
    """`joblib.Memory.clear` also removes the embeddings."""
    memory = joblib.Memory(tmp_path / "memory", verbose=0)
    classifier = make_frozen(memory=memory).fit(messages)
    memory.clear(warn=False)
    encoded.clear()
    clone(classifier).fit(messages)
    assert sum(encoded) == messages["text"].nunique()
    make_frozen(memory=joblib.Memory(None)).fit(messages)


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_saved_classifiers_do_not_contain_the_cache(make_frozen, messages, encoded, tmp_path):
    """A pickle and a saved folder contain nothing of the cache."""
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
    """Other values than a path, a joblib.Memory or None raise an error."""
    with pytest.raises(ValueError, match="'memory' parameter of MultiheadClassifier"):
        MultiheadClassifier(memory=3).fit(messages)


class TestStore:
    """The table of embeddings on disk."""

    def test_only_new_texts_are_encoded(self, tmp_path):
        """Only new texts are encoded, and each text gets its own embedding."""
        store, asked = EmbeddingStore(tmp_path / "s", 2), []

        def encode(texts):
            asked.extend(texts)
            return np.array([[len(text), ord(text[0])] for text in texts], np.float32)

        assert store.embed([], encode).shape == (0, 2)
        assert store.embed(["b", "aa"], encode).tolist() == [[1, 98], [2, 97]]
        found = EmbeddingStore(tmp_path / "s", 2).embed(["aa", "ccc", "b"], encode)
        assert found.tolist() == [[2, 97], [3, 99], [1, 98]]
        assert asked == ["b", "aa", "ccc"]

    def test_second_process_waits(self, tmp_path):
        """A second process waits for a text that is being encoded, so nothing is encoded twice."""
        asked, started = [], threading.Event()

        def encode(texts):
            asked.extend(texts)
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
        assert asked == ["a", "bb", "ccc", "dddd"]

    @pytest.mark.parametrize("name", ["keys", "embeddings"])
    def test_survives_a_write_that_was_cut_off(self, tmp_path, name):
        """Half a row, or embeddings without keys, are ignored."""
        store = EmbeddingStore(tmp_path / "s", 2)
        encode = lambda texts: np.array([[len(t), 0] for t in texts], np.float32)  # noqa: E731
        store.embed(["a", "bb"], encode)
        with open(tmp_path / "s" / name, "ab") as file:
            file.write(b"12345")
        assert store.embed(["ccc", "bb"], encode).tolist() == [[3, 0], [2, 0]]
        assert store.embed(["a", "ccc"], encode).tolist() == [[1, 0], [3, 0]]

    @pytest.mark.parametrize("name", ["keys", "embeddings"])
    @pytest.mark.parametrize("left", [0, 1, 2])
    def test_survives_a_file_that_was_cut_short(self, tmp_path, name, left):
        """Rows that one file lacks after a power failure or a partial copy are encoded again."""
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

    def test_another_table_of_the_same_size_is_read_anew(self, tmp_path):
        """The index is read again if the files have changed, even with the same size."""
        encode = lambda texts: np.array([[len(t), 0] for t in texts], np.float32)  # noqa: E731
        store = EmbeddingStore(tmp_path / "s", 2)
        store.embed(["a", "bb"], encode)
        EmbeddingStore(tmp_path / "other", 2).embed(["bb", "ccc"], encode)
        shutil.rmtree(tmp_path / "s")
        (tmp_path / "other").rename(tmp_path / "s")
        assert store.embed(["bb", "ccc"], encode).tolist() == [[2, 0], [3, 0]]

    def test_an_interrupt_loses_the_chunk_alone(self, tmp_path, monkeypatch):
        """An interruption loses only the current chunk and releases the lock."""
        monkeypatch.setattr("rapidfit_sk._training.cache.CHUNK", 2)
        store, asked = EmbeddingStore(tmp_path / "s", 1), []

        def encode(texts):
            if asked:
                raise KeyboardInterrupt
            asked.extend(texts)
            return np.ones((len(texts), 1), np.float32)

        with pytest.raises(KeyboardInterrupt):
            store.embed(["a", "b", "c"], encode)
        asked.clear()
        assert store.embed(["a", "b", "c"], encode).shape == (3, 1)
        assert asked == ["c"]
