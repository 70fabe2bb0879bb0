"""Maps of the court with a number for each hexagon, drawn with matplotlib: heat maps and shot charts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

from ...figures import INK, MUTED, begin
from .court import get_court
from .outlines import Floats, centres, corners, edge_of_floor, extent, three_point_line
from .rules import Rules

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FLOOR, _SEAM, _EDGE, _LANE, _RIM = "#f4e6cf", "#e3cfae", "#8a6236", "#e9cfab", "#e2571e"
_LEAST_SCALE = 0.28  # of a hexagon with a single shot, so that it can be seen
_SHARE_OF_CELL = 0.94  # of a full one: the floor shows between neighbours


def hex_map(
    values: npt.NDArray[np.floating],
    rules: Rules,
    *,
    title: str,
    label: str,
    counts: npt.NDArray[np.integer] | None = None,
    counted: str = "attempts",
    cmap: str = "YlOrRd",
    limits: tuple[float, float] | None = None,
    centre: float | None = None,
    percent: bool = False,
) -> Figure:
    """Draw a number a hexagon as colour.

    Args:
        values: (cells,); NaN is left open.
        rules: The court's.
        title: Above the map.
        label: Beside the colour bar: what is measured, with its unit.
        counts: (cells,) of what the values are made of: the hexagons' areas. Those of 0 are left open.
        counted: What the counts are of.
        cmap: A colour map of matplotlib.
        limits: Values of the first and the last colour; else those that occur.
        centre: The value of the middle colour, for diverging maps.
        percent: Whether values are shares, written as percent.

    Returns:
        A figure that belongs to nobody: save it, then drop it. No display and no global state is touched.

    Raises:
        InvalidInputError: Values or counts are not one a cell, or the limits are not in order.
    """
    shown, scales = _checked(values, rules, counts)
    figure, axes = begin((7.2, 5.6))
    draw_court(axes, rules)
    drawn = _draw_hexagons(axes, rules, shown, scales, cmap)
    drawn.set_norm(_norm(shown[np.isfinite(shown)], limits, centre))
    bar = figure.colorbar(drawn, ax=axes, shrink=0.82, pad=0.02, aspect=28)
    bar.set_label(label, color=INK)
    bar.ax.tick_params(color=MUTED, labelcolor=INK, length=2)
    bar.outline.set_visible(False)
    if percent:
        from matplotlib.ticker import PercentFormatter

        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    if counts is not None:
        _explain_sizes(axes, rules, int(np.max(counts)), counted)
    axes.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold", pad=8)
    return figure


def draw_court(axes: Axes, rules: Rules) -> None:
    """Draw floor, lane, lines and basket into axes that a court then fills, in steps, y to the south."""
    from matplotlib.collections import LineCollection, PolyCollection

    court, places = get_court(rules.size), centres(rules.size)
    colours = np.where(court.lane(rules.three_distance), _LANE, _FLOOR)
    axes.add_collection(PolyCollection(list(corners(places)), facecolors=colours, edgecolors=_SEAM, linewidths=0.6))
    edge, three = edge_of_floor(rules.size), three_point_line(rules.size, rules.three_distance)
    axes.add_collection(LineCollection(list(edge), colors=_EDGE, linewidths=1.6, capstyle="round", zorder=3))
    axes.add_collection(LineCollection(list(three), colors="white", linewidths=4.2, capstyle="round", zorder=3))
    axes.add_collection(LineCollection(list(three), colors=INK, linewidths=1.5, capstyle="round", zorder=3.1))
    x, y = places[court.basket]
    axes.plot([x - 0.34, x - 0.34], [y - 0.36, y + 0.36], color=INK, linewidth=2.5, zorder=4)
    axes.plot([x], [y], marker="o", markersize=9, markerfacecolor="none", markeredgecolor="white", mew=4.2, zorder=4)
    axes.plot([x], [y], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=_RIM, mew=2.2, zorder=4)
    left, top, right, bottom = extent(rules.size)
    axes.set(xlim=(left - 0.15, right + 0.15), ylim=(bottom + 0.15, top - 0.15), aspect="equal")
    axes.axis("off")


def _checked(
    values: npt.NDArray[np.floating], rules: Rules, counts: npt.NDArray[np.integer] | None
) -> tuple[Floats, Floats]:
    cells = rules.size**2
    for name, given in (("values", values), ("counts", counts)):
        if given is not None and np.shape(given) != (cells,):
            raise InvalidInputError(
                f"{name} of shape {np.shape(given)} do not fit a court of {cells} cells", hint="give one number a cell"
            )
    shown = np.array(values, float)
    if counts is None:
        return shown, np.full(cells, _SHARE_OF_CELL)
    shown[np.asarray(counts) <= 0] = np.nan
    return shown, _scales(np.asarray(counts), int(np.max(counts)))


def _scales(counts: npt.NDArray[np.integer], most: int) -> Floats:
    """Give hexagons an area in proportion to their counts, and the smallest one that can be seen."""
    share = np.sqrt(np.clip(counts, 0, None) / max(most, 1))
    return np.asarray(np.maximum(_SHARE_OF_CELL * share, _LEAST_SCALE), float)


def _draw_hexagons(axes: Axes, rules: Rules, values: Floats, scales: Floats, cmap: str):  # type: ignore[no-untyped-def]
    from matplotlib.collections import PolyCollection

    known = np.isfinite(values)
    hexagons = corners(centres(rules.size)[known], scales[known])
    drawn = PolyCollection(list(hexagons), cmap=cmap, edgecolors="#00000030", linewidths=0.5, zorder=2)
    drawn.set_array(values[known])
    axes.add_collection(drawn)
    return drawn


def _norm(values: Floats, limits: tuple[float, float] | None, centre: float | None):  # type: ignore[no-untyped-def]
    from matplotlib.colors import Normalize, TwoSlopeNorm

    low, high = limits or ((float(values.min()), float(values.max())) if len(values) else (0.0, 1.0))
    if not low <= high:
        raise InvalidInputError(f"the limits {low:g} and {high:g} are not in order", hint="give the lower one first")
    if centre is None:
        return Normalize(low, high if high > low else low + 1e-9 + abs(low) * 0.1)
    # As far to one side as to the other: a colour as strong means a difference as large.
    far = max(high - centre, centre - low, 1e-9)
    return TwoSlopeNorm(centre, centre - far, centre + far)


def _explain_sizes(axes: Axes, rules: Rules, most: int, counted: str) -> None:
    """Draw hexagons of a few counts below the court."""
    from matplotlib.collections import PolyCollection

    left, _, _, bottom = extent(rules.size)
    numbers = np.unique(np.maximum(1, np.round(most * np.array([0.05, 0.25, 1])).astype(int)))
    places = np.stack([left + 0.6 + 2.6 * np.arange(len(numbers)), np.full(len(numbers), bottom + 0.85)], 1)
    scales = _scales(numbers, most)
    shapes = list(corners(places, scales))
    axes.add_collection(PolyCollection(shapes, facecolors=MUTED, edgecolors="none", zorder=2))
    for (x, y), number, scale in zip(places, numbers, scales, strict=True):
        words = f"{number:,}" if number != numbers[-1] else f"{number:,} {counted}"
        axes.text(x + 0.5 * scale + 0.15, y, words, va="center", ha="left", fontsize=9, color=INK)
    axes.set_ylim(bottom + 1.6, axes.get_ylim()[1])
