"""DAGMM: its features and loss, the mixture it keeps, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oodbench_dagmm.detector import DAGMM, DAGMMParams
from oodbench_dagmm.mixture import energy, estimate
from sklearn.mixture import GaussianMixture

from oodbench import Context, FitError, ImageSet, OODBenchError, resolve
from oodbench.testing.images import easy_images, odd_images, tensor

SHAPE = (1, 28, 28)
TRAINING = {"epochs": 6, "batch_size": 32, "learning_rate": 1e-3, "gradient_clip": 5.0}
TINY = {"latent_dim": 3, "width": 0.2, "training": TRAINING}
SHORT_BUDGET = TINY | {"training": {**TRAINING, "epochs": 2}}


@pytest.fixture(scope="module")
def fitted() -> tuple[DAGMM, Context]:
    context = Context(torch.device("cpu"))
    sets = easy_images(SHAPE, "train"), easy_images(SHAPE, "validation")
    return DAGMM(DAGMMParams(**TINY), SHAPE).fit(*sets, context), context


def test_features_are_code_relative_distance_and_cosine():
    model, images = DAGMM(DAGMMParams(**TINY), SHAPE).build(), torch.rand(4, *SHAPE)
    output, features = model.features(images)
    codes = model.encoder(images)
    for x, made, code, found in zip(images, output, codes, features, strict=True):
        x, made = x.detach().numpy().ravel(), made.detach().numpy().ravel()
        relative = np.linalg.norm(x - made) / np.linalg.norm(x)
        cosine = x @ made / (np.linalg.norm(x) * np.linalg.norm(made))
        np.testing.assert_allclose(found.detach(), [*code.detach(), relative, cosine], rtol=1e-5)


def test_the_loss_is_error_energy_and_penalty_of_the_batch():
    detector = DAGMM(DAGMMParams(**TINY, energy_weight=0.2, covariance_weight=0.01), SHAPE)
    model, images = detector.build(), torch.rand(30, *SHAPE)
    model.eval()  # no dropout
    terms = detector.loss(model, images, torch.Generator().manual_seed(0))
    output, features = model.features(images)
    mixture = estimate(features, model.log_memberships(features), 1e-6)
    penalty = sum(1 / mixture.covariances[k, d, d] for k in range(4) for d in range(5))
    expected = (images - output).square().mean() + 0.2 * energy(mixture, features).mean() + 0.01 * penalty
    torch.testing.assert_close(terms["loss"], expected)


def test_dropout_follows_the_generator_and_is_for_training_alone():
    model, features = DAGMM(DAGMMParams(**TINY), SHAPE).build(), torch.randn(50, 5)

    def given(seed: int) -> torch.Tensor:
        return model.log_memberships(features, torch.Generator().manual_seed(seed))

    assert torch.equal(given(0), given(0)) and not torch.equal(given(0), given(1))
    torch.testing.assert_close(given(0).exp().sum(dim=1), torch.ones(50))
    model.eval()
    assert torch.equal(given(0), given(1)) and torch.equal(given(0), model.log_memberships(features))


def test_energies_stay_finite_in_training(fitted):
    _, context = fitted
    values = [value for row in context.history for name, value in row.items() if name != "phase"]
    assert all(math.isfinite(value) for value in values)
    assert context.history[-1]["validation_loss"] < context.history[0]["validation_loss"]


def test_the_mixture_is_that_of_the_whole_training_set(fitted):
    """And the score is the energy of scikit-learn's mixture with its parameters."""
    detector, _ = fitted
    with torch.no_grad():
        features = detector.model.features(tensor(easy_images(SHAPE, "train")))[1]
        gamma = detector.model.log_memberships(features).exp().double()
    kept = detector.model.mixture
    torch.testing.assert_close(kept.log_weights.exp(), gamma.mean(dim=0), rtol=1e-5, atol=1e-9)
    model = GaussianMixture(4)
    model.weights_, model.means_ = kept.log_weights.exp().numpy(), kept.means.numpy()
    model.precisions_cholesky_ = np.stack([np.linalg.inv(np.linalg.cholesky(c)).T for c in kept.covariances.numpy()])
    images = tensor(easy_images(SHAPE, "held out", 20))
    with torch.no_grad():
        expected = -model.score_samples(detector.model.features(images)[1].double().numpy())
    np.testing.assert_allclose(detector.score(images), expected, rtol=1e-5, atol=1e-4)


def test_noise_is_dear_and_odd_images_have_finite_scores(fitted):
    detector, _ = fitted
    data = detector.score(tensor(easy_images(SHAPE, "held out")))
    assert detector.score(torch.rand(50, *SHAPE)).median() > data.quantile(0.95)
    assert detector.score(odd_images(SHAPE)).isfinite().all()


def test_a_last_batch_too_small_for_a_covariance_trains_on_the_error_alone():
    sets = easy_images(SHAPE, "train", 33), easy_images(SHAPE, "validation", 20)
    context = Context(torch.device("cpu"))
    detector = DAGMM(DAGMMParams(**SHORT_BUDGET), SHAPE).fit(*sets, context)
    terms = detector.loss(detector.model, torch.rand(5, *SHAPE), torch.Generator())
    assert torch.equal(terms["loss"], terms["positive_energy"])
    assert math.isfinite(context.history[-1]["loss"])


def test_too_few_images_for_a_covariance_are_refused():
    images = easy_images(SHAPE, "train", 4)
    with pytest.raises(FitError, match=r"dagmm: the covariance of component .* is singular: .* lower latent_dim"):
        DAGMM(DAGMMParams(**SHORT_BUDGET), SHAPE).fit(
            images, easy_images(SHAPE, "validation"), Context(torch.device("cpu"))
        )


def test_images_that_are_all_the_same_are_refused():
    one = easy_images(SHAPE, "train", 1).images.repeat(40, axis=0)
    same = ImageSet("same", "train", one, np.zeros(40, np.int64), np.arange(40))
    validation = easy_images(SHAPE, "validation")
    with pytest.raises(FitError, match="is singular"):
        DAGMM(DAGMMParams(**SHORT_BUDGET), SHAPE).fit(same, validation, Context(torch.device("cpu")))


def test_presets():
    paper = resolve(DAGMM, "paper", SHAPE, {})
    assert (paper.components, paper.energy_weight, paper.covariance_weight) == (4, 0.1, 0.005)
    for shape in (SHAPE, (3, 32, 32)):
        training = resolve(DAGMM, "paper", shape, {}).training
        assert (training.epochs, training.batch_size, training.gradient_clip) == (200, 1024, 5.0)
    assert resolve(DAGMM, "quick", SHAPE, {}).training.gradient_clip == 5.0
    with pytest.raises(OODBenchError, match="dropout must be less than 1"):
        resolve(DAGMM, "quick", SHAPE, {"dropout": 1.0})
