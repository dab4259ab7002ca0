"""``oodbench ebae-figure2``: Figure 2 of the EBAE supplement, as an image and in numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from oodbench_ebae.toy_settings import Settings

MEASURES = {
    "data": "mean error on the data",
    "between": "between the clusters",
    "outside": "outside the clusters",
    "decoder_curve_off_data": "on the decoder's curve off the clusters",
    "auroc": "AUROC of the data against all that is off the clusters",
    "auroc_between": "AUROC of the data against what is between the clusters",
}


def option(field: str, **how: Any) -> Callable[[Any], Any]:
    """Return the command-line option for a field of Settings, with its default."""
    return click.option(f"--{field.replace('_', '-')}", default=getattr(Settings, field), show_default=True, **how)


@click.command("ebae-figure2")
@option("seed", type=click.IntRange(0), help="Seed of points, weights and noise.")
@option("epochs", type=click.IntRange(0), help="Epochs of EBAE.")
@option("learning_rate", type=click.FloatRange(0, min_open=True), help="Learning rate of EBAE.")
@option("latent_noise", type=click.FloatRange(0), help="Standard deviation of the noise in the latent chain.")
@option("visible_noise", type=click.FloatRange(0), help="Standard deviation of the noise in the visible chain.")
@option("anneal", type=click.Choice(["supplement", "code", "none"]), help="Decay of visible noise; see `show ebae`.")
@option("box", type=click.FloatRange(0, min_open=True), help="Visible samples stay between -BOX and BOX.")
@option("energy", type=click.Choice(["mean", "sum"]), help="Mean or sum of the squared error over the two coordinates.")
@option("gamma", type=click.FloatRange(0), help="Weight of the mean squared energy of samples.")
@click.option(
    "--output",
    default="figure2.png",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to draw; its ending selects the format: png, svg, pdf.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(output: Path, as_json: bool, **given: Any) -> None:
    """Draw Figure 2 of the EBAE supplement, an experiment in the plane.

    "The EBAE supplement" is the supplement to Suppressing Outlier Reconstruction in Autoencoders for
    Out-of-Distribution Detection (2020). An autoencoder with a code of one number is trained on two uniform clusters of
    200 points each; then EBAE trains its encoder. The figure shows the reconstruction error over the plane before and
    after EBAE; the printed numbers are mean errors, their increase, and AUROCs. The options set values that §4 of the
    supplement does not give. It takes less than a minute on an idle CPU.
    """
    from oodbench_ebae import toy, toy_figure

    settings = Settings(**given)
    with click.progressbar(length=toy.AE_EPOCHS + settings.epochs, label="Training", file=sys.stderr) as bar:
        outcome = toy.run(settings, lambda: bar.update(1))
    measured = toy.measure(outcome)
    toy_figure.draw(outcome, measured, output)
    if as_json:
        click.echo(json.dumps({"settings": asdict(settings), **measured}, indent=2))
    else:
        _print(measured)
    click.echo(f"Written to {output}", err=True)


def _print(measured: Mapping[str, Mapping[str, float]]) -> None:
    width = max(map(len, MEASURES.values()))
    click.echo(f"{'':{width}}  before   after  times")
    for name, text in MEASURES.items():
        before, after = measured["before"][name], measured["after"][name]
        rose = "" if name.startswith("auroc") else f"{after / before:7.1f}"
        click.echo(f"{text:{width}} {before:7.3f} {after:7.3f}{rose}")
