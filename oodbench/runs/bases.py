"""The fitted base of a run, read from the store, which also keeps its outputs for all detectors that use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from oodbench.api import Context, Detector, FittedBase, ImageSet, Run
from oodbench.errors import BaseNotFitted
from oodbench.plan.tasks import load_detector, run_key, title_of

if TYPE_CHECKING:
    import torch

    from oodbench.plugin.registry import Registry
    from oodbench.store.store import Store


class StoredBase(FittedBase):
    """A base whose outputs are computed once for each set of images, by whichever process comes first.

    Args:
        key: of the base's run.
    """

    def __init__(self, load: Callable[[], Detector], context: Context, store: Store, key: str, run: Run):
        super().__init__(load, context)
        self._untouched = FittedBase(load, context)
        self.store, self.key, self.run = store, key, run
        self.fit_id = store.fit_id(key)
        _, self.provenance = store.read_run(key)

    def outputs_of(self, images: ImageSet) -> Mapping[str, torch.Tensor]:
        """Return the outputs for every image of the set, from the store if it has them (see FittedBase).

        Outputs to be stored come from a separate copy of the base: a detector that uses this one may have changed
        ``detector``.
        """
        stored = self.store.outputs(self.key, self.context.device.type)
        found = stored.read(images.fingerprint)
        if found is not None:
            return found
        with self.store.claim(self.key, on_wait=self.context.progress.message):
            found = stored.read(images.fingerprint)  # computed by another process meanwhile
            if found is not None:
                return found
            what = f"{images.name}, {images.split} split"
            self.context.progress.message(f"computing what {self.run.detector} gives for {what}")
            computed = self._untouched.outputs_of(images)
            stored.write(images.fingerprint, computed)
        return computed


def open_base(
    run: Run, splits: Mapping[str, ImageSet], registry: Registry, store: Store, context: Context
) -> StoredBase | None:
    """Return the fitted base that the run uses; None where it uses none.

    Raises BaseNotFitted, with the reason, where the base is not fitted.
    """
    base = run.base
    if base is None:
        return None
    key = run_key(base, splits)
    if not store.is_fitted(key):
        error = store.read_failure(base)
        why = f"failed: {error}" if error else "is not in the store; run it again"
        raise BaseNotFitted(f"its base, {title_of(base)}, {why}")
    return StoredBase(
        lambda: load_detector(base, splits, registry, lambda key: store.read_weights(key, context.device), context),
        context,
        store,
        key,
        base,
    )


def is_on_this_base(run: Run, key: str, splits: Mapping[str, ImageSet], store: Store) -> bool:
    """Whether the run's stored fit was made with the stored fit of its base; True for a run without a base."""
    if run.base is None:
        return True
    base = run_key(run.base, splits)
    return store.is_fitted(base) and store.read_run(key)[1].base_fit == store.fit_id(base)
