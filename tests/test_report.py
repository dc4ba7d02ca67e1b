"""`report`: one page about a fitted classifier and labeled rows."""

import re
import sys
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pytest
import torch
from sklearn.exceptions import NotFittedError

from rapidfit_sk import MultiheadClassifier, TextClassifier


class Reader(HTMLParser):
    """Parser that collects tags, sources of images, titles of sections and text."""

    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.titles, self.text, self._in = [], [], [], "", None

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self._in = tag

    def handle_data(self, data):
        self.text += data
        if self._in == "h2":
            self.titles.append(data)
            self._in = None


def read(path):
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    return reader


@pytest.fixture(scope="module")
def rows(fitted, messages):
    """The test rows of the fixture `fitted`."""
    return messages.iloc[fitted.test_indices_]


@pytest.fixture(scope="module")
def found(fitted, rows, tmp_path_factory):
    """The page about these rows."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert fitted.report(path, rows) is fitted
    return read(path)


def test_sections(found):
    """The page has all sections, and a picture for each display."""
    expected = ["Scores", "Training", "Confusion", "Calibration and coverage", "Errors by task"]
    assert found.titles[:5] == expected
    assert found.titles[-3:] == ["These rows", "Configuration", "Environment"]
    assert found.tags.count("img") == 5


def test_the_page_needs_nothing_else(found):
    """Nothing in the page is loaded from elsewhere, and nothing in it runs."""
    assert not {"script", "link", "iframe"} & set(found.tags)
    assert found.sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in found.sources)


def test_numbers_are_those_of_evaluate(fitted, rows, found):
    """The scores and intervals of the page are those of evaluate."""
    scores = fitted.evaluate(rows)
    for value, low, high in scores[["value", "low", "high"]].values:
        assert f"{value:.3f} ({low:.3f} to {high:.3f})" in found.text


def test_settings(fitted, found):
    """The page has the parameters of the configuration and the versions."""
    assert "training__learning_rate" in found.text
    assert str(fitted.config.training.learning_rate) in found.text
    assert torch.__version__ in found.text


def test_the_worst_error_is_there(fitted, rows, found):
    """The text of the most confident error is in the page."""
    wrong = {}
    for task in fitted.tasks_:
        own = rows[rows["task"] == task]
        p = fitted.predict_proba(own["text"], task)
        is_wrong = fitted.classes_[task][p.argmax(axis=1)] != own["label"]
        wrong |= dict(zip(own["text"][is_wrong], p.max(axis=1)[is_wrong], strict=True))
    assert max(wrong, key=wrong.get) in found.text


def test_no_figure_is_open(fitted, rows, tmp_path, monkeypatch):
    """The figures of a page are never figures of pyplot, which a second thread could change."""
    monkeypatch.setattr(plt, "figure", None)
    fitted.report(tmp_path / "report.html", rows)
    assert read(tmp_path / "report.html").tags.count("img") == 5


def test_hostile_names(make_classifier, tmp_path):
    """Names of tasks and labels, and texts, are shown as text."""
    names = ["<script>a</script>", "$x^2$ </td>"]
    texts = [f"<img src=x onerror=alert({i})> {'good' if i % 2 else 'bad'}" for i in range(40)]
    data = {
        task: [{"text": t, "label": ["<b>", "[/INST]\x07"][i % 2]} for i, t in enumerate(texts)]
        for task in names
    }
    classifier = make_classifier(val_size=0.2, test_size=0).fit(data)
    classifier.report(tmp_path / "report.html", data)
    page = read(tmp_path / "report.html")
    assert not {"script", "b"} & set(page.tags)
    assert page.tags.count("img") == 5
    assert "<script>a</script>" in page.text


def test_text_classifier(make_config, messages, tmp_path):
    """A TextClassifier writes a report, too, with labels of any type."""
    own = messages[messages["task"] == "intent"]
    numbers = own["label"].factorize()[0]
    classifier = TextClassifier(make_config(), random_state=0).fit(own["text"], numbers)
    classifier.report(tmp_path / "report.html", own["text"], numbers)
    assert "Text classifier: label" in read(tmp_path / "report.html").text


def test_tasks_from_label_texts_alone(encoder_name, messages, tmp_path):
    """A classifier that has not trained has a report without a history."""
    texts = {"intent": {"ask": "I have a question", "buy": "I want to buy"}}
    config = {"training": {"model_name": encoder_name}}
    classifier = MultiheadClassifier(config, label_texts=texts, random_state=0)
    classifier.fit(messages["text"].unique().tolist())
    rows = messages[(messages["task"] == "intent") & messages["label"].isin(["ask", "buy"])]
    classifier.report(tmp_path / "report.html", rows)
    assert "without training" in read(tmp_path / "report.html").text


def test_errors(fitted, rows, tmp_path, monkeypatch):
    """Before fit, for invalid rows and without matplotlib, the error says what to do."""
    with pytest.raises(NotFittedError):
        MultiheadClassifier().report(tmp_path / "report.html", rows)
    with pytest.raises(ValueError, match="'label'"):
        fitted.report(tmp_path / "report.html", rows.drop(columns="label"))
    with pytest.raises(OSError, match="missing"):
        fitted.report(tmp_path / "missing" / "report.html", rows)
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=re.escape('pip install "rapidfit-sk[plot]"')):
        fitted.report(tmp_path / "report.html", rows)
