"""The computation for a text: encoders, tokens, pooling, heads, and the module that joins them."""

from .encoders import (
    describe_encoder,
    embedding_width,
    find_encoder,
    input_length,
    is_causal,
    layer_stack,
    load_tokenizer,
    loading,
    longest_input,
    take_fingerprint,
    tokenizer_from_files,
    weights_digest,
)
from .module import (
    MultiheadModule,
    build_heads,
    build_module,
    checkpointed_layers,
    grown_copy,
    module_from_parts,
    module_to_parts,
    states_entering,
    twin_of,
    uses_bfloat16,
)
from .randomness import UseGenerator, private_seeds
from .tokens import TextTokenizer, TokensOnDemand

__all__ = [
    "MultiheadModule",
    "TextTokenizer",
    "TokensOnDemand",
    "UseGenerator",
    "build_heads",
    "build_module",
    "checkpointed_layers",
    "describe_encoder",
    "embedding_width",
    "find_encoder",
    "grown_copy",
    "input_length",
    "is_causal",
    "layer_stack",
    "load_tokenizer",
    "loading",
    "longest_input",
    "module_from_parts",
    "module_to_parts",
    "private_seeds",
    "states_entering",
    "take_fingerprint",
    "tokenizer_from_files",
    "twin_of",
    "uses_bfloat16",
    "weights_digest",
]
