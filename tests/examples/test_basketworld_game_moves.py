"""Moves of all players at once, against a slow and plain form of the same rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_examples.basketworld.game.court import get_court
from holdfast_examples.basketworld.game.moves import resolve

_COURT = get_court(6)
_Game = tuple[list[int], list[int], list[float]]  # cells, targets, priorities


def _plainly(cells: list[int], targets: list[int], priority: list[float]) -> list[int]:
    """Let players stay, one reason after the other, until no reason is left."""
    players = range(len(cells))
    stays = {i for i in players if targets[i] == cells[i]}
    stays |= {i for i in players for j in players if targets[i] == targets[j] and priority[i] < priority[j]}
    while more := {i for i in players for j in stays - {i} if targets[i] == cells[j]} - stays:
        stays |= more
    return [cells[i] if i in stays else targets[i] for i in players]


@st.composite
def _games(draw: st.DrawFn) -> _Game:
    players = draw(st.sampled_from([4, 6]))
    # A small corner of the court, where everybody is in everybody's way.
    corner = [row * 6 + column for row in range(3) for column in range(3)]
    cells = draw(st.permutations(corner))[:players]
    ways = [draw(st.integers(-1, 5)) for _ in cells]
    targets = [
        cell if way < 0 or (there := int(_COURT.neighbour[cell, way])) < 0 else there
        for cell, way in zip(cells, ways, strict=True)
    ]
    return cells, targets, [one / players for one in draw(st.permutations(range(players)))]


def _resolve(cells: list[int], targets: list[int], priority: list[float]) -> list[int]:
    moved = resolve(np.array([cells], np.int16), np.array([targets], np.int16), np.array([priority]))
    return [int(cell) for cell in moved[0]]


@settings(max_examples=500, deadline=None)
@given(_games())
def test_never_two_on_one_hex_and_as_the_plain_rule_says(game: _Game) -> None:
    moved = _resolve(*game)
    assert len(set(moved)) == len(moved)
    assert moved == _plainly(*game)


@settings(max_examples=100, deadline=None)
@given(_games(), st.integers(0, 999))
def test_the_order_of_the_players_does_not_matter(game: _Game, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(game[0]))
    cells, targets, priority = game
    shuffled = _resolve([cells[i] for i in order], [targets[i] for i in order], [priority[i] for i in order])
    assert shuffled == [_resolve(*game)[i] for i in order]


@pytest.mark.parametrize(
    ("cells", "targets", "moved"),
    [
        pytest.param([0, 1, 20, 30], [1, 0, 20, 30], [1, 0, 20, 30], id="two change places"),
        pytest.param([0, 1, 6, 30], [1, 6, 0, 30], [1, 6, 0, 30], id="a ring turns"),
        pytest.param([0, 1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4], id="a row follows its head"),
        pytest.param([0, 1, 2, 3], [1, 2, 3, 3], [0, 1, 2, 3], id="a row stands behind one who stays"),
        pytest.param([0, 2, 3, 30], [1, 1, 2, 30], [0, 1, 2, 30], id="the winner goes, and one follows him"),
        pytest.param([2, 0, 3, 30], [1, 1, 2, 30], [2, 1, 3, 30], id="the loser stays, and the one behind him"),
    ],
)
def test_typical_moves(cells: list[int], targets: list[int], moved: list[int]) -> None:
    # The second player has the highest number.
    assert _resolve(cells, targets, [0.1, 0.9, 0.2, 0.3]) == moved


def test_each_claimant_wins_as_often() -> None:
    n = 30_000
    claims = np.tile(np.array([0, 2, 7, 30], np.int16), (n, 1))
    targets = np.tile(np.array([1, 1, 1, 30], np.int16), (n, 1))
    moved = resolve(claims, targets, np.random.default_rng(0).random((n, 4)))
    assert (moved[:, :3] == 1).mean(axis=0) == pytest.approx(1 / 3, abs=0.012)
