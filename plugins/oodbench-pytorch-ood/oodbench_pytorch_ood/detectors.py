"""One class for each detector of pytorch-ood that uses a classifier, made from its signature by one rule per kind."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, Literal

import pydantic
import pytorch_ood.detector

from oodbench import Detector, Params, param
from oodbench_pytorch_ood.on_images import OnImages
from oodbench_pytorch_ood.post_hoc import (
    FROM_BASE,
    OnDropout,
    OnFeatureMaps,
    OnLogitsOfEveryClass,
    OnOutputs,
    OnWeightGradients,
    PytorchOODDetector,
)

CLASSES: dict[type[PytorchOODDetector], dict[str, str]] = {
    OnOutputs: {
        "po-msp": "MaxSoftmax", "po-max-logit": "MaxLogit", "po-energy": "EnergyBased", "po-entropy": "Entropy",
        "po-gen": "GEN", "po-kl-matching": "KLMatching", "po-temperature": "TemperatureScaling",
        "po-mahalanobis": "Mahalanobis", "po-rmd": "RMD", "po-knn": "KNN", "po-vim": "ViM", "po-she": "SHE",
        "po-nnguide": "NNGuide", "po-nci": "NCI", "po-gmm": "GMM", "po-pnml": "PNML", "po-dice": "DICE",
        "po-lts": "LTS", "po-fdbd": "fDBD",
    },
    OnLogitsOfEveryClass: {"po-openmax": "OpenMax"},
    OnFeatureMaps: {
        "po-ash": "ASH", "po-react": "ReAct", "po-scale": "SCALE", "po-vra": "VRA", "po-rankfeat": "RankFeat",
    },
    OnWeightGradients: {"po-gradnorm": "GradNorm", "po-graduncertainty": "GradUncertainty"},
    OnDropout: {"po-mcd": "MCD"},
    OnImages: {
        "po-gram": "Gram", "po-multi-mahalanobis": "MultiMahalanobis", "po-odin": "ODIN",
        "po-mahalanobis-odin": "MahalanobisODIN", "po-nac-ue": "NACUE",
    },
}  # fmt: skip
"""What they are given → name here → class there."""
CHOSEN: dict[str, dict[str, Any]] = {"po-dice": {"p": 0.9}, "po-vim": {"d": 64}}
"""Values of arguments that have no default there."""
QUICK: dict[str, dict[str, Any]] = {"po-knn": {"k": 5}, "po-vim": {"d": 32}}
BOUNDS: dict[str, dict[str, Any]] = {
    "k": {"ge": 1}, "d": {"ge": 1}, "t": {"gt": 0}, "p": {"gt": 0, "lt": 1}, "gamma": {"gt": 0, "lt": 1},
    "reg": {"gt": 0}, "eps": {"gt": 0}, "temperature": {"gt": 0}, "percentile": {"ge": 0, "lt": 1},
    "lower_percentile": {"ge": 0, "le": 0.5}, "upper_percentile": {"ge": 0.5, "le": 1}, "tailsize": {"ge": 2},
    "euclid_weight": {"ge": 0, "le": 1}, "samples": {"ge": 2}, "m_bins": {"ge": 2}, "o_star": {"ge": 1},
}  # fmt: skip
OWN_BOUNDS: dict[tuple[str, str], dict[str, Any]] = {
    ("po-openmax", "alpha"): {"ge": 1}, ("po-nac-ue", "alpha"): {"gt": 0},
}  # fmt: skip
"""Bounds of arguments whose name means other things elsewhere."""
CHOICES: dict[str, Any] = {"variant": Literal["ash-s", "ash-p", "ash-b"], "mode": Literal["var", "mean"]}
LAYER = {
    "layer": (
        Literal["pooled", "maps"],
        param("pooled", "what is changed: features after pooling, or the feature maps before", source="OpenOOD 1.5"),
    )
}
WEIGHTS = {
    "weights": (
        Literal["last", "all"],
        param("last", "gradients of the last layer's weights, or of all", source="OpenOOD 1.5"),
    )
}
DROPOUT = {
    "dropout": (
        float,
        param(0.5, "share of features dropped where the network has no dropout", gt=0, lt=1, source="OpenOOD 1.5"),
    )
}
GEN_CLASSES = {
    "M": (
        int,
        param(100, "number of the most probable classes that are summed", ge=1, source="GEN paper, 100 for ImageNet"),
    )
}
GRAM_POWERS = {"powers": (int, param(10, "orders of the Gram matrices: 1 to this", ge=1, source="Gram paper: 1 to 10"))}
OURS: dict[str, dict[str, Any]] = {
    "po-gen": GEN_CLASSES, "po-gram": GRAM_POWERS,
    "po-ash": LAYER, "po-react": LAYER, "po-scale": LAYER, "po-vra": LAYER, "po-gradnorm": WEIGHTS,
    "po-graduncertainty": WEIGHTS, "po-mcd": DROPOUT,
}  # fmt: skip
"""Parameters that are not plain arguments there: what of the classifier it is given, or what None stands for."""
ON_VALIDATION = ("po-kl-matching", "po-temperature")
"""Those whose papers fit them to held-out images: what was learnt is too well known."""
NO_PARAMETERS = ("micro_batch_size", "batch_norm")
"""Arguments with one right value: a size that changes no score, and statistics of the batch."""
PLAIN = (int, float, bool)
NOISE = "confidence on noise is arbitrary (Hein et al., CVPR 2019): it depends on the classifier, not on the score"


def __getattr__(name: str) -> Any:
    """Return a detector class by name, made if need be: other processes look it up to unpickle its objects."""
    if any(name in names.values() for names in CLASSES.values()):
        return {made.__name__: made for made in detector_classes()}[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def detector_classes() -> list[type[Detector]]:
    """Return one class for each of CLASSES, the same objects each time."""
    return [
        _detector_class(name, kind, getattr(pytorch_ood.detector, inner))
        for kind, names in CLASSES.items()
        for name, inner in names.items()
    ]


def _detector_class(name: str, kind: type[PytorchOODDetector], inner: Any) -> type[Detector]:
    paper = inner.info.paper
    fields = {**_fields(name, inner), **OURS.get(name, {})}
    params = pydantic.create_model(f"{inner.__name__}Params", __base__=Params, __module__=__name__, **fields)
    return type(inner.__name__, (kind,), {
        "__doc__": f"pytorch-ood's {inner.__name__} on a classifier.",
        "__module__": __name__,
        "name": name,
        "summary": f"pytorch-ood's {inner.__name__} on a classifier",
        "paper": f"{paper.title} ({paper.venue} {paper.year}), {paper.url}" if paper else "",
        "Params": params,
        "presets": {"paper": {}, "quick": QUICK.get(name, {})},
        "known_findings": {"noise_scores_higher_than_data": NOISE},
        "inner_class": inner,
        "takes_validation": name in ON_VALIDATION,
    })  # fmt: skip


def _fields(name: str, inner: Any) -> dict[str, Any]:
    """Return a parameter field for each plain argument of the constructor."""
    fields: dict[str, Any] = {}
    for argument, given in inspect.signature(inner.__init__).parameters.items():
        default = CHOSEN.get(name, {}).get(argument, given.default)
        if argument in FROM_BASE or argument in NO_PARAMETERS:
            continue
        if isinstance(default, PLAIN) or argument in CHOICES:
            meaning = f"{argument} of pytorch-ood's {inner.__name__}"
            bounds = OWN_BOUNDS.get((name, argument), BOUNDS.get(argument, {}))
            annotation = CHOICES.get(argument, type(default))
            source = "ours" if argument in CHOSEN.get(name, {}) else "pytorch-ood's default"
            fields[argument] = (annotation, param(default, meaning, source=source, **bounds))
    return fields
