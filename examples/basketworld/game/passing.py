"""Whom a pass reaches, and who gets between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .court import Court, get_court
from .rules import Rules

_NOBODY = np.iinfo(np.int16).max
_SIDE = np.sqrt(3.0)  # the distance of neighbours, in the court's units
# Of an interception: its chance at the passer's hands, how it falls across and rises along the lane.
_CHANCE, _ACROSS, _LENGTH, _AT_PASSER, _ALONG = 0.35, 1.5, 0.08, 0.3, 0.7


@dataclass(frozen=True)
class PassTable:
    """What is known of every pass from cell to cell.

    Attributes:
        rank: (6, cells, cells) int16 by direction, passer, receiver: the nearer to the passer, then to the
            direction, the lower; the highest number outside the arc.
        directions: (cells, cells) uint8, bit k is set where direction k has the second cell in its arc.
    """

    rank: npt.NDArray[np.int16]
    directions: npt.NDArray[np.uint8]


def get_passes(rules: Rules) -> PassTable:
    """Return the table of these rules' court and arc, made once."""
    return _passes(rules.size, float(rules.pass_arc_degrees))


@lru_cache(maxsize=16)
def _passes(size: int, arc_degrees: float) -> PassTable:
    court = get_court(size)
    ways = np.arange(6)[:, None, None] * (np.pi / 3)
    turn = np.abs(np.angle(np.exp(1j * (court.angle[None] - ways))))
    off = np.round(np.degrees(turn), 6)
    inside = (off <= arc_degrees) & (court.distance > 0)
    # A pair at the same distance and angle is told apart by its cell.
    key = court.distance * 1_000_000.0 + np.round(off * 1000.0) + np.arange(court.cells) / court.cells
    rank = key.argsort(axis=-1).argsort(axis=-1).astype(np.int16)
    directions = (inside * (1 << np.arange(6))[:, None, None]).sum(axis=0)
    return PassTable(np.where(inside, rank, _NOBODY).astype(np.int16), directions.astype(np.uint8))


def receivers(
    rules: Rules, direction: npt.NDArray[Any], holder: npt.NDArray[Any], attackers: npt.NDArray[Any]
) -> npt.NDArray[np.int8]:
    """Return whom passes reach: the nearest team-mate in the arc.

    Args:
        rules: The rules of the game.
        direction: (n,) 0 to 5, E to SE counter-clockwise.
        holder: (n,) who passes.
        attackers: (n, P) cells of the offence.

    Returns:
        (n,) players; −1 where nobody is in the arc. Of two in the same distance the one nearer to the direction.
    """
    table = get_passes(rules).rank
    cells = table.shape[-1]
    from_cell = attackers[np.arange(len(attackers)), holder].astype(np.int64)
    # The passer's own cell is never in the arc.
    ranks = table.take((direction.astype(np.int64) * cells + from_cell)[:, None] * cells + attackers)
    nearest = ranks.argmin(axis=1)
    return np.where(ranks.min(axis=1) == _NOBODY, -1, nearest).astype(np.int8)


def interception_chances(
    court: Court, passer: npt.NDArray[Any], receiver: npt.NDArray[Any], defenders: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Return how likely each defender gets a pass: 0.35 · e^(−1.5 p) · (1 + 0.08 d) · (0.3 + 0.7 t).

    d is the pass's length, p a defender's distance from its line, both in hexes as the crow flies, and t how far
    along he stands, 0 at the passer, 1 at the receiver; one who is not between the two does not count.

    Args:
        court: The court.
        passer: (n,) cells, and `receiver` too.
        receiver: See above; another cell than the passer's.
        defenders: (n, D) cells.

    Returns:
        (n, D); together they get it with 1 − ∏(1 − p).
    """
    start = court.xy[passer]
    lane = (court.xy[receiver] - start)[:, None, :] / _SIDE
    to_him = (court.xy[defenders] - start[:, None, :]) / _SIDE
    length = np.hypot(lane[..., 0], lane[..., 1])
    along = (to_him * lane).sum(axis=-1) / length**2
    across = np.abs(to_him[..., 0] * lane[..., 1] - to_him[..., 1] * lane[..., 0]) / length
    chance = _CHANCE * np.exp(-_ACROSS * across) * (1 + _LENGTH * length) * (_AT_PASSER + _ALONG * along)
    between = (along > 0.0) & (along < 1.0)
    return np.where(between, np.minimum(chance, 1.0), 0.0)
