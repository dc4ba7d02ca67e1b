"""Training: the net, its batches and loss, task sampling, probes and caches."""

from .batches import Embeddings, PaddedTokens, TextRows
from .cache import EmbeddingCache, open_cache
from .checkpoints import Calibration, Checkpoints, Fingerprint, remove_checkpoint
from .distributed import Ranks
from .label_texts import SCALE, label_directions, probability_of_texts
from .losses import inverse_frequency
from .net import Callbacks, MultiheadNet, StopTraining
from .probes import fit_probe

__all__ = [
    "SCALE",
    "Calibration",
    "Callbacks",
    "Checkpoints",
    "EmbeddingCache",
    "Embeddings",
    "Fingerprint",
    "MultiheadNet",
    "PaddedTokens",
    "Ranks",
    "StopTraining",
    "TextRows",
    "fit_probe",
    "inverse_frequency",
    "label_directions",
    "open_cache",
    "probability_of_texts",
    "remove_checkpoint",
]
