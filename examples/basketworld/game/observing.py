"""What a team sees of a batch of games.

Every game is turned by sixths of a circle, so that the hoop, seen from the player with the ball, lies east, within
30 degrees. A policy acts in that turned frame too: its move 1 brings the player with the ball nearer the hoop. A team
sees its own players first and the others after them, in the order of their indices; what is told of each attacker keeps
the order of the attackers, whoever looks.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

from .actions import ACTIONS, MOVE, PASS
from .chances import contest_table, open_chance, points_of
from .court import Court, get_court
from .passing import get_passes, interception_chances
from .rules import Rules

if TYPE_CHECKING:
    from .games import Games

Side = Literal["offense", "defense"] | npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_Number = TypeVar("_Number", bound=np.generic)

DIRECTIONS = 6
SKILL_SCALE = 10.0  # skills differ by hundredths; a network learns from numbers near one


@functools.lru_cache(maxsize=32)
def layout(rules: Rules) -> Mapping[str, slice]:
    """Give where each part of an observation lies, in order.

    Players are the own team's, then the others'; attackers are those of the offence. With P players a side:

    - `players` (2P x 2): steps along q and r from the holder, divided by the size of the court.
    - `holder` (2P): one for the player with the ball.
    - `clock`: share of the shot clock that is left.
    - `hoop` (2): as `players`, the hoop.
    - `to_hoop` (2P): each player's distance to the hoop, divided by the size.
    - `nearest` (P): each attacker's distance to the nearest defender, divided by the size.
    - `worth` (P): points that each attacker's shot is worth now, under pressure, if he had the ball.
    - `layup` (P): one where an attacker is within a step of the hoop.
    - `worth_after` (P x 6): `worth` after each of the six moves, 0 where the cell is taken, blocked, or off the court.
    - `worth_passed` (6): `worth` of whom each pass reaches, times the chance that it does; 0 where it reaches nobody.
    - `way_by_clock` (P): steps to the hoop by steps on the clock, 1 at most.
    - `role`: 1 for the offence, -1 for the defence.
    - `skills` (3P): what each attacker makes of lay-ups, threes and dunks above the rules' means, times 10.
    """
    players = rules.players
    widths = {
        "players": 4 * players,
        "holder": 2 * players,
        "clock": 1,
        "hoop": 2,
        "to_hoop": 2 * players,
        "nearest": players,
        "worth": players,
        "layup": players,
        "worth_after": DIRECTIONS * players,
        "worth_passed": DIRECTIONS,
        "way_by_clock": players,
        "role": 1,
        "skills": 3 * players,
    }
    ends = np.cumsum(list(widths.values())).tolist()
    return MappingProxyType(
        {name: slice(end - wide, end) for (name, wide), end in zip(widths.items(), ends, strict=True)}
    )


def width(rules: Rules) -> int:
    """Give how many numbers an observation has."""
    return int(layout(rules)["skills"].stop)


def observe(games: Games, side: Side) -> Floats:
    """Give what a team sees of each game.

    Args:
        games: A batch of n games.
        side: Whose eyes: "offense", "defense", or (n,) true where the team has the ball.

    Returns:
        (n, F), with the parts that `layout` names.
    """
    rules, court = games.rules, get_court(games.rules.size)
    offense = _offense(side, len(games.cells))
    cells = games.cells.astype(np.intp)
    here = np.arange(len(cells))
    order = _orders(rules.players)[offense.astype(np.intp)]
    ordered = cells[here[:, None], order]
    ball = cells[here, games.holder]
    vectors = _vectors_seen(rules.size)
    own_way = court.to_basket.take(cells[:, : rules.players])
    clock = np.maximum(games.clock, 0)[:, None]
    worth, worth_after = _worth(games, cells, _sixths_of_cells(rules.size)[ball])
    parts = {
        "players": vectors.take(ball[:, None] * court.cells + ordered, 0),
        "holder": order == games.holder[:, None],
        "clock": clock / rules.shot_clock,
        "hoop": vectors.take(ball * court.cells + court.basket, 0),
        "to_hoop": court.to_basket.take(ordered) / rules.size,
        "nearest": _nearest(court, cells, rules.players) / rules.size,
        "worth": worth,
        "layup": own_way <= 1,
        "worth_after": worth_after,
        "worth_passed": _worth_passed(games, cells, worth),
        "way_by_clock": np.minimum(own_way / np.maximum(clock, 1), 1),
        "role": np.where(offense, 1, -1),
        "skills": (games.skills - skill_means(rules)) * SKILL_SCALE,
    }
    seen = np.empty((len(cells), width(rules)), np.float32)
    for name, part in layout(rules).items():
        seen[:, part] = parts[name].reshape(len(cells), -1)
    return seen


def sixths_seen(games: Games) -> Ints:
    """Give by how many sixths, against the clock, each game is turned: (n,), 0 to 5.

    It depends on the cell of the player with the ball alone, so both teams see the same turn.
    """
    holder_cell = games.cells[np.arange(len(games.cells)), games.holder]
    return _sixths_of_cells(games.rules.size)[holder_cell]


def as_seen(values: npt.NDArray[_Number], sixths: Ints) -> npt.NDArray[_Number]:
    """Turn what is told of each action on the court, (n, P, 14), into the frame that policies act in."""
    return _reordered(values, _court_actions()[sixths % DIRECTIONS])


def chances_on_court(chances: npt.NDArray[_Number], sixths: Ints) -> npt.NDArray[_Number]:
    """Turn what is told of each seen action, (n, P, 14), back to the court: the inverse of `as_seen`."""
    return _reordered(chances, _court_actions()[-sixths % DIRECTIONS])


def on_court(actions: npt.NDArray[np.integer], sixths: Ints) -> Ints:
    """Turn actions of the seen frame, (n, P), into actions on the court."""
    return np.take_along_axis(_court_actions()[sixths % DIRECTIONS], np.asarray(actions, np.intp), 1)


def _reordered(values: npt.NDArray[_Number], order: Ints) -> npt.NDArray[_Number]:
    if values.ndim != 3 or values.shape[0] != len(order) or values.shape[2] != ACTIONS:
        raise InvalidInputError(
            f"values of shape {values.shape} cannot be turned by {len(order)} games' sixths",
            hint=f"give an array of (games, players, {ACTIONS})",
        )
    return np.take_along_axis(values, order[:, None], 2)


def _offense(side: Side, games: int) -> Bools:
    if isinstance(side, str):
        if side not in {"offense", "defense"}:
            raise InvalidInputError(f"there is no side {side!r}", hint='choose "offense" or "defense"')
        return np.full(games, side == "offense")
    offense = np.asarray(side, bool)
    if offense.shape != (games,):
        raise InvalidInputError(
            f"sides of shape {offense.shape} are given for {games} games", hint="give one true or false a game"
        )
    return offense


@functools.lru_cache(maxsize=8)
def _orders(players: int) -> Ints:
    """Give in which order the defence, 0, and the offence, 1, see the players."""
    offense = np.arange(2 * players)
    return np.stack([np.roll(offense, players), offense])


@functools.lru_cache(maxsize=1)
def _court_actions() -> Ints:
    """Give the action on the court for each seen action: (6 turns, 14)."""
    table = np.tile(np.arange(ACTIONS), (DIRECTIONS, 1))
    for sixths in range(DIRECTIONS):
        ways = (np.arange(DIRECTIONS) - sixths) % DIRECTIONS
        table[sixths, MOVE : MOVE + DIRECTIONS] = MOVE + ways
        table[sixths, PASS : PASS + DIRECTIONS] = PASS + ways
    return table


@functools.lru_cache(maxsize=1)
def _turns() -> npt.NDArray[np.float32]:
    """Give the matrices that turn (q, r) by 0 to 5 sixths against the clock."""
    sixth = np.array([[1, 1], [-1, 0]])
    return np.stack([np.linalg.matrix_power(sixth, power) for power in range(DIRECTIONS)]).astype(np.float32)


@functools.lru_cache(maxsize=32)
def _sixths_of_cells(size: int) -> Ints:
    """Give the turn for each cell that the ball can be in.

    The hoop is most east where it gains most for a step east, 2q + r. Two turns tie where it lies between two
    directions: the one whose first move stays on the court wins, then the smaller one. Whole numbers leave no doubt.
    """
    court = get_court(size)
    hoop = (court.axial[court.basket] - court.axial).astype(np.float32)
    east = np.stack([hoop @ turn.T for turn in _turns()]) @ np.array([2.0, 1.0], np.float32)
    ahead = court.neighbour[:, -np.arange(DIRECTIONS) % DIRECTIONS].T
    return np.asarray((2 * east + (ahead >= 0)).argmax(0), np.int64)


@functools.lru_cache(maxsize=16)
def _vectors_seen(size: int) -> Floats:
    """Give turned steps along q and r by the size, (holder's cell x cells + other cell, 2)."""
    court = get_court(size)
    apart = (court.axial[None] - court.axial[:, None]).astype(np.float32)
    turned = apart @ _turns()[_sixths_of_cells(size)].transpose(0, 2, 1)
    return np.asarray(turned / size, np.float32).reshape(-1, 2)


@functools.lru_cache(maxsize=16)
def _neighbours_seen(size: int) -> Ints:
    """Give the cell after each seen move, (turn x cells + cell, 6), -1 off the court."""
    ways = _court_actions()[:, MOVE : MOVE + DIRECTIONS] - MOVE
    return get_court(size).neighbour[:, ways].transpose(1, 0, 2).reshape(-1, DIRECTIONS).astype(np.int64)


@functools.lru_cache(maxsize=16)
def _ranks_seen(size: int, arc_degrees: float) -> npt.NDArray[np.int16]:
    """Give how soon a pass finds a team-mate, (cell of the holder, his, 6 seen passes): the lowest gets it."""
    rank = get_passes(Rules(size=size, spawn_distance=0, pass_arc_degrees=arc_degrees)).rank
    ways = _court_actions()[_sixths_of_cells(size), PASS : PASS + DIRECTIONS] - PASS
    every = np.arange(size * size)
    return rank[ways[:, None], every[:, None, None], every[None, :, None]]


def _nearest(court: Court, cells: npt.NDArray[np.intp], players: int) -> npt.NDArray[np.int16]:
    """Give each attacker's distance to the nearest defender."""
    # Minima of two arrays are much faster than one over a short axis, here and below.
    apart = (court.distance[cells[:, :players], cells[:, one, None]] for one in range(players, 2 * players))
    return functools.reduce(np.minimum, apart)


def _worth(
    games: Games, cells: npt.NDArray[np.intp], sixths: Ints
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give what shots are worth from where attackers stand, (n, P), and after each seen move, (n, P, 6)."""
    rules, court = games.rules, get_court(games.rules.size)
    attackers = cells[:, : rules.players]
    goals = _neighbours_seen(rules.size).take(sixths[:, None] * court.cells + attackers, 0)
    shut = goals < 0 if rules.dunks else (goals < 0) | (goals == court.basket)
    for player in range(2 * rules.players):
        shut |= goals == cells[:, player, None, None]
    places = np.concatenate([attackers[..., None], np.where(shut, 0, goals)], 2)
    contests, rows = contest_table(rules).ravel(), places * court.cells
    taken = (contests.take(rows + cells[:, one, None, None]) for one in range(rules.players, 2 * rules.players))
    free = open_chance(rules, court, places, games.skills[:, :, None])
    worth = free * (1 - functools.reduce(np.maximum, taken)) * points_of(rules, court, places)
    return worth[:, :, 0], np.where(shut, 0, worth[:, :, 1:])


def _worth_passed(games: Games, cells: npt.NDArray[np.intp], worth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give what the receiver's shot is worth, times the chance that he gets the ball, for each seen pass: (n, 6)."""
    rules, here = games.rules, np.arange(len(cells))
    ball = cells[here, games.holder]
    ranks = _ranks_seen(rules.size, float(rules.pass_arc_degrees))
    best = np.full((len(cells), DIRECTIONS), np.iinfo(np.int16).max, np.int16)
    gained = np.zeros(best.shape)
    for turn in range(1, rules.players):
        mate = (games.holder.astype(np.intp) + turn) % rules.players
        rank, value = ranks[ball, cells[here, mate]], worth[here, mate]
        if rules.lane_steals:
            defenders = cells[:, rules.players :]
            caught = interception_chances(get_court(rules.size), ball, cells[here, mate], defenders)
            value = value * (1 - caught).prod(1)
        gained = np.where(rank < best, value[:, None], gained)
        best = np.minimum(rank, best)
    return gained


@functools.lru_cache(maxsize=32)
def skill_means(rules: Rules) -> Floats:
    """Give the chances that skills are spread around: lay-up, three, dunk."""
    return np.array([rules.layup, rules.three, rules.dunk], np.float32)
