"""A first, simple implementation of the same training, as a baseline for `fit`."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from rapidfit_sk._model.encoders import layer_stack, load_encoder, load_tokenizer
from rapidfit_sk._model.heads import build_head
from rapidfit_sk._training.losses import inverse_frequency
from rapidfit_sk.callbacks.schedule import warmup_cosine

from ._data import BUNDLED

LENGTH = 128


class NaiveMultihead:
    """A classifier that pads to 128 tokens, batches by task and caches nothing.

    Parameters
    ----------
    config : MultiheadConfig
        The configuration, in which no group is None.
    lowered : bool
        Whether the encoder computes in bfloat16.
    """

    def __init__(self, config, lowered=False):
        self.config = config
        self.lowered = lowered

    def fit(self, rows):
        """Train on rows of (text, task, label)."""
        torch.manual_seed(0)
        training, freeze = self.config.training, self.config.encoder.freeze_epochs
        self.encoder = load_encoder(BUNDLED)
        self.tokenizer = load_tokenizer(BUNDLED)
        self.parts = {task: self._task(part) for task, part in rows.groupby("task", sort=False)}
        heads = [part["head"] for part in self.parts.values()]
        groups = [(self.encoder, training.learning_rate, freeze)]
        groups += [(head, 10 * training.learning_rate, 0) for head in heads]
        optimizer = torch.optim.AdamW(
            {"params": list(module.parameters()), "lr": lr, "peak": lr, "start": start}
            for module, lr, start in groups
        )
        n_epochs = freeze + training.epochs
        self.encoder.requires_grad_(False)
        for epoch in range(n_epochs):
            if epoch == freeze:
                for layer in layer_stack(self.encoder)[-self.config.encoder.unfreeze_layers :]:
                    layer.requires_grad_(True)
            self.encoder.train()
            batches = self._batches(training.batch_size)
            for step, (task, batch) in enumerate(batches):
                now = epoch + (step + 0.5) / len(batches)
                for group in optimizer.param_groups:
                    progress = (now - group["start"]) / max(1, n_epochs - group["start"])
                    group["lr"] = group["peak"] * warmup_cosine(progress, 0.1)
                self._step(optimizer, self.parts[task], batch)
        return self

    def _task(self, rows):
        classes, labels = np.unique(rows["label"], return_inverse=True)
        weights = inverse_frequency(labels, np.ones(len(labels)), len(classes))
        return {
            "texts": rows["text"].tolist(),
            "labels": torch.from_numpy(labels),
            "classes": classes,
            "weights": torch.from_numpy(weights).float(),
            "head": build_head(
                self.encoder.config.hidden_size,
                len(classes),
                "mean",
                **self.config.head._layout(),
            ),
        }

    def _batches(self, size):
        batches = [
            (task, batch)
            for task, part in self.parts.items()
            for batch in torch.randperm(len(part["labels"])).split(size)
        ]
        return [batches[i] for i in torch.randperm(len(batches))]

    def _step(self, optimizer, part, batch):
        optimizer.zero_grad()
        logits = part["head"](self._embed([part["texts"][i] for i in batch]))
        labels = part["labels"][batch]
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1)
        (part["weights"][labels] * losses).mean().backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    def _embed(self, texts):
        inputs = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
        )
        mask = inputs["attention_mask"]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.lowered):
            output = self.encoder(input_ids=inputs["input_ids"], attention_mask=mask)
        states = output.last_hidden_state.float()
        mask = mask.unsqueeze(-1)
        return (states * mask).sum(1) / mask.sum(1)

    def predict(self, texts, task):
        """Predict the labels of one task."""
        part = self.parts[task]
        self.encoder.eval()
        part["head"].eval()
        with torch.inference_mode():
            logits = [
                part["head"](self._embed(texts[i : i + 64])) for i in range(0, len(texts), 64)
            ]
        return part["classes"][torch.cat(logits).argmax(1).numpy()]
