"""Episodes played to their ends, as a table: one row an episode."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

from ..game.games import Games
from ..game.outcome import Ending, Outcome
from ..game.rules import Rules
from ..game.view import View
from .players import Player, rules_for
from .streams import CHUNK, FIRST, GAMES, SECOND, Streams

if TYPE_CHECKING:
    import pandas as pd

_Array = npt.NDArray[Any]
_Bools = npt.NDArray[np.bool_]

TURNOVERS = (Ending.STOLEN, Ending.OUT, Ending.INTERCEPTED, Ending.CLOCK)
"""Endings in which the offence loses the ball; a clock that runs out is one of them."""
DUNK, TWO, THREE = 1, 2, 3
"""Kinds of attempt; 0 is none."""
SKILLS = ("layup", "three", "dunk")

_OF_OUTCOME = ("ending", "points", "attempt", "distance", "cell", "chance", "shooter", "passer", "assisted")


@dataclass(frozen=True)
class Moment:
    """What a watcher sees: the games after their beginning, and after every step.

    Attributes:
        games: The n games as they are now.
        counted: (n,): which of them were under way before the step, and belong to the table.
        first: The episode that the first of them is; the others follow.
        first_attacks: (n,): in which of them the first player is the offence.
        actions: (n, 2P) that were taken; None at the beginning.
        outcome: What came of them; None at the beginning.
    """

    games: Games
    counted: _Bools
    first: int
    first_attacks: _Bools
    actions: _Array | None = None
    outcome: Outcome | None = None


Watch = Callable[[Moment], None]


@dataclass(frozen=True)
class Episodes:
    """A table of episodes.

    Attributes:
        rules: What was played.
        columns: By name, one row an episode: `ending` (`Ending`), `points` (to the offence), `length` (steps), `passes`
            (completed ones), `attempt` (0 none, 1 dunk, 2, 3), `distance` and `cell` of the shot (-1 without one),
            `chance` of making it (nan), `shooter` and `passer` (0 … P-1; -1 for none), `assisted`, `turnover_by` (-1),
            `clock` (at the beginning), `first_attacks` (whether the first player was the offence), and
            `shooter_skills` and `passer_skills`, (N, 3) chances of a lay-up, a three and a dunk (nan without one).
    """

    rules: Rules
    columns: Mapping[str, _Array]

    def __len__(self) -> int:
        return len(self.columns["ending"])

    def __getitem__(self, name: str) -> _Array:
        return self.columns[name]

    def select(self, rows: _Array) -> Episodes:
        """Return the table of these rows alone (numbers or a mask)."""
        return Episodes(self.rules, {name: column[rows] for name, column in self.columns.items()})

    @property
    def made(self) -> _Bools:
        """(N,): whether it ended with a basket from the field."""
        return np.asarray(self["ending"] == Ending.MADE)

    @property
    def lost(self) -> _Bools:
        """(N,): whether it ended with a turnover."""
        return np.isin(self["ending"], TURNOVERS)

    @property
    def possessions(self) -> _Array:
        """(N,): 1 where there was an attempt or a turnover, 0 where the defence broke the rule of the lane."""
        return np.asarray((self["attempt"] > 0) | self.lost).astype(np.int64)

    @property
    def field_points(self) -> _Array:
        """(N,): points of baskets from the field: without the one for a broken rule of the lane."""
        return np.where(self.made, self["points"], 0)

    def ppp(self) -> float:
        """Return the points per possession: (2·m2 + 3·m3 + 2·dunks) / max(1, attempts + turnovers)."""
        return float(self.field_points.sum() / max(1, self.possessions.sum()))

    def shot_share(self) -> dict[str, float]:
        """Return the share of dunks, twos and threes among the shots; nan where there is none."""
        shots = int((self["attempt"] > 0).sum())
        kinds = {"dunk": DUNK, "2": TWO, "3": THREE}
        return {name: _share(int((self["attempt"] == kind).sum()), shots) for name, kind in kinds.items()}

    def frame(self) -> pd.DataFrame:
        """Return the table with names instead of numbers for endings, and a column a skill."""
        import pandas as pd

        plain = {name: column for name, column in self.columns.items() if column.ndim == 1}
        plain["ending"] = np.array([Ending(value).name.lower() for value in self["ending"]], dtype=object)
        for who in ("shooter", "passer"):
            plain |= {f"{who}_{skill}": self[f"{who}_skills"][:, index] for index, skill in enumerate(SKILLS)}
        return pd.DataFrame(plain)


def play(
    rules: Rules | None, offense: Player, defense: Player, episodes: int, seed: int, *,
    batch: int = 256, deterministic: bool = False, watch: Watch | None = None,
) -> Episodes:  # fmt: skip
    """Return a table of episodes in which one player always attacks.

    The same seed gives the same table, whatever the batch; and the first rows of a longer one.

    Args:
        rules: What is played; None for what the players know.
        offense: Who attacks.
        defense: Who defends.
        episodes: How many.
        seed: 0 or greater.
        batch: About how many are played at once; a matter of time and memory alone.
        deterministic: Whether players take their likeliest actions.
        watch: Is told every moment.

    Raises:
        InvalidInputError: The players know different rules, or a number is out of range.
    """
    always = np.ones(CHUNK, np.bool_)
    return play_roles(
        rules, offense, defense, episodes, seed, always, batch=batch, deterministic=deterministic, watch=watch
    )


def play_roles(
    rules: Rules | None, first: Player, second: Player, episodes: int, seed: int, first_attacks: _Bools, *,
    batch: int = 256, deterministic: bool = False, watch: Watch | None = None,
) -> Episodes:  # fmt: skip
    """Return a table of episodes as `play` does, with roles that change.

    Args:
        rules: As of `play`.
        first: A player.
        second: Its opponent.
        episodes: As of `play`.
        seed: As of `play`.
        first_attacks: (64,): in which of every 64 episodes the first player attacks.
        batch: As of `play`.
        deterministic: As of `play`.
        watch: As of `play`.

    Raises:
        InvalidInputError: As of `play`.
    """
    rules = rules_for(first, second, rules=rules)
    _check(episodes, seed, batch)
    chunks = range(math.ceil(episodes / CHUNK))
    at_once = max(1, batch // CHUNK)
    tables = []
    for start in range(0, len(chunks), at_once):
        some = list(chunks[start : start + at_once])
        roles = np.tile(first_attacks, len(some))
        group = _Group(rules, (first, second), some, seed, roles, episodes - start * CHUNK, deterministic)
        tables.append(group.play(watch))
    return Episodes(rules, {name: np.concatenate([one[name] for one in tables])[:episodes] for name in tables[0]})


def record(
    rules: Rules | None, offense: Player, defense: Player, seed: int, *, deterministic: bool = False
) -> list[View]:
    """Return the views of one whole episode, from its beginning to its end; it is the first one of `play`.

    Raises:
        InvalidInputError: As of `play`.
    """
    views: list[View] = []

    def keep(moment: Moment) -> None:
        if moment.counted[0]:
            views.append(View.of(moment.games, 0))

    play(rules, offense, defense, 1, seed, deterministic=deterministic, watch=keep)
    return views


class _Group:
    """Chunks of games that are played side by side."""

    def __init__(
        self, rules: Rules, players: tuple[Player, Player], chunks: list[int], seed: int, roles: _Bools, wanted: int,
        deterministic: bool,
    ) -> None:  # fmt: skip
        self._players, self._roles, self._deterministic = players, roles, deterministic
        self._luck = [Streams(seed, chunks, whose) for whose in (FIRST, SECOND)]
        self._first = chunks[0] * CHUNK
        self._wanted = np.arange(len(roles)) < wanted
        self._games = Games(rules, len(roles), 0)
        self._games.rng = Streams(seed, chunks, GAMES)
        self._games.reset()
        self._columns = _empty(self._games)

    def play(self, watch: Watch | None) -> dict[str, _Array]:
        games = self._games
        self._tell(watch, self._wanted)
        while not games.done.all():
            counted = self._wanted & ~games.done
            actions = self._act()
            outcome = games.step(actions)
            self._note(outcome)
            self._tell(watch, counted, actions, outcome)
        self._columns["first_attacks"] = self._roles
        return self._columns

    def _act(self) -> _Array:
        first, second = (
            player.choose(self._games, roles, luck, self._deterministic)
            for player, roles, luck in zip(self._players, (self._roles, ~self._roles), self._luck, strict=True)
        )
        attacks = self._roles[:, None]
        return np.concatenate([np.where(attacks, first, second), np.where(attacks, second, first)], axis=1)

    def _note(self, outcome: Outcome) -> None:
        columns, skills = self._columns, self._games.skills
        columns["passes"] += outcome.passed
        rows = np.flatnonzero(outcome.ended)
        for name in (*_OF_OUTCOME, "turnover_by"):
            columns[name][rows] = getattr(outcome, name)[rows]
        columns["length"][rows] = self._games.steps[rows]
        for who in ("shooter", "passer"):
            found = rows[columns[who][rows] >= 0]
            columns[f"{who}_skills"][found] = skills[found, columns[who][found]]

    def _tell(
        self, watch: Watch | None, counted: _Bools, actions: _Array | None = None, outcome: Outcome | None = None
    ) -> None:
        if watch is not None:
            watch(Moment(self._games, counted, self._first, self._roles, actions, outcome))


def _empty(games: Games) -> dict[str, _Array]:
    n = len(games.done)
    counts = {name: np.zeros(n, np.int64) for name in ("ending", "points", "length", "passes", "attempt")}
    none = {name: np.full(n, -1, np.int64) for name in ("distance", "cell", "shooter", "passer", "turnover_by")}
    skills = {f"{who}_skills": np.full((n, len(SKILLS)), np.nan) for who in ("shooter", "passer")}
    rest = {"chance": np.full(n, np.nan), "assisted": np.zeros(n, np.bool_), "clock": games.clock.astype(np.int64)}
    return {**counts, **none, **rest, **skills}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _check(episodes: int, seed: int, batch: int) -> None:
    wrong = [f"{name}={value}" for name, value in (("episodes", episodes), ("batch", batch)) if value < 1]
    wrong += [f"seed={seed}"] if seed < 0 else []
    if wrong:
        raise InvalidInputError(
            f"No episodes can be played with {', '.join(wrong)}.", "episodes and batch from 1, a seed from 0"
        )
