"""What shots are worth now and after each step: the part of an observation that looks one step ahead."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .chances import contest_table, open_chance, points_of
from .court import get_court
from .passing import interception_chances
from .rules import Rules
from .turning import DIRECTIONS, Ints, neighbours_seen, ranks_seen

if TYPE_CHECKING:
    from .games import Games

Cells = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def goals_seen(rules: Rules, cells: Cells, sixths: Ints) -> tuple[Ints, Bools]:
    """Give where each seen move of each player leads, (n, 2P, 6), 0 where it is shut, and where it is shut."""
    court = get_court(rules.size)
    goals = neighbours_seen(rules.size).take(sixths[:, None] * court.cells + cells, 0)
    shut = goals < 0 if rules.dunks else (goals < 0) | (goals == court.basket)
    for player in range(2 * rules.players):
        shut |= goals == cells[:, player, None, None]
    return np.where(shut, 0, goals), shut


def worth_seen(games: Games, cells: Cells, goals: Ints, shut: Bools) -> tuple[Floats, Floats]:
    """Give what shots are worth from where attackers stand, (n, P), and after each seen move, (n, P, 6)."""
    rules, court = games.rules, get_court(games.rules.size)
    attack = slice(0, rules.players)
    places = np.concatenate([cells[:, attack, None], goals[:, attack]], 2)
    contests, rows = contest_table(rules).ravel(), places * court.cells
    # Maxima of two arrays are much faster than one over a short axis, here and below.
    taken = (contests.take(rows + cells[:, one, None, None]) for one in range(rules.players, 2 * rules.players))
    free = open_chance(rules, court, places, games.skills[:, :, None])
    worth = free * (1 - functools.reduce(np.maximum, taken)) * points_of(rules, court, places)
    return worth[:, :, 0], np.where(shut[:, attack], 0, worth[:, :, 1:])


def guards_seen(games: Games, cells: Cells, goals: Ints, shut: Bools) -> tuple[Floats, Floats]:
    """Give how each defender's seen moves change what the holder's shot is worth, and the others': (n, P, 6) each."""
    rules, court, players = games.rules, get_court(games.rules.size), games.rules.players
    attackers, defenders = cells[:, :players], cells[:, players:]
    free = open_chance(rules, court, attackers, games.skills) * points_of(rules, court, attackers)
    contests, rows = contest_table(rules).ravel(), attackers * court.cells
    now = contests.take(rows[:, :, None] + defenders[:, None])  # (n, attackers, defenders)
    then = contests.take(rows[:, :, None, None] + goals[:, None, players:])  # (n, attackers, defenders, 6)
    rest = np.stack([np.delete(now, one, 2).max(2) for one in range(players)], 2)
    change = free[:, :, None, None] * (now.max(2)[:, :, None, None] - np.maximum(rest[..., None], then))
    change = np.where(shut[:, None, players:], 0, change)
    holders = change[np.arange(len(cells)), games.holder]
    return holders, change.sum(1) - holders


def pressed_after(rules: Rules, cells: Cells, goals: Ints, shut: Bools) -> Floats:
    """Give the share of defenders that press an attacker after each seen move, (n, P, 6)."""
    rows = goals[:, : rules.players] * get_court(rules.size).cells
    near = (get_court(rules.size).distance <= rules.pressure_distance).ravel()
    pressing = sum(
        near.take(rows + cells[:, one, None, None]).astype(float) for one in range(rules.players, 2 * rules.players)
    )
    return np.where(shut[:, : rules.players], 0.0, pressing / rules.players)


def presses_seen(rules: Rules, ball: Cells, goals: Ints, shut: Bools) -> Bools:
    """Give where a defender's seen move brings him near enough to the ball to steal it, (n, P, 6)."""
    near = get_court(rules.size).distance[ball[:, None, None], goals[:, rules.players :]] <= rules.pressure_distance
    return near & ~shut[:, rules.players :]


def worth_passed(games: Games, cells: Cells, worth: Floats) -> Floats:
    """Give what the receiver's shot is worth, times the chance that he gets the ball, for each seen pass: (n, 6)."""
    rules, here = games.rules, np.arange(len(cells))
    ball = cells[here, games.holder]
    ranks = ranks_seen(rules.size, float(rules.pass_arc_degrees))
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
