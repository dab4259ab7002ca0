"""Recomputing metrics from the scores in a store; nothing is fitted or scored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from oodbench.api import Metric
from oodbench.api.full_spectrum import covariate_sets
from oodbench.errors import StoreError, reason
from oodbench.plugin.registry import Registry, load_registry
from oodbench.runs.evaluation import update_results
from oodbench.runs.pipeline import Outcome
from oodbench.runs.task_runner import Failure
from oodbench.store.processes import Busy
from oodbench.store.records import Combination
from oodbench.store.store import Store


def recompute_store(store: str, metrics: Iterable[Metric] | None = None, registry: Registry | None = None) -> Outcome:
    """Apply the metrics (by default all) again to the stored scores of every finished run."""
    registry = registry or load_registry()
    known = registry.metrics
    record, chosen = Store(store), list(known.values() if metrics is None else metrics)
    keys = record.keys()
    if not keys:
        raise StoreError(f"there is no finished run in {store}; `oodbench run` makes one, --store says where")
    record.check_writable()
    failures: list[Failure] = []
    done, left = [], [(key, False) for key in keys]
    while left:
        key, wait = left.pop(0)
        try:
            with record.claim(key, wait=wait):
                failed = _recompute(record, key, chosen, registry)
                _clear_failures(record, key, {*known}, failed)
            failures += [Failure(key, name, reason(error)) for name, error in failed.items()]
            done.append(key)
        except Busy:
            left.append((key, True))  # after all others
        except Exception as error:
            failures.append(Failure(key, "", reason(error)))
    return Outcome(sorted(done), record.read_results(sorted(done)), failures)


def _recompute(store: Store, key: str, metrics: Sequence[Metric], registry: Registry) -> dict[str, Exception]:
    """Recompute the metrics from all scores of a run, also in full spectrum if it has covariate-shifted sets.

    A full-spectrum metric is computed only in full spectrum. Returns what ``update_results`` returns.
    """
    rows = store.read_results([key])[["out_dataset", "covariate"]].itertuples(index=False, name=None)
    by_covariate: dict[str, list[str]] = {}
    for out_dataset, covariate in dict.fromkeys(rows):
        by_covariate.setdefault(covariate, []).append(out_dataset)
    plain = by_covariate.pop("", [])
    full = [({*covariate_sets(covariate)}, out_datasets) for covariate, out_datasets in by_covariate.items()]
    scored = store.out_datasets(key)
    requested = [{*names} for names in scored.values() if names]
    shifted = {name for names, _ in full for name in names}.union(*requested)
    plain = [name for name in scored if name in plain or name not in shifted]
    whole = [names for names in requested if names <= scored.keys()]
    if whole and not full:  # the results are lost; they were of one request, as a run has those of only one
        names = max(whole, key=lambda names: (len(names), sorted(names)))
        full = [(names, [name for name in plain if name not in names])]
    failed = update_results(store, key, plain, metrics, registry.metric_version)
    for names, out_datasets in full:
        failed |= update_results(store, key, out_datasets, metrics, registry.metric_version, names)
    return failed


def _clear_failures(store: Store, key: str, metrics: Collection[str], failed: Collection[str]) -> None:
    """Remove the failure records of out-data sets that now have a result of each of these metrics."""
    run, _ = store.read_run(key)
    results = store.read_results([key])
    for name, found in results[results["covariate"] == ""].groupby("out_dataset")["metric"]:
        if str(name) not in failed and {*found} >= {*metrics}:
            store.clear_earlier_failure(Combination(run, str(name)))
