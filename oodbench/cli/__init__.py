"""The command line: one file per command, imported only when that command is run, so that ``--help`` is quick.

A command parses its options, calls one function of another package, and prints what it returns, as a table or as JSON.
This package has options, messages, tables for the terminal, progress bars and shell completion. What a notebook needs,
too, is a function of the package that it is about, and not here. Within oodbench, only ``__main__`` imports this.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from oodbench.errors import LONGEST_LINE, OODBenchError, no_exit, reason
from oodbench.text import printable, shorten

if TYPE_CHECKING:
    from oodbench.plugin.registry import Registry

COMMANDS = {
    "run": "Fit detectors, score data sets, and show the metrics.",
    "tune": "Choose parameters by a validation out-data set, then score the chosen.",
    "data": "Show which data sets are available, and prepare them.",
    "list": "List detectors, data sets, metrics, executors or plugins.",
    "show": "Show all about one detector, data set, metric or executor.",
    "new": "Create a package for a detector, data set, metric or executor.",
    "check": "Check a detector, data set, metric or executor against its contract.",
    "score": "Score new images with a finished run.",
    "evaluate": "Recompute metrics from stored scores.",
    "leaderboard": "Print the results of a store, or published ones, as ranked tables.",
    "compare": "Compare two detectors by AUROC on the same images.",
    "publish": "Publish a suite's results from a store, with their scores.",
    "verify": "Recompute every published number from its scores.",
    "bundle": "Pack runs into one file, to submit to a leaderboard.",
    "accept": "Check a submitted entry and publish it in a suite.",
    "figure": "Draw inputs, reconstructions and score histograms of finished runs.",
    "plot": "Draw ROC curves, score histograms, training curves or ranks of finished runs.",
    "query": "Query a store or a published leaderboard in SQL.",
    "status": "Show what is done, running, failed and waiting.",
    "forget": "Remove runs from a store.",
}
"""Command → help. Each command is the object ``command`` of the module of its name in this folder."""

INTERRUPTED = 130


def echo(text: str = "", err: bool = False, nl: bool = True) -> None:
    """Print text on stdout or stderr without terminal control characters: names and notes may come from anyone."""
    click.echo(printable(text), err=err, nl=nl)


class Commands(click.Group):
    """The command group, which imports a command when it is run, and turns every exception into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        # Not list(): that name is the module of `oodbench list` as soon as it is imported.
        return [*COMMANDS, *commands_of_plugins()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            command: click.Command = importlib.import_module(f"oodbench.cli.{cmd_name}").command
            return command
        saved = _saved_commands()
        return find_plugins().commands.get(cmd_name) if saved is None or cmd_name in saved else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])
        offered = commands_of_plugins()
        if offered:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([*offered.items()])

    def main(self, *args: Any, **extra: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # A character that a terminal lacks must not lose the rest. In JSON this escape stands for the character.
            if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **extra)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _one_line_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _one_line_errors():
                return self._invoke(ctx)
        except KeyboardInterrupt:
            echo("\nInterrupted.", err=True)
            ctx.exit(INTERRUPTED)

    def _invoke(self, ctx: click.Context) -> Any:
        """Run the command. A plugin's command may set its exit code with ``sys.exit``; in our commands, no code may."""
        try:
            return super().invoke(ctx)
        except SystemExit:
            if ctx.invoked_subcommand not in COMMANDS:
                raise
            with no_exit("code of a plugin", RuntimeError):
                raise


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn every exception into one that click prints as one line."""
    try:
        yield
    except OODBenchError as error:
        line = printable(str(error)).replace("\n", "\\n")  # a name may contain one
        raise click.ClickException(shorten(line, LONGEST_LINE)) from None
    except click.ClickException as error:
        error.message = shorten(printable(error.message), LONGEST_LINE)  # type: ignore[misc]
        raise
    except (click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if os.environ.get("OODBENCH_DEBUG"):
            raise
        what = printable(reason(error))
        raise click.ClickException(f"{what}; set OODBENCH_DEBUG=1 for the traceback") from None


def _print_version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        echo(f"oodbench {metadata.version('oodbench')}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def main() -> None:
    """Benchmark of out-of-distribution image detectors.

    \b
    oodbench run --detector ae --in mnist5k:0,2-9 --out mnist5k:1 --preset quick
    """


def find_plugins() -> Registry:
    """Return the registry, and save a missing catalogue; plugins that could not be loaded are named on stderr."""
    from oodbench.plugin import catalogue_cache
    from oodbench.plugin.registry import HOOKS

    key = catalogue_cache.cache_key()
    registry = _load(HOOKS)
    if not registry.waiting:
        catalogue_cache.save(registry, key)
    return registry


def commands_of_plugins() -> dict[str, str]:
    """Return command → help. If no catalogue is saved, only the hook for commands is called: the others are slow."""
    from oodbench.plugin.catalogue import describe

    saved = _saved_commands()
    if saved is not None:
        return saved
    return {row["name"]: row["summary"] for row in describe(_load(["register_commands"]))["commands"]}


def _saved_commands() -> dict[str, str] | None:
    from oodbench.plugin.catalogue_cache import load

    saved = load()
    return None if saved is None else {row["name"]: row["summary"] for row in saved["commands"]}


def _load(hooks: Iterable[str]) -> Registry:
    from oodbench.plugin.registry import load_registry

    registry = load_registry(hooks=hooks)
    _refuse_core_names(registry)
    for plugin, why in registry.failures.items():
        echo(f"Warning: plugin {plugin}: {why}", err=True)
    return registry


def _refuse_core_names(registry: Registry) -> None:
    """Remove a plugin's command that has the name of a core command, and report the plugin."""
    for name in registry.commands.keys() & COMMANDS.keys():
        del registry.commands[name]
        plugin = registry.plugin_of.pop(("command", name))
        registry.failures[plugin] = f"command {name!r} is oodbench's own; it must have another name"
