"""Which frozen policies an alternation is played against.

Most draws go to the newest policies, each with more weight than the one before it; some go to the whole history alike,
so that what was learnt against older policies is not forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..play.checkpoints import policy_path
from .config import TrainingConfig

_STREAM = 7001  # apart from other generators of the same seed


def chances(history: int, window: int, decay: float, uniform: float) -> NDArray[np.float64]:
    """Return the chance of each policy of the history, the oldest first.

    Args:
        history: How many policies there are, 1 or more.
        window: How many of the newest are drawn by weight.
        decay: Weight of a policy beside that of the next newer one.
        uniform: Share of draws that go to the whole history alike.
    """
    recent = min(window, history)
    weights = decay ** np.arange(recent - 1, -1, -1, dtype=np.float64)
    found = np.full(history, uniform / history)
    found[history - recent :] += (1 - uniform) * weights / weights.sum()
    return found


def draw_opponents(config: TrainingConfig, alternation: int) -> list[int]:
    """Return the alternations whose policies an alternation plays against, `config.opponents` draws in ascending order.

    The draws depend on the seed and the alternation alone: a training that goes on draws the same ones.
    """
    weights = chances(alternation, config.opponent_window, config.opponent_decay, config.opponent_uniform)
    rng = np.random.default_rng([config.seed, _STREAM, alternation])
    return sorted(int(one) for one in rng.choice(alternation, size=config.opponents, p=weights))


def as_text(alternation: int, drawn: Sequence[int]) -> str:
    """Return what `opponents/alternation_{n}.txt` says: each policy and how often it was drawn."""
    lines = [f"{policy_path(one)} {count}" for one, count in sorted(Counter(drawn).items())]
    return "\n".join([f"# alternation {alternation}: policy, draws of {len(drawn)}", *lines, ""])
