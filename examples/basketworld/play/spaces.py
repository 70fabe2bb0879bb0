"""Shapes alone, for a model that is made before there are games to train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt


class Spaces(gymnasium.Env[npt.NDArray[np.float32], npt.NDArray[np.int64]]):
    """An environment that has the spaces of a policy and no game.

    Args:
        features: How many numbers are seen.
        actions: How many actions each player of the team has.
    """

    def __init__(self, features: int, actions: Sequence[int]) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (features,), np.float32)
        self.action_space = gymnasium.spaces.MultiDiscrete(list(actions))
        self._actions = sum(actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Return an empty observation."""
        super().reset(seed=seed)
        return np.zeros(self.observation_space.shape or (), np.float32), {}

    def step(self, action: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Return an empty observation, and the end."""
        return np.zeros(self.observation_space.shape or (), np.float32), 0.0, True, False, {}

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return that everything is legal."""
        return np.ones(self._actions, np.bool_)
