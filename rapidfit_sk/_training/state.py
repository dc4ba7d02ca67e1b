"""State of a training, for checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback

from .run import Run


def training_state(net: NeuralNet, run: Run, *, finished: bool) -> dict[str, Any]:
    """Return the state of a training as tensors and plain data.

    Parameters
    ----------
    net : MultiheadNet
        A net during its training.
    run : Run
        Its current run.
    finished : bool
        Whether no epoch follows.

    Returns
    -------
    state : dict
        The argument for :func:`restore_training`.
    """
    module = net.module_
    return {
        "finished": finished,
        "epoch": net.epoch_,
        "sums": dict(vars(run.sums)),
        "weights": dict(module.state_dict()),
        "trainable_layers": module.trainable_layers,
        "requires_grad": [parameter.requires_grad for parameter in module.parameters()],
        "unfreeze_log": list(module.unfreeze_log),
        "optimizer": net.optimizer_.state_dict(),
        "generators": run.ranks.gather(run.generator.get_state()),
        "sampler": run.sampler.state(),
        "label_text_weights": run.rows.weights[run.rows.n_data :],
        "can_resume": run.can_resume(),
        "history": list(net.history),
        "callbacks": callback_states(net),
    }


def restore_training(net: NeuralNet, run: Run, state: dict[str, Any]):
    """Set a net, at the start of its training, to a state from :func:`training_state`."""
    module = net.module_
    net.epoch_ = state["epoch"]
    net.history_ = type(net.history)(state["history"])
    run.sums = type(run.sums)(**state["sums"])
    module.train_encoder_layers(state["trainable_layers"])
    module.unfreeze_log[:] = state["unfreeze_log"]
    # A callback of the user may have frozen other parameters.
    for parameter, trains in zip(module.parameters(), state["requires_grad"], strict=True):
        parameter.requires_grad_(trains)
    _restore_weights(module, state["weights"])
    net.optimizer_.load_state_dict(state["optimizer"])
    run.generator.set_state(state["generators"][run.ranks.rank])
    run.sampler.restore(state["sampler"])
    run.use_label_texts(state["label_text_weights"])
    run.restore_can_resume(state["can_resume"])
    for name, callback in net.callbacks_:
        # `verbose` may have changed since, and with it whether there is a progress callback.
        vars(callback).update(state["callbacks"].get(name, {}))


def _restore_weights(module, weights):
    """Copy weights to a module, except those that it already has.

    A write to the pretrained encoder would make its embedding cache invalid.
    """
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not torch.equal(tensor.cpu(), weights[name]):
                tensor.copy_(weights[name])


def callback_states(net: NeuralNet) -> dict[str, Any]:
    """Return the attributes of all callbacks by name, except their parameters."""
    return {name: _callback_state(callback) for name, callback in net.callbacks_}


def _callback_state(callback: Callback) -> dict[str, Any]:
    """Return the attributes of a callback, except its parameters."""
    parameters = callback.get_params(deep=False)
    state = callback.__getstate__() or {}
    return {name: value for name, value in state.items() if name not in parameters}
