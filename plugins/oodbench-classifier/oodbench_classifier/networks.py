"""Networks of classifiers: each maps images to features, and features to logits by one linear layer ``fc``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

NORMALIZATIONS: dict[str, tuple[list[float], list[float]]] = {
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "cifar100": ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
    "half": ([0.5], [0.5]),
    "none": ([0.0], [1.0]),
}
"""Mean and standard deviation per channel that published weights were trained with."""

TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
SMALL_IMAGES = ("resnet18-32", "resnet34-32", "resnet50-32")
"""The same for images of 32×32: a stem of one 3×3 convolution of stride 1, and no pooling after it."""
GROUPS = ("convnet", "whitened")
ARCHITECTURES = (*GROUPS, *SMALL_IMAGES, *TORCHVISION)


class ClassifierNetwork(nn.Module):
    """Normalises images, then features by ``body``, then logits by ``fc``.

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
        """Take mean and standard deviation per channel, (C,) or (1,)."""
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


def build(architecture: str, channels: int, classes: int, width: float = 1.0) -> ClassifierNetwork:
    """Return a network with fresh weights.

    Args:
        architecture: one of ARCHITECTURES.
        width: factor on the channels, of GROUPS alone.
    """
    if architecture in GROUPS:
        whitened = architecture == "whitened"
        widths = [max(1, round(width * each)) for each in ((64, 256, 256) if whitened else (32, 64, 128))]
        return ClassifierNetwork(_groups(channels, widths, whitened), nn.Linear(widths[-1], classes), channels)
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
    """Three groups of two convolutions with a halving of the sides in each, after a whitening layer if there is one."""
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
    """Set the first layer to the directions in which 2×2 patches of images (n, C, H, W) vary, scaled to variance 1.

    Source: Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU (2024), §3.2.
    """
    first: Any = network.body[0]  # type: ignore[index]
    normal = (images - network.mean) / network.std
    patches = nn.functional.unfold(normal, 2).transpose(1, 2).flatten(0, 1).double()  # (n·L, 4 C)
    covariance = patches.T @ patches / len(patches)
    values, vectors = torch.linalg.eigh(covariance)
    scaled = (vectors / (values + 5e-4).sqrt()).T.view(-1, *first.weight.shape[1:])
    first.weight.copy_(torch.cat([scaled, -scaled]).to(first.weight))
