"""The shot's chance: its curve, the shooters' skills, and defenders in the way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_examples.basketworld.game.chances import expected_points, open_chance, points_of, shot_chance
from holdfast_examples.basketworld.game.court import get_court
from holdfast_examples.basketworld.game.rules import Rules

_RULES = Rules()
_COURT = get_court(12)
_MEANS = np.array([_RULES.layup, _RULES.three, _RULES.dunk])
_cells = st.integers(0, _COURT.cells - 1)


def test_open_chances_are_the_published_curve() -> None:
    cells = _COURT.basket + np.arange(1, 10)
    chances = open_chance(_RULES, _COURT, cells, np.tile(_MEANS, (9, 1)))
    assert np.round(chances, 3).tolist() == [0.6, 0.523, 0.447, 0.37, 0.293, 0.217, 0.14, 0.063, 0.01]


def test_a_dunk_has_its_own_chance_and_two_points() -> None:
    basket = np.array([_COURT.basket])
    assert open_chance(_RULES, _COURT, basket, _MEANS[None]) == pytest.approx(0.9)
    assert points_of(_RULES, _COURT, basket).tolist() == [2]


def test_a_three_begins_at_the_line() -> None:
    cells = _COURT.basket + np.array([3, 4])
    assert points_of(_RULES, _COURT, cells).tolist() == [2, 3]


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(2, 8))
def test_the_curve_meets_both_skills_and_never_leaves_its_bounds(layup: float, three: float, line: int) -> None:
    rules = Rules(three_distance=line)
    skills = np.tile([layup, three, 0.9], (11, 1))
    chances = open_chance(rules, _COURT, _COURT.basket + np.arange(1, 12), skills)
    assert chances[0] == pytest.approx(np.clip(layup, 0.01, 0.99))
    assert chances[line - 1] == pytest.approx(np.clip(three, 0.01, 0.99))
    assert ((chances >= 0.01) & (chances <= 0.99)).all()
    if three > layup:
        assert (chances[line - 1 :] == chances[line - 1]).all()
    else:
        assert (np.diff(chances) <= 1e-12).all()


def _contest(shooter: int, defender: int, rules: Rules) -> float:
    """The formula for one defender, from the centres of the cells."""
    if _COURT.distance[shooter, defender] > _COURT.to_basket[shooter] or shooter == defender:
        return 0.0
    way = _COURT.xy[_COURT.basket] - _COURT.xy[shooter]
    to_him = _COURT.xy[defender] - _COURT.xy[shooter]
    cosine = float(way @ to_him / (np.linalg.norm(way) * np.linalg.norm(to_him)))
    edge = math.cos(math.radians(30))
    if cosine <= edge:
        return 0.0
    share = ((cosine - edge) / (1 - edge)) ** 2
    return rules.contest * math.exp(-rules.contest_decay * (_COURT.distance[shooter, defender] - 1)) * share


@settings(max_examples=200, deadline=None)
@given(_cells, _cells, _cells, st.floats(0, 2))
def test_the_defender_who_contests_most_counts(shooter: int, one: int, other: int, decay: float) -> None:
    rules = Rules(contest_decay=round(decay, 1))
    cell = np.array([shooter])
    chance = shot_chance(rules, _COURT, cell, _MEANS[None], np.array([[one, other]]))
    most = max(_contest(shooter, one, rules), _contest(shooter, other, rules)) if shooter != _COURT.basket else 0.0
    assert chance == pytest.approx(open_chance(rules, _COURT, cell, _MEANS[None]) * (1 - most), abs=1e-9)


def test_a_defender_right_in_the_way_halves_the_chance_and_one_behind_does_nothing() -> None:
    shooter = np.array([_COURT.basket + 4])
    before, behind = np.array([[_COURT.basket + 3]]), np.array([[_COURT.basket + 5]])
    assert shot_chance(_RULES, _COURT, shooter, _MEANS[None], before) == pytest.approx(0.185)
    assert shot_chance(_RULES, _COURT, shooter, _MEANS[None], behind) == pytest.approx(0.37)


def test_expected_points_of_a_whole_team_at_once() -> None:
    cells = np.array([[_COURT.basket + 1, _COURT.basket + 4]])
    skills = np.tile(_MEANS, (1, 2, 1))
    far = np.array([[[_COURT.cells - 1, _COURT.cells - 2]]])
    assert expected_points(_RULES, _COURT, cells, skills, far)[0].tolist() == pytest.approx([1.2, 1.11])
