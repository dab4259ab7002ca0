"""EBAE as a whole: it learns, it repeats itself, it goes on after an interruption, and it says what went wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oodbench_ebae import detector as detector_module
from oodbench_ebae.detector import EBAE, diverged, mean_image_error, note_runaway
from oodbench_ebae.params import EBAEParams

from oodbench import Context, FitError, ImageSet
from oodbench.nn.autoencoder import build_autoencoder
from oodbench.testing import kill_and_resume, same_state

TINY = {
    "latent_dim": 4,
    "width": 0.1,
    "pretraining": {"epochs": 2, "batch_size": 32, "learning_rate": 1e-3},
    "latent_chain": {"steps": 2},
    "visible_chain": {"steps": 3},
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 1e-4,
}
SHAPE = (1, 28, 28)
CHANGED = {"width", "pretraining", "latent_chain", "visible_chain"}


def blobs(n: int, seed: int, split: str) -> ImageSet:
    """A bright square somewhere on black: quick to learn, and nothing like noise."""
    generator = np.random.default_rng(seed)
    images = np.zeros((n, 1, 28, 28), np.uint8)
    for image, (row, column) in zip(images, generator.integers(4, 16, (n, 2)), strict=True):
        image[0, row : row + 8, column : column + 8] = 255
    return ImageSet("blobs", split, images, np.zeros(n, np.int64), np.arange(n))


@pytest.fixture(scope="module")
def sets() -> tuple[ImageSet, ImageSet]:
    return blobs(96, 0, "train"), blobs(32, 1, "validation")


def context(seed: int = 0, **settings) -> Context:
    return Context(torch.device("cpu"), seed=seed, **settings)


def fitted(sets, seed: int = 0, **changes) -> tuple[EBAE, Context]:
    surroundings = context(seed)
    return EBAE(EBAEParams(**TINY | changes), SHAPE).fit(*sets, surroundings), surroundings


def test_same_seed_same_weights_other_seed_other_weights(sets):
    first, again, other = (fitted(sets, seed)[0] for seed in (0, 0, 1))
    assert same_state(first, again)
    assert not same_state(first, other)


def test_fit_leaves_its_images_and_the_global_generators_alone(sets):
    pixels = sets[0].images.copy()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    fitted(sets)
    assert np.array_equal(sets[0].images, pixels)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_history_holds_what_one_would_look_at(sets):
    _, surroundings = fitted(sets)
    assert [(row["phase"], row["epoch"]) for row in surroundings.history] == [
        ("pretraining", 1), ("pretraining", 2), ("ebae", 1), ("ebae", 2),
    ]  # fmt: skip
    row = surroundings.history[-1]
    for name in (
        "loss", "positive_energy", "negative_energy", "energy_chain_start", "energy_after_latent_chain",
        "energy_after_visible_chain", "clip_fraction", "encoder_norm",
    ):  # fmt: skip
        assert np.isfinite(row[name]), name
    assert np.isfinite(surroundings.history[0]["validation_loss"])


def test_state_round_trip_gives_the_same_scores(sets):
    detector, _ = fitted(sets)
    images = torch.rand(7, *SHAPE)
    copied = EBAE(detector.params, SHAPE)
    copied.load_state({name: tensor.clone() for name, tensor in detector.state().items()})
    assert torch.equal(copied.score(images), detector.score(images))


def test_scores_are_the_energy_and_do_not_depend_on_company(sets):
    detector, _ = fitted(sets)
    images = torch.rand(9, *SHAPE)
    together = detector.score(images)
    alone = torch.cat([detector.score(image[None]) for image in images])
    torch.testing.assert_close(together, alone)
    expected = ((images - detector.reconstruct(images)) ** 2).mean(dim=(1, 2, 3))
    torch.testing.assert_close(together, expected)


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet]:
    """Scikit-learn's 8×8 digits, three times as large, in a frame of 2."""
    from sklearn.datasets import load_digits

    small = (load_digits().images * 255 / 16).astype(np.uint8)
    images = np.pad(small.repeat(3, axis=1).repeat(3, axis=2), [(0, 0), (2, 2), (2, 2)])[:, None]
    labels = np.zeros(len(images), np.int64)
    return tuple(
        ImageSet("digits", split, images[part], labels[part], np.arange(len(images))[part])
        for split, part in (("train", slice(0, 1500)), ("validation", slice(1500, None)))
    )


@pytest.fixture(scope="module")
def learnt(digits) -> dict[int, tuple[EBAE, Context]]:
    """Fits that differ in their epochs of EBAE alone: none, and four."""
    changes = {
        "width": 0.2,
        "pretraining": {"epochs": 10, "batch_size": 64, "learning_rate": 2e-3},
        "latent_chain": {"steps": 3},
        "visible_chain": {"steps": 8},
        "learning_rate": 3e-4,
    }
    return {epochs: fitted(digits, **changes, epochs=epochs) for epochs in (0, 4)}


@pytest.mark.slow
def test_noise_scores_higher_than_data(learnt, digits):
    images = next(digits[1].batches(100))
    for detector, _ in learnt.values():
        assert detector.score(torch.rand(100, *SHAPE)).min() > detector.score(images).max()


@pytest.mark.slow
def test_ebae_training_raises_the_energy_of_what_the_autoencoder_makes_up(learnt, digits):
    """What plain pre-training reconstructs though it is no digit, decoded random codes, costs more afterwards."""
    (before, _), (after, surroundings) = learnt[0], learnt[4]
    codes = torch.nn.functional.normalize(torch.randn(200, 4, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        made_up = before.model.decode(codes)
    assert after.score(made_up).mean() > 1.3 * before.score(made_up).mean()
    rows = [row for row in surroundings.history if row["phase"] == "ebae"]
    assert rows[-1]["negative_energy"] > rows[0]["negative_energy"]
    assert rows[-1]["loss"] < rows[0]["loss"]


@pytest.mark.slow
def test_a_fit_that_diverges_at_once_is_an_error_and_no_plain_autoencoder(learnt, digits):
    changes = learnt[0][0].params.model_dump(include=CHANGED) | {"learning_rate": 1.0}
    with pytest.raises(FitError, match="ebae stopped in epoch 1 of 2: .*lower learning_rate.*no weights to go back to"):
        fitted(digits, **changes)


def test_a_fit_that_diverges_later_keeps_the_last_good_weights_and_says_so(sets):
    good, _ = fitted(sets, epochs=1)
    detector, surroundings = EBAE(EBAEParams(**TINY | {"epochs": 3}), SHAPE), context()

    def run_away(phase: str, epoch: int) -> None:
        if phase == "ebae":
            for parameter in detector.model.decoder.parameters():
                torch.nn.init.constant_(parameter, 10.0)

    surroundings.on_epoch_end = run_away
    detector.fit(*sets, surroundings)
    assert "ebae stopped in epoch 2 of 3: the" in surroundings.notes[-1]
    assert same_state(detector, good)


@pytest.mark.parametrize("kill_at", [2, 7, 9, 12])
def test_an_interrupted_fit_ends_with_the_same_weights(sets, kill_at):
    whole, undisturbed = fitted(sets)

    def fit(**settings):
        surroundings = context(**settings)
        return EBAE(EBAEParams(**TINY), SHAPE).fit(*sets, surroundings), surroundings

    resumed, surroundings = kill_and_resume(fit, kill_at)
    assert same_state(whole, resumed)
    assert len(surroundings.history) == len(undisturbed.history)


def test_scores_come_from_the_moving_average_of_the_weights(sets):
    seen = []

    def fit(**settings):
        surroundings = context(**settings)
        params = EBAEParams(**TINY | {"epochs": 3, "batch_size": 1000, "weight_average": 0.75})
        detector = EBAE(params, SHAPE)
        surroundings.on_epoch_end = lambda phase, epoch: seen.append(
            (phase, {name: tensor.clone() for name, tensor in detector.model.state_dict().items()})
            if phase == "ebae"
            else (phase, {})
        )
        return detector.fit(*sets, surroundings)

    averaged = fit()
    first, second, third = (weights for phase, weights in seen if phase == "ebae")  # one update each
    for name, tensor in averaged.state().items():
        expected = 0.75 * (0.75 * first[name] + 0.25 * second[name]) + 0.25 * third[name]
        torch.testing.assert_close(tensor, expected)
    assert same_state(averaged, kill_and_resume(fit, 4))


def dying(times: int):
    """A builder whose first networks are dead: no gradient reaches them, and their output is constant."""
    built = []

    def build(*arguments, **settings):
        model = build_autoencoder(*arguments, **settings)
        if len(built) < times:
            for layer in model.encoder:
                if isinstance(layer, torch.nn.Conv2d):
                    torch.nn.init.constant_(layer.bias, -100.0)
        built.append(model)
        return model

    return build


def test_a_collapsed_pretraining_is_restarted_and_recorded(sets, monkeypatch):
    monkeypatch.setattr(detector_module, "build_autoencoder", dying(1))
    detector, surroundings = fitted(sets)
    assert any("collapsed and was restarted" in note for note in surroundings.notes)
    images = next(sets[1].batches(32))
    assert detector.reconstruct(images).std(dim=0).max() > 0


def test_each_restart_of_pretraining_is_at_half_the_rate(sets, monkeypatch):
    rates = []
    adam = torch.optim.Adam

    def recorded(parameters, lr, **options):
        rates.append(lr)
        return adam(parameters, lr=lr, **options)

    monkeypatch.setattr(torch.optim, "Adam", recorded)
    monkeypatch.setattr(detector_module, "build_autoencoder", dying(2))
    fitted(sets, pretraining={"epochs": 1, "batch_size": 32, "learning_rate": 0.008})
    assert rates[:3] == [0.008, 0.004, 0.002]


def test_pretraining_that_collapses_every_time_is_an_error(sets, monkeypatch):
    monkeypatch.setattr(detector_module, "build_autoencoder", dying(99))
    with pytest.raises(FitError, match="one output for every image, 2 times"):
        fitted(sets, pretraining={"epochs": 1, "batch_size": 32, "restarts": 1})


@pytest.mark.parametrize(
    ("positive", "negative", "loss", "reason"),
    [
        (0.02, 0.03, float("nan"), "no longer finite"),
        (0.02, 0.6, 0.1, "negative energy 0.6 is above max_negative_energy"),
        (0.08, 0.03, 0.1, "above 0.07: data are badly fitted"),
        (0.02, 0.03, 0.1, None),
    ],
)
def test_signs_of_divergence(positive, negative, loss, reason):
    values = {"positive_energy": positive, "negative_energy": negative, "loss": loss}
    found = diverged(values, EBAEParams(), worst=0.07)
    assert found is None if reason is None else reason in found


@pytest.mark.parametrize(("samples", "noted"), [((0.02, 0.01), False), ((0.01, 0.031), True), ((0.031, 0.01), True)])
def test_samples_far_above_the_data_are_noted(samples, noted):
    surroundings = context()
    surroundings.history += [{"phase": "pretraining", "positive_energy": 0.001}]
    surroundings.history += [{"phase": "ebae", "positive_energy": 0.02, "negative_energy": value} for value in samples]
    note_runaway(surroundings)
    assert bool(surroundings.notes) == noted


def test_mean_image_error_is_the_pixel_variance(sets):
    pixels = sets[0].images / 255
    assert mean_image_error(sets[0], torch.device("cpu")) == pytest.approx(pixels.var(axis=0).mean())


def test_bfloat16_stays_close(sets):
    detector, _ = fitted(sets)
    surroundings = context(precision="bfloat16")
    half = EBAE(EBAEParams(**TINY), SHAPE).fit(*sets, surroundings)
    images = next(sets[1].batches(32))
    torch.testing.assert_close(half.score(images).mean(), detector.score(images).mean(), rtol=0.1, atol=0.0)
    assert all(tensor.dtype == torch.float32 for tensor in half.state().values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_gpu_agree(sets):
    detector, _ = fitted(sets)
    images = torch.rand(8, *SHAPE)
    on_gpu = EBAE(detector.params, SHAPE)
    on_gpu.load_state({name: tensor.cuda() for name, tensor in detector.state().items()})
    torch.testing.assert_close(on_gpu.score(images.cuda()).cpu(), detector.score(images), rtol=1e-3, atol=1e-5)
    trained = EBAE(EBAEParams(**TINY), SHAPE).fit(*sets, Context(torch.device("cuda")))
    assert torch.isfinite(trained.score(images.cuda())).all()


def test_colour_images_get_arch32():
    params = EBAEParams(**TINY)
    detector = EBAE(params, (3, 32, 32))
    detector.model = detector.build()
    assert detector.score(torch.rand(2, 3, 32, 32)).shape == (2,)
