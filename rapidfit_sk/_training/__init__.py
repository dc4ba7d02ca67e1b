"""How a model learns: net, run, batches, losses, sampling, probes, frozen layers."""

from .batches import Embeddings, PaddedTokens, TextRows
from .losses import inverse_frequency
from .memory import EmbeddingMemory, open_memory
from .net import Callbacks, MultiheadNet, StopTraining
from .probes import fit_probe

__all__ = [
    "Callbacks",
    "EmbeddingMemory",
    "Embeddings",
    "MultiheadNet",
    "PaddedTokens",
    "StopTraining",
    "TextRows",
    "fit_probe",
    "inverse_frequency",
    "open_memory",
]
