"""VAE: what training lowers, and two scores from one model that depend on the image alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oodbench_vae.detector import VAE, VAELikelihood, VAEParams
from oodbench_vae.likelihood import importance_weighted_nll

from oodbench import Context, FittedBase, ImageSet, OODBenchError, resolve
from oodbench.testing.images import easy_images, tensor

SHAPE = (1, 28, 28)
TINY = {"latent_dim": 4, "width": 0.2, "samples": 5}
TRAINING = {"epochs": 12, "batch_size": 16, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def fitted() -> tuple[VAE, Context]:
    context = Context(torch.device("cpu"))
    sets = easy_images(SHAPE, "train"), easy_images(SHAPE, "validation")
    return VAE(VAEParams(**TINY, training=TRAINING), SHAPE).fit(*sets, context), context


def likelihood_of(detector: VAE) -> VAELikelihood:
    other = VAELikelihood(detector.params, SHAPE)
    other.fitted_base = FittedBase(lambda: detector, Context(torch.device("cpu")))
    return other


def copy_of(detector: VAE, **changes: torch.Tensor) -> VAE:
    other = VAE(detector.params, SHAPE)
    other.load_state({**detector.state(), **changes})
    return other


def test_the_encoder_gives_mean_and_log_std_and_the_decoder_takes_a_code():
    for shape in (SHAPE, (3, 32, 32)):
        model = VAE(VAEParams(**TINY), shape).build()
        images = torch.rand(3, *shape)
        assert model.encoder(images).shape == (3, 8)
        mean, log_std = model.posterior(images)
        assert torch.equal(torch.cat([mean, log_std], dim=1), model.encoder(images))
        torch.testing.assert_close(model(images), model.decode(mean))


def test_the_loss_is_summed_over_pixels_and_latents_and_averaged_over_images():
    detector, images = VAE(VAEParams(**TINY), SHAPE), torch.rand(6, *SHAPE)
    model = detector.build()
    terms = detector.loss(model, images, torch.Generator().manual_seed(2))
    mean, log_std = model.encoder(images).chunk(2, dim=1)
    z = mean + log_std.exp() * torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    nll = 0.5 * ((images - model.decoder(z)) ** 2).sum() / 6 + 392 * math.log(2 * math.pi)
    kl = 0.5 * (mean**2 + log_std.exp() ** 2 - 1 - 2 * log_std).sum() / 6
    torch.testing.assert_close(terms["loss"], nll + kl)


def test_training_lowers_the_bound_and_leaves_noise_dear(fitted):
    detector, context = fitted
    losses = [row["validation_loss"] for row in context.history]
    assert losses[-1] < losses[0] - 3
    data, noise = tensor(easy_images(SHAPE, "held out")), torch.rand(50, *SHAPE)
    for scorer in (detector, likelihood_of(detector)):
        assert scorer.score(noise).min() > scorer.score(data).max()


def test_scores_are_those_of_the_image_alone(fitted):
    detector, _ = fitted
    images = tensor(easy_images(SHAPE, "held out", 7))
    for scorer in (detector, likelihood_of(detector)):
        whole = scorer.score(images)
        torch.manual_seed(99)  # torch's global random numbers play no part
        alone = torch.cat([scorer.score(image[None]) for image in images])
        torch.testing.assert_close(whole, alone, rtol=1e-6, atol=0)
        torch.testing.assert_close(scorer.score(images.flip(0)).flip(0), whole, rtol=1e-6, atol=0)


def test_the_likelihood_stands_on_the_vae_with_its_own_parameters(fitted):
    detector, _ = fitted
    base = VAELikelihood.base_of(detector.params, SHAPE)
    assert base.detector == "vae"
    assert VAEParams(**base.values) == detector.params
    images = tensor(easy_images(SHAPE, "held out", 7))
    with torch.no_grad():
        expected = importance_weighted_nll(detector.model.posterior, detector.model.decode, images, detector.noise)
    torch.testing.assert_close(likelihood_of(detector).score(images), expected)
    assert torch.equal(likelihood_of(detector).reconstruct(images), detector.reconstruct(images))


def test_the_likelihood_is_bounded_by_the_elbo_of_the_same_samples(fitted):
    """Jensen: -log mean w is at most -mean log w, for whatever samples."""
    detector, _ = fitted
    images = tensor(easy_images(SHAPE, "held out", 20))
    total = torch.zeros(20)
    with torch.no_grad():
        for epsilon in detector.noise:
            total += likelihood_of(copy_of(detector, noise=epsilon[None])).score(images)
    assert (likelihood_of(detector).score(images) <= total / len(detector.noise) + 1e-3).all()


def test_an_encoder_gone_wild_still_gives_finite_scores(fitted):
    detector, _ = fitted
    state = {name: tensor.clone() for name, tensor in detector.state().items()}
    last = max(name for name in state if name.startswith("encoder") and name.endswith("bias"))
    state[last][4:] = 1000.0  # log σ, whose exponential no float32 holds
    wild = copy_of(detector, **state)
    for scorer in (wild, likelihood_of(wild)):
        assert scorer.score(torch.rand(3, *SHAPE)).isfinite().all()


def test_a_collapsed_posterior_is_no_failure_but_noted():
    """On images that hardly vary a code is not worth its divergence; a plain autoencoder would be begun again."""
    grey = np.random.default_rng(0).integers(126, 130, (40, *SHAPE), dtype=np.uint8)
    images = ImageSet("grey", "train", grey, np.zeros(40, np.int64), np.arange(40))
    context = Context(torch.device("cpu"))
    VAE(VAEParams(**TINY, training={**TRAINING, "epochs": 6}), SHAPE).fit(images, images, context)
    assert context.notes == ["vae: the posterior collapsed to the prior, one output for every image"]
    assert list(context.phase_results) == ["training"]


def test_presets():
    assert resolve(VAE, "paper", SHAPE, {}).samples == 100
    assert resolve(VAELikelihood, "paper", (3, 32, 32), {}).training.epochs == 120
    assert resolve(VAELikelihood, "quick", SHAPE, {}).samples > 1
    with pytest.raises(OODBenchError, match="samples must be greater than or equal to 1"):
        resolve(VAE, "quick", SHAPE, {"samples": 0})
