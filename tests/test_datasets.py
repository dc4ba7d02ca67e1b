"""The bundled messages."""

import difflib
import itertools

from rapidfit_sk.datasets import load_support_messages


def test_shape_and_labels(messages):
    """There are 300 texts, three tasks and the labels of the guide; some emotions are missing."""
    assert messages.columns.tolist() == ["text", "task", "label"]
    assert messages["text"].nunique() == 300
    labels = messages.groupby("task")["label"].unique().map(sorted).to_dict()
    assert labels == {
        "sentiment": ["negative", "neutral", "positive"],
        "intent": ["ask", "buy", "complain", "sell"],
        "emotion": ["angry", "happy", "sad", "surprised"],
    }
    counts = messages["task"].value_counts()
    assert counts["sentiment"] == counts["intent"] == 300
    assert 150 < counts["emotion"] < 300
    assert messages.groupby(["task", "label"]).size().min() >= 40


def test_messages_are_distinct(messages):
    """No message is a variation of another."""
    texts = [text.lower() for text in messages["text"].unique()]
    matcher = difflib.SequenceMatcher(autojunk=False)
    for first, second in itertools.combinations(texts, 2):
        matcher.set_seqs(first, second)
        # The quick ratios are upper bounds, so most pairs need no slow one.
        if matcher.real_quick_ratio() > 0.7 and matcher.quick_ratio() > 0.7:
            assert matcher.ratio() < 0.7, (first, second)


def test_each_call_returns_a_new_frame():
    """Each call returns a new frame, so changing one frame does not change the next."""
    frame = load_support_messages()
    frame["label"] = "changed"
    assert "changed" not in load_support_messages()["label"].to_numpy()
