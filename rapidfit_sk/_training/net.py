"""Training loop: `MultiheadNet`, a subclass of `skorch.NeuralNet`."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from skorch.history import History

from .._model import (
    MultiheadModule,
    TextTokenizer,
    TokensOnDemand,
    UseGenerator,
    build_module,
    checkpointed_layers,
    embedding_width,
    grown_copy,
    module_from_parts,
    module_to_parts,
    twin_of,
)
from .._report import report
from .activations import allocate_array
from .batches import Batch, Batches, PaddedTokens, Source, TextRows
from .cache import EmbeddingCache
from .checkpoints import Checkpoints, to_bytes
from .distributed import Ranks
from .losses import MultiheadLoss
from .run import EpochSums, Run
from .sampling import NOTABLE, TaskSampler
from .state import callback_states, restore_training, training_state

# Number of texts whose logits are checked after a training.
N_CHECKED = 16

# skorch callbacks, with or without a name.
Callbacks: TypeAlias = list[Callback | tuple[str, Callback]]


class StopTraining(Exception):
    """Exception that a callback raises in its `on_epoch_end` to stop training.

    The `on_epoch_end` of all other callbacks still runs. skorch's own callbacks raise
    KeyboardInterrupt for this, which makes a user's Ctrl-C look like a finished fit. This net
    passes KeyboardInterrupt on to the user, unless skorch's `EarlyStopping` raised it.
    """


class MultiheadNet(NeuralNet):
    """skorch net that trains on rows of several tasks.

    Parameters
    ----------
    module : callable, default=build_module
        Builds the torch module from the ``module__*`` parameters.
    criterion : type, default=MultiheadLoss
        The loss, built from the ``criterion__*`` parameters.
    optimizer : type, default=torch.optim.AdamW
        The optimizer.
    lr : float, default=1e-4
        Peak learning rate of the encoder.
    head_lr : float, default=5e-4
        Peak learning rate of the heads.
    weight_decay : float, default=0.01
        Weight decay of weight matrices; biases and other vectors have none.
    batch_size : int, default=16
        Number of distinct texts in a batch.
    accumulate : int, default=1
        Number of batches in an optimizer step.
    min_steps : int, default=1
        Minimum number of optimizer steps in an epoch. An epoch over small data makes several
        passes to reach it.
    gradient_checkpointing : bool, default=False
        Whether trainable layers recompute their activations in the backward pass instead of
        storing them.
    cache_memory, cache_disk : int or float, default=0.25
        The most that cached hidden states of frozen layers may take in memory or, if they do not
        fit, on disk: a number of bytes as an int, or as a float a share of the free space.
    seeds : tuple of int, default=(0, 0, 0)
        Seeds for initialization, dropout and batch order.
    verbose : int, default=0
        The verbosity, as in skorch.
    **kwargs : dict
        Other parameters of :class:`skorch.NeuralNet`.

    Attributes
    ----------
    epoch_ : int
        The current epoch of this training run, counted from 0.
    run_ : Run or None
        The state of the current training run; None outside of training.
    """

    callbacks: Callbacks
    callbacks_: list[tuple[str, Callback]]
    module_: MultiheadModule
    run_: Run | None = None

    def __init__(
        self,
        module: Callable[..., MultiheadModule] = build_module,
        *,
        criterion: type[torch.nn.Module] = MultiheadLoss,
        optimizer: type[torch.optim.Optimizer] = torch.optim.AdamW,
        lr: float = 1e-4,
        head_lr: float = 5e-4,
        weight_decay: float = 0.01,
        batch_size: int = 16,
        accumulate: int = 1,
        min_steps: int = 1,
        gradient_checkpointing: bool = False,
        cache_memory: float = 0.25,
        cache_disk: float = 0.25,
        seeds: tuple[int, ...] = (0, 0, 0),
        verbose: int = 0,
        **kwargs: Any,
    ):
        super().__init__(
            module,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            batch_size=batch_size,
            verbose=verbose,
            train_split=None,
            **kwargs,
        )
        self.head_lr = head_lr
        self.weight_decay = weight_decay
        self.accumulate = accumulate
        self.min_steps = min_steps
        self.gradient_checkpointing = gradient_checkpointing
        self.cache_memory = cache_memory
        self.cache_disk = cache_disk
        self.seeds = seeds

    @property
    def _default_callbacks(self):
        # skorch's loss callbacks need the loss of each batch as a Python float, which would
        # synchronize a GPU at each step. run_single_epoch records the same values per epoch.
        return [("epoch_timer", EpochTimer())]

    # ----------------------------------------------------------------------------------------
    # Parts

    _initial: tuple[MultiheadModule, list[np.ndarray]] | None = None

    @classmethod
    def rebuilt(cls, parts: dict[str, Any], history: History, **parameters: Any) -> Self:
        """Build a trained net from the parts of its module and its history."""
        net = cls(**parameters)
        net.initialize_virtual_params()
        net.callbacks_ = []
        net.history_ = history
        net._restore(parts)
        return net

    def warm_start_from(self, module: MultiheadModule, places: list[np.ndarray]):
        """Set a module that the next initialization extends instead of building a new one.

        Parameters
        ----------
        module : MultiheadModule
            A trained module. It is copied, not changed.
        places : list of ndarray of int
            For each head of `module`, the positions of its classes among the new classes; see
            :func:`rapidfit_sk._model.module.grown_copy`.
        """
        self._initial = (module, places)

    def prepend_history(self, former: MultiheadNet):
        """Put the history of an earlier net before the history of this net."""
        self.history_ = type(self.history)([*former.history, *self.history])

    def remove_callback(self, callback: Callback):
        """Remove a named callback from the net and release its data."""
        self.callbacks = [each for each in self.callbacks if not _is_named(each, callback)]
        self.callbacks_ = [each for each in self.callbacks_ if not _is_named(each, callback)]

    def with_head_of(self, other: MultiheadNet) -> Self:
        """Return a net that adds the single head of another net as a new task.

        The new net shares all weights with both nets and has both histories. This net does not
        change, so other threads can predict with it at the same time.
        """
        own, new = self.get_params_for("module"), other.get_params_for("module")
        net = self._with_heads(
            [*self.module_.heads, *other.module_.heads], [*own["n_classes"], *new["n_classes"]]
        )
        net.history_ = type(self.history)([*self.history, *other.history])
        return net

    def without_head(self, task: int) -> Self:
        """Return a net without the head of a task. It shares all other weights with this net."""
        heads, sizes = [*self.module_.heads], [*self.get_params_for("module")["n_classes"]]
        del heads[task], sizes[task]
        return self._with_heads(heads, sizes)

    def _with_heads(self, heads: list[torch.nn.Module], n_classes: list[int]) -> Self:
        """Return a net with other heads on the same encoder."""
        net = copy.copy(self)
        module = MultiheadModule(
            twin_of(self.module_.encoder),
            heads,
            self.get_params_for("module")["pooling"],
            self.module_.precision,
            self.module_.compiles,
        )
        net.__dict__.update(module_=module, module__n_classes=n_classes)
        return net

    def __copy__(self) -> Self:
        """Copy the net without copying its module."""
        net = type(self).__new__(type(self))
        net.__dict__.update(self.__dict__)
        return net

    def initialize_module(self):
        """Build the module with random weights from a private generator."""
        former, self._initial = self._initial, None
        with UseGenerator(torch.Generator().manual_seed(self.seeds[0])):
            if former is None:
                return super().initialize_module()
            own = self.get_params_for("module")
            names = ("n_classes", "head", "precision", "compile")
            self.module_ = grown_copy(*former, **{name: own[name] for name in names})
        return self

    def initialize_optimizer(self):
        """Build the optimizer with groups for encoder and heads, with and without weight decay."""
        device = torch.device(self.device)
        self.optimizer_ = self.optimizer(
            self._parameter_groups(),
            **{"fused": device.type in ("cpu", "cuda"), **self.get_params_for("optimizer")},
        )
        return self

    def add_adapters(self, n_layers: int | None, rank: int):
        """Add adapters to the top layers of the encoder, at the start of a training."""
        with UseGenerator(torch.Generator().manual_seed(self.seeds[0])):
            self.module_.add_adapters(n_layers, rank)
        self.initialize_optimizer()
        self._run.parameters = list(self.module_.named_parameters())

    def _parameter_groups(self):
        parts = {
            "encoder": (self.module_.encoder, self.lr),
            "heads": (self.module_.heads, self.head_lr),
        }
        for part, (module, lr) in parts.items():
            parameters = list(module.parameters())
            matrices = [p for p in parameters if p.ndim > 1]
            vectors = [p for p in parameters if p.ndim <= 1]  # biases, norms and queries
            for params, decay in ((matrices, self.weight_decay), (vectors, 0.0)):
                yield {
                    "part": part,
                    "params": params,
                    "lr": lr,
                    "peak_lr": lr,
                    "weight_decay": decay,
                }

    def get_params(self, deep=True, **kwargs):
        """Return the parameters without `train_split`, which is not used."""
        params = super().get_params(deep, **kwargs)
        params.pop("train_split", None)
        return params

    def get_iterator(self, dataset, training=False):
        """Return batches from the sampler for training, and batches of all rows otherwise."""
        run = self._run
        if training:
            return Batches(dataset, run.activations.source, run.sampler, run.ranks)
        return Batches(dataset, run.validation_activations.source)

    def output_layer_inputs(self, task: int, texts: np.ndarray) -> NDArray[np.float32]:
        """Return the inputs of the output layer of a head while the encoder is frozen.

        Parameters
        ----------
        task : int
            The number of the head.
        texts : ndarray of int, shape (n_rows,)
            The numbers of training texts.

        Returns
        -------
        features : ndarray of float32, shape (n_rows, width)
            The inputs, computed without dropout.
        """
        return self.hidden_features(task, self.frozen_embeddings(texts))

    def frozen_embeddings(self, texts: np.ndarray) -> NDArray[np.float32]:
        """Return the embeddings of some training texts while the encoder is frozen."""
        return self._run.activations.embeddings()[torch.from_numpy(texts)].numpy()

    @property
    def n_classes(self) -> list[int]:
        """Number of classes of each head."""
        return self.get_params_for("module")["n_classes"]

    def set_output_layer(self, task: int, weight: np.ndarray, bias: np.ndarray):
        """Set the weights and the biases of the output layer of a head."""
        *_, layer = self.module_.heads[task].children()
        with torch.no_grad():
            for name, values in (("weight", weight), ("bias", bias)):
                layer.get_parameter(name).copy_(torch.from_numpy(values))

    def hidden_features(self, task: int, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the inputs of the output layer of a head for some embeddings, without dropout."""
        inputs = self._on_device({"embeddings": torch.from_numpy(embeddings)})
        *hidden, _ = self.module_.heads[task].eval().children()
        with torch.inference_mode():
            return torch.nn.Sequential(*hidden)(inputs["embeddings"]).cpu().numpy()

    # ----------------------------------------------------------------------------------------
    # Training

    @property
    def _run(self) -> Run:
        """The current training run."""
        if self.run_ is None:
            raise RuntimeError("This net is not training. Its run exists only during partial_fit.")
        return self.run_

    def notify(self, method_name, **cb_kwargs):
        """Call a hook of the net and of each callback.

        If a callback stops training, the hooks of the callbacks after it still run.
        """
        getattr(self, method_name)(self, **cb_kwargs)
        stop = None
        for name, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except StopTraining as signal:
                if method_name != "on_epoch_end":
                    raise RuntimeError(
                        f"The callback {name!r} raised StopTraining in {method_name}, but it may "
                        "only do so in on_epoch_end."
                    ) from signal
                stop = signal
            except KeyboardInterrupt:
                if not _has_lost_patience(callback):
                    raise
                stop = StopTraining()
        if stop is not None:
            raise stop

    def partial_fit(
        self,
        X: TextRows,
        y: None = None,
        classes: None = None,
        *,
        validation: TextRows | None = None,
        memory: EmbeddingCache | None = None,
        checkpoints: Checkpoints | None = None,
        **fit_params: Any,
    ) -> Self:
        """Train for all epochs or until a callback raises :class:`StopTraining`.

        Parameters
        ----------
        X : TextRows
            The training rows.
        y, classes : None
            Ignored; X contains the labels.
        validation : TextRows or None, default=None
            The validation rows.
        memory : EmbeddingCache or None, default=None
            The embedding cache of the current encoder.
        checkpoints : Checkpoints or None, default=None
            Stores the state of the training, and has the state to continue from if there is one.
        **fit_params : dict
            Passed to skorch.

        Returns
        -------
        self : MultiheadNet
            This net.

        Raises
        ------
        KeyboardInterrupt
            If the user interrupts training. skorch would return as if the fit were complete.
        FloatingPointError
            If a loss, a weight or an output becomes NaN or infinite.
        """
        if not self.initialized_:
            self.initialize()
        self.run_ = self._new_run(X, validation, memory, checkpoints)
        self.module_.in_training = True
        try:
            self.notify("on_train_begin", X=X, y=y)
            self._check_same_weights("the weights before the training")
            self.fit_loop(X, y, **fit_params)
            self.notify("on_train_end", X=X, y=y)
            self._check_same_weights("the weights after the training")
            self.module_.in_training = False
            self._check_module(X)
        finally:
            self.module_.in_training = False
            self.run_ = None
        self._release()
        return self

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Run the epochs of a training, from the state of its checkpoint if there is one."""
        run = self._run
        given = {"dataset_train": X, "dataset_valid": run.validation}
        iterator_train = self.get_iterator(X, training=True)
        iterator_valid = self.get_iterator(run.validation) if run.validation else None
        epochs = self.max_epochs if epochs is None else epochs
        finished = self._restore_checkpoint() or epochs == 0
        while not finished:
            if not run.sums.n_batches:  # otherwise, this epoch goes on
                self.notify("on_epoch_begin", **given)
            self.run_single_epoch(iterator_train, True, "train", self.train_step, **fit_params)
            step_valid = self._shared_step(iterator_valid)
            self.run_single_epoch(iterator_valid, False, "valid", step_valid)
            finished = self.epoch_ + 1 >= epochs
            try:
                self.notify("on_epoch_end", **given)
            except StopTraining:
                finished = True
            finished = any(run.ranks.gather(finished))
            self._write_checkpoint(finished=finished)
        return self

    def _restore_checkpoint(self) -> bool:
        """Continue from the checkpoint, if there is one, and return whether no epoch follows."""
        checkpoints = self._run.checkpoints
        if checkpoints is None:
            return False
        # A callback whose state cannot be stored is an error before the training.
        to_bytes({"callbacks": callback_states(self)})
        state = checkpoints.training
        if not state:
            return False
        restore_training(self, self._run, state)
        return state["finished"]

    def _write_checkpoint(self, *, finished: bool = False):
        if self._run.checkpoints is not None:
            self._run.checkpoints.update(training_state(self, self._run, finished=finished))

    def _new_run(
        self,
        rows: TextRows,
        validation: TextRows | None,
        memory: EmbeddingCache | None,
        checkpoints: Checkpoints | None,
    ) -> Run:
        ranks = Ranks.current()
        sampler = TaskSampler(
            rows.texts,
            rows.tasks,
            batch_size=self.batch_size * ranks.size,
            n_accumulated=self.accumulate,
            min_steps=self.min_steps,
            rng=np.random.default_rng(self.seeds[2]),
            lengths=functools.partial(self._lengths, rows.tokens),
            n_data=rows.n_data,
            # A single epoch has no other in which it could draw the rest of the rows.
            notable=NOTABLE if self.max_epochs > 1 else 0.0,
        )
        return Run(
            self.module_,
            rows,
            validation,
            memory,
            sampler=sampler,
            # Each process draws its own numbers, because it has its own texts.
            generator=torch.Generator(self.device).manual_seed(self.seeds[1] + ranks.rank),
            allocate=functools.partial(
                allocate_array, memory=self.cache_memory, disk=self.cache_disk
            ),
            report=report if self.verbose else None,
            checkpoints=checkpoints,
            ranks=ranks,
        )

    def _lengths(self, tokens: TokensOnDemand) -> NDArray[np.int64] | None:
        """Return the lengths of texts, or None if training reads embeddings."""
        return None if self.module_.reads_embeddings else tokens.lengths

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Reset the epoch number; the first epoch is 0."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.epoch_ = -1

    def on_epoch_begin(self, net, **kwargs):
        """Increment the epoch number."""
        super().on_epoch_begin(net, **kwargs)
        self.epoch_ += 1

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run the batches that are left and record the mean loss, weighted by row."""
        if iterator is None:
            return
        self._set_training(training)
        sums = self._run.sums if training else EpochSums()
        for batch in itertools.islice(iterator, sums.n_batches, None):
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            sums.add(step)
            if self._on_cpu:
                self._check_loss(sums, prefix)
            self.notify("on_batch_end", batch=batch, training=training, **step)
            if training:
                self._end_step(sums)
        self._check_loss(sums, prefix)
        self.history.record(f"{prefix}_batch_count", sums.n_batches)
        self.record_score(f"{prefix}_loss", sums.mean(), lower_is_better=True)
        if training:
            self._run.sums = EpochSums()
            self._check_weights(trainable=True)

    def _end_step(self, sums: EpochSums):
        """Write a checkpoint if one is due after this step."""
        checkpoints = self._run.checkpoints
        if checkpoints is not None and checkpoints.is_due(sums.n_batches):
            self._write_checkpoint()

    def record_score(self, name: str, score: float, *, lower_is_better: bool):
        """Record a score of the epoch and, like skorch, whether it is the best so far."""
        before = [epoch[name] for epoch in list(self.history)[:-1]]
        self.history.record(name, score)
        is_best = all(score < other if lower_is_better else score > other for other in before)
        self.history.record(f"{name}_best", is_best)

    def train_step(self, batch: list[Batch], **fit_params: Any) -> dict[str, Any]:
        """Take one optimizer step over a list of batches.

        The loss of each batch is a sum over its rows, divided by the number of rows in the whole
        list. So the gradients add up to the gradient of one large batch. The loss is also divided
        by the mean weight of all training rows, not of the rows in this step. So a step with rows
        of small weight changes the module less than other steps.

        If several processes train together, the list has the share of this process, which may have
        no rows. The gradients, the loss and its divisor still belong to the whole step.
        """
        self.optimizer_.zero_grad(set_to_none=True)
        total = self._run.mean_weight * sum(part.n_rows for part in batch)
        steps = [self.train_step_single(part, total) for part in batch if not part.is_empty]
        loss = sum(step["loss"] for step in steps)
        if self._run.ranks.size > 1:
            trainable = [p for _, p in self._run.parameters if p.requires_grad]
            loss = self._run.ranks.sum_gradients(trainable, loss)
        self.notify(
            "on_grad_computed",
            named_parameters=self._run.parameters,
            batch=batch,
            training=True,
        )
        self.optimizer_.step()
        return {
            "loss": loss,
            "weight": total,
            "y_pred": [step["y_pred"] for step in steps],
        }

    def train_step_single(
        self, batch: Batch, total: float = 1.0, **fit_params: Any
    ) -> dict[str, Any]:
        """Accumulate the gradient of one batch, whose loss is divided by `total`."""
        with UseGenerator(self._run.generator), self._checkpointing():
            logits = self.infer(batch.inputs)
        loss = self.get_loss(logits, batch.targets, training=True) / total
        loss.backward()
        return {"loss": loss.detach(), "y_pred": [part.detach() for part in logits]}

    def validation_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Compute the loss and the logits of one batch."""
        with torch.inference_mode():
            logits = self.infer(batch.inputs)
            loss = self.get_loss(logits, batch.targets, training=False)
        # If the total weight is 0, so is the loss, and it must not be divided by 0.
        loss = loss / max(batch.weight, 1e-12)
        return {"loss": loss, "weight": batch.weight, "y_pred": logits}

    def _shared_step(self, iterator) -> Callable[..., dict[str, Any]]:
        """Return the function for a validation batch; several processes share the batches."""
        ranks = self._run.ranks
        if ranks.size == 1 or iterator is None:
            return self.validation_step
        self._set_training(False)
        steps = iter(ranks.map(self._sendable_step, iterator))
        return lambda batch, **fit_params: next(steps)

    def _sendable_step(self, batch: Batch) -> dict[str, Any]:
        """Return the output of a validation step in memory that other processes can read."""
        step = self.validation_step(batch)
        logits = [part.cpu() for part in step["y_pred"]]
        return {"loss": step["loss"].cpu(), "weight": step["weight"], "y_pred": logits}

    def _check_same_weights(self, name: str):
        """Raise ValueError if the weights of the processes that train together differ."""
        if self._run.ranks.size > 1:
            digest = hashlib.blake2b()
            for _, parameter in self._run.parameters:
                digest.update(np.ascontiguousarray(parameter.detach().cpu().numpy()).data)
            self._run.ranks.check_same({name: digest.hexdigest()})

    # ----------------------------------------------------------------------------------------
    # Checks for NaN and infinity

    @property
    def _device_type(self) -> str:
        return torch.device(self.device).type

    @property
    def _on_cpu(self) -> bool:
        """Whether reading a loss is free, because there is no GPU to wait for."""
        return self._device_type == "cpu"

    def _check_loss(self, sums: EpochSums, prefix: str):
        loss = float(sums.loss)
        if not math.isfinite(loss):
            kind = {"train": "training", "valid": "validation"}[prefix]
            at = f" at batch {sums.n_batches}" if self._on_cpu else ""
            raise self._divergence(f"the {kind} loss is {loss}{at}")

    def _check_weights(self, *, trainable: bool):
        """Raise FloatingPointError if a weight is not finite."""
        named = [(n, p) for n, p in self._run.parameters if p.requires_grad or not trainable]
        with torch.no_grad():
            finite = [p.isfinite().all() for _, p in named]
        for (name, _), is_finite in zip(named, torch.stack(finite).tolist(), strict=True):
            if not is_finite:
                raise self._divergence(f"weights of {name!r} are not finite after the last batch")

    def _check_module(self, rows: TextRows):
        """Raise FloatingPointError if the trained module has a weight or an output that is not.

        Weights can be finite, but so large that the output is not.
        """
        self._check_weights(trainable=False)
        first = np.unique(rows.texts, return_index=True)[1][:N_CHECKED]
        self._set_training(False)
        with torch.inference_mode():
            logits = self.infer(rows.batch(first, self._run.activations.source()).inputs)
        if not all(part.isfinite().all() for part in logits):
            raise self._divergence("the module returns logits that are not finite")

    def _divergence(self, what: str) -> FloatingPointError:
        rates = {group["part"]: group["lr"] for group in self.optimizer_.param_groups}
        at = " and ".join(f"{lr:.3g} ({part})" for part, lr in rates.items())
        stored = "" if self._run.checkpoints is None else " Delete the checkpoint before."
        return FloatingPointError(
            f"Training diverged in epoch {self.epoch_ + 1}: {what}. The learning rate is {at}. "
            "Lower 'training.learning_rate' or 'training.weight_decay', or set "
            f"'training.max_grad_norm' to 1.{stored}"
        )

    # ----------------------------------------------------------------------------------------
    # Module

    def infer(self, x, **fit_params):
        """Run the module on the inputs of a batch, without the user's autocast."""
        with torch.autocast(self._device_type, enabled=False):
            return self.module_(**self._on_device(x))

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compute the loss of logits for the targets of a batch."""
        return self.criterion_(y_pred, self._on_device(y_true))

    def _on_device(self, tensors):
        """Copy a dict of tensors and lists of tensors to the device of the net."""
        if torch.device(self.device).type == "cpu":
            return tensors
        return {
            name: [_sent(each, self.device) for each in value]
            if isinstance(value, list)
            else _sent(value, self.device)
            for name, value in tensors.items()
        }

    def _checkpointing(self):
        if not self.gradient_checkpointing or self.module_.n_frozen is None:
            return contextlib.nullcontext()
        return checkpointed_layers(self.module_.encoder, self._run.generator)

    def _set_training(self, training=True):
        # skorch would also set the criterion, which has no modes and does not exist after loading.
        self.module_.train(training)

    def _release(self):
        """Release the memory of training: cached states, gradients and optimizer moments."""
        self.module_.resume_at(None)
        self.optimizer_.zero_grad(set_to_none=True)
        self.optimizer_.state.clear()
        self._set_training(False)

    # ----------------------------------------------------------------------------------------
    # Prediction

    def iter_logits(
        self, dataset: TextRows, source: Source
    ) -> Iterator[tuple[list[NDArray[np.int64]], list[NDArray[np.float32]]]]:
        """Run the module over all rows of a dataset, one batch at a time.

        Parameters
        ----------
        dataset : TextRows
            Rows of texts and tasks; labels are not used.
        source : PaddedTokens or Embeddings
            Provides the inputs for the texts.

        Yields
        ------
        rows : list of ndarray of int
            For each task, the numbers of its rows in this batch.
        logits : list of ndarray of float32, each of shape (n_rows_of_task, n_classes_of_task)
            The logits of these rows.

        Raises
        ------
        FloatingPointError
            If a logit is NaN or infinite.
        """
        self._set_training(False)
        for rows in source.passes(dataset):
            with torch.inference_mode():
                logits = self.infer(dataset.batch(rows, source).inputs)
            arrays = [part.cpu().numpy() for part in logits]
            if not all(np.isfinite(part).all() for part in arrays):
                raise FloatingPointError(
                    "The module returns logits that are not finite, so there is no prediction. "
                    "Weights of the classifier are NaN, infinite or very large. Fit it again with "
                    "a lower 'training.learning_rate'."
                )
            yield dataset.rows_by_task(rows), arrays

    def iter_embeddings(
        self, dataset: TextRows
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Run the encoder over the texts of a dataset, one batch at a time.

        Yields
        ------
        rows : ndarray of int
            The numbers of the rows in this batch.
        embeddings : ndarray of float32, shape (n_rows, width)
            The embeddings, pooled as for a head without a learned query.
        """
        self._set_training(False)
        source = PaddedTokens(dataset.tokens)
        for rows in source.passes(dataset):
            inputs = self._on_device(dataset.batch(rows, source).inputs)
            (places,) = inputs.pop("rows")
            with torch.inference_mode(), torch.autocast(self._device_type, enabled=False):
                embeddings = self.module_.embed(**inputs)[places]
            yield rows, embeddings.cpu().numpy()

    def attention(self, head: int, tokens: TokensOnDemand) -> NDArray[np.float32]:
        """Return how much each token of each window of one text counts for a head with a query."""
        self._set_training(False)
        inputs = PaddedTokens(tokens).inputs(np.arange(1))
        inputs.pop("firsts", None)
        with torch.inference_mode(), torch.autocast(self._device_type, enabled=False):
            return self.module_.attention(head, **self._on_device(inputs)).cpu().numpy()

    def embed_texts(self, tokenizer: TextTokenizer, texts: list[str]) -> NDArray[np.float32]:
        """Return the embeddings of distinct texts, pooled as for a head without a query."""
        tokens, n = TokensOnDemand(texts, tokenizer), len(texts)
        dataset = TextRows(tokens, np.arange(n), np.zeros(n, dtype=int), 1)
        embeddings = np.empty((n, embedding_width(self.module_.encoder)), np.float32)
        # Embeddings may go into the embedding cache, which fits and predictions share.
        with self.module_.outside_of_training():
            for rows, part in self.iter_embeddings(dataset):
                embeddings[rows] = part
        return embeddings

    # ----------------------------------------------------------------------------------------
    # Pickling

    def __getstate__(self):
        """Return the state with the module as plain data and arrays.

        joblib can memory-map these arrays, unlike the bytes that skorch would store. The state
        has no criterion and no optimizer, because the next training builds new ones.
        """
        state = {key: value for key, value in self.__dict__.items() if key not in _REBUILT}
        if self.initialized_:
            state["parts"] = module_to_parts(self.module_)
        return state

    def __setstate__(self, state):
        """Build the module, on the CPU if the device of the training is not available."""
        parts = state.pop("parts", None)
        self.__dict__.update(state)
        if parts is not None:
            self._restore(parts)

    def _restore(self, parts):
        """Build the module from its parts."""
        self.__dict__["device"] = _device_or_cpu(self.device)
        module = module_from_parts(parts, **self.get_params_for("module"))
        self.__dict__.update(module_=module.to(self.device), initialized_=True)


# Attributes that are not pickled: loading or the next training builds them again.
_REBUILT = {"module_", "criterion_", "optimizer_", "run_"}


def _has_lost_patience(callback: Callback) -> bool:
    """Return whether skorch's `EarlyStopping` raised KeyboardInterrupt, and not the user."""
    is_stopping = isinstance(callback, SkorchEarlyStopping)
    return is_stopping and callback.misses_ == callback.patience


def _is_named(entry, callback) -> bool:
    """Return whether an entry of a list of callbacks is a pair of a name and this callback."""
    return isinstance(entry, tuple) and entry[1] is callback


def _sent(tensor, device):
    """Copy a tensor to a device; the copy to CUDA is asynchronous and needs pinned memory."""
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _device_or_cpu(device) -> str:
    try:
        torch.empty(0, device=device)
    # torch raises AssertionError if it was built without CUDA.
    except (RuntimeError, AssertionError):
        return "cpu"
    return device
