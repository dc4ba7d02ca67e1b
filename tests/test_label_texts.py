"""Label texts: what they change with many rows, with few rows and with none."""

import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from skorch.callbacks import Callback

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TextClassifier,
    TrainingConfig,
)
from rapidfit_sk.model_selection import multitask_scoring

BUNDLED = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]
TOPICS = {"delivery": "parcels and shipping", "payment": ["invoices", "a refund"]}


def real(kind=MultiheadClassifier, *, epochs=3, **parameters):
    """Return a classifier on the bundled encoder that trains only its heads."""
    config = MultiheadConfig(
        training=TrainingConfig(model_name=BUNDLED, test_size=0, epochs=epochs),
        encoder=EncoderConfig(unfreeze_layers=0),
        eval=EvalConfig(calibrate=False),
    )
    return kind(config, random_state=0, **parameters)


@pytest.fixture(scope="module")
def split(messages):
    """Two rows per class, and the rows of all other texts."""
    few = messages.sample(frac=1, random_state=1).groupby(["task", "label"]).head(2)
    return few, messages[~messages["text"].isin(few["text"])]


def first_texts(rows):
    """Return label texts that certainly describe the rows, because they are some of them."""
    first = rows.groupby(["task", "label"])["text"].first()
    return {task: first[task].to_dict() for task in rows["task"].unique()}


def macro_f1(classifier, rows, task):
    """Return the macro-F1 of one task."""
    rows = rows[rows["task"] == task]
    return f1_score(rows["label"], classifier[task].predict(rows["text"]), average="macro")


def mean_f1(classifier, rows):
    """Return the mean macro-F1 over tasks."""
    return np.mean([macro_f1(classifier, rows, task) for task in classifier.tasks_])


# --------------------------------------------------------------------------------------------
# Few rows and many rows


@pytest.mark.slow
def test_names_help_with_few_rows(split):
    """With two rows per class, names improve the mean F1 score by several points."""
    few, rest = split
    without = mean_f1(real(label_texts=None).fit(few), rest)
    assert mean_f1(real().fit(few), rest) > without + 0.03


@pytest.mark.slow
def test_shuffled_names_end_at_no_weight(messages):
    """Names of other labels get no weight, and predictions are those of a fit without names."""
    rows = messages[messages["task"] == "emotion"].groupby("label").head(8)
    names = ["angry", "happy", "sad", "surprised"]
    shuffled = {"emotion": dict(zip(names, np.roll(names, 1), strict=True))}
    classifier = real(label_texts=shuffled).fit(rows)
    assert not classifier.label_texts_["weight"].any()
    assert classifier.fitted_on_["emotion"] == f"{len(rows)} rows"
    without = real(label_texts=None).fit(rows)
    np.testing.assert_allclose(
        classifier.predict_proba(TEXTS, task="emotion"),
        without.predict_proba(TEXTS, task="emotion"),
        atol=1e-4,
    )


def test_names_without_words_change_nothing(make_classifier, messages):
    """If no label is made of words, a fit equals a fit without label texts to the bit."""
    rows = messages.assign(label="L" + messages.groupby("task")["label"].rank("dense").astype(str))
    one = make_classifier().fit(rows)
    two = make_classifier(label_texts=None).fit(rows)
    assert one.label_texts_.empty
    for task in one.tasks_:
        np.testing.assert_array_equal(
            one.predict_proba(TEXTS, task=task), two.predict_proba(TEXTS, task=task)
        )


@pytest.mark.slow
def test_a_text_counts_less_the_more_rows_there_are(messages):
    """The weight of a text is at most one row, falls after 8 rows, and is 0 with 16 rows."""
    rows = messages[messages["task"] == "intent"].sample(frac=1, random_state=0)
    weights = {}
    for n in (2, 8, 12, 16):
        few = rows.groupby("label").head(n)
        weights[n] = real(epochs=1).fit(few).label_texts_["weight"].to_numpy()
    assert (weights[2] > 0).all()
    assert (weights[8] > 0.95).all()
    np.testing.assert_allclose(weights[12], 0.5, atol=0.02)
    assert not weights[16].any()


def test_texts_of_the_user_are_used(make_classifier, messages):
    """`label_texts_` has the texts of the user and, for other labels, the words of their names."""
    rows = messages[messages["task"] == "emotion"]
    texts = {"emotion": {"sad": ["unhappy", "disappointed"]}}
    found = make_classifier(label_texts=texts).fit(rows).label_texts_
    assert found["text"].tolist() == ["angry", "happy", "unhappy", "disappointed", "surprised"]
    assert found["label"].tolist() == ["angry", "happy", "sad", "sad", "surprised"]
    assert set(found["task"]) == {"emotion"}


@pytest.mark.parametrize("sampling", ["sqrt", "equal"])
def test_label_texts_work_with_each_sampling(make_classifier, messages, sampling):
    """Label texts do not change the number of steps, and train with each sampling of tasks."""
    unshared = messages.drop_duplicates("text").iloc[:64]
    unshared = pd.concat([unshared, messages[messages["task"] == "intent"].iloc[64:128]])
    losses = {}
    for name, texts in (("with", first_texts(unshared)), ("without", None)):
        classifier = make_classifier(task_sampling=sampling, label_texts=texts, test_size=0)
        history = classifier.fit(unshared).net_.history
        losses[name] = history[:, "train_loss"]
        assert set(history[:, "train_batch_count"]) == {4}
    assert losses["with"] != losses["without"]


def test_label_texts_are_never_held_out(make_classifier, messages):
    """Label texts are training rows: they are in no validation or test rows, and in no index."""
    classifier = make_classifier(val_size=0.2, test_size=0.2).fit(messages)
    parts = [classifier.train_indices_, classifier.val_indices_, classifier.test_indices_]
    assert sorted(np.concatenate(parts)) == list(range(len(messages)))
    assert all(epoch["valid_batch_count"] for epoch in classifier.net_.history)


# --------------------------------------------------------------------------------------------
# Labels and tasks without rows


SENTENCES = {
    "weather": ["Will it rain tomorrow?", "It snowed all night.", "A storm is coming."],
    "cooking": ["Boil the pasta for ten minutes.", "Add some salt.", "Bake it in the oven."],
    "music": ["Play a song by Queen.", "The band sang well.", "I practice the piano."],
    "sports": ["Who won the match?", "She scored two goals.", "He runs marathons."],
}


@pytest.mark.slow
@pytest.mark.parametrize("missing", SENTENCES)
def test_a_label_without_rows_is_predicted(missing):
    """A declared label that no row has is predicted from its name, as in folds that lack it."""
    rows = pd.DataFrame(
        [(text, "topic", label) for label, texts in SENTENCES.items() for text in texts],
        columns=["text", "task", "label"],
    )
    known, lacking = rows[rows["label"] != missing], SENTENCES[missing]
    labels = {"topic": list(SENTENCES)}
    classifier = real(task_labels=labels).fit(known)
    assert (classifier.predict(lacking, task="topic") == missing).any()
    assert (classifier.predict(known["text"], task="topic") == known["label"]).all()
    without = real(task_labels=labels, label_texts=None).fit(known)
    assert not (without.predict(lacking, task="topic") == missing).any()


def test_label_texts_declare_labels(make_classifier, messages):
    """A label with a text is a class, even if no row has it."""
    rows = messages[messages["task"] == "emotion"]
    classifier = make_classifier(label_texts={"emotion": {"bored": "boredom"}}).fit(rows)
    assert classifier.classes_["emotion"].tolist() == [
        "angry",
        "bored",
        "happy",
        "sad",
        "surprised",
    ]
    with pytest.raises(ValueError, match="text for 'bored', which is not one of the classes"):
        classifier.set_params(task_labels={"emotion": rows["label"].unique()}).fit(rows)


@pytest.mark.slow
def test_a_fit_without_rows(messages):
    """Without any rows, all tasks are predicted from texts above chance on real texts."""
    labels = {task: rows["label"].unique() for task, rows in messages.groupby("task")}
    classifier = real(task_labels=labels).fit(messages["text"])
    assert set(classifier.fitted_on_.values()) == {
        "no rows and 3 label texts",
        "no rows and 4 label texts",
    }
    assert classifier.temperatures_ == dict.fromkeys(labels, 1.0)
    for task in labels:
        assert macro_f1(classifier, messages, task) > 1 / 3
        assert classifier[task].predict_proba(messages["text"]).max(axis=1).mean() < 0.9
    assert not len(classifier.net_.history)
    assert len(classifier.train_indices_) == 0


def forms_without_rows(texts):
    """Return arguments of `fit` in which the task "topic" has no rows."""
    empty = pd.DataFrame({"text": [], "task": [], "label": []}, dtype=object)
    return {
        "list": (list(texts),),
        "Series": (pd.Series(texts),),
        "frame of texts": (pd.DataFrame({"text": texts}),),
        "polars": (pl.DataFrame({"text": list(texts)}),),
        "no texts": ([],),
        "empty long frame": (empty,),
        "empty dict": ({"topic": []},),
        "missing labels": (list(texts), pd.DataFrame({"topic": [None] * len(texts)})),
    }


@pytest.mark.parametrize("form", forms_without_rows(TEXTS))
def test_each_form_of_no_rows(make_classifier, form):
    """Each form of input without labels gives the same model."""
    one, two = (make_classifier(label_texts={"topic": TOPICS}) for _ in range(2))
    one.fit(*forms_without_rows(TEXTS)[form])
    np.testing.assert_array_equal(one.predict_proba(TEXTS), two.fit(TEXTS).predict_proba(TEXTS))


def test_a_task_without_rows_beside_others(make_classifier, messages):
    """A fit adds the head of a declared task without rows after those that it trains."""
    wide = messages[messages["task"] == "intent"].set_index("text")[["label"]]
    for X, y in (
        (messages, None),
        (list(wide.index), wide.rename(columns={"label": "intent"}).assign(topic=None)),
        ({**{t: r.to_dict("records") for t, r in messages.groupby("task")}, "topic": []}, None),
    ):
        classifier = make_classifier(label_texts={"topic": TOPICS}).fit(X, y)
        assert classifier.tasks_[-1] == "topic"
        assert classifier.fitted_on_["topic"] == "no rows and 3 label texts"
        logits = np.log(classifier.predict_proba(TEXTS, task="topic"))
        assert np.abs(logits[:, 0] - logits[:, 1]).max() <= 32


def test_a_forgotten_y_is_an_error(make_classifier, messages):
    """Without declared tasks, or with a label column in X, texts without y are an error."""
    with pytest.raises(ValueError, match="y is missing"):
        make_classifier().fit(TEXTS)
    frame = messages[["text", "label"]]
    with pytest.raises(ValueError, match="no column 'task'"):
        make_classifier(label_texts={"topic": TOPICS}).fit(frame)


def test_add_task_without_rows(make_classifier, messages):
    """add_task without rows changes no other task by a bit, and trains nothing."""
    classifier = make_classifier().fit(messages)
    before, n_epochs = classifier.predict_proba(TEXTS), len(classifier.net_.history)
    classifier.add_task(task="topic", label_texts=TOPICS)
    after = classifier.predict_proba(TEXTS)
    for task in before:
        np.testing.assert_array_equal(before[task], after[task])
    assert classifier.tasks_[-1] == "topic"
    assert classifier.classes_["topic"].tolist() == ["delivery", "payment"]
    assert len(classifier.net_.history) == n_epochs
    classifier.add_task(task="topic", label_texts={"a b": "x", "c d": "y"}, replace=True)
    assert classifier.classes_["topic"].tolist() == ["a b", "c d"]


def test_logits_are_cosine_similarities(make_classifier, messages):
    """Logits without rows are 16 times the cosines of a text and the mean text of a label."""
    classifier = make_classifier(pooling="mean").fit(messages)
    classifier.add_task(task="topic", label_texts=TOPICS)
    net, texts = classifier.net_, ["parcels and shipping", "invoices", "a refund"]
    unit = net.embed_texts(classifier.tokenizer_, [*texts, *TEXTS])
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    payment = unit[1] + unit[2]
    names = np.array([unit[0], payment / np.linalg.norm(payment)])
    expected = 16 * unit[3:] @ names.T
    found = np.log(classifier.predict_proba(TEXTS, task="topic"))
    np.testing.assert_allclose(
        found[:, 0] - found[:, 1], expected[:, 0] - expected[:, 1], atol=1e-3
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "topic"}, "has neither rows nor label texts"),
        ({"label_texts": TOPICS}, "'task' parameter: the name of a task"),
        ({"task": "intent", "label_texts": TOPICS}, "already has a task 'intent'"),
        ({"task": "topic", "label_texts": {"a": "x"}}, "has only one class"),
        ({"task": "topic", "label_texts": {"a": "x", "b": 3}}, "'label_texts' .* must be"),
    ],
)
def test_bad_calls_of_add_task(make_classifier, messages, arguments, message):
    """add_task without rows needs a new name and the texts of at least two labels."""
    classifier = make_classifier().fit(messages)
    with pytest.raises((ValueError, TypeError), match=message):
        classifier.add_task(**arguments)


@pytest.mark.slow
def test_first_rows_sharpen_a_head_without_rows(messages):
    """The first rows of a task in partial_fit improve its predictions."""
    rows = messages[messages["task"] == "emotion"].sample(frac=1, random_state=0)
    few = rows.groupby("label").head(12)
    rest = rows[~rows["text"].isin(few["text"])]
    labels = {"emotion": rows["label"].unique()}
    classifier = real(task_labels=labels).fit(rows["text"])
    before = macro_f1(classifier, rest, "emotion")
    classifier.partial_fit(few)
    assert macro_f1(classifier, rest, "emotion") > before + 0.05
    assert classifier.fitted_on_["emotion"] == "48 rows and 4 label texts"
    assert (classifier.label_texts_["weight"] <= 0.5).all()


def test_heads_without_rows_follow_the_encoder(make_classifier, messages):
    """After the encoder has trained, a head without rows still compares with its label texts."""
    classifier = make_classifier(warm_start=True, pooling="mean", learning_rate=1e-2).fit(messages)
    classifier.add_task(task="topic", label_texts=TOPICS)
    classifier.partial_fit(messages).partial_fit(messages)
    fresh = classifier.predict_proba(TEXTS, task="topic")
    classifier.add_task(task="topic", label_texts=TOPICS, replace=True)
    np.testing.assert_allclose(fresh, classifier.predict_proba(TEXTS, task="topic"), atol=1e-5)


@pytest.mark.slow
def test_hidden_layers(split):
    """With a hidden layer, texts alone still predict better than chance."""
    _, rest = split
    labels = {"emotion": rest.loc[rest["task"] == "emotion", "label"].unique()}
    classifier = real(task_labels=labels).set_params(config__head=HeadConfig(hidden_layers=1))
    assert macro_f1(classifier.fit(rest["text"]), rest, "emotion") > 0.35


# --------------------------------------------------------------------------------------------
# Persistence, search, checkpoints and TextClassifier


@pytest.fixture
def with_topic(make_classifier, messages):
    """A classifier with texts for labels that are ints, and with a task without rows."""
    texts = {"size": {1: "small", 2: ["large", "big"]}, "topic": TOPICS}
    return make_classifier(label_texts=texts).fit(messages)


def test_label_texts_are_saved(with_topic, tmp_path):
    """Folders and pickles keep the parameter, the texts, their weights and the numbers of rows."""
    joblib.dump(with_topic, tmp_path / "file")
    for copy in (
        MultiheadClassifier.load(with_topic.save(tmp_path / "folder") and tmp_path / "folder"),
        joblib.load(tmp_path / "file"),
        pickle.loads(pickle.dumps(with_topic)),
    ):
        assert copy.label_texts == with_topic.label_texts
        pd.testing.assert_frame_equal(copy.label_texts_, with_topic.label_texts_)
        assert copy.fitted_on_ == with_topic.fitted_on_
        pd.testing.assert_frame_equal(copy.predict_all(TEXTS), with_topic.predict_all(TEXTS))
        copy.partial_fit(TEXTS[:2], pd.Series(["delivery", "payment"], name="topic"))
        assert copy.fitted_on_["topic"] == "2 rows and 3 label texts"


def test_models_without_label_texts_have_no_weight(make_classifier, messages):
    """Without label texts, there is an empty table, and the number of rows is known."""
    classifier = make_classifier(label_texts=None, test_size=0, val_size=0).fit(messages)
    assert classifier.label_texts_.columns.tolist() == ["task", "label", "text", "weight"]
    assert classifier.label_texts_.empty
    assert classifier.fitted_on_["sentiment"] == "300 rows"


def test_removed_tasks_leave_nothing(with_topic):
    """A removed task is in neither `label_texts_` nor `fitted_on_`."""
    with_topic.remove_task("topic")
    assert "topic" not in with_topic.fitted_on_
    assert "topic" not in set(with_topic.label_texts_["task"])


def test_label_texts_may_be_searched(make_classifier, messages, encoded, tmp_path):
    """A search compares label texts with none, and encodes each text once with a cache."""
    few = messages[messages["task"] == "intent"].groupby("label").head(8)
    options = {"test_size": 0, "val_size": 0, "encoder": EncoderConfig(unfreeze_layers=0)}
    search = GridSearchCV(
        make_classifier(memory=tmp_path, **options),
        {"label_texts": [first_texts(few), "auto", None]},
        cv=2,
        scoring=multitask_scoring(["intent"]),
        refit=False,
    )
    search.fit(few)
    assert len(set(search.cv_results_["mean_test_mean_accuracy"])) > 1
    assert sum(encoded) == few["text"].nunique() + few["label"].nunique()


class Interrupts(Callback):
    """Callback that raises an error in the second epoch, once."""

    failed = False

    def on_epoch_begin(self, net, **kwargs):
        if net.epoch_ == 1 and not Interrupts.failed:
            Interrupts.failed = True
            raise OSError("interrupted")


def test_a_resumed_fit_keeps_the_weights_of_texts(make_classifier, messages, tmp_path):
    """A fit that continues from a checkpoint trains on label texts as the whole fit does."""
    few = messages.groupby(["task", "label"]).head(4)
    options = {"epochs": 3, "test_size": 0, "val_size": 0, "callbacks": [Interrupts()]}
    options["label_texts"] = first_texts(few)
    Interrupts.failed = True
    whole = make_classifier(**options).fit(few)
    Interrupts.failed = False
    resumed = make_classifier(checkpoint_dir=tmp_path / "checkpoint", **options)
    with pytest.raises(OSError, match="interrupted"):
        resumed.fit(few)
    resumed.fit(few)
    assert whole.label_texts_["weight"].max() > 0.01
    for task, expected in whole.predict_proba(TEXTS).items():
        np.testing.assert_array_equal(resumed.predict_proba(TEXTS)[task], expected)


@pytest.mark.slow
def test_text_classifier_without_rows(messages):
    """TextClassifier predicts from label texts alone if y is None."""
    rows = messages[messages["task"] == "emotion"]
    names = {label: label for label in rows["label"].unique()}
    for texts in (names, {"label": names}):
        classifier = real(TextClassifier, label_texts=texts).fit(rows["text"])
        assert classifier.classes_.tolist() == sorted(names)
        assert classifier.score(rows["text"], rows["label"]) > 0.4
        assert classifier.fitted_on_ == {"label": "no rows and 4 label texts"}
    with pytest.raises(ValueError, match="requires y to be passed"):
        real(TextClassifier).fit(rows["text"])


def test_text_classifier_predicts_a_class_that_a_fold_lacks(make_config):
    """A label with a text has a column in each fold, even if the fold has no row of it."""
    texts = ["good", "fine", "bad", "awful", "unclear", "odd"] * 2
    labels = ["praise", "praise", "blame", "blame", "praise", "other"] * 2
    named = {"praise": "praise", "blame": "blame", "other": "something else"}
    config = make_config(test_size=0, val_size=0)
    classifier = TextClassifier(config, label_texts=named, random_state=0)
    assert classifier.fit(texts[:5], labels[:5]).predict_proba(texts).shape == (12, 3)
    # cross_val_predict replaces labels by numbers: "blame" is 0, "other" is 1, and "praise" is 2.
    codes = np.unique(labels, return_inverse=True)[1]
    with pytest.warns(UserWarning, match="another type than those in the 'label_texts'"):
        assert classifier.fit(texts, codes).label_texts_.empty
    classifier.set_params(label_texts=dict(enumerate([named[k] for k in sorted(named)])))
    folds = [(np.arange(5), np.arange(5, 12)), (np.arange(5, 12), np.arange(5))]
    p = cross_val_predict(classifier, texts, labels, cv=folds, method="predict_proba")
    assert (p > 0).all()


def test_classifier_for_a_task_keeps_its_texts(make_classifier):
    """classifier_for passes the label texts on."""
    texts = {"topic": TOPICS}
    assert make_classifier(label_texts=texts).classifier_for("topic").label_texts == texts


@pytest.mark.parametrize("texts", ["names", ["a"], {"topic": "sports"}, {"topic": ["sports"]}, 3])
def test_bad_label_texts(make_classifier, messages, texts):
    """An invalid value of the parameter is an error that lists what is allowed."""
    with pytest.raises(ValueError, match="'label_texts' parameter .* a str among {'auto'}"):
        make_classifier(label_texts=texts).fit(messages)


# --------------------------------------------------------------------------------------------
# Several calls, and texts of other labels and tasks


def test_texts_of_labels_that_no_row_has_yet(make_classifier, make_config, messages):
    """Texts of labels of helpers and of tasks without rows in a call never stop a training."""
    few = messages.groupby(["task", "label"]).head(6)
    emotion, intent = (few[few["task"] == task] for task in ("emotion", "intent"))
    texts = {"intent": {"return": "send it back"}}
    one = TextClassifier(make_config(), task="emotion", label_texts=texts, random_state=0)
    one.fit(emotion["text"], emotion["label"], helpers=(intent,))
    assert "return" in one.model_.classes["intent"]
    several = make_classifier(label_texts={"topic": TOPICS}).fit(few)
    several.set_params(label_texts={"topic": {**TOPICS, "opening": "opening hours"}})
    several.partial_fit(few)
    assert several.classes_["topic"].tolist() == ["delivery", "payment"]


def test_texts_follow_their_labels(make_classifier, messages, tmp_path):
    """If a task gets new labels, the texts of its old labels stay with them."""
    rows = messages[messages["task"] == "emotion"].groupby("label").head(4)
    classifier = make_classifier(test_size=0, val_size=0).fit(rows)
    before = classifier.label_texts_
    bored = rows.assign(label=rows["label"].replace("angry", "bored"))
    classifier.set_params(label_texts=None).partial_fit(bored)
    pd.testing.assert_frame_equal(classifier.label_texts_, before)
    loaded = MultiheadClassifier.load(classifier.save(tmp_path / "model") and tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.label_texts_, before)


def test_new_labels_use_only_their_own_texts(make_classifier, messages):
    """In partial_fit, only the texts of new labels train, with even odds if they have no rows."""
    rows = messages[messages["task"] == "emotion"]
    classifier = make_classifier(test_size=0, val_size=0).fit(rows)
    assert not classifier.label_texts_["weight"].any()
    classifier.set_params(label_texts={"emotion": {"bored": "boredom"}}).partial_fit(rows.head(8))
    weights = classifier.label_texts_.set_index("label")["weight"]
    assert weights["bored"] == pytest.approx(0.5)
    assert not weights.drop("bored").any()


def test_calls_without_rows_can_be_repeated(make_classifier, make_config):
    """A call in which a declared task has no rows works again after it worked once."""
    y = pd.DataFrame({"intent": ["ask", "buy"] * 4, "topic": [None] * 8})
    options = {"warm_start": True, "test_size": 0, "val_size": 0}
    several = make_classifier(label_texts={"topic": TOPICS}, **options)
    several.partial_fit(list("abcdefgh"), y).partial_fit(list("abcdefgh"), y)
    several.fit(list("abcdefgh"), y)
    assert several.fitted_on_["topic"] == "no rows and 3 label texts"
    one = TextClassifier(make_config(), label_texts=TOPICS, warm_start=True, random_state=0)
    assert one.fit(TEXTS).fit(TEXTS).fitted_on_ == {"label": "no rows and 3 label texts"}
    again = make_classifier(label_texts={"topic": TOPICS}, warm_start=True).fit(TEXTS).fit(TEXTS)
    assert again.tasks_ == ["topic"]


def test_one_epoch_uses_all_rows(make_classifier):
    """A call of partial_fit draws each row once, whatever the number of label texts."""
    words = ["red", "green", "blue", "black", "white", "pink", "gray", "brown"] * 8
    texts = [f"{word} {i}" for i, word in enumerate(words)]
    for label_texts, n_steps in (("auto", 3), (None, 2)):
        classifier = make_classifier(label_texts=label_texts)
        classifier.partial_fit(texts, pd.Series(words, name="color"))
        assert classifier.net_.history[-1, "train_batch_count"] == n_steps


def test_texts_without_use_are_not_reported(make_classifier, messages):
    """Tasks without rows in a later fit do not report texts that did not train."""
    few = messages.groupby(["task", "label"]).head(6)
    classifier = make_classifier(label_texts=None, warm_start=True, test_size=0, val_size=0)
    classifier.fit(few).set_params(label_texts="auto").fit(few[few["task"] == "intent"])
    assert set(classifier.label_texts_["task"]) == {"intent"}
    assert classifier.fitted_on_["sentiment"] == "18 rows"


def test_tasks_with_similar_names_train_in_parts(make_classifier):
    """Two declared tasks may have similar names, and their rows may come in separate calls."""
    texts = {"topic_a": {"x y": "one", "z w": "two"}, "topic_b": {"x y": "one", "z w": "two"}}
    rows = pd.DataFrame({"text": TEXTS[:2], "task": "topic_a", "label": ["x y", "z w"]})
    assert make_classifier(label_texts=texts).partial_fit(rows).tasks_ == ["topic_a", "topic_b"]


def test_weights_of_tasks_without_rows(make_classifier, messages):
    """A declared task may have a weight in the loss before it has rows."""
    classifier = make_classifier(
        label_texts={"topic": TOPICS}, loss=LossConfig(task_weights={"topic": 2.0})
    )
    assert classifier.fit(messages).tasks_[-1] == "topic"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"emotion": {"x y": "one", "z w": "two"}}, "names 'emotion', which is not a task"),
        ({"x y": "same", "z w": "same"}, "labels 'x y', 'z w' have the same texts"),
    ],
)
def test_bad_texts_of_one_task(make_config, texts, message):
    """Texts of another task, and the same text for two labels, are errors of TextClassifier."""
    classifier = TextClassifier(make_config(), label_texts=texts, random_state=0)
    with pytest.raises(ValueError, match=message):
        classifier.fit(TEXTS, ["x y", "z w", "x y"])


def test_validation_rows_without_labels(make_classifier, make_config):
    """Validation rows without training rows are an error."""
    classifier = make_classifier(label_texts={"topic": TOPICS})
    with pytest.raises(ValueError, match="X_val has no effect"):
        classifier.fit(TEXTS, X_val=TEXTS, y_val=pd.Series(["payment"] * 3, name="topic"))
    one = TextClassifier(make_config(), label_texts=TOPICS)
    with pytest.raises(ValueError, match="X_val has no effect"):
        one.fit(TEXTS, X_val=TEXTS, y_val=["payment"] * 3)
