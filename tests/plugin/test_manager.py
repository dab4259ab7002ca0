"""Finding plugins: what is installed is loaded, what is broken is named, and the rest works."""

from __future__ import annotations

import pytest

from oodbench.plugin.catalogue import describe
from oodbench.plugin.manager import BUILTIN, load_plugins
from oodbench.plugin.registry import load_registry

GOOD = """
from oodbench import Metric, hookimpl

@hookimpl
def register_metrics():
    return [Metric("NAME", lambda in_scores, out_scores: 0.0, True, "always 0")]
"""


def good(name: str) -> str:
    return GOOD.replace("NAME", name)


def test_an_installed_plugin_is_loaded_with_its_version(install):
    install("zero", "zero_module", good("zero"), version="3.4")
    plugins = load_plugins()
    assert plugins.versions["zero"] == "3.4"
    assert plugins.manager.has_plugin("zero")
    assert plugins.failures == {}


def test_built_in_plugins_come_first_and_always(install):
    install("a-first", "a_first", good("zero"))
    assert [*load_plugins().versions] == [*BUILTIN, "a-first"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def", "SyntaxError"),
    ],
)
def test_a_plugin_that_fails_at_import_is_named_with_its_reason(install, source, reason):
    install("sick", "sick_module", source)
    install("zero", "zero_module", good("zero"))
    plugins = load_plugins()
    assert plugins.failures["sick"].startswith(reason)
    assert "\n" not in plugins.failures["sick"]
    assert "sick" not in plugins.versions
    assert "zero" in plugins.versions


def test_a_module_that_is_not_there_is_named(install):
    install("gone", "gone_module")
    assert "gone_module" in load_plugins().failures["gone"]


def test_a_misspelt_hook_is_refused_and_named(install):
    install("typo", "typo_module", "from oodbench import hookimpl\n@hookimpl\ndef register_metric():\n    return []\n")
    install("zero", "zero_module", good("zero"))
    plugins = load_plugins()
    assert "register_metric" in plugins.failures["typo"]
    assert not plugins.manager.has_plugin("typo")
    assert "zero" in load_registry(plugins).metrics


def test_a_hook_with_arguments_is_refused_and_named(install):
    install(
        "eager",
        "eager_module",
        "from oodbench import hookimpl\n@hookimpl\ndef register_metrics(more):\n    return []\n",
    )
    assert "more" in load_plugins().failures["eager"]


def test_only_the_plugins_named_in_the_environment_are_loaded(install, monkeypatch):
    install("one", "one_module", good("one"))
    install("two", "two_module", good("two"))
    monkeypatch.setenv("OODBENCH_PLUGINS", " two ,")
    registry = load_registry()
    assert "two" in registry.metrics
    assert "one" not in registry.metrics
    assert "auroc" in registry.metrics


def test_an_empty_choice_leaves_the_built_in_plugins(install, monkeypatch):
    install("one", "one_module", good("one"))
    monkeypatch.setenv("OODBENCH_PLUGINS", "")
    assert [*load_plugins().versions] == [*BUILTIN]


def test_a_plugin_named_in_the_environment_must_be_installed(no_traces, monkeypatch):
    monkeypatch.setenv("OODBENCH_PLUGINS", "elsewhere")
    assert load_plugins().failures == {"elsewhere": "named in OODBENCH_PLUGINS but not installed"}


def test_a_hook_that_is_not_marked_is_refused_and_named(install):
    install("plain", "plain_module", good("zero").replace("@hookimpl\n", ""))
    assert load_plugins().failures == {
        "plain": "TypeError: register_metrics is not marked with @hookimpl, so that nobody calls it"
    }


@pytest.mark.parametrize(
    "source", ["", "def register_metric(): return []", good("zero").replace("[Metric", "[][:0] or []#")]
)
def test_a_plugin_that_offers_nothing_is_said_to(install, source):
    install("idle", "idle_module", source)
    registry = load_registry()
    assert registry.idle_plugins == ["idle"] and registry.failures == {}
    rows = {row["name"]: row["offers"] for row in describe(registry)["plugins"]}
    assert rows["idle"] == "nothing: is @hookimpl missing?"
    assert "auroc" in rows["builtin-metrics"]
