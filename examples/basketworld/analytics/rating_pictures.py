"""Pictures of a tournament: ratings along the training, and who wins against whom how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...figures import BLUE, GRID, INK, MUTED, ORANGE, begin, dress, explain, whole_numbers
from .ratings import START

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .elo import Standings

_NUMBERED = 14  # models, up to which each field of the map says its number


def draw_evolution(standings: Standings) -> Figure:
    """Draw the ratings along the training, with 95 % intervals, and the Elo that depends on the order."""
    figure, axes = begin((8.0, 4.8))
    x, fit = np.array(standings.alternations), standings.fit
    axes.axhline(START, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(x, fit.ratings, color=BLUE, linewidth=2, marker="o", markersize=4, label="Bradley–Terry, all games")
    axes.fill_between(x, fit.low, fit.high, color=BLUE, alpha=0.16, linewidth=0, label="95 % interval")
    axes.plot(x, standings.elo, color=ORANGE, linewidth=1.2, linestyle=(0, (5, 2)), label="Elo, match by match")
    peak = int(np.argmax(fit.ratings))
    axes.plot(x[peak], fit.ratings[peak], "o", markersize=9, markerfacecolor="none", markeredgecolor=INK, mew=1.4)
    axes.annotate(
        f"strongest: {x[peak]}",
        (x[peak], fit.high[peak]),
        (0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=INK,
    )
    axes.margins(y=0.14)
    whole_numbers(axes)
    games = sum(one.games for one in standings.results)
    dress(axes, f"Strength of {len(x)} checkpoints, {games:,} games", "alternation", "points (the mean is 1,000)")
    explain(figure, 3)
    return figure


def draw_win_rates(standings: Standings) -> Figure:
    """Draw the share of games that each model won against each other one; open where they did not meet."""
    from matplotlib.ticker import PercentFormatter

    wins, games = standings.played()
    count = len(standings.alternations)
    share = np.divide(wins, games, out=np.full(wins.shape, np.nan), where=games > 0)
    side = float(np.clip(0.42 * count + 2.2, 4.6, 9.0))
    figure, axes = begin((side + 1.0, side))
    axes.set_facecolor(GRID)
    image = axes.imshow(share, cmap="RdBu", vmin=0, vmax=1, origin="lower")
    if count <= _NUMBERED:
        for row, column in zip(*np.nonzero(games), strict=True):
            value = share[row, column]
            ink = "white" if abs(value - 0.5) > 0.3 else INK
            axes.text(column, row, f"{value:.0%}", ha="center", va="center", fontsize=8, color=ink)
    step = max(1, round(count / 20))
    labels = [str(number) for number in standings.alternations[::step]]
    axes.set_xticks(range(0, count, step), labels)
    axes.set_yticks(range(0, count, step), labels)
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.ax.tick_params(labelcolor=INK, color=MUTED, length=2)
    bar.outline.set_visible(False)
    dress(axes, "Games won by the row's checkpoint", "against alternation", "alternation")
    axes.grid(visible=False)
    return figure
