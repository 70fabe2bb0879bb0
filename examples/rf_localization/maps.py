"""Pictures of an evaluation, made without pyplot: no global state and no display is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from ..figures import BLUE, GREEN, GRID, INK, MUTED, ORANGE, begin, dress, explain
from .evaluate import BOUND, MODEL, Evaluation
from .local_frame import FRAME, haversine_km
from .receivers import POSITIONS, RECEIVERS

_COLOURS = {
    MODEL: BLUE,
    "multilateration": ORANGE,
    "power-weighted centroid": GREEN,
    "centroid": "#8a6bb1",
    BOUND: INK,
}
_REGION = float(np.sqrt(-2 * np.log1p(-0.68)))  # half axes of the 68 % region, in standard deviations
_BESIDE_KM = 10.0
_Floats = npt.NDArray[np.float64]


def draw_error_map(found: Evaluation) -> Figure:
    """Draw where the model is how far off: a dot a scene, at its true position, among the receivers."""
    figure, axes = begin((7.4, 5.8))
    error = np.maximum(found.errors_km[MODEL], 0.01)
    # The largest errors come last, so that they are not hidden.
    order = np.argsort(error)
    places = FRAME.to_km(found.truth)[order]
    dots = axes.scatter(
        places[:, 0], places[:, 1], c=error[order], s=16, cmap="viridis_r", norm=LogNorm(0.05, 50), linewidths=0
    )
    dots.set_label("transmitter, where it truly is")
    _draw_receivers(axes)
    _frame(axes, places)
    bar = figure.colorbar(dots, ax=axes, shrink=0.85, pad=0.02, extend="both")
    bar.set_label("error in km", color=INK)
    bar.formatter = StrMethodFormatter("{x:g}")
    bar.ax.tick_params(labelcolor=INK)
    bar.outline.set_visible(False)
    median = float(np.median(found.errors_km[MODEL]))
    dress(axes, f"Error of the model on {len(error):,} scenes, median {median:.2f} km", "km east", "km north")
    explain(figure, 2)
    return figure


def draw_cumulative(found: Evaluation) -> Figure:
    """Draw what share of scenes each method gets within how many kilometres, and the bound."""
    figure, axes = begin((7.4, 4.8))
    for name, errors in {**found.errors_km, BOUND: found.bound_km}.items():
        ordered = np.sort(np.maximum(errors, 1e-3))
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        style = (0, (4, 3)) if name == BOUND else "-"
        # A bound is not of an error that was made, but of the root mean square of those that can be.
        label = f"{name}{' (root mean square)' if name == BOUND else ''}, median {np.median(errors):.2f} km"
        axes.step(ordered, share, where="post", color=_COLOURS[name], linestyle=style, linewidth=1.8, label=label)
    axes.set_xscale("log")
    axes.set_xlim(0.02, 300)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    dress(axes, f"Errors on {len(found.truth):,} scenes", "km, on a logarithmic scale", "scenes within it")
    explain(figure, 2)
    return figure


def draw_calibration(found: Evaluation) -> Figure:
    """Draw how many true positions lie in the regions that the model draws, against how many should."""
    figure, axes = begin((5.4, 5.2))
    level = np.linspace(0.01, 0.99, 99)
    covered = (found.distance2[:, None] <= -2 * np.log1p(-level)).mean(0)
    spread = 1.96 * np.sqrt(level * (1 - level) / len(found.truth))
    axes.fill_between(
        level, level - spread, level + spread, color=GRID, label="where 95 % of honest models lie", linewidth=0
    )
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="as it should be")
    axes.plot(level, covered, color=_COLOURS[MODEL], linewidth=1.8, label="the model")
    for one in (0.5, 0.68, 0.95):
        axes.plot(one, found.coverage(one), color=_COLOURS[MODEL], marker="o", markersize=6, markeredgecolor="white")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    dress(axes, "Is the uncertainty honest?", "region that should hold", "true positions in it")
    axes.legend(frameon=False, loc="upper left", labelcolor=INK)
    return figure


def draw_positions(positions: _Floats, sigmas: _Floats, truth: _Floats | None = None) -> Figure:
    """Draw located transmitters with their 68 % regions, among the receivers.

    Args:
        positions: (N, 2) degrees.
        sigmas: (N, 2) km, east and north.
        truth: (N, 2) degrees, where it is known: a line leads there.
    """
    figure, axes = begin((6.6, 6.2))
    places = FRAME.to_km(positions)
    size = 2 * _REGION * sigmas
    regions = EllipseCollection(
        size[:, 0], size[:, 1], np.zeros(len(size)), units="xy", offsets=places, transOffset=axes.transData
    )
    regions.set(facecolor=_COLOURS[MODEL], alpha=0.18, edgecolor="none")
    axes.add_collection(regions)
    axes.scatter(places[:, 0], places[:, 1], s=14, color=_COLOURS[MODEL], label="located")
    # A collection has no picture in a legend of its own.
    axes.fill([], [], color=_COLOURS[MODEL], alpha=0.18, linewidth=0, label="its 68 % region")
    title, drawn = f"{len(places):,} transmitters", places
    if truth is not None:
        there = FRAME.to_km(truth)
        axes.add_collection(LineCollection(list(np.stack([places, there], 1)), colors=MUTED, linewidths=0.8))
        axes.scatter(
            there[:, 0], there[:, 1], s=12, color=_COLOURS["multilateration"], marker="x", label="true position"
        )
        title += f", median error {np.median(haversine_km(positions, truth)):.2f} km"
        drawn = np.concatenate([places, there])
    _draw_receivers(axes)
    _frame(axes, drawn)
    dress(axes, title, "km east", "km north")
    explain(figure, 4)
    return figure


def save_pictures(found: Evaluation, folder: Path) -> list[Path]:
    """Draw all pictures of an evaluation into a folder; return the files."""
    figures = {
        "error_map.png": draw_error_map(found),
        "error_cdf.png": draw_cumulative(found),
        "calibration.png": draw_calibration(found),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / name, bbox_inches="tight")
    return [folder / name for name in figures]


def _draw_receivers(axes: Axes) -> None:
    places = FRAME.to_km(POSITIONS)
    axes.scatter(places[:, 0], places[:, 1], marker="^", s=70, color=INK, edgecolor="white", zorder=5, label="receiver")
    for receiver, (east, north) in zip(RECEIVERS, places, strict=True):
        # Two of them are neighbours, whose names go to either side; one lies where the map ends.
        side = -6 if receiver.name in ("Coazze", "Milano-Baggio") else 6
        axes.annotate(
            receiver.name,
            (east, north),
            (side, 5),
            textcoords="offset points",
            ha="right" if side < 0 else "left",
            fontsize=8,
            color=INK,
            zorder=6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _frame(axes: Axes, places: _Floats) -> None:
    """Have a map end a little beyond what is on it, receivers too, at the same scale east and north."""
    drawn = np.concatenate([places, FRAME.to_km(POSITIONS)])
    low, high = drawn.min(0) - _BESIDE_KM, drawn.max(0) + _BESIDE_KM
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
