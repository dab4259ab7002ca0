"""Step 5: results → ranked tables → Markdown.

Results are rows as ``storage`` reads them. Values are shown as they are: an AUROC below 0.5 is a finding.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oodbench.api import SCORE_CONVENTION, Metric
from oodbench.errors import OODBenchError

if TYPE_CHECKING:
    import pandas as pd

HOW_TO_READ = (
    "A cell is the mean over seeds ± the sample standard deviation; with one seed, its value. Rows are ranked by their "
    "mean, those that lack a cell last. The best of each column is bold."
)


def records(results: pd.DataFrame, metrics: Iterable[Metric]) -> list[dict[str, Any]]:
    """One dict per detector, in-data set, out-data set and metric, over its seeds; all of it fit for JSON.

    ``label`` tells apart the parameters that one detector was run with; ``sd`` (ddof 1) is None for one seed.
    Raises OODBenchError, saying which command makes some, where there are no results.
    """
    metrics = list(metrics)
    labelled = _chosen(_labelled(results), metrics)
    groups = dict(list(labelled.groupby(["in_dataset", "out_dataset", "label", "metric"])))
    triples = sorted({key[:3] for key in groups})
    return [
        _record(groups[*triple, metric.name], metric)
        for triple in triples
        for metric in metrics
        if (*triple, metric.name) in groups
    ]


def table(results: pd.DataFrame, in_dataset: str, metric: Metric) -> pd.DataFrame:
    """Detectors (rows, best first) by out-data sets, cells as Markdown text: ``**0.957 ± 0.003**``."""
    import pandas as pd

    cells = pd.DataFrame(records(results[results["in_dataset"] == in_dataset], [metric]))
    cells["text"] = [_text(mean, sd) for mean, sd in zip(cells["mean"], cells["sd"], strict=True)]
    means = cells.pivot(index="label", columns="out_dataset", values="mean")
    texts = cells.pivot(index="label", columns="out_dataset", values="text")
    shown = means.round(3)
    best = shown.max() if metric.higher_is_better else shown.min()
    texts = texts.mask(shown == best, "**" + texts + "**").fillna("–")
    texts.columns = pd.Index([f"{out} {_arrow(metric)}" for out in texts.columns])
    return texts.loc[_ranked(means, metric)].rename_axis("detector")


def summary(results: pd.DataFrame, metrics: Iterable[Metric]) -> str:
    """In-data set, out-data set and detector (rows) by metrics, as plain text for the terminal."""
    import pandas as pd

    metrics = list(metrics)
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for record in records(results, metrics):
        seeds = ", ".join(map(str, record["seeds"]))
        row = rows.setdefault((record["in_dataset"], record["out_dataset"], record["label"], seeds), {})
        row[record["metric"]] = _text(record["mean"], record["sd"])
    named = [dict(zip(("in", "out", "detector", "seeds"), names, strict=True)) | row for names, row in rows.items()]
    arrows = {metric.name: f"{metric.name} {_arrow(metric)}" for metric in metrics}
    frame = pd.DataFrame(named).rename(columns=arrows).fillna("–")
    return frame.to_markdown(tablefmt="simple", index=False, disable_numparse=True)


def render(results: pd.DataFrame, metrics: Iterable[Metric], title: str = "") -> str:
    """A Markdown page: for each in-data set a table a metric, then how the runs were made, with notes as footnotes."""
    metrics = list(metrics)
    labelled = _chosen(_labelled(results), metrics)
    notes = _notes(labelled)
    marks = {names: f"[^{number}]" for number, names in enumerate(notes, 1)}
    parts = [f"# {title or 'Leaderboard'}", HOW_TO_READ]
    for in_dataset, runs in labelled.groupby("in_dataset"):
        parts.append(f"## In-distribution: {in_dataset}")
        marked = {label: mark for (of, label), mark in marks.items() if of == in_dataset}
        for metric in metrics:
            if metric.name in set(runs["metric"]):
                parts += [f"### {metric.name} {_arrow(metric)}: {metric.summary}"]
                parts += [_markdown(table(labelled, str(in_dataset), metric), marked), SCORE_CONVENTION]
        parts += ["### How these runs were made", _markdown(_facts(runs), marked), _image_counts(str(in_dataset), runs)]
    parts += [f"{marks[names]}: {text}" for names, text in notes.items()]
    return "\n\n".join(parts) + "\n"


# --------------------------------------------------------------------------------------- cells


def _chosen(results: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    if results.empty:
        raise OODBenchError("there are no results yet; `oodbench run --detector … --in … --out …` makes some")
    chosen = results[results["metric"].isin([metric.name for metric in metrics])]
    if chosen.empty:
        names = ", ".join(metric.name for metric in metrics) or "no metric"
        raise OODBenchError(f"there are no results of {names} yet; `oodbench evaluate` makes them from stored scores")
    return chosen


def _record(group: pd.DataFrame, metric: Metric) -> dict[str, Any]:
    """The rows of one cell, one a seed."""
    group = group.sort_values("seed")
    first = group.iloc[0]
    facts = {name: first[name] for name in ("detector", "label", "preset", "precision", "plugin_version")}
    return {
        **facts,
        "params": json.loads(first["params"]),
        "in_dataset": first["in_dataset"],
        "out_dataset": first["out_dataset"],
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "mean": float(group["value"].mean()),
        "sd": float(group["value"].std(ddof=1)) if len(group) > 1 else None,
        "values": group["value"].tolist(),
        "seeds": group["seed"].tolist(),
        "runs": group["run"].tolist(),
        "n_train": int(first["n_train"]),
        "n_in": int(first["n_in"]),
        "n_out": int(first["n_out"]),
        "notes": sorted({note for note in group["notes"] if note}),
    }


def _text(mean: float, sd: float | None) -> str:
    """``sd`` is None, or NaN where pandas made it so, for one seed."""
    return f"{mean:.3f}" if sd is None or sd != sd else f"{mean:.3f} ± {sd:.3f}"


def _arrow(metric: Metric) -> str:
    return "↑" if metric.higher_is_better else "↓"


def _ranked(means: pd.DataFrame, metric: Metric) -> pd.Index:
    """The rows, best mean first; a row that lacks a cell comes after those that have all."""
    import pandas as pd

    sign = -1 if metric.higher_is_better else 1
    order = pd.DataFrame({"missing": means.isna().sum(axis=1), "mean": sign * means.mean(axis=1)})
    return order.sort_values(["missing", "mean"], kind="stable").index


# --------------------------------------------------------------------------------- what a row is


def _labelled(results: pd.DataFrame) -> pd.DataFrame:
    """With the column ``label``: the detector, its preset unless that is ``paper``, and what else tells runs apart.

    Part of a table that has labels keeps them, as it may lack the very runs they set apart.
    """
    if "label" in results:
        return results
    runs = results.drop_duplicates("run")
    labels: dict[str, str] = {}
    for (_, detector, preset), alike in runs.groupby(["in_dataset", "detector", "preset"]):
        for run, difference in _differences(alike).items():
            labels[run] = ", ".join([str(detector), *_preset_label(str(preset)), *difference])
    return results.assign(label=results["run"].map(labels))


def _preset_label(preset: str) -> list[str]:
    if preset == "paper":
        return []
    return [f"reduced (preset {preset})" if preset.startswith("quick") else f"preset {preset}"]


def _differences(runs: pd.DataFrame) -> dict[str, list[str]]:
    """For each run the facts, other than the seed, in which these runs are not all alike: ``latent_dim=8``."""
    facts = {row["run"]: _identity(row) for row in runs.to_dict("records")}
    seeds = dict(zip(runs["run"], runs["seed"], strict=True))
    twins = Counter((repr(facts[run]), seeds[run]) for run in facts)
    for run, fact in facts.items():
        if twins[repr(fact), seeds[run]] > 1:  # only their data differ: not two seeds of one thing
            fact["run"] = run.rpartition("-")[2]
    names = dict.fromkeys(name for fact in facts.values() for name in fact)
    differing = [name for name in names if len({repr(fact.get(name)) for fact in facts.values()}) > 1]
    return {run: [f"{name}={fact[name]}" for name in differing if name in fact] for run, fact in facts.items()}


def _identity(row: Mapping[Any, Any]) -> dict[str, Any]:
    facts = {"version": row["plugin_version"], "precision": row["precision"], "n_train": row["n_train"]}
    return _flat(json.loads(row["params"])) | facts


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in params.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


# ------------------------------------------------------------------------- below the tables


def _facts(results: pd.DataFrame) -> pd.DataFrame:
    """How the runs of one in-data set were made, one row a label."""
    import pandas as pd

    rows = {label: _fact(runs.drop_duplicates("run")) for label, runs in results.groupby("label")}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("detector")


def _fact(runs: pd.DataFrame) -> dict[str, str]:
    return {
        "preset": _each(runs["preset"]),
        "precision": _each(runs["precision"]),
        "plugin version": _each(runs["plugin_version"]),
        "seeds": ", ".join(map(str, sorted(runs["seed"]))),
        "training images": _counts(runs["n_train"]),
        "parameters": _counts(runs["parameters"]),
        "fit seconds": f"{runs['fit_seconds'].mean():,.1f}",
        "device": _each(runs["device"]),
    }


def _image_counts(in_dataset: str, results: pd.DataFrame) -> str:
    outs = [f"{out} {_counts(rows['n_out'])}" for out, rows in results.groupby("out_dataset")]
    return f"Images scored: in {in_dataset} {_counts(results['n_in'])}; out {', '.join(outs)}."


def _notes(results: pd.DataFrame) -> dict[tuple[str, str], str]:
    """For each in-data set and label that has notes: the notes, each with the seeds it is about."""
    texts = {}
    noted = results[results["notes"] != ""].drop_duplicates("run")
    for (in_dataset, label), runs in noted.groupby(["in_dataset", "label"]):
        each = [f"{text} (seed {', '.join(map(str, sorted(of['seed'])))})" for text, of in runs.groupby("notes")]
        texts[str(in_dataset), str(label)] = f"{label} on {in_dataset}: {'; '.join(each)}"
    return texts


def _each(values: pd.Series) -> str:
    return ", ".join(sorted(set(values)))


def _counts(values: pd.Series) -> str:
    return " or ".join(f"{value:,}" for value in sorted(set(values)))


def _markdown(frame: pd.DataFrame, marks: Mapping[str, str]) -> str:
    """With a footnote mark behind each row's name that has one. Numbers are text already and are left as they are."""
    marked = frame.rename(index={label: label + marks.get(label, "") for label in frame.index})
    return marked.to_markdown(tablefmt="github", disable_numparse=True)
