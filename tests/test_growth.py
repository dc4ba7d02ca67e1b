"""Continued training: `warm_start`, `partial_fit` and `add_task`."""

import copy
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import balanced_accuracy_score

from rapidfit_sk import EncoderConfig, EvalConfig, HeadConfig, LossConfig, MultiheadClassifier
from rapidfit_sk._rows.tables import read_texts

pytestmark = pytest.mark.filterwarnings("ignore:An earlier fit may have trained on rows")

TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]
NO_ENCODER = EncoderConfig(freeze_epochs=1, unfreeze_layers=0)


@pytest.fixture
def intent(messages):
    """The rows of one task."""
    return messages[messages["task"] == "intent"]


@pytest.fixture
def sentiment(messages):
    """The rows of another task."""
    return messages[messages["task"] == "sentiment"]


def last_layer(classifier, task):
    """Map each class of a task to its weights and its bias in the output layer."""
    layer = classifier.net_.module_.heads[classifier.tasks_.index(task)][-1]
    columns = torch.cat([layer.weight, layer.bias[:, None]], 1).detach()
    return dict(zip(classifier.classes_[task].tolist(), columns, strict=True))


# --------------------------------------------------------------------------------------------
# warm_start and partial_fit


def test_warm_start_continues_training(make_classifier, messages):
    """With warm_start, a second fit starts from the first; without it, a second fit starts anew."""
    warm = make_classifier(warm_start=True, epochs=3).fit(messages)
    losses = [epoch["train_loss"] for epoch in warm.net_.history]
    again = warm.fit(messages)
    assert again is warm
    n = len(losses)
    assert [epoch["train_loss"] for epoch in warm.net_.history[:n]] == losses
    assert warm.net_.history[n]["train_loss"] < losses[0]
    cold = make_classifier(epochs=3).fit(messages)
    before = cold.predict_proba(TEXTS)
    after = cold.fit(messages).predict_proba(TEXTS)
    assert all(np.array_equal(before[task], after[task]) for task in before)
    assert len(cold.net_.history) == n


def test_warm_start_keeps_learned_queries(make_classifier, messages, tmp_path):
    """Heads that trained with the encoder keep their queries when a warm start freezes it."""
    train = {"test_size": 0.0, "val_size": 0.0, "eval": EvalConfig(calibrate=False)}
    classifier = make_classifier(warm_start=True, memory=tmp_path, **train).fit(messages)
    assert not classifier.net_.module_.heads_share_embeddings
    before = classifier.predict_proba(TEXTS)
    classifier.set_params(config__encoder=NO_ENCODER, config__training__learning_rate=1e-12)
    after = classifier.fit(messages).predict_proba(TEXTS)
    for task in before:
        np.testing.assert_allclose(after[task], before[task], atol=1e-5)


def test_warm_start_warns_of_held_out_rows(make_classifier, messages):
    """A warm start warns if it holds out rows that an earlier fit may have trained on."""
    train, val = messages.iloc[:600], messages.iloc[600:]
    classifier = make_classifier(warm_start=True).fit(train)
    with pytest.warns(UserWarning, match="An earlier fit may have trained on rows"):
        classifier.fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier.set_params(config__training__test_size=0).fit(train, X_val=val)


def test_warm_start_without_the_encoder_folder(make_classifier, messages, tmp_path):
    """A loaded classifier can train after the folder of its pretrained encoder is gone."""
    from rapidfit_sk.testing import tiny_encoder

    folder = tiny_encoder(tmp_path / "encoder")
    classifier = make_classifier(model_name=folder, warm_start=True).fit(messages)
    classifier.save(tmp_path / "model")
    (tmp_path / "encoder").rename(tmp_path / "gone")
    loaded = MultiheadClassifier.load(tmp_path / "model")
    before = loaded.predict_proba(TEXTS, task="intent")
    loaded.fit(messages)
    assert not np.array_equal(loaded.predict_proba(TEXTS, task="intent"), before)
    loaded.partial_fit(messages)
    loaded.add_task(messages[messages["task"] == "intent"].assign(task="again"))
    assert loaded.predict(TEXTS).shape == (3, 4)


def test_partial_fit_is_one_epoch(make_classifier, messages):
    """Each call trains for one epoch on all rows, and the first calls train only the heads."""
    classifier = make_classifier(encoder=EncoderConfig(freeze_epochs=2, unfreeze_layers=2))
    encoders = []
    for n in range(1, 5):
        assert classifier.partial_fit(messages) is classifier
        assert len(classifier.net_.history) == n
        state = classifier.net_.module_.encoder.state_dict()
        encoders.append(torch.cat([tensor.flatten().float() for tensor in state.values()]))
    assert np.array_equal(classifier.train_indices_, np.arange(len(messages)))
    assert len(classifier.val_indices_) == len(classifier.test_indices_) == 0
    assert torch.equal(encoders[0], encoders[1])
    assert not torch.equal(encoders[1], encoders[2])
    assert not torch.equal(encoders[2], encoders[3])
    losses = [epoch["train_loss"] for epoch in classifier.net_.history]
    assert losses[-1] < losses[0]


def test_partial_fits_are_reproducible(make_classifier, messages):
    """Each call uses other seeds, and the same calls in the same order give the same weights."""
    runs = []
    for _ in range(2):
        classifier = make_classifier()
        for _ in range(3):
            classifier.partial_fit(messages.head(200))
        runs.append(classifier.predict_proba(TEXTS, task="intent"))
        seeds = classifier.net_.seeds
    assert np.array_equal(*runs)
    assert make_classifier().partial_fit(messages.head(200)).net_.seeds != seeds


@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_heads_grow(make_classifier, messages, how):
    """New labels and new tasks are added, and the old columns of a head keep their weights."""
    first = messages[messages["label"] != "complain"]
    second = messages[messages["label"].isin(["complain", "ask"])]
    second = pd.concat([second, second.assign(task="topic")])
    # The steps are too small to change a weight, so kept weights can be compared.
    still = {"learning_rate": 1e-30, "weight_decay": 0.0}
    classifier = make_classifier(warm_start=True, **still).fit(first)
    assert classifier.classes_["intent"].tolist() == ["ask", "buy", "sell"]
    before = last_layer(classifier, "intent")
    other = classifier.predict_proba(TEXTS, task="sentiment")
    (classifier.partial_fit if how == "partial_fit" else classifier.fit)(second)
    assert classifier.tasks_ == ["sentiment", "intent", "emotion", "topic"]
    assert classifier.classes_["intent"].tolist() == ["ask", "buy", "complain", "sell"]
    assert classifier.classes_["topic"].tolist() == ["ask", "complain"]
    after = last_layer(classifier, "intent")
    for label, column in before.items():
        torch.testing.assert_close(after[label], column, rtol=0, atol=1e-12)
    np.testing.assert_allclose(classifier.predict_proba(TEXTS, task="sentiment"), other, rtol=1e-6)
    assert classifier.predict_proba(TEXTS, task="intent").shape == (3, 4)
    assert classifier["topic"].predict(TEXTS).shape == (3,)


def test_known_task_may_come_with_one_class(make_classifier, messages, intent):
    """New rows of a known task may have a single class, but a new task needs two."""
    classifier = make_classifier().fit(messages)
    classifier.partial_fit(intent[intent["label"] == "ask"].head(5))
    assert len(classifier.classes_["intent"]) == 4
    with pytest.raises(ValueError, match="Task 'new' has only one class"):
        classifier.partial_fit(intent[intent["label"] == "ask"].assign(task="new"))
    with pytest.raises(TypeError, match="mixes strings and numbers"):
        classifier.partial_fit(intent.head(5).assign(label=[1, 2, 3, 4, 5]))


def test_labels_without_a_name(make_classifier, messages, intent):
    """Labels without a name belong to the only task; with several tasks, they are refused."""
    texts, labels = intent["text"].tolist(), intent["label"].tolist()
    classifier = make_classifier().fit(texts, intent["label"].rename("intent"))
    assert classifier.partial_fit(texts, labels).tasks_ == ["intent"]
    assert classifier.partial_fit(texts, pd.Series(labels, name="new")).tasks_ == ["intent", "new"]
    for unnamed in (labels, pd.Series(labels, name=0), pl.Series(labels)):
        with pytest.raises(ValueError, match="y has one dimension, but there are several tasks"):
            classifier.partial_fit(texts, unnamed)
        with pytest.raises(ValueError, match="The new task has no name"):
            classifier.add_task(texts, unnamed)
    classifier.add_task(texts, pd.DataFrame({"urgency": labels}))
    assert classifier.tasks_ == ["intent", "new", "urgency"]


def test_interrupted_partial_fit_keeps_the_weights(make_classifier, messages, monkeypatch):
    """Training uses a copy of the weights, so an interrupt leaves the fitted model unchanged."""
    classifier = make_classifier().fit(messages)
    before = classifier.predict_proba(TEXTS, task="intent")
    monkeypatch.setattr("rapidfit_sk._training.net.MultiheadNet._release", interrupt)
    with pytest.raises(KeyboardInterrupt):
        classifier.partial_fit(messages)
    assert np.array_equal(classifier.predict_proba(TEXTS, task="intent"), before)
    assert len(classifier.net_.history) == 2


def interrupt(*args):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("config__pooling", "cls"),
        ("config__head", HeadConfig(hidden_layers=2)),
        ("config__training__model_name", "another/encoder"),
    ],
)
def test_changed_architecture_is_refused(make_classifier, messages, parameter, value):
    """Training is refused if a changed parameter needs another module; the message names it."""
    classifier = make_classifier(warm_start=True).fit(messages.head(100))
    classifier.set_params(**{parameter: value})
    name = parameter.rpartition("__")[2]
    for call in (classifier.fit, classifier.partial_fit):
        with pytest.raises(
            ValueError, match=f"'{name}' was .* Set it back, or fit with warm_start"
        ):
            call(messages.head(100))


def test_memory_mapped_weights_can_train(make_classifier, messages, tmp_path):
    """A classifier with read-only memory-mapped weights can train, and its file does not change."""
    joblib.dump(make_classifier().fit(messages), tmp_path / "model.joblib")
    content = (tmp_path / "model.joblib").read_bytes()
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    before = mapped.predict_proba(TEXTS, task="intent")
    mapped.partial_fit(messages)
    assert not np.array_equal(mapped.predict_proba(TEXTS, task="intent"), before)
    assert (tmp_path / "model.joblib").read_bytes() == content


# --------------------------------------------------------------------------------------------
# add_task


def test_add_task_changes_no_other_task(make_classifier, messages, sentiment, intent):
    """Predictions of earlier tasks stay the same to the bit, and the new head learns."""
    first = pd.concat([sentiment, intent])
    evaluation = EvalConfig(metric="loss", patience=30)
    classifier = make_classifier(epochs=2, learning_rate=3e-3, eval=evaluation).fit(first)
    classifier.set_params(config__training__epochs=40)
    scores, n_epochs = classifier.test_scores_, len(classifier.net_.history)
    before = classifier.predict_proba(messages["text"])
    # A task that is easy to learn from the tokens: whether the text has a question mark.
    new = intent.assign(task="asks", label=intent["text"].str.contains(r"\?"))
    assert classifier.add_task(new) is classifier
    assert classifier.tasks_ == ["sentiment", "intent", "asks"]
    after = classifier.predict_proba(messages["text"])
    for task in before:
        assert np.array_equal(before[task], after[task])
        assert classifier.test_scores_[task] == scores[task]
    assert classifier.classes_["asks"].tolist() == [False, True]
    assert classifier.predict(["Why?"], task="asks").dtype == bool
    found = classifier["asks"].predict(new["text"])
    assert balanced_accuracy_score(new["label"], found) > 0.65  # chance is 0.5
    assert 0 < classifier.test_scores_["asks"]["n_rows"] <= 30
    assert len(classifier.net_.history) > n_epochs
    clone(classifier)
    assert np.array_equal(joblib_copy(classifier).predict(TEXTS), classifier.predict(TEXTS))


def joblib_copy(classifier):
    import pickle

    return pickle.loads(pickle.dumps(classifier))


def test_add_task_to_a_shallow_copy(make_classifier, sentiment, intent):
    """Adding a task to a shallow copy does not change the original, which shares its weights."""
    classifier = make_classifier(epochs=0).fit(sentiment)
    before = classifier.predict_proba(TEXTS)
    other = copy.copy(classifier).add_task(intent)
    assert other.tasks_ == ["sentiment", "intent"]
    shared = [each.net_.module_.encoder.parameters() for each in (other, classifier)]
    assert all(one.data_ptr() == another.data_ptr() for one, another in zip(*shared, strict=True))
    assert np.array_equal(classifier.predict_proba(TEXTS), before)


def test_add_task_disturbs_no_prediction(make_classifier, sentiment, intent):
    """Shared parts never enter training mode, because dropout would change predictions."""
    classifier = make_classifier(epochs=0).fit(sentiment)
    modes = []
    for part in (classifier.net_.module_.heads[0], classifier.net_.module_.encoder):
        part.train = lambda mode=True, part=part: modes.append(mode) or part
    classifier.add_task(intent)
    assert modes
    assert not any(modes)


@pytest.mark.parametrize("method", ["predict", "predict_all", "predict_proba"])
def test_prediction_uses_a_snapshot(make_classifier, sentiment, intent, monkeypatch, method):
    """A task that is added during a prediction does not affect this prediction."""
    classifier = make_classifier().fit(sentiment)
    expected = getattr(classifier, method)(TEXTS)

    def meanwhile(*args):
        monkeypatch.undo()
        classifier.add_task(intent)
        return read_texts(*args)

    monkeypatch.setattr("rapidfit_sk._prediction.read_texts", meanwhile)
    assert np.array_equal(getattr(classifier, method)(TEXTS), expected)
    assert classifier.tasks_ == ["sentiment", "intent"]


def test_add_task_encodes_each_text_once(make_classifier, messages, sentiment, intent):
    """add_task encodes each text and each label text once, whatever the number of epochs."""
    classifier = make_classifier(epochs=20).fit(sentiment)
    seen = []
    hook = classifier.net_.module_.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        classifier.add_task(pd.concat([intent, intent]))
    finally:
        hook.remove()
    assert sum(seen) == intent["text"].nunique() + intent["label"].nunique()


def test_added_head_equals_a_fitted_head(make_classifier, sentiment, intent):
    """On the same frozen encoder, add_task and fit train the same head."""
    options = {"encoder": NO_ENCODER, "epochs": 8, "learning_rate": 1e-3}
    fitted = make_classifier(**options).fit(intent)
    added = make_classifier(**options).fit(sentiment).add_task(intent)
    np.testing.assert_allclose(
        added.predict_proba(TEXTS, task="intent"),
        fitted.predict_proba(TEXTS, task="intent"),
        rtol=1e-3,
    )


def test_add_task_forms(make_classifier, sentiment, intent):
    """A long frame, (X, y), and texts with y and a name add the same task."""
    base = make_classifier(epochs=0).fit(sentiment)
    forms = [
        {"X": intent},
        {"X": intent.drop(columns="label"), "y": intent["label"]},
        {"X": intent["text"].tolist(), "y": intent["label"].tolist(), "task": "intent"},
        {"X": intent["text"], "y": intent["label"].rename("intent")},
        {"X": intent, "task": "intent"},
        {"X": intent[["text", "label"]], "task": "intent"},
    ]
    answers = [
        joblib_copy(base).add_task(**form).predict_proba(TEXTS, task="intent") for form in forms
    ]
    assert all(np.array_equal(answers[0], answer) for answer in answers[1:])


def test_add_task_with_weights_and_labels(make_classifier, sentiment, intent):
    """add_task uses sample_weight, and task_labels sets the columns of the new task."""
    labels = {"intent": ["ask", "buy", "complain", "never", "sell"]}
    classifier = make_classifier(epochs=0, task_labels=None).fit(sentiment)
    classifier.set_params(task_labels=labels)
    weighted = joblib_copy(classifier).add_task(
        intent, sample_weight=np.random.default_rng(0).uniform(0.1, 10, len(intent))
    )
    plain = classifier.add_task(intent)
    assert plain.predict_proba(TEXTS, task="intent").shape == (3, 5)
    assert not np.array_equal(
        plain.predict_proba(TEXTS, "intent"), weighted.predict_proba(TEXTS, "intent")
    )
    zeros = (intent["label"] != "ask").astype(float)
    rest = joblib_copy(make_classifier(epochs=0).fit(sentiment)).add_task(
        intent, sample_weight=zeros
    )
    assert rest.classes_["intent"].tolist() == ["ask", "buy", "complain", "sell"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, X: c.add_task(X), ValueError, "one task at a time.*'sentiment', 'intent'"),
        (
            lambda c, X: c.add_task(X[X.task == "intent"]),
            ValueError,
            "already has a task 'intent'.*partial_fit",
        ),
        (
            lambda c, X: c.add_task(X[X.task == "emotion"], task="mood"),
            ValueError,
            "got rows of 'emotion' and task='mood'",
        ),
        (lambda c, X: c.add_task(["a", "b"], ["x", "y"]), ValueError, "add_task\\(X, y, task="),
        (lambda c, X: c.add_task(["a", "b"], ["x", "y"], task=3), TypeError, "got 3"),
        (lambda c, X: c.add_task(["a", "b"], task="t"), ValueError, "y is missing"),
        (lambda c, X: clone(c).add_task(X), NotFittedError, "not fitted"),
    ],
)
def test_add_task_refuses(fitted, messages, make_classifier, intent, call, error, message):
    """Input that is not exactly one new task is refused, and the classifier does not change."""
    classifier = make_classifier(epochs=0).fit(intent)
    with pytest.raises(error, match=message):
        call(classifier, messages)
    assert classifier.tasks_ == ["intent"]


def test_task_weights_of_other_tasks_do_not_matter(make_classifier, sentiment, intent):
    """add_task ignores task_weights of other tasks."""
    loss = LossConfig(task_weights={"sentiment": 2.0})
    classifier = make_classifier(epochs=0, loss=loss).fit(sentiment)
    assert classifier.add_task(intent).tasks_ == ["sentiment", "intent"]


# --------------------------------------------------------------------------------------------
# classes, replace, remove_task


def test_partial_fit_with_classes(make_classifier, messages, intent):
    """`classes` fixes the columns, for one task as an array and for several tasks as a dict."""
    one = intent[intent["label"] == "ask"].head(4)
    texts, labels = one["text"].tolist(), one["label"].tolist()
    with pytest.raises(ValueError, match="only one class.*set 'task_labels' to all classes"):
        make_classifier().partial_fit(texts, labels)
    classifier = make_classifier().partial_fit(texts, labels, ["ask", "buy"])
    assert classifier.classes_["label"].tolist() == ["ask", "buy"]
    assert classifier.predict_proba(TEXTS).shape == (len(TEXTS), 2)
    classes = {"intent": ["ask", "buy", "complain", "sell"], "sentiment": ["negative", "positive"]}
    first = messages[messages["label"].isin(["ask", "negative"])]
    several = make_classifier().partial_fit(first, classes=classes)
    assert {task: labels.tolist() for task, labels in several.classes_.items()} == classes
    with pytest.raises(ValueError, match="several tasks"):
        make_classifier().partial_fit(first, classes=["ask"])
    with pytest.raises(ValueError, match="'buy' is not one of the classes in the 'classes'"):
        make_classifier().partial_fit(intent, classes={"intent": ["ask", "sell"]})
    later = make_classifier().partial_fit(intent, classes={**classes, "topic": ["a", "b"]})
    assert later.tasks_ == ["intent"]
    with pytest.raises(ValueError, match="'classes' parameter must be an array-like"):
        make_classifier().partial_fit(texts, labels, classes=5)
    fixed = make_classifier(task_labels={"sentiment": ["negative", "positive"]})
    with pytest.raises(ValueError, match="'neutral' is not one .* in the 'task_labels' parameter"):
        fixed.partial_fit(messages, classes={"intent": classes["intent"]})


@pytest.mark.parametrize("val_size", [0, 0.2])
def test_verbose_add_task_shows_the_new_head(make_classifier, messages, intent, capsys, val_size):
    """add_task shows the scores of the new head, whatever the fit before held out."""
    classifier = make_classifier(val_size=val_size, epochs=2).fit(messages)
    classifier.set_params(verbose=1).add_task(intent.assign(task="topic"))
    shown = capsys.readouterr().err
    assert "topic" in shown
    assert "No rows were held out" not in shown


def test_remove_task_changes_no_other_task(make_classifier, messages, tmp_path):
    """The other tasks give the same probabilities to the bit, also after saving and training."""
    classifier = make_classifier(memory=tmp_path / "memory").fit(messages)
    before = classifier.predict_proba(TEXTS)
    assert classifier.remove_task("intent") is classifier
    assert classifier.tasks_ == ["sentiment", "emotion"]
    assert "intent" not in classifier.test_scores_
    assert "intent" not in classifier.truncated_fraction_
    classifier.save(tmp_path / "model")
    for again in (classifier, MultiheadClassifier.load(tmp_path / "model")):
        after = again.predict_proba(TEXTS)
        assert list(after) == ["sentiment", "emotion"]
        assert all(np.array_equal(after[task], before[task]) for task in after)
    classifier.partial_fit(messages)
    assert classifier.tasks_ == ["sentiment", "emotion", "intent"]


def test_replaced_task(make_classifier, messages, sentiment, intent):
    """add_task(replace=True) trains the head anew, as if the task had never been there."""
    classifier = make_classifier().fit(messages)
    before = classifier.predict_proba(TEXTS)
    other = intent.assign(label=np.where(intent["label"] == "ask", "question", "other"))
    fresh = joblib_copy(classifier).remove_task("intent").add_task(other)
    with pytest.raises(ValueError, match="already has a task 'intent'"):
        classifier.add_task(other)
    classifier.set_params(config__training__test_size=0).add_task(other, replace=True)
    assert "intent" not in classifier.test_scores_
    classifier = make_classifier().fit(messages).add_task(other, replace=True)
    assert classifier.tasks_ == ["sentiment", "emotion", "intent"]
    after = classifier.predict_proba(TEXTS)
    assert np.array_equal(after["intent"], fresh.predict_proba(TEXTS)["intent"])
    assert all(np.array_equal(after[task], before[task]) for task in ("sentiment", "emotion"))
    only = make_classifier().fit(sentiment).add_task(sentiment, replace=True)
    assert only.tasks_ == ["sentiment"]
    assert only.add_task(intent, replace=True).tasks_ == ["sentiment", "intent"]


def test_remove_task_refuses(make_classifier, sentiment, intent):
    """An unknown task, the only task and an unfitted classifier lead to an error."""
    classifier = make_classifier().fit(sentiment)
    with pytest.raises(ValueError, match="only task"):
        classifier.remove_task("sentiment")
    with pytest.raises(ValueError, match="'intent'"):
        classifier.remove_task("intent")
    with pytest.raises(NotFittedError):
        make_classifier().remove_task("intent")
    with pytest.raises(ValueError, match="'replace'"):
        classifier.add_task(intent, replace="yes")
    assert classifier.tasks_ == ["sentiment"]


@pytest.mark.parametrize("how", ["partial_fit", "warm start"])
def test_temperatures_are_kept(make_classifier, messages, how):
    """Training on more rows keeps the temperatures of its tasks; a new task has 1."""
    new = messages[messages["task"] == "intent"].assign(task="topic")
    classifier = make_classifier(val_size=None, test_size=0).fit(messages)
    before = classifier.temperatures_
    assert 1.0 not in before.values()
    if how == "partial_fit":
        classifier.partial_fit(pd.concat([messages, new]))
    else:
        classifier.set_params(warm_start=True).fit(pd.concat([messages, new]))
    assert classifier.temperatures_ == {**before, "topic": 1.0}
    classifier.set_params(config__eval__calibrate=False).partial_fit(messages)
    assert set(classifier.temperatures_.values()) == {1.0}
