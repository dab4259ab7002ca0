"""Checks of what a detector declares: its presets, its shapes and its parameters."""

from __future__ import annotations

from contextlib import suppress

import pydantic

from oodbench.api import Params, Shape, shape_text
from oodbench.api.parameters import fields_by_path, is_group
from oodbench.errors import OODBenchError
from oodbench.testing.case import MINIMAL_BUDGET, SHORT_BUDGET, SHORT_IMAGES, DetectorCase
from oodbench.testing.parameter_effects import Search
from oodbench.testing.results import Skip

SHAPES: tuple[Shape, ...] = ((1, 28, 28), (3, 32, 32))
FEW = 4


def builds_from_every_preset(case: DetectorCase) -> None:
    """Check that each preset builds, by fitting its full network for a minimal budget to a few images."""
    presets = case.detector.presets
    for name in ("paper", "quick"):
        assert name in presets, f"there is no preset {name!r}: every detector has paper and quick, which may be empty"
    with suppress(OODBenchError):  # a detector may refuse to learn from so few images
        _ = case.short_fit  # raises where every preset fails: that is no fault of one
    for preset in presets:
        try:
            params = case.params(MINIMAL_BUDGET, preset=preset)
        except OODBenchError as error:
            if preset not in ("paper", "quick") and "×" in str(error):
                continue  # a preset for another shape
            raise AssertionError(f"preset {preset} is refused for {shape_text(case.shape)}: {error}") from None
        try:
            case.fit(params, FEW)
        except OODBenchError:
            continue  # a detector may refuse to learn from so few images
        except Exception as error:
            raise AssertionError(
                f"preset {preset}, fitted to {FEW} images: {type(error).__name__}: {error}; a detector that needs more "
                "images raises OODBenchError, which says how many"
            ) from error


def takes_grey_and_colour_or_refuses(case: DetectorCase) -> None:
    """Check that grey and colour images either get one score each, or are refused with the shapes it takes."""
    _ = case.short_fit  # raises where its own shape fails: that is no fault of another shape
    for shape in SHAPES:
        if shape == case.shape:
            continue
        try:
            detector = case.detector(case.params(SHORT_BUDGET, shape=shape), shape)
            fit = case.fit(detector.params, SHORT_IMAGES, detector=detector)
        except OODBenchError as error:
            if "×" not in str(error):
                raise AssertionError(
                    f"images of {shape_text(shape)} are refused without naming valid shapes: {error}; declare `shapes`"
                ) from None
        except Exception as error:
            raise AssertionError(
                f"images of {shape_text(shape)} give {type(error).__name__}: {error}; declare in `shapes` what it takes"
            ) from error
        else:
            assert len(fit.scores) == 12, f"images of {shape_text(shape)} do not get one score each"


def parameters_round_trip(case: DetectorCase) -> None:
    """Check that parameters survive JSON, that unknown ones are refused in every group, and that all have a meaning."""
    params = case.params()
    assert isinstance(params, Params), "Params must derive from oodbench.Params, which refuses unknown names"
    again = case.detector.Params.model_validate_json(params.canonical())
    assert again == params and again.canonical() == params.canonical(), (
        f"parameters change on their way through JSON: {params.canonical()} → {again.canonical()}; use plain numbers, "
        "strings, booleans and lists"
    )
    for group, model in _groups(case.detector.Params).items():
        try:
            model.model_validate({"no_such_parameter": 1})
        except pydantic.ValidationError as error:
            refused = any(fault["type"] == "extra_forbidden" for fault in error.errors())
        else:
            refused = False
        assert refused, f"an unknown parameter of {group} is not refused: derive {model.__name__} from oodbench.Params"
    mute = [name for name, info in fields_by_path(case.detector.Params).items() if not info.description]
    assert not mute, f"no meaning is given for {', '.join(mute)}: declare each with param(default, meaning)"


def _groups(model: type[pydantic.BaseModel], prefix: str = "") -> dict[str, type[pydantic.BaseModel]]:
    """Return the model and its groups, by dotted name."""
    groups = {prefix or "the detector": model}
    for name, info in model.model_fields.items():
        if is_group(info.annotation):
            groups |= _groups(info.annotation, f"{prefix}.{name}" if prefix else name)
    return groups


def every_parameter_takes_effect(case: DetectorCase) -> None:
    """Check that another valid value of each parameter changes the state, scores, history or notes, or makes fit fail.

    Each parameter is changed alone; if that has no effect, together with one other parameter, as some matter only then
    (such as how to clip, if something is clipped). A detector may exempt parameters that matter only in rare cases,
    each with the case: ``conditional_parameters: ClassVar = {"restarts": "when training collapses"}``.
    """
    rare = case.detector.conditional_parameters
    names = fields_by_path(case.detector.Params)
    unknown = sorted(set(rare) - set(names))
    assert not unknown, f"conditional_parameters names {', '.join(unknown)}, which are no parameters"
    _ = case.short_fit  # raises where a plain fit fails, which would hide every effect
    search = Search(case)
    wanted = [name for name in names if name not in rare]
    idle = [name for name in wanted if search.others(name) and not search.matters(name)]
    assert not idle, (
        f"changing {', '.join(idle)} changes neither the state, the scores nor the history, alone or together with "
        "another parameter: use it, remove it, or name it in conditional_parameters with the case in which it matters"
    )
    if unvaried := [name for name in wanted if not search.others(name)]:
        raise Skip(f"no other valid value is known for {', '.join(unvaried)}: name some in the case's alternatives")
