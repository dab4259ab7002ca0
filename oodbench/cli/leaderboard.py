"""``oodbench leaderboard``: the results of a store as ranked tables."""

from __future__ import annotations

from pathlib import Path

import click

from oodbench.cli import find_plugins
from oodbench.cli.options import chosen_metrics, json_option, metric_option, print_json, store_option


@click.command()
@store_option
@metric_option
@click.option("--title", default="", help="Heading of the page.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the page to this file.")
@json_option
def command(store: str, metrics: tuple[str, ...], title: str, output: Path | None, as_json: bool) -> None:
    """Print the results of a store as ranked tables in Markdown."""
    from oodbench import leaderboard
    from oodbench.storage import Store

    chosen = chosen_metrics(find_plugins(), metrics)
    results = Store(store).read_results()
    if output:
        _write(output, leaderboard.render(results, chosen, title))
    if as_json:
        print_json(leaderboard.records(results, chosen))
    elif not output:
        click.echo(leaderboard.render(results, chosen, title), nl=False)


def _write(path: Path, text: str) -> None:
    from oodbench.errors import OODBenchError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OODBenchError(f"--output {path} cannot be written: {error.strerror}") from None
    click.echo(f"Written to {path}", err=True)
