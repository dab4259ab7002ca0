"""The classifier: it tells classes apart, gives what others stand on, and scores by the confidence that it lacks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oodbench_classifier import wide_resnet
from oodbench_classifier.detector import Classifier, channel_statistics, lacking_confidence
from oodbench_classifier.networks import ARCHITECTURES, build, whiten
from oodbench_classifier.training import augment
from oodbench_classifier.wide_resnet import SeededDropout

from oodbench import Context, FitError, ImageSet, resolve
from oodbench.testing import easy_images, kill_and_resume, same_state
from oodbench.testing.images import tensor

SHAPE = (1, 28, 28)
TINY = {"width": 0.1, "training.epochs": 6, "training.batch_size": 16}


def with_labels(images: ImageSet, labels: np.ndarray) -> ImageSet:
    return ImageSet(images.name, images.split, images.images, labels, images.indices)


def digits(split: str) -> ImageSet:
    """Some digits alone, with their own labels: contiguous they are not."""
    return easy_images(SHAPE, split).select_classes([0, 2, 4])


def fit(**interruption) -> Classifier:
    params = resolve(Classifier, "quick", SHAPE, TINY)
    context = Context(torch.device("cpu"), **interruption)
    return Classifier(params, SHAPE).fit(digits("train"), digits("validation"), context)


@pytest.fixture(scope="module")
def fitted() -> Classifier:
    return fit()


def test_it_tells_the_classes_apart_whatever_their_labels(fitted):
    assert fitted.classes.tolist() == [0, 2, 4]
    facts = fitted.facts(digits("held out"), Context(torch.device("cpu")))
    assert facts["accuracy"] > 0.9
    test = digits("held out")
    predicted = fitted.classes[fitted.outputs(tensor(test))["logits"].argmax(1)]
    assert facts["accuracy"] == pytest.approx((predicted.numpy() == test.labels).mean())


def test_labels_that_say_nothing_teach_nothing():
    train = digits("train")
    shuffled = with_labels(train, np.random.default_rng(0).permutation(train.labels))
    detector = Classifier(resolve(Classifier, "quick", SHAPE, TINY), SHAPE)
    detector.fit(shuffled, digits("validation"), Context(torch.device("cpu")))
    assert detector.facts(digits("held out"), Context(torch.device("cpu")))["accuracy"] < 0.6


def test_the_score_is_one_less_the_highest_probability(fitted):
    images = tensor(digits("held out"))
    outputs = fitted.outputs(images)
    probabilities = outputs["logits"].double().softmax(dim=1)
    torch.testing.assert_close(fitted.score(images), 1 - probabilities.amax(1), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(outputs["score"], fitted.score(images))
    torch.testing.assert_close(fitted.model.fc(outputs["features"]), outputs["logits"])


def test_confident_scores_are_still_told_apart():
    logits = torch.tensor([[50.0, 0, 0], [60.0, 0, 0], [0.0, 0, 0]])
    scores = lacking_confidence(logits)
    torch.testing.assert_close(scores, torch.tensor([2 * np.exp(-50), 2 * np.exp(-60), 2 / 3]))
    assert 0 < scores[1] < scores[0]


def test_a_killed_fit_ends_the_same(fitted):
    assert same_state(kill_and_resume(fit, kill_at=3), fitted)


def test_dropout_draws_from_the_seed_and_survives_an_interruption(monkeypatch):
    monkeypatch.setattr(wide_resnet, "BLOCKS", 1)
    params = resolve(Classifier, "quick", (3, 32, 32), {"architecture": "wrn-40-2", "training.epochs": 2})
    images = easy_images((3, 32, 32), "train").select_classes([0, 2])
    few = ImageSet("few", "train", images.images[:40], images.labels[:40], images.indices[:40])
    params = params.model_copy(update={"training": params.training.model_copy(update={"batch_size": 20})})

    def fit_wide(**interruption) -> Classifier:
        context = Context(torch.device("cpu"), **interruption)
        return Classifier(params, (3, 32, 32)).fit(few, few, context)

    torch.manual_seed(1)
    whole = fit_wide()
    torch.manual_seed(2)
    assert same_state(fit_wide(), whole)
    assert same_state(kill_and_resume(fit_wide, kill_at=3), whole)
    assert not any(module.generator for module in whole.model.modules() if isinstance(module, SeededDropout))


def test_one_class_is_refused():
    detector = Classifier(resolve(Classifier, "quick", SHAPE, TINY), SHAPE)
    with pytest.raises(FitError, match="classifier: digits has images of one class only; a classifier needs two"):
        detector.fit(digits("train").select_classes([2]), digits("validation"), Context(torch.device("cpu")))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_network_gives_logits_and_features(architecture):
    network = build(architecture, 3, 7, 0.1).eval()
    images = torch.rand(2, 3, 32, 32)
    assert network(images).shape == (2, 7)
    assert network.features(images).shape == (2, network.fc.in_features)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_stages_and_the_head_are_the_network(architecture):
    network = build(architecture, 3, 7, 0.1).eval()
    network.normalize_by(torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3]))
    maps = images = torch.rand(2, 3, 32, 32)
    for stage in network.stages():
        maps = stage(maps)
    assert maps.shape[:2] == (2, network.fc.in_features)
    torch.testing.assert_close(network.head()(maps), network(images))
    assert not any(part.training for part in (*network.stages(), network.head()))


def test_auto_takes_a_network_by_the_shape():
    for shape, kind in {(1, 28, 28): "convnet", (3, 32, 32): "resnet18-32", (3, 224, 224): "resnet18"}.items():
        detector = Classifier(resolve(Classifier, "paper", shape, {}), shape)
        assert detector._architecture() == kind
    assert resolve(Classifier, "paper", (3, 32, 32), {}).training.flip
    assert not resolve(Classifier, "paper", SHAPE, {}).training.flip, "a mirrored digit is no digit"


def test_resnet18_for_small_images_has_the_published_number_of_parameters():
    """11,173,962 for ten classes, as kuangliu/pytorch-cifar, whose ResNet-18 OpenOOD takes."""
    network = build("resnet18-32", 3, 10)
    assert sum(weight.numel() for weight in network.parameters()) == 11_173_962
    assert network.body.layer1(network.body.conv1(torch.rand(1, 3, 32, 32))).shape == (1, 64, 32, 32)


def test_the_first_layer_whitens_patches():
    images = tensor(easy_images((3, 32, 32), "train", 200))
    network = build("whitened", 3, 2, 0.1)
    network.normalize_by(images.mean((0, 2, 3)), images.std((0, 2, 3)))
    whiten(network, images)
    first = network.body[0]
    found = first((images - network.mean) / network.std).transpose(0, 1).flatten(1).double()  # (24, n)
    second = (found @ found.T / found.shape[1])[:12, :12]
    strong = second.diagonal() > 0.9  # those whose variance is far above the regularisation
    assert strong.sum() >= 3
    torch.testing.assert_close(
        second[strong][:, strong], torch.eye(int(strong.sum()), dtype=torch.float64), atol=0.1, rtol=0
    )
    torch.testing.assert_close(first.weight[:12], -first.weight[12:])


def test_channel_statistics_are_those_of_all_pixels():
    images = easy_images((3, 32, 32), "train", 50)
    values = images.images.astype(np.float64) / 255
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, values.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(std, values.std((0, 2, 3)), rtol=1e-5)


def test_augmented_images_are_crops_of_the_framed_image():
    images = torch.rand(64, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    seen = augment(images, 2, True, torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(images, [2] * 4)
    places, mirrors = set(), set()
    for image, frame in zip(seen, padded, strict=True):
        crops = {
            (top, left, flip): (frame.flip(2) if flip else frame)[:, top : top + 6, left : left + 6]
            for top in range(5) for left in range(5) for flip in (False, True)
        }  # fmt: skip
        (found,) = [place for place, crop in crops.items() if torch.equal(crop, image)]
        places.add(found[:2])
        mirrors.add(found[2])
    assert mirrors == {False, True}
    assert len(places) > 15
    assert torch.equal(augment(images, 0, False, torch.Generator()), images)
