"""Model cards: they parse, they are true, and names of users do not break them."""

import copy
import json
import re

import numpy as np
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from sklearn.exceptions import NotFittedError

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TextClassifier, TrainingConfig
from rapidfit_sk._rows import wilson_interval
from rapidfit_sk.testing import tiny_encoder

from .test_docs import renders, tables_of

HOSTILE = [
    "a | b",
    "line\nbreak | pipe\n---\nkey: value",
    "'single' and \"double\"",
    "yaml: {flow: [1, *alias, &anchor]} # comment",
    "<script>alert(1)</script>",
    "![image](http://example.org/x.png)",
    "`code` **bold** _it_ ~~no~~ $x$ \\",
    "```",
    "日本語 ☕ émigré",
    "---",
    "\u202eright to left\u2028separator",
    "null",
    "1",
    "x" * 500,
]
SECTIONS = [
    "Model details",
    "Uses",
    "How to load",
    "Training data",
    "Training procedure",
    "Evaluation",
    "Calibration",
    "Limits",
    "Versions",
]


def section(card, title):
    """Return the text of a section."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", card, re.M | re.S)[1]


def table(card, title):
    """Return the first table of a section as a list of dicts."""
    (header, _, *rows), *_ = tables_of(section(card, title))
    return [dict(zip(header, row, strict=True)) for row in rows]


def rendered_tables(markdown):
    """Return the text in each cell of each table of a page, as a browser would show it."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    tables, kinds = [], []
    for opening, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "table_open":
            tables.append([])
        if token.type == "tr_open":
            tables[-1].append([])
        if opening is not None and opening.type in ("td_open", "th_open"):
            tables[-1][-1].append("".join(child.content for child in token.children))
            kinds += [child.type for child in token.children]
    return tables, set(kinds)


def test_card_parses(fitted):
    """huggingface_hub parses the metadata, and writes the same card."""
    text = fitted.model_card()
    card = ModelCard(text)
    assert card.content == text
    data = card.data.to_dict()
    assert data["library_name"] == "rapidfit_sk"
    assert data["pipeline_tag"] == "text-classification"
    found = {
        (result.dataset_config, result.metric_type): result.metric_value
        for result in card.data.eval_results
    }
    assert found == {
        (task, metric): round(scores[metric], 4)
        for task, scores in fitted.test_scores_.items()
        for metric in ("accuracy", "f1")
    }


def test_sections_are_true(fitted, messages):
    """Each section has the figures of the classifier, and each table renders."""
    card = fitted.model_card()
    assert re.findall(r"^## (.*)$", card, re.M) == SECTIONS
    assert all(renders(each) for each in tables_of(card))
    assert "[More Information Needed]" not in card
    assert "please add it: the license" in card
    for row in table(card, "Training data"):
        assert row["labels"] == ", ".join(fitted[row["task"]].classes_)
        assert row["rows"] == fitted.fitted_on_[row["task"]]
    for row in table(card, "Evaluation"):
        scores = fitted.test_scores_[row["task"]]
        assert float(row["accuracy"]) == round(scores["accuracy"], 3)
        assert int(row["test rows"]) == scores["n_rows"]
        low, high = map(float, row["95 % interval"].split(" to "))
        assert low < scores["accuracy"] < high
    temperatures = {row["task"]: row["temperature"] for row in table(card, "Calibration")}
    assert temperatures == {t: f"{value:.3f}" for t, value in fitted.temperatures_.items()}
    assert {row["tuned threshold"] for row in table(card, "Calibration")} == {""}
    tuned = copy.copy(fitted).tune_thresholds(messages, coverage={"intent": 0.5})
    shown = {r["task"]: r["tuned threshold"] for r in table(tuned.model_card(), "Calibration")}
    assert shown == {"sentiment": "", "intent": f"{tuned.thresholds_['intent']:.3f}", "emotion": ""}
    (shown,) = re.findall(r"^```json\n(.*?)^```", card, re.M | re.S)
    config = fitted.config.to_dict()
    path = config["training"].pop("model_name")
    shown = json.loads(shown)
    assert path.endswith(shown["training"].pop("model_name"))
    assert shown == config
    assert path not in card
    assert not set(messages["text"]) & set(card.splitlines())


@pytest.mark.parametrize("kind", [MultiheadClassifier, TextClassifier])
def test_hostile_names(kind, tmp_path):
    """Tasks and labels that look like Markdown, HTML or YAML are shown literally."""
    config = MultiheadConfig(training=TrainingConfig(model_name=tiny_encoder(n_layers=2), epochs=1))
    config.set_params(training__test_size=0.4, loss__task_weights={HOSTILE[1]: 2.0, HOSTILE[0]: 1})
    texts = [f"text {i} about {i % len(HOSTILE)}" for i in range(12 * len(HOSTILE))]
    labels = [HOSTILE[i % len(HOSTILE)] for i in range(len(texts))]
    if kind is MultiheadClassifier:
        rows = [{"text": t, "label": x} for t, x in zip(texts, labels, strict=True)]
        classifier = kind(config, random_state=0).fit(dict.fromkeys(HOSTILE[:4], rows))
        tasks = HOSTILE[:4]
    else:
        config.set_params(loss__task_weights=None)
        classifier = kind(config, task=HOSTILE[1], random_state=0).fit(texts, labels)
        tasks = HOSTILE[1:2]
    card = classifier.model_card()
    parsed = ModelCard(card)
    assert parsed.content == card
    assert {each.dataset_config for each in parsed.data.eval_results} == {
        " ".join(task.split()) for task in tasks
    }
    body = parsed.text
    assert re.findall(r"^## (.*)$", body, re.M) == SECTIONS
    tables, kinds = rendered_tables(body)
    assert len(tables) == 6
    assert kinds <= {"text", "code_inline"}  # no HTML, link, image or emphasis
    (data,) = [each for each in tables if each[0][0] == "task" and "labels" in each[0]]
    assert [row[0] for row in data[1:]] == [" ".join(task.split()) for task in tasks]
    shown = [" ".join("".join(c if c.isprintable() else " " for c in x).split()) for x in HOSTILE]
    for label in shown:
        assert (label if len(label) < 80 else label[:80] + "…") in data[1][2]


def test_text_classifier(tmp_path):
    """A card without test scores has no results, and names the class to load with."""
    training = TrainingConfig(model_name=tiny_encoder(n_layers=2), epochs=1, val_size=0)
    config = MultiheadConfig(training=training)
    config.set_params(eval__calibrate=False)
    texts, labels = [f"text {i}" for i in range(20)], np.arange(20) % 2
    card = TextClassifier(config, random_state=0).fit(texts, labels).model_card()
    assert "model-index" not in ModelCard(card).data.to_dict()
    assert "no scores of held-out rows" in section(card, "Evaluation")
    assert "not calibrated" in section(card, "Calibration")
    assert "TextClassifier.from_pretrained" in section(card, "How to load")


@pytest.mark.parametrize(
    ("name", "expected"), [("some/encoder", "some/encoder"), ("folder", None), ("a/b/c", None)]
)
def test_base_model(fitted, name, expected):
    """The pretrained encoder is named if its name is one of the hub."""
    copy = MultiheadClassifier(fitted.config.to_dict()).set_params(
        config__training__model_name=name
    )
    copy.__dict__ |= {key: value for key, value in vars(fitted).items() if key.endswith("_")}
    card = copy.model_card()
    assert ModelCard(card).data.base_model == expected
    assert (f"https://huggingface.co/{name}" in card) == (expected is not None)


def test_label_texts(encoder_name):
    """Label texts that the heads learned from are listed, and a task without rows says so."""
    config = MultiheadConfig(training=TrainingConfig(model_name=encoder_name))
    topics = {"delivery": ["where is | my parcel"], "payment": ["invoices"]}
    classifier = MultiheadClassifier(config, label_texts={"topic": topics}, random_state=0)
    card = classifier.fit(["Where is my parcel?"]).model_card()
    assert "no rows and 2 label texts" in card
    _, texts = tables_of(section(card, "Training data"))
    assert ["topic", "delivery", r"where is \| my parcel"] in texts


def test_before_fit():
    """Before fit, there is nothing to describe."""
    with pytest.raises(NotFittedError):
        MultiheadClassifier().model_card()


def test_folder_has_the_card(fitted, tmp_path):
    """`save` writes the card, which can be edited or removed before loading and saving again."""
    folder = tmp_path / "model"
    fitted.save(folder)
    card = folder / "README.md"
    assert card.read_text("utf-8") == fitted.model_card()
    loaded = MultiheadClassifier.load(folder)
    assert loaded.model_card() == fitted.model_card()
    card.write_text("my own card")
    MultiheadClassifier.load(folder)
    fitted.save(folder)
    assert card.read_text("utf-8") == fitted.model_card()
    card.unlink()
    MultiheadClassifier.load(folder)
    fitted.save(folder)
    checksums = json.loads((folder / "checksums.json").read_text())
    del checksums["README.md"]  # a folder of an earlier version
    (folder / "checksums.json").write_text(json.dumps(checksums))
    card.unlink()
    MultiheadClassifier.load(folder)


def test_interval():
    """The interval has the coverage that it claims, also for shares near 1 and few rows."""
    rng = np.random.default_rng(0)
    for share, n in ((0.5, 30), (0.9, 30), (0.95, 200)):
        found = [wilson_interval(k / n, n) for k in rng.binomial(n, share, 4000)]
        covered = np.mean([low <= share <= high for low, high in found])
        assert 0.92 < covered < 0.98
    assert wilson_interval(1.0, 10)[1] == 1
    assert wilson_interval(0.0, 10)[0] == 0
