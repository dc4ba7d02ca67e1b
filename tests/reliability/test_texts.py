"""Odd texts: control tokens, unknown scripts, very long texts, and streams of any length."""

import copy
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from transformers import AddedToken

from rapidfit_sk import MultiheadClassifier
from rapidfit_sk._model import TextTokenizer, load_tokenizer
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

from .small import LABELS, TEXTS, make

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def encoder():
    return tiny_encoder(n_layers=1)


@pytest.fixture(scope="module")
def classifier(encoder):
    return make(encoder).fit(TEXTS, LABELS).add_task(TEXTS, LABELS[::-1], task="other")


# --------------------------------------------------------------------------------------------
# Special tokens


@pytest.mark.parametrize("long_text", ["truncate", "head_tail", "windows"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_special_tokens_in_a_text_are_ordinary_text(architecture, long_text):
    """No special token stands inside a text, whatever the user types."""
    tokenizer = load_tokenizer(tiny_encoder(architecture=architecture))
    special = tokenizer.all_special_tokens
    texts = [f"refund {token} now" for token in special]
    texts += ["".join(special), " ".join(special * 9), "[SEP][SEP]", "[[SEP]SEP]", "</s>"]
    tokens = TextTokenizer(tokenizer, 24, long_text)(texts)
    control = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for start, end in zip(tokens.starts, tokens.starts[1:], strict=False):
        assert not control & set(tokens.ids[start + 1 : end - 1].tolist())


def test_a_special_token_of_roberta(classifier):
    """Two texts that differ in a special token differ for the model as any two texts do."""
    shares = classifier.predict_proba(
        ["refund [SEP] now", "refund [PAD] now", "refund now"], task="label"
    )
    assert len(np.unique(shares[:, 0])) == 3


# --------------------------------------------------------------------------------------------
# What the encoder does not read


def test_unknown_tokens_lead_to_a_warning(encoder):
    """A fit on a script that the vocabulary lacks warns with the share of unknown tokens."""
    texts = [f"{'喜' * (i + 1)} 🎉" for i in range(16)]
    with pytest.warns(UserWarning, match="Unknown tokens: 100% of task 'label'"):
        classifier = make(encoder).fit(texts, LABELS)
    assert classifier.unknown_fraction_ == {"label": 1.0}
    with pytest.warns(UserWarning, match="Unknown tokens: 100% of task 'cheer'"):
        make(encoder).fit(TEXTS, LABELS).add_task(texts, LABELS, task="cheer")


def test_cut_texts_lead_to_a_warning(encoder):
    """A fit warns if more than a twentieth of the texts of a task are cut."""
    y = pd.DataFrame({"a": LABELS, "b": LABELS})
    texts = [*TEXTS[:12], *(text + " word" * 40 for text in TEXTS[12:])]
    with pytest.warns(UserWarning, match="cut after 16 tokens: 25% of task 'a', 25% of task 'b'"):
        classifier = make(encoder, {"training__max_length": 16}).fit(texts, y)
    assert classifier.truncated_fraction_ == {"a": 0.25, "b": 0.25}
    options = {"training__max_length": 16, "training__long_text": "windows"}
    assert make(encoder, options).fit(texts, y).truncated_fraction_ == {"a": 0.0, "b": 0.0}


def test_no_warning_for_usual_texts(encoder, tmp_path):
    """Shares of usual texts are 0, and they are saved with the model."""
    classifier = make(encoder).fit(TEXTS, LABELS)
    assert classifier.truncated_fraction_ == classifier.unknown_fraction_ == {"label": 0.0}
    classifier.partial_fit([*TEXTS, "🎉"], pd.Series([*LABELS, "p"], name="label"))
    assert 0 < classifier.unknown_fraction_["label"] < 0.05
    loaded = MultiheadClassifier.load(classifier.save(tmp_path / "model") and tmp_path / "model")
    assert loaded.unknown_fraction_ == classifier.unknown_fraction_
    assert loaded.truncated_fraction_ == classifier.truncated_fraction_


# --------------------------------------------------------------------------------------------
# Long texts


@pytest.mark.parametrize("long_text", ["truncate", "head_tail", "windows"])
def test_a_long_text_is_read_like_a_short_one(encoder, long_text):
    """Cutting a text before it is tokenized gives the ids that its whole tokenization would."""
    tokenizer = load_tokenizer(encoder)
    words = " ".join(f"word{i} good" for i in range(60_000))
    tokens = TextTokenizer(tokenizer, 32, long_text)([words, "short"])
    whole = tokenizer(words, truncation=False, verbose=False)["input_ids"]
    ids = tokens.ids[: tokens.starts[tokens.firsts[1]]].tolist()
    if long_text == "truncate":
        assert ids == [*whole[:31], whole[-1]]
    elif long_text == "head_tail":
        assert ids == whole[:16] + whole[-16:]
    else:
        assert [i for i in ids if i not in whole[:1] + whole[-1:]] == whole[1:-1]
    assert tokens.is_cut.tolist() == [long_text != "windows", False]


def test_a_text_without_spaces_and_one_of_spaces(encoder):
    """A text of a million characters without a word boundary, or without a word, is read."""
    tokenizer = TextTokenizer(load_tokenizer(encoder), 32)
    tokens = tokenizer(["x" * 1_000_000, " " * 1_000_000, " " * 20_000 + "good"])
    assert (tokens.lengths >= 1).all()
    assert tokens.is_cut.tolist() == [True, True, False]
    good = tokenizer(["good"])
    assert tokens.ids[tokens.starts[2] :].tolist() == good.ids.tolist()


def test_a_long_text_does_not_hold_up_other_threads(encoder):
    """While one thread tokenizes a very long text in windows, another one tokenizes short texts."""
    tokenizer = TextTokenizer(load_tokenizer(encoder), 32, "windows")
    long = "a very long text without an end " * 150_000
    finished, waits = threading.Event(), []

    def read_long():
        tokenizer([long])
        finished.set()

    alone = _duration(lambda: tokenizer([long]))
    thread = threading.Thread(target=read_long)
    thread.start()
    while not finished.is_set():
        waits.append(_duration(lambda: tokenizer(["short"])))
    thread.join()
    # With one lock for the whole text, the first wait would be as long as its tokenization.
    assert len(waits) > 5
    assert max(waits) < 0.5 * alone


def test_a_long_beginning_with_few_tokens(encoder):
    """The words after a long run of spaces are read, although the end of the text is dense."""
    tokenizer = TextTokenizer(load_tokenizer(encoder), 32, "head_tail")
    end = " good word" * 2000
    texts = [f"{' ' * 5000}{word}{end}" for word in ("bad", "thing")]
    tokens = tokenizer(texts)
    one, other = np.split(tokens.ids, tokens.starts[1:-1])
    assert not np.array_equal(one, other)
    whole = load_tokenizer(encoder)(texts[0], truncation=False, verbose=False)["input_ids"]
    assert one.tolist() == whole[:16] + whole[-16:]


def test_a_special_token_that_normalization_creates(encoder):
    """A text that becomes a special token only by its normalization is no special token either."""
    tokenizer = load_tokenizer(encoder)
    token = AddedToken("<HUMAN>", special=True, normalized=True)
    tokenizer.add_special_tokens({"additional_special_tokens": [token]})
    control = tokenizer.convert_tokens_to_ids("<HUMAN>")
    tokens = TextTokenizer(tokenizer, 32)(["say <human> now", "say <HUMAN> now", "<HUMAN>"])
    assert control not in tokens.ids


def _duration(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


# --------------------------------------------------------------------------------------------
# Streams


def test_a_stream_equals_one_call(classifier):
    """Batches of a stream give the labels and probabilities of one call, in the same order."""
    expected = classifier.predict_all(TEXTS)
    batches = list(classifier.predict_batches(iter(TEXTS), batch_rows=5))
    assert [len(batch) for batch in batches] == [5, 5, 5, 1]
    pd.testing.assert_frame_equal(pd.concat(batches), expected)
    (batch,) = classifier.predict_batches((text for text in TEXTS), "other", proba=True)
    assert batch.columns.tolist() == ["other", "other confidence", "other=n", "other=p"]
    assert np.array_equal(batch["other"], classifier.predict(TEXTS, "other"))
    shares = classifier.predict_proba(TEXTS, "other")
    assert np.array_equal(batch[["other=n", "other=p"]], shares)


def test_a_stream_of_frames(classifier):
    """Frames keep their index, and may stand beside texts in one stream."""
    frame = pd.DataFrame({"text": TEXTS}, index=[f"row{i}" for i in range(16)])
    chunks = [frame[:7], frame[7:8], frame[8:8], frame[8:]]
    found = pd.concat(classifier.predict_batches(chunks, batch_rows=3))
    pd.testing.assert_frame_equal(found, classifier.predict_all(frame))
    (whole,) = classifier.predict_batches(frame)
    pd.testing.assert_frame_equal(whole, found)
    mixed = list(classifier.predict_batches(["good", frame[:2], "bad"]))
    assert [batch.index.tolist() for batch in mixed] == [[0], ["row0", "row1"], [3]]
    (of_polars,) = classifier.predict_batches([pl.DataFrame({"text": TEXTS})])
    assert np.array_equal(of_polars, found)
    assert list(classifier.predict_batches([])) == []


def test_a_stream_is_read_as_needed(classifier):
    """An endless stream is read a batch at a time, from the model of the time of the call."""
    read = []

    def endless():
        while True:
            read.append(1)
            yield "good"

    other = copy.copy(classifier)
    expected = other.predict_proba(["good"], task="label")
    batches = other.predict_batches(endless(), batch_rows=4, proba=True)
    next(batches)
    assert len(read) == 4
    other.fit(TEXTS, LABELS[::-1], sample_weight=[3.0] + [1.0] * 15)
    assert not np.array_equal(other.predict_proba(["good"]), expected)
    assert np.allclose(next(batches)[["label=n", "label=p"]], expected, atol=1e-6)


def test_columns_with_one_name(encoder):
    """Labels and probabilities that would share a column are an error before anything is read."""
    texts = pd.DataFrame({"a": LABELS, "a=n": LABELS})
    classifier = make(encoder).fit(TEXTS, texts)
    with pytest.raises(ValueError, match="Two columns .* have the name 'a=n'"):
        classifier.predict_batches(iter(TEXTS), proba=True)
    assert len(list(classifier.predict_batches(iter(TEXTS), "a", proba=True))) == 1


@pytest.mark.parametrize(
    ("stream", "arguments", "error", "message"),
    [
        ("one text", {}, TypeError, "X must be an iterable of texts or of frames, got 'one text'"),
        (7, {}, TypeError, "X must be an iterable of texts or of frames, got 7"),
        ({"a": []}, {}, TypeError, "X must be an iterable of texts"),
        (["good", 3], {}, TypeError, "Item 1 of X must be a text or a frame, got 3"),
        (["good", None], {}, TypeError, "Item 1 of X must be a text or a frame, got None"),
        (["good", "\ud800"], {"batch_rows": 1}, ValueError, "row 1: the text is not valid"),
        ([pd.DataFrame({"a": ["x"], "b": ["y"]})], {}, ValueError, "X has no column 'text'"),
        (["good"], {"batch_rows": 0}, ValueError, "'batch_rows'"),
        (["good"], {"batch_rows": 2.5}, TypeError, "'batch_rows'"),
        (["good"], {"proba": "yes"}, TypeError, "'proba'"),
        (["good"], {"task": "mood"}, ValueError, "Task 'mood' was not seen in fit"),
    ],
    ids=str,
)
def test_bad_streams(classifier, stream, arguments, error, message):
    """A bad stream or argument is an error that names its place."""
    with pytest.raises(error, match=message):
        list(classifier.predict_batches(stream, **arguments))


STREAM = """
import psutil, sys
from tests.reliability.small import LABELS, TEXTS, make
classifier = make(sys.argv[1]).fit(TEXTS, LABELS)
list(classifier.predict_batches(f"good {i}" for i in range(20_000)))
process = psutil.Process()
before, most, n = process.memory_info().rss, 0, 0
for batch in classifier.predict_batches((f"good {i}" for i in range(int(sys.argv[2]))), proba=True):
    most, n = max(most, process.memory_info().rss), n + len(batch)
print(n, (most - before) // 2**20)
"""


@pytest.mark.slow
def test_memory_of_a_stream(encoder):
    """A stream of 200,000 texts takes less than 300 MB beside those of a short stream."""
    done = subprocess.run(
        [sys.executable, "-c", STREAM, encoder, "200000"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    n, megabytes = map(int, done.stdout.split())
    assert n == 200_000
    assert megabytes < 300
