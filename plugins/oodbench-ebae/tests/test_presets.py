"""The presets hold the supplement's and the successor's values, resolved as a run resolves them."""

from __future__ import annotations

import pytest
from oodbench_ebae.detector import EBAE
from oodbench_ebae.params import EBAEParams

from oodbench import OODBenchError, resolve

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def resolved(preset: str, shape: tuple[int, int, int]) -> EBAEParams:
    return resolve(EBAE, preset, shape, {})


def test_paper_values_for_arch28():
    params = resolved("paper", GREY)
    assert (params.latent_chain.steps, params.latent_chain.step_size, params.latent_chain.noise_std) == (10, 0.4, 0.05)
    visible = params.visible_chain
    assert (visible.steps, visible.step_size, visible.noise_std, visible.gradient_clip) == (50, 20, 0.05, 0.01)
    assert (visible.clip, visible.anneal) == ("row", "supplement")
    assert (params.buffer.size, params.buffer.replay_ratio) == (10_000, 0.95)
    assert (params.pretraining.epochs, params.epochs) == (100, 50)
    assert (params.learning_rate, params.encoder_l2, params.pretraining.encoder_l2) == (1e-5, 1e-4, 1e-4)
    assert params.pretraining.keep == "best"
    assert params.spherical


def test_paper_values_for_arch32():
    params = resolved("paper", COLOUR)
    assert (params.latent_chain.steps, params.latent_chain.step_size, params.latent_chain.noise_std) == (50, 2.0, 0.02)
    assert (params.visible_chain.steps, params.visible_chain.step_size) == (50, 20)
    assert (params.pretraining.epochs, params.epochs) == (120, 50)
    assert params.pretraining.encoder_l2 == 1e-4, "a preset of one pre-training value must leave the others alone"


def test_the_successors_values():
    mnist, holdout = resolved("nae-mnist", GREY), resolved("nae-holdout", GREY)
    for params in (mnist, holdout):
        assert (params.latent_chain.steps, params.latent_chain.step_size) == (10, 0.2)
        assert (params.visible_chain.steps, params.visible_chain.step_size) == (50, 10)
        assert (params.pretraining.learning_rate, params.learning_rate) == (1e-4, 1e-5)
        assert params.pretraining.keep == "last"
        assert params.latent_dim == 32
        assert params.pretraining.encoder_l2 == params.encoder_l2 == 1e-4
    assert (mnist.pretraining.gradient_clip, holdout.pretraining.gradient_clip) == (0.1, 0)
    assert (mnist.visible_chain.clip, holdout.visible_chain.clip) == ("row", "element")
    cifar10 = resolved("nae-cifar10", COLOUR)
    assert cifar10.architecture == "resnet32"
    assert (cifar10.latent_chain.steps, cifar10.latent_chain.step_size, cifar10.latent_chain.noise_std) == (20, 1, 0.02)
    assert (cifar10.visible_chain.steps, cifar10.visible_chain.step_size, cifar10.visible_chain.noise_std) == (
        40,
        10,
        0.02,
    )
    assert (cifar10.pretraining.epochs, cifar10.epochs, cifar10.encoder_l2) == (180, 10, 0)
    assert cifar10.pretraining.dequantize and cifar10.pretraining.horizontal_flip == 0.5


def test_a_preset_for_another_shape_is_refused():
    with pytest.raises(OODBenchError, match="nae-mnist is for images of 1×28×28, not of 3×32×32"):
        resolved("nae-mnist", COLOUR)
