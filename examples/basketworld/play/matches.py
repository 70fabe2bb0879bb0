"""Matches of two players, in which the roles alternate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..game.rules import Rules
from .episodes import Episodes, play_roles
from .intervals import Interval, wilson
from .players import Player
from .streams import CHUNK


@dataclass(frozen=True)
class Match:
    """What came of a match. The offence wins an episode by scoring; anything else is won by the defence.

    Attributes:
        a: The name of the player that attacks in the first episode, the third …
        b: The name of the other.
        episodes: How many were played.
        wins_a: How many the one won.
        wins_b: How many the other won; together they are all.
        points_a: What the one scored.
        points_b: What the other scored.
        table: The episodes; `first_attacks` is where `a` was the offence.
    """

    a: str
    b: str
    episodes: int
    wins_a: int
    wins_b: int
    points_a: int
    points_b: int
    table: Episodes

    def share_a(self, level: float = 0.95) -> Interval:
        """Return the share of episodes that `a` won, with its interval."""
        return wilson(self.wins_a, self.episodes, level)


def match(
    rules: Rules | None, a: Player, b: Player, episodes: int, seed: int, *,
    batch: int = 256, deterministic: bool = False,
) -> Match:  # fmt: skip
    """Play a match: `a` attacks in the even episodes (0, 2 …), `b` in the odd ones.

    Args:
        rules: What is played; None for what the players know.
        a: A player.
        b: Its opponent.
        episodes: How many; an even number is fair.
        seed: The same one gives the same match.
        batch: About how many are played at once; changes nothing else.
        deterministic: Whether players take their likeliest actions.

    Raises:
        InvalidInputError: The players know different rules, or a number is out of range.
    """
    alternating = np.arange(CHUNK) % 2 == 0
    table = play_roles(rules, a, b, episodes, seed, alternating, batch=batch, deterministic=deterministic)
    attacks, scored = table["first_attacks"], table["points"] > 0
    wins_a = int((attacks == scored).sum())
    points = table["points"]
    return Match(
        a.name, b.name, episodes, wins_a, episodes - wins_a,
        int(points[attacks].sum()), int(points[~attacks].sum()), table,
    )  # fmt: skip
