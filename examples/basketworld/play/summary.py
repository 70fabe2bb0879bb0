"""What a table of episodes shows, in figures."""

from __future__ import annotations

from ..game.outcome import Ending
from .episodes import THREE, TURNOVERS, Episodes


def summarize(episodes: Episodes) -> dict[str, float]:
    """Return the figures of a table, by name; a share of nothing is nan.

    Returns:
        `episodes`, `shots`, `turnovers` and `points` (counts); `fg` (share of shots made), `efg` (a three counts
        half as much again: Σ(points)/2 a shot), `ppp` (points per possession), `shot_share_dunk`, `shot_share_2`,
        `shot_share_3` (of the shots), `fg_dunk`, `fg_2`, `fg_3` (made of each kind), `assist_share` (of the baskets),
        `passes` (an episode), `turnover_share` (of the possessions), `turnovers_stolen`, `turnovers_out`,
        `turnovers_intercepted`, `turnovers_clock` (of the turnovers), `lane_share` (of the episodes: ended by a
        defender who stayed in the lane), `length` (steps an episode), `score_share` (of the episodes: with points).
    """
    shots, lost = int((episodes["attempt"] > 0).sum()), int(episodes.lost.sum())
    made, total = int(episodes.made.sum()), len(episodes)
    threes = int((episodes.made & (episodes["attempt"] == THREE)).sum())
    found = {"episodes": total, "shots": shots, "turnovers": lost, "points": int(episodes["points"].sum())}
    return {
        **{name: float(value) for name, value in found.items()},
        "fg": _share(made, shots),
        "efg": _share(made + 0.5 * threes, shots),
        "ppp": episodes.ppp(),
        **{f"shot_share_{kind}": share for kind, share in episodes.shot_share().items()},
        **_made_by_kind(episodes),
        "assist_share": _share(int((episodes["assisted"] & episodes.made).sum()), made),
        "passes": _share(int(episodes["passes"].sum()), total),
        "turnover_share": _share(lost, int(episodes.possessions.sum())),
        **{f"turnovers_{kind.name.lower()}": _share(_ended(episodes, kind), lost) for kind in TURNOVERS},
        "lane_share": _share(_ended(episodes, Ending.LANE), total),
        "length": _share(int(episodes["length"].sum()), total),
        "score_share": _share(int((episodes["points"] > 0).sum()), total),
    }


def _made_by_kind(episodes: Episodes) -> dict[str, float]:
    names = {1: "dunk", 2: "2", 3: "3"}
    found = {}
    for kind, name in names.items():
        tried = episodes["attempt"] == kind
        found[f"fg_{name}"] = _share(int((tried & episodes.made).sum()), int(tried.sum()))
    return found


def _ended(episodes: Episodes, ending: Ending) -> int:
    return int((episodes["ending"] == ending).sum())


def _share(part: float, whole: int) -> float:
    return part / whole if whole else float("nan")
