"""A sheet of images with their scores: those that a detector finds most unusual."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oodbench.leaderboard.drawing import COLOURS, IN_COLOUR, paper_style, plain_text, save

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = 8
CELL = 1.15  # inches
LONGEST_NAME = 18


def draw_sheet(images: np.ndarray, rows: pd.DataFrame, path: Path, title: str = "") -> None:
    """Write a figure of images, each with its score and p-value above and its name below; a frame marks the flagged.

    Args:
        images: uint8 (k, C, H, W).
        rows: one per image, in the same order: ``path``, ``index``, ``score``, ``p_value``, ``flagged``.
        path: file to write; its suffix is the format: png, svg, pdf.

    Raises OODBenchError where the suffix names no format or the file cannot be written.
    """
    columns = min(COLUMNS, max(len(images), 1))
    lines = max(1, -(-len(images) // columns))
    with paper_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(CELL * columns, (CELL + 0.35) * lines + 0.4), layout="constrained", dpi=150)
        places = figure.subplots(lines, columns, squeeze=False)
        figure.suptitle(plain_text(title, 120), fontsize=9)
        for axes in places.flat[len(images) :]:
            axes.remove()
        for axes, image, row in zip(places.flat, images, rows.to_dict("records"), strict=False):
            picture = image.transpose(1, 2, 0)
            axes.imshow(picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture, interpolation="nearest")
            colour = COLOURS[1] if row["flagged"] else IN_COLOUR
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{row['score']:.4g}\np = {row['p_value']:.2g}", fontsize=6, color=colour, pad=2)
            axes.set_xlabel(_name(str(row["path"]), int(row["index"])), fontsize=5)
            for side in axes.spines.values():
                side.set(visible=bool(row["flagged"]), color=colour, linewidth=1.5)
        save(figure, path)


def _name(path: str, index: int) -> str:
    """Return the end of a path, which says more than its start; the index where there is no path."""
    shown: Sequence[str] = path or f"image {index}"
    return plain_text(str(shown) if len(shown) <= LONGEST_NAME else f"…{shown[1 - LONGEST_NAME :]}")
