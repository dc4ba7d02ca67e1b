"""`TextClassifier`: one task, with the interface of a scikit-learn classifier, and helpers."""

import pickle
import typing
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone, is_classifier
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from skorch.callbacks import Callback

from rapidfit_sk import LossConfig, MultiheadClassifier, MultiheadConfig, TextClassifier

TEXTS = ["Do you ship to Norway?", "It broke again!", "Two tickets, please."]


@pytest.fixture
def intent(messages):
    """The rows of one task, with an index that starts at 300."""
    return messages[messages["task"] == "intent"]


@pytest.fixture
def helpers(messages):
    """The rows of the other tasks."""
    return messages[messages["task"] != "intent"]


@pytest.fixture
def make(make_config):
    """Function that builds a classifier that trains fast."""

    def build(config=None, **parameters):
        config = config or make_config(test_size=0, val_size=0)
        return TextClassifier(config, **{"random_state": 0, **parameters})

    return build


class SeenTexts(Callback):
    """Callback that records the texts of each task that the net trains on."""

    log: ClassVar = []

    def on_train_begin(self, net, X=None, **kwargs):
        texts = np.array(X.tokens.texts, dtype=object)
        self.log.append([set(texts[X.texts[X.tasks == task]]) for task in range(X.n_tasks)])


# --------------------------------------------------------------------------------------------
# One task


def test_equals_a_multihead_classifier_with_one_task(make, make_config, intent):
    """Without helpers, the probabilities are those of MultiheadClassifier to the bit."""
    config = make_config(test_size=0.1, val_size=0.1)
    one = make(config).fit(intent["text"], intent["label"])
    y = pd.Series(intent["label"].to_numpy(), name="label")
    other = MultiheadClassifier(config, random_state=0).fit(intent["text"].tolist(), y)
    assert np.array_equal(one.predict_proba(TEXTS), other.predict_proba(TEXTS))
    assert one.test_scores_ == other.test_scores_["label"]
    assert one.temperature_ == other.temperatures_["label"]
    assert np.array_equal(one.val_indices_, other.val_indices_)


def test_forms_of_texts(make, intent):
    """All forms of X give the same model, and so does a frame with a task column."""
    y = intent["label"].to_numpy()
    texts = intent["text"]
    forms = [
        texts,
        texts.tolist(),
        texts.to_numpy(),
        texts.to_numpy()[:, None],
        texts.rename("message").to_frame(),
        intent[["text", "task"]],
    ]
    probabilities = [make().fit(X, y).predict_proba(X) for X in forms]
    assert all(np.array_equal(p, probabilities[0]) for p in probabilities)


def test_labels_keep_their_type(make, intent):
    """classes_ is a sorted array, and predictions have its type."""
    y = intent["label"].map({"ask": 3, "buy": 1, "complain": 2, "sell": 0}).to_numpy(np.int16)
    classifier = make().fit(intent["text"], y)
    assert classifier.classes_.tolist() == [0, 1, 2, 3]
    assert classifier.classes_.dtype == classifier.predict(TEXTS).dtype == np.int16
    assert classifier.predict_proba(TEXTS).sum(axis=1) == pytest.approx(1)


def test_it_is_a_classifier(make):
    """The tags are those of a classifier of texts that requires y."""
    tags = get_tags(make())
    assert is_classifier(make())
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert tags.target_tags.required
    assert not tags.target_tags.multi_output


def test_all_rows_train_by_default(make, make_config, intent):
    """test_size=None means 0 here and 0.1 in MultiheadClassifier; a number is the same in both."""
    texts, y = intent["text"].tolist(), intent["label"].tolist()
    default = make(make_config(val_size=0, test_size=None))
    assert len(default.fit(texts, y).train_indices_) == 300
    assert default.test_scores_ == {}
    multihead = MultiheadClassifier(default.config, random_state=0).fit(texts, y)
    assert len(multihead.test_indices_) == 30
    assert default.config.training.test_size is None
    explicit = make(make_config(val_size=0, test_size=0.2)).fit(texts, y)
    assert len(explicit.test_indices_) == explicit.test_scores_["n_rows"] == 60


def test_a_column_of_labels_is_raveled_with_a_warning(make, intent):
    """Labels of shape (n, 1) work as in scikit-learn."""
    with pytest.warns(DataConversionWarning, match="column-vector"):
        column = make().fit(intent["text"], intent[["label"]])
    flat = make().fit(intent["text"], intent["label"])
    assert np.array_equal(column.predict_proba(TEXTS), flat.predict_proba(TEXTS))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed, but the target y is None"),
        (np.zeros((300, 2)), "got 2 columns.*helpers.*MultiheadClassifier"),
        (["ask"] * 300, "only one class.*'classes' to partial_fit"),
        (["ask"] * 299, "same number of rows, got 300 and 299"),
        (np.linspace(0, 1, 300), "Unknown label type: continuous"),
    ],
)
def test_bad_labels(make, intent, y, message):
    """Labels that cannot be used lead to a message that says what to do."""
    with pytest.raises(ValueError, match=message):
        make().fit(intent["text"], y)


def test_pickle_and_save(make, intent, helpers, tmp_path):
    """Pickles and folders restore parameters, attributes and probabilities."""
    classifier = make(task="intent").fit(intent["text"], intent["label"], helpers=helpers)
    expected = classifier.predict_proba(TEXTS)
    loaded = TextClassifier.load(classifier.save(tmp_path / "model") and tmp_path / "model")
    for again in (pickle.loads(pickle.dumps(classifier)), loaded):
        assert np.array_equal(again.predict_proba(TEXTS), expected)
        assert again.classes_.tolist() == classifier.classes_.tolist()
        assert again.helper_tasks_ == ["sentiment", "emotion"]
        assert again.task == "intent"
        assert again.truncated_fraction_ == classifier.truncated_fraction_
        assert np.array_equal(again.train_indices_, classifier.train_indices_)
    with pytest.raises(ValueError, match=r"saved by TextClassifier, so use TextClassifier\.load"):
        MultiheadClassifier.load(tmp_path / "model")


def test_scores_are_saved(make, make_config, intent, tmp_path):
    """A folder contains the test scores of the only task."""
    classifier = make(make_config(test_size=0.1)).fit(intent["text"], intent["label"])
    classifier.save(tmp_path / "model")
    assert TextClassifier.load(tmp_path / "model").test_scores_ == classifier.test_scores_


def test_folder_of_the_other_class(fitted, tmp_path):
    """load of the wrong class names the right one."""
    fitted.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"use MultiheadClassifier\.load"):
        TextClassifier.load(tmp_path / "model")


# --------------------------------------------------------------------------------------------
# Training goes on


def test_partial_fit_with_classes(make, intent):
    """`classes` fixes the columns, also if the first rows are all of one class."""
    one = intent[intent["label"] == "ask"].head(4)
    classes = ["ask", "buy", "complain", "sell"]
    classifier = make().partial_fit(one["text"], one["label"], classes)
    assert classifier.classes_.tolist() == classes
    for label in classes[1:]:
        rows = intent[intent["label"] == label].head(8)
        classifier.partial_fit(rows["text"], rows["label"])
    assert classifier.predict_proba(TEXTS).shape == (3, 4)
    assert len(classifier.net_.history) == 4
    with pytest.raises(ValueError, match="'return' is not one of the classes"):
        classifier.partial_fit(TEXTS, ["return", "ask", "buy"], classes)
    classifier.partial_fit(TEXTS, ["return", "ask", "buy"])
    assert classifier.classes_.tolist() == ["ask", "buy", "complain", "return", "sell"]


def test_partial_fit_on_one_class_names_the_way_out(make):
    """The message of a first batch with one class names `classes`."""
    with pytest.raises(ValueError, match="pass all classes as 'classes' to partial_fit"):
        make().partial_fit(TEXTS, ["ask"] * 3)


def test_warm_start(make, intent, helpers):
    """A warm start continues from the fitted weights and keeps classes and helper tasks."""
    classifier = make(warm_start=True).fit(intent["text"], intent["label"], helpers=helpers)
    n_epochs = len(classifier.net_.history)
    rows = intent[intent["label"].isin(["ask", "buy"])]
    classifier.fit(rows["text"], rows["label"])
    assert len(classifier.net_.history) == 2 * n_epochs
    assert classifier.classes_.tolist() == ["ask", "buy", "complain", "sell"]
    assert classifier.helper_tasks_ == ["sentiment", "emotion"]
    with pytest.raises(ValueError, match="'label' in the earlier fit and is 'topic' now"):
        classifier.set_params(task="topic").fit(rows["text"], rows["label"])


# --------------------------------------------------------------------------------------------
# Helpers


@pytest.mark.parametrize("form", ["frame", "tuple of a frame", "wide", "weights", "dict"])
def test_forms_of_helpers(make, intent, helpers, form):
    """Helpers come in any form of MultiheadClassifier.fit, and change the model."""
    wide = helpers.pivot(index="text", columns="task", values="label")[["sentiment", "emotion"]]
    wide = wide.dropna()
    X, y = helpers[["text", "task"]], helpers["label"]
    given = {
        "frame": helpers,
        "tuple of a frame": (helpers,),
        "wide": (wide.index.tolist(), wide.reset_index(drop=True)),
        "weights": (X, y, np.ones(len(X))),
        "dict": {
            task: rows[["text", "label"]].to_dict("records")
            for task, rows in helpers.groupby("task", sort=False)
        },
    }[form]
    classifier = make(task="intent").fit(intent["text"], intent["label"], helpers=given)
    assert classifier.classes_.tolist() == ["ask", "buy", "complain", "sell"]
    assert classifier.helper_tasks_ == ["sentiment", "emotion"]
    assert len(classifier.train_indices_) == 300
    alone = make().fit(intent["text"], intent["label"])
    assert not np.allclose(alone.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.assign(task="label"), "task 'label', which is the task of y"),
        (lambda rows: rows.head(300), r"as many rows as X \(300\).*helpers=\(frame,\)"),
        (lambda rows: (rows, None, None, None), "got a tuple of 4 items"),
        (lambda rows: rows.drop(columns="task"), "In the helpers: .*'task'"),
        (lambda rows: rows.assign(label="x"), "In the helpers: .*only one class.*leave out this"),
        (lambda rows: (["a b", "c d"], ["u", "v"]), "In the helpers: The task has no name"),
    ],
)
def test_bad_helpers(make, intent, helpers, change, message):
    """Helpers that cannot be used lead to a message that names them."""
    with pytest.raises(ValueError, match=message):
        make().fit(intent["text"], intent["label"], helpers=change(helpers))


def test_helpers_with_held_out_texts_do_not_train(make, make_config, intent, helpers):
    """No text of a validation, test or calibration row trains, not even with another task."""
    SeenTexts.log = []
    config = make_config(test_size=0.2, val_size=0.2)
    classifier = make(config, callbacks=[SeenTexts()], label_texts=None)
    classifier.fit(intent["text"], intent["label"], helpers=helpers)
    held_out = {*classifier.val_indices_, *classifier.test_indices_}
    texts = intent["text"].to_numpy()
    ((own, *others),) = SeenTexts.log
    assert len(held_out) == 60 + 48
    assert own == set(texts[classifier.train_indices_])
    every = [set(rows["text"]) for _, rows in helpers.groupby("task", sort=False)]
    assert others == [of_task - set(texts[list(held_out)]) for of_task in every]


def test_helpers_with_given_validation_texts_do_not_train(make, intent, helpers):
    """Texts of X_val do not train, also if helpers contain them in another normalization."""
    SeenTexts.log = []
    accented = helpers.assign(text=helpers["text"] + " \u00e9")
    X_val = intent["text"].head(50) + " e\u0301"
    make(callbacks=[SeenTexts()], label_texts=None).fit(
        intent["text"].tail(250),
        intent["label"].tail(250),
        helpers=accented,
        X_val=X_val,
        y_val=intent["label"].head(50),
    )
    ((_, *others),) = SeenTexts.log
    every = [set(rows["text"]) for _, rows in accented.groupby("task", sort=False)]
    composed = set(X_val.str.normalize("NFC"))
    assert others == [of_task - composed for of_task in every]


def test_calibration_fit_leaves_out_helpers_of_its_calibration_texts(
    make, make_config, intent, helpers, monkeypatch
):
    """The temperature is fitted on texts that no task of the calibration fit has trained on."""
    from rapidfit_sk import _fitting

    trained = []
    original = _fitting.fit_model

    def recorded(recipe, rows, validation=None, **options):
        trained.append([set(rows.take(rows.tasks == t).texts.distinct) for t in range(3)])
        return original(recipe, rows, validation, **options)

    monkeypatch.setattr("rapidfit_sk._engine.fit_model", recorded)
    config = make_config(test_size=0, val_size=None)
    classifier = make(config).fit(intent["text"], intent["label"], helpers=helpers)
    (own, *others), last = trained
    calibration = set(intent["text"]) - own
    assert len(calibration) == 75
    every = [set(rows["text"]) for _, rows in helpers.groupby("task", sort=False)]
    assert others == [of_task - calibration for of_task in every]
    assert last == [set(intent["text"]), *every]
    assert classifier.temperature_ != 1


def test_cross_validation_passes_helpers_as_a_whole(make, intent, helpers):
    """Each fold gets all helpers with metadata routing; a frame that would be split is an error."""
    SeenTexts.log = []
    sentiment = helpers[helpers["task"] == "sentiment"]
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = make(callbacks=[SeenTexts()], label_texts=None).set_fit_request(helpers=True)
        cross_validate(
            make_pipeline(FunctionTransformer(lambda X: X), classifier),
            intent["text"],
            intent["label"],
            cv=3,
            params={"helpers": (sentiment,)},
            error_score="raise",
        )
        assert [[len(seen) for seen in fit] for fit in SeenTexts.log] == [[200, 300]] * 3
        with pytest.raises(ValueError, match=r"200\).*splits.*helpers=\(frame,\)"):
            cross_validate(
                classifier,
                intent["text"],
                intent["label"],
                cv=StratifiedKFold(3),
                params={"helpers": sentiment},
                error_score="raise",
            )


def test_task_weights_of_missing_helpers(make, make_config, intent, helpers):
    """Without helpers, task_weights have no effect; with helpers, they are checked and used."""
    config = make_config(test_size=0, val_size=0, loss=LossConfig(task_weights={"emotion": 3.0}))
    texts, y = intent["text"], intent["label"]
    weighted, plain = make(config).fit(texts, y), make().fit(texts, y)
    assert np.array_equal(weighted.predict_proba(TEXTS), plain.predict_proba(TEXTS))
    helped = make(config).fit(texts, y, helpers=helpers)
    other = make().fit(texts, y, helpers=helpers)
    assert not np.array_equal(helped.predict_proba(TEXTS), other.predict_proba(TEXTS))
    with pytest.raises(ValueError, match="names 'emotion'"):
        make(config).fit(texts, y, helpers=(helpers[helpers["task"] == "sentiment"],))


# --------------------------------------------------------------------------------------------
# Relation to MultiheadClassifier


def test_classifier_for(fitted, intent):
    """classifier_for returns an unfitted classifier with copies of the parameters."""
    classifier = fitted.classifier_for("intent")
    assert not hasattr(classifier, "model_")
    assert classifier.task == "intent"
    assert classifier.config is not fitted.config
    shared = set(classifier.get_params()) & set(fitted.get_params()) - {"config"}
    groups = {"config__training", "config__encoder", "config__head", "config__loss", "config__eval"}
    for name in shared - groups:
        assert classifier.get_params()[name] == fitted.get_params()[name]
    clone(classifier).fit(intent["text"], intent["label"])
    with pytest.raises(TypeError, match="must be"):
        fitted.classifier_for(3)


def test_a_view_names_classifier_for(fitted, intent):
    """The error of a view that is fitted names classifier_for."""
    with pytest.raises(TypeError, match=r"classifier_for\('intent'\)"):
        fitted["intent"].fit(intent["text"], intent["label"])


def test_tools_that_expect_one_task_get_one_sentence(make_config, intent):
    """A tool that expects an array of classes gets an error that names TextClassifier."""
    classifier = MultiheadClassifier(make_config(test_size=0, val_size=0), random_state=0)
    classifier.fit(intent["text"].tolist(), intent["label"].tolist())
    for use in (np.asarray, lambda classes: classes.shape, lambda classes: classes[0]):
        with pytest.raises(
            (TypeError, AttributeError),
            match=r"use TextClassifier: pass classifier\.classifier_for",
        ):
            use(classifier.classes_)
    assert classifier.classes_["label"].tolist() == ["ask", "buy", "complain", "sell"]
    assert dict(classifier.classes_) == classifier.classes_


def test_search_over_the_configuration(make, intent):
    """A grid search sets parameters of the configuration and refits."""
    search = GridSearchCV(make(), {"config__head__dropout": [0.0, 0.5]}, cv=2, scoring="f1_macro")
    search.fit(intent["text"], intent["label"])
    assert len(search.cv_results_["mean_test_score"]) == 2
    assert search.predict(TEXTS).shape == (3,)


def test_default_configuration():
    """The classifier can be built without parameters, and nothing happens at this time."""
    classifier = TextClassifier()
    assert classifier.get_params()["config__training__test_size"] is None
    assert clone(classifier.set_params(config=MultiheadConfig())).config.training is None


# --------------------------------------------------------------------------------------------
# Helpers in other trainings


def test_helpers_train_in_partial_fit(make, intent, helpers):
    """partial_fit trains on helpers, too."""
    texts, y = intent["text"], intent["label"]
    alone, helped = make().fit(texts, y), make().fit(texts, y)
    alone.partial_fit(texts, y)
    helped.partial_fit(texts, y, helpers=helpers)
    assert helped.helper_tasks_ == ["sentiment", "emotion"]
    assert not np.allclose(alone.predict_proba(TEXTS), helped.predict_proba(TEXTS))


def test_checkpoints_depend_on_helpers(make, intent, helpers, tmp_path):
    """A kept checkpoint belongs to its helpers."""
    texts, y = intent["text"], intent["label"]
    classifier = make(checkpoint_dir=tmp_path, keep_checkpoints=True)
    first = classifier.fit(texts, y, helpers=helpers).predict_proba(TEXTS)
    again = clone(classifier).fit(texts, y, helpers=helpers)
    assert np.array_equal(again.predict_proba(TEXTS), first)
    with pytest.raises(ValueError, match="the helpers"):
        clone(classifier).fit(texts, y, helpers=helpers.tail(400))


def test_a_helper_task_without_training_rows_leads_to_a_warning(make, intent, helpers):
    """A warning names a helper task that has only held-out texts."""
    few = helpers[helpers["task"] == "sentiment"].head(20)
    is_few = intent["text"].isin(few["text"])
    held_out, rest = intent[is_few], intent[~is_few]
    with pytest.warns(UserWarning, match="All helpers of 'sentiment' have texts of validation"):
        make().fit(
            rest["text"], rest["label"], helpers=(few,),
            X_val=held_out["text"], y_val=held_out["label"],
        )  # fmt: skip


def test_messages_name_no_parameter_of_the_other_class(make, intent):
    """Messages do not mention task_labels, TaskStratifiedKFold or MultiheadClassifier."""
    texts, y = intent["text"].tolist(), intent["label"].tolist()
    with pytest.warns(UserWarning, match=r"Correct the labels\.$"):
        make().fit(texts, [*y[:-4], "Ask", "Ask", "Ask", "Ask"])
    for parameters in ({"callbacks": [3]}, {"device": "nope"}):
        with pytest.raises(ValueError, match="parameter must") as caught:
            make(**parameters).fit(texts, y)
        assert "MultiheadClassifier" not in str(caught.value)
    with pytest.raises(ValueError, match=r"partial_fit\.$"):
        make().fit(texts, ["ask"] * 300)


def test_coverage_that_is_not_known(make, intent):
    """An attribute that the fitted model does not know does not exist."""
    classifier = make().fit(intent["text"], intent["label"])
    assert classifier.truncated_fraction_ == 0
    classifier.model_ = replace(classifier.model_, coverage=None)
    assert not hasattr(classifier, "truncated_fraction_")


def test_type_hints_of_the_classes():
    """The type hints of both classes can be evaluated."""
    for kind in (TextClassifier, MultiheadClassifier):
        assert "config" in typing.get_type_hints(kind)


def test_classifier_for_of_a_subclass(make_config):
    """classifier_for leaves out parameters that only a subclass has."""

    class Named(MultiheadClassifier):
        def __init__(self, config=None, *, nickname="x", random_state=None):
            super().__init__(config, random_state=random_state)
            self.nickname = nickname

    assert Named(make_config(), random_state=3).classifier_for("a").random_state == 3
