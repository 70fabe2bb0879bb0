"""The episodes that end while a policy is trained, as columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..game.outcome import Ending, Outcome
from ..game.rules import Rules
from ..play.episodes import Episodes
from ..play.summary import summarize

Columns = dict[str, NDArray[Any]]
OFFENSE, DEFENSE = "Offense", "Defense"
# What of the last step's outcome an episode is told by.
_OF_OUTCOME = (
    "ending",
    "points",
    "attempt",
    "distance",
    "cell",
    "chance",
    "shooter",
    "passer",
    "assisted",
    "turnover_by",
)


class EpisodeLog:
    """Collects what ended, and what the games that go on have seen so far.

    Args:
        n: How many games.
    """

    def __init__(self, n: int) -> None:
        self._parts: list[Columns] = []
        self._passes = np.zeros(n, np.int32)
        self._reward = np.zeros(n)
        self._clock = np.zeros(n, np.int32)

    def clear(self, clock: NDArray[Any]) -> None:
        """Begin an empty log; all games begin with these shot clocks."""
        self._parts = []
        self.began(np.ones(len(self._clock), dtype=bool), clock)

    def began(self, which: NDArray[np.bool_], clock: NDArray[Any]) -> None:
        """Some games began anew."""
        self._passes[which], self._reward[which] = 0, 0.0
        self._clock[which] = clock[which]

    def take(self, outcome: Outcome, rewards: NDArray[Any], steps: NDArray[Any]) -> None:
        """Take one step of all games: the learner's rewards, and the steps that the games have lasted."""
        self._passes += outcome.passed
        self._reward += rewards
        ended = np.flatnonzero(outcome.ended)
        if len(ended):
            self._parts.append(self._part(outcome, ended, steps))

    def _part(self, outcome: Outcome, ended: NDArray[np.intp], steps: NDArray[Any]) -> Columns:
        part: Columns = {name: np.asarray(getattr(outcome, name))[ended] for name in _OF_OUTCOME}
        part["game"], part["length"] = ended, np.asarray(steps)[ended].copy()
        part["passes"], part["reward"] = self._passes[ended], self._reward[ended]
        part["clock"] = self._clock[ended]
        return part

    def columns(self) -> Columns:
        """Return one array a column, an entry an episode in the order of their ends; arrays of 0 where none ended."""
        parts = self._parts or [self._part(Outcome.nothing(np.zeros(0)), np.zeros(0, np.int64), np.zeros(0, np.int16))]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def state(self) -> dict[str, Any]:
        """Return all of it."""
        return {
            "columns": self.columns(),
            "passes": self._passes.copy(),
            "reward": self._reward.copy(),
            "clock": self._clock.copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._parts = [dict(state["columns"])] if len(state["columns"].get("ending", ())) else []
        self._passes, self._reward = np.array(state["passes"]), np.array(state["reward"])
        self._clock = np.array(state["clock"])


def split(columns: Columns, is_offense: NDArray[np.bool_]) -> dict[str, Columns]:
    """Return the columns by role, of the games in which the learner attacks and of the others."""
    attacks = is_offense[columns["game"]]
    rows = {OFFENSE: attacks, DEFENSE: ~attacks}
    return {role: {name: column[which] for name, column in columns.items()} for role, which in rows.items()}


def measures(columns: Columns, rules: Rules) -> dict[str, float]:
    """Return what is logged of a role's episodes: the figures of `summarize`, and the learner's `mean_reward`.

    Shares of nothing are left out.
    """
    if not len(columns["ending"]):
        return {"episodes": 0.0}
    found = summarize(Episodes(rules, columns)) | {"mean_reward": float(columns["reward"].mean())}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def as_frame(columns: Columns, role: str, opponents: Sequence[int]) -> pd.DataFrame:
    """Return a role's episodes as a table: `role`, `opponent`, then the columns; endings by their names.

    Args:
        columns: As of `EpisodeLog.columns`.
        role: Of the learner.
        opponents: Of each game, the alternation of the policy that it was played against.
    """
    frame = pd.DataFrame(columns)
    frame.insert(0, "opponent", np.asarray(opponents)[columns["game"]])
    frame.insert(0, "role", role)
    frame["ending"] = [Ending(int(kind)).name.lower() for kind in columns["ending"]]
    return frame
