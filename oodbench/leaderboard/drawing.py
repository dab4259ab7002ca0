"""Common parts of all figures: colours that everyone can distinguish, one style, and reproducible files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodbench.errors import OODBenchError
from oodbench.text import printable, shorten
from oodbench.writing import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's palette for all kinds of colour vision, without its yellow, which vanishes on white."""

DASHES = ("-", "--", ":", "-.")
IN_COLOUR = "0.45"
BINS = 50
LONGEST_LABEL = 60
NO_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # fonts that journals accept
    "svg.hashsalt": "oodbench",  # the same figure is the same file
}
LINES = len(COLOURS) * len(DASHES)
"""The most lines that can be distinguished in one figure."""


@contextmanager
def paper_style() -> Iterator[None]:
    """Return a context for drawing and saving in this style, whatever the user's own matplotlib settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def line_style(number: int) -> tuple[str, str]:
    """Return the colour and dashes of a figure's line: all colours first, then all again with other dashes."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def plain_text(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return a name that is safe to draw: no mathematics, no control characters, at most ``longest`` characters."""
    shown = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return printable(shown.replace("\n", " ")).replace("$", r"\$")


def bin_edges(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return edges of bins over all scores, and whether they are logarithmic.

    They are logarithmic where the scores are positive and span more than a decade.
    """
    low, high = values.min(), values.max()
    if low == high:
        return np.linspace(low - 0.5, high + 0.5, BINS), False
    log = bool(low > 0 and high / low > 10)
    return (np.geomspace(low, high, BINS) if log else np.linspace(low, high, BINS)), log


def label_outer(places: np.ndarray, used: int, x_label: str, y_label: str = "") -> None:
    """Label a grid of panels (rows, columns) at its left and lower edges only, and remove panels that are not used."""
    columns = places.shape[1]
    for number, axes in enumerate(places.flat):
        if number >= used:
            axes.remove()
        if number % columns == 0:
            axes.set_ylabel(y_label)
        if number + columns >= used:
            axes.set_xlabel(x_label)


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's suffix (png, svg, pdf). The same figure gives the same bytes.

    Raises OODBenchError where the suffix names no format, or the file cannot be written.
    """
    kind, drawn = path.suffix[1:].lower() or "png", io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # it is drawn as a box
            figure.savefig(drawn, format=kind, metadata=NO_DATE.get(kind))
    except ValueError:
        raise OODBenchError(
            f"{shorten(str(path))} is not a supported figure format: end it with .png, .pdf or .svg"
        ) from None
    write_file(path, drawn.getvalue(), f"the figure {shorten(str(path))}")
