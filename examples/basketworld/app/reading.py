"""Reads a batch of one game into plain values for the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..game.outcome import Ending, Outcome
from ..game.view import View
from .words import Happening


def happening_of(outcome: Outcome, before: View, after: View, actions: np.ndarray[Any, Any]) -> Happening:
    """Return the only row of an outcome as plain values.

    Args:
        outcome: Of a batch of one game.
        before: The game before the turn.
        after: The game after it.
        actions: What each player did, (2P,).
    """
    ending = Ending(int(outcome.ending[0]))
    passed = bool(outcome.passed[0]) and after.holder != before.holder
    return Happening(
        actions=tuple(int(action) for action in actions),
        handler=int(outcome.handler[0]),
        receiver=int(after.holder) if passed else None,
        ending=None if ending is Ending.NONE else ending.name.lower(),
        points=int(outcome.points[0]),
        shooter=_player(outcome.shooter[0]),
        cell=int(outcome.cell[0]),
        distance=int(outcome.distance[0]),
        chance=float(np.nan_to_num(outcome.chance[0])),
        attempt=int(outcome.attempt[0]),
        assisted=bool(outcome.assisted[0]),
        passer=_player(outcome.passer[0]),
    )


def _player(number: Any) -> int | None:
    return int(number) if number >= 0 else None
