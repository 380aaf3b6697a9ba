"""Training: what it gives, and that neither a stop nor short memory changes it more than is said."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from featstore.cnn import predicting, steps
from featstore.cnn import training as module
from featstore.cnn.augment import draw
from featstore.cnn.checkpoints import FORMAT, read_tensors, write_tensors
from featstore.cnn.folds import Place
from featstore.cnn.networks import find_network
from featstore.cnn.optimiser import rate_at
from featstore.cnn.pictures import load_pictures
from featstore.cnn.settings import settings_of
from featstore.cnn.steps import Part
from featstore.cnn.training import train_network
from featstore.errors import ModelFormatError, SettingError, TrainingError


@pytest.fixture(scope="module")
def parts(records, labels):
    pictures = load_pictures(records, 32)
    codes = np.unique(labels, return_inverse=True)[1]
    images, everything = Part(pictures.pixels, pictures.digests, codes), np.ones(len(codes), bool)
    place = Place(images, everything, np.arange(len(codes)) // 3 % 5, 0)
    return place.training, place.validation


@pytest.fixture
def settings(make):
    model = make(schedule="cosine", warmup_epochs=1, sampling="balanced", augmentation="strong", dropout=0.3)
    model.network_ = find_network(model.network, from_scratch=True, side_px=32)
    return replace(settings_of(model), seed=5)


def train(settings, parts, **more):
    return train_network(settings, *parts, 3, device="cpu", precision="float32", **more)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class StopTrainingError(Exception):
    pass


def stop_after(epoch):
    def callback(found):
        if found.epoch == epoch:
            raise StopTrainingError

    return callback


def always(monkeypatch):
    """Write a checkpoint after every epoch, however quick those are."""
    monkeypatch.setattr(module, "_WRITING_SHARE", math.inf)


def test_the_same_again_to_the_bit_on_any_number_of_threads(settings, parts):
    before = torch.get_num_threads()
    random = torch.get_rng_state()
    first = train(settings, parts)
    try:
        torch.set_num_threads(3)
        assert same(train(settings, parts).state, first.state)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.get_rng_state(), random)
    other = train(replace(settings, seed=6), parts)
    assert not same(other.state, first.state)


@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_stopped_and_taken_up_again_is_as_if_never_stopped(settings, parts, tmp_path, monkeypatch, epoch):
    always(monkeypatch)
    whole = train(settings, parts)
    path = tmp_path / "x.safetensors"
    with pytest.raises(StopTrainingError):
        train(settings, parts, checkpoint=path, callback=stop_after(epoch))
    seen = []
    resumed = train(settings, parts, checkpoint=path, callback=lambda found: seen.append(found.epoch))
    assert seen == list(range(epoch + 1, 7))
    assert same(resumed.state, whole.state)
    assert resumed.best_epoch == whole.best_epoch
    assert [e.loss for e in resumed.history] == [e.loss for e in whole.history]


def test_a_finished_one_is_not_trained_again(settings, parts, tmp_path):
    path = tmp_path / "x.safetensors"
    whole = train(settings, parts, checkpoint=path)
    size = path.stat().st_size
    again = train(settings, parts, checkpoint=path, callback=stop_after(1))
    assert same(again.state, whole.state)
    assert size < 2.2 * sum(tensor.numel() * tensor.element_size() for tensor in whole.state.values())


def test_early_stopping_keeps_the_best_epoch(settings, parts):
    done = train(replace(settings, patience=2, max_epochs=40, schedule="constant"), parts)
    losses = [epoch.validation_loss for epoch in done.history]
    assert done.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == min(40, done.best_epoch + 2)


def test_without_a_validation_part_the_last_epoch_is_kept(settings, parts):
    done = train_network(settings, parts[0], None, 3, device="cpu", precision="float32")
    assert done.best_epoch == 6
    assert all(math.isnan(epoch.validation_loss) for epoch in done.history)


def test_a_checkpoint_of_another_configuration_is_named_and_refused(settings, parts, tmp_path):
    path = tmp_path / "x.safetensors"
    train(settings, parts, checkpoint=path)
    with pytest.raises(SettingError, match=r"lr: 0\.01 there, 0\.02 now"):
        train(replace(settings, lr=0.02), parts, checkpoint=path)
    fewer = Part(parts[0].pixels[1:], parts[0].digests[1:], parts[0].codes[1:])
    with pytest.raises(SettingError, match="images"):
        train(settings, (fewer, parts[1]), checkpoint=path)
    with pytest.raises(SettingError, match="precision: 'float32' there, 'bfloat16' now"):
        train_network(settings, *parts, 3, device="cpu", precision="bfloat16", checkpoint=path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelFormatError, match=r"x\.safetensors"):
        train(settings, parts, checkpoint=path)


def test_a_loss_that_is_no_number(settings, parts, tmp_path, monkeypatch):
    always(monkeypatch)
    bare, taken = steps.Steps.step, []

    def step(self, batch, drawn, key):
        taken.append(key)
        if len(taken) == 7:  # the first of the third epoch
            with torch.no_grad():
                next(iter(self.module.parameters())).fill_(math.nan)
        return bare(self, batch, drawn, key)

    monkeypatch.setattr(steps.Steps, "step", step)
    path = tmp_path / "x.safetensors"
    with pytest.raises(TrainingError, match=r"epoch 3, step 1 of 3, at a learning rate of \d") as caught:
        train(settings, parts, checkpoint=path)
    aside = tmp_path / "x.best.safetensors"
    assert str(aside) in str(caught.value)
    _, tensors = read_tensors(aside, FORMAT)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    with pytest.raises(TrainingError, match="no epoch was finished before"):
        monkeypatch.setattr(steps.Steps, "step", lambda self, *rest: torch.tensor(math.nan))
        train(settings, parts)


def be_short(monkeypatch, most):
    """Have training run out of memory for more than so many pictures."""
    bare = steps.normalised

    def normalised(network, pixels, *, use_mask):
        if len(pixels) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return bare(network, pixels, use_mask=use_mask)

    monkeypatch.setattr(steps, "normalised", normalised)


def test_short_memory_halves_the_batch_and_adds_gradients_up(settings, parts, monkeypatch):
    be_short(monkeypatch, 4)
    done = train(settings, parts)
    assert len(done.history) == 6
    assert done.notes == [
        "memory was short for 8 pictures at a time: gradients of 4 at a time are added up, "
        "and batch normalisation sees so many"
    ]


def test_gradients_of_parts_add_up_to_those_of_the_batch(settings, parts, monkeypatch):
    """Without batch normalisation, whose statistics are those of the part."""
    plain = replace(settings, network=replace(settings.network, name="test_vit.r160_in1k", side_px=160), dropout=0.0)
    plain = replace(plain, use_mask=False, max_epochs=1)
    big = [Part(np.repeat(np.repeat(p.pixels, 5, 1), 5, 2), p.digests, p.codes) for p in parts]
    whole = train(plain, big)
    be_short(monkeypatch, 3)
    parted = train(plain, big)
    assert parted.notes
    for name, tensor in whole.state.items():
        torch.testing.assert_close(parted.state[name], tensor, rtol=0, atol=2e-3)
    assert parted.history[0].loss == pytest.approx(whole.history[0].loss, abs=2e-3)


def test_memory_for_two_is_tried_before_giving_up(settings, parts, monkeypatch):
    be_short(monkeypatch, 2)
    done = train(replace(settings, batch_size=4, max_epochs=1), parts)
    assert done.notes[0].startswith("memory was short for 4 pictures at a time: gradients of 2")


def test_short_memory_in_validation_changes_nothing(settings, parts, monkeypatch):
    whole = train(settings, parts)
    bare = predicting.input_of

    def short(settings, pixels, device):
        if len(pixels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return bare(settings, pixels, device)

    monkeypatch.setattr(predicting, "input_of", short)
    done = train(settings, parts)
    assert done.notes == []
    assert [e.validation_loss for e in done.history] == pytest.approx([e.validation_loss for e in whole.history])
    monkeypatch.setattr(predicting, "input_of", lambda *_: be_out_of_memory())
    with pytest.raises(torch.OutOfMemoryError):
        train(settings, parts)


def be_out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_an_image_shown_twice_in_an_epoch_looks_different(settings, parts, monkeypatch):
    shown = []

    def look(seed, digests, epoch):
        shown.extend(digests)
        return draw(seed, digests, epoch)

    monkeypatch.setattr(module, "draw", look)
    codes = np.array([0] * 3 + [1] * 9)
    few = Part(parts[0].pixels[:12], parts[0].digests[:12], codes)
    train(replace(settings, sampling="balanced", max_epochs=1), (few, parts[1]))
    assert len(shown) == len(set(shown)) == 12
    assert len({name.partition(" ")[0] for name in shown}) < 12


def test_memory_for_not_even_two(settings, parts, monkeypatch):
    be_short(monkeypatch, 1)
    with pytest.raises(TrainingError, match="even for 2 pictures of 32 px"):
        train(settings, parts)


def test_another_error_is_not_taken_for_short_memory(settings, parts, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(steps, "augment", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        train(settings, parts)


def test_half_precision_learns_as_well(settings, parts):
    plain = replace(settings, max_epochs=12, schedule="constant", augmentation="none")
    done = train_network(plain, *parts, 3, device="cpu", precision="bfloat16")
    assert done.history[-1].loss < 0.7 * done.history[0].loss
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in done.state.values())


def test_the_learning_rate(settings):
    cosine = [rate_at(settings, step, 10) for step in range(60)]
    assert cosine[0] == pytest.approx(1 / 11)
    assert max(cosine) == cosine[10] == 1.0
    assert all(a > b for a, b in pairwise(cosine[10:]))
    assert cosine[-1] < 0.01
    constant = replace(settings, schedule="constant", warmup_epochs=0)
    assert {rate_at(constant, step, 10) for step in range(60)} == {1.0}


def test_a_frozen_body_stays_as_it_was(settings, parts):
    done = train(replace(settings, frozen_epochs=6), parts)
    torch.manual_seed(steps.key_of("weights", settings.seed))
    fresh = steps.build(settings.network, 3, use_mask=True, dropout=0.3).state_dict()
    moved = {name for name in fresh if not torch.equal(fresh[name], done.state[name])}
    assert moved == {"classifier.weight", "classifier.bias"}
    thawed = train(replace(settings, frozen_epochs=2), parts)
    assert not torch.equal(thawed.state["conv_stem.weight"], fresh["conv_stem.weight"])


def test_no_epoch_with_a_finite_validation_loss(settings, parts, monkeypatch):
    monkeypatch.setattr(module._Training, "_validate", lambda *_: math.inf)
    with pytest.raises(TrainingError, match="no epoch of 6 has a finite validation loss"):
        train(settings, parts)


def test_a_checkpoint_that_does_not_hold_together(settings, parts, tmp_path):
    path = tmp_path / "x.safetensors"
    train(settings, parts, checkpoint=path)
    content, tensors = read_tensors(path, FORMAT)
    for state in ({**content["state"], "done": False}, {**content["state"], "history": [[1]]}, {}):
        write_tensors(path, FORMAT, {**content, "state": state}, tensors)
        with pytest.raises(ModelFormatError, match="does not hold together"):
            train(settings, parts, checkpoint=path)


def test_three_images_in_batches_of_two(settings, parts):
    few = Part(parts[0].pixels[:3], parts[0].digests[:3], parts[0].codes[:3])
    assert len(train(replace(settings, batch_size=2, max_epochs=1), (few, parts[1])).history) == 1
