"""Activation cache, bfloat16, gradient checkpointing and compilation."""

import copy
import errno
import functools
import os
import pickle
import tempfile

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from rapidfit_sk import EncoderConfig, HeadConfig, MultiheadClassifier
from rapidfit_sk._model.encoders import layer_stack, load_tokenizer, with_layers
from rapidfit_sk._model.module import build_module, uses_bfloat16
from rapidfit_sk._model.tokens import TextTokenizer, TokensOnDemand
from rapidfit_sk._training.activations import ActivationCache, allocate_array
from rapidfit_sk._training.batches import Embeddings, HiddenStates, PaddedTokens
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

# ALBERT repeats shared layers, and only the first layer of T5 computes the position biases.
CANNOT_RESUME = {"albert", "t5"}
TWO_OF_FOUR = EncoderConfig(freeze_epochs=1, unfreeze_layers=2)


class Sources(Callback):
    """Callback that records the kind of input that the module gets in each training batch."""

    def on_train_begin(self, net, **kwargs):
        self.seen_ = []

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            inputs = batch[0].inputs
            kinds = ("embeddings", "states", "input_ids")
            self.seen_.append(next(kind for kind in kinds if kind in inputs))


def sources_of(classifier):
    """Return the kinds of input of the training batches, in order of first use."""
    return list(dict.fromkeys(dict(classifier.net_.callbacks_)["sources"].seen_))


def weights_of(classifier):
    return torch.cat([p.detach().flatten() for p in classifier.net_.module_.parameters()])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cached_states_do_not_change_the_fit(make_classifier, messages, architecture):
    """Cached hidden states do not change the weights that a fit learns."""
    options = {
        "model_name": tiny_encoder(architecture=architecture),
        "encoder": TWO_OF_FOUR,
        "callbacks": [("sources", Sources())],
    }
    cached = make_classifier(**options).fit(messages)
    uncached = make_classifier(cache_memory=0, cache_disk=0, **options).fit(messages)
    upper = "input_ids" if architecture in CANNOT_RESUME else "states"
    assert sources_of(cached) == ["embeddings", upper]
    assert sources_of(uncached) == ["embeddings", "input_ids"]
    torch.testing.assert_close(weights_of(cached), weights_of(uncached), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cached_embeddings_equal_a_full_pass(architecture):
    """Cached embeddings equal the embeddings from a full pass over each text alone."""
    activations, module = build_cache(tiny_encoder(architecture=architecture))
    source = activations.source()
    assert isinstance(source, Embeddings)
    for number in (0, 7, 19):
        inputs = PaddedTokens(activations.tokens).inputs(np.array([number]))
        with torch.no_grad():
            alone = module.embed(**inputs)
        torch.testing.assert_close(source.embeddings[[number]], alone, atol=2e-5, rtol=1e-4)


def build_cache(folder, first_trainable=2, **options):
    """Build an activation cache of 20 texts of different lengths; return it and its module."""
    head = HeadConfig()._layout()
    module = build_module(model_name=folder, n_classes=[2], head=head, pooling="mean")
    texts = [" ".join(["why"] * (number + 1)) for number in range(20)]
    tokens = TokensOnDemand(texts, TextTokenizer(load_tokenizer(folder), 64))
    allocate = functools.partial(allocate_array, memory=0.25, disk=0.25)
    return ActivationCache(
        module, tokens, **{"allocate": allocate, "first_trainable": first_trainable, **options}
    ), module


def record_passes(module):
    """Return a list to which each later pass of the encoder appends its number of texts."""
    counts = []
    module.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return counts


def test_embeddings_and_hidden_states_need_one_pass(encoder_name):
    """Embeddings and hidden states come from the same pass, apart from a comparison batch."""
    activations, module = build_cache(encoder_name)
    counts = record_passes(module)
    for _ in range(3):
        assert isinstance(activations.source(), Embeddings)
    module.train_encoder_layers(2)
    for _ in range(3):
        assert isinstance(activations.source(), HiddenStates)
    n_compared = counts[0]  # run twice: through all layers and through the upper layers
    assert sum(counts) == 20 + 2 * n_compared


def test_cache_is_recomputed_after_weight_changes(encoder_name):
    """The cache is recomputed after a change of frozen weights or of the trainable layers."""
    activations, module = build_cache(encoder_name)
    module.train_encoder_layers(2)
    before = activations.source()
    with torch.no_grad():
        layer_stack(module.encoder)[0].output.dense.weight.mul_(0.5)
    after = activations.source()
    assert (after.states - before.states).abs().max() > 1e-3
    module.train_encoder_layers(3)
    lower = activations.source()
    assert (lower.states - after.states).abs().max() > 1e-3
    module.train_encoder_layers(None)
    assert isinstance(activations.source(), PaddedTokens)
    module.train_encoder_layers(0)
    first = activations.source().embeddings
    with torch.no_grad():
        layer_stack(module.encoder)[3].output.dense.weight.mul_(0.5)
    assert (activations.source().embeddings - first).abs().max() > 1e-3


def test_encoders_that_cannot_resume_are_detected(encoder_name, monkeypatch):
    """If resuming at a layer changes the result, all layers run and `report` gets the reason."""
    reports = []
    activations, module = build_cache(encoder_name, report=reports.append)
    monkeypatch.setattr(
        "rapidfit_sk._model.module.with_layers",
        lambda encoder, layers: with_layers(encoder, [layers[0], *layers]),
    )
    module.train_encoder_layers(2)
    assert type(activations.source()) is PaddedTokens
    assert reports == [
        "All layers of BertModel run in each epoch, because it cannot resume from cached hidden "
        "states."
    ]


def test_verbose_reports_why_all_layers_run(make_classifier, messages, capsys):
    """If the hidden states exceed the limits of the cache, `verbose` reports it."""
    make_classifier(cache_memory=0, cache_disk=0, verbose=1).fit(messages)
    assert "more than 'cache_memory' and 'cache_disk' allow" in capsys.readouterr().err


def test_allocation_prefers_memory_to_disk(tmp_path, monkeypatch):
    """An array is allocated in memory if it fits, and otherwise on disk if it fits there.

    A limit is a number of bytes or a share of the free space. The file has no name in its folder.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shape = (10, 10)  # 400 bytes
    assert type(allocate_array(shape, memory=400, disk=0)) is np.ndarray
    assert type(allocate_array(shape, memory=1.0, disk=0)) is np.ndarray
    on_disk = allocate_array(shape, memory=399, disk=400)
    assert isinstance(on_disk, np.memmap)
    on_disk[:] = 1.0
    assert on_disk.sum() == 100
    assert allocate_array(shape, memory=399, disk=399) is None
    assert allocate_array(shape, memory=0.0, disk=0.0) is None
    assert allocate_array(shape, memory=np.float32(1.0), disk=0) is not None
    if os.name == "posix":  # the file is removed before its first use, so it cannot be left behind
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no os.posix_fallocate")
def test_disk_space_is_reserved(monkeypatch):
    """A full disk is detected on allocation, before values are written to the file."""

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert allocate_array((10, 10), memory=0, disk=400) is None


@pytest.mark.parametrize(("limit", "granted"), [("1000", True), ("900", False), ("max", True)])
def test_memory_limit_of_a_container(tmp_path, monkeypatch, limit, granted):
    """The free memory of a container counts if it is less than the free memory of the machine."""
    files = tmp_path / "limit", tmp_path / "used"
    for file, content in zip(files, (limit, "200\n"), strict=True):
        file.write_text(content)
    monkeypatch.setattr(
        "rapidfit_sk._training.activations._CONTAINER", [files, (tmp_path / "no",) * 2]
    )
    assert (allocate_array((10, 10), memory=0.5, disk=0) is not None) is granted


def test_states_on_disk_do_not_change_the_fit(make_classifier, messages, tmp_path, monkeypatch):
    """Hidden states on disk give exactly the same weights, and the file is removed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = {"callbacks": [("sources", Sources())], "encoder": TWO_OF_FOUR}
    in_memory = make_classifier(**options).fit(messages)
    on_disk = make_classifier(cache_memory=0, **options).fit(messages)
    assert sources_of(on_disk) == ["embeddings", "states"]
    assert torch.equal(weights_of(in_memory), weights_of(on_disk))
    assert not list(tmp_path.glob("rapidfit-sk-*"))


def test_frozen_encoder_encodes_each_text_once(make_classifier, messages, encoded):
    """A fit with a frozen encoder encodes each text and each label text once for all epochs."""
    encoder = EncoderConfig(freeze_epochs=2, unfreeze_layers=0)
    make_classifier(encoder=encoder, epochs=3).fit(messages)
    n_labels = messages["label"].nunique()
    assert sum(encoded) == messages["text"].nunique() + n_labels


class UnfreezesAll(Callback):
    """Callback that trains the whole encoder in one epoch and its upper layers in the next."""

    def on_epoch_begin(self, net, **kwargs):
        if net.epoch_ in (2, 3):
            net.module_.train_encoder_layers(None if net.epoch_ == 2 else 2)


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_cache_is_recomputed_after_training(make_classifier, messages):
    """Hidden states are recomputed after a callback has unfrozen more layers for one epoch."""
    options = {"callbacks": [UnfreezesAll()], "encoder": TWO_OF_FOUR, "epochs": 3, "val_size": 0.0}
    cached = make_classifier(**options).fit(messages)
    uncached = make_classifier(cache_memory=0, cache_disk=0, **options).fit(messages)
    torch.testing.assert_close(weights_of(cached), weights_of(uncached), atol=1e-5, rtol=1e-4)


# --------------------------------------------------------------------------------------------
# Precision and checkpointing


def test_bfloat16_is_close_to_float32(make_classifier, messages):
    """With bfloat16, probabilities differ slightly from float32, and weights stay float32."""
    full = make_classifier().fit(messages)
    half = make_classifier(precision="bfloat16").fit(messages)
    assert {p.dtype for p in half.net_.module_.parameters()} == {torch.float32}
    for task, p in full.predict_proba(messages["text"].head(50)).items():
        other = half.predict_proba(messages["text"].head(50))[task]
        assert not np.array_equal(p, other)
        np.testing.assert_allclose(p, other, atol=0.02)
        np.testing.assert_allclose(other.sum(axis=1), 1, atol=1e-12)


def test_bfloat16_uses_the_activation_cache(make_classifier, messages):
    """With bfloat16, cached hidden states give the same weights within its precision."""
    options = {"precision": "bfloat16", "callbacks": [("sources", Sources())]}
    cached = make_classifier(encoder=TWO_OF_FOUR, **options).fit(messages)
    uncached = make_classifier(encoder=TWO_OF_FOUR, cache_memory=0, cache_disk=0, **options).fit(
        messages
    )
    assert sources_of(cached) == ["embeddings", "states"]
    torch.testing.assert_close(weights_of(cached), weights_of(uncached), atol=5e-3, rtol=0)


class Autocasts(Callback):
    """Callback that records whether autocast is on in each pass through the encoder."""

    def on_train_begin(self, net, **kwargs):
        self.seen_ = []
        net.module_.encoder.register_forward_hook(self.record)

    def record(self, *args):
        self.seen_.append(torch.is_autocast_enabled("cpu"))


def test_auto_precision_trains_in_bfloat16_and_predicts_in_float32(
    make_classifier, messages, tmp_path, monkeypatch
):
    """With "auto", all passes of a training are in bfloat16, and all others in float32."""
    monkeypatch.setattr(
        "rapidfit_sk._model.module.uses_bfloat16", lambda precision, device: precision != "float32"
    )
    options = {"precision": "auto", "callbacks": [("autocasts", Autocasts())]}
    classifier = make_classifier(**options, test_size=0).fit(messages)
    seen = dict(classifier.net_.callbacks_)["autocasts"].seen_
    n_training = sum(seen)
    assert n_training > 10
    assert seen[-1] is False  # the check of the logits
    del seen[:]
    p = classifier.predict_proba(messages["text"], task="intent")
    assert seen
    assert not any(seen)
    exact = make_classifier(precision="float32", test_size=0).fit(messages)
    difference = np.abs(exact.predict_proba(messages["text"], task="intent") - p).max()
    assert 0 < difference < 0.05
    classifier.set_params(callbacks=None).save(tmp_path / "model")
    loaded = MultiheadClassifier.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(messages["text"], task="intent"), p)


def test_memory_does_not_change_a_training_with_auto_precision(
    make_classifier, messages, tmp_path, monkeypatch
):
    """With "auto", the embedding cache contains what a fit without it computes."""
    monkeypatch.setattr(
        "rapidfit_sk._model.module.uses_bfloat16", lambda precision, device: precision != "float32"
    )
    options = {"precision": "auto", "pooling": "mean"}
    alone = make_classifier(**options).fit(messages)
    cached = make_classifier(**options, memory=tmp_path).fit(messages)
    for task, p in alone.predict_proba(messages["text"]).items():
        assert np.array_equal(p, cached.predict_proba(messages["text"], task=task))
    assert copy.deepcopy(alone.net_.module_).in_training is False


def test_auto_precision_depends_on_the_hardware(monkeypatch):
    """The use of bfloat16 depends on the hardware only if the precision is "auto"."""
    for native in (True, False):
        uses_bfloat16.cache_clear()
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert uses_bfloat16("auto", "cpu") == native
        assert uses_bfloat16("bfloat16", "cpu")
        assert not uses_bfloat16("float32", "cpu")
    uses_bfloat16.cache_clear()


@pytest.mark.parametrize(
    "architecture", ["bert", "albert", "modernbert", "t5", "gpt2", "opt", "llama"]
)
@pytest.mark.parametrize("layers", [2, None])
def test_checkpointing_does_not_change_the_fit(make_classifier, messages, architecture, layers):
    """Recomputed layers use the same dropout masks, so a fit learns the same weights."""
    options = {
        "model_name": tiny_encoder(architecture=architecture),
        "encoder": EncoderConfig(freeze_epochs=0, unfreeze_layers=layers),
    }
    plain = make_classifier(**options).fit(messages)
    twice = make_classifier(gradient_checkpointing=True, **options).fit(messages)
    torch.testing.assert_close(weights_of(plain), weights_of(twice), atol=1e-6, rtol=1e-5)
    for layer in layer_stack(twice.net_.module_.encoder):
        assert "forward" not in vars(layer)


def test_interrupt_undoes_checkpointing(make_classifier, messages):
    """If training is interrupted, the layers of the shared encoder are restored."""

    class CtrlC(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    classifier = make_classifier().fit(messages[messages["task"] != "intent"])
    classifier.set_params(callbacks=[CtrlC()], config__training__gradient_checkpointing=True)
    with pytest.raises(KeyboardInterrupt):
        classifier.add_task(messages[messages["task"] == "intent"])
    for layer in layer_stack(classifier.net_.module_.encoder):
        assert "forward" not in vars(layer)


def test_checkpointing_reduces_stored_bytes(make_classifier, messages):
    """Checkpointing more than halves the bytes that a training step stores for its gradient."""

    class Held(Callback):
        def on_batch_begin(self, net, training=False, **kwargs):
            if training:
                self.bytes_ = 0
                self.hooks_ = torch.autograd.graph.saved_tensors_hooks(self.pack, lambda x: x)
                self.hooks_.__enter__()

        def pack(self, tensor):
            self.bytes_ += tensor.nbytes
            return tensor

        def on_batch_end(self, net, training=False, **kwargs):
            if training:
                self.hooks_.__exit__(None, None, None)

    def held(**options):
        """Return the number of bytes that the last training step stored for its gradient."""
        classifier = make_classifier(
            encoder=EncoderConfig(freeze_epochs=0, unfreeze_layers=None),
            callbacks=[("held", Held())],
            **options,
        ).fit(messages)
        return dict(classifier.net_.callbacks_)["held"].bytes_

    assert held(gradient_checkpointing=True) < held() / 2


def test_copies_of_a_module_are_not_checkpointed(make_classifier, messages):
    """A copy of the module that a callback makes during training has unchanged layers.

    A callback may copy the module, for example to average weights.
    """
    copies = []

    class Copies(Callback):
        def on_grad_computed(self, net, **kwargs):
            copies.append(copy.deepcopy(net.module_))

    config = {"encoder": TWO_OF_FOUR, "gradient_checkpointing": True}
    make_classifier(callbacks=[Copies()], **config).fit(messages.head(40))
    assert not any("forward" in vars(part) for each in copies for part in each.modules())


def test_checkpointing_of_unknown_layers_raises(make_classifier, messages, monkeypatch):
    """If the layers of the encoder are not found, the error names the parameter to change."""

    def not_found(encoder):
        raise ValueError("The layers were not found.")

    monkeypatch.setattr("rapidfit_sk._model.module.layer_stack", not_found)
    encoder = EncoderConfig(freeze_epochs=0, unfreeze_layers=None)
    with pytest.raises(ValueError, match="Set training.gradient_checkpointing to False"):
        make_classifier(encoder=encoder, gradient_checkpointing=True).fit(messages)


def test_compilation_does_not_change_predictions(make_classifier, messages, monkeypatch):
    """Compilation does not change predictions, and each fitted model compiles only once."""
    compiled = []

    def compile(encoder, **options):
        compiled.append(options)
        return torch_compile(encoder, backend="eager", **options)

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile)
    plain = make_classifier().fit(messages)
    assert not compiled
    fast = make_classifier(compile=True).fit(messages)
    texts = messages["text"].head(30)
    for task, p in plain.predict_proba(texts).items():
        np.testing.assert_allclose(fast.predict_proba(texts)[task], p, atol=1e-5)
    assert compiled == [{"dynamic": True}]
    again = pickle.loads(pickle.dumps(fast))
    assert again.net_.module_.compiles
    fast.partial_fit(messages.head(20))
    assert fast.predict(texts, task="intent").shape == (30,)
    assert len(compiled) == 2
