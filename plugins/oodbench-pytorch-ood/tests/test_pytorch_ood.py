"""Scores are pytorch-ood's own, on the same model and images; what was learned survives saving."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("pytorch_ood")

import pytorch_ood.detector
from oodbench_pytorch_ood.detectors import CLASSES, detector_classes
from oodbench_pytorch_ood.post_hoc import PytorchOODDetector
from torch.utils.data import DataLoader, TensorDataset

from oodbench import Context, FitError, FittedBase, ImageSet, resolve
from oodbench.plugin.registry import load_registry
from oodbench.testing import easy_images, same_state
from oodbench.testing.images import held_out, noise, tensor

SHAPE = (1, 28, 28)
CPU = torch.device("cpu")
NAMES = [name for names in CLASSES.values() for name in names]
DETECTORS = {detector.name: detector for detector in detector_classes()}
MAPS = [name for name, detector in DETECTORS.items() if "layer" in detector.Params.model_fields]
SETTINGS = {"po-vim": {"d": 4}, "po-openmax": {"tailsize": 10}}
CASES = [
    *(pytest.param(name, {}, id=name) for name in NAMES),
    *(pytest.param(name, {"layer": "maps"}, id=f"{name}-maps") for name in MAPS),
    *(pytest.param(name, {"weights": "all"}, id=f"{name}-all") for name in ("po-gradnorm", "po-graduncertainty")),
    pytest.param("po-ash", {"variant": "ash-b"}, id="po-ash-b"),
    pytest.param("po-mcd", {"mode": "mean"}, id="po-mcd-mean"),
    pytest.param("po-openmax", {"euclid_weight": 0.5, "tailsize": 10}, id="po-openmax-cosine"),
]


def digits(images: int | None = None) -> ImageSet:
    return easy_images(SHAPE, "train", images).select_classes([0, 1, 2, 3, 4])


TRAIN = digits()


def classifier(settings: dict[str, Any], train: ImageSet) -> FittedBase:
    kind, context = load_registry().detector("classifier"), Context(CPU)
    fitted = kind(resolve(kind, "quick", SHAPE, settings), SHAPE).fit(train, train, context)
    return FittedBase(lambda: fitted, context)


@pytest.fixture(scope="module")
def base() -> FittedBase:
    return classifier({"width": 0.1, "training.epochs": 4}, TRAIN)


@pytest.fixture(scope="module")
def wide() -> FittedBase:
    """A network that has dropout."""
    return classifier({"architecture": "wrn-40-2", "training.epochs": 1}, digits(100))


def new(name: str, base: FittedBase, values: dict[str, Any] | None = None) -> PytorchOODDetector:
    kind = DETECTORS[name]
    detector = kind(resolve(kind, "quick", SHAPE, {**SETTINGS.get(name, {}), **(values or {})}), SHAPE)
    detector.fitted_base = base
    return detector


def fit(name: str, base: FittedBase, values: dict[str, Any] | None = None) -> PytorchOODDetector:
    return new(name, base, values).fit(TRAIN, TRAIN, Context(CPU))


def feature_maps(network, images: torch.Tensor) -> torch.Tensor:
    for stage in network.stages():
        images = stage(images)
    return images


def own(detector: PytorchOODDetector, network):
    """pytorch-ood's detector, made and fitted as its documentation says: with the model and a loader."""
    values = detector.params.model_dump()
    layer, weights = values.pop("layer", ""), values.pop("weights", "")
    values.pop("dropout", None)
    powers = values.pop("powers", 0)
    stages = network.stages()
    whole = torch.nn.Sequential(*stages, network.head()).eval()
    kind, filters = detector.inner_class, {"GradNorm": "fc.weight", "GradUncertainty": "fc."}
    parts = {
        "model": stages if kind is pytorch_ood.detector.MultiMahalanobis else whole, "encoder": network.features,
        "head": network.fc, "w": network.fc.weight, "b": network.fc.bias, "layers": stages,
        "feature_layers": stages, "num_classes": 5, "num_poles_list": [*range(1, powers + 1)],
    }  # fmt: skip
    if issubclass(kind, pytorch_ood.api.FeatureMapsDetector):
        if layer == "pooled":
            parts["backbone"] = lambda images: network.features(images)[:, :, None, None]
            parts["head"] = lambda maps: network.fc(maps[:, :, 0, 0])
        else:
            parts |= {"backbone": lambda images: feature_maps(network, images), "head": network.head()}
    if kind is pytorch_ood.detector.Gram:
        parts["head"] = network.head()
    if weights:
        parts["model"] = network
        parts["param_filter"] = (lambda name: filters[kind.__name__] in name) if weights == "last" else None
    arguments = inspect.signature(kind.__init__).parameters
    made = kind(**{name: part for name, part in parts.items() if name in arguments}, **values)
    labels = torch.from_numpy(np.searchsorted(np.unique(TRAIN.labels), TRAIN.labels))
    if made.requires_fit:
        made.to("cpu")
        images = tensor(TRAIN)
        if kind is pytorch_ood.detector.OpenMax:
            with torch.no_grad():
                is_right = whole(images).argmax(1) == labels
            images, labels = images[is_right], labels[is_right]
        loader = DataLoader(TensorDataset(images, labels), batch_size=50, generator=torch.Generator())
        with Context(CPU).global_seed("statistics"):  # Gram's division of the training images
            made.fit(loader)
    return made


@pytest.mark.parametrize(("name", "values"), [case for case in CASES if "mcd" not in case.id])
def test_scores_are_those_of_pytorch_ood(name, values, base):
    detector = fit(name, base, values)
    images = torch.cat([held_out(SHAPE, 40), noise(SHAPE, 20)])
    expected = own(detector, base.detector.model).predict(images).detach()
    torch.testing.assert_close(detector.score(images).double(), expected.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["po-kl-matching", "po-temperature"])
def test_what_a_paper_fits_to_held_out_images_is_fitted_to_the_validation_split(name, base):
    of_three = easy_images(SHAPE, "validation").select_classes([1, 2, 4])  # of which some classes may be missing
    detector, other = new(name, base), new(name, base)
    detector.fit(TRAIN, of_three, Context(CPU))
    logits = base.outputs_of(of_three)["logits"]
    other.inner = other.inner_class(None)
    other.inner.fit_logits(logits, torch.from_numpy(of_three.labels))
    images = held_out(SHAPE, 40)
    torch.testing.assert_close(detector.score(images), other.score(images))
    assert not torch.equal(detector.score(images), fit(name, base).score(images))
    none = ImageSet("none", "validation", TRAIN.images[:0], TRAIN.labels[:0], TRAIN.indices[:0])
    without = new(name, base).fit(TRAIN, none, Context(CPU))
    torch.testing.assert_close(without.score(images), fit(name, base).score(images))


def part(images: ImageSet, begin: int) -> ImageSet:
    return ImageSet("part", "train", images.images[begin:], images.labels[begin:], images.indices[begin:])


def test_openmax_learns_from_images_that_the_classifier_gets_right(base):
    wrong = TRAIN.labels.copy()
    wrong[:3] = (wrong[:3] + 1) % 5
    mislabelled = replace(TRAIN, labels=wrong)
    found = new("po-openmax", base).fit(mislabelled, TRAIN, Context(CPU))
    expected = new("po-openmax", base).fit(part(TRAIN, 3), TRAIN, Context(CPU))
    images = held_out(SHAPE, 40)
    torch.testing.assert_close(found.score(images), expected.score(images), rtol=1e-4, atol=1e-6)
    never = replace(TRAIN, labels=np.where(TRAIN.labels == 3, 2, np.where(TRAIN.labels == 2, 3, TRAIN.labels)))
    with pytest.raises(FitError, match="gets no image of class 2 right"):
        new("po-openmax", base).fit(never, TRAIN, Context(CPU))


def test_gen_sums_the_most_probable_classes_alone(base):
    images = held_out(SHAPE, 40)
    assert not torch.equal(fit("po-gen", base, {"M": 2}).score(images), fit("po-gen", base).score(images))


@pytest.mark.parametrize("mode", ["var", "mean"])
def test_scores_of_dropout_are_those_of_pytorch_ood_for_one_image(wide, mode):
    """As one draw is one mask for all images, and not one for each."""
    detector, images = fit("po-mcd", wide, {"mode": mode, "samples": 4}), held_out(SHAPE, 3)
    theirs = pytorch_ood.detector.MCD(wide.detector.model, samples=4, mode=mode)
    expected = []
    for image in images:
        with wide.context.global_seed("dropout"):
            expected.append(theirs.predict(image[None]))
    torch.testing.assert_close(detector.score(images), torch.cat(expected))
    assert len(torch.cat(expected).unique()) == 3


def test_a_network_without_dropout_gets_one_before_its_last_layer(base):
    detector, images = fit("po-mcd", base, {"samples": 5}), held_out(SHAPE, 3)
    network = base.detector.model
    with torch.no_grad(), base.context.global_seed("dropout"):
        masks = torch.nn.functional.dropout(torch.ones(5, network.fc.in_features), 0.5)
        draws = torch.stack([network.fc(network.features(images) * mask).softmax(1) for mask in masks])
    torch.testing.assert_close(detector.score(images), draws.var(0).mean(1))


def test_openmax_scores_an_image_as_in_a_batch_that_has_every_class(base):
    detector, images = fit("po-openmax", base), held_out(SHAPE, 40)
    assert len(base.outputs(images)["logits"].argmax(1).unique()) == 5
    one_by_one = torch.cat([detector.score(image[None]) for image in images])
    torch.testing.assert_close(one_by_one, detector.score(images), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "values"), CASES)
def test_what_was_learned_survives_saving_and_the_network_is_left_alone(name, values, base, tmp_path):
    from safetensors.torch import load_file, save_file

    network = base.detector.model
    network.zero_grad()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    detector, images = fit(name, base, values), held_out(SHAPE, 10)
    file = tmp_path / "state.safetensors"
    save_file({key: value.contiguous() for key, value in detector.state().items()}, file)
    again = new(name, base, values)
    again.load_state(load_file(file))
    torch.testing.assert_close(again.score(images), detector.score(images), rtol=1e-6, atol=0)
    assert same_state(again, detector)
    assert all(torch.equal(network.state_dict()[key], tensor) for key, tensor in before.items())
    assert all(weight.grad is None for weight in network.parameters())
    assert not any(module.training or module._forward_hooks for module in network.modules())


def test_every_detector_of_pytorch_ood_is_here_but_two():
    theirs = {name for name in pytorch_ood.detector.__all__ if name[:1].isupper() or name == "fDBD"}
    ours = {inner for names in CLASSES.values() for inner in names.values()}
    assert theirs - ours == {"MCM", "WeightedEBO"}, "one needs a text encoder, one weights that are trained"


def test_too_few_images_are_one_line(base):
    few = digits(20).select_classes([0, 1])
    with pytest.raises(FitError, match=f"po-gram cannot be fitted to {len(few)} images: No ID samples for class 2"):
        new("po-gram", base).fit(few, few, Context(CPU))
