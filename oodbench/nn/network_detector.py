"""A detector whose state is the weights of one network."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from oodbench.api import Detector


class NetworkDetector(Detector):
    """A detector whose ``fit`` sets ``model`` to a trained network in evaluation mode; its weights are the state."""

    model: Any

    @abstractmethod
    def build(self) -> torch.nn.Module:
        """Return the network that the parameters describe, with fresh weights."""

    def state(self) -> dict[str, torch.Tensor]:
        """Return the weights and buffers of the network by name."""
        return self.model.state_dict()

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Build the network and load what ``state`` returned, on the device that these tensors are on."""
        self.model = self.build().to(next(iter(state.values())).device)
        self.model.load_state_dict(state)
        self.model.eval()
