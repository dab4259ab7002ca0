"""The base of a run: the detector that the run's detector names, with the parameters that it gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oodbench.api import Base, Detector, Params, Run, Shape
from oodbench.api.parameters import flatten
from oodbench.errors import OODBenchError, UnknownName
from oodbench.plan.settings import resolve

if TYPE_CHECKING:
    from oodbench.plugin.registry import Registry


@dataclass(frozen=True)
class Configuration:
    """A detector with its parameters and its base.

    Args:
        preset: the one that the parameters start from.
        settings: dotted name → value, which the user set on top of it.
    """

    detector: type[Detector]
    params: Params
    preset: str
    settings: Mapping[str, Any]
    base: Configuration | None

    @property
    def chain(self) -> list[Configuration]:
        """This configuration, its base, the base of that, and so on."""
        return [self, *(self.base.chain if self.base else [])]

    @property
    def label(self) -> str:
        """Where the parameters came from: ``quick, k=5, classifier.training.epochs=2``."""
        own = [f"{path}={value}" for path, value in self.settings.items()]
        below = [
            f"{each.detector.name}.{path}={value}" for each in self.chain[1:] for path, value in each.settings.items()
        ]
        return ", ".join([self.preset, *own, *below])

    def run(self, in_dataset: str, seed: int, precision: str, registry: Registry) -> Run:
        """Return the run of this configuration, with the run of its base."""
        name = self.detector.name
        base = self.base.run(in_dataset, seed, precision, registry) if self.base else None
        source = registry.source("detector", name)
        return Run(
            name, source.code_version, self.params.canonical(), in_dataset, seed, precision, self.label,
            source.distribution, base,
        )  # fmt: skip


@dataclass(frozen=True)
class Configurator:
    """The parameters given in one request, for detectors and for the bases that they name.

    Args:
        shape: (C, H, W) of the in-data's images.
        settings: detector → dotted name → value, as the user set them.
    """

    preset: str
    shape: Shape
    settings: Mapping[str, Mapping[str, Any]]
    registry: Registry

    def configure(
        self, detector: type[Detector], above: tuple[str, ...] = (), as_base: Base | None = None
    ) -> Configuration:
        """Return the detector with its parameters, and its base with its own parameters.

        Args:
            above: names of the detectors above this one, for which it is the base, from the top.
            as_base: how the one above declares it; its values override the user's.

        Raises OODBenchError where a value is invalid, and where a base is not installed, has itself among its own
        bases, or cannot be fitted to images of this shape.
        """
        preset, fixed = (as_base.preset or self.preset, flatten(as_base.values)) if as_base else (self.preset, {})
        given = {path: value for path, value in self.settings.get(detector.name, {}).items() if path not in fixed}
        params = resolve(detector, preset, self.shape, {**given, **fixed})
        base = detector.base_of(params, self.shape)
        below = self._configure_base(base, (*above, detector.name)) if base else None
        return Configuration(detector, params, preset, given, below)

    def _configure_base(self, base: Base, above: tuple[str, ...]) -> Configuration:
        name, known = above[-1], self.registry.detector_names
        if base.detector in above:
            circle = " → ".join([*above[above.index(base.detector) :], base.detector])
            raise OODBenchError(f"{name} stands on {base.detector}, which stands on it: a circle, {circle}")
        if base.detector not in known:
            error = UnknownName("detector", base.detector, known)
            raise OODBenchError(f"{name} stands on {base.detector}: {error}; is the plugin that offers it installed?")
        try:
            return self.configure(self.registry.detector(base.detector), above, base)
        except OODBenchError as error:
            raise OODBenchError(f"{name} stands on {base.detector}: {error}") from None


def bases_of(run: Run) -> Iterator[Run]:
    """Yield the base of a run, the base of that, and so on, in reverse order: the lowest first."""
    if run.base:
        yield from bases_of(run.base)
        yield run.base
