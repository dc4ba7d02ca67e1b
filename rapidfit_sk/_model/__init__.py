"""What is computed for a text: encoder, tokens, pooling, heads, and the module that joins them."""

from .encoders import (
    describe_encoder,
    find_encoder,
    layer_stack,
    load_tokenizer,
    loading,
    longest_input,
    take_source,
    tokenizer_from_files,
    tokenizer_to_files,
    weights_digest,
)
from .module import (
    MultiheadModule,
    build_heads,
    build_module,
    checkpointed_layers,
    grown_copy,
    is_lowered,
    put_together,
    states_entering,
    take_apart,
)
from .randomness import DrawsFrom, private_seeds
from .tokens import TextTokenizer, TokensOnDemand

__all__ = [
    "DrawsFrom",
    "MultiheadModule",
    "TextTokenizer",
    "TokensOnDemand",
    "build_heads",
    "build_module",
    "checkpointed_layers",
    "describe_encoder",
    "find_encoder",
    "grown_copy",
    "is_lowered",
    "layer_stack",
    "load_tokenizer",
    "loading",
    "longest_input",
    "private_seeds",
    "put_together",
    "states_entering",
    "take_apart",
    "take_source",
    "tokenizer_from_files",
    "tokenizer_to_files",
    "weights_digest",
]
