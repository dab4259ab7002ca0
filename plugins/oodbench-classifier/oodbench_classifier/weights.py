"""Published weights: reading them from a file, recognising their architecture, and loading them into a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from oodbench import FitError, OODBenchError
from oodbench_classifier.networks import WIDE, ClassifierNetwork

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts save a state_dict among other things."""
PREFIXES = ("module.", "model.", "body.")
RESNETS = {
    (2, False): "resnet18", (6, False): "resnet34", (6, True): "resnet50", (23, True): "resnet101",
    (36, True): "resnet152",
}  # fmt: skip
"""Blocks of the third layer, and whether they are bottlenecks → name."""


def file_hash(path: str) -> str:
    """Return the SHA-256 of a file of weights. Raises OODBenchError if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OODBenchError(
            f"the weights {path} cannot be read ({error.strerror}); name a file with weights=…"
        ) from None


def read_weights(path: str, sha256: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file, each by its name in torchvision's ResNets or in our own networks.

    The file is a state_dict saved by torch, alone or in a checkpoint, or a safetensors file. No code in it is executed.

    Raises OODBenchError if the file has another hash or another format.
    """
    if file_hash(path) != sha256:
        raise OODBenchError(
            f"the weights {path} are another file than that of the run: its SHA-256 is not {sha256[:16]}…"
        )
    try:
        found = _load(path)
    except Exception as error:  # pickle and safetensors raise many kinds
        why = " ".join(f"{type(error).__name__}: {error}".split())[:150]
        raise OODBenchError(f"the weights {path} are neither a state_dict nor safetensors ({why})") from None
    return {_plain_name(name): tensor for name, tensor in found.items()}


def _load(path: str) -> dict[str, torch.Tensor]:
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise TypeError(f"it holds a {type(found).__name__} that is no state_dict")
    return dict(found)


def _plain_name(name: str) -> str:
    """Return a parameter's name in torchvision, whose ``downsample`` is called ``shortcut`` in OpenOOD's ResNets."""
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name.replace(".shortcut.", ".downsample.")


def architecture_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the name of the ResNet or WRN that the tensors belong to; empty if they belong to none."""
    if {name.split(".")[0] for name in tensors} >= {"block1", "block2", "block3"}:
        return WIDE
    blocks = {name.split(".")[1] for name in tensors if name.startswith("layer3.")}
    name = RESNETS.get((len(blocks), "layer3.0.conv3.weight" in tensors), "")
    stem = tensors.get("conv1.weight")
    if not name or stem is None:
        return ""
    return f"{name}-32" if stem.shape[-1] == 3 else name


def class_count(tensors: Mapping[str, torch.Tensor], path: str) -> int:
    """Return the number of outputs. Raises OODBenchError if there is no last layer ``fc``."""
    if "fc.weight" not in tensors or tensors["fc.weight"].ndim != 2:
        raise OODBenchError(
            f"the weights {path} have no last layer fc: they are of no ResNet, no WRN-40-2, and of no network of ours"
        )
    return len(tensors["fc.weight"])


def put_weights(network: ClassifierNetwork, tensors: Mapping[str, torch.Tensor], path: str, architecture: str) -> None:
    """Load the tensors into the network. Raises FitError if they belong to another architecture."""
    body = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    own: dict[str, torch.Tensor] = {name: body.pop(name) for name in ("mean", "std") if name in body}
    body.pop("classes", None)
    try:
        network.body.load_state_dict(body)
        network.fc.load_state_dict({name: tensors[f"fc.{name}"] for name in ("weight", "bias")})
        network.load_state_dict(own, strict=False)
    except (RuntimeError, KeyError) as error:
        why = " ".join(str(error).split())[:200]
        raise FitError(f"the weights {path} are not of a {architecture}; set architecture=… ({why})") from None
