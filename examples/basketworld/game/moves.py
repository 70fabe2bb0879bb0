"""Who moves where, when all players move at once: never two on one hex.

A hex that several players want goes to one of them at random. A player who stays blocks his hex, and so the one
behind him, and so on; players who change places, or follow each other in a ring, all move.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_Bits = npt.NDArray[np.uint8]


def resolve(
    cells: npt.NDArray[np.int16], targets: npt.NDArray[np.int16], priority: npt.NDArray[Any]
) -> npt.NDArray[np.int16]:
    """Return where the players stand after their moves.

    Args:
        cells: (n, K) where they stand, all different in a game.
        targets: (n, K) where they want to go; their own cell, if they stay.
        priority: (n, K) random numbers; of those who want the same hex, the one with the greatest may go there.

    Returns:
        (n, K) cells, all different in a game.
    """
    # Player by player in rows: each line below then works on all games in one go.
    here, there = np.ascontiguousarray(cells.T), np.ascontiguousarray(targets.T)
    stays, waits_for = _claims(here, there, np.ascontiguousarray(priority.T))
    stays = _blocked(stays, waits_for)
    for player, bit in enumerate(_bits(len(here))):
        there[player] = np.where(stays & bit, here[player], there[player])
    return np.ascontiguousarray(there.T)


def _bits(players: int) -> list[np.uint8]:
    return [np.uint8(1 << player) for player in range(players)]


def _claims(
    here: npt.NDArray[np.int16], there: npt.NDArray[np.int16], priority: npt.NDArray[Any]
) -> tuple[_Bits, list[_Bits]]:
    """Return who stays, a bit a player, and for each player on whose hex he wants to go."""
    players, n = here.shape
    bits = _bits(players)
    stays = np.zeros(n, np.uint8)
    waits_for = [np.zeros(n, np.uint8) for _ in range(players)]
    for i in range(players):
        stays |= (here[i] == there[i]) * bits[i]
    for i in range(players):
        for j in range(i):
            contested = there[i] == there[j]
            i_wins = priority[i] > priority[j]
            stays |= (contested & i_wins) * bits[j] | (contested & ~i_wins) * bits[i]
            waits_for[i] |= (there[i] == here[j]) * bits[j]
            waits_for[j] |= (there[j] == here[i]) * bits[i]
    return stays, waits_for


def _blocked(stays: _Bits, waits_for: list[_Bits]) -> _Bits:
    """Return who stays once everybody behind someone who stays does, too."""
    bits = _bits(len(waits_for))
    for _ in waits_for:
        before = stays
        for bit, others in zip(bits, waits_for, strict=True):
            stays = stays | ((others & stays) != 0) * bit
        if np.array_equal(before, stays):
            break
    return stays
