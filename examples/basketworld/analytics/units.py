"""Units of work: a match, a stretch of episodes, or one episode to look at. They are pickled, and done anywhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..play.episodes import Episodes, Moment, play, record
from ..play.matches import match
from ..play.players import rules_for
from .sides import Side

if TYPE_CHECKING:
    from ..game.rules import Rules
    from ..game.view import View

# Episodes of one unit: fixed, so that the luck of each is the same however many workers there are.
CHUNK = 128


def seed_of(seed: int, *what: object) -> int:
    """Return the seed of one thing under a seed of everything; things that differ have nothing in common."""
    text = "/".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


@dataclass(frozen=True)
class Score:
    """What came of a match: what the first player won and scored, and the second one scored."""

    episodes: int
    wins: int
    points: tuple[int, int]


@dataclass(frozen=True)
class MatchUnit:
    """Two players meet, and take turns in attacking.

    Attributes:
        first: The one who attacks first.
        second: The other.
        episodes: How many.
        seed: Of all of them.
        deterministic: Whether policies take their likeliest action.
    """

    first: Side
    second: Side
    episodes: int
    seed: int
    deterministic: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """The files of policies that it reads."""
        return (*self.first.paths, *self.second.paths)

    @property
    def cost(self) -> float:
        """How long it takes, beside others: a policy thinks for longer than a player that is built in."""
        return self.episodes * (1.0 + len(self.paths))

    def work(self) -> Score:
        """Play the match.

        Raises:
            InvalidInputError: The two were trained by different rules.
        """
        a, b = self.first.player(), self.second.player()
        found = match(None, a, b, self.episodes, self.seed, deterministic=self.deterministic)
        return Score(found.episodes, found.wins_a, (found.points_a, found.points_b))


@dataclass(frozen=True)
class Stretch:
    """Episodes that were played, with a row each in the table, and where everybody stood.

    Attributes:
        episodes: The table.
        occupancy: (steps, 2, cells) how often an attacker (0) and a defender (1) stood where, by the step of the
            episode; step 0 is its beginning.
    """

    episodes: Episodes
    occupancy: npt.NDArray[np.int64]

    @property
    def rules(self) -> Rules:
        """What was played."""
        return self.episodes.rules


@dataclass(frozen=True)
class PlayUnit:
    """A stretch of episodes in which one player always attacks.

    Attributes:
        offense: Who attacks.
        defense: Who defends.
        episodes: How many.
        seed: Of all of them.
        deterministic: Whether policies take their likeliest action.
    """

    offense: Side
    defense: Side
    episodes: int
    seed: int
    deterministic: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """The files of policies that it reads."""
        return (*self.offense.paths, *self.defense.paths)

    @property
    def cost(self) -> float:
        """How long it takes, beside others."""
        return self.episodes * (1.0 + len(self.paths))

    def work(self) -> Stretch:
        """Play the episodes.

        Raises:
            InvalidInputError: The two were trained by different rules.
        """
        offense, defense = self.offense.player(), self.defense.player()
        rules = rules_for(offense, defense)
        stood = np.zeros((rules.shot_clock + 1, 2, rules.size**2), np.int64)

        def count(moment: Moment) -> None:
            steps = moment.games.steps[moment.counted].astype(np.int64)[:, None]
            cells = moment.games.cells[moment.counted].astype(np.int64)
            for team in (0, 1):
                own = cells[:, team * rules.players : (team + 1) * rules.players]
                rows = (steps * 2 + team) * rules.size**2 + own
                stood.ravel()[:] += np.bincount(rows.ravel(), minlength=stood.size)

        table = play(rules, offense, defense, self.episodes, self.seed, deterministic=self.deterministic, watch=count)
        return Stretch(table, stood)


@dataclass(frozen=True)
class Scene:
    """One whole episode, to be shown.

    Attributes:
        views: From its beginning to its end.
        episodes: Its row in a table.
    """

    views: list[View]
    episodes: Episodes


@dataclass(frozen=True)
class SceneUnit(PlayUnit):
    """One episode to be shown; `episodes` is 1."""

    def work(self) -> Scene:  # type: ignore[override]
        """Play it; raises as of `PlayUnit`."""
        offense, defense = self.offense.player(), self.defense.player()
        views = record(None, offense, defense, self.seed, deterministic=self.deterministic)
        return Scene(views, play(None, offense, defense, 1, self.seed, deterministic=self.deterministic))


def join(stretches: list[Stretch]) -> Stretch:
    """Return stretches of the same two players as one, in their order."""
    rules = stretches[0].rules
    names = stretches[0].episodes.columns
    columns = {name: np.concatenate([one.episodes[name] for one in stretches]) for name in names}
    occupancy: npt.NDArray[np.int64] = np.sum([one.occupancy for one in stretches], axis=0)
    return Stretch(Episodes(rules, columns), occupancy)
