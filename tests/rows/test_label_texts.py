"""Texts of labels: words of names, texts of the user's own, and their rows."""

import numpy as np
import pytest

from rapidfit_sk._rows.label_texts import (
    declared_tasks,
    label_text_rows,
    texts_by_label,
    texts_of_names,
    words_of,
)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("card_arrival", "card arrival"),
        ("card-arrival", "card arrival"),
        ("card/arrival", "card arrival"),
        ("card arrival", "card arrival"),
        ("CardArrival", "Card Arrival"),
        ("cardArrival", "card Arrival"),
        ("HTTPError", "HTTP Error"),
        ("  __card__ ", "card"),
        ("top_10_songs", "top 10 songs"),
        ("Grüße", "Grüße"),
        ("好", "好"),
        ("не_важно", "не важно"),
        ("don't know", "don't know"),
    ],
)
def test_words_are_read(label, words):
    """Names are split at separators and between words of camelCase."""
    assert " ".join(words_of(label)) == words


@pytest.mark.parametrize(
    "label", ["A", "b", "7", "J45", "J45.9", "a8f3c2", "3-2", "", "_", "😀", "x1_y2", 3, 2.5, True]
)
def test_codes_have_no_words(label):
    """Numbers, ids, codes and labels that are not strings have no words."""
    assert words_of(label) == []


def test_labels_that_differ_only_in_codes_have_no_texts():
    """Labels with the same words have no texts, because their texts could not tell them apart."""
    assert texts_of_names(["LABEL_0", "LABEL_1", "grade A", "grade B"]) == {}
    assert texts_of_names(["irony", "IRONY ", "other"]) == {"other": ["other"]}


def test_texts_of_the_user_replace_names():
    """Texts that the user gave replace the name of a label, and other labels keep their names."""
    given = {"mood": {"glad": ["happy", "in high spirits"], 3: "third"}}
    found = texts_by_label(given, "mood", ["glad", "very_sad"])
    assert found == {
        "glad": ["happy", "in high spirits"],
        "very_sad": ["very sad"],
        3: ["third"],
    }
    assert texts_by_label("auto", "mood", ["very_sad", 3]) == {"very_sad": ["very sad"]}
    assert texts_by_label(None, "mood", ["very_sad"]) == {}


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        ("", ValueError, "label 'glad'.*Pass at least one text"),
        ([], ValueError, "label 'glad'.*Pass at least one text"),
        (["happy", " "], ValueError, "no text that is empty"),
        (["happy", None], TypeError, "a text must be a string, got None"),
        (["\ud800"], ValueError, "not valid Unicode"),
    ],
)
def test_bad_texts(texts, kind, message):
    """A text that is missing, empty or not a string is an error that names the label."""
    with pytest.raises(kind, match=message):
        texts_by_label({"mood": {"glad": texts}}, "mood", ["glad"])


def test_labels_of_texts_are_checked():
    """A label that could not be the label of a row is an error."""
    with pytest.raises(TypeError, match=r"'label_texts' parameter, task 'mood': a label must be"):
        texts_by_label({"mood": {(1, 2): "pair"}}, "mood", ["glad"])


def test_rows_of_label_texts():
    """Each text is a row of its task and label, and the texts of a label share a weight of 1."""
    classes = {"size": np.array([1, 2]), "mood": np.array(["glad", "sad"], dtype=object)}
    rows = label_text_rows({"mood": {"glad": ["happy", "merry"]}, "size": {2: "large"}}, classes)
    assert rows.texts.strings().tolist() == ["large", "happy", "merry", "sad"]
    assert rows.tasks.tolist() == [0, 1, 1, 1]
    assert rows.labels.tolist() == [1, 0, 0, 1]
    assert rows.weights.tolist() == [1, 0.5, 0.5, 1]
    assert label_text_rows("auto", {"size": np.array([1, 2])}) is None


def test_declared_tasks():
    """A declared task without rows has the labels that texts describe; others are left out."""
    texts = {"topic": {"sports": "games"}, "mood": {"glad": "happy"}}
    own = {"place": ["home", "work"], "code": ["A", "B"]}
    found = declared_tasks(texts, own, ["mood"])
    assert found == {"topic": ["sports"], "place": ["home", "work"]}
    assert declared_tasks(None, own, []) == {}


def test_misspelled_tasks():
    """A declared task whose name is close to that of a task with rows is an error."""
    with pytest.raises(ValueError, match="'label_texts' .* names 'moood'.*Did you mean 'mood'"):
        declared_tasks({"moood": {"glad": "happy"}}, {}, ["mood"])
