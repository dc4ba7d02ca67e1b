"""`inspection.explain`: the words that decided a prediction."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

from rapidfit_sk import MultiheadClassifier, TextClassifier
from rapidfit_sk.inspection import Explanation, explain
from rapidfit_sk.testing import tiny_encoder

TEXT = "Where is my parcel? I want a refund!"
HINDI = "\u0939\u093f\u0928\u094d\u0926\u0940"


@pytest.fixture(scope="module")
def planted():
    """A classifier of texts in which one word decides each task."""
    rng = np.random.default_rng(0)
    words = ["the", "shop", "sent", "a", "box", "today", "with", "my", "name"]
    rows = []
    for _ in range(300):
        text = list(rng.choice(words, 5))
        signs = {"color": rng.choice(["red", "blue"]), "size": rng.choice(["big", "small"])}
        for sign in signs.values():
            text.insert(rng.integers(len(text) + 1), sign)
        rows += [(" ".join(text), task, sign) for task, sign in signs.items()]
    config = {
        "training": {"model_name": tiny_encoder(n_layers=1), "epochs": 6, "learning_rate": 3e-3},
        "encoder": {"unfreeze_layers": None},
    }
    frame = pd.DataFrame(rows, columns=["text", "task", "label"])
    classifier = MultiheadClassifier(config, random_state=0).fit(frame)
    assert classifier.score(frame) > 0.95
    return classifier


def test_the_planted_word_decides(planted):
    """The word that decides a task by construction has the largest effect on it."""
    for text in ("my red name sent a big box", "the shop small with blue today my"):
        words = set(text.split())
        for task, (sign,) in {
            "color": words & {"red", "blue"},
            "size": words & {"big", "small"},
        }.items():
            explanation = explain(planted, text, task)
            assert explanation.label == sign
            largest = explanation.words["effect"].idxmax()
            assert explanation.words.loc[largest, "word"] == sign
            effects = explanation.words["effect"].abs()
            assert effects[largest] > 3 * effects.drop(largest).max()


def test_effects_are_changes_of_probabilities(fitted):
    """An effect is the probability with all words minus that without the word."""
    explanation = explain(fitted, TEXT, "intent")
    (p,) = fitted.predict_proba([TEXT], "intent")
    place = p.argmax()
    assert explanation.label == fitted.classes_["intent"][place]
    assert explanation.probability == pytest.approx(p[place])
    for word, start, end, effect in explanation.words[["word", "start", "end", "effect"]].values:
        assert TEXT[start:end] == word
        (without,) = fitted.predict_proba([TEXT[:start] + TEXT[end:]], "intent")
        assert effect == pytest.approx(p[place] - without[place], abs=1e-6)


def test_another_label(fitted):
    """Effects on all labels of a task sum to zero for each word."""
    labels = fitted.classes_["emotion"]
    found = [explain(fitted, TEXT, "emotion", label=label) for label in labels]
    total = sum(each.words["effect"].to_numpy() for each in found)
    np.testing.assert_allclose(total, 0, atol=1e-6)
    assert sum(each.probability for each in found) == pytest.approx(1)


def test_attention_is_that_of_the_head(fitted):
    """Attention sums to at most 1, without special tokens, and differs between tasks."""
    found = [explain(fitted, TEXT, task).words["attention"] for task in ("intent", "emotion")]
    first, second = found
    assert 0.3 < first.sum() <= 1
    assert not np.allclose(first, second)
    tokens = fitted.model_.attention(TEXT, fitted.tasks_.index("intent"))
    assert sum(share for *_, share in tokens) == pytest.approx(1)
    # The embedding of the head is the mean of the tokens with these weights.
    module = fitted.net_.module_
    ids = fitted.tokenizer_([TEXT]).ids[None].astype(np.int64)
    ids = torch.from_numpy(ids)
    states = module.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    weights = torch.tensor([share for *_, share in tokens])
    head = module.heads[fitted.tasks_.index("intent")]
    logits = (
        head((states[0] * weights[:, None]).sum(0)).detach().numpy()
        / (fitted.temperatures_["intent"])
    )
    expected = np.exp(logits - logits.max())
    np.testing.assert_allclose(
        expected / expected.sum(), fitted.predict_proba([TEXT], "intent")[0], atol=1e-5
    )


@pytest.mark.filterwarnings("ignore:Texts are cut")
@pytest.mark.parametrize("long_text", ["truncate", "head_tail", "windows"])
def test_long_texts(make_classifier, messages, long_text):
    """Only the words that the encoder reads have attention; windows read all of them."""
    classifier = make_classifier(long_text=long_text, max_length=16).fit(messages)
    words = explain(classifier, "one " + "parcel " * 40 + "last", "intent").words
    read = words["attention"] > 0
    assert read.iloc[0]
    assert read.iloc[-1] == (long_text != "truncate")
    assert read.iloc[20] == (long_text == "windows")
    assert words["attention"].sum() <= 1 + 1e-6


def test_without_a_query(make_classifier, messages):
    """Without attention pooling, attention is missing and effects are not."""
    explanation = explain(make_classifier(pooling="mean").fit(messages), TEXT, "intent")
    assert explanation.words["attention"].isna().all()
    assert np.isnan(explanation.correlation)
    assert explanation.words["effect"].abs().max() > 0
    assert "Attention" not in explanation._repr_html_()


def test_special_tokens_in_a_text(fitted):
    """A special token in a text is a word like any other."""
    explanation = explain(fitted, "refund [SEP] now", "intent")
    assert explanation.words["word"].tolist() == ["refund", "[", "SEP", "]", "now"]
    assert np.isfinite(explanation.words["effect"]).all()


@pytest.mark.parametrize("text", ["", "   ", "!", "漢字かな", "a\x00b \u202e c", "naïve café"])
def test_unusual_texts(fitted, text):
    """Any text is explained, also one without words."""
    explanation = explain(fitted, text, "intent")
    for word, start, end in explanation.words[["word", "start", "end"]].values:
        assert text[start:end] == word
    for shown in (repr(explanation), str(explanation), explanation.to_ansi()):
        assert "\x00" not in shown
        assert shown.startswith("intent: ")
    assert "\x00" not in explanation._repr_html_()


def test_html_is_escaped(fitted):
    """Markup in a text is shown, not interpreted."""
    html = explain(fitted, "<b>refund</b> & <script>x</script>", "intent")._repr_html_()
    assert "<b>" not in html
    assert "<script>" not in html
    assert "rgba(" in html


def test_page(fitted, tmp_path):
    """The colored text is also a page of its own."""
    explanation = explain(fitted, "<b>refund</b>", "intent")
    explanation.to_html(tmp_path / "words.html")
    page = (tmp_path / "words.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "rgba(" in page
    assert "<b>" not in page


def test_colors_of_a_terminal(planted):
    """A terminal shows the deciding word in blue, and words without effect in no color."""
    shown = explain(planted, "my red name", "color").to_ansi()
    assert "\x1b[48;2;86;180;233m\x1b[38;2;0;0;0mred\x1b[0m" in shown
    plain = explain(planted, "my red name", "color")
    assert "\x1b" not in repr(plain)
    assert repr(plain).splitlines()[1].endswith("red")


def test_text_classifier(make_config, messages):
    """A TextClassifier needs no task, and its labels keep their type."""
    rows = messages[messages["task"] == "intent"]
    numbers = rows["label"].factorize()[0]
    classifier = TextClassifier(make_config(), random_state=0).fit(rows["text"], numbers)
    explanation = explain(classifier, TEXT)
    assert isinstance(explanation, Explanation)
    assert explanation.label == classifier.predict([TEXT])[0]
    assert type(explanation.label) is int
    assert explain(classifier, TEXT, label=1).label == 1


def test_invalid_arguments(fitted):
    """An invalid argument is an error that lists what is allowed."""
    with pytest.raises(ValueError, match="several tasks: 'sentiment', 'intent', 'emotion'"):
        explain(fitted, TEXT)
    with pytest.raises(ValueError, match="'asks' is not a label of task 'intent'.*'ask'"):
        explain(fitted, TEXT, "intent", label="asks")
    with pytest.raises(ValueError, match="'intentt' was not seen"):
        explain(fitted, TEXT, "intentt")
    with pytest.raises(TypeError, match="'text' must be a string"):
        explain(fitted, [TEXT], "intent")
    with pytest.raises(NotFittedError):
        explain(MultiheadClassifier(), TEXT, "intent")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{HINDI} x", [HINDI, "x"]),
        ("cafe\u0301!", ["cafe\u0301", "!"]),
        ("don't stop-it", ["don't", "stop", "-", "it"]),
        ("\u6f22\u5b57a b_c", ["\u6f22", "\u5b57", "a", "b_c"]),
    ],
)
def test_words(fitted, text, words):
    """A word keeps its combining marks and apostrophes, also in scripts other than Latin."""
    assert explain(fitted, text, "intent").words["word"].tolist() == words


def test_only_words_that_are_read_are_left_out(make_classifier, messages, monkeypatch):
    """Words beyond the longest input have no effect, and no prediction runs for them."""
    classifier = make_classifier(long_text="truncate", max_length=16)
    with pytest.warns(UserWarning, match="Texts are cut"):
        classifier.fit(messages)
    kind, sizes = type(classifier.model_), []
    probabilities = kind.probabilities

    def counted(self, texts, tasks):
        sizes.append(len(texts))
        return probabilities(self, texts, tasks)

    monkeypatch.setattr(kind, "probabilities", counted)
    explanation = explain(classifier, "refund " * 300, "intent")
    assert sum(sizes) <= 16
    assert (explanation.words["effect"].iloc[16:] == 0).all()


def test_views_are_refused(fitted):
    """The view of a task is refused with a message that names the classifier."""
    with pytest.raises(TypeError, match="explain takes a MultiheadClassifier"):
        explain(fitted["intent"], TEXT)
