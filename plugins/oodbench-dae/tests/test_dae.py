"""DAE: noise in training, none in scoring."""

from __future__ import annotations

import pytest
import torch
from oodbench_dae.detector import DAE, DAEParams

from oodbench import OODBenchError, resolve

SHAPE = (1, 28, 28)


class Seen(torch.nn.Module):
    """Stands for an autoencoder that gives back what it gets, and keeps it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.input = x
        return x


def test_the_input_is_noisy_not_clamped_and_the_target_clean():
    detector, model, images = DAE(DAEParams(), SHAPE), Seen(), torch.rand(200, *SHAPE)
    clean = images.clone()
    terms = detector.loss(model, images, torch.Generator().manual_seed(0))
    noise = model.input - clean
    assert torch.equal(images, clean)
    assert noise.mean().item() == pytest.approx(0, abs=0.005) and noise.std().item() == pytest.approx(0.3, abs=0.005)
    assert model.input.min() < -0.5 and model.input.max() > 1.5
    # an identity leaves the noise: its mean squared error to the clean image is σ²
    assert terms["loss"].item() == pytest.approx(0.09, abs=0.002)


def test_noise_is_fresh_each_update_and_follows_its_generator():
    detector, model, images = DAE(DAEParams(), SHAPE), Seen(), torch.rand(2, *SHAPE)
    seen = []
    for seed in (0, 0, 1):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(2):
            detector.loss(model, images, generator)
            seen.append(model.input)
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[4])


def test_the_score_is_the_mean_squared_error_on_the_clean_image():
    detector = DAE(DAEParams(latent_dim=4, width=0.1), SHAPE)
    detector.load_state(detector.build().state_dict())
    images = torch.rand(5, *SHAPE)
    expected = ((images - detector.reconstruct(images)) ** 2).mean(dim=(1, 2, 3))
    torch.testing.assert_close(detector.score(images), expected)


def test_without_noise_it_trains_on_the_energy():
    detector = DAE(DAEParams(latent_dim=4, width=0.1, noise_std=0.0), SHAPE)
    model, images = detector.build(), torch.rand(5, *SHAPE)
    torch.testing.assert_close(detector.loss(model, images, torch.Generator())["loss"], model.energy(images).mean())


def test_presets():
    assert resolve(DAE, "paper", SHAPE, {}).noise_std == 0.3
    assert resolve(DAE, "paper", SHAPE, {}).training.epochs == 100
    assert resolve(DAE, "paper", (3, 32, 32), {}).training.epochs == 120
    assert resolve(DAE, "quick", SHAPE, {}).width < 1
    with pytest.raises(OODBenchError, match="noise_std must be greater than or equal to 0"):
        resolve(DAE, "paper", SHAPE, {"noise_std": -0.1})
    with pytest.raises(OODBenchError, match="1×28×28 or 3×32×32, not of 1×8×8"):
        resolve(DAE, "paper", (1, 8, 8), {})
