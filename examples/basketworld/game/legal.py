"""What each player may do, and a random choice of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .actions import ACTIONS, MOVE, NOOP, PASS, SHOOT
from .court import get_court
from .passing import get_passes
from .rules import Rules

_Mask = npt.NDArray[np.bool_]


def reachable(rules: Rules) -> npt.NDArray[np.int16]:
    """Return (cells, 7): where a move leads, by 0 stay and 1 to 6 E to SE; the same cell, where it is illegal."""
    return _reachable(rules.size, rules.dunks)


@lru_cache(maxsize=16)
def _reachable(size: int, dunks: bool) -> npt.NDArray[np.int16]:
    court = get_court(size)
    here = np.arange(court.cells, dtype=np.int16)[:, None]
    closed = (court.neighbour < 0) | ((court.neighbour == court.basket) & (not dunks))
    return np.hstack([here, np.where(closed, here, court.neighbour)])


def legal_actions(
    rules: Rules, cells: npt.NDArray[Any], holder: npt.NDArray[Any], done: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Return what every player may do.

    To stay is always legal, and all there is once a game is over. A move must end on the court, and not on the
    basket without dunks; another player may stand there, for he may leave. The holder may shoot, and pass where a
    team-mate is in the arc (or anywhere, by `mask_passes`).

    Args:
        rules: The rules of the game.
        cells: (n, 2P) where the players stand, the offence first.
        holder: (n,) who has the ball.
        done: (n,) bool, which games are over.

    Returns:
        (n, 2P, 14) bool.
    """
    legal: _Mask = _without_ball(rules.size, rules.dunks).take(cells, axis=0)
    games = np.arange(len(cells))
    legal[games, holder, SHOOT] = True
    if rules.mask_passes:
        legal[games, holder, PASS:] = _SIXTHS.take(_open_passes(rules, cells, holder), axis=0)
    else:
        legal[games, holder, PASS:] = True
    if done.any():
        legal[done] = np.arange(ACTIONS) == NOOP
    return legal


def _open_passes(rules: Rules, cells: npt.NDArray[Any], holder: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return (n,) uint8, a bit a direction."""
    from_cell = cells[np.arange(len(cells)), holder].astype(np.int32)
    table = get_passes(rules).directions
    to_each = table.take(from_cell[:, None] * len(table) + cells[:, : rules.players])
    directions: npt.NDArray[np.uint8] = np.bitwise_or.reduce(to_each, axis=1)
    return directions


@lru_cache(maxsize=16)
def _without_ball(size: int, dunks: bool) -> _Mask:
    """Return (cells, 14): what a player without the ball may do."""
    leads_to = _reachable(size, dunks)
    mask = np.zeros((len(leads_to), ACTIONS), np.bool_)
    mask[:, NOOP] = True
    mask[:, MOVE:SHOOT] = leads_to[:, 1:] != leads_to[:, :1]
    return mask


def sample_legal(legal: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.int8]:
    """Return a legal action for every player, each with the same chance.

    Args:
        legal: (..., 14) bool, with at least one action each.
        rng: Gives one number a player.

    Returns:
        (...) int8.
    """
    counts, nth = _choices()
    packed = np.packbits(legal, axis=-1, bitorder="little")
    mask = packed[..., 0].astype(np.uint16) | (packed[..., 1].astype(np.uint16) << 8)
    chosen = (rng.random(mask.shape) * counts.take(mask)).astype(np.int32)
    return nth.take(mask.astype(np.int32) * ACTIONS + chosen)


@lru_cache(maxsize=1)
def _choices() -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Return, for each mask as a number, how many actions it has, (masks,), and which they are, (masks, 14)."""
    masks = np.arange(1 << ACTIONS)[:, None] >> np.arange(ACTIONS) & 1
    # A stable sort puts the legal ones first, in their order.
    return masks.sum(axis=1).astype(np.int8), np.argsort(-masks, axis=1, kind="stable").astype(np.int8)


_SIXTHS = (np.arange(64)[:, None] >> np.arange(6) & 1).astype(np.bool_)
