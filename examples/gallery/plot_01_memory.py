"""
Limited memory
==============

Your processor or GPU runs out of memory during training. Most of the memory holds activations,
which the backward pass needs. This example counts their bytes for four configurations that all use
16 texts per optimizer step.
"""

# %%
# PyTorch calls a hook for each tensor that it keeps for a backward pass. These hooks add up the
# bytes that are kept at the same time.

import time

import matplotlib.pyplot as plt
import torch

from rapidfit_sk import EvalConfig, MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.datasets import load_support_messages


class KeptTensor:
    """A tensor that is kept for the backward pass; it counts its bytes while it exists."""

    now = peak = 0

    def __init__(self, tensor):
        is_weight = isinstance(tensor, torch.nn.Parameter) or tensor._base is not None
        self.tensor, self.size = tensor, 0 if is_weight else tensor.nbytes
        KeptTensor.now += self.size
        KeptTensor.peak = max(KeptTensor.peak, KeptTensor.now)

    def __del__(self):
        KeptTensor.now -= self.size


def cost_of(fit, rows):
    """Return the largest size of all activations during a fit (MB), and its CPU seconds."""
    KeptTensor.now = KeptTensor.peak = 0
    start = time.process_time()
    with torch.autograd.graph.saved_tensors_hooks(KeptTensor, lambda kept: kept.tensor):
        fit(rows)
    return KeptTensor.peak / 1e6, time.process_time() - start


# %%
# A smaller batch keeps fewer activations. ``gradient_accumulation_steps`` adds up the gradients of
# several batches, so each step still uses 16 texts. ``gradient_checkpointing`` keeps only the
# input of each layer and computes the rest again in the backward pass.

FEWER = {"batch_size": 4, "gradient_accumulation_steps": 4}
SETTINGS = {
    "batches of 16 (default)": {},
    "batches of 4": FEWER,
    "checkpointing": {"gradient_checkpointing": True},
    "batches of 4, checkpointing": {"gradient_checkpointing": True, **FEWER},
}
rows = load_support_messages().head(180)  # 68 texts, so a few optimizer steps
peaks = {}
for name, setting in SETTINGS.items():
    training = TrainingConfig(
        model_name="sentence-transformers/all-MiniLM-L6-v2",
        epochs=1,
        min_steps_per_epoch=1,
        test_size=0,
        **setting,
    )
    config = MultiheadConfig(training=training, eval=EvalConfig(calibrate=False))
    classifier = MultiheadClassifier(config, random_state=0)
    peaks[name], seconds = cost_of(classifier.fit, rows)
    print(f"{name:28} {peaks[name]:5.1f} MB, {seconds:.1f} CPU seconds")

# %%
# Batches of 4 need less than a third of the memory, and checkpointing has about the same effect.
# Both together need a tenth. The price is time: small batches use the processor less well, and
# checkpointing runs each layer twice.
#
# The figures exclude weights, gradients and the moments of the optimizer. These depend on the
# number of trainable weights, not on the batch; :doc:`/large_encoders` shows how to reduce them,
# too.

fig, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
bars = ax.barh(list(peaks), list(peaks.values()), color="#0072b2")
ax.bar_label(bars, fmt="%.1f", padding=3)
ax.invert_yaxis()
ax.set(xlabel="activations kept for the backward pass (MB)", xlim=(0, max(peaks.values()) * 1.12))
plt.show()
