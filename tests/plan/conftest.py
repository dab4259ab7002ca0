"""What tests of planning share: the toy plugin, and a planner that knows it."""

from __future__ import annotations

import pytest

from oodbench.data.loading import Loader
from oodbench.plan.tasks import plan
from oodbench.plugin.registry import load_registry


@pytest.fixture
def planned(toys, tmp_path):
    """``planned(request, …)`` gives the tasks."""
    registry = load_registry()
    loader = Loader(registry, tmp_path, tmp_path)
    return lambda *requests: plan(requests, registry, loader)
