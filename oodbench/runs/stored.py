"""The fitted detector of a finished run, read from the store; the images that it was fitted to are not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oodbench.api import Context, Detector, FittedBase, Shape
from oodbench.errors import OODBenchError, StoreError
from oodbench.plan.tasks import new_detector, title_of
from oodbench.runs.isolation import isolated

if TYPE_CHECKING:
    from oodbench.data.loading import Loader
    from oodbench.plugin.registry import Registry
    from oodbench.store.store import Store


def open_detector(key: str, store: Store, registry: Registry, loader: Loader, context: Context) -> Detector:
    """Return the fitted detector of a run, with its fitted base if it uses one.

    Nothing is written to the store. ``loader`` finds the images' shape where the record is too old to have it.

    Raises OODBenchError where the installed code is not the run's, StoreError where a file is missing or damaged, or
    the stored fit of the base is not the one that the run used.
    """
    run, provenance = store.read_run(key)
    if run.is_local and run.detector not in registry.detector_names:
        how = f"name it with --detector {provenance.plugin}, or in Python with file="
        raise OODBenchError(f"the run is of {run.detector} of {run.origin}: {how}")
    below, base = provenance.base_run, None
    if run.base:
        if not store.is_fitted(below) or store.fit_id(below) != provenance.base_fit:
            raise StoreError(
                f"{key} stands on {below or title_of(run.base)}, whose fit is not there as it was; run both again"
            )
        fitted = open_detector(below, store, registry, loader, context)
        base = FittedBase(lambda: fitted, context)
    detector = new_detector(run, image_shape(key, store, registry, loader), registry, base)
    with isolated(context.device, title_of(run)):
        detector.load_state(store.read_weights(key, context.device))
    return detector


def image_shape(key: str, store: Store, registry: Registry, loader: Loader) -> Shape:
    """Return (C, H, W) of the images that the run was fitted to.

    Raises StoreError where the shape is known from neither the record, nor the data set, nor the detector.
    """
    run, provenance = store.read_run(key)
    if provenance.shape:
        channels, height, width = provenance.shape
        return channels, height, width
    try:
        shape = loader.shape(run.in_dataset)
    except OODBenchError:  # the folder or the data set's plugin is gone
        shape = None
    able = registry.detector(run.detector).shapes or ()
    if shape is None and len(able) != 1:
        raise StoreError(
            f"the record of {key} is too old to say the shape of its images; have {run.in_dataset} at hand, "
            "or run it again"
        )
    return shape or able[0]
