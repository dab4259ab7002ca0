"""Drawing of Figure 2 of the EBAE supplement: two panels, before and after EBAE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oodbench import OODBenchError
from oodbench_ebae.toy import CLUSTERS, HEIGHT, PLANE, Outcome, Snapshot, grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

DATA, CURVE = "white", "tab:red"
DARKEST, BRIGHTEST = 0.01, 1.0
"""Range of errors on the logarithmic colour scale."""


def draw(outcome: Outcome, measured: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Write the figure: the reconstruction error over the plane before and after EBAE, on the same colour scale.

    Args:
        measured: the result of ``measure`` for the outcome.
        path: file to write; its ending selects the format.

    Raises OODBenchError if the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "oodbench"  # makes SVG files reproducible
    figure = Figure(figsize=(9.6, 3.2), layout="constrained", dpi=100)
    panels = figure.subplots(1, 2, sharey=True)
    states = {"before": outcome.before, "after": outcome.after}
    titles = {"before": "Autoencoder", "after": "EBAE: the same decoder, its encoder trained on"}
    for axes, (name, state) in zip(panels, states.items(), strict=True):
        image = _panel(axes, outcome.data, state)
        axes.set_title(titles[name], fontsize=10)
        means = measured[name]
        axes.set_xlabel(
            f"mean error: data {means['data']:.3f}, between {means['between']:.3f}, outside {means['outside']:.3f}",
            fontsize=8,
        )
    panels[0].legend(loc="lower center", ncols=3, fontsize=7, facecolor="0.75", framealpha=0.9)
    bar = figure.colorbar(image, ax=panels, extend="both", pad=0.01)
    bar.set_label("reconstruction error", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise OODBenchError(f"the figure {path} cannot be written: {error}") from None


def _panel(axes: Axes, data: np.ndarray, state: Snapshot) -> AxesImage:
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    columns, rows = grid()
    extent = (columns[0], columns[-1], rows[0], rows[-1])
    scale = LogNorm(DARKEST, BRIGHTEST)
    image = axes.imshow(state.plane, norm=scale, extent=extent, origin="lower", cmap="viridis")
    axes.scatter(data[:, 0], data[:, 1], s=3, color=DATA, alpha=0.6, linewidths=0, label="data")
    axes.plot(*state.curve.T, color=CURVE, linewidth=1.5, label="what the decoder can make")
    for low, high in CLUSTERS:
        axes.add_patch(
            Rectangle((low, HEIGHT[0]), high - low, HEIGHT[1] - HEIGHT[0], fill=False, edgecolor=DATA, linewidth=0.8)
        )
    axes.set(xlim=PLANE[0], ylim=PLANE[1], aspect="equal")
    axes.tick_params(labelsize=7)
    return image
