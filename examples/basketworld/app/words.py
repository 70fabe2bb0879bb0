"""The game in plain words: one line for each thing worth telling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["start", "pass", "made", "missed", "lost"]
Name = Callable[[int], str]
"""Tells a player's name, such as A1, from its number in the game."""

_ATTEMPTS = {1: "a dunk", 2: "a two", 3: "a three"}


@dataclass(frozen=True)
class Happening:
    """One game's row of an outcome, in plain Python values.

    Attributes:
        actions: What each player did, (2P,).
        handler: Who held the ball before the turn.
        receiver: Who was passed the ball, or None.
        ending: The name of the ending in lower case, or None.
        points: To the offence.
        shooter: Who shot, or None; `cell`, `distance`, `chance` and `attempt` (1 dunk, 2, 3) belong to the shot.
        assisted: Whether the shot was made soon after a pass, by `passer`.
    """

    actions: tuple[int, ...]
    handler: int
    receiver: int | None = None
    ending: str | None = None
    points: int = 0
    shooter: int | None = None
    cell: int = -1
    distance: int = -1
    chance: float = 0.0
    attempt: int = 0
    assisted: bool = False
    passer: int | None = None

    @property
    def is_shot(self) -> bool:
        """Whether the turn ended in a shot."""
        return self.ending in {"made", "missed"}


def describe(happening: Happening, name: Name) -> tuple[str, Kind] | None:
    """Return the line of one turn and its kind, or None where there is nothing to tell."""
    if happening.is_shot:
        return _shot(happening, name), "made" if happening.ending == "made" else "missed"
    if happening.ending is not None:
        return _lost(happening, name), "lost"
    if happening.receiver is not None:
        return f"{name(happening.handler)} passes to {name(happening.receiver)}.", "pass"
    return None


def describe_start(attackers: str, holder: str, clock: int) -> str:
    """Return the first line of an episode."""
    return f"{attackers} attacks. {holder} has the ball, {clock} on the clock."


def _shot(happening: Happening, name: Name) -> str:
    shooter = name(happening.handler if happening.shooter is None else happening.shooter)
    what = _ATTEMPTS.get(happening.attempt, "a shot")
    where = "" if happening.attempt == 1 else f" from {_hexes(happening.distance)}"
    told = f"{shooter} takes {what}{where} ({happening.chance:.0%} to go in): "
    if happening.ending == "missed":
        return told + "no good."
    assist = f" Assist: {name(happening.passer)}." if happening.assisted and happening.passer is not None else ""
    return f"{told}good, {happening.points} points.{assist}"


def _lost(happening: Happening, name: Name) -> str:
    handler = name(happening.handler)
    endings = {
        "stolen": f"{handler} is pressed and loses the ball: stolen.",
        "out": f"{handler} passes to nobody: out of bounds.",
        "intercepted": f"{handler}'s pass is picked off.",
        "clock": "The shot clock runs out.",
        "lane": "Illegal defence in the lane: one point to the attackers.",
    }
    return endings.get(happening.ending or "", "The episode is over.")


def _hexes(distance: int) -> str:
    return "1 hex" if distance == 1 else f"{distance} hexes"
