"""Scores are pytorch-ood's own, on the same model and images; what was learned survives saving."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

pytest.importorskip("pytorch_ood")

from oodbench_pytorch_ood.detectors import CLASSES, PytorchOODDetector, detector_classes
from torch.utils.data import DataLoader, TensorDataset

from oodbench import Context, Detector, FittedBase, ImageSet, Params, resolve
from oodbench.testing import easy_images
from oodbench.testing.images import held_out, noise, tensor

SHAPE = (1, 28, 28)
DETECTORS = {detector.name: detector for detector in detector_classes()}


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 16), torch.nn.ReLU())
        self.fc = torch.nn.Linear(16, 5)

    def features(self, images):
        return self.body(images)

    def forward(self, images):
        return self.fc(self.features(images))


class Linear(Detector):
    """A small classifier, trained a little."""

    name = "linear"

    def fit(self, train: ImageSet, validation, context):
        torch.manual_seed(0)
        self.model = Model()
        optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-2)
        for _ in range(10):
            for images, labels in train.batches(64, labels=True):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(self.model(images), labels).backward()
                optimizer.step()
        self.model.eval().requires_grad_(False)
        return self

    def outputs(self, images):
        features = self.model.features(images)
        return {"features": features, "logits": self.model.fc(features)}

    def score(self, images):
        raise NotImplementedError

    def state(self):
        return self.model.state_dict()

    def load_state(self, state):
        raise NotImplementedError


TRAIN = easy_images(SHAPE, "train").select_classes([0, 1, 2, 3, 4])


@pytest.fixture(scope="module")
def base() -> FittedBase:
    context = Context(torch.device("cpu"))
    fitted = Linear(Params(), SHAPE).fit(TRAIN, TRAIN, context)
    return FittedBase(lambda: fitted, context)


def fit(name: str, base: FittedBase) -> PytorchOODDetector:
    detector = DETECTORS[name](resolve(DETECTORS[name], "quick", SHAPE, {"d": 4} if name == "po-vim" else {}), SHAPE)
    detector.fitted_base = base
    return detector.fit(TRAIN, TRAIN, Context(torch.device("cpu")))


def own(detector: PytorchOODDetector, model: Model):
    """pytorch-ood's detector, made and fitted as its documentation says: with the model and a loader."""
    parts = {
        "model": model, "encoder": model.features, "head": model.fc, "w": model.fc.weight, "b": model.fc.bias,
    }  # fmt: skip
    names = [name for name in inspect.signature(detector.inner_class.__init__).parameters if name in parts]
    made = detector.inner_class(**{name: parts[name] for name in names}, **detector.params.model_dump())
    labels = torch.from_numpy(np.searchsorted(np.unique(TRAIN.labels), TRAIN.labels))
    if made.requires_fit:
        made.to("cpu")
        made.fit(DataLoader(TensorDataset(tensor(TRAIN), labels), batch_size=50))
    return made


@pytest.mark.parametrize("name", CLASSES)
def test_scores_are_those_of_pytorch_ood(name, base):
    detector = fit(name, base)
    images = torch.cat([held_out(SHAPE, 20), noise(SHAPE, 20)])
    with torch.no_grad():
        expected = own(detector, base.detector.model).predict(images)
    torch.testing.assert_close(detector.score(images).double(), expected.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CLASSES)
def test_what_was_learned_survives_saving(name, base, tmp_path):
    from safetensors.torch import load_file, save_file

    detector, images = fit(name, base), held_out(SHAPE, 10)
    file = tmp_path / "state.safetensors"
    save_file({key: value.contiguous() for key, value in detector.state().items()}, file)
    again = DETECTORS[name](detector.params, SHAPE)
    again.fitted_base = base
    again.load_state(load_file(file))
    torch.testing.assert_close(again.score(images), detector.score(images), rtol=1e-6, atol=0)
    before = base.detector.model.fc.weight.clone()
    assert torch.equal(base.detector.model.fc.weight, before)
