"""What a trained policy is worth: against the policy that it began as, and beside players that never learnt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..game.rules import Rules
from ..play.episodes import Episodes, play
from ..play.intervals import Interval, difference, ppp_interval
from ..play.matches import Match, match
from ..play.players import GREEDY, RANDOM, Player, get_player

LAST, FIRST = "last policy", "first policy"


@dataclass
class Judgement:
    """What was played.

    Attributes:
        match: The last policy against the first.
        tables: By the attacker's and the defender's name, the episodes that they played.
    """

    match: Match
    tables: dict[tuple[str, str], Episodes] = field(default_factory=dict)

    @property
    def wins(self) -> Interval:
        """The share of episodes that the last policy won, with its Wilson interval."""
        return self.match.share_a()

    def ppp(self, attacker: str, defender: str) -> Interval:
        """Return an attacker's points per possession on a defence."""
        return ppp_interval(self.tables[attacker, defender])

    def ahead(self, of: str, defender: str) -> Interval:
        """Return how many points per possession the last policy has more than another attacker, on a defence."""
        return difference(self.tables[LAST, defender], self.tables[of, defender])

    def metrics(self) -> dict[str, float]:
        """Return all of it as metrics: `wins/value`, `ppp/<defence>/<attacker>/low` …"""
        found = dict(_ends("wins", self.wins))
        for attacker, defender in self.tables:
            found |= _ends(f"ppp/{defender}/{attacker}", self.ppp(attacker, defender))
        return found


def judge(last: Player, first: Player, rules: Rules, *, episodes: int, possessions: int, seed: int) -> Judgement:
    """Play a policy against its beginning, and it and the baselines on the same defences.

    Args:
        last: The policy that is judged.
        first: What it began as.
        rules: Of the games.
        episodes: Of the match; the roles alternate.
        possessions: Of each attacker on each defence.
        seed: The same one gives the same judgement; the games begin alike for all attackers.
    """
    found = Judgement(match(rules, last, first, episodes, seed))
    attackers = {LAST: last, RANDOM: get_player(RANDOM), GREEDY: get_player(GREEDY)}
    defenders = {GREEDY: get_player(GREEDY), LAST: last, FIRST: first, RANDOM: get_player(RANDOM)}
    for against, defence in defenders.items():
        for name, attack in attackers.items():
            found.tables[name, against] = play(rules, attack, defence, possessions, seed + 1)
    return found


def shortcomings(found: Judgement, least_wins: float, defences: tuple[str, ...]) -> Iterator[str]:
    """Name each target that is missed.

    Args:
        found: What was played.
        least_wins: The share of episodes to be won against the first policy.
        defences: On which of them the last policy must have more points per possession than both baselines, by the
            lower end of the difference's interval.
    """
    if found.wins.value < least_wins:
        yield f"the last policy beats the first in {found.wins.value:.1%} of the episodes, not in {least_wins:.0%}"
    for defence in defences:
        for other in (RANDOM, GREEDY):
            ahead = found.ahead(other, defence)
            if not ahead.low > 0:
                yield f"on the defence {defence!r} it is not surely above {other}: {ahead} points per possession"


def _ends(name: str, found: Interval) -> dict[str, float]:
    return {f"{name}/value": found.value, f"{name}/low": found.low, f"{name}/high": found.high}
