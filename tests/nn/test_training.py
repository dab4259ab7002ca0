"""The training loop: resuming gives the same weights, the best ones are kept, trouble stops it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from oodbench.api import Context, ImageSet
from oodbench.errors import FitError
from oodbench.nn import training
from oodbench.nn.training import Phase, train
from oodbench.testing import InMemoryCheckpoints, Killed

N = 50


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (N, 1, 4, 4), dtype=np.uint8)
    return ImageSet("random", "train", pixels, np.zeros(N, np.int64), np.arange(N))


def noisy_phase(name: str, epochs: int, kill_after: int | None = None, **settings) -> Phase:
    """A linear layer learning noisy images: it depends on weights, optimiser, order and noise alike."""
    torch.manual_seed(0)
    model = nn.Linear(16, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    calls = 0

    def train_step(batch: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if kill_after is not None and calls > kill_after:
            raise Killed
        x = batch.flatten(1)
        loss = (model(x + torch.randn(x.shape, generator=generator)) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    return Phase(name, epochs, 8, model, train_step, checkpointed={"optimizer": optimizer}, **settings)


def context(checkpoints=None) -> Context:
    return Context(torch.device("cpu"), seed=3, checkpoints=checkpoints, checkpoint_seconds=0)


def test_history_holds_means_over_the_epoch(images):
    seen = []
    phase = noisy_phase("a", 2)
    plain = phase.train_step

    def train_step(batch, generator):
        values = plain(batch, generator)
        seen.append((len(batch), values["loss"].item()))
        return values

    phase.train_step = train_step
    surroundings = context()
    train(phase, images, surroundings)
    assert [row["epoch"] for row in surroundings.history] == [1, 2]
    first = seen[: len(seen) // 2]
    assert sum(n for n, _ in first) == N
    expected = sum(n * loss for n, loss in first) / N
    assert surroundings.history[0]["loss"] == pytest.approx(expected)


@pytest.mark.parametrize("kill_after", [0, 1, 6, 7, 10, 20])
def test_an_interrupted_fit_ends_with_the_same_weights(images, kill_after):
    whole = noisy_phase("a", 3)
    undisturbed = context()
    train(whole, images, undisturbed)

    checkpoints = InMemoryCheckpoints()
    with pytest.raises(Killed):
        train(noisy_phase("a", 3, kill_after), images, context(checkpoints))
    again = noisy_phase("a", 3)
    resumed = context(checkpoints)
    train(again, images, resumed)
    for before, after in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(before, after)
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in c.history] for c in (undisturbed, resumed)]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("killed_at", range(1, 6))
def test_a_fit_that_was_out_of_patience_when_it_was_killed_stays_stopped(images, killed_at):
    def phase() -> Phase:
        made = noisy_phase("a", 9, keep="best", patience=2)
        made.batch_size = N
        losses = [3.0, 2.0, 2.5, 2.5, 1.0, 1.0, 1.0, 1.0, 1.0]
        made.validate = lambda: {"validation_loss": losses[loop_epoch()]}
        return made

    def loop_epoch() -> int:
        return len(surroundings.history)

    surroundings = context(InMemoryCheckpoints())
    whole = phase()
    expected = train(whole, images, surroundings)
    assert expected["epochs"] == 4
    checkpoints = InMemoryCheckpoints(killed_at)
    surroundings = context(checkpoints)
    with pytest.raises(Killed):
        train(phase(), images, surroundings)
    again, surroundings = phase(), context(checkpoints)
    assert train(again, images, surroundings) == expected
    assert torch.equal(again.model.weight, whole.model.weight)


def test_a_finished_phase_is_not_run_again(images):
    checkpoints = InMemoryCheckpoints()
    first = noisy_phase("a", 1)
    train(first, images, context(checkpoints))
    again = noisy_phase("a", 1, kill_after=0)
    train(again, images, context(checkpoints))
    assert torch.equal(first.model.weight, again.model.weight)


def test_a_killed_second_phase_skips_the_first(images):
    checkpoints = InMemoryCheckpoints()
    train(noisy_phase("a", 1), images, context(checkpoints))
    with pytest.raises(Killed):
        train(noisy_phase("b", 2, kill_after=3), images, context(checkpoints))
    surroundings = context(checkpoints)
    train(noisy_phase("a", 1, kill_after=0), images, surroundings)
    train(noisy_phase("b", 2), images, surroundings)
    assert [(row["phase"], row["epoch"]) for row in surroundings.history] == [("a", 1), ("b", 1), ("b", 2)]


@pytest.mark.parametrize("killed", [False, True])
def test_a_note_between_two_phases_stays(images, killed):
    checkpoints = InMemoryCheckpoints()

    def fit(kill_after: int | None) -> Context:
        surroundings = Context(torch.device("cpu"), checkpoints=checkpoints, checkpoint_seconds=0)
        train(noisy_phase("a", 1), images, surroundings)
        if "begun again" not in surroundings.notes:
            surroundings.note("begun again")
        train(noisy_phase("b", 2, kill_after), images, surroundings)
        return surroundings

    if killed:
        with pytest.raises(Killed):
            fit(kill_after=3)
    assert fit(kill_after=None).notes == ["begun again"]


def test_other_seed_other_weights(images):
    phases = noisy_phase("a", 1), noisy_phase("a", 1)
    for seed, phase in enumerate(phases):
        train(phase, images, Context(torch.device("cpu"), seed=seed))
    assert not torch.equal(phases[0].model.weight, phases[1].model.weight)


def weights_per_epoch(phase: Phase, surroundings: Context) -> list[torch.Tensor]:
    kept: list[torch.Tensor] = []
    surroundings.on_epoch_end = lambda name, epoch: kept.append(phase.model.weight.detach().clone())
    return kept


@pytest.mark.parametrize(("keep", "epoch"), [("best", 2), ("last", 4)])
def test_weights_that_are_kept(images, keep, epoch):
    losses = iter([3.0, 1.0, 2.0, 4.0])
    phase = noisy_phase("a", 4, keep=keep, validate=lambda: {"validation_loss": next(losses)})
    surroundings = context()
    kept = weights_per_epoch(phase, surroundings)
    outcome = train(phase, images, surroundings)
    assert outcome["best_epoch"] == 2
    assert torch.equal(phase.model.weight, kept[epoch - 1])


def test_patience_counts_all_epochs_without_a_better_loss(images):
    losses = iter([5.0, 6.0, 4.0, 6.0, 3.0, 2.0])
    phase = noisy_phase("a", 6, keep="best", patience=2, validate=lambda: {"validation_loss": next(losses)})
    outcome = train(phase, images, context())
    assert outcome["epochs"] == 4
    assert not outcome["trouble"]


def test_trouble_puts_the_last_good_weights_back_and_is_recorded(images):
    epochs = iter([None, None, "it ran away"])
    phase = noisy_phase("a", 5, check_divergence=lambda values: next(epochs))
    surroundings = Context(torch.device("cpu"))
    kept = weights_per_epoch(phase, surroundings)
    outcome = train(phase, images, surroundings)
    assert outcome["trouble"]
    assert torch.equal(phase.model.weight, kept[1])
    assert surroundings.notes == ["a stopped in epoch 3 of 5: it ran away"]


def test_divergence_in_the_first_epoch_is_an_error_also_when_resumed(images):
    checkpoints = InMemoryCheckpoints()
    for kill_after in (None, 0):  # the second time it must not train again
        phase = noisy_phase("a", 5, kill_after, check_divergence=lambda values: "it ran away; lower the rate")
        with pytest.raises(FitError, match="^a stopped in epoch 1 of 5: it ran away; lower the rate; no epoch of it"):
            train(phase, images, context(checkpoints))


@pytest.mark.parametrize("seconds", [0, 1000])
def test_whether_a_phase_has_diverged_does_not_depend_on_when_it_is_saved(images, seconds, monkeypatch):
    """A mean that is too high for a while, and not at the end of the epoch, is seen at the same step or not at all."""
    results = []
    for between in (3, 1000):
        monkeypatch.setattr(training, "STEPS_BETWEEN_CHECKS", between)
        first = iter([2.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0, *[1.0] * 14])
        phase = noisy_phase("a", 3, check_divergence=lambda values: "too high" if values["noise"] > 4 else None)
        plain = phase.train_step
        phase.train_step = lambda *given, step=plain, drawn=first: {**step(*given), "noise": torch.tensor(next(drawn))}
        surroundings = Context(torch.device("cpu"), 3, checkpoints=InMemoryCheckpoints(), checkpoint_seconds=seconds)
        try:
            results.append(train(phase, images, surroundings)["epochs"])
        except FitError:
            results.append(0)
    assert results == [0, 3]


def test_divergence_in_the_midst_of_the_first_epoch_is_an_error(images, monkeypatch):
    monkeypatch.setattr(training, "STEPS_BETWEEN_CHECKS", 1)
    seen = []

    def check(values):
        seen.append(values)
        return "it ran away" if len(seen) == 3 else None

    with pytest.raises(FitError, match="a stopped in epoch 1 of 5: it ran away"):
        train(noisy_phase("a", 5, check_divergence=check), images, context(InMemoryCheckpoints()))


def test_divergence_in_the_first_epoch_is_left_to_who_begins_again(images):
    phase = noisy_phase("a", 5, check_divergence=lambda values: "it ran away", restartable=True)
    before = phase.model.weight.detach().clone()
    outcome = train(phase, images, context())
    assert outcome["trouble"] and outcome["epochs"] == 0
    assert torch.equal(phase.model.weight, before)


def test_two_phases_with_two_models_both_resume(images):
    """The first phase is finished when the second is killed: its model must not come back with random weights."""

    def fit(checkpoints, kill_after=None) -> list[dict[str, torch.Tensor]]:
        surroundings = context(checkpoints)
        surroundings.checkpoint_seconds = 0
        phases = [noisy_phase("first", 2), noisy_phase("second", 2, kill_after)]
        for phase in phases:
            train(phase, images, surroundings)
        return [phase.model.state_dict() for phase in phases]

    whole = fit(None)
    checkpoints = InMemoryCheckpoints()
    with pytest.raises(Killed):
        fit(checkpoints, kill_after=9)
    for one, other in zip(fit(checkpoints), whole, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize(
    "damage", [lambda state: {"device": "cpu"}, lambda state: state | {"model": {"w": torch.ones(1)}}]
)
def test_a_checkpoint_that_does_not_fit_is_left_aside_with_a_note(images, damage):
    whole = noisy_phase("first", 2)
    train(whole, images, context(None))
    checkpoints = InMemoryCheckpoints()
    surroundings = context(checkpoints)
    surroundings.checkpoint_seconds = 0
    with pytest.raises(Killed):
        train(noisy_phase("first", 2, kill_after=9), images, surroundings)
    checkpoints.save(damage(checkpoints.load()))
    again, surroundings = noisy_phase("first", 2), context(checkpoints)
    train(again, images, surroundings)
    assert "began again: its checkpoint does not fit" in surroundings.notes[0]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)


def test_the_model_trains_in_training_mode_and_is_left_in_evaluation_mode(images):
    phase, modes = noisy_phase("first", 1), []
    plain = phase.train_step

    def train_step(batch, generator):
        modes.append(phase.model.training)
        return plain(batch, generator)

    phase.train_step = train_step
    phase.model.eval()
    train(phase, images, context(None))
    assert set(modes) == {True}
    assert not phase.model.training


def test_keeping_the_best_without_a_validation_loss_is_refused(images):
    with pytest.raises(FitError, match="keep='best' needs a validation_loss"):
        train(noisy_phase("first", 1, keep="best"), images, context(None))
