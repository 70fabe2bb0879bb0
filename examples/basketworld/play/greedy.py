"""A player that looks one step ahead: the baseline that a policy has to beat."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt

from ..game.actions import ACTIONS, MOVE, NOOP, SHOOT
from ..game.chances import expected_points
from ..game.games import Games
from ..game.passing import interception_chances, receivers
from ..game.rules import Rules
from .players import GREEDY, own_legal

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]

LEAST_GAIN = 0.02
"""By how many expected points a pass or a move must be better than a shot now."""
_DIRECTIONS = 6
# Far from everything all cells are worth the same to a defender: he goes between his man and the basket then.
_NEARER = 1e-3


class GreedyPlayer:
    """Climbs the hill of expected points, one step ahead, without any luck.

    The holder shoots, unless a pass or a move makes a shot worth more by `LEAST_GAIN` after it, with the chances of
    an interception and a steal counted. The other attackers go to the free neighbouring cell where a shot of theirs
    is worth most. Every defender takes a man, so that all are as near as can be, and goes where that man's shot is
    worth least.
    """

    name = GREEDY
    rules: Rules | None = None

    def choose(self, games: Games, offense: _Bools, rng: np.random.Generator, deterministic: bool = False) -> _Ints:
        """Return (n, P) actions on the court; see `Player`."""
        found = np.where(np.asarray(offense)[:, None], _attack(games), _defend(games))
        legal = np.take_along_axis(own_legal(games, offense), found[:, :, None], axis=2)[:, :, 0]
        return np.where(legal, found, NOOP)

    def chances(self, games: Games, offense: _Bools) -> _Floats:
        """Return (n, P, 14): 1 for the action that it takes."""
        return np.eye(ACTIONS)[self.choose(games, offense, np.random.default_rng(0))]


def _attack(games: Games) -> _Ints:
    rows, holder, players = np.arange(games.n), games.holder, games.rules.players
    cells, worth = _after_moves(games, slice(0, players))
    actions = _best_move(worth)
    here = worth[rows, holder, 0]
    moves = np.where(games.clock[:, None] > 1, worth[rows, holder, 1:] * _kept(games, cells[rows, holder, 1:]), -np.inf)
    passes = np.where(games.clock[:, None] > 1, _after_passes(games), -np.inf)
    options = np.concatenate([np.full((games.n, 1), -np.inf), moves, here[:, None] + LEAST_GAIN, passes], axis=1)
    # The shot comes first where all are alike.
    best = np.where(options.max(1) <= options[:, SHOOT], SHOOT, options.argmax(1))
    actions[rows, holder] = best
    return actions


def _after_moves(games: Games, whose: slice) -> tuple[_Ints, _Floats]:
    """Return (n, P, 7) cells after staying and the six moves, and what a shot there is worth; -inf if not free."""
    cells = games.cells[:, whose].astype(np.int64)
    reached = np.concatenate([cells[:, :, None], games.court.neighbour[cells]], axis=2)
    taken = (reached[..., None] == games.cells[:, None, None, :]).any(-1) | (reached < 0)
    taken[..., 0] = False
    if not games.rules.dunks:
        taken |= reached == games.court.basket
    reached = np.where(taken, cells[:, :, None], reached)
    defenders = games.cells[:, None, None, games.rules.players :]
    worth = expected_points(games.rules, games.court, reached, games.skills[:, :, None, :], defenders)
    return reached, np.where(taken, -np.inf, worth)


def _best_move(worth: _Floats) -> _Ints:
    """Return (n, P) the action with the most worth of (n, P, 7); to stay where no move gains anything."""
    best = worth.argmax(-1)
    gains = worth.max(-1) > worth[..., 0] + 1e-9
    return np.where(gains, best + MOVE - 1, NOOP)


def _after_passes(games: Games) -> _Floats:
    """Return (n, 6): what the receiver's shot is worth after a pass in each direction; -inf where there is none."""
    rows, rules = np.arange(games.n), games.rules
    attackers, defenders = games.cells[:, : rules.players], games.cells[:, rules.players :]
    worth = expected_points(rules, games.court, attackers, games.skills, defenders[:, None, :])
    worth = worth * _kept(games, attackers)
    found = np.full((games.n, _DIRECTIONS), -np.inf)
    for direction in range(_DIRECTIONS):
        receiver = receivers(rules, np.full(games.n, direction), games.holder, attackers)
        there = receiver >= 0
        found[there, direction] = worth[rows[there], receiver[there]]
        if rules.lane_steals and there.any():
            start, end = (attackers[rows[there], who[there]] for who in (games.holder, receiver))
            found[there, direction] *= (1 - interception_chances(games.court, start, end, defenders[there])).prod(1)
    return found


def _kept(games: Games, cells: npt.NDArray[np.integer]) -> _Floats:
    """Return how likely the ball survives the next step's pressure in these cells, (n, …)."""
    defenders = games.cells[:, games.rules.players :].reshape(games.n, *[1] * (cells.ndim - 1), -1)
    near = (games.court.distance[cells[..., None], defenders] <= games.rules.pressure_distance).sum(-1)
    return np.asarray((1 - games.rules.steal) ** near)


def _defend(games: Games) -> _Ints:
    players, court = games.rules.players, games.court
    men = _men(games)
    man, skills = np.take_along_axis(games.cells[:, :players], men, 1), games.skills[np.arange(games.n)[:, None], men]
    cells = games.cells[:, players:].astype(np.int64)
    reached = np.concatenate([cells[:, :, None], court.neighbour[cells]], axis=2)
    closed = (reached < 0) | ((reached == court.basket) & (not games.rules.dunks))
    closed |= (reached[..., None] == games.cells[:, None, None, :]).any(-1)
    closed[..., 0] = False
    reached = np.where(closed, cells[:, :, None], reached)
    left = expected_points(games.rules, court, _each(man), _each(skills), reached[..., None])
    way = court.distance[reached, man[:, :, None]] * 1.1 + court.to_basket[reached]
    return _best_move(np.where(closed, -np.inf, -left - _NEARER * way))


def _each(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return (n, P, …) as (n, P, 7, …), alike for staying and the six moves."""
    return np.repeat(values[:, :, None], _DIRECTIONS + 1, axis=2)


def _men(games: Games) -> _Ints:
    """Return (n, P): the attacker that each defender takes: all together as near as can be, the first way of equals."""
    players = games.rules.players
    apart = games.court.distance[games.cells[:, players:, None], games.cells[:, None, :players]]
    ways = np.array(list(permutations(range(players))))
    totals = apart[:, np.arange(players), ways].sum(-1)
    return np.asarray(ways[totals.argmin(-1)])
