"""Whom a pass reaches, and how likely a defender gets between."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_examples.basketworld.game.court import get_court
from holdfast_examples.basketworld.game.passing import interception_chances, receivers
from holdfast_examples.basketworld.game.rules import Rules

_COURT = get_court(12)
_cells = st.integers(0, _COURT.cells - 1)


def _off(passer: int, receiver: int, way: int) -> float:
    turn = math.degrees(_COURT.angle[passer, receiver]) - 60 * way
    return abs((turn + 180) % 360 - 180)


@settings(max_examples=300, deadline=None)
@given(st.lists(_cells, min_size=3, max_size=3, unique=True), st.integers(0, 5), st.integers(0, 2), st.integers(1, 180))
def test_a_pass_reaches_the_nearest_team_mate_in_the_arc(cells: list[int], way: int, holder: int, arc: int) -> None:
    rules = Rules(players=3, pass_arc_degrees=float(arc))
    reached = int(receivers(rules, np.array([way]), np.array([holder]), np.array([cells]))[0])
    inside = [i for i in range(3) if i != holder and _off(cells[holder], cells[i], way) <= arc + 1e-6]
    assert (reached in inside) if inside else reached == -1
    if inside:
        nearest = min(_COURT.distance[cells[holder], cells[i]] for i in inside)
        assert _COURT.distance[cells[holder], cells[reached]] == nearest


def test_of_two_as_near_the_one_nearer_to_the_direction_gets_it() -> None:
    here = _COURT.basket + 5
    east_2 = here + 2
    beside = _COURT.neighbour[here + 1, 1]  # as far, 30° off
    cells = np.array([[here, beside, east_2]])
    assert receivers(Rules(players=3), np.array([0]), np.array([0]), cells).tolist() == [2]


@settings(max_examples=300, deadline=None)
@given(st.lists(_cells, min_size=3, max_size=3, unique=True))
def test_interception_is_its_formula(cells: list[int]) -> None:
    passer, receiver, defender = (_COURT.xy[cell] / math.sqrt(3) for cell in cells)
    length = math.dist(passer, receiver)
    ahead = (receiver - passer) / length
    along = float((defender - passer) @ ahead) / length
    across = math.dist(defender, passer + along * length * ahead)
    expected = 0.35 * math.exp(-1.5 * across) * (1 + 0.08 * length) * (0.3 + 0.7 * along) if 0 < along < 1 else 0.0
    one, other, him = (np.array([cell]) for cell in cells)
    if min(abs(along), abs(along - 1)) > 1e-9:
        assert interception_chances(_COURT, one, other, him[None]) == pytest.approx(min(expected, 1.0), abs=1e-9)


def test_one_on_the_line_half_way() -> None:
    here = _COURT.basket + 1
    chance = interception_chances(_COURT, np.array([here]), np.array([here + 4]), np.array([[here + 2]]))
    assert chance == pytest.approx(0.35 * 1.32 * 0.65)
