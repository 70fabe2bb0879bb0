"""Steps of whole games: every rule on staged positions, and what holds in all games of random play."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import InvalidInputError
from holdfast_examples.basketworld.game.actions import MOVE, NOOP, PASS, SHOOT
from holdfast_examples.basketworld.game.games import Games
from holdfast_examples.basketworld.game.legal import legal_actions, sample_legal
from holdfast_examples.basketworld.game.outcome import Ending, Outcome
from holdfast_examples.basketworld.game.rules import Rules

_BASKET = 72  # of the court of size 12
_FAR = (0, 1)  # where the defence does not matter
_some_rules = st.builds(
    Rules,
    size=st.integers(6, 14),
    players=st.sampled_from([2, 3]),
    dunks=st.booleans(),
    mask_passes=st.booleans(),
    lane_steals=st.booleans(),
    lane_steps=st.integers(0, 3),
    spawn_distance=st.integers(0, 4),
    pressure_distance=st.integers(0, 3),
    shaping=st.sampled_from([0.0, 0.5]),
)


class _Luck:
    """Gives the same number for everything."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
        return np.full(shape, self.number)


def _staged(rules: Rules, *cells: int, luck: float = 0.999, n: int = 1) -> Games:
    """Return games with the players on these cells, the first attacker with the ball, and this luck."""
    games = Games(rules, n, seed=0)
    games.cells[:] = cells
    games.holder[:], games.clock[:] = 0, 20
    games.skills[:] = rules.layup, rules.three, rules.dunk
    games.rng = cast(np.random.Generator, _Luck(luck))
    return games


def _step(games: Games, *actions: int) -> Outcome:
    return games.step(np.tile(np.array([*actions, *[NOOP] * 6][: games.cells.shape[1]]), (games.n, 1)))


def _play(games: Games, steps: int, seed: int = 1) -> list[Outcome]:
    rng = np.random.default_rng(seed)
    outcomes = []
    for _ in range(steps):
        outcomes.append(games.step(sample_legal(games.legal(), rng)))
        games.reset(games.done)
    return outcomes


@settings(max_examples=40, deadline=None)
@given(_some_rules, st.integers(0, 1000))
def test_what_holds_in_all_games(rules: Rules, seed: int) -> None:
    games, rng = Games(rules, 64, seed), np.random.default_rng(seed)
    for _ in range(12):
        legal, clock, held = games.legal(), games.clock.copy(), games.holder.copy()
        outcome = games.step(rng.integers(0, 14, games.cells.shape) if seed % 2 else sample_legal(legal, rng))
        in_order = np.sort(games.cells, axis=1)
        assert (np.diff(in_order, axis=1) > 0).all()
        assert in_order.min() >= 0
        assert in_order.max() < games.court.cells
        assert rules.dunks or not (games.cells == games.court.basket).any()
        assert np.array_equal(outcome.ended, outcome.ending != Ending.NONE)
        assert np.array_equal(games.done, outcome.ended)
        assert np.array_equal(outcome.handler, held)
        assert np.array_equal(clock - games.clock, outcome.ending != Ending.STOLEN)
        shot = np.isin(outcome.ending, [Ending.MADE, Ending.MISSED])
        assert np.array_equal(shot, outcome.attempt > 0)
        assert np.array_equal(shot, ~np.isnan(outcome.chance))
        scored = np.isin(outcome.ending, [Ending.MADE, Ending.LANE])
        assert np.array_equal(outcome.points > 0, scored)
        lost = np.isin(outcome.ending, [Ending.STOLEN, Ending.OUT, Ending.INTERCEPTED, Ending.CLOCK])
        assert np.array_equal(outcome.turnover_by >= 0, lost)
        assert rules.shaping or np.array_equal(outcome.reward, outcome.points)
        games.reset(games.done)


@settings(max_examples=40, deadline=None)
@given(_some_rules, st.integers(0, 1000))
def test_beginnings(rules: Rules, seed: int) -> None:
    games = Games(rules, 200, seed)
    court, players = games.court, rules.players
    attackers, defenders = games.cells[:, :players], games.cells[:, players:]
    assert (court.to_basket[attackers] >= rules.spawn_distance).all()
    assert (np.diff(np.sort(games.cells, axis=1), axis=1) > 0).all()
    assert rules.dunks or not (games.cells == court.basket).any()
    assert games.clock.min() >= rules.least_clock
    assert games.clock.max() <= rules.shot_clock
    assert ((games.skills >= np.float32(0.01)) & (games.skills <= np.float32(0.99))).all()
    if rules.spawn_distance >= 4:
        assert (court.to_basket[defenders] < court.to_basket[attackers]).all()
        # The first chooses before the others, so nobody can stand in his way but an attacker.
        assert (court.distance[attackers[:, 0], defenders[:, 0]] <= 2).all()


def test_beginnings_are_spread_as_the_rules_say() -> None:
    rules = Rules()
    games = Games(rules, 40_000, seed=3)
    where = np.bincount(games.cells[:, :2].ravel(), minlength=144)[games.court.to_basket >= 3]
    assert where.min() > 0.8 * where.mean()
    assert where.max() < 1.2 * where.mean()
    assert games.holder.mean() == pytest.approx(0.5, abs=0.01)
    assert np.bincount(games.clock)[10:].tolist() == pytest.approx([40_000 / 15] * 15, rel=0.1)
    assert games.skills.mean(axis=(0, 1)) == pytest.approx([0.6, 0.37, 0.9], abs=0.003)
    assert games.skills[..., 0].std() == pytest.approx(0.05, abs=0.002)


def test_only_the_holder_shoots_and_passes_and_only_where_somebody_is() -> None:
    games = _staged(Rules(), _BASKET + 4, _BASKET + 7, *_FAR)
    legal = games.legal()[0]
    assert legal[:, NOOP].all()
    assert legal[:, SHOOT].tolist() == [True, False, False, False]
    assert legal[0, PASS:].tolist() == [True, False, False, False, False, False]
    assert not legal[1:, PASS:].any()


def test_no_move_off_the_court_or_onto_the_basket() -> None:
    beside, corner = _BASKET + 1, 0
    games = _staged(Rules(), beside, 50, corner, 30)
    assert games.legal()[0, 0, MOVE:SHOOT].tolist() == [True, True, True, False, True, True]
    assert games.legal()[0, 2, MOVE:SHOOT].tolist() == [True, False, False, False, False, True]
    assert _staged(Rules(dunks=True), beside, 50, corner, 30).legal()[0, 0, MOVE + 3]


def test_a_game_that_is_over_stands_still() -> None:
    games = _staged(Rules(), _BASKET + 4, 50, *_FAR)
    assert _step(games, SHOOT).ended[0]
    cells = games.cells.copy()
    outcome = _step(games, MOVE, MOVE)
    assert not outcome.ended[0]
    assert outcome.ending[0] == Ending.NONE
    assert np.array_equal(games.cells, cells)
    assert games.steps[0] == 1
    assert games.legal()[0].sum() == 4


def test_illegal_actions_are_to_stay() -> None:
    games = _staged(Rules(), _BASKET + 4, 50, *_FAR)
    cells = games.cells.copy()
    outcome = _step(games, PASS + 3, SHOOT, MOVE + 1, PASS)
    assert not outcome.ended[0]
    assert not outcome.passed[0]
    assert np.array_equal(games.cells, cells)
    assert games.clock[0] == 19


@pytest.mark.parametrize(("luck", "ending", "points"), [(0.36, Ending.MADE, 3), (0.38, Ending.MISSED, 0)])
def test_a_shot_ends_the_episode(luck: float, ending: Ending, points: int) -> None:
    outcome = _step(_staged(Rules(), _BASKET + 4, 50, *_FAR, luck=luck), SHOOT)
    assert outcome.ending[0] == ending
    assert (outcome.points[0], outcome.reward[0]) == (points, points)
    assert (outcome.attempt[0], outcome.distance[0], outcome.cell[0]) == (3, 4, _BASKET + 4)
    assert outcome.chance[0] == pytest.approx(0.37)
    assert outcome.passer[0] == -1


@pytest.mark.parametrize("luck", [0.0, 0.2])
def test_nobody_moves_once_the_episode_is_over(luck: float) -> None:
    games = _staged(Rules(), _BASKET + 4, 50, _BASKET + 5, 100, luck=luck)
    cells = games.cells.copy()
    assert _step(games, SHOOT, MOVE, MOVE + 1, MOVE + 2).ended[0]
    assert np.array_equal(games.cells, cells)


def test_a_dunk_is_worth_two() -> None:
    outcome = _step(_staged(Rules(dunks=True), _BASKET, 50, *_FAR, luck=0.89), SHOOT)
    assert (outcome.attempt[0], outcome.points[0], outcome.distance[0]) == (1, 2, 0)


@pytest.mark.parametrize(
    ("defenders", "luck", "stolen"),
    [
        pytest.param((51, 0), 0.049, True, id="one beside"),
        pytest.param((51, 0), 0.051, False, id="luck with the holder"),
        pytest.param((51, 49), 0.0974, True, id="two beside"),
        pytest.param((52, 0), 0.0, False, id="two hexes away"),
    ],
)
def test_pressure(defenders: tuple[int, int], luck: float, stolen: bool) -> None:
    games = _staged(Rules(), 50, 100, *defenders, luck=luck)
    outcome = _step(games, MOVE)
    assert bool(outcome.ending[0] == Ending.STOLEN) is stolen
    assert bool(outcome.turnover_by[0] == 0) is stolen
    assert games.clock[0] == (20 if stolen else 19)


def test_steals_come_as_often_as_the_rules_say() -> None:
    games = _staged(Rules(steal=0.2), 50, 100, 51, 49, n=20_000)
    games.rng = np.random.default_rng(0)
    assert (_step(games).ending == Ending.STOLEN).mean() == pytest.approx(1 - 0.8**2, abs=0.012)


def test_a_pass_arrives_and_the_new_holder_shoots_with_an_assist() -> None:
    games = _staged(Rules(), _BASKET + 4, _BASKET + 6, *_FAR, luck=0.06)
    outcome = _step(games, PASS)
    assert outcome.passed[0]
    assert not outcome.ended[0]
    assert games.holder[0] == 1
    outcome = _step(games, NOOP, SHOOT)
    assert (outcome.shooter[0], outcome.passer[0], bool(outcome.assisted[0])) == (1, 0, True)


@pytest.mark.parametrize(("wait", "assisted"), [(2, True), (3, False)])
def test_an_assist_has_its_window(wait: int, assisted: bool) -> None:
    games = _staged(Rules(assist_window=3), _BASKET + 4, _BASKET + 6, *_FAR, luck=0.06)
    _step(games, PASS)
    for _ in range(wait):
        _step(games)
    outcome = _step(games, NOOP, SHOOT)
    assert outcome.ending[0] == Ending.MADE
    assert bool(outcome.assisted[0]) is assisted
    assert bool(outcome.passer[0] == 0) is assisted


def test_a_missed_shot_has_a_passer_but_no_assist() -> None:
    games = _staged(Rules(), _BASKET + 4, _BASKET + 6, *_FAR)
    _step(games, PASS)
    outcome = _step(games, NOOP, SHOOT)
    assert (outcome.ending[0], outcome.passer[0], bool(outcome.assisted[0])) == (Ending.MISSED, 0, False)


def test_a_pass_to_nobody_goes_out_where_it_is_not_masked() -> None:
    games = _staged(Rules(mask_passes=False), _BASKET + 4, _BASKET + 6, *_FAR)
    assert games.legal()[0, 0, PASS:].all()
    outcome = _step(games, PASS + 3)
    assert (outcome.ending[0], outcome.turnover_by[0]) == (Ending.OUT, 0)


@pytest.mark.parametrize(("luck", "caught"), [(0.30, True), (0.31, False)])
def test_a_defender_in_the_lane_of_a_pass(luck: float, caught: bool) -> None:
    # Two hexes from the passer of a pass over four: 0.35 · 1.32 · 0.65 = 0.3003.
    games = _staged(Rules(lane_steals=True), 50, 54, 52, 0, luck=luck)
    outcome = _step(games, PASS)
    assert bool(outcome.ending[0] == Ending.INTERCEPTED) is caught
    assert bool(outcome.passed[0]) is not caught
    assert games.holder[0] == (0 if caught else 1)
    assert _step(_staged(Rules(), 50, 54, 52, 0, luck=luck), PASS).passed[0]


def test_the_clock_runs_out() -> None:
    games = _staged(Rules(), 50, 100, *_FAR)
    games.clock[:] = 2
    assert not _step(games).ended[0]
    outcome = _step(games, MOVE)
    assert (outcome.ending[0], outcome.turnover_by[0], outcome.points[0]) == (Ending.CLOCK, 0, 0)
    assert games.clock[0] == 0


def test_a_shot_in_the_last_step_counts() -> None:
    games = _staged(Rules(), _BASKET + 4, 50, *_FAR, luck=0.06)
    games.clock[:] = 1
    assert _step(games, SHOOT).ending[0] == Ending.MADE


def test_a_defender_may_not_stay_in_the_lane() -> None:
    games = _staged(Rules(lane_steps=3), 50, 100, _BASKET + 1, 0)
    assert not any(_step(games).ended[0] for _ in range(3))
    outcome = _step(games)
    assert (outcome.ending[0], outcome.points[0], outcome.reward[0]) == (Ending.LANE, 1, 1)
    assert outcome.turnover_by[0] == -1


def test_a_defender_who_leaves_the_lane_or_guards_somebody_may_come_back() -> None:
    leaves = _staged(Rules(lane_steps=3, steal=0), 50, 100, _BASKET + 3, 0)
    for _ in range(4):
        assert not _step(leaves, NOOP, NOOP, MOVE).ended[0]
        assert not _step(leaves, NOOP, NOOP, MOVE + 3).ended[0]
    guards = _staged(Rules(lane_steps=3, steal=0), _BASKET + 3, 100, _BASKET + 2, 0)
    assert not any(_step(guards).ended[0] for _ in range(8))


def test_without_the_rule_a_defender_stays_in_the_lane() -> None:
    games = _staged(Rules(), 50, 100, _BASKET + 1, 0)
    assert not any(_step(games).ended[0] for _ in range(10))


def test_shaping_adds_up_to_minus_the_first_potential() -> None:
    games = _staged(Rules(shaping=0.5), _BASKET + 4, _BASKET + 6, *_FAR)
    rewards = [_step(games, *actions).reward[0] for actions in ((MOVE + 3,), (PASS,), (NOOP, NOOP), (NOOP, SHOOT))]
    assert rewards[0] == pytest.approx(0.5 * (2 * (0.6 - 0.23 * 2 / 3) - 3 * 0.37))
    assert sum(rewards) == pytest.approx(-0.5 * 3 * 0.37)


def test_same_seed_same_games_and_another_seed_others() -> None:
    one, same, other = (Games(Rules(), 32, seed) for seed in (5, 5, 6))
    _play(one, 20)
    _play(same, 20)
    _play(other, 20)
    assert np.array_equal(one.cells, same.cells)
    assert not np.array_equal(one.cells, other.cells)
    one.reset(seed=5)
    assert np.array_equal(one.skills, Games(Rules(), 32, 5).skills)


def test_a_restored_state_goes_on_exactly_in_other_games() -> None:
    rules = Rules(players=3, lane_steals=True, lane_steps=2)
    games, other = Games(rules, 16, 1), Games(rules, 16, 2)
    _play(games, 7)
    state = games.state()
    first = _play(games, 15, seed=9)
    other.restore(state)
    again = _play(other, 15, seed=9)
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.ending, two.ending)
        assert np.array_equal(one.chance, two.chance, equal_nan=True)
    assert all(np.array_equal(value, other.state()[name]) for name, value in games.state().items())


def test_luck_does_not_depend_on_what_other_games_do() -> None:
    rules = Rules()
    one, other = Games(rules, 8, 4), Games(rules, 8, 4)
    rng, others_rng = np.random.default_rng(0), np.random.default_rng(1)
    for _ in range(40):
        actions = sample_legal(one.legal(), rng)
        apart = sample_legal(other.legal(), others_rng)
        apart[0] = actions[0]
        one.step(actions)
        other.step(apart)
        one.reset(one.done)
        other.reset(other.done)
        assert np.array_equal(one.cells[0], other.cells[0])
        assert np.array_equal(one.skills[0], other.skills[0])
    assert not np.array_equal(one.cells, other.cells)


def test_every_legal_action_is_chosen_as_often_and_no_other() -> None:
    legal = np.zeros((40_000, 14), np.bool_)
    legal[:, [0, 7, 8, 13]] = True
    counts = np.bincount(sample_legal(legal, np.random.default_rng(0)), minlength=14)
    assert counts[[0, 7, 8, 13]] == pytest.approx(10_000, rel=0.05)
    assert counts.sum() == counts[[0, 7, 8, 13]].sum()


def test_what_is_legal_changes_nothing_and_all_else_is_to_stay() -> None:
    games = Games(Rules(players=3), 300, 8)
    legal = legal_actions(games.rules, games.cells, games.holder, games.done)
    illegal = sample_legal(~legal, np.random.default_rng(0))
    games.rng = cast(np.random.Generator, _Luck(0.999))
    cells, holder = games.cells.copy(), games.holder.copy()
    outcome = games.step(illegal)
    assert not outcome.ended.any()
    assert np.array_equal(games.cells, cells)
    assert np.array_equal(games.holder, holder)


@pytest.mark.parametrize(
    "actions",
    [np.zeros((3, 4)), np.zeros((2, 4), int), np.full((3, 4), 14), np.full((3, 4), -1)],
    ids=["no whole numbers", "another shape", "too high", "negative"],
)
def test_what_are_no_actions_is_refused(actions: npt.NDArray[Any]) -> None:
    with pytest.raises(InvalidInputError, match="the actions"):
        Games(Rules(), 3, 0).step(actions)


def test_games_that_are_none_are_refused() -> None:
    games = Games(Rules(), 3, 0)
    with pytest.raises(InvalidInputError, match="0 games"):
        Games(Rules(), 0)
    with pytest.raises(InvalidInputError, match="which games"):
        games.reset(np.array([0, 1]))
    with pytest.raises(InvalidInputError, match="does not fit"):
        games.restore(Games(Rules(), 4, 0).state())


def test_two_beginnings_without_a_step_between_differ() -> None:
    games = Games(Rules(), 3, 0)
    skills = games.skills.copy()
    games.reset()
    assert not np.array_equal(games.skills, skills)
