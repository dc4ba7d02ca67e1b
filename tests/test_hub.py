"""Uploads to the Hugging Face hub and downloads from it, against a hub on the loopback device."""

import hashlib
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.testing import tiny_encoder

from .hub import LFS_SIZE, running_hub

TEXTS = ["Do you ship to Norway?", "It broke again!"]
DATA = {
    "mood": [{"text": f"text {i} is good", "label": "good"} for i in range(8)]
    + [{"text": f"text {i} is bad", "label": "bad"} for i in range(8)],
}
TOKEN = "hf_secret"

# huggingface_hub reads its environment when it is imported, so each client is a process. It
# evaluates the given expressions and prints their values, or the classes and texts of their errors.
CLIENT = """
import json, sys, warnings
from rapidfit_sk import MultiheadClassifier, TextClassifier
folder, texts, steps = json.loads(sys.stdin.read())
original = MultiheadClassifier.load(folder)
def predictions(classifier):
    return classifier.predict_proba(texts).tolist()
found = []
for step in steps:
    try:
        found.append(eval(step))
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
print(json.dumps(found))
"""


def run_client(steps, folder, home, endpoint):
    """Return the values of expressions, as a client of the hub at `endpoint` evaluates them."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT],
        input=json.dumps([str(folder), TEXTS, list(steps.values())]),
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    assert "Retrying" not in done.stderr
    return dict(zip(steps, json.loads(done.stdout.splitlines()[-1]), strict=True))


UPLOADS = {
    "url": f"original.push_to_hub('me/mood', private=True, token={TOKEN!r})",
    "branch": f"original.push_to_hub('me/mood', revision='v2', token={TOKEN!r}, "
    "commit_message='Second')",
    "again": f"original.push_to_hub('me/stale', token={TOKEN!r})",
    "without a token": "original.push_to_hub('me/new')",
    "bad name": f"original.push_to_hub('me/a/b', token={TOKEN!r})",
}
DOWNLOADS = {
    "loaded": f"predictions(MultiheadClassifier.from_pretrained('me/mood', token={TOKEN!r}))",
    "of a branch": "predictions(MultiheadClassifier.from_pretrained('me/mood', revision='v2', "
    f"token={TOKEN!r}))",
    "from the cache": "predictions(MultiheadClassifier.from_pretrained('me/mood', "
    "local_files_only=True))",
    "from a folder": "predictions(MultiheadClassifier.from_pretrained(folder))",
    "stale": "predictions(MultiheadClassifier.from_pretrained('me/stale'))",
    "parameters": f"MultiheadClassifier.from_pretrained('me/mood', token={TOKEN!r}).config "
    "== original.config",
    "damaged": "MultiheadClassifier.from_pretrained('me/damaged')",
    "other class": "TextClassifier.from_pretrained('me/stale')",
    "no classifier": "MultiheadClassifier.from_pretrained('me/encoder')",
    "private": "MultiheadClassifier.from_pretrained('me/hidden')",
    "unknown": f"MultiheadClassifier.from_pretrained('me/nothing', token={TOKEN!r})",
    "revision": "MultiheadClassifier.from_pretrained('me/stale', revision='nope')",
    "not in the cache": "MultiheadClassifier.from_pretrained('me/nothing', local_files_only=True)",
}


@pytest.fixture(scope="module")
def classifier():
    """A fitted classifier; tests must not change it."""
    training = TrainingConfig(model_name=tiny_encoder(n_layers=2), epochs=1, test_size=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the data is small
        return MultiheadClassifier(MultiheadConfig(training=training), random_state=0).fit(DATA)


@pytest.fixture(scope="module")
def folder(classifier, tmp_path_factory):
    """The saved classifier."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    classifier.save(folder)
    return folder


def files_of(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def session(folder, tmp_path_factory):
    """A hub after uploads and downloads, their results, and the home of the client."""
    home, files = tmp_path_factory.mktemp("home"), files_of(folder)
    weights = files["model.safetensors"]
    damaged = files | {"model.safetensors": weights[:-1] + bytes([weights[-1] ^ 1])}
    with running_hub(token=TOKEN) as hub:
        for name, content in {
            "stale": files | {"tokenizer/old.json": b"{}", "notes.txt": b"mine"},
            "damaged": damaged,
            "encoder": {"config.json": b"{}", "pytorch_model.bin": b"\x80"},
            "hidden": files,
        }.items():
            hub.repos[f"me/{name}"], hub.private[f"me/{name}"] = {}, name == "hidden"
            hub.commit(f"me/{name}", "main", content)
        found = run_client(UPLOADS | DOWNLOADS, folder, home, hub.endpoint)
        yield hub, found, home


def test_upload(session, folder, classifier):
    """One commit has the files that `save` writes; the card names the repository."""
    hub, found, _ = session
    head = hub.heads["me/mood", "main"]
    assert found["url"] == f"{hub.endpoint}/me/mood/commit/{head}"
    assert hub.private["me/mood"] is True
    uploaded, saved = dict(hub.files("me/mood")), files_of(folder)
    assert uploaded.pop(".gitattributes") == b""
    assert uploaded.keys() == saved.keys()
    card = uploaded.pop("README.md").decode()
    assert card == classifier.model_card().replace("OWNER/NAME", "me/mood")
    assert ModelCard(card).data.library_name == "rapidfit_sk"
    for name in ("classifier.json", "model.safetensors", "tokenizer/tokenizer.json"):
        assert uploaded[name] == saved[name], name
    weights = saved["model.safetensors"]
    assert len(weights) >= LFS_SIZE
    assert hub.objects[hashlib.sha256(weights).hexdigest()] == weights


def test_upload_to_a_branch(session):
    """A revision that does not exist becomes a branch; the other branches stay."""
    hub, found, _ = session
    assert found["branch"].endswith(hub.heads["me/mood", "v2"])
    assert hub.heads["me/mood", "main"] != hub.heads["me/mood", "v2"]


def test_upload_again(session, folder):
    """Tokenizer files of an earlier classifier are removed, files of others are kept."""
    hub, _, _ = session
    assert hub.files("me/stale").keys() == files_of(folder).keys() | {"notes.txt"}


@pytest.mark.parametrize(
    "step", ["loaded", "of a branch", "from the cache", "from a folder", "stale"]
)
def test_download(session, classifier, step):
    """The downloaded classifier has the same probabilities, to the bit."""
    _, found, _ = session
    assert found[step] == classifier.predict_proba(TEXTS).tolist()
    assert found["parameters"] is True


def test_download_only_own_files(session):
    """Files that do not belong to a classifier are not downloaded."""
    hub, _, _ = session
    got = {line.rpartition("/")[2] for line in hub.requested if line.startswith("GET /me/")}
    assert "model.safetensors" in got
    assert not got & {"notes.txt", "pytorch_model.bin", "config.json", "README.md"}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("without a token", "OSError: .*uploaded to the repository 'me/new'.*hf auth login"),
        ("bad name", "OSError: .*'me/a/b'.*'owner/name'"),
        ("damaged", r"ValueError: The folder .* model.safetensors does not match checksums.json"),
        ("other class", "ValueError: .*saved by MultiheadClassifier"),
        ("no classifier", "ValueError: The repository 'me/encoder' has no file 'classifier.json'"),
        ("private", "OSError: .*downloaded from the repository 'me/hidden'.*hf auth login"),
        ("unknown", "OSError: .*'me/nothing'.*Check the name of the repository"),
        ("revision", "OSError: .*'me/stale'.*Pass a 'revision' that exists"),
        ("not in the cache", "OSError: .*'me/nothing'.*local_files_only"),
    ],
)
def test_errors(session, step, message):
    """Each error names the repository and says what to do, without the token."""
    _, found, _ = session
    assert_matches(found[step], message)


def assert_matches(found, message):
    assert re.search(message, found, re.S), found
    assert TOKEN not in found


def test_without_network(session, folder, classifier):
    """Without a network, the cache is used, and other errors come at once."""
    _, _, home = session
    steps = {
        "cached": "predictions(MultiheadClassifier.from_pretrained('me/mood'))",
        "missing": "MultiheadClassifier.from_pretrained('me/other')",
        "upload": "original.push_to_hub('me/mood', token='x')",
    }
    found = run_client(steps, folder, home, "http://127.0.0.1:9")
    assert found["cached"] == classifier.predict_proba(TEXTS).tolist()
    assert_matches(found["missing"], "OSError: .*'me/other'.*Check the network")
    assert_matches(found["upload"], "OSError: .*uploaded to.*Check the network")


def test_offline(classifier, tmp_path, monkeypatch):
    """With HF_HUB_OFFLINE, the errors name this variable."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="'me/mood'.*HF_HUB_OFFLINE is set"):
        classifier.push_to_hub("me/mood")
    with pytest.raises(OSError, match="'me/mood'.*HF_HUB_OFFLINE is set"):
        MultiheadClassifier.from_pretrained("me/mood")
    assert list(Path(tmp_path).iterdir()) == []


def test_estimator_is_unchanged(classifier, folder):
    """A classifier from a folder has the parameters of its class and can be cloned."""
    loaded = MultiheadClassifier.from_pretrained(folder)
    assert loaded.get_params().keys() == MultiheadClassifier().get_params().keys()
    assert clone(loaded).get_params(deep=False).keys() == classifier.get_params(deep=False).keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repo_id": 3}, "'repo_id' parameter must be"),
        ({"repo_id": "a/b", "private": "yes"}, "'private' parameter must be"),
        ({"repo_id": "a/b", "revision": 3}, "'revision' parameter must be"),
        ({"repo_id": "a/b", "commit_message": ""}, "'commit_message' parameter must be"),
    ],
)
def test_arguments_are_checked(classifier, arguments, message):
    """Invalid arguments are refused before anything is uploaded."""
    with pytest.raises((TypeError, ValueError), match=message):
        classifier.push_to_hub(**arguments)


def test_before_fit():
    """Before fit, there is nothing to upload."""
    with pytest.raises(NotFittedError):
        MultiheadClassifier().push_to_hub("me/mood")
