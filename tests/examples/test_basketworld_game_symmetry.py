"""The game is the same seen in a mirror, and whatever the players of a team are called."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_examples.basketworld.game.actions import MIRRORED
from holdfast_examples.basketworld.game.games import Games
from holdfast_examples.basketworld.game.legal import sample_legal
from holdfast_examples.basketworld.game.passing import get_passes
from holdfast_examples.basketworld.game.rules import Rules

_N = 200
_some_rules = st.builds(
    Rules,
    size=st.sampled_from([7, 9, 11]),
    players=st.sampled_from([2, 3]),
    dunks=st.booleans(),
    mask_passes=st.booleans(),
    lane_steals=st.booleans(),
    lane_steps=st.integers(0, 2),
    shaping=st.sampled_from([0.0, 0.5]),
)


class _Luck:
    """Gives the numbers it has, as often as asked."""

    def __init__(self, numbers: npt.NDArray[np.float64]) -> None:
        self.numbers = numbers

    def random(self, _shape: tuple[int, int]) -> npt.NDArray[np.float64]:
        return self.numbers


def _both(rules: Rules, seed: int) -> tuple[Games, Games, npt.NDArray[np.float64]]:
    """Return the same games twice, in their middle, and the luck of their next step."""
    games, rng = Games(rules, _N, seed), np.random.default_rng(seed)
    for _ in range(3):
        games.step(sample_legal(games.legal(), rng))
        games.reset(games.done)
    copy = Games(rules, _N, 0)
    copy.restore(games.state())
    return games, copy, games.rng.random((_N, 3 + 2 * rules.players + games._start_luck.shape[1]))


def _step(games: Games, actions: npt.NDArray[Any], luck: npt.NDArray[np.float64]) -> Any:
    games.rng = cast(np.random.Generator, _Luck(luck))
    return games.step(actions)


@settings(max_examples=40, deadline=None)
@given(_some_rules, st.integers(0, 1000))
def test_the_game_in_a_mirror(rules: Rules, seed: int) -> None:
    games, image, luck = _both(rules, seed)
    mirror = games.court.mirror
    image.cells = mirror[games.cells].astype(np.int16)
    legal = games.legal()
    assert np.array_equal(image.legal(), legal[:, :, MIRRORED])
    actions = sample_legal(legal, np.random.default_rng(seed))
    # Two team-mates exactly as near to a pass, on either side of it: the mirror may choose the other one.
    clear = _receivers(games, actions) == _receivers(image, np.array(MIRRORED)[actions])
    one, other = _step(games, actions, luck), _step(image, np.array(MIRRORED)[actions], luck)
    assert clear.mean() > 0.95
    assert np.array_equal(mirror[games.cells[clear]], image.cells[clear])
    for name in ("ending", "points", "attempt", "passer", "turnover_by", "assisted"):
        assert np.array_equal(getattr(one, name)[clear], getattr(other, name)[clear]), name
    assert one.reward[clear] == pytest.approx(other.reward[clear])
    assert one.chance[clear] == pytest.approx(other.chance[clear], nan_ok=True)


def _receivers(games: Games, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
    rank = get_passes(games.rules).rank
    rows = np.arange(games.n)
    way = np.maximum(actions[rows, games.holder] - 8, 0)
    here = games.cells[rows, games.holder]
    return np.stack([rank[way, here, games.cells[:, player]] for player in range(games.rules.players)], axis=1).argmin(
        axis=1
    )


@settings(max_examples=40, deadline=None)
@given(_some_rules, st.integers(0, 1000), st.booleans(), st.booleans())
def test_players_of_a_team_are_alike(rules: Rules, seed: int, offence: bool, defence: bool) -> None:
    games, renamed, luck = _both(rules, seed)
    players = rules.players
    first = np.arange(players)[:: -1 if offence else 1]
    second = np.arange(players)[:: -1 if defence else 1]
    order = np.concatenate([first, players + second])
    actions = sample_legal(games.legal(), np.random.default_rng(seed))
    renamed.cells = games.cells[:, order]
    renamed.skills = games.skills[:, first]
    renamed.lane_counts = games.lane_counts[:, second]
    # Reversing is its own inverse: the new name of a player is where the order has his old one.
    renamed.holder = first[games.holder].astype(np.int8)
    renamed.passer = np.where(games.passer < 0, -1, first[games.passer]).astype(np.int8)
    luck_too = luck.copy()
    luck_too[:, 3 : 3 + 2 * players] = luck[:, 3 + order]
    one, other = _step(games, actions, luck), _step(renamed, actions[:, order], luck_too)
    assert np.array_equal(games.cells[:, order], renamed.cells)
    assert np.array_equal(first[games.holder], renamed.holder)
    for name in ("ending", "points", "attempt", "cell", "assisted"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.reward == pytest.approx(other.reward)


def test_beginnings_favour_neither_side_of_the_court() -> None:
    games = Games(Rules(size=11), 60_000, seed=2)
    rows = games.cells // 11 - 5
    assert rows.mean(axis=0) == pytest.approx(0.0, abs=0.05)
    assert (rows[:, 2:] > 0).mean() == pytest.approx((rows[:, 2:] < 0).mean(), abs=0.01)
