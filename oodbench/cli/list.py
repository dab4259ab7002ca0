"""``oodbench list detectors|datasets|metrics|executors|plugins``"""

from __future__ import annotations

import click

from oodbench.cli import find_plugins
from oodbench.cli.options import json_option, print_json, print_table
from oodbench.plugin.catalogue_cache import current_catalogue


@click.command("list")
@click.argument("kind", type=click.Choice(["detectors", "datasets", "metrics", "executors", "plugins"]))
@json_option
def command(kind: str, as_json: bool) -> None:
    """List detectors, data sets, metrics, executors or plugins."""
    rows = current_catalogue(find_plugins)[kind]
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
