"""Several frozen policies that act at once, each in its share of the games.

The policies of a run have the same network, so that their weights are stacked and one batched product a layer serves
all of them: many small passes would cost more than the games and the learner together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.errors import InvalidInputError

from ..play.policies import Layer


class OpponentTeam:
    """Policies with stacked weights; the games are shared evenly, in order.

    Args:
        networks: Of each policy, its layers; the same policy may come several times.

    Raises:
        InvalidInputError: There is none, or the networks differ.
    """

    def __init__(self, networks: Sequence[Sequence[Layer]]) -> None:
        shapes = {tuple(weights.shape for weights, _ in one) for one in networks}
        if len(shapes) != 1:
            raise InvalidInputError(
                f"{len(networks)} opponents have {len(shapes)} different networks.",
                "play against policies of one run, which all have the same",
            )
        self.count = len(networks)
        self._stacked = [_stack([one[index] for one in networks]) for index in range(len(networks[0]))]

    def act(
        self, observations: NDArray[np.float32], masks: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return an action for each player of each game, in the turned frame.

        Args:
            observations: (n, F), as the opponents see the games; n is a multiple of the policies.
            masks: (n, P, 14), what is allowed, in the turned frame.
            rng: What the actions are drawn with.

        Returns:
            (n, P).
        """
        games, players, actions = masks.shape
        with torch.no_grad():
            hidden = torch.from_numpy(observations).view(self.count, games // self.count, -1)
            for index, (matrix, bias) in enumerate(self._stacked):
                hidden = torch.baddbmm(bias, hidden, matrix)
                if index < len(self._stacked) - 1:
                    hidden = torch.tanh(hidden)
            logits = hidden.reshape(games, players, actions).numpy()
        return draw(logits, masks, rng)


def draw(logits: NDArray[np.float32], masks: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw from categorical distributions over what is allowed, by the Gumbel trick; shapes (…, actions) to (…)."""
    noise = rng.random(logits.shape, dtype=np.float32)
    gumbel = -np.log(-np.log(np.clip(noise, 1e-12, 1 - 1e-7)))
    chosen: NDArray[np.int64] = np.where(masks, logits + gumbel, -np.inf).argmax(axis=-1)
    return chosen


def _stack(layers: Sequence[Layer]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (K, inputs, outputs) weights and (K, 1, outputs) biases."""
    weights = np.stack([weights.T for weights, _ in layers]).astype(np.float32)
    biases = np.stack([biases[None] for _, biases in layers]).astype(np.float32)
    return torch.from_numpy(weights), torch.from_numpy(biases)
