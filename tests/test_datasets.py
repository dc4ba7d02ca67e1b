"""The shipped messages."""

import difflib
import itertools

from rapidfit_sk.datasets import load_support_messages


def test_shape_and_labels(messages):
    """300 texts, three tasks, the labels of the guide, some emotions missing."""
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


def test_no_two_alike(messages):
    """No message is a variation of another."""
    texts = [text.lower() for text in messages["text"].unique()]
    matcher = difflib.SequenceMatcher(autojunk=False)
    for first, second in itertools.combinations(texts, 2):
        matcher.set_seqs(first, second)
        # The quick ratios are upper bounds, and spare most pairs the slow one.
        if matcher.real_quick_ratio() > 0.7 and matcher.quick_ratio() > 0.7:
            assert matcher.ratio() < 0.7, (first, second)


def test_each_call_gives_its_own_frame():
    """Changing the frame does not change the next one."""
    frame = load_support_messages()
    frame["label"] = "changed"
    assert "changed" not in load_support_messages()["label"].to_numpy()
