"""The turned frame that policies see and act in.

Every game is turned by sixths of a circle, so that the hoop, seen from the player with the ball, lies east, within
30 degrees. A policy acts in that frame too: its move 1 brings the player with the ball nearer the hoop.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

from .actions import ACTIONS, MOVE, PASS
from .court import get_court
from .passing import get_passes
from .rules import Rules

if TYPE_CHECKING:
    from .games import Games

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_Number = TypeVar("_Number", bound=np.generic)

DIRECTIONS = 6


def sixths_seen(games: Games) -> Ints:
    """Give by how many sixths, against the clock, each game is turned: (n,), 0 to 5.

    It depends on the cell of the player with the ball alone, so both teams see the same turn.
    """
    holder_cell = games.cells[np.arange(len(games.cells)), games.holder]
    return sixths_of_cells(games.rules.size)[holder_cell]


def as_seen(values: npt.NDArray[_Number], sixths: Ints) -> npt.NDArray[_Number]:
    """Turn what is told of each action on the court, (n, P, 14), into the frame that policies act in."""
    return _reordered(values, court_actions()[sixths % DIRECTIONS])


def chances_on_court(chances: npt.NDArray[_Number], sixths: Ints) -> npt.NDArray[_Number]:
    """Turn what is told of each seen action, (n, P, 14), back to the court: the inverse of `as_seen`."""
    return _reordered(chances, court_actions()[-sixths % DIRECTIONS])


def on_court(actions: npt.NDArray[np.integer], sixths: Ints) -> Ints:
    """Turn actions of the seen frame, (n, P), into actions on the court."""
    return np.take_along_axis(court_actions()[sixths % DIRECTIONS], np.asarray(actions, np.intp), 1)


def _reordered(values: npt.NDArray[_Number], order: Ints) -> npt.NDArray[_Number]:
    if values.ndim != 3 or values.shape[0] != len(order) or values.shape[2] != ACTIONS:
        raise InvalidInputError(
            f"values of shape {values.shape} cannot be turned by {len(order)} games' sixths",
            hint=f"give an array of (games, players, {ACTIONS})",
        )
    return np.take_along_axis(values, order[:, None], 2)


@functools.lru_cache(maxsize=1)
def court_actions() -> Ints:
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
def sixths_of_cells(size: int) -> Ints:
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
def vectors_seen(size: int) -> Floats:
    """Give turned steps along q and r by the size, (holder's cell x cells + other cell, 2)."""
    court = get_court(size)
    apart = (court.axial[None] - court.axial[:, None]).astype(np.float32)
    turned = apart @ _turns()[sixths_of_cells(size)].transpose(0, 2, 1)
    return np.asarray(turned / size, np.float32).reshape(-1, 2)


@functools.lru_cache(maxsize=16)
def neighbours_seen(size: int) -> Ints:
    """Give the cell after each seen move, (turn x cells + cell, 6), -1 off the court."""
    ways = court_actions()[:, MOVE : MOVE + DIRECTIONS] - MOVE
    return get_court(size).neighbour[:, ways].transpose(1, 0, 2).reshape(-1, DIRECTIONS).astype(np.int64)


@functools.lru_cache(maxsize=16)
def ranks_seen(size: int, arc_degrees: float) -> npt.NDArray[np.int16]:
    """Give how soon a pass finds a team-mate, (cell of the holder, his, 6 seen passes): the lowest gets it."""
    rank = get_passes(Rules(size=size, spawn_distance=0, pass_arc_degrees=arc_degrees)).rank
    ways = court_actions()[sixths_of_cells(size), PASS : PASS + DIRECTIONS] - PASS
    every = np.arange(size * size)
    return rank[ways[:, None], every[:, None, None], every[None, :, None]]
