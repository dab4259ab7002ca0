"""Weights of a file in place of training: of torchvision, of OpenOOD, of our own; a wrong file is one line."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from oodbench_classifier.detector import Classifier
from safetensors.torch import save_file

from oodbench import Context, ImageSet, OODBenchError, resolve

SHAPE = (3, 32, 32)


def images(classes: int, n: int = 12) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (n, *SHAPE), np.uint8)
    return ImageSet("noise", "train", pixels, np.arange(n) % classes, np.arange(n))


def fit(path: Path, classes: int = 5, shape=SHAPE, **settings) -> Classifier:
    params = resolve(Classifier, "quick", shape, {"architecture": "auto", "weights": str(path), **settings})
    return Classifier(params, shape).fit(images(classes), images(classes), Context(torch.device("cpu")))


@pytest.fixture(scope="module")
def resnet() -> torch.nn.Module:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=5)
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return network.eval()


@pytest.mark.parametrize("kind", ["state_dict", "checkpoint", "parallel", "safetensors"])
def test_a_torchvision_resnet_gives_its_own_logits(resnet, tmp_path, kind):
    state, path = resnet.state_dict(), tmp_path / "weights.pt"
    if kind == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(state, path)
    elif kind == "checkpoint":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        torch.save({f"module.{name}": tensor for name, tensor in state.items()} if kind == "parallel" else state, path)
    detector = fit(path, normalization="imagenet")
    batch = torch.rand(3, *SHAPE)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = resnet((batch - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(detector.outputs(batch)["logits"], expected)
    assert detector.params.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_was_loaded_can_be_saved_and_loaded_without_the_file(resnet, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(resnet.state_dict(), path)
    detector, batch = fit(path), torch.rand(3, *SHAPE)
    path.unlink()
    again = Classifier(Classifier.Params.model_validate_json(detector.params.canonical()), SHAPE)
    again.load_state(detector.state())
    assert torch.equal(again.score(batch), detector.score(batch))


def test_the_names_of_openood_are_known_and_the_small_stem_is_told_from_the_large(tmp_path):
    network = torchvision.models.resnet18(num_classes=5)
    network.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    names = {name.replace("downsample", "shortcut"): tensor for name, tensor in network.state_dict().items()}
    torch.save(names, tmp_path / "best.ckpt")
    detector = fit(tmp_path / "best.ckpt")
    assert detector.model.body.conv1.weight.shape[-1] == 3
    assert torch.equal(detector.model.body.layer2[0].downsample[0].weight, names["layer2.0.shortcut.0.weight"])


def test_a_wrn_of_pytorch_ood_gives_its_own_logits(tmp_path):
    models = pytest.importorskip("pytorch_ood.model")
    torch.manual_seed(0)
    network = models.WideResNet(num_classes=5).eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    path = tmp_path / "cifar10_wrn_pretrained_epoch_99.pt"
    torch.save(network.state_dict(), path)
    detector, batch = fit(path, normalization="wrn"), torch.rand(3, *SHAPE)
    mean, std = torch.tensor([125.3, 123.0, 113.9]) / 255, torch.tensor([63.0, 62.1, 66.7]) / 255
    with torch.no_grad():
        expected = network((batch - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(detector.outputs(batch)["logits"], expected)
    again = Classifier(detector.params, detector.shape)
    again.load_state(detector.state())
    assert torch.equal(again.score(batch), detector.score(batch))


def test_our_own_weights_are_taken_with_their_normalisation(tmp_path):
    trained = Classifier(resolve(Classifier, "quick", SHAPE, {"width": 0.1, "training.epochs": 1}), SHAPE)
    trained.fit(images(3), images(3), Context(torch.device("cpu")))
    save_file({name: tensor.contiguous() for name, tensor in trained.state().items()}, tmp_path / "weights.safetensors")
    taken = fit(tmp_path / "weights.safetensors", 3, architecture="whitened", width=0.1)
    batch = torch.rand(3, *SHAPE)
    assert torch.equal(taken.score(batch), trained.score(batch))


def test_the_record_says_that_nothing_was_trained_and_with_which_file(resnet, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(resnet.state_dict(), path)
    params = resolve(Classifier, "quick", SHAPE, {"architecture": "auto", "weights": str(path)})
    context = Context(torch.device("cpu"))
    Classifier(params, SHAPE).fit(images(5), images(5), context)
    assert context.notes == [f"weights of a file, not trained here: SHA-256 {params.weights_sha256}"]
    assert not Classifier.is_reduced(params, SHAPE)


def test_the_same_file_elsewhere_is_the_same_run(resnet, tmp_path):
    """A run's identity leaves out a parameter beside which there is its SHA-256."""
    torch.save(resnet.state_dict(), tmp_path / "a.pt")
    shutil.copy(tmp_path / "a.pt", tmp_path / "b.pt")
    params = [resolve(Classifier, "paper", SHAPE, {"weights": str(tmp_path / name)}) for name in ("a.pt", "b.pt")]
    assert params[0].weights != params[1].weights
    assert params[0].weights_sha256 == params[1].weights_sha256


def write(path: Path, kind: str) -> Path:
    if kind == "text":
        path.write_text("no weights")
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "no head":
        torch.save({"conv1.weight": torch.zeros(3)}, path)
    elif kind == "other":
        torch.save({"fc.weight": torch.zeros(5, 3), "fc.bias": torch.zeros(5), "strange": torch.zeros(2)}, path)
    elif kind == "wider":
        torch.save({f"block{n}.layer.0.conv1.weight": torch.zeros(160, 16, 3, 3) for n in (1, 2, 3)}
                   | {"fc.weight": torch.zeros(5, 640), "fc.bias": torch.zeros(5)}, path)  # fmt: skip
    elif kind == "grey":
        torch.save(torchvision.models.resnet18(num_classes=5).state_dict() | {"conv1.weight": torch.zeros(64, 1, 7, 7)},
                   path)  # fmt: skip
    elif kind == "classes":
        torch.save(torchvision.models.resnet18(num_classes=7).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("none", r"the weights \S+ cannot be read \(No such file or directory\)"),
        ("text", r"the weights \S+ are neither a state_dict nor safetensors"),
        ("list", "it holds a list that is no state_dict"),
        ("no head", "have no last layer fc"),
        ("other", "are not of a resnet18-32; set architecture="),
        ("wider", "are not of a wrn-40-2"),
        ("grey", "are not of a resnet18"),
        ("classes", "tell 7 classes apart, and noise has 5"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, kind, line):
    with pytest.raises(OODBenchError, match=line) as error:
        fit(write(tmp_path / "weights.pt", kind))
    assert "\n" not in str(error.value)


def test_a_file_that_was_replaced_is_refused(resnet, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(resnet.state_dict(), path)
    params = resolve(Classifier, "quick", SHAPE, {"weights": str(path)})
    torch.save({"fc.weight": torch.zeros(5, 3)}, path)
    with pytest.raises(OODBenchError, match="are another file than that of the run: its SHA-256 is not"):
        Classifier(params, SHAPE).fit(images(5), images(5), Context(torch.device("cpu")))
