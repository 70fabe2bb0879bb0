"""`heatmap` and `shotchart`: where the teams stand, and where their shots come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..game.maps import hex_map
from ..game.rules import Rules
from ..play.intervals import wilson
from .analysis import analysis
from .playing import DEFENSE, OFFENSE, play_roles
from .request import Request, TrainingRun

if TYPE_CHECKING:
    import pandas as pd

    from ..play.episodes import Episodes

TEAM = {OFFENSE: 0, DEFENSE: 1}
CMAPS = {OFFENSE: "YlGnBu", DEFENSE: "YlOrRd"}
SAID = {OFFENSE: "Offence", DEFENSE: "Defence"}
_Counts = npt.NDArray[np.int64]


def places(rules: Rules) -> dict[str, Any]:
    """Return the columns that say which hexagon a row is of."""
    from ..game.court import get_court

    row, column = np.divmod(np.arange(rules.size**2), rules.size)
    return {"row": row, "column": column, "distance": get_court(rules.size).to_basket}


def shares(counts: _Counts) -> npt.NDArray[np.float64]:
    """Return counts as shares of all; NaN where nobody ever was."""
    return np.where(counts > 0, counts / max(1, int(counts.sum())), np.nan)


def run_heatmap(request: Request) -> tuple[dict[str, Any], pd.DataFrame]:
    """Play, and log how often the team stood on which hexagon, in either role, to a child run.

    Returns:
        What `--json` prints, and a row a hexagon and role.

    Raises:
        NotFoundError: There is no such run, or no such alternation.
    """
    training = TrainingRun(request.run_id)
    last = training.chosen(request)
    with analysis("heatmap", training, request, alternation=last) as found:
        (played,) = play_roles(training, [last], request, (OFFENSE, DEFENSE))
        stood = {role: part.occupancy[:, TEAM[role]].sum(0) for role, part in played.roles.items()}
        table = _occupancy_table(stood, played.offense.rules)
        found.table("occupancy", table)
        for role, counts in stood.items():
            title = f"{SAID[role]}: {played.title}"
            label = f"share of time; {int(counts.sum()):,} player steps"
            figure = hex_map(
                shares(counts), played.offense.rules, title=title, label=label, cmap=CMAPS[role], percent=True
            )
            found.picture(f"heatmap_{role}", figure)
            found.metrics[f"heatmap/{role}_mean_distance"] = _mean_distance(counts, played.offense.rules)
    return found.told() | {"occupancy": table.to_dict("records")}, table


def run_shotchart(request: Request) -> tuple[dict[str, Any], pd.DataFrame]:
    """Play, and log how many shots the policy took and made from which hexagon to a child run.

    Returns:
        What `--json` prints, and a row a hexagon with shots.

    Raises:
        NotFoundError: There is no such run, or no such alternation.
    """
    training = TrainingRun(request.run_id)
    last = training.chosen(request)
    with analysis("shotchart", training, request, alternation=last) as found:
        (played,) = play_roles(training, [last], request, (OFFENSE,))
        rules, episodes = played.offense.rules, played.offense.episodes
        attempts, makes = count_shots(episodes)
        table = _shot_table(attempts, makes, rules)
        found.table("shots", table)
        made = np.divide(makes, attempts, out=np.full(len(makes), np.nan), where=attempts > 0)
        shots, share = int(attempts.sum()), wilson(int(makes.sum()), int(attempts.sum()))
        title = f"Shots of {played.title}: {share.value:.0%} of {shots:,} made" if shots else "No shots"
        figure = hex_map(
            made, rules, title=title, label="field goals made", counts=attempts, cmap="RdYlBu_r", limits=(0.0, 1.0),
            percent=True,
        )  # fmt: skip
        found.picture("shotchart", figure)
        found.metrics |= {"shotchart/attempts": float(shots), "shotchart/makes": float(makes.sum())}
    return found.told() | {"shots": table.to_dict("records")}, table


def count_shots(episodes: Episodes) -> tuple[_Counts, _Counts]:
    """Return (cells,) attempts and (cells,) makes."""
    cells = episodes.rules.size**2
    tried = episodes["attempt"] > 0
    attempts = np.bincount(episodes["cell"][tried], minlength=cells)
    makes = np.bincount(episodes["cell"][tried & episodes.made], minlength=cells)
    return attempts.astype(np.int64), makes.astype(np.int64)


def _occupancy_table(stood: dict[str, _Counts], rules: Rules) -> pd.DataFrame:
    import pandas as pd

    frames = [
        pd.DataFrame({"role": role, **places(rules), "steps": counts, "share": counts / max(1, int(counts.sum()))})
        for role, counts in stood.items()
    ]
    return pd.concat(frames, ignore_index=True)


def _shot_table(attempts: _Counts, makes: _Counts, rules: Rules) -> pd.DataFrame:
    import pandas as pd

    found = [wilson(int(made), int(tried)) for made, tried in zip(makes, attempts, strict=True)]
    table = pd.DataFrame(
        {
            **places(rules),
            "attempts": attempts,
            "makes": makes,
            "made_share": [one.value for one in found],
            "low": [one.low for one in found],
            "high": [one.high for one in found],
        }
    )
    return table[table["attempts"] > 0].reset_index(drop=True)


def _mean_distance(counts: _Counts, rules: Rules) -> float:
    return float((counts * places(rules)["distance"]).sum() / max(1, int(counts.sum())))
