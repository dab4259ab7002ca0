"""Commands that plugins add: listed beside the core's, loaded only when asked for, and never in the core's place."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from oodbench.cli import COMMANDS, main

GREETER = """
import click
from oodbench import OODBenchError, hookimpl

@hookimpl
def register_commands():
    return [command]

@click.command("NAME")
@click.option("--fail", is_flag=True)
def command(fail):
    "Greet whoever asks. And more."
    if fail:
        raise OODBenchError("nobody is there; ask later")
    click.echo("hello")
"""


@pytest.fixture
def greeter(install):
    install("greeter", "greeter_module", GREETER.replace("NAME", "greet"))


def oodbench(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == code, result.output
    return result


def test_it_runs_and_fails_as_the_core_s_commands_do(greeter):
    assert oodbench("greet").stdout == "hello\n"
    assert oodbench("greet", "--fail", code=1).stderr == "Error: nobody is there; ask later\n"
    assert "Greet whoever asks. And more." in oodbench("greet", "--help").stdout


def test_it_is_listed_below_the_core_s_commands(greeter):
    text = oodbench("--help").stdout
    assert "  greet  Greet whoever asks.\n" in text.partition("Commands of plugins:")[2]
    assert "Commands of plugins" not in oodbench("run", "--help").stdout


def test_without_such_a_plugin_nothing_is_listed(no_traces):
    assert "Commands of plugins" not in oodbench("--help").stdout


def test_help_loads_no_plugin_once_it_is_known_what_they_offer(greeter):
    code = """
import sys
from oodbench.cli import main
main(["--help"], standalone_mode=False)
print("loaded:", sorted({"greeter_module", "numpy", "pluggy", "pydantic", "torch"} & sys.modules.keys()))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def run_help() -> list[str]:
        line = [sys.executable, "-c", code]
        return subprocess.run(line, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()

    *text, loaded = run_help()
    assert any("greet" in line for line in text)
    assert "greeter_module" in loaded and "torch" not in loaded
    oodbench("list", "plugins")
    assert run_help() == [*text, "loaded: []"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_core_command_cannot_be_replaced(install, name):
    install("greeter", "greeter_module", GREETER.replace("NAME", name))
    why = f"plugin greeter: command '{name}' is oodbench's own; it must have another name"
    listed = oodbench("list", "metrics")
    assert f"Warning: {why}" in listed.stderr
    assert "auroc" in listed.stdout
    assert "hello" not in oodbench(name, "--help").stdout


def test_two_plugins_cannot_share_a_name(greeter, install):
    install("second", "second_module", GREETER.replace("NAME", "greet"))
    assert (
        "Warning: plugin second: ValueError: command 'greet' is already offered by plugin greeter"
        in oodbench("greet").stderr
    )


def test_what_is_no_command_is_named(install):
    install("greeter", "greeter_module", GREETER.replace("[command]", '["greet"]'))
    assert "Warning: plugin greeter: TypeError: 'greet' is not a command" in oodbench("--help").stderr
