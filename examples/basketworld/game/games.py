"""A batch of games that are stepped at once.

The order of a step: a defender near the holder may steal the ball; illegal actions become "stay"; the clock goes
down; shots and passes; then everybody moves. An episode ends with a shot, a turnover, or the clock.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

from .actions import ACTIONS, MOVE, NOOP, PASS, SHOOT
from .chances import expected_points, points_of, shot_chance
from .court import get_court
from .legal import legal_actions, reachable
from .moves import resolve
from .outcome import Ending, Outcome
from .passing import interception_chances, receivers
from .placing import luck_width, place
from .rules import Rules

_Flags = npt.NDArray[np.bool_]
_NEVER = -10_000  # a step before every window
_STEAL, _SHOT, _LANE, _PRIORITY = 0, 1, 2, 3  # which number of a step's luck decides what
_ARMS_LENGTH = 1
_STATE = (
    *("cells", "holder", "clock", "skills", "steps", "done"),
    *("passer", "passed_at", "lane_counts", "_start_luck", "_start_used"),
)


class Games:
    """n games under the same rules.

    The luck of every step is drawn for all games, whatever they need of it: what happens in a game depends on the
    seed and its own actions alone, not on what the others do. The arrays are for reading.

    Attributes:
        rules: Their rules.
        court: Their court.
        n: How many games there are.
        rng: The generator of all luck.
        cells: (n, 2P) int16, where the players stand; the offence first.
        holder: (n,) int8, the attacker with the ball.
        clock: (n,) int16, the steps left.
        skills: (n, P, 3) float32, each attacker's chances of a lay-up, a three and a dunk.
        steps: (n,) int16, the steps done in this episode.
        done: (n,) bool, whether the episode is over.
        passer: (n,) int8, who gave the last pass that arrived; −1 without one.
        passed_at: (n,) int16, in which step.
        lane_counts: (n, P) int16, for how many steps in a row each defender has stood idly in the lane.
    """

    def __init__(self, rules: Rules, n: int, seed: int | None = None) -> None:
        """Begin n episodes.

        Args:
            rules: The rules.
            n: How many games, at least one.
            seed: The same seed and actions give the same games; None is a new one each time.

        Raises:
            InvalidInputError: There is no game.
        """
        if n < 1:
            raise InvalidInputError(f"a batch of {n} games has no game to play", hint="give n of at least 1")
        self.rules, self.n = rules, n
        self.court = get_court(rules.size)
        players = rules.players
        self.rng = np.random.default_rng(seed)
        self.cells = np.zeros((n, 2 * players), np.int16)
        self.holder = np.zeros(n, np.int8)
        self.clock = np.zeros(n, np.int16)
        self.skills = np.zeros((n, players, 3), np.float32)
        self.steps = np.zeros(n, np.int16)
        self.done = np.ones(n, np.bool_)
        self.passer = np.full(n, -1, np.int8)
        self.passed_at = np.full(n, _NEVER, np.int16)
        self.lane_counts = np.zeros((n, players), np.int16)
        self._start_luck = np.zeros((n, luck_width(rules)))
        self._start_used = np.ones(n, np.bool_)
        self._games = np.arange(n)
        self._moves = reachable(rules)
        self._steals = 1.0 - (1.0 - rules.steal) ** np.arange(players + 1)
        self._lane = self.court.lane(rules.three_distance)
        self.reset()

    def reset(self, which: npt.NDArray[Any] | None = None, seed: int | None = None) -> None:
        """Begin new episodes.

        Args:
            which: (n,) bool, in which games; None is in all of them.
            seed: Begin the luck anew from this seed; None goes on with it.

        Raises:
            InvalidInputError: `which` has another shape.
        """
        if seed is not None:
            self.rng = np.random.default_rng(seed)
            self._start_used[:] = True
        chosen = self._games if which is None else self._chosen(which)
        if not len(chosen):
            return
        again = chosen[self._start_used[chosen]]
        if len(again):
            self._start_luck[again] = self.rng.random(self._start_luck.shape)[again]
        starts = place(self.rules, self._start_luck[chosen])
        self._start_used[chosen] = True
        self.cells[chosen], self.holder[chosen] = starts.cells, starts.holder
        self.clock[chosen], self.skills[chosen] = starts.clock, starts.skills
        self.steps[chosen], self.done[chosen] = 0, False
        self.passer[chosen], self.passed_at[chosen], self.lane_counts[chosen] = -1, _NEVER, 0

    def legal(self) -> _Flags:
        """Return (n, 2P, 14) bool, what every player may do now; `legal.legal_actions` says the rules."""
        return legal_actions(self.rules, self.cells, self.holder, self.done)

    def step(self, actions: npt.NDArray[Any]) -> Outcome:
        """Play one step in every game that is not over.

        Args:
            actions: (n, 2P) int, each 0 to 13; an illegal one is "stay".

        Returns:
            What happened; over games stand still and have the values of "nothing happened".

        Raises:
            InvalidInputError: The actions have another shape, or are no actions.
        """
        actions = self._checked(actions)
        luck = self._draw()
        playing = ~self.done
        outcome = Outcome.nothing(self.holder)
        before = self._potential() if self.rules.shaping else None
        self.steps += playing
        live = playing & ~self._steal(playing, luck, outcome)
        self.clock -= live
        with_ball = np.where(live, actions[self._games, self.holder], NOOP)
        self._shoot(np.flatnonzero(with_ball == SHOOT), luck, outcome)
        self._pass(np.flatnonzero(with_ball >= PASS), with_ball, luck, outcome)
        self._move(actions, live & (outcome.ending == Ending.NONE), luck)
        self._end(live, outcome)
        outcome.reward += outcome.points
        if before is not None:
            self._shape(before, playing, outcome)
        return outcome

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of everything that the games go on from, luck included."""
        luck = json.dumps(self.rng.bit_generator.state).encode()
        return {name: getattr(self, name).copy() for name in _STATE} | {"rng": np.frombuffer(luck, np.uint8).copy()}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Go on from a `state` of as many games under rules with as many players.

        Raises:
            InvalidInputError: The state is of other games, or incomplete.
        """
        for name in (*_STATE, "rng"):
            if name not in state or (name != "rng" and state[name].shape != getattr(self, name).shape):
                raise InvalidInputError(
                    f"the state does not fit these {self.n} games: {name}",
                    hint="restore what state() of such games gave",
                )
        for name in _STATE:
            setattr(self, name, state[name].copy())
        self.rng.bit_generator.state = json.loads(state["rng"].tobytes())

    def _chosen(self, which: npt.NDArray[Any]) -> npt.NDArray[Any]:
        mask = np.asarray(which)
        if mask.shape != (self.n,) or mask.dtype != np.bool_:
            raise InvalidInputError(
                f"which games to reset is {mask.dtype} of shape {mask.shape}", hint=f"give bool of shape ({self.n},)"
            )
        return np.flatnonzero(mask)

    def _checked(self, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        given = np.asarray(actions)
        if given.shape != self.cells.shape or given.dtype.kind not in "iu":
            raise InvalidInputError(
                f"the actions are {given.dtype} of shape {given.shape}",
                hint=f"give whole numbers of shape {self.cells.shape}, the offence first",
            )
        if given.min() < 0 or given.max() >= ACTIONS:
            raise InvalidInputError(
                f"the actions reach from {given.min()} to {given.max()}", hint=f"give numbers from 0 to {ACTIONS - 1}"
            )
        return given

    def _draw(self) -> npt.NDArray[np.float64]:
        """Return (n, 3 + 2P) numbers for this step, and lay those of a next beginning aside."""
        width = _PRIORITY + 2 * self.rules.players
        luck = self.rng.random((self.n, width + self._start_luck.shape[1]))
        self._start_luck = luck[:, width:]
        self._start_used[:] = False
        return luck[:, :width]

    def _ball(self) -> npt.NDArray[Any]:
        return self.cells[self._games, self.holder].astype(np.int32)

    def _steal(self, playing: _Flags, luck: npt.NDArray[np.float64], outcome: Outcome) -> _Flags:
        pairs = self._ball()[:, None] * self.court.cells + self.cells[:, self.rules.players :]
        near = (self.court.distance.take(pairs) <= self.rules.pressure_distance).sum(axis=1)
        stolen: _Flags = playing & (luck[:, _STEAL] < self._steals[near])
        outcome.ending[stolen] = Ending.STOLEN
        outcome.turnover_by[stolen] = self.holder[stolen]
        return stolen

    def _shoot(self, who: npt.NDArray[Any], luck: npt.NDArray[np.float64], outcome: Outcome) -> None:
        if not len(who):
            return
        rules, court, shooter = self.rules, self.court, self.holder[who]
        cell = self.cells[who, shooter]
        chance = shot_chance(rules, court, cell, self.skills[who, shooter], self.cells[who, rules.players :])
        made = luck[who, _SHOT] < chance
        worth, distance = points_of(rules, court, cell), court.to_basket[cell]
        outcome.ending[who] = np.where(made, Ending.MADE, Ending.MISSED)
        outcome.points[who] = worth * made
        outcome.shooter[who], outcome.cell[who], outcome.chance[who] = shooter, cell, chance
        outcome.distance[who] = distance
        outcome.attempt[who] = np.where(distance == 0, 1, worth)
        recent = (self.passer[who] >= 0) & (self.steps[who] - self.passed_at[who] <= rules.assist_window)
        outcome.passer[who] = np.where(recent, self.passer[who], -1)
        outcome.assisted[who] = recent & made

    def _pass(
        self, who: npt.NDArray[Any], with_ball: npt.NDArray[Any], luck: npt.NDArray[np.float64], outcome: Outcome
    ) -> None:
        if not len(who):
            return
        attackers, passer = self.cells[who, : self.rules.players], self.holder[who]
        receiver = receivers(self.rules, with_ball[who] - PASS, passer, attackers)
        arrives = receiver >= 0
        if not self.rules.mask_passes:
            self._lose(who[~arrives], Ending.OUT, outcome)
        who, passer, receiver = who[arrives], passer[arrives], receiver[arrives]
        if self.rules.lane_steals and len(who):
            caught = luck[who, _LANE] < self._interception(who, passer, receiver)
            self._lose(who[caught], Ending.INTERCEPTED, outcome)
            who, passer, receiver = who[~caught], passer[~caught], receiver[~caught]
        outcome.passed[who] = True
        self.holder[who], self.passer[who], self.passed_at[who] = receiver, passer, self.steps[who]

    def _interception(
        self, who: npt.NDArray[Any], passer: npt.NDArray[Any], receiver: npt.NDArray[Any]
    ) -> npt.NDArray[np.float64]:
        cells = self.cells[who]
        games = np.arange(len(who))
        defenders = cells[:, self.rules.players :]
        each = interception_chances(self.court, cells[games, passer], cells[games, receiver], defenders)
        together: npt.NDArray[np.float64] = 1.0 - (1.0 - each).prod(axis=1)
        return together

    def _lose(self, who: npt.NDArray[Any], ending: Ending, outcome: Outcome) -> None:
        outcome.ending[who] = ending
        outcome.turnover_by[who] = self.holder[who]

    def _move(self, actions: npt.NDArray[Any], moving: _Flags, luck: npt.NDArray[np.float64]) -> None:
        moves = (actions >= MOVE) & (actions < SHOOT) & moving[:, None]
        targets = self._moves.take(self.cells.astype(np.int32) * 7 + np.where(moves, actions, NOOP))
        self.cells = resolve(self.cells, targets, luck[:, _PRIORITY:])
        if self.rules.lane_steps:
            self._count_lane(moving)

    def _count_lane(self, moving: _Flags) -> None:
        attackers, defenders = np.split(self.cells, 2, axis=1)
        guards = (self.court.distance[defenders[:, :, None], attackers[:, None, :]] <= _ARMS_LENGTH).any(axis=2)
        idle = self._lane[defenders] & ~guards
        self.lane_counts = np.where(moving[:, None], (self.lane_counts + 1) * idle, self.lane_counts).astype(np.int16)

    def _end(self, live: _Flags, outcome: Outcome) -> None:
        going = live & (outcome.ending == Ending.NONE)
        if self.rules.lane_steps:
            illegal = going & (self.lane_counts > self.rules.lane_steps).any(axis=1)
            outcome.ending[illegal], outcome.points[illegal] = Ending.LANE, 1
            going &= ~illegal
        self._lose(np.flatnonzero(going & (self.clock <= 0)), Ending.CLOCK, outcome)
        outcome.ended[:] = outcome.ending != Ending.NONE
        self.done |= outcome.ended

    def _potential(self) -> npt.NDArray[np.float64]:
        """Return (n,) the expected points of the holders' shots; 0 where the game is over."""
        skills = self.skills[self._games, self.holder]
        defenders = self.cells[:, self.rules.players :]
        return np.where(self.done, 0.0, expected_points(self.rules, self.court, self._ball(), skills, defenders))

    def _shape(self, before: npt.NDArray[np.float64], playing: _Flags, outcome: Outcome) -> None:
        """Add β(γΦ' − Φ); the potential of an episode's end is 0, so that the best play stays the best."""
        outcome.reward += self.rules.shaping * playing * (self.rules.gamma * self._potential() - before)
