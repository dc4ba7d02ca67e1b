"""A folder that was changed is refused with one error, or loads with the same predictions."""

import copy
import json
import os
import shutil
import signal
import socket
import statistics
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk import _folders as folders
from rapidfit_sk._model import module as module_file
from rapidfit_sk.testing import tiny_encoder

TEXTS = ["Do you ship to Norway?", "It broke again!", "zebra " * 80]
DATA = {
    "mood": [{"text": f"text {i} is good", "label": "good"} for i in range(8)]
    + [{"text": f"text {i} is bad", "label": "bad"} for i in range(8)],
    "stars": [{"text": f"text {i} has stars", "label": i % 3} for i in range(12)],
}
DELETED = object()


def train(architecture="bert", seed=0):
    encoder = tiny_encoder(architecture=architecture, n_layers=2)
    training = TrainingConfig(
        model_name=encoder, epochs=1, learning_rate=1e-3, test_size=0, long_text="windows"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the data is small
        return MultiheadClassifier(MultiheadConfig(training=training), random_state=seed).fit(DATA)


# --------------------------------------------------------------------------------------------
# Ways to change a folder. A case is a name and a function of the folder.


def edit_json(name, path, value):
    """Return a function that sets one value in a JSON file, and updates the checksums."""

    def apply(folder):
        content = json.loads((folder / name).read_text())
        *parents, last = path
        inner = content
        for key in parents:
            inner = inner[key]
        if value is DELETED:
            del inner[last]
        else:
            inner[last] = value
        (folder / name).write_text(json.dumps(content))
        folders.write_checksums(folder)

    return apply


def write(name, content, *, with_checksums=True):
    """Return a function that replaces the content of a file."""

    def apply(folder):
        (folder / name).write_bytes(content)
        if with_checksums:
            folders.write_checksums(folder)

    return apply


def edit_bytes(name, change, *, with_checksums=False):
    """Return a function that changes the bytes of a file."""

    def apply(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        if with_checksums:
            folders.write_checksums(folder)

    return apply


def replace_file(name, make):
    """Return a function that puts something else in the place of a file."""

    def apply(folder):
        (folder / name).unlink()
        make(folder / name)

    return apply


def edit_header(change, *, data=lambda data: data):
    """Return a function that changes the header of the weights, and updates the checksums."""

    def apply(folder):
        content = (folder / "model.safetensors").read_bytes()
        n = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + n])
        header = change(header) or header
        encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
        length = len(encoded).to_bytes(8, "little")
        (folder / "model.safetensors").write_bytes(length + encoded + data(content[8 + n :]))
        folders.write_checksums(folder)

    return apply


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        there = os.getcwd()
        os.chdir(path.parent)  # the path of a socket has at most 108 characters
        server.bind(path.name)
        os.chdir(there)


def make_sparse(path, size=2**42):
    path.touch()
    os.truncate(path, size)


FILES = [
    "classifier.json",
    "checksums.json",
    "model.safetensors",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
]
OTHER_KINDS = {
    "missing": lambda path: None,
    "pipe": os.mkfifo if hasattr(os, "mkfifo") else None,
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "random device": lambda path: path.symlink_to("/dev/urandom"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "folder": lambda path: path.mkdir(),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path),
    "socket": make_socket,
    "sparse": make_sparse,
}
DAMAGE = {
    "empty": lambda content: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "last byte lost": lambda content: content[:-1],
    "byte added": lambda content: content + b"\0",
    "first bit": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "bit in the middle": lambda content: flip(content, len(content) // 2),
    "bit at three quarters": lambda content: flip(content, 3 * len(content) // 4),
    "zeros": lambda content: bytes(len(content)),
    "deep": lambda content: b"[" * 100_000,
    "deep objects": lambda content: b'{"a":' * 100_000,
}


def flip(content, at):
    return content[:at] + bytes([content[at] ^ 64]) + content[at + 1 :]


def deep(n=600):
    """Return a nested list that JSON can just write and read."""
    value = []
    for _ in range(n):
        value = [value]
    return value


def file_cases():
    for name in FILES:
        for kind, make in OTHER_KINDS.items():
            if make is not None:
                yield f"{name}: {kind}", replace_file(name, make)
        for kind, change in DAMAGE.items():
            yield f"{name}: {kind}", edit_bytes(name, change)
    for kind in ("empty", "cut in half", "zeros", "deep", "deep objects"):
        for name in sorted(set(FILES) - {"checksums.json"}):
            change = edit_bytes(name, DAMAGE[kind], with_checksums=True)
            yield f"{name}: {kind}, with checksums", change
    yield "tokenizer: file added", write("tokenizer/extra.json", b"{}", with_checksums=False)
    yield (
        "tokenizer: many files",
        lambda folder: [write(f"tokenizer/{i}", b"")(folder) for i in range(120)],
    )
    yield "tokenizer: folder inside", lambda folder: (folder / "tokenizer" / "inner").mkdir()
    yield "tokenizer: missing", lambda folder: shutil.rmtree(folder / "tokenizer")
    for value in ([], 3, None, {"classifier.json": None}, {"../x": "0" * 64}, deep()):
        content = json.dumps(value).encode()
        yield f"checksums: {content[:30]!r}", write("checksums.json", content, with_checksums=False)


HUGE = 100_000_000
JUNK = {
    "none": None,
    "negative": -1,
    "huge": HUGE,
    "beyond 64 bits": 10**40,
    "fraction": 1.5,
    "nan": float("nan"),
    "infinity": float("inf"),
    "text": "junk",
    "list": [],
    "dict": {},
    "nested": deep(),
}
# Keys of the description, with junk that is a valid value with other predictions.
KEYS = {
    ("format",): (),
    ("format_version",): (),
    ("versions",): (),
    ("parameters",): (),
    ("tasks",): (),
    ("tasks", 0): (),
    ("tasks", 0, "name"): ("text",),
    ("tasks", 0, "temperature"): ("fraction",),
    ("tasks", 0, "dtype"): (),
    ("tasks", 0, "classes"): (),
    ("tasks", 1, "classes", 0): ("negative",),
    ("module",): (),
    ("module", "n_classes"): (),
    ("module", "n_classes", 0): (),
    ("module", "head"): (),
    ("module", "head", "hidden_layers"): (),
    ("module", "head", "hidden_multiplier"): (),
    ("module", "head", "dropout"): (),
    ("module", "head", "normalize"): (),
    ("module", "pooling"): (),
    ("module", "precision"): (),
    ("module", "compile"): (),
    ("max_length",): (),
    ("long_text",): (),
    ("test_scores",): (),
    ("history",): (),
    ("indices", "train_indices_"): (),
    ("features",): (),
    ("encoder",): (),
}
CONFIG = [
    "attention_probs_dropout_prob",
    "hidden_act",
    "hidden_dropout_prob",
    "hidden_size",
    "intermediate_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
]


def description_cases():
    for path, valid in KEYS.items():
        name = "/".join(map(str, path))
        for kind, value in JUNK.items():
            if kind not in valid:
                yield f"{name}: {kind}", edit_json("classifier.json", path, value)
        if isinstance(path[-1], str):
            yield f"{name}: deleted", edit_json("classifier.json", path, DELETED)
    for key in CONFIG:
        for kind, value in JUNK.items():
            change = edit_json("classifier.json", ("encoder", key), value)
            yield f"encoder/{key}: {kind}", change
    for path, value in SPECIAL:
        name = "/".join(map(str, path))
        yield f"{name}: {value!r:.40}", edit_json("classifier.json", path, value)


SPECIAL = [
    (("encoder", "num_hidden_layers"), 20_000),
    (("encoder", "num_hidden_layers"), 3),
    (("encoder", "num_hidden_layers"), 1),
    (("encoder", "num_hidden_layers"), 0),
    (("encoder", "vocab_size"), 20_000_000),
    (("encoder", "vocab_size"), 640),
    (("encoder", "hidden_size"), 640),
    (("encoder", "num_labels"), HUGE),
    (("encoder", "id2label"), {str(i): "x" for i in range(50_000)}),
    (("encoder", "pruned_heads"), {"0": [0]}),
    (("encoder", "layer_norm_eps"), -1.0),
    (("encoder", "layer_norm_eps"), 0),
    (("encoder", "chunk_size_feed_forward"), 7),
    (("encoder", "return_dict"), False),
    (("encoder", "output_hidden_states"), True),
    (("encoder", "torchscript"), True),
    (("encoder", "model_type"), "t5"),
    (("encoder", "model_type"), "albert"),
    (("encoder", "model_type"), "clip"),
    (("encoder", "model_type"), ["bert"]),
    (("encoder", "auto_map"), {"AutoModel": "a/b--c.D", "AutoConfig": "a/b--c.D"}),
    (("encoder", "unheard_of_experts"), HUGE),
    (("encoder", "unheard_of"), list(range(10_000))),
    (("module", "head", "hidden_layers"), 1_000_000),
    (("module", "head", "hidden_layers"), 1),
    (("module", "head", "hidden_multiplier"), 0),
    (("module", "head", "dropout"), 1),
    (("module", "head", "activation"), "sigmoid"),
    (("module", "head", "extra"), 1),
    (("module", "extra"), 1),
    (("module", "pooling"), "min"),
    (("module", "n_classes"), [2]),
    (("module", "n_classes"), [2, 3, 2]),
    (("module", "n_classes"), [3, 2]),
    (("max_length",), 0),
    (("max_length",), 257),
    (("max_length",), "128"),
    (("max_length",), True),
    (("tasks", 0, "temperature"), 0),
    (("tasks", 0, "temperature"), "1"),
    (("tasks", 0, "temperature"), 1e-300),
    (("tasks", 0, "threshold"), 1.5),
    (("tasks", 0, "threshold"), "0.5"),
    (("tasks", 0, "name"), "stars"),
    (("tasks", 0, "dtype"), "<U400000000"),
    (("tasks", 0, "dtype"), "<U3"),
    (("tasks", 0, "dtype"), "<M8[s]"),
    (("tasks", 0, "dtype"), "|V8"),
    (("tasks", 0, "dtype"), "i4,i4"),
    (("tasks", 1, "dtype"), "|i1,"),
    (("tasks", 1, "dtype"), "|b1"),
    (("tasks", 1, "dtype"), "<f8"),
    (("tasks", 1, "classes"), [0, 1]),
    (("tasks", 1, "classes"), [0, 1, 1]),
    (("tasks", 1, "classes"), [2, 1, 0]),
    (("tasks", 1, "classes"), [0, 1, 2**70]),
    (("tasks", 1, "classes"), [0, 1, "2"]),
    (("tasks", 1, "classes"), [False, True, 2]),
    (("tasks", 1, "classes"), [[0], [1], [2]]),
    (("features",), {"n_features_in_": -1}),
    (("features",), {"feature_names_in_": [1]}),
    (("features",), {"model_": 1}),
    (("indices", "train_indices_"), [-1]),
    (("indices", "train_indices_"), ["0"]),
    (("indices", "train_indices_"), [2**70]),
    (("indices", "train_indices_"), [[0], [1, 2]]),
    (("indices",), {}),
    (("history",), [1]),
    (("versions",), {"torch": 2}),
    (("test_scores",), {"mood": {"accuracy": "high"}}),
    (("parameters",), {"config": 3}),
    (("parameters",), {"config": {"training": {"epochs": -1}}}),
    (("parameters",), {"config": {"training": {"unheard_of": 1}}}),
    (("parameters",), {"config": None, "unheard_of": 1}),
    (("parameters",), {"config": None, "device": "warp drive"}),
    (("parameters",), {"config": None, "device": 1.5}),
    (("parameters",), {"config": None, "cache_memory": "all"}),
    (("parameters",), {"config": None, "random_state": {}}),
    (("parameters",), {"config": None, "task_labels": 1}),
    (("format_version",), 99),
    (("format_version",), 0),
    (("format",), "another format"),
]
EMBEDDING = "encoder.embeddings.word_embeddings.weight"
LAYER_1 = "encoder.encoder.layer.1."


def with_entry(**values):
    """Return a function that changes the entry of the token embeddings in a header."""

    def change(header):
        header[EMBEDDING] |= values

    return change


def without(header, prefix):
    """Return a header and the places of its data, without some tensors."""
    kept = {name: entry for name, entry in header.items() if not name.startswith(prefix)}
    end = 0
    for entry in kept.values():
        size = entry["data_offsets"][1] - entry["data_offsets"][0]
        entry["data_offsets"] = [end, end + size]
        end += size
    return kept


def poke(value):
    """Return a function that changes the last number in the data of the weights."""
    return lambda data: data[:-4] + np.float32(value).tobytes()


def add_tensor(header):
    end = max(entry["data_offsets"][1] for entry in header.values())
    header["extra"] = {"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}


def rename(header):
    return {("x" if name == EMBEDDING else name): entry for name, entry in header.items()}


def remove_layer(folder):
    """Remove the weights of a layer, which the configuration still has."""

    def change(header):
        kept = without(header, LAYER_1)
        sizes.append(max(entry["data_offsets"][1] for entry in kept.values()))
        return kept

    sizes = []
    edit_header(change, data=lambda data: data[: sizes[0]])(folder)


def in_half_precision(kind):
    """Return a function that stores all weights with two bytes per number."""

    def apply(folder):
        def change(header):
            end = 0
            for entry in header.values():
                n = 2 * int(np.prod(entry["shape"]))
                entry |= {"dtype": kind, "data_offsets": [end, end + n]}
                end += n

        edit_header(change, data=lambda data: np.frombuffer(data, "<f4").astype("<f2").tobytes())(
            folder
        )

    return apply


def weight_cases():
    entries = {
        "dtype F16": {"dtype": "F16"},
        "dtype F64": {"dtype": "F64"},
        "dtype F8": {"dtype": "F8_E4M3"},
        "dtype I32": {"dtype": "I32"},
        "dtype of junk": {"dtype": "junk"},
        "dtype of a list": {"dtype": []},
        "shape turned": {"shape": [32, 643]},
        "shape flat": {"shape": [643 * 32]},
        "shape negative": {"shape": [-643, -32]},
        "shape huge": {"shape": [2**40, 2**40]},
        "shape of zeros": {"shape": [0, 2**60]},
        "shape of many": {"shape": [1] * 100},
        "shape of floats": {"shape": [643.0, 32.0]},
        "shape of text": {"shape": "643"},
        "offsets swapped": {"data_offsets": [100, 0]},
        "offsets equal": {"data_offsets": [0, 0]},
        "offsets negative": {"data_offsets": [-4, 0]},
        "offsets huge": {"data_offsets": [0, 2**62]},
        "offsets of one": {"data_offsets": [0]},
        "offsets of text": {"data_offsets": ["0", "4"]},
        "entry with more": {"more": 1},
    }
    for name, values in entries.items():
        yield f"weights: {name}", edit_header(with_entry(**values))
    yield "weights: tensor lost", edit_header(lambda header: without(header, EMBEDDING))
    yield "weights: layer lost", remove_layer
    yield "weights: tensor added", edit_header(add_tensor, data=lambda data: data + bytes(4))
    yield "weights: tensor renamed", edit_header(rename)
    yield "weights: entry of text", edit_header(lambda header: header | {EMBEDDING: "F32"})
    yield "weights: header of a list", edit_header(lambda header: b"[]")
    yield "weights: header without tensors", edit_header(lambda header: b"{}")
    yield "weights: header deep", edit_header(lambda header: b"[" * 100_000)
    yield "weights: header of bytes", edit_header(lambda header: b"\xff" * 64)
    for length in (2**63, 2**32, 10**6, 1, 0):
        change = edit_bytes(
            "model.safetensors",
            lambda content, n=length: n.to_bytes(8, "little") + content[8:],
            with_checksums=True,
        )
        yield f"weights: header of length {length}", change
    for value in (np.nan, np.inf, -np.inf):
        yield f"weights: {value}", edit_header(lambda header: header, data=poke(value))
    yield "weights: data cut", edit_header(lambda header: header, data=lambda data: data[:-4])
    yield "weights: data added", edit_header(lambda header: header, data=lambda data: data + b"x")
    yield "weights: half precision", in_half_precision("F16")
    yield "weights: bfloat16", in_half_precision("BF16")
    yield "weights: metadata", edit_header(lambda header: {"__metadata__": {"a": "b"}} | header)


def tokenizer_cases():
    config, tokenizer = "tokenizer/tokenizer_config.json", "tokenizer/tokenizer.json"
    for value in (0, -1, 5, "256", True, [], float("nan"), float("-inf")):
        change = edit_json(config, ("model_max_length",), value)
        yield f"tokenizer: model_max_length {value!r}", change
    for key in ("pad_token", "unk_token", "cls_token", "mask_token"):
        for value in ("[NEW]", 5, [], {}, {"content": 3}, {"content": "[NEW]"}):
            yield f"tokenizer: {key} {value!r}", edit_json(config, (key,), value)
    for key, value in {
        "padding_side": "up",
        "truncation_side": 3,
        "model_input_names": "input_ids",
        "clean_up_tokenization_spaces": "yes",
        "split_special_tokens": 1,
        "tokenizer_class": "NoSuchTokenizer",
        "auto_map": {"AutoTokenizer": ["a/b--c.D", "a/b--c.D"]},
        "tokenizer_file": "/dev/zero",
        "vocab_file": "/dev/zero",
        "added_tokens_decoder": {"9999999": {"content": "x"}},
        "extra_special_tokens": ["[NEW]"],
        "chat_template": "{% for i in range(10**9) %}{% endfor %}",
    }.items():
        yield f"tokenizer: {key} {value!r:.20}", edit_json(config, (key,), value)
    for path, value in {
        ("model", "vocab", "[NEW]"): 643,
        ("model", "vocab", "[NEWER]"): 2**31,
        ("model", "vocab", "[ABSURD]"): 2**70,
        ("model", "vocab", "[NEWEST]"): -1,
        ("model", "vocab"): {},
        ("model", "type"): "Unheard",
        ("model", "unk_token"): "[NONE]",
        ("model",): None,
        ("added_tokens",): [{"id": 2**40, "content": "x"}],
        ("added_tokens", 0, "id"): -1,
        ("pre_tokenizer",): {"type": "Unheard"},
        ("normalizer",): {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
        ("post_processor",): {"type": "BertProcessing"},
        ("post_processor", "cls", 1): 9_999,
        ("version",): "9.9",
        ("truncation",): {"max_length": -1},
    }.items():
        name = "/".join(map(str, path))
        yield f"tokenizer: {name} {value!r:.20}", edit_json(tokenizer, path, value)
    for content in (b"[]", b"3", b"null", b'"text"', b"NaN", b"\xff\xfe"):
        yield f"tokenizer: {content!r}", write(tokenizer, content)
        yield f"tokenizer config: {content!r}", write(config, content)
        yield f"special tokens: {content!r}", write("tokenizer/special_tokens_map.json", content)

    def without_fast(folder):
        (folder / tokenizer).unlink()
        folders.write_checksums(folder)

    yield "tokenizer: without tokenizer.json", without_fast


CASES = dict(
    case
    for cases in (file_cases, description_cases, weight_cases, tokenizer_cases)
    for case in cases()
)


# --------------------------------------------------------------------------------------------
# Tests


class Hangs(BaseException):
    """Raised in the main thread when a load does not end."""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A saved folder, the probabilities of its classifier, and the CPU seconds of a load."""
    classifier, folder = train(), tmp_path_factory.mktemp("saved") / "model"
    classifier.save(folder)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        MultiheadClassifier.load(folder)
        seconds.append(time.process_time() - start)
    return folder, classifier.predict_proba(TEXTS), statistics.median(seconds)


def load_or_message(folder):
    """Return the probabilities of a loaded classifier, or the message of the error."""
    try:
        loaded = MultiheadClassifier.load(folder)
    except ValueError as error:
        return str(error)
    return loaded.predict_proba(TEXTS)


def peak_memory():
    """Return the peak of resident memory in bytes since the last call, on Linux."""
    if sys.platform != "linux":
        return 0
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def refuse(*args):
    raise Hangs


def test_there_are_many_cases():
    """The table has at least 300 different cases."""
    assert len(CASES) >= 300


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs alarms")
@pytest.mark.parametrize("name", CASES)
def test_changed_folder(original, tmp_path, name):
    """A changed folder is refused with one error, or loads with the same predictions.

    It takes neither much more time than the original, nor much more memory.
    """
    folder, expected, seconds = original
    changed = tmp_path / "model"
    shutil.copytree(folder, changed)
    CASES[name](changed)
    signal.signal(signal.SIGALRM, refuse)
    signal.alarm(120)  # only so that a pipe that is waited for fails this test
    peak_memory()
    before, start = peak_memory(), time.process_time()
    try:
        result = load_or_message(changed)
    finally:
        signal.alarm(0)
    assert time.process_time() - start < 100 * seconds
    assert peak_memory() - before < 100e6
    if isinstance(result, str):
        assert result.startswith(f"The folder {str(changed)!r} does not contain a valid")
        assert "\n" not in result
        assert len(result) < 1000
    else:
        assert all(np.array_equal(result[task], expected[task]) for task in expected)


# Values that are plausible one by one, but do not fit the weights.
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("encoder", "vocab_size"), 640),
        (("encoder", "hidden_size"), 640),
        (("encoder", "intermediate_size"), 640),
        (("encoder", "num_hidden_layers"), 3),
        (("encoder", "type_vocab_size"), 600),
        (("module", "head", "hidden_layers"), 3),
        (("tasks", 1, "classes"), [0, 1]),
    ],
)
def test_nothing_is_built_for_other_weights(original, tmp_path, monkeypatch, path, value):
    """If an architecture does not fit the weights, no memory is used to build it."""
    folder, _, _ = original
    shutil.copytree(folder, tmp_path / "model")
    edit_json("classifier.json", path, value)(tmp_path / "model")
    built = []
    real = module_file.empty_encoder

    def recorded(description):
        encoder = real(description)
        built.append({parameter.device.type for parameter in encoder.parameters()})
        return encoder

    monkeypatch.setattr(module_file, "empty_encoder", recorded)
    with pytest.raises(ValueError, match="The folder .*Nothing was loaded"):
        MultiheadClassifier.load(tmp_path / "model")
    assert built in ([], [{"meta"}])


def test_architecture_that_cannot_be_outlined(original, monkeypatch):
    """An architecture that torch cannot build without memory loads with the same predictions."""
    folder, expected, _ = original
    real = module_file.empty_encoder

    def only_real(description):
        if torch.empty(0).device.type == "meta":
            raise NotImplementedError("no meta tensors")
        return real(description)

    monkeypatch.setattr(module_file, "empty_encoder", only_real)
    result = MultiheadClassifier.load(folder).predict_proba(TEXTS)
    assert all(np.array_equal(result[task], expected[task]) for task in expected)


def add_tensors(n, **values):
    """Return a function that adds tensors with these values to the header."""

    def change(header):
        end = max(entry["data_offsets"][1] for entry in header.values())
        entry = {"dtype": "U8", "shape": [0], "data_offsets": [end, end]} | values
        return header | {f"encoder.more.{i}": entry for i in range(n)}

    return edit_header(change)


def all_of(*changes):
    """Return a function that makes several changes."""
    return lambda folder: [change(folder) for change in changes]


def describe(*path, value):
    return edit_json("classifier.json", path, value)


def panicking_tokenizer(folder):
    """Put a tokenizer that panics under a name of which only its configuration knows."""
    path = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    path.unlink()
    (folder / "tokenizer" / "tokenizer.4.0.0.json").write_text(json.dumps(content))
    edit_json(
        "tokenizer/tokenizer_config.json", ("fast_tokenizer_files",), ["tokenizer.4.0.0.json"]
    )(folder)


REFUSED = {
    "size of zero": (
        all_of(
            add_tensors(1, shape=[10**7, 0, 0]),
            describe("encoder", "num_hidden_layers", value=10**7),
        ),
        "the entry of the weights 'encoder.more.0' is not valid",
    ),
    "weights of no part": (
        edit_header(add_tensor, data=lambda data: data + bytes(4)),
        "the weights 'extra' have no place",
    ),
    "many weights": (add_tensors(20_000), "it has 200.. weights, but at most 16384 are allowed"),
    "tokenizer that panics": (panicking_tokenizer, "The folder"),
    "empty task": (describe("tasks", 0, "name", value=""), "'name' must be a non-empty str"),
    "task with NUL": (describe("tasks", 0, "name", value="a\0"), "'name' must be a non-empty str"),
    "task of half a pair": (
        describe("tasks", 0, "name", value="\ud800"),
        "'name' must be a non-empty str",
    ),
    "label of half a pair": (
        describe("tasks", 0, "classes", value=["bad", "\ud800"]),
        "the classes of task 'mood', position 1: the label is not valid Unicode",
    ),
    "large labels": (
        all_of(
            describe("tasks", 1, "dtype", value="|O"),
            describe("tasks", 1, "classes", value=[0, 1, 2**64]),
        ),
        "the classes of task 'stars', position 2: the label 18446744073709551616 does not fit",
    ),
    "many features": (
        describe("features", value={"n_features_in_": 10**400}),
        "'n_features_in_' must be an int in the range",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_fit_refuses(original, tmp_path, name):
    """Values that fit never writes are refused with a message that names them."""
    folder, _, _ = original
    shutil.copytree(folder, tmp_path / "model")
    change, message = REFUSED[name]
    change(tmp_path / "model")
    with pytest.raises(ValueError, match=f"The folder .*{message}.*Nothing was loaded"):
        MultiheadClassifier.load(tmp_path / "model")


def keep_vocabulary_only(folder):
    """Replace the file of a tokenizer by its vocabulary, which transformers reads from a folder."""
    path = folder / "tokenizer" / "tokenizer.json"
    vocabulary = json.loads(path.read_text())["model"]["vocab"]
    path.unlink()
    content = "".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.get))
    (folder / "tokenizer" / "vocab.txt").write_text(content)
    edit_json("tokenizer/tokenizer_config.json", ("tokenizer_class",), "BertTokenizer")(folder)


@pytest.mark.parametrize(
    ("name", "prepare"),
    [
        ("classifier.json", lambda folder: None),
        ("tokenizer/tokenizer_config.json", lambda folder: None),
        ("tokenizer/tokenizer_config.json", keep_vocabulary_only),
    ],
    ids=["encoder", "tokenizer", "tokenizer in a folder"],
)
def test_no_code_runs(original, tmp_path, monkeypatch, name, prepare):
    """Python files in the folder, and names of code in its JSON files, are not run."""
    folder, expected, _ = original
    changed = tmp_path / "model"
    shutil.copytree(folder, changed)
    prepare(changed)
    code = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    (changed / "tokenizer" / "code.py").write_text(code + "class Code: pass\n")
    content = json.loads((changed / name).read_text())
    names = {f"Auto{kind}": "code.Code" for kind in ("Model", "Config")}
    names["AutoTokenizer"] = ["code.Code", "code.Code"]
    inner = content.get("encoder", content)
    inner |= {"auto_map": names, "model_type": "bert"}
    (changed / name).write_text(json.dumps(content))
    folders.write_checksums(changed)
    (changed / "code.py").write_text(code + "class Code: pass\n")  # save would not list it
    monkeypatch.chdir(changed)
    result = MultiheadClassifier.load(changed).predict_proba(TEXTS)
    assert all(np.array_equal(result[task], expected[task]) for task in expected)
    assert not (tmp_path / "ran").exists()


# --------------------------------------------------------------------------------------------
# A folder that is replaced while it is read


def test_load_beside_a_saver(tmp_path):
    """While another thread replaces the folder, each load returns one of the two classifiers."""
    first, second = train(), train("roberta", seed=1)
    first.save(tmp_path / "model")
    expected = [classifier.predict_proba(TEXTS) for classifier in (first, second)]
    done, failed = threading.Event(), []

    def save():
        while not done.is_set():
            try:
                second.save(tmp_path / "model")
                first.save(tmp_path / "model")
            except Exception as error:
                failed.append(error)
                return

    saver = threading.Thread(target=save)
    saver.start()
    found = set()
    try:
        for _ in range(60):
            result = MultiheadClassifier.load(tmp_path / "model").predict_proba(TEXTS)
            same = [np.array_equal(result["stars"], each["stars"]) for each in expected]
            assert any(same)
            found.add(same.index(True))
    finally:
        done.set()
        saver.join()
    assert not failed
    assert found == {0, 1}


def test_folder_replaced_between_two_files(tmp_path, monkeypatch):
    """If the folder is replaced after its description was read, the load starts again."""
    first, second = train(), train(seed=1)
    first.save(tmp_path / "model")
    second.save(tmp_path / "next")
    expected = second.predict_proba(TEXTS)
    real = folders.read_checksums

    def replaced(folder):
        if (tmp_path / "next").exists():
            shutil.rmtree(tmp_path / "model")
            (tmp_path / "next").rename(tmp_path / "model")
        return real(folder)

    monkeypatch.setattr("rapidfit_sk._persistence.read_checksums", replaced)
    result = MultiheadClassifier.load(tmp_path / "model").predict_proba(TEXTS)
    assert all(np.array_equal(result[task], expected[task]) for task in expected)


def test_file_replaced_after_it_was_read(original, tmp_path, monkeypatch):
    """The bytes that were verified are the ones that are used, even if the file changes later."""
    folder, expected, _ = original
    shutil.copytree(folder, tmp_path / "model")
    real = copy.copy(folders.verify)

    def destroying(checksums, name, *parts):
        real(checksums, name, *parts)
        with open(tmp_path / "model" / name, "r+b") as file:
            file.write(b"junk" * 10)

    monkeypatch.setattr("rapidfit_sk._persistence.verify", destroying)
    result = MultiheadClassifier.load(tmp_path / "model").predict_proba(TEXTS)
    assert all(np.array_equal(result[task], expected[task]) for task in expected)
