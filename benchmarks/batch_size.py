"""The effect of the batch size of EBAE training on AUROC: fits that differ only in it, with the same number of epochs.

A batch has as many chains as images. Larger batches fill a GPU better, but make fewer updates; this shows what that
costs, before the default is changed. The fits are kept in a store, and finished ones are not repeated.

    python -m benchmarks.batch_size --in mnist5k:0,2-9 --out mnist5k:1 --sizes 32,64,128,256 --seeds 3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.machine import describe, median
from oodbench.plan.requests import RunRequest
from oodbench.runs.pipeline import ExecutionOptions, run
from oodbench.store.store import Store


def measure(words: RunRequest, sizes: Sequence[int], store: str = "results/batch-size", jobs: int = 1) -> str:
    """Return a section of the page: AUROC by batch size, mean ± sample standard deviation over seeds; fit seconds."""
    lines = [
        f"| batch | {' | '.join(words.out_datasets)} | seconds of a fit |",
        "|---" * (len(words.out_datasets) + 2) + "|",
    ]
    for size in sizes:
        asked = words.overridden_by(RunRequest(detectors=("ebae",), sets=(*words.sets, f"batch_size={size}")))
        outcome = run(asked, options=ExecutionOptions(store, jobs=jobs))
        auroc = outcome.results.query("metric == 'auroc'").groupby("out_dataset").value
        cells = [f"{auroc.get_group(out).mean():.3f} ± {auroc.get_group(out).std():.3f}" for out in words.out_datasets]
        seconds = median([Store(store).read_run(key)[1].fit_seconds for key in outcome.keys])
        lines.append(f"| {size} | {' | '.join(cells)} | {seconds:.0f} |")
    heading = f"EBAE on {', '.join(words.in_datasets)}, preset {words.preset}, {len(words.seeds)} seeds; AUROC."
    return f"### Batch size\n\n{heading}\n\n" + "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", dest="in_dataset", required=True)
    parser.add_argument("--out", action="append", required=True)
    parser.add_argument("--sizes", default="32,64,128,256")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--store", default="results/batch-size")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    chosen = RunRequest(
        in_datasets=(given.in_dataset,),
        out_datasets=tuple(given.out),
        seeds=tuple(range(given.seeds)),
        preset=given.preset,
        sets=tuple(given.set),
        precision=given.precision,
    )
    print(
        describe(), measure(chosen, [int(size) for size in given.sizes.split(",")], given.store, given.jobs), sep="\n\n"
    )
