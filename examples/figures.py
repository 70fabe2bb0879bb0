"""What the pictures of all examples share: ink, frames, and figures that belong to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#22303c", "#7a8894", "#e3e8ec"
BLUE, ORANGE, GREEN, RED = "#0b6e99", "#d9730d", "#4d8b31", "#b3263a"


def begin(size_inches: tuple[float, float], rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """Return a figure and its axes, made without pyplot: no global state and no display is touched.

    Args:
        size_inches: Width and height.
        rows: Of axes; with one row and one column, they are returned alone, else in an array.
        columns: Of axes.
        grid: More arguments of `Figure.subplots`, such as `sharex`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inches, dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **grid)


def dress(axes: Axes, title: str, x_label: str = "", y_label: str = "") -> None:
    """Give axes a title, labels, and a quiet frame."""
    axes.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold", pad=10)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelcolor=INK, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(side == "bottom")
        axes.spines[side].set_color(GRID)


def whole_numbers(axes: Axes) -> None:
    """Have ticks along x at whole numbers only, for what is counted there."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def explain(figure: Figure, columns: int) -> None:
    """Put one legend below all axes."""
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, labelcolor=INK, fontsize=9)
