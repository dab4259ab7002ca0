"""``oodbench compare``: test whether two detectors differ significantly on the same images."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from oodbench.cli import echo
from oodbench.cli.options import json_option, print_json, print_table, store_option

if TYPE_CHECKING:
    from oodbench.leaderboard.comparison import ComparedRows


@click.command()
@click.argument("first")
@click.argument("second")
@store_option
@json_option
def command(first: str, second: str, store: str, as_json: bool) -> None:
    """Compare two detectors by AUROC on the same images.

    FIRST and SECOND are leaderboard labels, detectors with one row, or prefixes of run keys. The test is DeLong's for
    paired scores. With several seeds, every pair of fits must show the difference. p is adjusted for the number of
    out-data sets (Holm).

    \b
    oodbench compare ae ebae
    oodbench compare "ebae, reduced (preset quick)" ae-mnist5k_0-8-s0
    """
    from oodbench.leaderboard.comparison import compare_rows
    from oodbench.store.store import Store

    rows = compare_rows(Store(store), first, second)
    if as_json:
        print_json([asdict(row) | {"is_significant": row.is_significant} for row in rows])
        return
    print_table(map(_row, rows))
    echo("\nDifference of AUROC, first minus second, with its 95 % interval over the images; p adjusted by Holm.")


def _row(row: ComparedRows) -> dict[str, str]:
    found = row.comparison
    seeds = ", ".join(str(one) if one == other else f"{one}/{other}" for one, other in row.pairs)
    named = {"in": row.in_dataset, "out": row.out_dataset, "seeds": seeds}
    if found is None or row.p_holm is None:
        return named | {"difference": "–", "95 % interval": "", "p": "", "significant": "scored on different images"}
    interval = f"{found.low:+.3f} to {found.high:+.3f}"
    p = "< .0001" if row.p_holm < 1e-4 else f"{row.p_holm:.4f}"
    significant = "yes" if row.is_significant else "no"
    return named | {
        "difference": f"{found.difference:+.3f}",
        "95 % interval": interval,
        "p": p,
        "significant": significant,
    }
