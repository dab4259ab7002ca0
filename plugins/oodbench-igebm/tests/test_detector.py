"""IGEBM as a whole: it learns, it goes on after an interruption, and it says what went wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oodbench_igebm.detector import IGEBM
from oodbench_igebm.params import IGEBMParams

from oodbench import Context, FitError, ImageSet, resolve
from oodbench.testing import kill_and_resume, same_state

SHAPE = (1, 28, 28)
TINY = {
    "width": 0.04,
    "chain": {"steps": 2},
    "buffer": {"size": 40},
    "epochs": 2,
    "batch_size": 16,
    "learning_rate": 1e-3,
}


def part(images: np.ndarray, split: str) -> ImageSet:
    return ImageSet("digits", split, images, np.zeros(len(images), np.int64), np.arange(len(images)))


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """Scikit-learn's 8×8 digits, three times as large, in a frame of 2."""
    from sklearn.datasets import load_digits

    small = (load_digits().images * 255 / 16).astype(np.uint8)
    return np.pad(small.repeat(3, axis=1).repeat(3, axis=2), [(0, 0), (2, 2), (2, 2)])[:, None]


@pytest.fixture(scope="module")
def sets(digits) -> tuple[ImageSet, ImageSet]:
    return part(digits[:40], "train"), part(digits[1500:1516], "validation")


def context(seed: int = 0, **settings) -> Context:
    return Context(torch.device("cpu"), seed=seed, **settings)


def fitted(sets, seed: int = 0, **changes) -> tuple[IGEBM, Context]:
    surroundings = context(seed)
    return IGEBM(IGEBMParams(**TINY | changes), SHAPE).fit(*sets, surroundings), surroundings


def test_same_seed_same_weights_other_seed_other_weights(sets):
    first, again, other = (fitted(sets, seed)[0] for seed in (0, 0, 1))
    assert same_state(first, again)
    assert not same_state(first, other)


def test_the_score_is_the_energy_and_the_state_gives_it_back(sets):
    detector, surroundings = fitted(sets)
    images = torch.rand(5, *SHAPE)
    copied = IGEBM(detector.params, SHAPE)
    copied.load_state({name: tensor.clone() for name, tensor in detector.state().items()})
    scores = detector.score(images)
    assert torch.equal(copied.score(images), scores)
    assert torch.equal(detector.score(images), scores), "scoring must change nothing"
    torch.testing.assert_close(torch.cat([detector.score(image[None]) for image in images]), scores)
    energy = detector.score(next(sets[1].batches(100))).mean().item()
    assert surroundings.history[-1]["validation_energy"] == pytest.approx(energy, rel=1e-4)


def test_trained_separates_noise_from_data_and_untrained_does_not(digits):
    sets = part(digits[:600], "train"), part(digits[1500:1600], "validation")
    settings = TINY | {"width": 0.07, "chain": {"steps": 5}, "buffer": {"size": 500}, "batch_size": 32}
    trained, surroundings = fitted(sets, **settings)
    untrained = IGEBM(trained.params, SHAPE)
    with context().global_seed("weights"):
        untrained.model = untrained.build().eval()
    data, noise = next(sets[1].batches(100)), torch.rand(100, *SHAPE)

    def auroc(detector: IGEBM) -> float:
        return (detector.score(noise)[:, None] > detector.score(data)).double().mean().item()

    assert auroc(trained) > 0.95
    assert auroc(trained) > auroc(untrained)
    rows = surroundings.history
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["positive_energy"] < rows[-1]["negative_energy"]


def test_a_fit_that_diverges_at_once_is_an_error(sets):
    with pytest.raises(FitError, match="igebm stopped in epoch 1 of 2: energies .* no weights to go back to"):
        fitted(sets, max_energy=1e-6)


def test_a_fit_that_diverges_later_keeps_the_last_good_weights_and_says_so(sets):
    good, _ = fitted(sets, epochs=1)
    detector, surroundings = IGEBM(IGEBMParams(**TINY | {"epochs": 3}), SHAPE), context()

    def run_away(phase: str, epoch: int) -> None:
        torch.nn.init.constant_(detector.model.head.bias, 1e6)

    surroundings.on_epoch_end = run_away
    detector.fit(*sets, surroundings)
    assert "igebm stopped in epoch 2 of 3: energies" in surroundings.notes[-1]
    assert same_state(detector, good)


@pytest.mark.parametrize("kill_at", [1, 3, 5])
def test_an_interrupted_fit_ends_with_the_same_weights(sets, kill_at):
    whole, _ = fitted(sets)
    detector = IGEBM(IGEBMParams(**TINY), SHAPE)
    resumed = kill_and_resume(lambda **settings: detector.fit(*sets, context(**settings)), kill_at)
    assert same_state(whole, resumed)


def test_bfloat16_stays_close_and_leaves_weights_in_float32(sets):
    detector, _ = fitted(sets)
    half = IGEBM(IGEBMParams(**TINY), SHAPE).fit(*sets, context(precision="bfloat16"))
    images = next(sets[1].batches(16))
    torch.testing.assert_close(half.score(images).mean(), detector.score(images).mean(), rtol=0.2, atol=0.1)
    assert all(tensor.dtype == torch.float32 for tensor in half.state().values())


def test_presets_and_colour():
    params = resolve(IGEBM, "paper", (3, 32, 32), {})
    chain = params.chain
    assert (chain.steps, chain.step_size, chain.noise_std, chain.gradient_clip) == (60, 10, 0.005, 0.01)
    assert (params.buffer.size, params.buffer.replay_ratio) == (10_000, 0.95)
    assert (params.learning_rate, params.beta1, params.alpha, params.spectral_norm) == (1e-4, 0, 1, True)
    colour = part(np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), np.uint8), "train")
    detector = IGEBM(IGEBMParams(**TINY | {"epochs": 1}), (3, 32, 32)).fit(colour, colour, context())
    assert detector.score(torch.rand(2, 3, 32, 32)).shape == (2,)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_gpu_agree_and_an_update_waits_for_nothing(sets):
    detector, _ = fitted(sets)
    images = torch.rand(8, *SHAPE)
    on_gpu = IGEBM(detector.params, SHAPE)
    on_gpu.load_state({name: tensor.cuda() for name, tensor in detector.state().items()})
    torch.testing.assert_close(on_gpu.score(images.cuda()).cpu(), detector.score(images), rtol=1e-3, atol=1e-4)
    surroundings = Context(torch.device("cuda"))
    train_step = on_gpu.phase(sets[1], surroundings).train_step
    train_step(images.cuda(), surroundings.generator("warm up"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        train_step(images.cuda(), surroundings.generator("watched"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
