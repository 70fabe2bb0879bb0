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

from .court import get_court
from .prospects import goals_seen, guards_seen, pressed_after, presses_seen, worth_passed, worth_seen
from .rules import Rules
from .turning import DIRECTIONS, Ints, sixths_of_cells, vectors_seen

if TYPE_CHECKING:
    from .games import Games

Side = Literal["offense", "defense"] | npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
_Number = TypeVar("_Number", bound=np.generic)

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
    - `pressed` (P), `pressed_after` (P x 6): share of the defenders that would press an attacker's ball, now and after
      each of his moves; 0 where the cell is shut.
    - `closeness` (P x P): by attacker and defender, e^(1 - distance): near distances count, far ones hardly.
    - `guard`, `guard_others` (P x 6 each): by how much each defender's move changes the worth of the holder's shot, and
      of all the others' together; 0 where the cell is shut.
    - `press` (P x 6): one where a defender's move brings him near enough to steal; 0 where the cell is shut.
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
        "pressed": players,
        "pressed_after": DIRECTIONS * players,
        "closeness": players**2,
        "guard": DIRECTIONS * players,
        "guard_others": DIRECTIONS * players,
        "press": DIRECTIONS * players,
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
    vectors = vectors_seen(rules.size)
    own_way = court.to_basket.take(cells[:, : rules.players])
    clock = np.maximum(games.clock, 0)[:, None]
    goals, shut = goals_seen(rules, cells, sixths_of_cells(rules.size)[ball])
    worth, worth_after = worth_seen(games, cells, goals, shut)
    guard, guard_others = guards_seen(games, cells, goals, shut)
    apart = court.distance[cells[:, : rules.players, None], cells[:, None, rules.players :]]
    parts = {
        "players": vectors.take(ball[:, None] * court.cells + ordered, 0),
        "holder": order == games.holder[:, None],
        "clock": clock / rules.shot_clock,
        "hoop": vectors.take(ball * court.cells + court.basket, 0),
        "to_hoop": court.to_basket.take(ordered) / rules.size,
        "nearest": functools.reduce(np.minimum, apart.transpose(2, 0, 1)) / rules.size,
        "worth": worth,
        "layup": own_way <= 1,
        "worth_after": worth_after,
        "worth_passed": worth_passed(games, cells, worth),
        "pressed": (apart <= rules.pressure_distance).mean(2),
        "pressed_after": pressed_after(rules, cells, goals, shut),
        "closeness": np.exp(1 - apart),
        "guard": guard,
        "guard_others": guard_others,
        "press": presses_seen(rules, ball, goals, shut),
        "way_by_clock": np.minimum(own_way / np.maximum(clock, 1), 1),
        "role": np.where(offense, 1, -1),
        "skills": (games.skills - skill_means(rules)) * SKILL_SCALE,
    }
    seen = np.empty((len(cells), width(rules)), np.float32)
    for name, part in layout(rules).items():
        seen[:, part] = parts[name].reshape(len(cells), -1)
    return seen


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


@functools.lru_cache(maxsize=32)
def skill_means(rules: Rules) -> Floats:
    """Give the chances that skills are spread around: lay-up, three, dunk."""
    return np.array([rules.layup, rules.three, rules.dunk], np.float32)
