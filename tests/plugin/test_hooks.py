"""A hook is a promise: documented, with its signature, and used by the core's own plugins."""

from __future__ import annotations

import inspect

import pytest

from oodbench.plugin import hookspecs
from oodbench.plugin.manager import BUILTIN, load_plugins
from oodbench.plugin.registry import HOOKS, load_registry

NAMES = [name for name, value in vars(hookspecs).items() if name.startswith("register_")]

pytestmark = pytest.mark.usefixtures("no_traces")


@pytest.fixture
def plugins():
    return load_plugins()


def test_all_hooks_are_in_one_file(plugins):
    assert {name for name in dir(plugins.manager.hook) if not name.startswith("_")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_hook_says_what_to_return_and_takes_nothing(name):
    hook = getattr(hookspecs, name)
    assert inspect.getdoc(hook).startswith("Return ")
    assert not inspect.signature(hook).parameters
    assert inspect.signature(hook).return_annotation.startswith("list[")


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_asks_for_a_hook(name):
    assert name in HOOKS


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"register_detectors", "register_commands"}))
def test_a_built_in_plugin_uses_the_hook(name, plugins):
    """No detector is built in, as the plugins of this repository are as foreign as a stranger's, and no command."""
    implementers = {
        implementation.plugin_name for implementation in getattr(plugins.manager.hook, name).get_hookimpls()
    }
    assert implementers & BUILTIN.keys()


def test_every_built_in_plugin_offers_something(plugins):
    offering = set(load_registry(plugins).plugin_of.values())
    assert offering == BUILTIN.keys()


def test_register_detectors_is_used_by_a_plugin(toys):
    registry = load_registry()
    assert registry.detector("mean-distance") is toys.MeanDistance
    assert registry.plugin_of["detector", "mean-distance"] == "toys"


def test_register_commands_is_used_by_a_plugin(monkeypatch):
    monkeypatch.setenv("OODBENCH_PLUGINS", "ebae")
    registry = load_registry()
    assert registry.plugin_of["command", "ebae-figure2"] == "ebae"
