"""Pictures of an evaluation: one checkpoint's figures, and how they went along the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...figures import BLUE, INK, MUTED, RED, begin, dress, explain, whole_numbers
from ..play.intervals import Interval
from .playing import DEFENSE, OFFENSE, Played

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..game.rules import Rules

Figures = Mapping[tuple[int, str], Mapping[str, Interval]]
_COLOURS = {OFFENSE: BLUE, DEFENSE: RED}
_SAID = {OFFENSE: "as the offence", DEFENSE: "as the defence: what it allows"}
_COURSE = {
    "ppp": "Points per possession",
    "efg": "Effective field goals",
    "assist_share": "Baskets after a pass",
    "turnover_share": "Possessions lost",
}
_SHEET = {
    "fg": "field goals made",
    "efg": "effective field goals",
    "shot_share_dunk": "shots that are dunks",
    "shot_share_2": "shots for two",
    "shot_share_3": "shots for three",
    "fg_2": "two-pointers made",
    "fg_3": "threes made",
    "assist_share": "baskets after a pass",
    "turnover_share": "possessions lost",
    "turnovers_stolen": "… of them stolen",
    "turnovers_out": "… passed out",
    "turnovers_intercepted": "… intercepted",
    "turnovers_clock": "… by the clock",
}


def draw_course(alternations: Sequence[int], figures: Figures, opponent: str) -> Figure:
    """Draw four figures along the training, in both roles, with 95 % intervals."""
    from matplotlib.ticker import PercentFormatter

    against_itself = opponent == "itself"
    figure, grid = begin((9.6, 6.6), 2, 2)
    for number, (axes, (name, title)) in enumerate(zip(grid.flat, _COURSE.items(), strict=True)):
        for role in (OFFENSE,) if against_itself else (OFFENSE, DEFENSE):
            _draw_line(axes, alternations, [figures[one, role][name] for one in alternations], role, number == 0)
        if name != "ppp":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        whole_numbers(axes)
        dress(axes, title, "alternation" if number > 1 else "")
    figure.suptitle(f"Against {opponent}", x=0.01, ha="left", color=MUTED, fontsize=10)
    if not against_itself:
        explain(figure, 2)
    return figure


def _draw_line(axes: Axes, x: Sequence[int], found: Sequence[Interval], role: str, named: bool) -> None:
    colour = _COLOURS[role]
    low, value, high = np.array([(one.low, one.value, one.high) for one in found]).T
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    label = _SAID[role] if named else None
    axes.plot(x, value, color=colour, linewidth=1.8, marker="o", markersize=3.5, label=label)


def draw_sheet(played: Played, figures: Figures) -> Figure:
    """Draw the shares of one checkpoint in both roles, with 95 % intervals."""
    from matplotlib.ticker import PercentFormatter

    own = {role: figures[played.alternation, role] for role in played.roles}
    roles = [OFFENSE] if played.offense is played.defense else [OFFENSE, DEFENSE]
    never = _never(played.offense.rules)
    names = [name for name in _SHEET if name not in never and any(np.isfinite(own[role][name].value) for role in roles)]
    figure, axes = begin((7.6, 0.34 * len(names) + 2.0))
    for number, role in enumerate(roles):
        shift = 0.0 if len(roles) == 1 else 0.26 * (number - 0.5)
        _draw_dots(axes, [own[role][name] for name in names], shift, role, own[role]["ppp"])
    axes.set_yticks(range(len(names)), [_SHEET[name] for name in names])
    axes.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    dress(
        axes,
        played.title[0].upper() + played.title[1:],
        f"share, with its 95 % interval; {len(played.offense.episodes):,} episodes a role",
    )
    axes.tick_params(axis="y", labelcolor=INK)
    explain(figure, 1)
    return figure


def _never(rules: Rules) -> set[str]:
    """Return the figures of what the rules do not let happen."""
    dunks = set() if rules.dunks else {"shot_share_dunk"}
    return dunks if rules.lane_steals else dunks | {"turnovers_intercepted"}


def _draw_dots(axes: Axes, found: Sequence[Interval], shift: float, role: str, ppp: Interval) -> None:
    colour = _COLOURS[role]
    low, value, high = np.array([(one.low, one.value, one.high) for one in found]).T
    y = np.arange(len(found)) + shift
    known = np.isfinite(value)
    label = f"{_SAID[role]}, {ppp.value:.2f} points per possession ({ppp.low:.2f} to {ppp.high:.2f})"
    axes.hlines(y[known], low[known], high[known], color=colour, linewidth=3.5, alpha=0.3)
    axes.plot(value[known], y[known], "o", color=colour, markersize=5.5, label=label)
