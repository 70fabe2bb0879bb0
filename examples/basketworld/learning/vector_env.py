"""The games as Stable-Baselines3 sees them: one team learns, frozen policies play the other.

The learner attacks in every other game and defends in the rest, so that each update teaches both roles: a network that
learns them in turn forgets in one what it has learnt in the other.

Everything is an array over the games. Infos are empty and shared: nothing is built for each game and step.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from ..game.actions import ACTIONS
from ..game.games import Games
from ..game.observing import layout, observe
from ..game.outcome import Outcome
from ..game.rules import Rules
from ..game.turning import as_seen, on_court, sixths_seen
from ..play.episodes import THREE
from .episode_log import EpisodeLog
from .opponent_team import OpponentTeam


class TeamVecEnv(VecEnv):
    """`n` games in which the learner's team plays against an `OpponentTeam`.

    Observations are (n, F), actions (n, P) in the turned frame, rewards those of the learner's whole team. An episode
    ends with the game's; the shot clock is seen, so that no end is a truncation.

    With `expected`, a shot is rewarded by the points that it brings on average, its chance times its worth, whether it
    goes in or not. That has the same mean as the points, and much less noise to learn from.

    Args:
        rules: Of the games.
        n: How many games.
        seed: Of the games and of the opponents' draws.
        expected: Whether shots are rewarded by what they are worth, and not by what they bring.

    Attributes:
        is_offense: (n,), in which games the learner attacks.
        log: The episodes that ended since `begin`.
    """

    def __init__(self, rules: Rules, n: int, seed: int, expected: bool = True) -> None:
        self.rules, self.expected = rules, expected
        self.is_offense: NDArray[np.bool_] = np.arange(n) % 2 == 0
        self.games = Games(rules, n, seed)
        self.rng = np.random.default_rng([seed, 7002])
        self.log = EpisodeLog(n)
        self._opponents: OpponentTeam | None = None
        self._actions: NDArray[np.int64] = np.zeros((n, rules.players), np.int64)
        self._sixths = sixths_seen(self.games)
        self._legal = self.games.legal()
        self._seen = observe(self.games, self.is_offense)
        self._infos: list[dict[str, Any]] = [{}] * n
        size = max(part.stop for part in layout(rules).values())
        super().__init__(
            n, spaces.Box(-np.inf, np.inf, (size,), np.float32), spaces.MultiDiscrete([ACTIONS] * rules.players)
        )

    # -- play -------------------------------------------------------------------------

    def begin(self) -> NDArray[np.float32]:
        """Begin new games with an empty log; return what the learner sees."""
        self.games.reset()
        self.log.clear(self.games.clock)
        return self.look()

    def face(self, opponents: OpponentTeam) -> None:
        """Play against these from now on."""
        self._opponents = opponents

    def look(self) -> NDArray[np.float32]:
        """Return what the learner sees of the games as they are."""
        self._sixths, self._legal = sixths_seen(self.games), self.games.legal()
        self._seen = observe(self.games, self.is_offense)
        return self._seen

    def masks(self) -> NDArray[np.bool_]:
        """Return (n, P, 14), what the learner's players may do, in the turned frame."""
        return self._allowed(self.is_offense)

    def points_of(self, outcome: Outcome) -> NDArray[np.float64]:
        """Return (n,), the rewards of the team with the ball."""
        reward = np.asarray(outcome.reward, np.float64)
        if not self.expected:
            return reward
        worth = np.nan_to_num(outcome.chance) * np.where(outcome.attempt == THREE, 3, 2)
        return np.where(outcome.attempt > 0, reward - outcome.points + worth, reward)

    def play(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Play one step of all games; begin those that end anew.

        Args:
            actions: (n, P) of the learner, in the turned frame.

        Returns:
            What the learner sees then, its team's rewards, and which games ended.
        """
        if self._opponents is None:
            raise RuntimeError("face() opponents first")
        seen = seen_by_others(self._seen, self.rules)
        theirs = self._opponents.act(seen, self._allowed(~self.is_offense), self.rng)
        attacks = self.is_offense[:, None]
        pair = (np.where(attacks, actions, theirs), np.where(attacks, theirs, actions))
        outcome = self.games.step(np.concatenate([on_court(one, self._sixths) for one in pair], axis=1))
        gained = self.points_of(outcome)
        rewards = np.where(self.is_offense, gained, -gained)
        self.log.take(outcome, rewards, self.games.steps)
        ended = np.asarray(outcome.ended, dtype=bool)
        if ended.any():
            self.games.reset(ended)
            self.log.began(ended, self.games.clock)
        return self.look(), rewards.astype(np.float32), ended

    def _allowed(self, attacks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        players = self.rules.players
        own = np.where(attacks[:, None, None], self._legal[:, :players], self._legal[:, players:])
        return as_seen(own, self._sixths)

    # -- what a training keeps --------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return all that the next steps depend on, but the opponents."""
        return {
            "games": self.games.state(),
            "rng": self.rng.bit_generator.state,
            "log": self.log.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.games.restore(state["games"])
        self.rng.bit_generator.state = state["rng"]
        self.log.restore(state["log"])

    # -- what Stable-Baselines3 asks --------------------------------------------------

    def reset(self) -> NDArray[np.float32]:
        """Begin all games anew."""
        return self.begin()

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Note the learner's actions."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Play the noted actions."""
        return *self.play(self._actions), self._infos

    def close(self) -> None:
        """Nothing is left open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the same attribute for each game."""
        if attr_name == "render_mode":
            return [None] * len(self._games_of(indices))
        if attr_name == "action_masks":
            return [self.masks] * len(self._games_of(indices))
        return [getattr(self, attr_name)] * len(self._games_of(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute for all games."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method once a game; `action_masks` gives each game's own masks, flat."""
        chosen = self._games_of(indices)
        if method_name == "action_masks":
            flat = self.masks().reshape(self.num_envs, -1)
            return [flat[index] for index in chosen]
        return [getattr(self, method_name)(*method_args, **method_kwargs) for _ in chosen]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """No game is wrapped."""
        return [False] * len(self._games_of(indices))

    def _games_of(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))


def seen_by_others(seen: NDArray[np.float32], rules: Rules) -> NDArray[np.float32]:
    """Return what the other teams see, from what these see; the same as `observe` for them, at a tenth of its price.

    Args:
        seen: (n, F).
        rules: Of the games.
    """
    order, role = _of_others(rules)
    found = seen[:, order]
    found[:, role] *= -1
    return found


@functools.lru_cache(maxsize=8)
def _of_others(rules: Rules) -> tuple[NDArray[np.int64], slice]:
    """Return the order of the columns for the other team, whose own players come first, and where the role stands."""
    parts = layout(rules)
    order = np.arange(max(part.stop for part in parts.values()))
    for name in ("players", "holder", "to_hoop"):
        part = parts[name]
        order[part] = np.roll(order[part], (part.stop - part.start) // 2)
    return order, parts["role"]
