"""`split_column`: a column of X that names the training, validation and test rows."""

import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from rapidfit_sk import TextClassifier

TEXTS = ["Do you ship to Norway?", "It broke again!"]
TASKS = ["sentiment", "intent"]


@pytest.fixture(scope="module")
def data(messages):
    """Rows of two tasks with a split column, in an order in which the parts alternate."""
    frame = messages[messages["task"].isin(TASKS)].reset_index(drop=True)
    # The code of a text, so that all rows of a text are in the same part.
    codes = pd.factorize(frame["text"])[0]
    return frame.assign(
        split=np.array(["train", "train", "validation", "train", "test"])[codes % 5]
    )


def positions(data, part):
    return np.flatnonzero(data["split"] == part).tolist()


def same(first, second):
    """Check whether two classifiers predict the same to the bit."""
    first, second = first.predict_proba(TEXTS), second.predict_proba(TEXTS)
    return first.keys() == second.keys() and all(
        np.array_equal(first[task], second[task]) for task in first
    )


def test_the_column_splits_the_rows(make_classifier, data):
    """The fit equals one on the training rows with the validation rows passed as X_val."""
    classifier = make_classifier(split_column="split", epochs=2).fit(data)
    assert classifier.train_indices_.tolist() == positions(data, "train")
    assert classifier.val_indices_.tolist() == positions(data, "validation")
    assert classifier.test_indices_.tolist() == positions(data, "test")
    train, val, test = (data[data["split"] == part] for part in ("train", "validation", "test"))
    expected = make_classifier(test_size=0, epochs=2).fit(train, X_val=val)
    assert same(classifier, expected)
    assert classifier.temperatures_ == expected.temperatures_
    accuracies = [score["accuracy"] for score in classifier.test_scores_.values()]
    assert np.isclose(np.mean(accuracies), expected.score(test))
    n_rows = {task: score["n_rows"] for task, score in classifier.test_scores_.items()}
    assert n_rows == test["task"].value_counts().loc[TASKS].to_dict()
    assert not same(classifier, make_classifier(epochs=2).fit(data.drop(columns="split")))


@pytest.mark.filterwarnings("ignore:y has missing labels")
@pytest.mark.parametrize("form", ["y", "wide", "polars", "index"])
def test_forms_of_x(make_classifier, data, form):
    """Other forms with a split column give the same positions as a long frame."""
    X, y = data, None
    if form == "y":
        X, y = data.drop(columns="label"), data["label"]
    elif form == "polars":
        X = pl.DataFrame({name: data[name].tolist() for name in data})
    elif form == "index":
        X = data.set_index(np.arange(len(data))[::-1])
    elif form == "wide":
        wide = data.pivot_table(
            index=["text", "split"], columns="task", values="label", aggfunc="first"
        ).reset_index()
        X, y = wide[["text", "split"]], wide[TASKS]
    classifier = make_classifier(split_column="split").fit(X, y)
    source = X if form == "wide" else data
    assert classifier.train_indices_.tolist() == positions(source, "train")
    assert classifier.val_indices_.tolist() == positions(source, "validation")
    assert classifier.test_indices_.tolist() == positions(source, "test")
    if form != "wide":
        assert same(classifier, make_classifier(split_column="split").fit(data))


def test_other_names_and_values(make_classifier, data):
    """The column may have another name, and values differ in case, white space and synonyms."""
    expected = make_classifier(split_column="split").fit(data)
    names = {"train": [" Train", "TRAIN"], "test": ["test\n"]}
    names["validation"] = ["val", "Valid", "DEV", "validation "]
    values = [names[part][i % len(names[part])] for i, part in enumerate(data["split"])]
    renamed = data.drop(columns="split").assign(part=pd.Categorical(values))
    assert same(make_classifier(split_column="part").fit(renamed), expected)


@pytest.mark.parametrize(
    ("parts", "options", "sizes"),
    [
        (["train", "test"], {"val_size": 0}, {"val": 0, "test": None}),
        (["train", "test"], {"val_size": 0.2}, {"val": 0.2, "test": None}),
        (["train", "validation"], {"val_size": 0.5}, {"val": None, "test": 0}),
        (["train", "validation"], {"test_size": 0.2}, {"val": None, "test": 0.2}),
        (["train", "test"], {"val_size": 0, "test_size": 0.3}, {"val": 0, "test": None}),
        (["train"], {"val_size": 0}, {"val": 0, "test": 0}),
    ],
)
def test_rows_are_held_out_only_for_other_parts(make_classifier, data, parts, options, sizes):
    """Rows are held out only for a part that the column lacks, and test_size=None means 0.

    None as a size stands for the rows that the column names.
    """
    data = data[data["split"].isin(parts)]
    classifier = make_classifier(split_column="split", **options).fit(data)
    n_train = len(positions(data, "train"))
    found = {"val": classifier.val_indices_, "test": classifier.test_indices_}
    for part, size in sizes.items():
        if size is None:
            name = {"val": "validation", "test": "test"}[part]
            assert found[part].tolist() == positions(data, name)
        else:
            assert set(found[part]) <= set(positions(data, "train"))
            assert np.isclose(len(found[part]) / n_train, size, atol=0.02)
    every = np.concatenate([classifier.train_indices_, *found.values()])
    assert sorted(every) == list(range(len(data)))


def test_x_val_with_a_split_column(make_classifier, data):
    """X_val gives the validation rows if the column has none, and is an error otherwise."""
    val = data[data["split"] == "validation"]
    rest = data[data["split"] != "validation"]
    classifier = make_classifier(split_column="split").fit(rest, X_val=val)
    assert same(classifier, make_classifier(split_column="split").fit(data))
    assert classifier.val_indices_.tolist() == []
    message = (
        "Column 'split' of X has validation rows, but X_val was given, too. Omit X_val, or drop "
        "these rows from X."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        make_classifier(split_column="split").fit(data, X_val=val)


def test_labels_only_in_held_out_rows_are_no_classes(make_classifier, data):
    """A label that only validation or test rows have is not a class, and counts as wrong."""
    is_train = (data["split"] == "train") | (data["task"] != "intent")
    X = data.assign(label=data["label"].where(is_train, "unheard"))
    classifier = make_classifier(split_column="split").fit(X)
    assert "unheard" not in classifier.classes_["intent"]
    assert classifier.test_scores_["intent"]["accuracy"] == 0
    assert classifier.test_scores_["sentiment"]["accuracy"] > 0


def test_weights_follow_their_rows(make_classifier, data):
    """Weights are aligned with all rows of X, and rows of weight 0 belong to no part."""
    weights = (np.arange(len(data)) + 1) % 4
    classifier = make_classifier(split_column="split").fit(data, sample_weight=weights)
    kept = data[weights > 0]
    expected = make_classifier(split_column="split").fit(kept, sample_weight=weights[weights > 0])
    assert same(classifier, expected)
    assert classifier.test_scores_ == expected.test_scores_
    for name in ("train_indices_", "val_indices_", "test_indices_"):
        found = np.flatnonzero(weights > 0)[getattr(expected, name)]
        assert getattr(classifier, name).tolist() == found.tolist()
    weights = np.where((data["task"] == "intent") & (data["split"] == "train"), 0, 1)
    message = "sample_weight is zero for all training rows of task 'intent'. Drop the task, or give"
    with pytest.raises(ValueError, match=message):
        make_classifier(split_column="split").fit(data, sample_weight=weights)


def test_partial_fit_and_add_task(make_classifier, data):
    """partial_fit trains on the training rows only, and add_task uses all parts."""
    train = data[data["split"] == "train"]
    classifier = make_classifier(split_column="split").partial_fit(data)
    assert same(classifier, make_classifier().partial_fit(train))
    assert classifier.train_indices_.tolist() == positions(data, "train")
    assert classifier.val_indices_.tolist() == classifier.test_indices_.tolist() == []
    first, second = (data[data["task"] == task] for task in TASKS)
    classifier = make_classifier(split_column="split").fit(first).add_task(second)
    test = second[second["split"] == "test"]
    score = classifier.test_scores_["intent"]
    assert score["n_rows"] == len(test)
    assert np.isclose(score["accuracy"], classifier.score(test))


def test_texts_in_two_parts(make_classifier, data):
    """A warning gives the number of validation and test texts that also occur in training rows."""
    text = data["text"][data["split"] == "train"].iloc[0]
    other = data["text"][data["split"] == "validation"].iloc[0]
    extra = [("validation", text), ("test", text), ("test", other)]
    rows = [{"text": text, "task": "intent", "label": "ask", "split": part} for part, text in extra]
    with pytest.warns(UserWarning, match="also occur") as caught:
        make_classifier(split_column="split").fit(pd.concat([data, pd.DataFrame(rows)]))
    assert [str(each.message) for each in caught] == [
        "1 validation texts also occur in the training rows, so validation scores are optimistic. "
        "1 test texts also occur in the training rows, so test scores are optimistic."
    ]


def changed(data, row, value):
    values = data["split"].astype(object).tolist()
    values[row] = value
    return data.assign(split=pd.Series(values, dtype=object))


ALLOWED = (
    ": the value must be 'train', 'validation' (also 'val', 'valid' or 'dev') or 'test', got {}. "
    "Correct the value, or drop the row."
)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (
            lambda d: changed(d, 3, "holdout"),
            ValueError,
            f"row 3{ALLOWED.format(repr('holdout'))}",
        ),
        (lambda d: changed(d, 5, None), ValueError, f"row 5{ALLOWED.format(None)}"),
        (lambda d: changed(d, 5, np.nan), ValueError, f"row 5{ALLOWED.format('nan')}"),
        (lambda d: changed(d, 1, 0), ValueError, f"row 1{ALLOWED.format(0)}"),
        (
            lambda d: d[d["split"] == "test"],
            ValueError,
            "Column 'split' has no row with 'train', so there is nothing to train on. Its values "
            "are: 'test'.",
        ),
        (
            lambda d: d.rename(columns={"split": "splits"}),
            ValueError,
            "X has no column 'split', which the 'split_column' parameter names. Did you mean "
            "'splits'? Its columns are: 'text', 'task', 'label', 'splits'. If X has no such "
            "column, set split_column=None.",
        ),
        (
            lambda d: pd.concat([d, d[["split"]]], axis=1),
            ValueError,
            "X has two columns named 'split'. Rename or drop one of them.",
        ),
        (
            lambda d: {"mood": []},
            TypeError,
            "The 'split_column' parameter is 'split', so X must be a frame with this column, got "
            "{'mood': []}. If X has no such column, set split_column=None.",
        ),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_columns(make_classifier, data, method, X, error, message):
    """A column that does not name the part of each row is an error with the row and the values."""
    with pytest.raises(error, match=re.escape(message)):
        getattr(make_classifier(split_column="split"), method)(X(data))


def test_tasks_without_training_rows(make_classifier, data):
    """A task that only test rows have is an error in fit; partial_fit ignores these rows."""
    X = data.assign(task=data["task"].where(data["split"] != "test", "new"))
    row = positions(data, "test")[0]
    message = f"In the test rows of column 'split': Row {row}: Task 'new' was not seen in fit."
    with pytest.raises(ValueError, match=re.escape(message)):
        make_classifier(split_column="split").fit(X)
    assert make_classifier(split_column="split").partial_fit(X).tasks_ == TASKS


def test_no_labels_in_training_rows(make_classifier):
    """Wide labels without a label in the training rows are an error."""
    X = pd.DataFrame({"text": ["a", "b", "c"], "split": ["train", "test", "test"]})
    y = pd.DataFrame({"mood": [None, "x", "y"]})
    message = "No training row of X has a label, so there is nothing to train on."
    with pytest.raises(ValueError, match=re.escape(message)):
        make_classifier(split_column="split").fit(X, y)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_unused_column_leads_to_one_warning(make_classifier, data, method):
    """A column "split" that is not used leads to one warning, which names the parameter."""
    with pytest.warns(UserWarning, match="split_column") as caught:
        classifier = getattr(make_classifier(), method)(data)
    assert [str(each.message) for each in caught] == [
        "X has a column 'split' with the values 'train', 'validation', 'test', but all rows are "
        "used for training or held out at random. To use the column, set the parameter "
        "split_column='split'. If this is intended, drop the column."
    ]
    assert caught[0].filename == __file__
    classifier.predict(data)
    classifier.score(data)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_one_task_has_rows_of_several_parts(make_classifier, data, method):
    """A TextClassifier warns of such a column, too, and states how to select the rows of a part."""
    classifier = make_classifier().classifier_for("intent")
    own = data[data["task"] == "intent"].drop(columns="task")
    message = r"column 'split' .* select the rows of one part in X and y, such as X\[X\['split'\]"
    with pytest.warns(UserWarning, match=message) as caught:
        getattr(classifier, method)(own[["text", "split"]], own["label"])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    train = own[own["split"] == "train"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(classifier, method)(train[["text", "split"]], train["label"])
    helpers = data[data["task"] != "intent"]
    with pytest.warns(UserWarning, match=message):
        classifier.fit(train["text"], train["label"], helpers=helpers)


def test_no_warning_of_other_columns(make_classifier, data):
    """No warning if the rows of one part were selected, or if other values are in the column."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_classifier().partial_fit(data[data["split"] == "train"])
        make_classifier().partial_fit(changed(data, 3, "banana"))
        make_classifier(task_column="split", label_column="task").partial_fit(data)


def test_classifier_of_one_task_has_no_split_column(make_classifier):
    """classifier_for leaves split_column out, because TextClassifier has no such parameter."""
    classifier = make_classifier(split_column="split", warm_start=True).classifier_for("intent")
    assert isinstance(classifier, TextClassifier)
    assert classifier.warm_start
    assert "split_column" not in classifier.get_params()


def test_a_saved_classifier_keeps_the_column(make_classifier, data, tmp_path):
    """The parameter and the positions are the same after saving and loading."""
    classifier = make_classifier(split_column="split").fit(data)
    classifier.save(tmp_path / "model")
    loaded = type(classifier).load(tmp_path / "model")
    assert loaded.split_column == "split"
    assert loaded.val_indices_.tolist() == positions(data, "validation")


def test_checkpoints_compare_the_test_rows(make_classifier, data, tmp_path):
    """A fit with other test rows does not continue from a checkpoint; the same fit does."""
    options = {"split_column": "split", "checkpoint_dir": tmp_path, "keep_checkpoints": True}
    first = make_classifier(**options).fit(data)
    assert same(first, make_classifier(**options).fit(data))
    moved = data.assign(label=data["label"].where(data["split"] != "test", "other"))
    with pytest.raises(ValueError, match="the test rows"):
        make_classifier(**options).fit(moved)
