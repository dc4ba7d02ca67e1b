"""Save the encoder of a fitted classifier as a folder that other libraries load."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from transformers import MODEL_MAPPING, PreTrainedModel

from ._fitted import FittedModel
from ._folders import replace_folder, write_checksums
from ._model import TextTokenizer, describe_encoder, embedding_width, longest_input
from ._persistence import WEIGHTS, library_versions
from ._validation import check_argument, path

# Modules of sentence-transformers; all of its versions and other libraries know these names.
_MODULES = {"": "Transformer", "1_Pooling": "Pooling"}

# Modes of its pooling. Attention starts from the mean; its queries belong to the heads.
_MODES = {
    "attention": "mean_tokens",
    "mean": "mean_tokens",
    "cls": "cls_token",
    "max": "max_tokens",
}
_ALL_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")


def save_encoder(classifier: Any, folder: str | os.PathLike[str]):
    """Save the encoder of a classifier; see :meth:`MultiheadClassifier.save_encoder`."""
    check_argument("folder", folder, path())
    model = classifier.model_
    encoder = model.net.module_.encoder
    weights, descriptions = _weights_of(encoder), _descriptions_of(model)
    tokenizer = _tokenizer_files(model.tokenizer, longest_input(encoder, model.tokenizer.tokenizer))

    def write(into: Path):
        for name, value in descriptions.items():
            (into / name).parent.mkdir(exist_ok=True)
            (into / name).write_text(json.dumps(value, indent=2))
        for name, content in tokenizer.items():
            (into / name).write_bytes(content)
        save_file(weights, into / WEIGHTS, {"format": "pt"})  # transformers asks for the format
        shutil.copymode(into / "config.json", into / WEIGHTS)  # safetensors writes mode 0600
        write_checksums(into)

    replace_folder(Path(folder), write, "modules.json")


def _weights_of(encoder: PreTrainedModel) -> dict[str, np.ndarray]:
    """Return the weights of an encoder under the names that transformers expects in a file.

    Weights that share memory are written under each of their names, because other libraries know
    only the sharing that is part of the architecture.
    """
    state = encoder.state_dict()
    weights = {name: state[name].cpu().contiguous().numpy() for name in state}
    if isinstance(encoder, _model_class(encoder)):
        return weights
    names = {name: f"encoder.{name}" for name in weights} | {"embed_tokens.weight": "shared.weight"}
    return {names[name]: array for name, array in weights.items()}


def _model_class(encoder: PreTrainedModel) -> type[PreTrainedModel]:
    """Return the class of the model that AutoModel builds, of which the encoder may be a half."""
    found: Any = MODEL_MAPPING.get(type(encoder.config), None)
    has_one = isinstance(found, type) and issubclass(found, PreTrainedModel)
    return found if has_one else type(encoder)


def _descriptions_of(model: FittedModel) -> dict[str, Any]:
    """Return the content of each JSON file, apart from the tokenizer's files."""
    module, versions = model.net.module_, library_versions()
    encoder = module.encoder
    modes = {f"pooling_mode_{mode}": mode == _MODES[module.pooling] for mode in _ALL_MODES}
    return {
        "config.json": {
            "architectures": [_model_class(encoder).__name__],
            **describe_encoder(encoder),
        },
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
            for i, (path, name) in enumerate(_MODULES.items())
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": embedding_width(encoder), **modes},
        "sentence_bert_config.json": {
            "max_seq_length": model.tokenizer.max_length,
            "do_lower_case": False,
        },
        "config_sentence_transformers.json": {
            "__version__": {
                "transformers": versions["transformers"],
                "pytorch": versions["torch"],
                "rapidfit_sk": versions["rapidfit_sk"],
            },
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }


def _tokenizer_files(tokenizer: TextTokenizer, longest: int) -> dict[str, bytes]:
    """Return the files of a tokenizer that cuts and pads texts as the classifier does."""
    files = tokenizer.files()
    config = json.loads(files["tokenizer_config.json"])
    config |= {"model_max_length": longest, "padding_side": "right"}
    # Some encoders refuse token types, and GPT-2 adds embeddings of tokens for them.
    config["model_input_names"] = ["input_ids", "attention_mask"]
    if "tokenizer.json" in files:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"  # known to all versions
    if tokenizer.tokenizer.pad_token is None:
        config["pad_token"] = tokenizer.padding_token
    return files | {"tokenizer_config.json": json.dumps(config, indent=2).encode()}
