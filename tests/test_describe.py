"""`inspection.describe`: what labeled rows contain, and likely trouble with them."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import normalized_mutual_info_score
from transformers import AutoTokenizer

from rapidfit_sk import MultiheadConfig
from rapidfit_sk._inspection.near_duplicates import near_duplicates
from rapidfit_sk.inspection import describe
from rapidfit_sk.testing import tiny_encoder


def long(*rows):
    """Return a long frame of (text, task, label) rows."""
    return pd.DataFrame(rows, columns=["text", "task", "label"])


def one(n, task="a", labels=("x", "y")):
    """Return `n` rows of a task with texts of their own."""
    words = [
        "alpha",
        "bravo",
        "charlie",
        "delta",
        "echo",
        "foxtrot",
        "golf",
        "hotel",
        "india",
        "juliet",
    ]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, 6)) + f" {task}" for _ in range(n)]
    return [(f"{text} {chr(97 + i % 26) * 7}", task, labels[i % 2]) for i, text in enumerate(texts)]


def message(report, *parts):
    """Return the only message that contains all parts."""
    (found,) = [each for each in report.messages if all(part in each for part in parts)]
    return found


def test_sizes(messages):
    """The sizes of tasks and classes are those of the data."""
    report = describe(messages)
    tasks = report.tasks.set_index("task")
    for task, own in messages.groupby("task"):
        counts = own["label"].value_counts()
        expected = [len(own), own["text"].nunique(), len(counts), counts.max(), counts.min()]
        found = tasks.loc[task, ["rows", "texts", "classes", "largest", "smallest"]]
        assert found.tolist() == expected
        assert tasks.loc[task, "imbalance"] == pytest.approx(counts.max() / counts.min())
        frame = report.classes[report.classes["task"] == task].set_index("label")["rows"]
        assert frame.to_dict() == counts.to_dict()
    shared = report.shared_texts.set_index(["task", "other_task"])["texts"]
    assert shared.to_dict() == {
        ("sentiment", "intent"): 300,
        ("sentiment", "emotion"): 215,
        ("intent", "emotion"): 215,
    }


def test_forms_of_data(messages):
    """All forms of labeled rows give the same report, and wide labels have missing cells."""
    expected = describe(messages)
    wide = messages.pivot_table(index="text", columns="task", values="label", aggfunc="first")
    wide = wide.loc[messages["text"].unique(), ["sentiment", "intent", "emotion"]]
    report = describe(wide.index.tolist(), wide.reset_index(drop=True))
    assert report.tasks["missing"].tolist() == [0, 0, 85]
    pd.testing.assert_frame_equal(
        report.tasks.drop(columns="missing"), expected.tasks.drop(columns="missing")
    )
    assert "85 texts" in message(report, "'emotion' has no label")
    records = {
        task: own[["text", "label"]].to_dict("records")
        for task, own in messages.groupby("task", sort=False)
    }
    assert describe(records).tasks["rows"].sum() == len(messages)
    renamed = messages.rename(columns={"text": "t", "task": "k", "label": "l"})
    columns = {"text_column": "t", "task_column": "k", "label_column": "l"}
    pd.testing.assert_frame_equal(describe(renamed, **columns).tasks, expected.tasks)


def test_classes_without_rows():
    """Classes in task_labels without rows are described, and are rare."""
    report = describe(long(*one(12)), task_labels={"a": ["x", "y", "z"]})
    assert report.classes["rows"].tolist() == [6, 6, 0]
    assert "'a' has 1 class with fewer than 5 rows: 'z'" in message(report, "label_texts")


def test_imbalance():
    """A large imbalance has a message with its numbers, which states the true default."""
    rows = one(1000, labels=("x", "x")) + [(f"{t} rare", "a", "y") for t, *_ in one(50)]
    found = message(describe(long(*rows)), "1,000 rows of its largest class and 50")
    assert "eval.metric='f1'" in found
    assert "Class weights are on by default" in found
    config = MultiheadConfig()._filled()
    assert config.loss.use_class_weights is True
    assert config.eval.metric == "accuracy"
    assert config.task_sampling == "proportional"


def test_sizes_of_tasks():
    """Tasks of very different sizes have a message with the parameter for sampling."""
    report = describe(long(*one(400), *one(20, "b")))
    assert "task_sampling='sqrt'" in message(report, "'a' has 400 rows and 'b' has 20")
    assert not [m for m in describe(long(*one(40), *one(20, "b"))).messages if "sampling" in m]


def test_a_task_with_one_class():
    """A task with one class is described, although it cannot be trained."""
    report = describe(long(*one(10, labels=("x", "x"))))
    assert "one class only" in message(report, "'a'")


@pytest.mark.parametrize("other", ["Irony ", "IRONY", "iro-ny", "\uff49rony", "iron_y"])
def test_similar_labels(other):
    """Labels that differ only in case, white space, signs or Unicode form are found."""
    rows = one(12, labels=("irony", "none")) + [(f"{t} more", "a", other) for t, *_ in one(6)]
    report = describe(long(*rows))
    assert report.similar_labels[["label", "other_label"]].values.tolist() == [["irony", other]]
    assert repr(other) in message(report, "similar names")


def test_different_labels_are_not_similar():
    """Labels of signs or numbers that differ are not similar, and types do not matter."""
    rows = [(t, "a", label) for (t, *_), label in zip(one(12), ["+", "-", ":)"] * 4, strict=True)]
    assert describe(long(*rows)).similar_labels.empty
    numbers = [(t, "a", label) for (t, *_), label in zip(one(12), [1, 2, 11] * 4, strict=True)]
    report = describe(long(*numbers))
    assert report.similar_labels.empty
    assert report.classes["label"].tolist() == [1, 2, 11]


def test_duplicates_and_contradictions():
    """Repeated rows and texts with several labels are listed."""
    rows = [*one(12), ("same", "a", "x"), ("same", "a", "x"), ("same", "a", "y"), ("b", "b", "x")]
    report = describe(long(*rows, ("b", "b", "y")))
    assert report.duplicates.values.tolist() == [["a", "same", "x", 2]]
    assert report.contradictions.values.tolist() == [
        ["a", "same", ["x", "y"]],
        ["b", "b", ["x", "y"]],
    ]
    assert "1 row repeats" in message(report, "text and the label of another row")
    assert "such as 'same': 'x', 'y'" in message(report, "'a' has 1 text with several labels")


def test_near_duplicates_of_texts():
    """Texts are nearly the same without case, signs and numbers, or with few other characters."""
    texts = [
        "Where is my order 123?",
        "where is my order 4567",
        "Please cancel the subscription of my old account today",
        "Please cancel the subscription of my old account today, ok",
        "Something else entirely",
        "Café",
        "Cafe\u0301",
        "?!",
        "...",
    ]
    pairs = near_duplicates(texts)
    assert set(map(tuple, pairs[["first", "second"]].values.tolist())) == {(0, 1), (2, 3), (5, 6)}
    assert pairs["similarity"].between(0.9, 1).all()
    assert near_duplicates([]).empty
    assert near_duplicates(["one text"]).empty


def test_near_duplicates_across_parts():
    """With a split column, only pairs in different parts are listed."""
    rows = [*one(20), ("Where is order 1?", "a", "x"), ("Where is order 2?", "a", "x")]
    rows.append(("where is ORDER 77", "a", "x"))
    frame = long(*rows).assign(part=["train"] * 22 + ["test"])
    report = describe(frame, split_column="part")
    assert report.near_duplicates.values.tolist() == [
        ["Where is order 1?", "where is ORDER 77", 1.0, "train", "test"],
        ["Where is order 2?", "where is ORDER 77", 1.0, "train", "test"],
    ]
    assert "optimistic" in message(report, "different parts")
    alone = describe(frame.drop(columns="part"))
    assert len(alone.near_duplicates) == 2
    assert "split_column" in message(alone, "nearly the same")


def test_time_of_near_duplicates():
    """Four times as many texts take far less than sixteen times as long."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, 6)) for _ in range(3000)]
    texts = [" ".join(rng.choice(words, 8)) for _ in range(6000)]
    times = []
    for n in (1500, 6000):
        start = time.perf_counter()
        near_duplicates(texts[:n])
        times.append(time.perf_counter() - start)
    assert times[1] < 10 * times[0]


def test_tasks_that_depend_on_each_other():
    """Labels that occur only with one label of another task are found, with a message."""
    rows = []
    for i, (text, *_) in enumerate(one(80)):
        rows.append((text, "sexist", "yes" if i % 2 else "no"))
        if i % 2:
            rows.append((text, "category", ["threat", "slur"][i // 2 % 2]))
        elif i % 4:
            rows.append((text, "category", "none"))
    report = describe(long(*rows))
    found = report.implications
    own = found[(found["task"] == "category") & (found["label"] == "threat")]
    assert own[["other_task", "other_label", "texts"]].values.tolist() == [["sexist", "yes", 20]]
    text = message(report, "'category'", "Gate")
    assert "labels of 'category' occur with one label of 'sexist' only" in text
    (pair,) = report.dependencies.itertuples()
    assert pair.mutual_information > 0.5
    assert pair.texts == 60


def test_independent_tasks():
    """Tasks whose labels are independent have no implication and no message about them."""
    rng = np.random.default_rng(0)
    rows = []
    for text, *_ in one(200):
        rows += [(text, "a", rng.choice(["x", "y"])), (text, "b", rng.choice(["v", "w"]))]
    report = describe(long(*rows))
    assert report.implications.empty
    assert report.dependencies["mutual_information"].item() < 0.05
    assert not [each for each in report.messages if "depend" in each or "Gate" in each]


def test_tokens(fitted, messages, encoder_name):
    """Lengths and shares are those that a fit with this tokenizer has."""
    report = describe(messages, model_name=encoder_name, max_length=12)
    tokens = report.tokens.set_index("task")
    lengths = fitted.tokenizer_(messages.loc[messages["task"] == "intent", "text"].tolist())
    assert tokens.loc["intent", "median"] == int(np.median(lengths.n_ordinary))
    assert tokens.loc["intent", "largest"] == lengths.n_ordinary.max()
    unknown = describe(messages, model_name=encoder_name).tokens.set_index("task")["unknown"]
    # A fit knows the share of its training rows only.
    assert unknown.to_dict() == pytest.approx(fitted.unknown_fraction_, abs=3e-4)
    share = tokens.loc["intent", "truncated"]
    found = message(report, "Texts are longer than 12 tokens", "training.max_length")
    assert f"{share:.0%} of 'intent'" in found
    assert describe(messages).tokens is None


def test_length_of_the_encoder(messages, encoder_name):
    """A length that the encoder cannot read is an error here, too."""
    tokenizer = AutoTokenizer.from_pretrained(encoder_name)
    longest = tokenizer.model_max_length
    with pytest.raises(ValueError, match=rf"parameter of describe must be at most {longest}"):
        describe(messages, model_name=encoder_name, max_length=longest + 1)
    assert describe(messages, model_name=encoder_name, max_length=longest).tokens is not None


def test_unknown_tokens(encoder_name):
    """Characters that the tokenizer does not know have a message with the parameter that helps."""
    rows = [(f"{t} 漢字漢字漢字", "a", label) for t, _, label in one(12)]
    report = describe(long(*rows), model_name=tiny_encoder())
    assert "training.model_name" in message(report, "Tokens are unknown to the tokenizer: ")


def test_html(tmp_path):
    """The page has the messages and the frames, and shows hostile values as text."""
    hostile = "<script>alert(1)</script>"
    rows = [*one(12), (hostile, "a", hostile), (hostile, "a", "</td>"), ("\x1b[31m", "a", "x")]
    report = describe(long(*rows))
    report.to_html(tmp_path / "data.html")
    page = (tmp_path / "data.html").read_text("utf-8")
    for html in (page, report._repr_html_()):
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
        assert "Texts with several labels of a task" in html
        assert "\x1b" not in html
    assert "\x1b" not in repr(report)
    assert repr(report).count("\n- ") == len(report.messages)


def test_long_frames_are_cut_in_html():
    """Of a long frame, the HTML shows the first rows and says where the others are."""
    rows = [(t, "a", f"label {i}") for i, (t, *_) in enumerate(one(60))]
    html = describe(long(*rows))._repr_html_()
    assert "30 more rows are in &#x27;classes&#x27;" in html


def test_invalid_rows_are_named():
    """An invalid row is an error as in fit."""
    with pytest.raises(ValueError, match="row 1"):
        describe(long(("a", "t", "x"), (None, "t", "y")))
    with pytest.raises(ValueError, match="'max_length' parameter"):
        describe(long(*one(4)), max_length=0)
    with pytest.raises(ValueError, match="'parts'"):
        describe(long(*one(4)), split_column="parts")
    with pytest.raises(ValueError, match="'task_labels' parameter"):
        describe(long(*one(4)), task_labels=["a"])
    with pytest.raises(TypeError, match="task 'a', position 0: a label must be"):
        describe(long(*one(4)), task_labels={"a": [["x"], "y"]})
    with pytest.raises(ValueError, match="label 'y' is not one of the classes"):
        describe(long(*one(4)), task_labels={"a": ["x", "z"]})
    with pytest.raises(ValueError, match="'text_column' parameter"):
        describe(long(*one(4)), text_column=3)


@pytest.mark.parametrize("labels", [(1, True), ("1", 1), (0.5, "x")])
def test_mixed_labels_are_an_error(labels):
    """Labels of several kinds are the error of a fit, although 1 equals True."""
    with pytest.raises(TypeError, match="Task 'a' mixes"):
        describe(long(*one(8, labels=labels)))


def test_labels_keep_their_types():
    """Labels of tasks with other types are no floats in the frames of all tasks."""
    rows = [*one(20, labels=(1, 2)), ("same", "a", 1), ("same", "a", 1), ("same", "a", 2)]
    rows += [(text, "b", label / 2) for text, _, label in one(20, labels=(1, 3))]
    report = describe(pd.DataFrame(rows, columns=["text", "task", "label"], dtype=object))
    for labels in (report.classes["label"], report.duplicates["label"]):
        assert type(labels.iloc[0]) is int
    assert set(map(type, report.implications["label"])) == {int, float}
    assert report.contradictions["labels"].iloc[0] == [1, 2]


@pytest.mark.parametrize(
    "labels", [(1, -1), ("c", "c++"), ("c++", "c#"), ("1-2", "12"), ("-1", "1"), ("5+", "5")]
)
def test_signs_distinguish_labels(labels):
    """Signs that have a meaning are not ignored in names of classes."""
    assert describe(long(*one(12, labels=labels))).similar_labels.empty


def test_classes_without_rows_are_no_imbalance():
    """The imbalance is that of the classes that have rows."""
    report = describe(long(*one(40)), task_labels={"a": ["x", "y", "z"]})
    assert report.tasks["imbalance"].item() == 1
    assert not [each for each in report.messages if "largest class" in each]


def test_texts_in_several_parts():
    """A text that is in two parts is listed, and so is each text that a training row repeats."""
    texts = ["Is it here?", "What is this", "Is it here?", "is it here", "IS IT HERE", "?!", "?!"]
    parts = ["train", "train", "test", "test", "test", "train", "dev"]
    frame = pd.DataFrame({"text": texts, "task": "a", "label": "x", "part": parts})
    report = describe(frame, split_column="part")
    found = report.near_duplicates[["text", "other_text", "part", "other_part"]]
    assert found.values.tolist() == [
        ["Is it here?", "Is it here?", "train", "test"],
        ["Is it here?", "is it here", "train", "test"],
        ["Is it here?", "IS IT HERE", "train", "test"],
        ["?!", "?!", "train", "validation"],
    ]
    assert "4 pairs" in message(report, "the same or nearly the same")


def test_many_texts_with_the_same_phrase():
    """Of many texts that are nearly the same, each is in a pair, and so is a long text."""
    names = ["".join(name) for name in np.random.default_rng(0).choice(list("bcdfgh"), (200, 4))]
    phrase = "My {} order has not come yet, please tell me where it is now and when it comes"
    texts = list(dict.fromkeys(map(phrase.format, names)))
    story = " ".join(map(str.swapcase, names[:100])) * 1000
    pairs = near_duplicates([*texts, f"{story} one", f"{story} two"])
    assert set(pairs["first"]) | set(pairs["second"]) == set(range(len(texts) + 2))


def test_similarity_is_exact():
    """The pairs are those of the cosine similarity of all pairs, as long as phrases are rare."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(each) for each in rng.choice(list("abcdefghij"), (300, 6))])
    texts = [" ".join(rng.choice(words, 12)) for _ in range(60)]
    texts += [text + " " + rng.choice(words)[:n] for text in texts[:30] for n in (3, 6)]
    grams = [{text[i : i + 4] for i in range(len(text) - 3)} for text in texts]
    expected = {
        (i, j)
        for j in range(len(texts))
        for i in range(j)
        if len(grams[i] & grams[j]) >= 0.9 * (len(grams[i]) * len(grams[j])) ** 0.5
    }
    found = near_duplicates(texts)
    assert len(expected) > 30
    assert set(map(tuple, found[["first", "second"]].values.tolist())) == expected


def test_a_task_for_some_texts_only():
    """A task whose labels exist only with one label of another task has its own message."""
    rows = []
    for i, (text, *_) in enumerate(one(80)):
        rows.append((text, "sexist", "yes" if i % 2 else "no"))
        if i % 2:
            rows.append((text, "category", ["threat", "slur"][i // 2 % 2]))
    report = describe(long(*rows))
    found = report.implications.set_index("label")
    assert found["other_label"].to_dict() == {"threat": "yes", "slur": "yes"}
    assert found.loc["threat", "share_elsewhere"] == pytest.approx(20 / 60)
    message(report, "'category' has labels only for texts whose label of 'sexist' is 'yes'")
    assert report.dependencies["mutual_information"].item() == 0


def test_mutual_information():
    """The mutual information is scikit-learn's, and chance on few texts gives no message."""
    rng = np.random.default_rng(0)
    texts = [text for text, *_ in one(300)]
    a = rng.integers(0, 4, 300)
    frame = pd.DataFrame({"a": a, "b": np.where(rng.random(300) < 0.5, a, rng.integers(0, 4, 300))})
    (row,) = describe(texts, frame).dependencies.itertuples()
    expected = normalized_mutual_info_score(frame["a"], frame["b"])
    assert row.mutual_information == pytest.approx(expected)
    assert row.p_value < 1e-6
    few = pd.DataFrame({"a": range(8), "b": [*"xyxyzzxy"]})
    report = describe(texts[:8], few)
    assert report.dependencies["mutual_information"].item() > 0.3
    assert not [each for each in report.messages if "depend" in each]


def test_many_tasks_that_depend_on_each_other():
    """Of many pairs of tasks, five have a message, and another message counts the others."""
    label = np.tile(["x", "y"], 20)
    frame = pd.DataFrame({f"task {i}": label for i in range(6)})
    report = describe([text for text, *_ in one(40)], frame)
    assert sum("occur with one label" in each for each in report.messages) == 5
    message(report, "10 other pairs of tasks depend on each other")


def test_long_labels(tmp_path):
    """Long labels and texts are cut in messages and in HTML."""
    labels = ("x" * 10_000, "X" * 10_000)
    report = describe(long(*one(12, task="t" * 5_000, labels=labels)))
    assert max(map(len, report.messages)) < 500
    assert len(repr(report)) < 2_000
    assert len(report._repr_html_()) < 20_000
    spaces = describe(long(*one(12, labels=("irony", "irony "))))
    assert "<td>&#x27;irony &#x27;</td>" in spaces._repr_html_()


def test_empty_cells_of_a_csv_file():
    """Empty texts and empty labels, as pandas reads them from a file, have messages."""
    report = describe(long(*one(12), ("", "a", "x"), (" ", "a", "y"), ("no label", "a", "")))
    assert report.tasks["empty_texts"].item() == 2
    assert "'a' has 2 rows without text" in message(report, "Drop them")
    assert "'a' has a class without a name, '', with 1 row" in message(report, "keep_default_na")
