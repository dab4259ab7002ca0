"""Classifier networks: each maps images to features, and features to logits by one linear layer ``fc``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from oodbench_classifier.wide_resnet import WideResNet

NORMALIZATIONS: dict[str, tuple[list[float], list[float]]] = {
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "cifar100": ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
    "wrn": ([125.3 / 255, 123.0 / 255, 113.9 / 255], [63.0 / 255, 62.1 / 255, 66.7 / 255]),
    "half": ([0.5], [0.5]),
    "none": ([0.0], [1.0]),
}
"""Mean and standard deviation per channel that published weights were trained with; wrn: those of Hendrycks et al."""

TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
SMALL_IMAGES = ("resnet18-32", "resnet34-32", "resnet50-32")
"""The same for images of 32×32: a stem of one 3×3 convolution of stride 1, and no pooling after it."""
GROUPS = ("convnet", "whitened")
WIDE = "wrn-40-2"
ARCHITECTURES = (*GROUPS, *SMALL_IMAGES, *TORCHVISION, WIDE)
GROUP_LAYERS = 7
"""Layers of one group of convolutions."""


class Normalization(nn.Module):
    """A layer that maps images (b, C, H, W) to (images - mean) / std, with mean and std of shape (C, 1, 1)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor, std: torch.Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


class ClassifierNetwork(nn.Module):
    """A network that normalises images, maps them to features by ``body``, and those to logits by ``fc``.

    Args:
        body: maps normalised images (b, C, H, W) to features (b, D).
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, body: nn.Module, fc: nn.Linear, channels: int):
        super().__init__()
        self.body, self.fc = body, fc
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))

    def normalize_by(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Set mean and standard deviation per channel, (C,) or (1,)."""
        self.mean.copy_(mean.view(-1, 1, 1).expand_as(self.mean))
        self.std.copy_(std.view(-1, 1, 1).expand_as(self.std))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the input of the last layer, (b, D), of images (b, C, H, W) in [0, 1]."""
        features: torch.Tensor = self.body((images - self.mean) / self.std)
        return features.flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (b, k) of images (b, C, H, W) in [0, 1]."""
        logits: torch.Tensor = self.fc(self.features(images))
        return logits

    def stages(self) -> list[nn.Module]:
        """Return consecutive parts of the network, which share its weights.

        The first takes images (b, C, H, W) in [0, 1]. The last outputs the feature maps (b, D, h, w) before pooling,
        which ``head`` maps to logits.
        """
        first, *rest = _stages(self.body)
        return [nn.Sequential(Normalization(self.mean, self.std), first).train(self.training), *rest]

    def head(self) -> nn.Module:
        """Return the part of the network that maps feature maps (b, D, h, w) to logits (b, k)."""
        body: Any = self.body
        pool = body[-1] if isinstance(body, nn.Sequential) else body.avgpool
        return nn.Sequential(pool, nn.Flatten(), self.fc).train(self.training)


def _stages(body: Any) -> list[nn.Module]:
    """Return consecutive parts of a body up to its pooling, one for each size of feature maps."""
    if isinstance(body, nn.Sequential):
        layers = list(body)[:-1]
        first = len(layers) % GROUP_LAYERS  # number of layers of the whitening, if any
        ends = range(first + GROUP_LAYERS, len(layers) + 1, GROUP_LAYERS)
        parts = [layers[end - GROUP_LAYERS : end] for end in ends]
        parts[0] = layers[:first] + parts[0]
    elif isinstance(body, WideResNet):
        parts = [[body.conv1, body.block1], [body.block2], [body.block3, body.bn1, body.relu]]
    else:
        stem = [body.conv1, body.bn1, body.relu, body.maxpool]
        parts = [[*stem, body.layer1], [body.layer2], [body.layer3], [body.layer4]]
    return [nn.Sequential(*part).train(body.training) for part in parts]


def build(architecture: str, channels: int, classes: int, width: float = 1.0) -> ClassifierNetwork:
    """Return a network with fresh weights.

    Args:
        architecture: one of ARCHITECTURES.
        width: factor on the number of channels; for GROUPS only.
    """
    if architecture in GROUPS:
        whitened = architecture == "whitened"
        widths = [max(1, round(width * each)) for each in ((64, 256, 256) if whitened else (32, 64, 128))]
        return ClassifierNetwork(_groups(channels, widths, whitened), nn.Linear(widths[-1], classes), channels)
    if architecture == WIDE:
        body = WideResNet(channels)
        return ClassifierNetwork(body, nn.Linear(body.features, classes), channels)
    return _resnet(architecture, channels, classes)


def _resnet(architecture: str, channels: int, classes: int) -> ClassifierNetwork:
    import torchvision

    name, _, is_small = architecture.partition("-")
    body: Any = getattr(torchvision.models, name)(num_classes=classes)
    fc, body.fc = body.fc, nn.Identity()
    if is_small:
        body.maxpool = nn.Identity()
        body.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    elif channels != 3:
        body.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return ClassifierNetwork(body, fc, channels)


def _groups(channels: int, widths: list[int], whitened: bool) -> nn.Sequential:
    """Return three groups, each of two convolutions and a 2×2 max-pooling, after a whitening layer if ``whitened``."""
    layers: list[nn.Module] = []
    if whitened:
        first = nn.Conv2d(channels, 8 * channels, 2, bias=False)  # 4 C directions, each with both signs
        first.weight.requires_grad_(False)
        layers, channels = [first, nn.GELU()], 8 * channels
    for width in widths:
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.GELU(),
        ]  # fmt: skip
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1) if whitened else nn.AdaptiveAvgPool2d(1))


@torch.no_grad()
def whiten(network: ClassifierNetwork, images: torch.Tensor) -> None:
    """Set the first layer to the principal directions of 2×2 patches of images (n, C, H, W), scaled to variance 1.

    Source: Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU (2024), §3.2.
    """
    first: Any = network.body[0]  # type: ignore[index]
    normal = (images - network.mean) / network.std
    patches = nn.functional.unfold(normal, 2).transpose(1, 2).flatten(0, 1).double()  # (n·L, 4 C)
    covariance = patches.T @ patches / len(patches)
    values, vectors = torch.linalg.eigh(covariance)
    scaled = (vectors / (values + 5e-4).sqrt()).T.view(-1, *first.weight.shape[1:])
    first.weight.copy_(torch.cat([scaled, -scaled]).to(first.weight))
