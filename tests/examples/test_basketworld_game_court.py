"""The court's tables, against the formulas they stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_examples.basketworld.game.actions import ACTIONS, DIRECTIONS, MIRRORED, MOVE, NAMES, PASS, SHOOT
from holdfast_examples.basketworld.game.court import get_court

_sizes = st.integers(6, 24)


@settings(max_examples=100, deadline=None)
@given(_sizes, st.data())
def test_distance_is_the_formula_and_the_least_number_of_steps(size: int, data: st.DataObject) -> None:
    court = get_court(size)
    one, other = (data.draw(st.integers(0, court.cells - 1)) for _ in range(2))
    (q, r), (q2, r2) = court.axial[one], court.axial[other]
    dq, dr = q2 - q, r2 - r
    assert court.distance[one, other] == (abs(dq) + abs(dq + dr) + abs(dr)) / 2 == court.distance[other, one]
    if one != other:
        around = [cell for cell in court.neighbour[one] if cell >= 0]
        assert court.distance[one, other] == 1 + min(court.distance[cell, other] for cell in around)


@pytest.mark.parametrize("size", [6, 7, 12, 24])
def test_neighbours_lie_in_their_direction_and_look_back(size: int) -> None:
    court = get_court(size)
    for cell in range(court.cells):
        for way, there in enumerate(court.neighbour[cell]):
            if there < 0:
                continue
            assert court.neighbour[there, (way + 3) % 6] == cell
            turn = court.angle[cell, there] - way * math.pi / 3
            assert math.cos(turn) == pytest.approx(1.0)
            assert math.dist(court.xy[cell], court.xy[there]) == pytest.approx(math.sqrt(3))


def test_basket_is_in_the_middle_of_the_left_side() -> None:
    court = get_court(12)
    assert court.basket == 6 * 12
    assert tuple(court.axial[court.basket]) == (-3, 6)
    assert court.to_basket[court.basket] == 0
    assert court.to_basket[court.basket + 5] == 5


@pytest.mark.parametrize("size", [11, 12])
def test_reflection_keeps_distances_and_changes_north_and_south(size: int) -> None:
    court = get_court(size)
    there = np.flatnonzero(court.mirror >= 0)
    assert len(there) >= court.cells - size
    image = court.mirror[there]
    assert np.array_equal(court.mirror[image], there)
    assert np.array_equal(court.distance[np.ix_(there, there)], court.distance[np.ix_(image, image)])
    for way in range(6):
        ahead = court.neighbour[there, way]
        both = (ahead >= 0) & (court.mirror[ahead] >= 0)
        turned = court.neighbour[image, MIRRORED[MOVE + way] - MOVE]
        assert np.array_equal(court.mirror[ahead[both]], turned[both])


def test_lane_is_a_strip_before_the_basket() -> None:
    court = get_court(12)
    lane = court.lane(4)
    assert lane[court.basket]
    assert lane[court.basket + 3]
    assert not lane[court.basket + 4]
    assert not lane[court.basket - 24]
    assert np.array_equal(lane[court.mirror[court.mirror >= 0]], lane[court.mirror >= 0])


def test_actions_have_a_name_each() -> None:
    assert len(NAMES) == len(set(NAMES)) == len(MIRRORED) == ACTIONS
    assert NAMES[SHOOT] == "shoot"
    assert [NAMES[PASS + way] for way in range(6)] == [f"pass {one}" for one in DIRECTIONS]
    assert [MIRRORED[one] for one in MIRRORED] == list(range(ACTIONS))
