"""The command itself: help, versions, errors as one line, plugins that are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from oodbench.cli import COMMANDS, main
from oodbench.cli.options import print_json

RUN = ["run", "--detector", "mean-distance", "--in", "bars:0", "--out", "bars:1"]


def test_help_names_every_command_without_importing_anything_heavy(no_traces, invoke):
    invoke("list", "plugins")  # from here on it is known which commands plugins add
    code = """
import sys
sys.argv = ["oodbench", "--help"]
try:
    import oodbench.__main__
except SystemExit as end:
    assert end.code == 0
heavy = {"torch", "numpy", "pandas", "pyarrow", "pydantic", "rich", "pluggy", "sklearn", "matplotlib", "tabulate"}
print("heavy:", sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


def test_python_m_oodbench_is_the_command():
    done = subprocess.run([sys.executable, "-m", "oodbench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("oodbench ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, invoke):
    result = invoke(command, "--help")
    assert COMMANDS[command] in " ".join(result.stdout.split())


def test_a_command_that_does_not_exist_is_a_usage_error(invoke):
    assert "No such command 'rum'" in invoke("rum", code=2).stderr


def test_an_error_nobody_thought_of_is_one_line(oodbench, toys, monkeypatch, refusal):
    def shape(self, name):
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr("oodbench.data.loading.Loader.shape", shape)
    assert refusal(oodbench(*RUN, code=1)) == (
        "Error: ZeroDivisionError: one two; set OODBENCH_DEBUG=1 for the traceback"
    )
    monkeypatch.setenv("OODBENCH_DEBUG", "1")
    assert isinstance(oodbench(*RUN, code=1).exception, ZeroDivisionError)


def test_code_of_a_plugin_that_ends_the_program_is_an_error(oodbench, toys, monkeypatch, refusal):
    monkeypatch.setattr(toys.MeanDistance, "check_shape", classmethod(lambda cls, shape: sys.exit(0)))
    assert refusal(oodbench(*RUN, code=1)).startswith("Error: RuntimeError: code of a plugin called sys.exit(0);")


@pytest.mark.parametrize("words", [["list", "metrics"], RUN])
def test_what_code_of_plugins_prints_is_not_in_the_json(words, oodbench, install):
    install(
        "loud",
        "loud_module",
        """
print("imported")
from oodbench import Metric, hookimpl

@hookimpl
def register_metrics():
    return [Metric("loud", lambda in_scores, out_scores: print("computed") or 0.5, True, "prints")]
""",
    )
    result = oodbench(*words, "--json")
    assert "loud" in {row.get("name") or row["metric"] for row in json.loads(result.stdout)}
    assert "imported" in result.stderr and ("computed" in result.stderr) == (words == RUN)


@pytest.mark.parametrize(
    "words",
    [
        ["\x1b[2J"],
        ["--\x1b[2J"],
        ["run", "--detector", "\x1b[2J"],
        ["leaderboard", "\x1b[2J"],
        ["list", "\x1b[2J"],
        ["run", "\x1b[2J", "--detector", "mean-distance"],
        [*RUN, "--set", "power=\x1b[2J\x9b\u202e"],
        [*RUN, "--store", "s3\x1b[2J://x"],
    ],
)
def test_what_a_terminal_would_act_on_is_escaped(words, oodbench, toys):
    result = CliRunner().invoke(main, words)
    assert result.exit_code != 0
    assert not {"\x1b", "\x9b", "\u202e"} & set(result.output)


def test_a_name_with_a_line_break_does_not_break_the_line(oodbench, toys, refusal):
    assert r"--set po\nwer: write it as name=value" in refusal(oodbench(*RUN, "--set", "po\nwer", code=1))


def test_json_escapes_it_too_and_means_the_same(capsys):
    print_json({"name": "\x1b[2J\x9b\u202e ä ±"})
    text = capsys.readouterr().out
    assert "ä ±" in text and not {"\x1b", "\x9b", "\u202e"} & set(text)
    assert json.loads(text) == {"name": "\x1b[2J\x9b\u202e ä ±"}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_terminal_that_lacks_a_character_loses_nothing_else(encoding, no_traces, tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "oodbench", "show", "auroc"]
    for options in ([], ["--json"]):
        done = subprocess.run([*command, *options], capture_output=True, env=environment, check=True)
        assert done.stdout
    code = "from oodbench.cli import main, echo; main.main(['--version'], standalone_mode=False); echo('auroc ↑')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert b"auroc \\u2191" in done.stdout


def test_a_plugin_that_fails_at_import_is_named_and_the_rest_works(oodbench, install):
    install("sick", "sick", "import nothing_of_this_name")
    why = "Warning: plugin sick: ModuleNotFoundError: No module named 'nothing_of_this_name'"
    for words in (["list", "detectors"], ["show", "auroc"], [*RUN, "-q"], ["evaluate"], ["leaderboard"]):
        result = oodbench(*words)
        assert result.stderr.splitlines() == [why]
        assert result.stdout
    rows = {row["name"]: row for row in json.loads(oodbench("list", "plugins", "--json").stdout)}
    assert rows["sick"]["failure"] == "ModuleNotFoundError: No module named 'nothing_of_this_name'"
    assert rows["sick"]["offers"] == ""


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--seed", "9" * 5000],
        ["run", "--seeds", "9" * 5000],
        ["run", "--seeds", "10001"],
        ["run", "--jobs", "9" * 5000],
        [*RUN, "--device", f"cuda:{'9' * 5000}"],
        [*RUN, "--in", f"bars:{','.join(map(str, range(0, 40_000, 2)))}"],
        [*RUN, "--set", f"power={'9' * 5000}"],
        [*RUN, "--set", f"power={'[' * 90_000}"],
        [*RUN, "--store", "a" * 5000],
        ["check", "mean-distance", "--shape", f"1x{'9' * 5000}x1"],
        ["leaderboard", "a" * 5000],
        ["leaderboard", "--results", "a" * 5000],
        ["figure", "a" * 5000],
        ["run", "a" * 5000],
        ["show", "a" * 5000],
    ],
    ids=lambda words: " ".join(words)[-40:][:20],
)
def test_what_is_far_too_long_is_refused_in_one_short_line(words, oodbench, toys):
    result = CliRunner().invoke(main, words)
    assert result.exit_code != 0
    assert max(map(len, result.stderr.splitlines())) < 1000
    assert "Traceback" not in result.stderr and "OODBENCH_DEBUG" not in result.stderr


def test_no_help_shows_a_marker_of_its_layout(invoke, no_traces):
    for name in COMMANDS:
        assert "\\b" not in invoke(name, "--help").stdout, name
