"""The EBAE authors' published successor, NAE, from a checkout that the user names; nothing of it is kept here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from oodbench.errors import OODBenchError, reason

SOURCE = "https://github.com/swyoon/normalized-autoencoders"
SAMPLING = {
    "sampling": "on_manifold", "spherical": True, "gamma": 1, "l2_norm_reg_en": 1e-4, "temperature_trainable": False,
    "z_stepsize": 0.2, "z_noise_std": 0.05, "x_stepsize": 10, "x_noise_std": 0.05, "x_noise_anneal": 1,
    "x_clip_langevin_grad": 0.01, "x_bound": [0, 1], "z_bound": None, "buffer_size": 10_000, "replay_ratio": 0.95,
}  # fmt: skip
"""NAE's settings for MNIST, which are the preset nae-mnist."""


def peer_update(
    path: Path, width: float, latent_dim: int, steps: tuple[int, int], images: torch.Tensor
) -> Callable[[], Any]:
    """Return a function that calls NAE's ``train_step`` on these images (b, 1, 28, 28), on its Arch28 at that width."""
    nh, mlp = round(8 * width), round(1024 * width)
    settings = {
        "arch": "nae",
        "x_dim": 1,
        "z_dim": latent_dim,
        "encoder": {"arch": "conv2fc", "nh": nh, "nh_mlp": mlp, "out_activation": "linear"},
        "decoder": {"arch": "deconv2", "nh": nh, "out_activation": "sigmoid"},
        "nae": {**SAMPLING, "z_step": steps[0], "x_step": steps[1]},
    }
    model = _models(path).get_model({"model": settings}).to(images.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    return lambda: model.train_step(images, optimizer)


def _models(path: Path) -> ModuleType:
    """Return NAE's package ``models``. It imports omegaconf, but does not need it here: a stand-in will do."""
    if not (path / "models" / "nae.py").exists():
        raise OODBenchError(f"{path} holds no models/nae.py; name a checkout of {SOURCE}")
    sys.path.insert(0, str(path))
    if importlib.util.find_spec("omegaconf") is None:
        stand_in = ModuleType("omegaconf")
        stand_in.OmegaConf = object  # type: ignore[attr-defined]
        sys.modules["omegaconf"] = stand_in
    try:
        return importlib.import_module("models")
    except ImportError as error:
        raise OODBenchError(f"the code in {path} cannot be imported: {reason(error)}; install what it names") from error
    finally:
        sys.path.remove(str(path))
