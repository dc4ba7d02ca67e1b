"""How a model learns: the net, batches, losses, sampling, and what frozen layers give."""

from .batches import Embeddings, PaddedTokens, TextRows
from .losses import inverse_frequency
from .memory import EmbeddingMemory, open_memory
from .net import MultiheadNet, StopTraining
from .probes import fit_probe

__all__ = [
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
