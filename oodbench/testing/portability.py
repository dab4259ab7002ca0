"""Checks of a detector in another process, in another precision, and on another device."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from oodbench.api import Context, Detector, FittedBase
from oodbench.testing.case import SHORT_BUDGET, SHORT_IMAGES, DetectorCase, finite, some_images
from oodbench.testing.images import held_out, noise
from oodbench.testing.results import Skip
from oodbench.testing.scoring import needs_evaluation_mode, noise_scores_higher_than_data
from oodbench.testing.subprocesses import run_in_subprocess

BFLOAT16 = 0.1
"""Greatest error of a score in bfloat16, as a share of the range of scores: eight bits, through many layers."""


def saved_state_scores_the_same_elsewhere(case: DetectorCase) -> None:
    """Check that a state saved as safetensors, with parameters as JSON, gives the same scores in another process."""
    from safetensors.torch import load_file, save_file

    fit = case.trained

    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in fit.detector.state().items()}
    params = case.params().canonical()
    bases = {name: dict(values) for name, values in case.base_settings.items()}
    said = {
        "bases": bases,
        "params": params,
        "shape": list(case.shape),
        "device": str(case.device),
        "precision": case.precision,
    }
    with tempfile.TemporaryDirectory(prefix="oodbench-check-") as name:
        folder = Path(name)
        save_file(state, folder / "state.safetensors")
        save_file({"images": some_images(case.shape)}, folder / "images.safetensors")
        run_in_subprocess(score_there, case.detector, case.detector.__module__, folder, **said)
        there = load_file(folder / "scores.safetensors")["scores"]
    worst = float((there - fit.scores).abs().max())
    assert torch.allclose(there, fit.scores, rtol=1e-5, atol=1e-7), (
        f"loaded from its saved state in another process, it scores up to {worst:.3g} differently: state must give all "
        "that score uses (buffers, normalisation constants), and load_state must restore all of it"
    )


def score_there(
    detector: type[Detector],
    folder: Path,
    params: str,
    shape: list[int],
    bases: dict[str, dict[str, Any]],
    **device: str,
) -> None:
    """Load the detector and write its scores to the folder; runs in the other process."""
    from safetensors.torch import load_file, save_file

    channels, height, width = shape
    case = DetectorCase(
        detector,
        (channels, height, width),
        base_settings=bases,
        device=torch.device(device["device"]),
        precision=device["precision"],
    )
    loaded = case.new(detector.Params.model_validate_json(params))
    loaded.load_state(load_file(folder / "state.safetensors", device=device["device"]))
    images = load_file(folder / "images.safetensors")["images"]
    save_file({"scores": case.scores(loaded, images)}, folder / "scores.safetensors")


def bfloat16_stays_close(case: DetectorCase) -> None:
    """Check that bfloat16 scores are close to float32 ones, and that a fit in bfloat16 ends with float32 weights."""
    needs_evaluation_mode(case)
    detector = case.trained.detector
    images = torch.cat([held_out(case.shape, 16), noise(case.shape, 16)])
    exact = case.scores(detector, images)
    half = Context(case.device, precision="bfloat16")
    try:
        with half.autocast():
            rounded = torch.as_tensor(detector.score(images.to(case.device))).detach().cpu().double().flatten()
        short = case.fit(case.params(SHORT_BUDGET), SHORT_IMAGES, context=case.context(precision="bfloat16"))
        fit = finite(short, SHORT_IMAGES)
    except TypeError as error:
        raise AssertionError(f"under --precision bfloat16: {error}; use .float() before numpy") from error
    worst = float((rounded - exact).abs().max() / (exact.max() - exact.min()))
    assert worst < BFLOAT16, (
        f"in bfloat16 a score is off by {worst:.0%} of the range of scores: compute sums, logarithms and differences "
        "of nearly equal numbers in float32"
    )
    low = [name for name, tensor in fit.state.items() if tensor.dtype in (torch.bfloat16, torch.float16)]
    assert not low, f"fitted in bfloat16, {', '.join(low)} is kept in 16 bits: keep weights in float32; autocast rounds"
    assert torch.isfinite(fit.scores).all(), "fitted in bfloat16, its scores are not finite"


def cpu_and_gpu_agree(case: DetectorCase) -> None:
    """Check that CPU and GPU give the same scores, and that a fit on the GPU learns. Raises Skip without a GPU."""
    if not torch.cuda.is_available():
        raise Skip("torch sees no CUDA device here")
    images = some_images(case.shape)
    devices = [torch.device("cpu"), torch.device("cuda")]
    scores = []
    for device in devices:
        other = DetectorCase(case.detector, case.shape, device=device)
        scores.append(other.scores(_moved(case.trained.detector, other), images))
    on_cpu, on_gpu = scores
    worst = float((on_cpu - on_gpu).abs().max())
    assert torch.allclose(on_cpu, on_gpu, rtol=1e-3, atol=1e-5), (
        f"CPU and GPU scores differ by up to {worst:.3g}: create every tensor on the images' device"
    )
    if "noise_scores_higher_than_data" in case.detector.known_findings:
        return
    fitted_there = DetectorCase(
        case.detector,
        case.shape,
        case.values,
        base_settings=case.base_settings,
        device=devices[1],
        progress=case.progress,
    )
    noise_scores_higher_than_data(fitted_there)


def _moved(detector: Detector, case: DetectorCase) -> Detector:
    """Return a copy of a fitted detector, and of its base, on the case's device."""
    copy = type(detector)(detector.params, detector.shape)
    if "fitted_base" in vars(detector):
        base = _moved(detector.fitted_base.detector, case)
        copy.fitted_base = FittedBase(lambda: base, case.context())
    copy.load_state({name: tensor.detach().to(case.device, copy=True) for name, tensor in detector.state().items()})
    return copy
