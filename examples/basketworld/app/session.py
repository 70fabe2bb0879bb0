"""One table of play: two teams, the episode on the court with every turn so far, and what came before it.

Each turn is kept with the exact state of the game and of the players' luck, so that after stepping back the same
choices lead to the same turns, and other choices to other ones.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from holdfast.errors import InvalidInputError

from ..game.actions import ACTIONS, NAMES
from ..game.games import Games
from ..game.rules import Rules
from ..game.view import View
from ..play.players import Player
from .messages import MOST_SEED, Line, Shot, Team
from .reading import happening_of
from .words import Happening, describe, describe_start

TEAMS: tuple[Team, Team] = ("A", "B")
MOST_EPISODES = 2_000


@dataclasses.dataclass(frozen=True)
class Moment:
    """The game after one turn; `happening` is what led here, None at the start."""

    state: Mapping[str, Any]
    luck: Mapping[str, Any]
    view: View
    ended: bool
    happening: Happening | None


class Table:
    """One session's games. Not safe for several threads at once: its session takes turns.

    Args:
        rules: Of every episode.
        teams: Who plays for "A" and "B".
        seed: Of the first episode; each next one takes the following number.
        deterministic: Whether the players take their most probable actions.
    """

    def __init__(self, rules: Rules, teams: Mapping[Team, Player], seed: int = 0, deterministic: bool = False) -> None:
        self.rules = rules
        self.teams = dict(teams)
        self.deterministic = deterministic
        self.humans: set[Team] = set()
        self.clear(seed)

    @property
    def attacking(self) -> Team:
        """The team on offence: A in the first episode, then in turns."""
        return TEAMS[self.episode % 2]

    @property
    def now(self) -> Moment:
        """Where the episode stands."""
        return self.moments[self.at]

    @property
    def games(self) -> Games:
        """The game as it stands, a batch of one. Not to be changed."""
        return self._games

    def clear(self, seed: int | None = None) -> None:
        """Forget score and shots, and begin the first episode."""
        self.episode = 0
        self._shots: list[Shot] = []
        self._points: dict[Team, int] = {"A": 0, "B": 0}
        self._wins: dict[Team, int] = {"A": 0, "B": 0}
        self._begin(self.seed if seed is None else seed)

    def step(self, orders: Mapping[int, int] | None = None) -> None:
        """Play one turn, or show again one that was played and then stepped back from.

        Args:
            orders: Actions by player number, for players of teams that are taken over. They make a new future:
                turns that were stepped back from are forgotten.

        Raises:
            InvalidInputError: The episode is over, or an order is for nobody that is taken over, or not legal.
        """
        if self.now.ended:
            raise InvalidInputError("This episode is over.", "begin the next one, or step back")
        orders = orders or {}
        self._check(orders)
        if orders:
            del self.moments[self.at + 1 :]
        if self.at + 1 == len(self.moments):
            self.moments.append(self._play(orders))
            self.at += 1
        else:
            self.go_to(self.at + 1)

    def go_to(self, at: int) -> None:
        """Go to a turn that was played; 0 is the start.

        Raises:
            InvalidInputError: The episode has no such turn.
        """
        if not 0 <= at < len(self.moments):
            raise InvalidInputError(f"There is no turn {at}.", f"turns 0 to {len(self.moments) - 1} have been played")
        self.at = at
        self._games.restore(dict(self.now.state))
        self._luck.bit_generator.state = copy.deepcopy(dict(self.now.luck))

    def next_episode(self, seed: int | None = None) -> None:
        """Count this episode as it stands here, and begin another.

        Raises:
            InvalidInputError: The session has had as many episodes as it keeps.
        """
        if self.episode + 1 >= MOST_EPISODES:
            raise InvalidInputError(f"A session keeps {MOST_EPISODES} episodes.", "clear it, or open another session")
        self._shots, self._points, self._wins = self.shots(), self.points(), self.wins()
        self.episode += 1
        self._begin((self.seed + 1) % (MOST_SEED + 1) if seed is None else seed)

    def control(self, team: Team, human: bool) -> None:
        """Take a team over or hand it back; turns that were stepped back from are forgotten."""
        (self.humans.add if human else self.humans.discard)(team)
        del self.moments[self.at + 1 :]

    def team_of(self, player: int) -> Team:
        """Return the team of a player by its number in the game."""
        attacks = player < self.rules.players
        return self.attacking if attacks else TEAMS[1 - TEAMS.index(self.attacking)]

    def name_of(self, player: int) -> str:
        """Return how the page calls a player: its team and its number from 1, such as A1."""
        return f"{self.team_of(player)}{player % self.rules.players + 1}"

    def shots(self) -> list[Shot]:
        """Return all attempts of the session up to the turn shown."""
        last = self.now.happening
        return [*self._shots, self._shot(last)] if last is not None and last.is_shot else list(self._shots)

    def points(self) -> dict[Team, int]:
        """Return the points of each team up to the turn shown."""
        points = dict(self._points)
        points[self.attacking] += self.now.happening.points if self.now.happening else 0
        return points

    def wins(self) -> dict[Team, int]:
        """Return the episodes won: by scoring for the attackers, by anything else for the defenders."""
        wins = dict(self._wins)
        if self.now.ended and self.now.happening:
            scored = self.now.happening.points > 0
            wins[self.team_of(0 if scored else self.rules.players)] += 1
        return wins

    def log(self) -> list[Line]:
        """Return this episode in plain words, up to the turn shown."""
        start = self.moments[0].view
        said = describe_start(f"Team {self.attacking}", self.name_of(start.holder), start.clock)
        lines = [Line(at=0, text=said, kind="start")]
        for at in range(1, self.at + 1):
            happening = self.moments[at].happening
            told = describe(happening, self.name_of) if happening else None
            if told is not None:
                lines.append(Line(at=at, text=told[0], kind=told[1], team=self._glad(told[1])))
        return lines

    def views(self) -> list[View]:
        """Return the episode so far, for a film."""
        return [moment.view for moment in self.moments[: self.at + 1]]

    def _begin(self, seed: int) -> None:
        self.seed = seed
        self._games = Games(self.rules, 1, seed)
        self._luck = np.random.default_rng([seed, 1])
        self.at = 0
        self.moments: list[Moment] = [self._moment(None)]

    def _play(self, orders: Mapping[int, int]) -> Moment:
        actions = self._chosen()
        for player, action in orders.items():
            actions[player] = action
        before = View.of(self._games, 0)
        outcome = self._games.step(actions[None, :])
        return self._moment(happening_of(outcome, before, View.of(self._games, 0), actions))

    def _chosen(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Ask both teams, always in the same order, also where orders replace what they choose: luck stays in step."""
        sides = [
            self.teams[team].choose(self._games, np.array([attacks]), self._luck, deterministic=self.deterministic)
            for team, attacks in ((self.attacking, True), (self.team_of(self.rules.players), False))
        ]
        return np.concatenate([np.asarray(side)[0] for side in sides]).astype(np.int64)

    def _moment(self, happening: Happening | None) -> Moment:
        luck = copy.deepcopy(self._luck.bit_generator.state)
        view = View.of(self._games, 0)
        return Moment(copy.deepcopy(self._games.state()), luck, view, bool(self._games.done[0]), happening)

    def _check(self, orders: Mapping[int, int]) -> None:
        legal = self._games.legal()[0]
        for player, action in orders.items():
            if not 0 <= player < 2 * self.rules.players or not 0 <= action < ACTIONS:
                raise InvalidInputError(f"There is no action {action} of player {player}.", "see the legal actions")
            if self.team_of(player) not in self.humans:
                raise InvalidInputError(f"{self.name_of(player)} is not yours to play.", "take its team over first")
            if not legal[player, action]:
                raise InvalidInputError(f"{self.name_of(player)} cannot {NAMES[action]} now.", "choose a legal action")

    def _shot(self, happening: Happening) -> Shot:
        shooter = happening.handler if happening.shooter is None else happening.shooter
        chance = 0.0 if math.isnan(happening.chance) else happening.chance
        return Shot(
            team=self.team_of(shooter),
            player=shooter % self.rules.players + 1,
            cell=happening.cell,
            made=happening.ending == "made",
            points=happening.points,
            chance=chance,
            episode=self.episode,
        )

    def _glad(self, kind: str) -> Team | None:
        if kind in {"made", "pass"}:
            return self.attacking
        return self.team_of(self.rules.players) if kind in {"missed", "lost"} else None
