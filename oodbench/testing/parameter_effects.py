"""Search for the effect of a parameter: other valid values, and the outcome of a short fit with them."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from oodbench.api.parameters import fields_by_path, get_path
from oodbench.errors import OODBenchError
from oodbench.testing.case import SHORT_BUDGET, SHORT_IMAGES, DetectorCase, digest

MOST_PAIRS = 40
RATE = 0.02
"""A float below this is assumed to be a rate or a weight, and is also tried a thousand times as large. A larger one may
be a size, which that would make too expensive."""


class Search:
    """Short fits with other values of parameters, each combination fitted once.

    Args:
        case: the detector, shape and parameters to start from.
    """

    def __init__(self, case: DetectorCase):
        self.case = case
        self.base = case.params(SHORT_BUDGET)
        self.infos = fields_by_path(case.detector.Params)
        self.seen: dict[str, str] = {}
        self.valid: dict[str, list[Any]] = {}

    def others(self, name: str) -> list[Any]:
        """Return other values that the detector accepts, the nearest first and the most extreme last."""
        if name not in self.valid:
            value = get_path(self.base, name)
            guesses = self.case.alternatives.get(name) or other_values(value, self.infos[name].annotation)
            self.valid[name] = [other for other in guesses if self._is_valid(name, other)]
        return self.valid[name]

    def matters(self, name: str) -> bool:
        """Whether another value changes the fit, alone or together with another value of one other parameter."""
        if any(self._differ({}, {name: other}) for other in self.others(name)):
            return True
        return any(
            self._differ({with_: value}, {with_: value, name: other})
            for with_, value in self._company(name)[:MOST_PAIRS]
            for other in self.others(name)[:2]
        )

    def _company(self, name: str) -> list[tuple[str, Any]]:
        """Return the two most extreme values of each other parameter, those of its own group first."""
        group = name.rpartition(".")[0]
        names = [other for other in self.infos if other != name]
        extremes = [(other, value) for far in (1, 2) for other in names for value in self.others(other)[-far:][:1]]
        return sorted(extremes, key=lambda extreme: extreme[0].rpartition(".")[0] != group)

    def _is_valid(self, name: str, value: Any) -> bool:
        try:
            changed = self.case.params(SHORT_BUDGET, {name: value})
        except OODBenchError:
            return False
        return changed.canonical() != self.base.canonical()

    def _differ(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        return self._outcome(one) != self._outcome(other)

    def _outcome(self, values: dict[str, Any]) -> str:
        """Return a hash of a short fit with these values, or the error it raises, which is an effect too.

        Without values the fit must succeed: else every outcome is the same error, whatever the parameter.
        """
        key = repr(sorted(values.items()))
        if key not in self.seen:
            try:
                self.seen[key] = digest(self.case.fit(self.case.params(SHORT_BUDGET, values), SHORT_IMAGES))
            except Exception as error:
                self.seen[key] = f"{type(error).__name__}: {error}"
        return self.seen[key]


def other_values(value: Any, annotation: Any) -> list[Any]:
    """Return guesses at other values of the same type, which may be invalid."""
    if get_origin(annotation) is Literal:
        return [other for other in get_args(annotation) if other != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return _without(value, [value + 1, value - 1, 2 * value, value // 2, 1, 0])
    if isinstance(value, float):
        near = [2 * value, value / 2, 0.5, 1.0, 0.0] if value else [0.5, 1.0, -1.0]
        far = [1e-3 * (value or 1.0), 1e3 * (value or 1.0)]
        return _without(value, near + (far if abs(value) < RATE else far[:1]))
    if isinstance(value, list | tuple) and value:
        longer, shorter = [*value, value[-1]], list(value[:-1])
        changed = [[*value[:-1], last] for last in other_values(value[-1], type(value[-1]))]
        return [longer, shorter, *changed]
    if value is None:
        return [1, 0.5, True, *(get_args(option)[0] for option in get_args(annotation) if get_args(option))]
    return []


def _without(value: float, others: list[Any]) -> list[Any]:
    """Return the others without the value itself, each once, at its last position."""
    return [other for other in reversed(dict.fromkeys(reversed(others))) if other != value]
