"""The activation cache: correct for each architecture, computed once, within its limits."""

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

from rapidfit_sk import EncoderConfig, HeadConfig
from rapidfit_sk._model.encoders import layer_stack, load_tokenizer, with_layers
from rapidfit_sk._model.module import build_module, uses_bfloat16
from rapidfit_sk._model.tokens import TextTokenizer, TokensOnDemand
from rapidfit_sk._training.activations import ActivationCache, allocate_array
from rapidfit_sk._training.batches import Embeddings, HiddenStates, PaddedTokens
from rapidfit_sk.testing import ARCHITECTURES, tiny_encoder

# ALBERT has no stack of its own; the first layer of T5 gives the others their positions.
WHOLE = {"albert", "t5"}
TWO_OF_FOUR = EncoderConfig(freeze_epochs=1, unfreeze_layers=2)


class Sources(Callback):
    """Callback that records the input of the module in each training batch."""

    def on_train_begin(self, net, **kwargs):
        self.seen_ = []

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            inputs = batch[0].inputs
            kinds = ("embeddings", "states", "input_ids")
            self.seen_.append(next(kind for kind in kinds if kind in inputs))


def sources_of(classifier):
    return list(dict.fromkeys(dict(classifier.net_.callbacks_)["sources"].seen_))


def weights_of(classifier):
    return torch.cat([p.detach().flatten() for p in classifier.net_.module_.parameters()])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cached_states_do_not_change_the_fit(make_classifier, messages, architecture):
    """Cached hidden states do not change the weights after a fit."""
    options = {
        "model_name": tiny_encoder(architecture=architecture),
        "encoder": TWO_OF_FOUR,
        "callbacks": [("sources", Sources())],
    }
    kept = make_classifier(**options).fit(messages)
    again = make_classifier(cache_memory=0, cache_disk=0, **options).fit(messages)
    upper = "input_ids" if architecture in WHOLE else "states"
    assert sources_of(kept) == ["embeddings", upper]
    assert sources_of(again) == ["embeddings", "input_ids"]
    torch.testing.assert_close(weights_of(kept), weights_of(again), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embeddings_are_those_of_a_full_pass(architecture):
    """Heads use the same embeddings as a full pass over each text alone gives."""
    activations, module = activations_of(tiny_encoder(architecture=architecture))
    source = activations.source()
    assert isinstance(source, Embeddings)
    for number in (0, 7, 19):
        inputs = PaddedTokens(activations.tokens).inputs(np.array([number]))
        with torch.no_grad():
            alone = module.embed(**inputs)
        torch.testing.assert_close(source.embeddings[[number]], alone, atol=2e-5, rtol=1e-4)


def activations_of(folder, first_trainable=2, **options):
    head = HeadConfig()._layout()
    module = build_module(model_name=folder, n_classes=[2], head=head, pooling="mean")
    texts = [" ".join(["why"] * (number + 1)) for number in range(20)]
    tokens = TokensOnDemand(texts, TextTokenizer(load_tokenizer(folder), 64))
    allocate = functools.partial(allocate_array, memory=0.25, disk=0.25)
    return ActivationCache(
        module, tokens, **{"allocate": allocate, "first_trainable": first_trainable, **options}
    ), module


def passes_through(module):
    counts = []
    module.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return counts


def test_one_pass_serves_both_phases(encoder_name):
    """Embeddings and hidden states come from one pass, in addition to the test batch."""
    activations, module = activations_of(encoder_name)
    counts = passes_through(module)
    for _ in range(3):
        assert isinstance(activations.source(), Embeddings)
    module.train_encoder_layers(2)
    for _ in range(3):
        assert isinstance(activations.source(), HiddenStates)
    tried = counts[0]  # a full pass and the upper layers
    assert sum(counts) == 20 + 2 * tried


def test_cache_is_recomputed_after_changes_of_weights(encoder_name):
    """If a callback changes frozen weights or unfreezes more layers, the cache is recomputed."""
    activations, module = activations_of(encoder_name)
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
    """If the upper layers alone give other results, all layers run, and `verbose` reports it."""
    said = []
    activations, module = activations_of(encoder_name, report=said.append)
    monkeypatch.setattr(
        "rapidfit_sk._model.module.with_layers",
        lambda encoder, layers: with_layers(encoder, [layers[0], *layers]),
    )
    module.train_encoder_layers(2)
    assert type(activations.source()) is PaddedTokens
    assert said == [
        "All layers of BertModel run in each epoch, because it cannot resume from cached hidden "
        "states."
    ]


def test_verbose_tells_why_all_layers_run(make_classifier, messages, capsys):
    """If hidden states exceed the limits, `verbose` reports their size."""
    make_classifier(cache_memory=0, cache_disk=0, verbose=1).fit(messages)
    assert "more than 'cache_memory' and 'cache_disk' allow" in capsys.readouterr().out


def test_allocation_in_memory_then_on_disk_then_none(tmp_path, monkeypatch):
    """Limits are bytes or shares of the free space, and the file has no name in its folder."""
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
    if os.name == "posix":  # the file is removed before it is used, so it never remains
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve")
def test_disk_space_is_reserved(monkeypatch):
    """A full disk is detected before values are written to the file."""

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert allocate_array((10, 10), memory=0, disk=400) is None


@pytest.mark.parametrize(("limit", "granted"), [("1000", True), ("900", False), ("max", True)])
def test_free_memory_of_a_container(tmp_path, monkeypatch, limit, granted):
    """The free memory of a container may be smaller than the memory of the machine."""
    files = tmp_path / "limit", tmp_path / "used"
    for file, content in zip(files, (limit, "200\n"), strict=True):
        file.write_text(content)
    monkeypatch.setattr(
        "rapidfit_sk._training.activations._CONTAINER", [files, (tmp_path / "no",) * 2]
    )
    assert (allocate_array((10, 10), memory=0.5, disk=0) is not None) is granted


def test_states_on_disk_change_nothing(make_classifier, messages, tmp_path, monkeypatch):
    """Hidden states in a file give the same fit to the bit, and the file is removed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = {"callbacks": [("sources", Sources())], "encoder": TWO_OF_FOUR}
    in_memory = make_classifier(**options).fit(messages)
    on_disk = make_classifier(cache_memory=0, **options).fit(messages)
    assert sources_of(on_disk) == ["embeddings", "states"]
    assert torch.equal(weights_of(in_memory), weights_of(on_disk))
    assert not list(tmp_path.glob("rapidfit-sk-*"))


def test_a_frozen_encoder_reads_each_text_once(make_classifier, messages, encoded):
    """Training on a frozen encoder takes one pass for any number of epochs and tasks."""
    encoder = EncoderConfig(freeze_epochs=2, unfreeze_layers=0)
    make_classifier(encoder=encoder, epochs=3).fit(messages)
    assert sum(encoded) == messages["text"].nunique()


class UnfreezesAll(Callback):
    """Callback that trains the whole encoder for one epoch between others."""

    def on_epoch_begin(self, net, **kwargs):
        if net.epoch_ in (2, 3):
            net.module_.train_encoder_layers(None if net.epoch_ == 2 else 2)


@pytest.mark.filterwarnings("ignore:There are no validation rows")
def test_cache_is_recomputed_after_training(make_classifier, messages):
    """Hidden states are recomputed after a callback has trained and frozen layers again."""
    options = {"callbacks": [UnfreezesAll()], "encoder": TWO_OF_FOUR, "epochs": 3, "val_size": 0.0}
    kept = make_classifier(**options).fit(messages)
    again = make_classifier(cache_memory=0, cache_disk=0, **options).fit(messages)
    torch.testing.assert_close(weights_of(kept), weights_of(again), atol=1e-5, rtol=1e-4)


# --------------------------------------------------------------------------------------------
# Precision and checkpointing


def test_bfloat16_is_close_and_not_the_same(make_classifier, messages):
    """The encoder computes in bfloat16; weights, heads and outputs stay float32."""
    full = make_classifier().fit(messages)
    half = make_classifier(precision="bfloat16").fit(messages)
    assert {p.dtype for p in half.net_.module_.parameters()} == {torch.float32}
    for task, p in full.predict_proba(messages["text"].head(50)).items():
        other = half.predict_proba(messages["text"].head(50))[task]
        assert not np.array_equal(p, other)
        np.testing.assert_allclose(p, other, atol=0.02)
        np.testing.assert_allclose(other.sum(axis=1), 1, atol=1e-12)


def test_bfloat16_uses_the_activation_cache(make_classifier, messages):
    """In bfloat16, cached hidden states give the same fit within its tolerance."""
    options = {"precision": "bfloat16", "callbacks": [("sources", Sources())]}
    kept = make_classifier(encoder=TWO_OF_FOUR, **options).fit(messages)
    again = make_classifier(encoder=TWO_OF_FOUR, cache_memory=0, cache_disk=0, **options).fit(
        messages
    )
    assert sources_of(kept) == ["embeddings", "states"]
    torch.testing.assert_close(weights_of(kept), weights_of(again), atol=5e-3, rtol=0)


def test_auto_depends_on_the_hardware(monkeypatch):
    """Only "auto" depends on the hardware."""
    for knows in (True, False):
        uses_bfloat16.cache_clear()
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda knows=knows: knows)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert uses_bfloat16("auto", "cpu") == knows
        assert uses_bfloat16("bfloat16", "cpu")
        assert not uses_bfloat16("float32", "cpu")
    uses_bfloat16.cache_clear()


@pytest.mark.parametrize("architecture", ["bert", "albert", "modernbert", "t5"])
@pytest.mark.parametrize("layers", [2, None])
def test_checkpointing_changes_nothing(make_classifier, messages, architecture, layers):
    """Recomputed layers drop the same values, so the fit is the same."""
    options = {
        "model_name": tiny_encoder(architecture=architecture),
        "encoder": EncoderConfig(freeze_epochs=0, unfreeze_layers=layers),
    }
    plain = make_classifier(**options).fit(messages)
    twice = make_classifier(gradient_checkpointing=True, **options).fit(messages)
    torch.testing.assert_close(weights_of(plain), weights_of(twice), atol=1e-6, rtol=1e-5)
    for layer in layer_stack(twice.net_.module_.encoder):
        assert "forward" not in vars(layer)


def test_an_interrupt_undoes_checkpointing(make_classifier, messages):
    """After an interruption, the layers of a shared encoder are restored."""

    class CtrlC(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    classifier = make_classifier().fit(messages[messages["task"] != "intent"])
    classifier.set_params(callbacks=[CtrlC()], config__training__gradient_checkpointing=True)
    with pytest.raises(KeyboardInterrupt):
        classifier.add_task(messages[messages["task"] == "intent"])
    for layer in layer_stack(classifier.net_.module_.encoder):
        assert "forward" not in vars(layer)


def test_checkpointing_stores_less(make_classifier, messages):
    """A step stores only the input of each layer for its gradient."""

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
        classifier = make_classifier(
            encoder=EncoderConfig(freeze_epochs=0, unfreeze_layers=None),
            callbacks=[("held", Held())],
            **options,
        ).fit(messages)
        return dict(classifier.net_.callbacks_)["held"].bytes_

    assert held(gradient_checkpointing=True) < held() / 2


def test_copies_of_a_checkpointed_module_are_whole(make_classifier, messages):
    """A callback can copy the module during training, for example to average weights."""
    copies = []

    class Copies(Callback):
        def on_grad_computed(self, net, **kwargs):
            copies.append(copy.deepcopy(net.module_))

    config = {"encoder": TWO_OF_FOUR, "gradient_checkpointing": True}
    make_classifier(callbacks=[Copies()], **config).fit(messages.head(40))
    assert not any("forward" in vars(part) for each in copies for part in each.modules())


def test_checkpointing_where_layers_are_not_found(make_classifier, messages, monkeypatch):
    """The error names the option to change."""

    def nowhere(encoder):
        raise ValueError("The layers were not found.")

    monkeypatch.setattr("rapidfit_sk._model.module.layer_stack", nowhere)
    encoder = EncoderConfig(freeze_epochs=0, unfreeze_layers=None)
    with pytest.raises(ValueError, match="Set training.gradient_checkpointing to False"):
        make_classifier(encoder=encoder, gradient_checkpointing=True).fit(messages)


def test_compiled_predictions_are_the_same(make_classifier, messages, monkeypatch):
    """`compile` passes the whole encoder to torch.compile, but not for training and copies."""
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
