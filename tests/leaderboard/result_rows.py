"""Rows of results as a store gives them, for tests of what is made from them."""

from __future__ import annotations

import json
from typing import Any


def result_row(
    detector: str, out: str, value: float, seed: int, metric: str, in_dataset: str, **facts: Any
) -> dict[str, Any]:
    """Return one row; ``facts`` stand in for those of a run of 12 seconds on 7,200 images. ``params`` is a mapping."""
    params = facts.pop("params", {})
    facts = {"preset": "paper", "n_train": 7200, **facts}
    key = abs(hash((str(params), facts["preset"], facts["n_train"])))
    return {
        "run": f"{detector}-{in_dataset}-s{seed}-{key:x}",
        "detector": detector,
        "in_dataset": in_dataset,
        "out_dataset": out,
        "seed": seed,
        "metric": metric,
        "value": value,
        "n_in": 1000,
        "n_out": 500,
        "params": json.dumps(params),
        "precision": "float32",
        "distribution": "",
        "plugin_version": "0.1.0",
        "plugin_commit": "",
        "device": "cpu",
        "fit_seconds": 12.0,
        "parameters": 4321,
        "notes": "",
        "error": "",
        "covariate": "",
        **facts,
    }
