"""Strengths of teams as the hidden state of a filter, with the doubt about them.

Elo moves every rating by the same constant. A filter moves a strength the more, the less is
known of it: far in a season's first weeks, little at its end. It also learns the home
advantage and the cost of a back-to-back from the games alone, and lets the home advantage
drift, as it did in seasons played without spectators.

The state holds, in log-odds, one strength a team and three effects (home, home team on a
back-to-back, away team on one). A game's log-odds are x'state with x = +1 for the home team,
-1 for the away team, +1 for home and the two indicators. After each date the state is updated by the
extended Kalman step for a logistic observation; between dates its variance grows.

Sources: L. Fahrmeir and G. Tutz, "Dynamic Stochastic Models for Time-Dependent Ordered Paired
Comparison Systems" (JASA 1994); M. E. Glickman, "Parameter Estimation in Large Dynamic Paired
Comparison Experiments" (Applied Statistics 1999). The prediction averages over the doubt with
the approximation of D. J. C. MacKay, "The Evidence Framework Applied to Classification
Networks" (1992): sigmoid(mean / sqrt(1 + pi * variance / 8)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from .games import SORT_KEY

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_EFFECT_MEANS = (0.35, -0.2, 0.2)
_EFFECT_VARIANCES = (0.02, 0.05, 0.05)
_MOST_DAYS = 10  # a longer pause adds no more doubt than this many days


@dataclass(frozen=True)
class StrengthConfig:
    """Constants of the filter; variances are in squared log-odds.

    Attributes:
        first_variance: Doubt about a team before its first game.
        season_variance: Doubt added between two seasons.
        day_variance: Doubt added a day within a season.
        home_day_variance: Doubt about the home advantage added a day.
        carry: Share of a strength kept between seasons.
    """

    first_variance: float = 0.5
    season_variance: float = 0.15
    day_variance: float = 7e-4
    home_day_variance: float = 1e-5
    carry: float = 0.65


@dataclass
class _State:
    mean: _Floats
    covariance: _Floats
    teams: int

    def forecast(self, places: _Ints, signs: _Floats) -> tuple[float, float, _Floats]:
        """Gives mean and variance of the log-odds, and the state's covariance with them.

        Columns are added one by one, not by a matrix product, so that a further team in the
        table cannot change the last digit of another's numbers.
        """
        reach = np.zeros_like(self.mean)
        for place, sign in zip(places, signs, strict=True):
            reach += sign * self.covariance[:, place]
        variance = sum(sign * reach[place] for place, sign in zip(places, signs, strict=True))
        mean = sum(sign * self.mean[place] for place, sign in zip(places, signs, strict=True))
        return float(mean), float(variance), reach

    def update(self, places: _Ints, signs: _Floats, won: float) -> None:
        mean, variance, reach = self.forecast(places, signs)
        chance = 1.0 / (1.0 + np.exp(-mean))
        information = chance * (1.0 - chance)
        gain = reach / (1.0 / information + variance)
        self.mean = self.mean + gain * ((won - chance) / information)
        self.covariance = self.covariance - np.outer(gain, reach)

    def begin_season(self, config: StrengthConfig) -> None:
        keep = np.ones(len(self.mean))
        keep[: self.teams] = config.carry
        self.mean = self.mean * keep
        self.covariance = self.covariance * np.outer(keep, keep)
        self._add(np.arange(self.teams), config.season_variance)

    def pass_days(self, days: int, config: StrengthConfig) -> None:
        days = min(days, _MOST_DAYS)
        self._add(np.arange(self.teams), config.day_variance * days)
        self._add(np.array([self.teams]), config.home_day_variance * days)

    def _add(self, places: _Ints, variance: float) -> None:
        self.covariance[places, places] += variance


def filter_strengths(
    games: pd.DataFrame, home_tired: _Floats, away_tired: _Floats, config: StrengthConfig | None = None
) -> pd.DataFrame:
    """Gives what the filter expected of each game before the game's date.

    Args:
        games: A table of games in any order.
        home_tired: 1.0 where the home team plays on a back-to-back, aligned with `games`.
        away_tired: The same of the away team.
        config: The constants.

    Returns:
        With the index of `games`: `strength_log_odds` (of a home win, averaged over the
        doubt), `strength_doubt` (standard deviation of the log-odds) and
        `home_advantage_log_odds` (the league's, as learnt so far).
    """
    config = config or StrengthConfig()
    table = games.assign(_home_tired=home_tired, _away_tired=away_tired).sort_values(SORT_KEY)
    teams = {team: place for place, team in enumerate(sorted({*games["home"], *games["away"]}))}
    state = _first_state(len(teams), config)
    places, signs = _design(table, teams)
    won = table["home_win"].to_numpy(dtype="float64")
    expected = np.empty((len(table), 3))
    for first, last in _advance(table, state, config):
        for row in range(first, last):
            mean, variance, _ = state.forecast(places[row], signs[row])
            shrunk = mean / np.sqrt(1.0 + np.pi * variance / 8.0)
            expected[row] = shrunk, np.sqrt(variance), state.mean[state.teams]
        for row in range(first, last):
            state.update(places[row], signs[row], won[row])
    names = ["strength_log_odds", "strength_doubt", "home_advantage_log_odds"]
    return pd.DataFrame(expected, columns=names, index=table.index).loc[games.index]


def _first_state(teams: int, config: StrengthConfig) -> _State:
    mean = np.concatenate([np.zeros(teams), _EFFECT_MEANS])
    variances = np.concatenate([np.full(teams, config.first_variance), _EFFECT_VARIANCES])
    return _State(mean, np.diag(variances), teams)


def _design(table: pd.DataFrame, teams: dict[str, int]) -> tuple[_Ints, _Floats]:
    """Gives for each game the places in the state that it touches, and their signs in x."""
    count = len(teams)
    home, away = (table[side].map(teams).to_numpy(dtype="int64") for side in ("home", "away"))
    effects = [np.full(len(table), count + number) for number in range(len(_EFFECT_MEANS))]
    ones = np.ones(len(table))
    tired = [table[name].to_numpy(dtype="float64") for name in ("_home_tired", "_away_tired")]
    return np.column_stack([home, away, *effects]), np.column_stack([ones, -ones, ones, *tired])


def _advance(table: pd.DataFrame, state: _State, config: StrengthConfig) -> Iterator[tuple[int, int]]:
    """Lets time pass in the state, and gives the rows [first, last) of each date in turn."""
    days = table["date"].to_numpy(dtype="datetime64[D]").astype("int64")
    seasons = table["season"].to_numpy()
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    for number, (first, last) in enumerate(zip(starts, [*starts[1:], len(days)], strict=True)):
        if number and seasons[first] != seasons[first - 1]:
            state.begin_season(config)
        elif number:
            state.pass_days(int(days[first] - days[first - 1]), config)
        yield int(first), int(last)
