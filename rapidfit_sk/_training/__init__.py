"""How a model learns: the net, batches, losses, sampling, and what frozen layers give."""

from .activations import Kept
from .batches import Embeddings, PaddedTokens, TextRows
from .losses import inverse_frequency
from .memory import open_store
from .net import MultiheadNet, StopTraining
from .probes import fit_probe

__all__ = [
    "Embeddings",
    "Kept",
    "MultiheadNet",
    "PaddedTokens",
    "StopTraining",
    "TextRows",
    "fit_probe",
    "inverse_frequency",
    "open_store",
]
