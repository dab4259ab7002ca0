"""Shell completion of names, from the saved catalogue alone: no plugin is loaded while a user types."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem


def detectors(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return registered names; once a path is begun, files."""
    if "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    return _items(_rows("detectors"), incomplete)


def in_datasets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return data sets with a train split, to which a detector can be fitted."""
    return _items([row for row in _rows("datasets") if row["train"]], incomplete)


def datasets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _items(_rows("datasets"), incomplete)


def metrics(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _items(_rows("metrics"), incomplete)


def executors(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _items(_rows("executors"), incomplete)


def anything(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return detectors, data sets, metrics and executors."""
    kinds = ("detectors", "datasets", "metrics", "executors")
    return _items([row for kind in kinds for row in _rows(kind)], incomplete)


def presets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the presets of the detectors named so far on the command line; of all detectors if none is."""
    chosen = ctx.params.get("detectors") or ()
    rows = [row for row in _rows("detectors") if row["name"] in chosen or not chosen]
    names = dict.fromkeys(name for row in rows for name in row["presets"].split(", "))
    return [name for name in names if name.startswith(incomplete)]


def precisions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in ("float32", "bfloat16") if name.startswith(incomplete)]


def _rows(kind: str) -> list[dict[str, Any]]:
    """Return the saved rows; an empty list if no catalogue was saved since the plugins changed."""
    from oodbench.plugin.catalogue_cache import load

    saved = load()
    return [] if saved is None else saved[kind]


def _items(rows: list[dict[str, Any]], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(row["name"], help=row["summary"]) for row in rows if row["name"].startswith(incomplete)]
