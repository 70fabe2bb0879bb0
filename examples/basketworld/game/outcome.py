"""What happened in one step of a batch of games."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt


class Ending(IntEnum):
    """How an episode ended; NONE where it goes on."""

    NONE = 0
    MADE = 1
    MISSED = 2
    STOLEN = 3  # taken from the holder by a defender near by
    OUT = 4  # a pass to nobody
    INTERCEPTED = 5
    CLOCK = 6
    LANE = 7  # illegal defence: the offence gets one point


@dataclass
class Outcome:
    """One step of n games; a game that had ended before has the values of "nothing happened".

    Attributes:
        ended: (n,) bool, whether the episode ended in this step.
        ending: (n,) int8, an `Ending`.
        points: (n,) int8, the offence's points.
        reward: (n,) float64, the offence's as a team: its points, and the shaping's part. The defence's is minus it.
        shooter: (n,) int8, the attacker who shot; −1 without a shot.
        cell: (n,) int16, where the shot was taken; −1 without one.
        distance: (n,) int16, from there to the basket in hexes; −1 without a shot.
        chance: (n,) float64, the chance that the shot goes in, pressure included; NaN without a shot.
        attempt: (n,) int8, 0 no shot, 1 a dunk, 2 or 3 one for so many points.
        assisted: (n,) bool, a made shot within the window after a pass.
        passer: (n,) int8, who gave that pass, also where the shot missed; −1 without one.
        passed: (n,) bool, whether a pass arrived in this step.
        handler: (n,) int8, who held the ball when the step began.
        turnover_by: (n,) int8, the attacker who lost the ball: stolen, out, intercepted, or held when the clock
            ran out; −1 otherwise.
    """

    ended: npt.NDArray[np.bool_]
    ending: npt.NDArray[np.int8]
    points: npt.NDArray[np.int8]
    reward: npt.NDArray[np.float64]
    shooter: npt.NDArray[np.int8]
    cell: npt.NDArray[np.int16]
    distance: npt.NDArray[np.int16]
    chance: npt.NDArray[np.float64]
    attempt: npt.NDArray[np.int8]
    assisted: npt.NDArray[np.bool_]
    passer: npt.NDArray[np.int8]
    passed: npt.NDArray[np.bool_]
    handler: npt.NDArray[np.int8]
    turnover_by: npt.NDArray[np.int8]

    @classmethod
    def nothing(cls, handler: npt.NDArray[Any]) -> Outcome:
        """Return a step in which nothing happened in any game.

        Args:
            handler: (n,) who holds the ball.
        """
        n = len(handler)
        return cls(
            ended=np.zeros(n, np.bool_),
            ending=np.zeros(n, np.int8),
            points=np.zeros(n, np.int8),
            reward=np.zeros(n),
            shooter=np.full(n, -1, np.int8),
            cell=np.full(n, -1, np.int16),
            distance=np.full(n, -1, np.int16),
            chance=np.full(n, np.nan),
            attempt=np.zeros(n, np.int8),
            assisted=np.zeros(n, np.bool_),
            passer=np.full(n, -1, np.int8),
            passed=np.zeros(n, np.bool_),
            handler=handler.astype(np.int8),
            turnover_by=np.full(n, -1, np.int8),
        )
