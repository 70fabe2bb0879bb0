"""How strong players are, from who beat whom how often: the Elo of the literature, and a fit of all games at once.

Elo's rating goes from match to match and depends on their order. The model of Bradley and Terry (Biometrika 39, 1952)
gives each player one strength s, such that player i beats player j with probability 1 / (1 + exp(s_j - s_i)), and takes
the strengths under which the games are likeliest, in whatever order they were played.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from holdfast.errors import DataError

from ..play.intervals import quantile

K = 32.0
START = 1000.0
# Elo's points for one unit of log odds.
POINTS = 400.0 / np.log(10.0)
# Wins, and as many losses, of each player against one of mean strength: those who never lost stay finite.
PRIOR_GAMES = 0.5
_ROUNDS, _SMALL = 100, 1e-10
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """How a match between two players ended.

    Attributes:
        first: The number of one player, from 0.
        second: That of the other.
        wins: Games that the first one won.
        games: All of them.
    """

    first: int
    second: int
    wins: int
    games: int


@dataclass(frozen=True)
class Fit:
    """Strengths by Bradley and Terry on Elo's scale, their mean at `START`.

    Attributes:
        ratings: (players,) points.
        low: (players,) lower ends of the intervals.
        high: (players,) upper ends.
        covariance: (players, players) of the ratings, in points².
        dispersion: By how much the matches scatter more than the model lets them; the intervals are widened by its
            root. 1 where they scatter less.
    """

    ratings: _Floats
    low: _Floats
    high: _Floats
    covariance: _Floats
    dispersion: float

    def difference(self, first: int, second: int, level: float = 0.95) -> tuple[float, float, float]:
        """Return by how many points the first player is stronger than the second, and the interval's ends."""
        variance = self.covariance[first, first] + self.covariance[second, second] - 2 * self.covariance[first, second]
        middle, half = float(self.ratings[first] - self.ratings[second]), quantile(level) * float(np.sqrt(variance))
        return middle, middle - half, middle + half


def rate_by_elo(players: int, results: Sequence[Result]) -> _Floats:
    """Return Elo ratings after all matches in their order, each taken as one game with the share of wins as its score.

    Args:
        players: How many there are.
        results: The matches.
    """
    ratings = np.full(players, START)
    for one in results:
        expected = 1.0 / (1.0 + 10.0 ** ((ratings[one.second] - ratings[one.first]) / 400.0))
        change = K * (one.wins / one.games - expected)
        ratings[one.first] += change
        ratings[one.second] -= change
    return ratings


def fit_strengths(players: int, results: Sequence[Result], level: float = 0.95) -> Fit:
    """Fit Bradley-Terry strengths to all games at once.

    The intervals come from the observed information, with the prior, of strengths whose mean is fixed.

    Args:
        players: How many there are.
        results: The matches, in any order.
        level: Of the intervals.

    Raises:
        DataError: Some players never met, not even through others: nothing says which group is the stronger.
        InvalidInputError: The level is not between 0 and 1.
    """
    _check_connected(players, results)
    wins = np.zeros((players, players))
    for one in results:
        wins[one.first, one.second] += one.wins
        wins[one.second, one.first] += one.games - one.wins
    strengths, information = _maximize(wins)
    dispersion = _dispersion(wins, strengths)
    centre = np.eye(players) - 1.0 / players
    covariance = POINTS**2 * dispersion * (centre @ np.linalg.inv(information) @ centre)
    ratings = START + POINTS * (strengths - strengths.mean())
    half = quantile(level) * np.sqrt(np.diag(covariance))
    return Fit(ratings, ratings - half, ratings + half, covariance, dispersion)


def _maximize(wins: _Floats) -> tuple[_Floats, _Floats]:
    """Return strengths and the information there, by Newton's method; the prior makes the maximum unique and finite."""
    games = wins + wins.T
    strengths = np.zeros(len(wins))
    information = np.eye(len(wins))
    for _ in range(_ROUNDS):
        slope, information = _derivatives(wins, games, strengths)
        step = np.linalg.solve(information, slope)
        # A long step would overshoot where the curve is flat.
        strengths = strengths + step * min(1.0, 2.0 / max(float(np.abs(step).max()), _SMALL))
        if np.abs(step).max() < _SMALL:
            break
    return strengths, information


def _derivatives(wins: _Floats, games: _Floats, strengths: _Floats) -> tuple[_Floats, _Floats]:
    chance = _logistic(strengths[:, None] - strengths[None, :])
    weight = games * chance * (1 - chance)
    own = _logistic(strengths)
    slope = (wins - games * chance).sum(1) + PRIOR_GAMES * (1 - 2 * own)
    information = np.diag(weight.sum(1) + 2 * PRIOR_GAMES * own * (1 - own)) - weight
    return slope, information


def _dispersion(wins: _Floats, strengths: _Floats) -> float:
    """Return Pearson's statistic over its degrees of freedom, at least 1: who beats whom need not be transitive."""
    first, second = np.nonzero(np.triu(wins + wins.T))
    freedom = len(first) - (len(wins) - 1)
    if freedom < 1:
        return 1.0
    games = (wins + wins.T)[first, second]
    chance = _logistic(strengths[first] - strengths[second])
    scatter = (wins[first, second] - games * chance) ** 2 / (games * chance * (1 - chance))
    return max(1.0, float(scatter.sum()) / freedom)


def _check_connected(players: int, results: Sequence[Result]) -> None:
    group = list(range(players))
    for one in results:
        old, new = group[one.second], group[one.first]
        group = [new if number == old else number for number in group]
    if len(set(group)) > 1:
        raise DataError("Some policies never met the others, not even through a third one.", "play more pairings")


def _logistic(values: _Floats) -> _Floats:
    found: _Floats = 1.0 / (1.0 + np.exp(-values))
    return found
