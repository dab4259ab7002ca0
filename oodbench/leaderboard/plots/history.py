"""Training curves: every quantity that detectors recorded, over the epochs of all phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oodbench.errors import OODBenchError, UnknownName
from oodbench.leaderboard.drawing import COLOURS, label_outer, line_style, paper_style, plain_text, save
from oodbench.leaderboard.plots.selection import OnDamaged, select_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from oodbench.store.store import Store

NOT_SHOWN = {"phase", "epoch", "seconds"}
VALIDATION = "validation_"
COLUMNS = 3
Histories = Mapping[str, Sequence["pd.DataFrame"]]
"""Row → one history per seed, as ``Store.read_history`` returns it."""


def draw_history(
    store: Store,
    names: Sequence[str],
    path: Path,
    in_dataset: str = "",
    quantities: Sequence[str] = (),
    title: str = "",
    on_damaged: OnDamaged = None,
) -> None:
    """Draw a panel for each quantity, with a line for each run of the rows (see ``select_rows``).

    The horizontal axis counts the epochs of all phases; the start of each phase is marked. A quantity and its
    ``validation_`` counterpart share a panel.

    Args:
        quantities: columns of the histories; empty for all numbers except epoch and seconds.

    Raises OODBenchError where a quantity is unknown, no run has any, or there are more rows than colours.
    """
    rows = select_rows(store, names, in_dataset, "", on_damaged)
    if len(rows) > len(COLOURS):  # dashes mark what was measured on validation images
        raise OODBenchError(f"{len(rows)} rows are more than a figure can tell apart ({len(COLOURS)}); name fewer")
    histories = {row.label: [store.read_history(key) for key in row.runs.values()] for row in rows}
    panels = list(dict.fromkeys(_panel_of(name, histories) for name in _chosen(histories, quantities)))
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    with paper_style():
        from matplotlib.figure import Figure

        size = (max(3.6, 2.4 * columns), 1.7 * lines + 0.5 + 0.15 * len(rows))
        figure = Figure(figsize=size, layout="constrained", dpi=300)
        places: np.ndarray = figure.subplots(lines, columns, squeeze=False)
        for axes, quantity in zip(places.flat, panels, strict=False):
            _draw_quantity(axes, quantity, histories)
        label_outer(places, len(panels), "epoch, over all phases")
        figure.suptitle(plain_text(title or f"in: {rows[0].in_dataset}", 90), fontsize=8)
        _legend(figure, histories, panels)
        save(figure, path)


def _chosen(histories: Histories, quantities: Sequence[str]) -> list[str]:
    """Return the columns to show, by default in the order in which they were recorded."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    known = dict.fromkeys(
        str(name)
        for seeds in histories.values()
        for history in seeds
        for name in history
        if name not in NOT_SHOWN and is_numeric_dtype(history[name]) and not is_bool_dtype(history[name])
    )
    for name in quantities:
        if name not in known:
            raise UnknownName("quantity of a training curve", name, known)
    if not known:
        raise OODBenchError("these runs recorded no training curve")
    return list(quantities or known)


def _panel_of(name: str, histories: Histories) -> str:
    """Return the quantity in whose panel a column is drawn: ``validation_loss`` is drawn with ``loss``."""
    plain = name.removeprefix(VALIDATION)
    there = any(plain in history for seeds in histories.values() for history in seeds)
    return plain if there else name


def _draw_quantity(axes: Axes, quantity: str, histories: Histories) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter

    drawn: list[np.ndarray] = []
    for number, seeds in enumerate(histories.values()):
        colour, _ = line_style(number)
        for history in seeds:
            for name, dashes in ((quantity, "-"), (VALIDATION + quantity, "--")):
                if name in history:
                    values = _finite(history[name])
                    drawn.append(values)
                    epochs = np.arange(1, len(values) + 1)
                    marker = "o" if np.isfinite(values).sum() < 2 else ""  # one point makes no line
                    axes.plot(
                        epochs, values, color=colour, linestyle=dashes, linewidth=0.9, marker=marker, markersize=2
                    )
    _mark_phases(axes, histories)
    axes.set_title(plain_text(quantity.replace("_", " ")))
    shown = np.concatenate([values[np.isfinite(values)] for values in drawn])
    if len(shown) and shown.min() > 0 and shown.max() / shown.min() > 30:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.12)  # room for the phases' names
    axes.set_xlim(0.5, 0.5 + max(len(history) for seeds in histories.values() for history in seeds))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _finite(column: pd.Series) -> np.ndarray:
    """Return the values as float64 (epochs,), NaN where a phase has no value or the fit diverged."""
    values = column.to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _mark_phases(axes: Axes, histories: Histories) -> None:
    """Draw a line where each phase begins, with its name; grey if all rows have the same phases."""
    marks = [phase_starts(seeds[0]) for seeds in histories.values()]
    are_alike = all(starts == marks[0] for starts in marks)
    for number, starts in enumerate(marks[:1] if are_alike else marks):
        colour = "0.5" if are_alike else line_style(number)[0]
        for epoch, name in starts if len(starts) > 1 else ():
            if epoch > 1:
                axes.axvline(epoch - 0.5, color=colour, linewidth=0.6, linestyle=":")
            axes.annotate(plain_text(name, 16), (epoch - 0.5, 1), (2, -1 - 7 * number), ("data", "axes fraction"),
                          "offset points", color=colour, fontsize=5.5, va="top")  # fmt: skip


def phase_starts(history: pd.DataFrame) -> list[tuple[int, str]]:
    """Return (epoch counted over all phases, name) of the start of each phase; empty where phases have no names."""
    if "phase" not in history:
        return []
    phases = history["phase"].astype(str).tolist()
    return [(n, name) for n, name in enumerate(phases, 1) if n == 1 or name != phases[n - 2]]


def _legend(figure: Figure, histories: Histories, panels: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for number, (label, seeds) in enumerate(histories.items()):
        text = plain_text(label) + (f" ({len(seeds)} seeds)" if len(seeds) > 1 else "")
        handles.append(Line2D([], [], color=line_style(number)[0], linewidth=1.5, label=text))
    if any(VALIDATION + quantity in history for quantity in panels for s in histories.values() for history in s):
        handles.append(Line2D([], [], color="0.3", linewidth=1, linestyle="--", label="on validation images"))
    figure.legend(handles=handles, loc="outside lower center")
