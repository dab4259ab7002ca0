"""A training loop for detectors: it saves checkpoints, resumes from them, reports progress and keeps a history.

A fit has one or more phases, which run one after the other. Every ``checkpoint_seconds`` the loop saves everything that
the rest of the phase depends on: a fit that is killed and started again ends with the same weights as an uninterrupted
one, bit for bit on the same device.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import nn

from oodbench.api import Context, ImageSet
from oodbench.errors import FitError

SECONDS_BETWEEN_REPORTS = 0.5
STEPS_BETWEEN_CHECKS = 100
"""Whether a phase has diverged is asked after so many steps of an epoch, not when the clock says so: the weights that a
fit ends with depend on neither speed nor interruptions."""
Values = Mapping[str, float]
Weights = dict[str, torch.Tensor]


class Stateful(Protocol):
    """Anything whose state a checkpoint must hold, such as an optimizer or a replay buffer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


@dataclass
class Phase:
    """One phase of training: what to do with each batch, and when to stop.

    Args:
        name: of the phase in the history and the record; it also selects the phase's random numbers.
        train_step: makes one optimizer step on float32 images (b, C, H, W), with a generator for its noise. It returns
            scalar tensors on the device, so that nothing waits for the device; the history has their means per epoch.
        supervised: call ``train_step(images, labels, generator)`` instead, with labels int64 (b,) on the device: those
            of the image set given to ``train`` (see ``ImageSet.with_class_indices``).
        checkpointed: objects that a checkpoint holds besides the model, such as optimizer, scheduler, buffer.
        validate: called after each epoch; ``keep="best"`` and ``patience`` use the ``validation_loss`` it returns.
        keep: which weights the phase ends with: those of the ``best`` validation loss, or the ``last``.
        patience: stop after this number of epochs in total without a better validation loss; 0 for never.
        check_divergence: called with the means so far in this epoch after each STEPS_BETWEEN_CHECKS steps, and at the
            epoch's end also with what ``validate`` returned. It returns a reason to stop, or None. A phase that stops
            ends with the weights kept so far.
        display_name: shown in progress instead of ``name``; empty for ``name``.
        restartable: divergence in the first epoch is not an error, as the caller then starts another phase.
    """

    name: str
    epochs: int
    batch_size: int
    model: nn.Module
    train_step: Callable[..., Mapping[str, torch.Tensor]]
    checkpointed: Mapping[str, Stateful] = field(default_factory=dict)
    validate: Callable[[], Values] = dict
    keep: Literal["best", "last"] = "last"
    patience: int = 0
    check_divergence: Callable[[Values], str | None] = lambda values: None
    restartable: bool = False
    display_name: str = ""
    supervised: bool = False


def steps_per_epoch(images: ImageSet, batch_size: int) -> int:
    """Return the number of batches per epoch, including a smaller last one."""
    return math.ceil(len(images) / batch_size)


def train(phase: Phase, images: ImageSet, context: Context) -> dict[str, Any]:
    """Run the phase, or the rest of it after an interruption.

    Returns its result: ``epochs``, ``best_epoch``, ``stopped`` (why it stopped early, else empty) and ``trouble``
    (whether it diverged). The model ends in evaluation mode.

    Raises FitError if ``keep="best"`` and ``validate`` returns no ``validation_loss``.
    Raises it too if the phase diverged before its first epoch was complete, unless it is ``restartable``: the weights
    that it started with, random or of another phase, are not what was requested.
    """
    loop = _Loop(phase, context)
    if not loop.restore():
        while loop.epoch < phase.epochs and not loop.stopped:
            loop.run_epoch(images)
        loop.finish()
    outcome = context.phase_results[phase.name]
    if outcome["trouble"] and not outcome["epochs"] and not phase.restartable:
        raise FitError(f"{outcome['stopped']}; no epoch of it was whole: it has no weights to go back to")
    return outcome


def weights_of(model: nn.Module) -> Weights:
    """Return a copy of the model's weights and buffers, which later training steps do not change."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


class _Loop:
    """The state of one running phase, all of which is in ``state_dict``."""

    def __init__(self, phase: Phase, context: Context):
        self.phase, self.context = phase, context
        self.generator = context.generator(phase.name)
        self.epoch = self.step = self.epochs_without_improvement = 0
        self.best, self.best_epoch, self.stopped, self.diverged = math.inf, 0, "", False
        self.kept = weights_of(phase.model)
        self.totals: dict[str, torch.Tensor] = {}
        self.seen, self.seconds = 0, 0.0
        self.saved_at = self.reported_at = time.monotonic()

    def run_epoch(self, images: ImageSet) -> None:
        phase, context = self.phase, self.context
        order = context.generator(phase.name, "order", self.epoch, device="cpu")
        steps = steps_per_epoch(images, phase.batch_size)
        started = time.monotonic() - self.seconds
        done = self.step  # steps of this epoch before an interruption
        phase.model.train()
        skip = done * phase.batch_size
        batches = images.batches(phase.batch_size, context.device, order, skip, labels=True)
        for step, (batch, labels) in enumerate(batches, done):
            given = (batch, labels) if phase.supervised else (batch,)
            self._add(phase.train_step(*given, self.generator), len(batch))
            self.step, self.seconds = step + 1, time.monotonic() - started
            self._report(steps)
            if self.step < steps and self.step % STEPS_BETWEEN_CHECKS == 0 and self._has_diverged(self._means()):
                return
            if self.step < steps and self._time_to_save():
                if not all(map(math.isfinite, (means := self._means()).values())) and self._has_diverged(means):
                    return  # as the next check would: means that are not finite stay so
                self._save()
        means = self._means()  # waits for the GPU, so that its time counts for this epoch
        self.seconds = time.monotonic() - started
        self._end_epoch({**means, **self.phase.validate()})

    def _add(self, values: Mapping[str, torch.Tensor], n: int) -> None:
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, 0) + value.detach().double() * n
        self.seen += n

    def _means(self) -> dict[str, float]:
        return {name: total.item() / self.seen for name, total in self.totals.items()}

    def _report(self, steps: int) -> None:
        if time.monotonic() - self.reported_at > SECONDS_BETWEEN_REPORTS:
            self.reported_at = time.monotonic()
            share = (self.epoch + self.step / steps) / self.phase.epochs
            epoch = f"{self.epoch + 1}/{self.phase.epochs}"
            self.context.progress.advance(self.phase.display_name or self.phase.name, share, epoch, self._means())

    def _has_diverged(self, values: Values) -> bool:
        reason = self.phase.check_divergence(values)
        self.diverged = reason is not None
        if self.diverged:
            self.stopped = f"{self.phase.name} stopped in epoch {self.epoch + 1} of {self.phase.epochs}: {reason}"
        return self.diverged

    def _end_epoch(self, row: Values) -> None:
        self.context.history.append({"phase": self.phase.name, "epoch": self.epoch + 1, **row, "seconds": self.seconds})
        if self._has_diverged(row):
            return
        if self.phase.keep == "best" and "validation_loss" not in row:
            raise FitError(f"{self.phase.name}: keep='best' needs a validation_loss, which validate does not give")
        if row.get("validation_loss", math.inf) < self.best:
            self.best, self.best_epoch = row["validation_loss"], self.epoch + 1
        else:
            self.epochs_without_improvement += 1
        if self.phase.keep == "last" or self.best_epoch == self.epoch + 1:
            self.kept = weights_of(self.phase.model)
        self.epoch, self.step, self.totals, self.seen, self.seconds = self.epoch + 1, 0, {}, 0, 0.0
        if self.context.on_epoch_end:
            self.context.on_epoch_end(self.phase.name, self.epoch)
        if self.phase.patience and self.epochs_without_improvement >= self.phase.patience:
            without = f"{self.epochs_without_improvement} without a better loss"
            self.stopped = f"{self.phase.name} stopped after epoch {self.epoch}: {without}"
        if self._time_to_save():
            self._save()

    def finish(self) -> None:
        phase, context = self.phase, self.context
        phase.model.load_state_dict(self.kept)
        phase.model.eval()
        context.finished_models[phase.name] = phase.model
        context.phase_results[phase.name] = {
            "epochs": self.epoch,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            "trouble": self.diverged,
        }
        if self.stopped:
            context.note(self.stopped)
        context.progress.advance(phase.display_name or phase.name, 1.0, f"{self.epoch}/{phase.epochs}", {})
        self._save()

    # -------------------------------------------------------------------------- interruption

    def _time_to_save(self) -> bool:
        return time.monotonic() - self.saved_at > self.context.checkpoint_seconds

    def _save(self) -> None:
        if self.context.checkpoints:
            self.context.checkpoints.save(self.state_dict())
        self.saved_at = time.monotonic()

    def restore(self) -> bool:
        """Restore the last checkpoint of this phase, if there is one. Return whether the phase was finished."""
        state = self.context.checkpoints.load() if self.context.checkpoints else None
        if state is None or state.get("device") != self.context.device.type:  # random streams differ between devices
            return False
        fresh = copy.deepcopy(self.state_dict())
        try:
            return self._resume(state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            self._resume(fresh)
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self.context.note(f"began again: its checkpoint does not fit ({reason})")
            return False

    def _resume(self, state: dict[str, Any]) -> bool:
        context, name = self.context, self.phase.name
        if state["phase"] == name:
            self.load_state_dict(state)
        elif name in state.get("finished", {}):  # its model is not part of the later phase
            self.phase.model.load_state_dict(state["finished"][name])
        context.history[:] = state["history"]
        context.notes[:] = dict.fromkeys([*state["notes"], *context.notes])  # also notes made between two phases
        context.phase_results.update(state["outcomes"])
        if name not in context.phase_results:
            return False
        self.phase.model.eval()
        context.finished_models[name] = self.phase.model
        return True

    def state_dict(self) -> dict[str, Any]:
        context, phase = self.context, self.phase
        return {
            "device": context.device.type,
            "phase": phase.name,
            "outcomes": context.phase_results,
            "history": context.history,
            "notes": context.notes,
            "counts": [self.epoch, self.step, self.epochs_without_improvement, self.best_epoch, self.seen],
            "best": self.best,
            "seconds": self.seconds,
            "stopped": self.stopped,
            "totals": self.totals,
            "kept": self.kept,
            "generator": self.generator.get_state(),
            "model": phase.model.state_dict(),
            "parts": {name: part.state_dict() for name, part in phase.checkpointed.items()},
            "finished": {
                name: weights_of(model) for name, model in context.finished_models.items() if model is not phase.model
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.step, self.epochs_without_improvement, self.best_epoch, self.seen = state["counts"]
        self.best, self.seconds, self.stopped = state["best"], state["seconds"], state.get("stopped", "")
        self.totals = {name: total.to(self.context.device) for name, total in state["totals"].items()}
        self.kept = state["kept"]
        self.generator.set_state(state["generator"].cpu())
        self.phase.model.load_state_dict(state["model"])
        for name, part in self.phase.checkpointed.items():
            part.load_state_dict(state["parts"][name])
