"""One game as a Gymnasium environment, for all players at once."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from holdfast.errors import InvalidInputError

from .actions import ACTIONS
from .drawing import picture
from .games import Games
from .observing import observe, skill_means, width
from .outcome import Ending, Outcome
from .rules import Rules
from .turning import as_seen, on_court, sixths_seen
from .view import View

ID = "BasketWorld-v0"
_BOUND = 10.0  # no number of an observation is farther from zero
_Observation = dict[str, npt.NDArray[Any]]


class BasketWorld(gymnasium.Env[_Observation, npt.NDArray[np.int64]]):
    """A possession, as one of the teams sees it.

    The action has one of 14 numbers for each player, the offence first; what is illegal becomes standing still. The
    reward is the offence's; the defence's is its opposite. An observation has `observation` (what `observing.layout`
    names), `action_mask` (2P, 14), `role_flag` (1 offence, -1 defence) and `skills` (3P make chances, less the rules'
    means). `info["sixths"]` tells by how much the observation is turned.

    Args:
        rules: All options of the game.
        side: Whose eyes: "offense" or "defense".
        turned: Whether actions and masks are in the turned frame of the observation, not on the court.
        render_mode: "rgb_array", or nothing.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as the base class has it
        "render_modes": ["rgb_array"],
        "render_fps": 4,
    }

    def __init__(
        self,
        rules: Rules | None = None,
        *,
        side: Literal["offense", "defense"] = "offense",
        turned: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in {None, "rgb_array"}:
            raise InvalidInputError(f"there is no way to render as {render_mode!r}", hint='choose "rgb_array" or None')
        if side not in ("offense", "defense"):
            raise InvalidInputError(f"there is no side {side!r}", hint='choose "offense" or "defense"')
        if rules is not None and not isinstance(rules, Rules):
            raise InvalidInputError(
                f"the rules of BasketWorld are {rules!r:.100}",
                hint="give Rules(...) or Rules.from_dict(...)",
            )
        self.rules = rules or Rules()
        self.render_mode = render_mode
        self.games = Games(self.rules, 1, 0)
        self._side, self._turned, self._title = side, turned, ""
        everyone = 2 * self.rules.players
        self.action_space = spaces.MultiDiscrete([ACTIONS] * everyone)
        self.observation_space = spaces.Dict(  # type: ignore[assignment]
            {
                "observation": spaces.Box(-_BOUND, _BOUND, (width(self.rules),), np.float32),
                "action_mask": spaces.Box(0, 1, (everyone, ACTIONS), np.int8),
                "role_flag": spaces.Box(-1, 1, (1,), np.float32),
                "skills": spaces.Box(-1, 1, (3 * self.rules.players,), np.float32),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[_Observation, dict[str, Any]]:
        """Begin a possession; the seed decides this one and all after it."""
        super().reset(seed=seed, options=options)
        self.games.reset(seed=int(self.np_random.integers(2**31)))
        self._title = ""
        return self._observation(), {"sixths": int(sixths_seen(self.games)[0])}

    def step(self, action: npt.NDArray[np.int64]) -> tuple[_Observation, float, bool, bool, dict[str, Any]]:
        """Have all players act at once.

        Returns:
            Observation, the offence's reward, whether the possession has ended, False, and what happened: `ending`,
            `points`, `attempt`, `chance` (0 without a shot), `assisted`, `passed`.

        Raises:
            InvalidInputError: The possession had ended before, or the action has another form.
        """
        outcome = self.games.step(self._checked(action))
        ending = Ending(int(outcome.ending[0]))
        self._title = ending.name.lower() if outcome.ended[0] else ""
        return self._observation(), float(outcome.reward[0]), bool(outcome.ended[0]), False, self._told(outcome, ending)

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Draw the court: (480, 480, 3) bytes, or nothing without a render mode."""
        if self.render_mode is None:
            return None
        return picture(View.of(self.games, 0), 0, self.rules, title=self._title)

    def _checked(self, action: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if self.games.done[0]:
            raise InvalidInputError("the possession has ended", hint="call reset() before the next step")
        given = np.asarray(action)
        is_one = given.shape == self.action_space.shape and given.dtype.kind in "iu"
        if not is_one or given.min() < 0 or given.max() >= ACTIONS:
            raise InvalidInputError(
                f"this is no action of {2 * self.rules.players} players: {action!r:.100}",
                hint=f"give one whole number from 0 to {ACTIONS - 1} for each player, the offence first",
            )
        actions = given.astype(np.int64)[None]
        return on_court(actions, sixths_seen(self.games)) if self._turned else actions

    def _observation(self) -> _Observation:
        mask = self.games.legal()
        if self._turned:
            mask = as_seen(mask, sixths_seen(self.games))
        return {
            "observation": observe(self.games, self._side)[0],
            "action_mask": mask[0].astype(np.int8),
            "role_flag": np.array([1.0 if self._side == "offense" else -1.0], np.float32),
            "skills": (self.games.skills[0] - skill_means(self.rules)).ravel(),
        }

    def _told(self, outcome: Outcome, ending: Ending) -> dict[str, Any]:
        return {
            "sixths": int(sixths_seen(self.games)[0]),
            "ending": ending.name.lower(),
            "points": int(outcome.points[0]),
            "attempt": int(outcome.attempt[0]),
            "chance": float(np.nan_to_num(outcome.chance[0])),
            "assisted": bool(outcome.assisted[0]),
            "passed": bool(outcome.passed[0]),
        }


def register() -> str:
    """Make `gymnasium.make("BasketWorld-v0")` known, once; give that id."""
    if ID not in gymnasium.registry:
        gymnasium.register(ID, entry_point=f"{__name__}:BasketWorld")
    return ID
