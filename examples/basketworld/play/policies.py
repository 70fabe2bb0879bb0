"""A trained policy as a player: one pass forward for a whole batch of games."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

from ..game.actions import ACTIONS
from ..game.games import Games
from ..game.observing import observe, width
from ..game.rules import Rules
from ..game.turning import as_seen, chances_on_court, sixths_seen
from .players import own_legal, sample

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]
Layer = tuple[_Floats, _Floats]
"""A linear layer: (outputs, inputs) weights and (outputs,) biases."""

# Multiplications of a product that OpenBLAS does with one thread.
_ALONE = 1 << 18


@dataclass(frozen=True, eq=False)
class Policy:
    """The part of a policy that acts: layers with tanh between them.

    Attributes:
        rules: What it was trained by.
        alternation: The alternation of training that it was written after.
        layers: From what it sees to (P * 14,) logits.
        net_arch: The widths of its hidden layers.
        checksum: SHA-256 of its file, in hexadecimal; empty where there is none.
    """

    rules: Rules
    alternation: int
    layers: tuple[Layer, ...]
    net_arch: tuple[int, ...] = ()
    checksum: str = ""

    def __post_init__(self) -> None:
        wanted = (features_of(self.rules), self.rules.players * ACTIONS)
        found = (self.layers[0][0].shape[1], self.layers[-1][0].shape[0])
        if wanted != found:
            raise InvalidInputError(
                f"The policy sees {found[0]} numbers and scores {found[1]} actions; by its rules it is "
                f"{wanted[0]} and {wanted[1]}.",
                "train it anew with this version of the example",
            )

    def logits(self, seen: npt.NDArray[np.float32]) -> _Floats:
        """Return (n, P, 14) scores of the actions in the turned frame, from (n, F) observations."""
        hidden = np.asarray(seen, dtype=np.float64)
        for index, (weights, biases) in enumerate(self.layers):
            hidden = np.tanh(hidden) if index else hidden
            hidden = _product(hidden, weights) + biases
        return np.asarray(hidden.reshape(len(seen), self.rules.players, ACTIONS))


class PolicyPlayer:
    """Plays a team by a policy. Threads may share one.

    Args:
        policy: The policy.
        name: What it is called; `policy 7` after its alternation if not given.
    """

    def __init__(self, policy: Policy, name: str | None = None) -> None:
        self.policy = policy
        self.name = name or f"policy {policy.alternation}"
        self.rules: Rules | None = policy.rules

    def __repr__(self) -> str:
        return f"PolicyPlayer({self.name!r})"

    def choose(self, games: Games, offense: _Bools, rng: np.random.Generator, deterministic: bool = False) -> _Ints:
        """Return (n, P) actions on the court; see `Player`."""
        return sample(self.chances(games, offense), rng, deterministic)

    def chances(self, games: Games, offense: _Bools) -> _Floats:
        """Return (n, P, 14) chances on the court; see `Player`."""
        sixths = sixths_seen(games)
        legal = as_seen(own_legal(games, offense), sixths)
        return np.asarray(chances_on_court(masked_softmax(self.policy.logits(observe(games, offense)), legal), sixths))


def _product(hidden: _Floats, weights: _Floats) -> _Floats:
    """Return (n, outputs) products of (n, inputs) and the weights, by slabs of as many rows whatever n is.

    So a game's chances do not depend on how many are played beside it, to the last bit. And products as small as these
    are left to one core by every library: handing parts of them to others takes longer than doing them.
    """
    rows = 1 << min(6, max(0, (_ALONE // weights.size).bit_length() - 1))
    count = len(hidden)
    whole = np.pad(hidden, ((0, -count % rows), (0, 0)))
    product = whole.reshape(-1, rows, hidden.shape[1]) @ weights.T
    return np.asarray(product.reshape(len(whole), -1)[:count])


def masked_softmax(logits: _Floats, legal: _Bools) -> _Floats:
    """Return the chances of actions from their scores, along the last axis; exactly 0 where not legal."""
    scores = np.where(legal, logits, -np.inf)
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def features_of(rules: Rules) -> int:
    """Return how many numbers a policy sees: F."""
    return width(rules)
