"""Selection of the results of the newest version of each detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oodbench.errors import OODBenchError

if TYPE_CHECKING:
    import pandas as pd
    from packaging.version import Version

SOURCE = ["plugin_version", "distribution"]


def latest_versions(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the newest version of each detector, failures included.

    The newest is the greatest version, as Python packages are ordered, among the runs that have results. Where code of
    one version has several source fingerprints, it is that of the run created last.

    Args:
        results: rows as ``Store.read_results`` and ``read_failures`` return them.

    Raises OODBenchError where creation times are needed for that, but missing, as in older rows.
    """
    done = results[results["metric"] != ""]
    only_failed = results[~results["detector"].isin(done["detector"])]
    newest: dict[Any, tuple[str, str]] = {}
    for runs in (done, only_failed):
        for detector, rows in runs.drop_duplicates("run").groupby("detector"):
            newest[detector] = _newest(str(detector), rows)
    sources = results[SOURCE].itertuples(index=False, name=None)
    keep = [newest[name] == source for name, source in zip(results["detector"], sources, strict=True)]
    return results[keep].reset_index(drop=True)


def _newest(detector: str, runs: pd.DataFrame) -> tuple[str, str]:
    """Return the version and distribution of the newest code, given one row per run of one detector."""
    versions = {text: public_version(text) for text in runs["plugin_version"]}
    greatest = max(versions.values())
    rows = runs[[versions[text] == greatest for text in runs["plugin_version"]]]
    sources = [*rows[SOURCE].itertuples(index=False, name=None)]
    if len(set(sources)) == 1:
        return sources[0]
    is_failure = (rows["metric"] == "").all()  # failures have no creation time: any of them will do
    if not is_failure and (rows["created"] == "").any():
        texts = ", ".join(sorted({version for version, _ in sources}))
        raise OODBenchError(
            f"which code of {detector} ({texts}) is the latest is not on record; run or publish it again"
        )
    return max(zip(rows["created"], rows["run"], sources, strict=True))[2]


def public_version(text: str) -> Version:
    """Return ``0.1.1`` for ``0.1.1+5a85784f027a4875``; a text that is no version counts as older than any."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(text.partition("+")[0])
    except InvalidVersion:
        return Version("0.dev0")
