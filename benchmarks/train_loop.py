"""`fit` against a bare torch loop over the same batches and layers."""

from __future__ import annotations

import time
import warnings

import torch
from skorch.callbacks import Callback, regularization
from torch.nn import functional as F

from rapidfit_sk._model.encoders import load_encoder, load_tokenizer
from rapidfit_sk._training.net import MultiheadNet

from ._data import BUNDLED, classifier, read, recipe
from ._measure import Result, in_turns, ratio


class _Recorder(Callback):
    """Callback that records the batches of each epoch."""

    def on_epoch_begin(self, net, **kwargs):
        self.epochs_ = [*getattr(self, "epochs_", []), []]

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        self.epochs_[-1].append(batch)


def run(options):
    """Time complete fits, and the share of a step that is spent outside the model."""
    rows = read(options.data, options.texts or 640)
    results = []
    for precision in ("float32", "bfloat16"):
        config = recipe()
        fitted = _fit(rows, config, precision, callbacks=[_Recorder()])
        epochs = fitted.net_.callbacks_[-1][1].epochs_
        sides = {
            "fit": lambda config=config, precision=precision: _fit(rows, config, precision),
            "loop": lambda epochs=epochs, fitted=fitted: _bare_loop(epochs, fitted, rows),
        }
        seconds = in_turns(sides, options.repeats)
        results.append(
            Result(
                "train-loop",
                f"fit / bare loop, {precision}",
                ratio(seconds, "fit", "loop"),
                "<= 1.03",
                seconds,
            )
        )
    return [*results, *_overheads(rows)]


def _fit(rows, config, precision, callbacks=None):
    with warnings.catch_warnings(action="ignore"):
        return classifier(config, precision=precision, callbacks=callbacks).fit(rows)


def _bare_loop(epochs, fitted, rows):
    """Load, tokenize, encode once, and train on recorded batches."""
    net = fitted.net_
    encoder, tokenizer = load_encoder(BUNDLED), load_tokenizer(BUNDLED)
    lowered = net.module_.precision == "bfloat16"
    _encode_once(encoder, tokenizer, rows, lowered)
    module = net.module_
    module.train_encoder_layers(0)
    module.train(True)
    groups = [{k: v for k, v in g.items() if k != "peak_lr"} for g in net.optimizer_.param_groups]
    optimizer = torch.optim.AdamW(groups, fused=True)
    for number, epoch in enumerate(epochs):
        if number == 3:
            module.train_encoder_layers(4)
            module.resume_at(module.n_frozen)
        parameters = [p for p in module.parameters() if p.requires_grad]
        for (batch,) in epoch:
            optimizer.zero_grad(set_to_none=True)
            _loss(module(**batch.inputs), batch.targets, net.criterion_).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
    module.resume_at(None)
    module.train(False)


def _loss(logits, targets, criterion):
    losses = [
        getattr(criterion, f"class_weights_{task}")[labels]
        * F.cross_entropy(part, labels, reduction="none", label_smoothing=0.1)
        for task, (part, labels) in enumerate(zip(logits, targets["labels"], strict=True))
        if len(labels)
    ]
    return torch.cat(losses).mean()


def _encode_once(encoder, tokenizer, rows, lowered):
    texts = sorted(rows["text"].unique(), key=len)
    for start in range(0, len(texts), 128):
        inputs = tokenizer(texts[start : start + 128], padding=True, return_tensors="pt")
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=lowered):
            encoder(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])


# --------------------------------------------------------------------------------------------
# Time of a step outside the model


def _overheads(rows):
    """Measure the share for steps of about 50 ms and of about 10 ms."""
    results = []
    for target, bar, options in (
        ("long", "<= 0.02", {"unfreeze_layers": 4, "batch_size": 10}),
        ("short", "<= 0.06", {"unfreeze_layers": 1, "batch_size": 4}),
    ):
        config = recipe(heads_only=0, fine_tuning=2, **options)
        with _Stopwatch() as watch:
            _fit(rows, config, "float32")
        step = 1e3 * watch.total / watch.n_steps
        share = 1 - watch.model / watch.total
        case = f"share of a {target} step ({step:.0f} ms) that is not the model"
        results.append(Result("train-loop", case, share, bar, {"milliseconds": step}))
    return results


class _Stopwatch:
    """Times the training epochs, and within them forward, backward, clipping and optimizer step."""

    def __enter__(self):
        self.total = self.model = self.n_steps = 0
        self._kept = {
            name: getattr(MultiheadNet, name)
            for name in ("run_single_epoch", "infer", "get_loss", "train_step")
        }
        kept = self._kept
        watch = self

        def run_single_epoch(net, *args, **kwargs):
            # Texts are encoded once at the first batch of an epoch, which is not part of a step.
            iterator, *rest = args
            if iterator is None:
                return
            with _SourceReady(iterator):
                start = time.perf_counter()
                kept["run_single_epoch"](net, iterator, *rest, **kwargs)
                watch.total += time.perf_counter() - start

        def train_step(net, batch, **kwargs):
            watch.n_steps += 1
            return kept["train_step"](net, batch, **kwargs)

        self._timed = {}
        MultiheadNet.run_single_epoch = run_single_epoch
        MultiheadNet.train_step = train_step
        for name in ("infer", "get_loss"):
            setattr(MultiheadNet, name, self._timing(kept[name]))
        for owner, name in (
            (torch.Tensor, "backward"),
            (torch.optim.AdamW, "step"),
            (torch.optim.AdamW, "zero_grad"),
            (regularization, "clip_grad_norm_"),
        ):
            self._timed[owner, name] = getattr(owner, name)
            setattr(owner, name, self._timing(getattr(owner, name)))
        return self

    def _timing(self, function):
        def timed(*args, **kwargs):
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.model += time.perf_counter() - start

        return timed

    def __exit__(self, *error):
        for name, function in self._kept.items():
            setattr(MultiheadNet, name, function)
        for (owner, name), function in self._timed.items():
            setattr(owner, name, function)


class _SourceReady:
    """Prepares the source of an iterator before the timing starts."""

    def __init__(self, iterator):
        self.iterator = iterator

    def __enter__(self):
        self.source = self.iterator.source
        ready = self.source()
        self.iterator.source = lambda: ready

    def __exit__(self, *error):
        self.iterator.source = self.source
