"""Tables of episodes: the same from the same seed, whatever the batch; their figures, and how sure these are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfast.errors import InvalidInputError
from holdfast_examples.basketworld.game.outcome import Ending
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.play.episodes import THREE, Episodes, Moment, play, record
from holdfast_examples.basketworld.play.greedy import GreedyPlayer
from holdfast_examples.basketworld.play.intervals import difference, mean_interval, ppp_interval, wilson
from holdfast_examples.basketworld.play.matches import match
from holdfast_examples.basketworld.play.players import RandomPlayer
from holdfast_examples.basketworld.play.policies import PolicyPlayer
from holdfast_examples.basketworld.play.policy_files import load_player
from holdfast_examples.basketworld.play.streams import Streams
from holdfast_examples.basketworld.play.summary import summarize


@pytest.fixture(scope="module")
def policies(basketworld_files: list[Path]) -> list[PolicyPlayer]:
    return [load_player(path) for path in basketworld_files]


@pytest.fixture(scope="module")
def table() -> Episodes:
    return play(Rules(), GreedyPlayer(), RandomPlayer(), 600, 11)


def assert_same(ours: Episodes, theirs: Episodes) -> None:
    assert ours.columns.keys() == theirs.columns.keys()
    for name, column in ours.columns.items():
        np.testing.assert_array_equal(column, theirs[name], err_msg=name)


def test_the_same_seed_gives_the_same_table_whatever_the_batch(policies: list[PolicyPlayer]) -> None:
    once = play(None, policies[0], policies[1], 200, 7)
    for batch in (1, 128, 1000):
        assert_same(once, play(None, policies[0], policies[1], 200, 7, batch=batch))
    assert_same(once.select(np.arange(70)), play(None, policies[0], policies[1], 70, 7))
    other = play(None, policies[0], policies[1], 200, 8)
    assert (other["length"] != once["length"]).any()


def test_chunks_do_not_repeat_one_another(table: Episodes) -> None:
    assert (table["chance"][:64] != table["chance"][64:128]).any()
    with pytest.raises(ValueError, match="64 games"):
        Streams(0, [0], 0).random((63, 2))


def test_every_row_is_one_whole_episode(table: Episodes) -> None:
    shot, made = table["attempt"] > 0, table.made
    assert len(table) == 600
    assert (table["ending"] > 0).all()
    assert (shot == np.isin(table["ending"], [Ending.MADE, Ending.MISSED])).all()
    assert (table["shooter"] >= 0)[shot].all()
    assert (table["shooter"] == -1)[~shot].all()
    assert (table["points"][made] == np.where(table["attempt"] == THREE, 3, 2)[made]).all()
    assert (table["points"][~made] == 0).all()
    assert (table["length"] >= 1).all()
    assert (table["length"] <= table["clock"]).all()
    assert np.isfinite(table["shooter_skills"][shot]).all()
    assert np.isnan(table["shooter_skills"][~shot]).all()
    assert (table["passes"][table["passer"] >= 0] > 0).all()
    assert (table["turnover_by"] >= 0)[table.lost].all()


def test_a_frame_has_names(table: Episodes) -> None:
    frame = table.frame()
    assert len(frame) == 600
    assert {"made", "missed", "stolen"} >= set(frame["ending"])
    assert {"shooter_layup", "passer_three", "first_attacks", "clock"} <= set(frame.columns)


def test_the_figures_are_those_of_the_table(table: Episodes) -> None:
    found = summarize(table)
    made, shots = table.made.sum(), (table["attempt"] > 0).sum()
    points = table["points"].sum()
    assert found["fg"] == made / shots
    assert found["efg"] == pytest.approx(points / 2 / shots)
    assert found["ppp"] == pytest.approx(points / 600) == table.ppp()
    assert found["shot_share_dunk"] + found["shot_share_2"] + found["shot_share_3"] == pytest.approx(1)
    assert found["turnovers_stolen"] + found["turnovers_clock"] == pytest.approx(1)
    assert found["length"] == table["length"].mean()
    nothing = summarize(table.select(table.lost))
    assert nothing["ppp"] == 0
    assert np.isnan(nothing["fg"])


def test_a_point_for_an_illegal_defence_is_no_possession() -> None:
    table = play(Rules(), RandomPlayer(), RandomPlayer(), 64, 0)
    columns = {name: column.copy() for name, column in table.columns.items()}
    columns["ending"][:], columns["points"][:], columns["attempt"][:] = Ending.LANE, 1, 0
    assert Episodes(Rules(), columns).ppp() == 0
    assert summarize(Episodes(Rules(), columns))["lane_share"] == 1


def test_roles_alternate_and_every_episode_has_a_winner(policies: list[PolicyPlayer]) -> None:
    found = match(None, policies[0], policies[1], 130, 3)
    attacks = found.table["first_attacks"]
    assert (attacks == (np.arange(130) % 2 == 0)).all()
    assert (found.a, found.b, found.wins_a + found.wins_b) == ("policy 0", "policy 1", 130)
    assert found.points_a + found.points_b == found.table["points"].sum()
    scored = found.table["points"] > 0
    assert found.wins_a == scored[attacks].sum() + (~scored[~attacks]).sum()
    assert match(None, policies[0], policies[1], 130, 3, batch=64).wins_a == found.wins_a


def test_a_better_player_wins_from_either_seat() -> None:
    ours, theirs = (
        match(None, GreedyPlayer(), RandomPlayer(), 400, 1),
        match(None, RandomPlayer(), GreedyPlayer(), 400, 1),
    )
    assert ours.share_a().low > 0.5 > theirs.share_a().high
    assert ours.points_a > 2 * ours.points_b


def test_the_recorded_episode_is_the_first_one(policies: list[PolicyPlayer]) -> None:
    views = record(None, policies[0], policies[1], 9)
    first = play(None, policies[0], policies[1], 1, 9)
    assert len(views) == first["length"][0] + 1
    assert views[0].clock == first["clock"][0]
    assert views == record(None, policies[0], policies[1], 9)


def test_a_watcher_sees_every_step_once() -> None:
    steps, begun, ended, firsts = 0, 0, 0, set()

    def watch(moment: Moment) -> None:
        nonlocal steps, begun, ended
        firsts.add(moment.first)
        if moment.outcome is None or moment.actions is None:
            begun += int(moment.counted.sum())
            return
        steps += int(moment.counted.sum())
        ended += int((moment.outcome.ended & moment.counted).sum())

    table = play(Rules(), RandomPlayer(), RandomPlayer(), 150, 2, batch=64, watch=watch)
    assert (begun, ended, steps) == (150, 150, table["length"].sum())
    assert firsts == {0, 64, 128}


def test_numbers_out_of_range_are_told_together() -> None:
    with pytest.raises(InvalidInputError, match=r"episodes=0, batch=0, seed=-1"):
        play(Rules(), RandomPlayer(), RandomPlayer(), 0, -1, batch=0)


def test_intervals_of_shares_hold_the_true_share() -> None:
    luck = np.random.default_rng(0)
    for share, trials in ((0.05, 60), (0.5, 100), (0.9, 200)):
        drawn = luck.binomial(trials, share, 2000)
        found = [wilson(int(one), trials) for one in drawn]
        assert np.mean([one.low <= share <= one.high for one in found]) == pytest.approx(0.95, abs=0.025)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)
    assert wilson(0, 10).low == 0
    with pytest.raises(InvalidInputError, match="level 1"):
        wilson(1, 2, 1.0)


def test_intervals_of_points_hold_the_true_figure() -> None:
    luck, true = np.random.default_rng(1), 3 * 0.3 * 0.8
    held, apart = 0, 0
    for seed in range(300):
        ours, theirs = (_made_up(luck, 250) for _ in range(2))
        found, gap = ppp_interval(ours, seed=seed, draws=400), difference(ours, theirs, seed=seed, draws=400)
        held += found.low <= true <= found.high
        apart += gap.low <= 0 <= gap.high
    assert 0.91 <= held / 300 <= 0.985
    assert 0.91 <= apart / 300 <= 0.985
    assert ppp_interval(ours, seed=5) == ppp_interval(ours, seed=5)
    values = luck.normal(2, 1, (500, 40))
    means = [mean_interval(row) for row in values]
    assert np.mean([one.low <= 2 <= one.high for one in means]) == pytest.approx(0.95, abs=0.035)
    assert np.isnan(mean_interval(values[0][:1]).low)


def _made_up(luck: np.random.Generator, count: int) -> Episodes:
    """Four of five episodes end with a three that goes in three times in ten, the others with a steal."""
    shot, made = luck.random(count) < 0.8, luck.random(count) < 0.3
    ending = np.where(shot, np.where(made, Ending.MADE, Ending.MISSED), Ending.STOLEN)
    columns = {"ending": ending, "points": 3 * (shot & made), "attempt": np.where(shot, THREE, 0)}
    return Episodes(Rules(), {name: column.astype(np.int64) for name, column in columns.items()})
