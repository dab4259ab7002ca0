"""``oodbench show NAME``: all about one detector, data set, metric or executor."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from oodbench.cli import completion, echo, find_plugins
from oodbench.cli.options import data_option, json_option, print_json

WIDTH = 100


@click.command()
@click.argument("name", shell_complete=completion.anything)
@data_option
@json_option
def command(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Show all about one detector, data set, metric or executor.

    NAME is a registered name, or a file with a detector class: ./my_method.py:MyMethod.

    For a detector or an executor: each parameter with its default, the presets' values, its bounds, meaning and source.
    For a folder or file of your own, named as in folder:PATH: what was found there, and what becomes train, validation
    and test.
    """
    from oodbench.plugin.description import describe_name

    record = describe_name(name, find_plugins(), data_dir)
    if as_json:
        print_json(record)
    else:
        for field, value in record.items():
            _print(field, value)


def _print(field: str, value: Any) -> None:
    if field == "parameters":
        for parameter in value:
            echo()
            _print_parameter(parameter)
    elif value not in ("", [], {}):
        line = f"{field + ': ':10}{_text(value)}"
        echo(textwrap.fill(line, WIDTH, subsequent_indent=" " * 10) if field == "splits" else line)


def _text(value: Any) -> str:
    """Return ``train 36, test 8``; for a mapping of mappings ``train: cat 18, dog 18; test: cat 8``."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if not isinstance(value, Mapping):
        return str(value)
    if any(isinstance(inner, Mapping) for inner in value.values()):
        return "; ".join(f"{name}: {_text(inner)}" for name, inner in value.items())
    return ", ".join(f"{name} {number}" for name, number in value.items())


def _print_parameter(parameter: Mapping[str, Any]) -> None:
    unit = f" {parameter['unit']}" if parameter["unit"] else ""
    presets = "".join(f"; {preset}: {value}" for preset, value in parameter["presets"].items())
    echo(f"{parameter['name']} = {parameter['default']}{unit}{presets}  [{parameter['bounds']}]")
    source = f" Source: {parameter['source']}." if parameter["source"] else ""
    text = f"{parameter['meaning']}.{source}" if parameter["meaning"] else source
    if text:
        echo(textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    "))
