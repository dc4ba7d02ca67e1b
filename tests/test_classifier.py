"""`MultiheadClassifier`: input forms, splits, predictions, parameters, seeds and errors."""

import json
import os
import pickle
import random
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from rapidfit_sk import (
    EncoderConfig,
    LossConfig,
    MultiheadClassifier,
)
from rapidfit_sk._fitting import find_device
from rapidfit_sk._model import load_tokenizer
from rapidfit_sk._rows import log_probabilities, probabilities
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

TASKS = ["sentiment", "intent", "emotion"]
LONG = pd.DataFrame({"text": ["a"], "task": ["intent"], "label": ["ask"]})
TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]


# --------------------------------------------------------------------------------------------
# Input forms


@pytest.fixture(scope="module")
def wide(messages):
    """The messages with one column per task."""
    frame = messages.pivot_table(index="text", columns="task", values="label", aggfunc="first")
    return frame[["sentiment", "intent", "emotion"]].reset_index()


def test_forms_train_alike(make_classifier, messages):
    """A long frame and (X, y) give the same model with any index; y replaces a label column."""
    shuffled_index = messages.set_index(np.arange(len(messages))[::-1] // 3)
    fits = [
        make_classifier().fit(messages),
        make_classifier().fit(shuffled_index),
        make_classifier().fit(messages.drop(columns="label"), messages["label"].to_numpy()),
        make_classifier().fit(messages.assign(label="x"), messages["label"].tolist()),
    ]
    first = fits[0].predict_all(TEXTS)
    for classifier in fits[1:]:
        pd.testing.assert_frame_equal(classifier.predict_all(TEXTS), first)


@pytest.mark.filterwarnings("ignore:y has missing labels")
def test_dict_and_wide_labels_train_alike(make_classifier, messages, wide):
    """A dict of tasks and wide labels give the same model as a long frame in the same order."""
    by_task = messages.sort_values("task", key=lambda t: t.map(TASKS.index), kind="stable")
    guide = {
        task: rows[["text", "label"]].to_dict("records")
        for task, rows in by_task.groupby("task", sort=False)
    }
    expected = make_classifier().fit(by_task).predict_all(TEXTS)
    pd.testing.assert_frame_equal(make_classifier().train(guide).predict_all(TEXTS), expected)
    long = wide.melt("text", var_name="task", value_name="label").dropna()
    expected = make_classifier().fit(long).predict_all(TEXTS)
    frame = make_classifier().fit(wide["text"], wide.drop(columns="text"))
    pd.testing.assert_frame_equal(frame.predict_all(TEXTS), expected)


def test_custom_column_names(make_classifier, messages):
    """Column names can be chosen, other columns are ignored, and a missing one is an error."""
    frame = messages.rename(columns={"text": "body", "task": "what", "label": "is"}).assign(n=1)
    classifier = make_classifier(text_column="body", task_column="what", label_column="is")
    classifier.fit(frame)
    assert classifier.predict(frame.head(5)).shape == (5,)
    with pytest.raises(ValueError, match="no column 'body'"):
        classifier.predict(messages.rename(columns={"task": "what"}))


@pytest.mark.parametrize(
    "name", ["type", "keys", "v1.2", "a/b", "with space", "日本", "items", "self"]
)
def test_task_names(make_classifier, name):
    """Any non-empty string can name a task, even one that Python or torch uses for itself."""
    data = {name: [{"text": f"text {i}", "label": i % 2} for i in range(8)]}
    classifier = make_classifier().fit(data)
    assert classifier.tasks_ == [name]
    assert classifier[name].predict(["text"]).shape == (1,)
    assert classifier.named_estimators_[name].classes_.tolist() == [0, 1]
    assert name in classifier
    assert "nothing" not in classifier


def test_predictions_have_the_type_of_labels(make_classifier):
    """Predictions have the type of the labels; an array over tasks of several types has objects."""
    texts = [f"text number {i}" for i in range(40)]
    y = pd.DataFrame(
        {
            "number": np.arange(40, dtype=np.int32) % 3,
            "flag": np.arange(40) % 2 == 0,
            "stars": np.arange(40) % 2 + 0.5,
            "name": np.where(np.arange(40) % 2, "yes", "no"),
        }
    )
    classifier = make_classifier().fit(texts, y)
    dtypes = {task: classifier.predict(texts, task=task).dtype for task in classifier.tasks_}
    assert dtypes == {"number": np.int32, "flag": bool, "stars": float, "name": object}
    both = classifier.predict(texts)
    assert both.dtype == object
    assert both.shape == (40, 4)
    assert [type(value) for value in both[0]] == [int, bool, float, str]
    frame = classifier.predict_all(texts)
    assert [frame[task].dtype.kind for task in ("number", "flag", "stars")] == ["i", "b", "f"]
    mixed = pd.DataFrame({"text": texts[:2], "task": ["flag", "name"]})
    assert [type(value) for value in classifier.predict(mixed)] == [bool, str]
    same = classifier.predict(pd.DataFrame({"text": texts[:2], "task": ["flag", "flag"]}))
    assert same.dtype == bool


def test_single_task_predicts_plain_arrays(make_classifier, messages):
    """With one task, predict and predict_proba return plain arrays, as any classifier does."""
    rows = messages[messages["task"] == "intent"]
    classifier = make_classifier().fit(rows["text"].tolist(), rows["label"].tolist())
    assert classifier.tasks_ == ["label"]
    assert classifier.predict(TEXTS).shape == (3,)
    assert classifier.predict_proba(TEXTS).shape == (3, 4)
    assert 0 <= classifier.score(rows["text"], rows["label"].to_numpy()) <= 1
    assert classifier.score(rows["text"], rows["label"]) == classifier.score(
        rows["text"].tolist(), pd.Series(rows["label"].tolist(), name="other")
    )


@pytest.mark.filterwarnings("ignore:y has missing labels")
def test_texts_with_missing_labels_are_split_once(make_classifier, wide):
    """A text that lacks the label of one task is still in exactly one part of the split."""
    wide = wide.head(60).copy()
    wide.loc[:, "emotion"] = wide["emotion"].where(wide.index % 2 == 0)
    classifier = make_classifier(val_size=0.2).fit(wide["text"], wide.drop(columns="text"))
    parts = [set(classifier.train_indices_), set(classifier.val_indices_)]
    parts.append(set(classifier.test_indices_))
    assert set.union(*parts) == set(range(60))
    assert sum(map(len, parts)) == 60
    assert classifier.test_scores_["sentiment"]["n_rows"] == len(classifier.test_indices_)


def user_warnings(record):
    """Return the warnings of the package, because scikit-learn 1.6 lets scipy add others."""
    return [warning for warning in record if warning.category is UserWarning]


def test_the_smallest_data(make_classifier, minimal_setup):
    """Two tasks of two rows each train and predict, with one warning about rows not held out."""
    with pytest.warns(UserWarning, match="Too few rows") as record:
        classifier = make_classifier().train(minimal_setup)
    (warning,) = user_warnings(record)
    message = str(warning.message)
    assert "test_size=0.1: no rows of 'sentiment', 'intent' are held out" in message
    assert "no validation rows" in message
    assert warning.filename == __file__
    assert classifier.predict(["Great product!"], task="sentiment")[0] in ("positive", "negative")
    assert classifier.train_indices_.tolist() == [0, 1, 2, 3]
    assert classifier.test_scores_ == {}


def test_single_rows_are_named(make_classifier, messages):
    """A class with a single row stays in the training data, and one warning names it."""
    odd = pd.DataFrame(
        {"text": ["one", "two"], "task": ["intent"] * 2, "label": ["return", "thank"]}
    )
    with pytest.warns(
        UserWarning, match="single row .*: 'return' of 'intent' and 1 more"
    ) as record:
        classifier = make_classifier().fit(pd.concat([messages, odd]))
    assert len(user_warnings(record)) == 1
    assert {815, 816} <= set(classifier.train_indices_)


def test_contradictions_warn(make_classifier, messages):
    """Rows that contradict each other are kept, with a warning."""
    other = messages.head(1).assign(label="positive")
    with pytest.warns(UserWarning, match="2 rows have the same text and task as another"):
        make_classifier().fit(pd.concat([messages, other]))


# --------------------------------------------------------------------------------------------
# Validation and splits


def test_own_validation_data(make_classifier, messages):
    """Validation data passed to fit chooses the epoch; all rows of X but the test rows train."""
    val = messages.iloc[600:]
    classifier = make_classifier().fit(
        messages.iloc[:600], X_val=val.drop(columns="label"), y_val=val["label"]
    )
    assert len(classifier.val_indices_) == 0
    assert len(classifier.train_indices_) + len(classifier.test_indices_) == 600
    kept = dict(classifier.net_.callbacks_)["early_stopping"].best_epoch_
    assert classifier.score(val) == pytest.approx(classifier.net_.history[kept, "valid_accuracy"])


def test_validation_may_hold_unknown_labels(make_classifier, messages):
    """A validation label that is not in training counts as wrong; an unknown task is an error."""
    train, val = messages.iloc[:600], messages.iloc[600:].copy()
    val["label"] = "never seen"
    classifier = make_classifier().fit(train, X_val=val)
    assert classifier.net_.history[-1, "valid_accuracy"] == 0
    assert np.isfinite(classifier.net_.history[-1, "valid_loss"])
    with pytest.raises(ValueError, match="Task 'other'"):
        make_classifier().fit(train, X_val=val.assign(task="other"))


def test_validation_without_texts_or_with_shared_texts(make_classifier, messages):
    """y_val without X_val is refused, and a warning counts validation texts that are also in X."""
    with pytest.raises(ValueError, match="y_val was given without X_val"):
        make_classifier().fit(messages, y_val=messages["label"])
    with pytest.warns(UserWarning, match="^20 validation texts also occur in X") as record:
        make_classifier().fit(
            messages, X_val=messages[messages["text"].isin(messages["text"].unique()[:20])]
        )
    assert len(user_warnings(record)) == 1


def test_rows_of_a_text_stay_together(fitted, messages):
    """Rows of a text stay on the same side of a split, and each row is on one side."""
    sides = [fitted.train_indices_, fitted.val_indices_, fitted.test_indices_]
    assert np.array_equal(np.sort(np.concatenate(sides)), np.arange(len(messages)))
    texts = [set(messages["text"].iloc[side]) for side in sides]
    assert len(set.union(*texts)) == sum(map(len, texts))
    assert [len(side) / len(messages) for side in sides] == pytest.approx(
        [0.81, 0.09, 0.10], abs=0.015
    )


def test_test_scores_match_the_test_rows(fitted, messages):
    """test_scores_ can be recomputed from the rows at test_indices_."""
    rows = messages.iloc[fitted.test_indices_]
    for task, part in rows.groupby("task"):
        score = fitted.test_scores_[task]
        assert score["accuracy"] == pytest.approx(fitted[task].score(part, part["label"]))
        assert score["n_rows"] == len(part)
    assert fitted.score(rows) == pytest.approx(
        np.mean([score["accuracy"] for score in fitted.test_scores_.values()])
    )


# --------------------------------------------------------------------------------------------
# Prediction


def test_prediction_methods_agree(fitted, messages):
    """predict, predict_all and predict_proba agree, for rows, for texts and for one task."""
    rows = messages.iloc[::7]
    by_row = fitted.predict(rows.drop(columns="label"))
    table = fitted.predict_all(rows["text"])
    assert table.index.equals(rows.index)
    assert by_row.tolist() == [table.at[i, task] for i, task in rows["task"].items()]
    both = fitted.predict(rows["text"].tolist())
    assert (both == table.to_numpy()).all()
    for i, task in enumerate(fitted.tasks_):
        assert (fitted.predict(rows[["text"]], task=task) == both[:, i]).all()
        p = fitted.predict_proba(rows["text"], task=task)
        assert (fitted.classes_[task][p.argmax(1)] == both[:, i]).all()
        np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
        np.testing.assert_allclose(fitted.predict_proba(rows["text"])[task], p)


def test_confidence_of_each_task(fitted):
    """predict_all(proba=True) adds the confidence and all probabilities after each task."""
    frame = fitted.predict_all(pd.Series(TEXTS, index=list("abc")), proba=True)
    labels = fitted.predict_all(TEXTS)
    names = []
    for task, p in fitted.predict_proba(TEXTS).items():
        classes = [f"{task}={label}" for label in fitted.classes_[task]]
        names += [task, f"{task} confidence", *classes]
        assert frame[task].tolist() == labels[task].tolist()
        np.testing.assert_allclose(frame[f"{task} confidence"], p.max(axis=1), rtol=1e-6)
        np.testing.assert_allclose(frame[classes], p, rtol=1e-6)
    assert frame.columns.tolist() == names
    assert frame.index.tolist() == list("abc")
    assert fitted.predict_all([], proba=True).columns.tolist() == names


def test_confidence_of_rows_without_a_label(fitted):
    """A row below the minimum confidence has no label, but a confidence."""
    frame = fitted.predict_all(TEXTS, proba=True, min_confidence=1.0)
    assert frame["intent"].isna().all()
    assert (frame["intent confidence"] < 1).all()


def test_log_probabilities(fitted, messages):
    """predict_log_proba is the logarithm of predict_proba, in the same form."""
    p, log_p = fitted.predict_proba(TEXTS), fitted.predict_log_proba(TEXTS)
    assert list(log_p) == list(p)
    for task in p:
        np.testing.assert_allclose(log_p[task], np.log(p[task]), rtol=1e-6)
        np.testing.assert_allclose(fitted[task].predict_log_proba(TEXTS), log_p[task])
    assert (
        fitted.predict_log_proba(messages.head(3)).keys()
        == fitted.predict_proba(messages.head(3)).keys()
    )


def test_log_probabilities_are_finite():
    """Logits whose probability is rounded to 0 have a finite logarithm."""
    logits = np.array([[0.0, 2000.0]], np.float32)
    assert probabilities(logits)[0, 0] == 0
    assert log_probabilities(logits)[0, 0] == -2000


def test_probabilities_of_a_long_frame(fitted, messages):
    """For a frame of several tasks, predict_proba returns a dict; for one task, an array."""
    rows = messages.iloc[:50]
    p = fitted.predict_proba(rows)
    for task, part in rows.groupby("task"):
        np.testing.assert_allclose(
            p[task], fitted.predict_proba(part["text"], task=task), rtol=1e-5
        )
        one = fitted.predict_proba(part)
        np.testing.assert_allclose(one, p[task], rtol=1e-5)


def test_one_encoder_pass_per_distinct_text(fitted):
    """The encoder processes a distinct text once, whatever the number of tasks and repetitions."""
    seen = []
    hook = fitted.net_.module_.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        fitted.predict_all(TEXTS * 200)
    finally:
        hook.remove()
    assert seen == [3]


def test_prediction_is_batched(fitted, monkeypatch):
    """Many texts are predicted in batches and chunks of limited size, in their original order."""
    from rapidfit_sk import _fitted
    from rapidfit_sk._tokens import TOKENS_PER_PASS

    texts = [f"{text} {i}" for i in range(150) for text in TEXTS]
    whole = fitted.predict_proba(texts)
    monkeypatch.setattr(_fitted, "CHUNK", 100)
    sizes = []
    hook = fitted.net_.module_.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    try:
        chunked = fitted.predict_proba(texts)
    finally:
        hook.remove()
    assert max(n_texts * length for n_texts, length in sizes) <= TOKENS_PER_PASS
    assert sum(n_texts for n_texts, _ in sizes) == 450
    assert max(n_texts for n_texts, _ in sizes) <= 100
    for task in fitted.tasks_:
        np.testing.assert_allclose(chunked[task], whole[task], rtol=1e-4)


def test_no_texts(fitted):
    """Without texts, predictions are empty arrays of the right shape."""
    assert fitted.predict([], task="intent").shape == (0,)
    assert fitted.predict([]).shape == (0, 3)
    assert fitted.predict_proba([], task="intent").shape == (0, 4)
    assert fitted.predict_all([]).shape == (0, 3)
    assert fitted.predict(LONG.iloc[:0]).shape == (0,)
    assert fitted.predict_proba(LONG.iloc[:0])["intent"].shape == (0, 4)


def test_score_forms(fitted, messages, wide):
    """score accepts the same input forms as fit, and returns the mean over tasks."""
    labels = messages["label"]
    score = fitted.score(messages)
    assert fitted.score(messages.drop(columns="label"), labels) == score
    assert fitted.score(wide["text"], wide.drop(columns="text")) == pytest.approx(score)
    parts = [fitted.score(messages[messages["task"] == task]) for task in fitted.tasks_]
    assert score == pytest.approx(np.mean(parts))
    intent = messages[messages["task"] == "intent"]
    named = intent["label"].rename("intent")
    assert fitted.score(intent["text"], named) == pytest.approx(parts[1])


def test_unknown_label_counts_as_wrong(fitted, messages):
    """In score, a label that was not in the training data counts as wrong and is no error."""
    rows = messages[messages["task"] == "intent"].copy()
    assert fitted.score(rows.assign(label="never seen")) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda c: c.predict(["a"], task="intend"),
            ValueError,
            "Did you mean 'intent'.* The tasks",
        ),
        (lambda c: c["nothing"], ValueError, "Task 'nothing' was not seen in fit"),
        (lambda c: c.predict("a"), TypeError, "X is one string"),
        (lambda c: c.predict(["a", 3]), TypeError, "row 1"),
        (lambda c: c.predict(["a", None], task="intent"), ValueError, "row 1: the text is missing"),
        (
            lambda c: c.predict(pd.DataFrame({"text": ["a"], "task": ["x"]})),
            ValueError,
            "Row 0: Task 'x' was not seen",
        ),
        (
            lambda c: c.score(pd.DataFrame({"text": ["a"], "task": ["x"], "label": [1]})),
            ValueError,
            "Task 'x'",
        ),
        (lambda c: c.score(["a"], [1]), ValueError, "y has one dimension, but there are several"),
        (lambda c: c.predict({"intent": []}, task="intent"), TypeError, "X is a dict of tasks"),
        (lambda c: c.predict(["a"], task=["intent"]), TypeError, "a string, got \\['intent'\\]"),
        (lambda c: c.score(LONG.iloc[:0]), ValueError, "no rows, so there is nothing"),
    ],
)
def test_invalid_input_for_prediction(fitted, call, error, message):
    """Invalid input for predictions and scores is refused with the reason and the fix."""
    with pytest.raises(error, match=message):
        call(fitted)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_all", "score"])
def test_not_fitted(method):
    """Before fit, prediction raises scikit-learn's NotFittedError."""
    with pytest.raises(NotFittedError):
        getattr(MultiheadClassifier(), method)(["a"])
    with pytest.raises(NotFittedError):
        MultiheadClassifier()["a"]
    with pytest.raises(NotFittedError):
        _ = "a" in MultiheadClassifier()
    assert not hasattr(MultiheadClassifier(), "named_estimators_")


# --------------------------------------------------------------------------------------------
# Parameters and seeds


def test_fit_changes_no_parameter(make_classifier, messages):
    """After fit, each parameter is the same object that was given."""
    classifier = make_classifier(loss=LossConfig(task_weights={"intent": 2.0}))
    before = classifier.get_params()
    classifier.fit(messages)
    after = classifier.get_params()
    assert before.keys() == after.keys()
    assert all(before[key] is after[key] for key in before)


def test_refit_does_not_depend_on_the_first_fit(make_classifier, messages):
    """A second fit on another task does not depend on the first."""
    classifier = make_classifier().fit(messages)
    rows = messages[messages["task"] == "intent"].assign(task="other")
    classifier.fit(rows)
    assert classifier.tasks_ == list(classifier.classes_) == ["other"]
    fresh = make_classifier().fit(rows)
    assert (classifier.predict_proba(TEXTS) == fresh.predict_proba(TEXTS)).all()


def test_interrupted_refit_keeps_the_first_fit(make_classifier, messages, monkeypatch):
    """If a second fit is interrupted while it scores, the first fit stays complete."""
    classifier = make_classifier().fit(messages)
    before = classifier.predict_proba(TEXTS)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("rapidfit_sk._fitted.scores_per_task", interrupt)
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(messages[messages["task"] == "intent"].assign(task="other"))
    assert classifier.tasks_ == list(classifier.test_scores_) == TASKS
    for task, p in classifier.predict_proba(TEXTS).items():
        assert np.array_equal(p, before[task])


@pytest.mark.slow
def test_same_seed_in_two_threads_of_torch(encoder_name):
    """Two fits with the same seed agree to the bit, also if torch uses two threads."""
    code = (
        "import sys, torch, numpy as np\n"
        "from rapidfit_sk import MultiheadClassifier\n"
        "from rapidfit_sk.datasets import load_support_messages\n"
        "assert torch.get_num_threads() == 2\n"
        "p = []\n"
        "for _ in range(2):\n"
        "    classifier = MultiheadClassifier(random_state=0).set_params(\n"
        "        config__training__model_name=sys.argv[1], config__training__epochs=1)\n"
        "    classifier.fit(load_support_messages()[:120])\n"
        "    p.append(classifier.predict_proba(['It broke again!'], task='intent'))\n"
        "assert np.array_equal(*p)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, encoder_name],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )


def test_unfitted_attributes(make_classifier):
    """Before fit, fitted attributes are missing, and the error contains the name of each."""
    for name in ("net_", "tokenizer_", "tasks_", "classes_", "temperatures_", "named_estimators_"):
        assert not hasattr(make_classifier(), name)
        with pytest.raises(AttributeError, match=f"'MultiheadClassifier' .* '{name}' before fit"):
            getattr(make_classifier(), name)


def test_attributes_of_a_subclass_are_kept(make_config, messages):
    """A fit replaces fitted attributes, and keeps attributes that a subclass sets."""

    class Sub(MultiheadClassifier):
        def fit(self, X, y=None):
            self.seen_ = len(X)
            return super().fit(X, y)

    assert Sub(make_config(), random_state=0).fit(messages[:120]).seen_ == 120


def test_unknown_task_is_reported_first(fitted):
    """An unknown task is reported before texts are checked, and `in` accepts any object."""
    for method in (fitted.predict, fitted.predict_proba):
        with pytest.raises(ValueError, match="Task 'nope' was not seen"):
            method("one string", task="nope")
    assert ["intent"] not in fitted


def test_clone_is_unfitted(fitted):
    """A clone of a fitted classifier has its parameters and is not fitted."""
    copy = clone(fitted)
    assert copy.get_params()["config__training__epochs"] == 2
    with pytest.raises(NotFittedError):
        copy.predict(["a"])


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "modernbert", "albert"])
def test_same_seed_gives_the_same_bits(make_classifier, messages, architecture):
    """Two fits with the same seed agree to the bit, with dropout in heads and encoder."""
    name = tiny_encoder(architecture=architecture)
    options = {"model_name": name, "encoder": EncoderConfig(freeze_epochs=0, unfreeze_layers=None)}
    first, second, other = (
        make_classifier(random_state=seed, **options).fit(messages).predict_proba(TEXTS)
        for seed in (0, 0, 1)
    )
    for task in first:
        assert np.array_equal(first[task], second[task])
        assert not np.array_equal(first[task], other[task])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_global_generators_do_not_change(make_classifier, messages, architecture):
    """fit and predict do not change the global generators of Python, numpy and torch."""
    name = tiny_encoder(architecture=architecture)
    state = random.getstate(), np.random.get_state()[1].copy(), torch.random.get_rng_state()
    classifier = make_classifier(
        model_name=name,
        encoder=EncoderConfig(freeze_epochs=0, unfreeze_layers=None),
        random_state=None,
    )
    classifier.fit(messages.head(120)).predict(TEXTS)
    assert random.getstate() == state[0]
    assert np.array_equal(np.random.get_state()[1], state[1])
    assert torch.equal(torch.random.get_rng_state(), state[2])


def test_threads_do_not_disturb_each_other(make_classifier, messages):
    """Fits that run at the same time give the same results as a fit that runs alone."""
    options = {"encoder": EncoderConfig(freeze_epochs=0, unfreeze_layers=None)}
    alone = make_classifier(**options).fit(messages).predict_proba(TEXTS)
    results = {}

    def work(i):
        results[i] = make_classifier(**options).fit(messages).predict_proba(TEXTS)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results.values():
        for task in alone:
            np.testing.assert_allclose(result[task], alone[task], rtol=1e-5)
    assert len(results) == 3


def test_random_state_instance(make_classifier, messages):
    """Each fit draws from a RandomState instance and so advances it, as in scikit-learn."""
    rng = np.random.RandomState(0)
    first = make_classifier(random_state=rng).fit(messages).predict_proba(TEXTS)
    second = make_classifier(random_state=rng).fit(messages).predict_proba(TEXTS)
    again = make_classifier(random_state=np.random.RandomState(0)).fit(messages)
    assert not np.array_equal(first["intent"], second["intent"])
    assert np.array_equal(first["intent"], again.predict_proba(TEXTS)["intent"])


def test_too_long_for_the_encoder(make_classifier, messages):
    """A max_length above the limit of the encoder is refused, and the message gives the limit."""
    with pytest.raises(ValueError, match="'max_length'.* at most 256, .* Got 300"):
        make_classifier(max_length=300).fit(messages)


def with_short_inputs(folder, n):
    """Write a tiny encoder to a folder that reads at most `n` tokens, and return the folder."""
    tokenizer = load_tokenizer(tiny_encoder(folder))
    tokenizer.model_max_length = n
    tokenizer.save_pretrained(folder)
    return str(folder)


def length_of(classifier):
    """Return the number of tokens that the encoder of a fitted classifier reads at once."""
    return classifier.tokenizer_.max_length


def test_default_length_suits_the_encoder(make_classifier, messages, tmp_path):
    """By default, an encoder reads 128 tokens or, if that is less, its longest input."""
    name, few = with_short_inputs(tmp_path / "short", 24), messages.head(40)
    assert length_of(make_classifier().fit(few)) == 128
    short = make_classifier(model_name=name, long_text="windows").fit(few)
    assert length_of(short) == 24
    assert short.config.training.max_length is None
    with pytest.raises(ValueError, match="at most 24, .* Got 25 instead. Set it to None"):
        make_classifier(model_name=name, max_length=25).fit(few)
    loaded = MultiheadClassifier.load(short.save(tmp_path / "model") and tmp_path / "model")
    for each in (short, loaded, pickle.loads(pickle.dumps(short))):
        assert length_of(each) == length_of(each.partial_fit(few)) == 24
        assert each.get_params()["config__training__max_length"] is None
    description = json.loads((tmp_path / "model" / "classifier.json").read_text())
    assert description["max_length"] == 24
    assert description["parameters"]["config"]["training"]["max_length"] is None


def test_warning_about_the_default_length(make_classifier, messages, tmp_path):
    """The warning about cut texts names the length that the default stands for."""
    name = with_short_inputs(tmp_path, 6)
    with pytest.warns(UserWarning, match="Texts are cut after 6 tokens"):
        make_classifier(model_name=name).fit(messages.head(40))


def test_unknown_task_in_weights(make_classifier, messages):
    """A weight for a task that is not in the data is refused."""
    with pytest.raises(ValueError, match="names 'intend'.* Did you mean 'intent'"):
        make_classifier(loss=LossConfig(task_weights={"intend": 2.0})).fit(messages)


def test_device(make_classifier, messages, monkeypatch):
    """The net uses the given device, and "auto" is a GPU if torch finds one."""
    classifier = make_classifier(device=torch.device("cpu")).fit(messages)
    assert classifier.net_.device == "cpu"
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert find_device("auto") == device


def test_nothing_is_written(make_classifier, messages, tmp_path, monkeypatch):
    """fit leaves no file in the working directory."""
    monkeypatch.chdir(tmp_path)
    make_classifier().fit(messages)
    assert list(tmp_path.iterdir()) == []
