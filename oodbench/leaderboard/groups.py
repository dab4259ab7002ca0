"""Groups of out-data sets, such as near and far: the mean of a row over each group.

The mean is taken per seed, over out-data sets with equal weight, as OpenOOD does. It is no result of its own: it has no
interval and no test, and the values that it is made from are shown beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Groups = Mapping[str, tuple[str, ...]]
"""Name → out-data sets."""
NO_GROUPS: Groups = {}
Record = dict[str, Any]


def group_records(records: Iterable[Record], groups: Groups) -> list[Record]:
    """Return a record for each row, in-data set, metric and group, in the order of the groups.

    Args:
        records: of single out-data sets, as ``tables.records`` returns them.

    The record is that of a cell, with the group's name as ``out_dataset`` and its members as ``mean_of``. A row that
    lacks one of the members has no record. A seed that lacks one of them is left out, and a seed that failed on one of
    them counts as failed.
    """
    rows: dict[tuple[str, str, str], dict[str, Record]] = {}
    for record in records if groups else ():
        place = record["in_dataset"], record["metric"], record["label"]
        rows.setdefault(place, {})[record["out_dataset"]] = record
    means = [
        _mean(name, [by_out[member] for member in members])
        for name, members in groups.items()
        for by_out in rows.values()
        if all(member in by_out and not by_out[member]["problem"] for member in members)
    ]
    return [mean for mean in means if mean["values"] or mean["failed_seeds"]]


def _mean(name: str, members: Sequence[Record]) -> Record:
    first = members[0]
    by_seed = [dict(zip(member["seeds"], member["values"], strict=True)) for member in members]
    there = [seed for seed in sorted(by_seed[0]) if all(seed in values for values in by_seed)]
    failed = {seed for member in members for seed in member["failed_seeds"]}
    values = [float(np.mean([values[seed] for values in by_seed])) for seed in there]
    return first | {
        "out_dataset": name,
        "mean_of": [member["out_dataset"] for member in members],
        "mean": float(np.mean(values)) if values else None,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "values": values,
        "intervals": [None] * len(values),
        "p_best": None,
        "seeds": there,
        "failed_seeds": sorted(failed),
        "runs": [key for seed, key in zip(first["seeds"], first["runs"], strict=True) if seed in there],
        "n_out": sum(member["n_out"] for member in members),
    }
