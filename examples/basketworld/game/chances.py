"""How likely a shot goes in, and what it is worth on average."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .court import Court, get_court
from .rules import Rules

_Floats = npt.NDArray[np.float64]
_ARC = np.cos(np.pi / 6)  # a defender contests within 30° to either side of the way to the basket
LEAST, MOST = 0.01, 0.99


def open_chance(rules: Rules, court: Court, shooter_cell: npt.NDArray[Any], skills: npt.NDArray[Any]) -> _Floats:
    """Return the chance of a shot that nobody contests.

    A straight line in the distance, from the lay-up's chance at 1 to the three's at the three-point line, goes on
    beyond it; where a shooter's three is the better shot, it does not rise any further there.

    Args:
        rules: The rules of the game.
        court: Their court.
        shooter_cell: (...) cells.
        skills: (..., 3) the shooter's chances: lay-up, three, dunk.

    Returns:
        (...) between 0.01 and 0.99.
    """
    layup, three, dunk = np.moveaxis(np.asarray(skills, np.float64), -1, 0)
    distance = court.to_basket.take(shooter_cell)
    along = np.maximum(distance - 1, 0) / (rules.three_distance - 1)
    along = np.where(three > layup, np.minimum(along, 1.0), along)
    free = np.where(distance == 0, dunk, layup + (three - layup) * along)
    chances: _Floats = np.clip(free, LEAST, MOST)
    return chances


def shot_chance(
    rules: Rules,
    court: Court,
    shooter_cell: npt.NDArray[Any],
    skills: npt.NDArray[Any],
    defender_cells: npt.NDArray[Any],
) -> _Floats:
    """Return the chance of a shot, with the defender who contests it most.

    Args:
        rules: The rules of the game.
        court: Their court.
        shooter_cell: (...) cells.
        skills: (..., 3) the shooter's chances: lay-up, three, dunk.
        defender_cells: (..., D) cells; for (n, P) shooters give (n, 1, D).

    Returns:
        (...) the open chance times 1 − the greatest share that a defender takes.
    """
    table = contest_table(rules)
    pairs = np.asarray(shooter_cell, np.int32)[..., None] * court.cells + defender_cells
    taken: _Floats = table.take(pairs).max(axis=-1)
    return open_chance(rules, court, shooter_cell, skills) * (1.0 - taken)


def points_of(rules: Rules, court: Court, cell: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """Return what a made shot from these cells is worth, 2 or 3; the same shape."""
    return np.where(court.to_basket.take(cell) >= rules.three_distance, 3, 2).astype(np.int8)


def expected_points(
    rules: Rules,
    court: Court,
    shooter_cell: npt.NDArray[Any],
    skills: npt.NDArray[Any],
    defender_cells: npt.NDArray[Any],
) -> _Floats:
    """Return the mean points of a shot; arguments and shape as those of `shot_chance`."""
    worth = points_of(rules, court, shooter_cell)
    return shot_chance(rules, court, shooter_cell, skills, defender_cells) * worth


def contest_table(rules: Rules) -> _Floats:
    """Return (cells, cells): the share of a shot's chance that a defender takes, by the shooter's and his cell.

    He counts within 30° of the way to the basket and no farther than it, with contest · e^(−λ(d − 1)) · a²,
    a = (cos θ − cos 30°) / (1 − cos 30°).
    """
    return _contest_table(rules.size, rules.contest, rules.contest_decay)


@lru_cache(maxsize=16)
def _contest_table(size: int, contest: float, decay: float) -> _Floats:
    court = get_court(size)
    to_basket = court.angle[:, court.basket][:, None]
    ahead = (np.cos(court.angle - to_basket) - _ARC) / (1.0 - _ARC)
    near = (court.distance <= court.to_basket[:, None]) & (court.distance > 0)
    share = contest * np.exp(-decay * (court.distance - 1.0)) * np.clip(ahead, 0.0, 1.0) ** 2
    return np.where(near, share, 0.0)
