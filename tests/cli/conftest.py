"""The command line in an empty folder, with the plugin of the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from oodbench.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch, no_traces) -> Path:
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Runs a command, which must end with the exit code ``code``."""

    def invoke(*words: object, code: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def oodbench(toys, here, invoke) -> Callable[..., Result]:
    """The same in the working folder, with the plugin of the tests."""
    return invoke


@pytest.fixture
def refusal() -> Callable[[Result], str]:
    """Gives the one line of an error; nothing else may be printed."""

    def refusal(result: Result) -> str:
        (line,) = result.stderr.splitlines()
        assert result.stdout == ""
        assert line.startswith("Error: ")
        return line

    return refusal
