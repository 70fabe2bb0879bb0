"""Elo ratings before each game.

Sources: A. E. Elo, "The Rating of Chessplayers, Past and Present" (1978), for expectation and
update; FiveThirtyEight, "How Our NBA Predictions Work", for the season's carry-over, the home
advantage in rating points and the multiplier of the margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .games import SORT_KEY


@dataclass(frozen=True)
class EloConfig:
    """Constants of the ratings, in rating points unless said otherwise.

    Attributes:
        k: The most that one game can move a rating.
        home_advantage: Added to the home team's rating for the expectation.
        carry: Share of the distance to the mean that a team keeps between seasons.
        mean: Rating of a new team.
        scale: Rating difference at which the odds are ten to one.
        use_margin: Whether the update grows with the margin; needs points.
    """

    k: float = 20.0
    home_advantage: float = 50.0
    carry: float = 0.65
    mean: float = 1500.0
    scale: float = 400.0
    use_margin: bool = False


def expect_home_win(difference: float, scale: float = 400.0) -> float:
    """Gives Elo's expectation, 1 / (1 + 10^(-difference / scale)).

    Args:
        difference: Home rating plus home advantage minus away rating, in rating points.
        scale: Rating difference at which the odds are ten to one.
    """
    return float(1.0 / (1.0 + 10.0 ** (-difference / scale)))


def weigh_margin(margin: float, winner_edge: float) -> float:
    """Gives FiveThirtyEight's multiplier, (|margin| + 3)^0.8 / (7.5 + 0.006 * winner_edge).

    Args:
        margin: Points between the teams.
        winner_edge: By how many rating points the winner was ahead before the game, home
            advantage included; the divisor keeps favourites from gaining without bound.
    """
    return float((abs(margin) + 3.0) ** 0.8 / (7.5 + 0.006 * winner_edge))


def rate_elo(games: pd.DataFrame, config: EloConfig | None = None) -> pd.DataFrame:
    """Gives both teams' ratings as they stood before each game's date.

    Args:
        games: A table of games in any order.
        config: The constants.

    Returns:
        `home_elo`, `away_elo` (rating points) and `elo_probability` (of a home win), with the
        index of `games`.
    """
    config = config or EloConfig()
    ordered = games.sort_values(SORT_KEY)
    ratings: dict[str, float] = {}
    before = np.empty((len(ordered), 2))
    place = 0
    for season, of_season in ordered.groupby("season", sort=True):
        if season != ordered["season"].iloc[0]:
            _regress(ratings, config)
        for home, away, won, margin in _iterate(of_season, config.use_margin):
            # A team plays once a day, so its rating here is that from before the date.
            before[place] = ratings.get(home, config.mean), ratings.get(away, config.mean)
            step = _step(before[place, 0], before[place, 1], won, margin, config)
            ratings[home], ratings[away] = before[place, 0] + step, before[place, 1] - step
            place += 1
    frame = pd.DataFrame(before, columns=["home_elo", "away_elo"], index=ordered.index)
    edge = frame["home_elo"] + config.home_advantage - frame["away_elo"]
    frame["elo_probability"] = 1.0 / (1.0 + 10.0 ** (-edge / config.scale))
    return frame.loc[games.index]


def _iterate(games: pd.DataFrame, use_margin: bool) -> list[tuple[str, str, int, float]]:
    margins = (games["home_points"] - games["away_points"]).tolist() if use_margin else [0.0] * len(games)
    return list(zip(games["home"].tolist(), games["away"].tolist(), games["home_win"].tolist(), margins, strict=True))


def _regress(ratings: dict[str, float], config: EloConfig) -> None:
    for team, rating in ratings.items():
        ratings[team] = config.mean + config.carry * (rating - config.mean)


def _step(home: float, away: float, won: int, margin: float, config: EloConfig) -> float:
    edge = home + config.home_advantage - away
    step = config.k * (won - expect_home_win(edge, config.scale))
    if config.use_margin:
        step *= weigh_margin(margin, edge if won else -edge)
    return step
