"""Who plays: the protocol of a player of one team, and a player that plays by chance."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from holdfast.errors import InvalidInputError

from ..game.games import Games
from ..game.legal import sample_legal
from ..game.rules import Rules

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]

RANDOM, GREEDY = "random", "greedy"


class Player(Protocol):
    """Plays one team of every game of a batch; which of the two, may differ from game to game."""

    @property
    def name(self) -> str:
        """What it is called in tables and pictures."""

    @property
    def rules(self) -> Rules | None:
        """The only rules that it plays by, or None where it plays by any."""

    def choose(self, games: Games, offense: _Bools, rng: np.random.Generator, deterministic: bool = False) -> _Ints:
        """Return (n, P): the actions of its team, as the court sees them, each of them legal.

        Args:
            games: The n games, which are left as they are.
            offense: (n,): in which of them its team attacks.
            rng: Its luck, of which it takes the same amount whatever it sees.
            deterministic: Whether it takes its likeliest action instead.
        """

    def chances(self, games: Games, offense: _Bools) -> _Floats:
        """Return (n, P, 14): how likely it takes each action, as the court sees them; 0 where it is not legal."""


def own_legal(games: Games, offense: _Bools) -> _Bools:
    """Return (n, P, 14): which actions the players of one team may take, the offence's where `offense`."""
    legal = games.legal()
    players = games.rules.players
    return np.where(np.asarray(offense)[:, None, None], legal[:, :players], legal[:, players:])


def sample(chances: _Floats, rng: np.random.Generator, deterministic: bool = False) -> _Ints:
    """Return (n, P) actions drawn from (n, P, A) chances, by the inverse of the cumulative distribution.

    An action of chance 0 is never drawn. One uniform number is taken for every player, or none at all.
    """
    if deterministic:
        return np.asarray(chances.argmax(-1), dtype=np.int64)
    reached = chances.cumsum(-1)
    total = reached[..., -1]
    # Strictly below the total, or rounding could draw an action after the last one that has a chance.
    drawn = np.minimum(rng.random(total.shape) * total, np.nextafter(total, 0))
    return np.asarray((reached <= drawn[..., None]).sum(-1), dtype=np.int64)


class RandomPlayer:
    """Takes any legal action, each as likely as the others; it does so where `deterministic` is asked for, too."""

    name = RANDOM
    rules: Rules | None = None

    def choose(self, games: Games, offense: _Bools, rng: np.random.Generator, deterministic: bool = False) -> _Ints:
        """Return (n, P) actions on the court; see `Player`."""
        return sample_legal(own_legal(games, offense), rng).astype(np.int64)

    def chances(self, games: Games, offense: _Bools) -> _Floats:
        """Return (n, P, 14) chances on the court; see `Player`."""
        legal = own_legal(games, offense).astype(np.float64)
        return np.asarray(legal / legal.sum(-1, keepdims=True))


def get_player(wanted: str | Player) -> Player:
    """Return the player of this name, or the player itself.

    Raises:
        InvalidInputError: The name is neither `random` nor `greedy`.
    """
    from .greedy import GreedyPlayer

    if not isinstance(wanted, str):
        return wanted
    known: dict[str, type[RandomPlayer] | type[GreedyPlayer]] = {RANDOM: RandomPlayer, GREEDY: GreedyPlayer}
    if wanted not in known:
        raise InvalidInputError(f"There is no player called {wanted!r}.", f"use {RANDOM} or {GREEDY}, or a policy")
    return known[wanted]()


def rules_for(*players: Player, rules: Rules | None = None) -> Rules:
    """Return the rules that these players play by.

    Args:
        players: Those who meet.
        rules: What shall be played; where it is None, what they know, or the default rules where they know none.

    Raises:
        InvalidInputError: Two of them know different rules, or one knows others than `rules`; both are named.
    """
    said = "the game" if rules is not None else ""
    for player in players:
        if player.rules is None:
            continue
        if rules is not None and player.rules != rules:
            raise InvalidInputError(
                f"{player.name} does not play by the rules of {said}: {_differences(player.rules, rules)}.",
                "let policies meet that were trained by the same rules",
            )
        rules, said = player.rules, said or player.name
    return Rules() if rules is None else rules


def _differences(ours: Rules, theirs: Rules) -> str:
    mine, other = ours.as_dict(), theirs.as_dict()
    return ", ".join(f"{key} is {mine[key]}, not {other.get(key)}" for key in mine if mine[key] != other.get(key))
