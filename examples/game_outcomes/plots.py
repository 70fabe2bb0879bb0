"""Figures of a trained model, made without pyplot: no global state and no display is touched."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..figures import BLUE, GREEN, INK, MUTED, ORANGE, begin, dress

_COLOURS = (BLUE, ORANGE, GREEN)
_Floats = npt.NDArray[np.float64]


def plot_calibration(outcomes: npt.ArrayLike, forecasts: Mapping[str, npt.ArrayLike], bins: int = 10) -> Figure:
    """Draws how often the home team won against how often it was expected to.

    Args:
        outcomes: 1 where the home team won, else 0.
        forecasts: For each name in the legend, probabilities of a home win; at most three.
        bins: How many groups of equal size each forecast's games are cut into.

    Returns:
        A figure: above, one point a group with its 95 % Wilson interval; below, how the
        probabilities are distributed.
    """
    figure, (upper, lower) = begin((6.4, 6.6), rows=2, sharex=True, height_ratios=[4, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="perfect calibration")
    won = np.asarray(outcomes, dtype="float64")
    for (name, values), colour in zip(forecasts.items(), _COLOURS, strict=False):
        chance = np.asarray(values, dtype="float64")
        groups = [group for group in np.array_split(np.argsort(chance, kind="stable"), bins) if len(group)]
        _draw_groups(upper, [chance[group] for group in groups], [won[group] for group in groups], name, colour)
        lower.hist(chance, bins=np.linspace(0, 1, 41).tolist(), histtype="step", color=colour, linewidth=1.4)
    dress(upper, "Calibration on the test season", "", "home wins observed")
    dress(lower, "", "probability of a home win", "games")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    upper.yaxis.set_major_formatter(PercentFormatter(1.0))
    lower.xaxis.set_major_formatter(PercentFormatter(1.0))
    upper.legend(frameon=False, loc="upper left", labelcolor=INK)
    return figure


def _draw_groups(axes: Axes, chances: list[_Floats], wins: list[_Floats], name: str, colour: str) -> None:
    expected = np.array([group.mean() for group in chances])
    observed = np.array([group.mean() for group in wins])
    sizes = np.array([len(group) for group in wins], dtype="float64")
    low, high = _bound_share(observed, sizes)
    spread = np.vstack([np.maximum(observed - low, 0), np.maximum(high - observed, 0)])
    axes.errorbar(expected, observed, yerr=spread, fmt="none", ecolor=colour, alpha=0.35, linewidth=2)
    axes.plot(expected, observed, color=colour, marker="o", markersize=6, markeredgecolor="white", label=name)


def _bound_share(share: _Floats, size: _Floats) -> tuple[_Floats, _Floats]:
    """Gives the 95 % interval of a share; E. B. Wilson, "Probable Inference" (JASA 1927)."""
    z2 = 1.959964**2
    centre = (share + z2 / (2 * size)) / (1 + z2 / size)
    half = np.sqrt(z2 * (share * (1 - share) / size + z2 / (4 * size**2))) / (1 + z2 / size)
    return centre - half, centre + half


def plot_importance(importance: pd.Series, most: int = 15) -> Figure:
    """Draws the features that gain most.

    Args:
        importance: Share of the total gain by feature name, largest first.
        most: How many features are shown.

    Returns:
        A figure with one bar a feature.
    """
    shown = importance.head(most).iloc[::-1]
    figure, axes = begin((7.2, 0.34 * len(shown) + 1.4))
    labels = [str(name).replace("_", " ") for name in shown.index]
    values = shown.to_numpy(dtype="float64")
    axes.barh(labels, values, color=_COLOURS[0], height=0.62)
    for place, value in enumerate(values):
        axes.annotate(
            f"{value:.1%}", (value, place), (4, 0), textcoords="offset points", va="center", color=MUTED, fontsize=8
        )
    dress(axes, "What the model relies on", "share of the total gain", "")
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))  # whole per cents
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlim(0, max(float(values.max(initial=0.0)), 1e-9) * 1.12)
    return figure


def plot_learning(history: pd.DataFrame) -> Figure:
    """Draws the log loss by boosting round, and the round that was kept.

    Args:
        history: What `read_history` gave.

    Returns:
        A figure with one curve a season group.
    """
    figure, axes = begin((7.2, 4.2))
    rounds = history["round"].to_numpy(dtype="float64")
    for name, colour in (("train", _COLOURS[0]), ("validation", _COLOURS[1])):
        axes.plot(
            rounds, history[f"{name}_log_loss"].to_numpy(dtype="float64"), color=colour, label=name, linewidth=1.8
        )
    best = int(history["validation_log_loss"].to_numpy(dtype="float64").argmin())
    axes.axvline(rounds[best], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=f"kept: round {best + 1}")
    dress(axes, "Learning curves", "boosting round", "log loss")
    axes.legend(frameon=False, labelcolor=INK)
    return figure
