"""`evaluate`: the figures of a box score, with intervals, for one checkpoint or for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..game.outcome import Ending
from ..play.episodes import DUNK, THREE, TURNOVERS, TWO, Episodes
from ..play.intervals import Interval, mean_interval, ppp_interval, wilson
from .analysis import Analysis, analysis
from .choices import Format
from .crews import crew_for, do
from .playing import DEFENSE, OFFENSE, Played, play_roles, scene_units
from .request import Request, TrainingRun

if TYPE_CHECKING:
    import pandas as pd

_KINDS = {DUNK: "dunk", TWO: "2", THREE: "3"}
_MOST_WORTH = 1.5  # of a shot, beside one for two
# What is logged as metrics; the table has all.
_LOGGED = ("ppp", "fg", "efg", "assist_share", "turnover_share", "passes", "shot_share_3")


def measure(episodes: Episodes) -> dict[str, Interval]:
    """Return the figures of a table of episodes with 95 % intervals; those of nothing are NaN.

    Shares have Wilson's interval, points per possession a bootstrap's over episodes, means a normal one.
    """
    tried, made, lost = episodes["attempt"] > 0, episodes.made, episodes.lost
    shots = int(tried.sum())
    worth = np.where(episodes["attempt"] == THREE, 1.5, 1.0) * made
    found = {
        "ppp": ppp_interval(episodes),
        "fg": wilson(int(made.sum()), shots),
        "efg": _effective(worth[tried], made[tried]),
    }
    for kind, name in _KINDS.items():
        of_kind = episodes["attempt"] == kind
        found[f"shot_share_{name}"] = wilson(int(of_kind.sum()), shots)
        found[f"fg_{name}"] = wilson(int((of_kind & made).sum()), int(of_kind.sum()))
    found["assist_share"] = wilson(int((episodes["assisted"] & made).sum()), int(made.sum()))
    found["passed_shot_share"] = wilson(int((episodes["passer"] >= 0).sum()), shots)
    found["passes"] = _within(mean_interval(episodes["passes"]))
    found["length"] = _within(mean_interval(episodes["length"]))
    found["turnover_share"] = wilson(int(lost.sum()), int(episodes.possessions.sum()))
    for ending in TURNOVERS:
        found[f"turnovers_{ending.name.lower()}"] = wilson(int((episodes["ending"] == ending).sum()), int(lost.sum()))
    found["lane_share"] = wilson(int((episodes["ending"] == Ending.LANE).sum()), len(episodes))
    return found


def _effective(worth: npt.NDArray[np.float64], made: npt.NDArray[np.bool_]) -> Interval:
    """Return the effective share of shots by what each was worth; where all are worth the same, as sure as a share."""
    if len(worth) and np.ptp(worth) > 0:
        return _within(mean_interval(worth), _MOST_WORTH)
    share = wilson(int(made.sum()), len(made))
    value = float(worth[0]) if len(worth) else math.nan
    return Interval(value, share.low * float(np.nan_to_num(value)), share.high * _MOST_WORTH)


def _within(found: Interval, most: float = math.inf) -> Interval:
    """Return an interval without what cannot be: a normal one of few values reaches below nothing."""
    return Interval(found.value, max(0.0, found.low), min(most, found.high))


def run_evaluate(
    request: Request, every: bool = False, films: int = 3, film_format: Format = Format.GIF
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Play, and log the figures to a child run.

    Returns:
        What `--json` prints, and the table of figures.

    Raises:
        NotFoundError: There is no such run, or no such alternation.
    """
    training = TrainingRun(request.run_id)
    last = training.chosen(request)
    alternations = training.alternations if every else [last]
    with analysis("evaluate", training, request, every=every, alternation=None if every else last) as found:
        played = play_roles(training, alternations, request, (OFFENSE, DEFENSE))
        figures = {
            (one.alternation, role): measure(part.episodes) for one in played for role, part in one.roles.items()
        }
        table = _table(played, figures)
        found.table("evaluation", table)
        found.table("episodes", _rows(played))
        _draw(found, played, figures)
        _film(found, training, request, last, films, film_format)
        found.by_step = {one.alternation: _metrics(one, figures) for one in played}
    return found.told() | {"metrics": found.by_step, "evaluation": table.to_dict("records")}, table


def _table(played: Sequence[Played], figures: Mapping[tuple[int, str], Mapping[str, Interval]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "alternation": one.alternation,
                "opponent": one.opponent,
                "role": role,
                "episodes": len(part.episodes),
                "measure": name,
                "value": interval.value,
                "low": interval.low,
                "high": interval.high,
            }
            for one in played
            for role, part in one.roles.items()
            for name, interval in figures[one.alternation, role].items()
        ]
    )


def _rows(played: Sequence[Played]) -> pd.DataFrame:
    """Return all episodes; those against itself once."""
    import pandas as pd

    frames = []
    for one in played:
        for role, part in one.roles.items():
            if role == OFFENSE or part is not one.offense:
                frame = part.episodes.frame()
                frame.insert(0, "alternation", one.alternation)
                frame.insert(1, "role", role)
                frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _metrics(one: Played, figures: Mapping[tuple[int, str], Mapping[str, Interval]]) -> dict[str, float]:
    return {
        f"{role}/{name}": figures[one.alternation, role][name].value
        for role in one.roles
        for name in _LOGGED
        if math.isfinite(figures[one.alternation, role][name].value)
    }


def _draw(found: Analysis, played: Sequence[Played], figures: Mapping[tuple[int, str], Mapping[str, Interval]]) -> None:
    from .evaluation_pictures import draw_course, draw_sheet

    if len(played) > 1:
        found.picture("course", draw_course([one.alternation for one in played], figures, played[-1].opponent))
    found.picture("sheet", draw_sheet(played[-1], figures))


def _film(
    found: Analysis, training: TrainingRun, request: Request, alternation: int, films: int, film_format: Format
) -> None:
    if films < 1:
        return
    from .films import film_scenes

    sides = training.fetch([alternation, training.opponent_of(alternation, request)])
    with crew_for(1) as crew:
        scenes = do(crew, scene_units(training, alternation, request, sides, films), "episodes to look at")
    film_scenes(scenes, found.path(f"episodes.{film_format}"), alternation)
