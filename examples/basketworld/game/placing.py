"""Where players stand when an episode begins, who has the ball, and how well everybody shoots."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .chances import LEAST, MOST
from .court import Court, get_court
from .rules import Rules

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Starts:
    """The beginnings of n episodes.

    Attributes:
        cells: (n, 2P) int16, the offence first.
        holder: (n,) int8.
        clock: (n,) int16.
        skills: (n, P, 3) float32, chances of a lay-up, a three and a dunk.
    """

    cells: npt.NDArray[np.int16]
    holder: npt.NDArray[np.int8]
    clock: npt.NDArray[np.int16]
    skills: npt.NDArray[np.float32]


def luck_width(rules: Rules) -> int:
    """Return how many uniform numbers one beginning takes."""
    return 3 + rules.players + 6 * rules.players


def place(rules: Rules, luck: _Floats) -> Starts:
    """Return beginnings.

    Attackers stand uniformly at the spawn distance or farther; each defender on the free cell nearest to his man
    that is nearer to the basket than he is (or, where there is none, on the nearest free one).

    Args:
        rules: The rules of the game.
        luck: (n, `luck_width`) uniform numbers in [0, 1).
    """
    players = rules.players
    holder, clock, coin, attackers, skills = np.split(luck, [1, 2, 3, 3 + players], axis=1)
    offence = _distinct(attackers, spawn_cells(rules))
    cells = _with_defenders(rules, offence, (coin[:, 0] < 0.5).astype(np.int64))
    span = rules.shot_clock - rules.least_clock + 1
    return Starts(
        cells=cells,
        holder=(holder[:, 0] * players).astype(np.int8),
        clock=(rules.least_clock + clock[:, 0] * span).astype(np.int16),
        skills=_skills(rules, skills),
    )


def spawn_cells(rules: Rules) -> npt.NDArray[np.int16]:
    """Return the cells on which attackers begin."""
    court = get_court(rules.size)
    allowed = court.to_basket >= rules.spawn_distance
    allowed[court.basket] &= rules.dunks
    return np.flatnonzero(allowed).astype(np.int16)


def _distinct(luck: _Floats, choices: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Return (n, P) different ones of the choices, all such tuples equally likely."""
    n, players = luck.shape
    taken = np.empty((n, players), np.int64)
    for player in range(players):
        one = (luck[:, player] * (len(choices) - player)).astype(np.int64)
        # The k-th of those left: step over the taken ones, from the lowest.
        for other in np.sort(taken[:, :player], axis=1).T:
            one += one >= other
        taken[:, player] = one
    return choices[taken]


def _with_defenders(
    rules: Rules, offence: npt.NDArray[np.int16], order: npt.NDArray[np.int64]
) -> npt.NDArray[np.int16]:
    players = rules.players
    n = len(offence)
    best = _near_men(rules.size, rules.dunks, 2 * players)
    cells = np.empty((n, 2 * players), np.int16)
    cells[:, :players] = offence
    for player in range(players):
        standing = cells[:, : players + player]
        candidates = best[order, offence[:, player]]
        free = (candidates[:, :, None] != standing[:, None, :]).all(axis=2)
        cells[:, players + player] = candidates[np.arange(n), free.argmax(axis=1)]
    return cells


@lru_cache(maxsize=16)
def _near_men(size: int, dunks: bool, most: int) -> npt.NDArray[np.int16]:
    """Return (2, cells, most): where a defender of the man on a cell begins, the best first.

    Among cells that are as good, the upper ones come first in one table and the lower ones in the other, so that
    neither side of the court is favoured. At most one fewer are taken than there are, so that one is free.
    """
    court = get_court(size)
    tables = [_ranked(court, dunks, sign * court.axial[:, 1])[:, :most] for sign in (1, -1)]
    return np.stack(tables).astype(np.int16)


def _ranked(court: Court, dunks: bool, tie: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    shape = court.distance.shape
    no_nearer = court.to_basket[None, :] >= court.to_basket[:, None]
    closed = np.eye(court.cells, dtype=np.bool_)
    closed[:, court.basket] |= not dunks
    to_basket, ties = np.broadcast_to(court.to_basket, shape), np.broadcast_to(tie, shape)
    return np.lexsort((ties, to_basket, court.distance, no_nearer, closed), axis=-1)


def _skills(rules: Rules, luck: _Floats) -> npt.NDArray[np.float32]:
    """Return (n, P, 3) normal around the rules' means, from (n, 6P) uniform numbers (Box–Muller)."""
    first, second = np.split(luck, 2, axis=1)
    normal = np.sqrt(-2.0 * np.log1p(-first)) * np.cos(2.0 * np.pi * second)
    means = np.array([rules.layup, rules.three, rules.dunk])
    spread = normal.reshape(len(luck), rules.players, 3) * rules.skill_std
    return np.clip(means + spread, LEAST, MOST).astype(np.float32)
