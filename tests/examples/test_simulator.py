"""The simulator: the same for the same seed, and with the effects it promises."""

from __future__ import annotations

import pandas as pd
import pytest

from holdfast.errors import InvalidInputError
from holdfast_examples.game_outcomes import SimulatorConfig, build_features, fingerprint, simulate_games
from holdfast_examples.game_outcomes.appearances import list_appearances


def test_same_seed_same_games(simulated: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(simulate_games(), simulated)
    assert fingerprint(simulate_games(SimulatorConfig(seed=8))) != fingerprint(simulated)


def test_the_default_is_seven_seasons_of_thirty_teams(simulated: pd.DataFrame) -> None:
    assert simulated["season"].unique().tolist() == list(range(2016, 2023))
    games_a_team = list_appearances(simulated).groupby(["season", "team"]).size()
    assert len(games_a_team) == 7 * 30
    assert (games_a_team == 82).all()
    at_home = simulated.groupby(["season", "home"]).size()
    assert at_home.between(39, 43).all()


def test_home_advantage(simulated: pd.DataFrame) -> None:
    assert 0.55 < simulated["home_win"].mean() < 0.62
    even = simulate_games(SimulatorConfig(home_advantage=0.0))
    assert abs(even["home_win"].mean() - 0.5) < 0.02


def test_fatigue(simulated: pd.DataFrame) -> None:
    features = build_features(simulated)
    margin = simulated["home_points"] - simulated["away_points"]
    home_tired = (features["home_back_to_back"] == 1) & (features["away_back_to_back"] == 0)
    away_tired = (features["home_back_to_back"] == 0) & (features["away_back_to_back"] == 1)
    assert home_tired.sum() > 500
    # 2.2 points each way; the standard error of either mean is about 0.4.
    assert margin[away_tired].mean() - margin[home_tired].mean() > 2.0


def test_strengths_last_but_not_for_ever(simulated: pd.DataFrame) -> None:
    shares = list_appearances(simulated).groupby(["team", "season"])["won"].mean().unstack()
    next_year = shares[2016].corr(shares[2017]), shares[2018].corr(shares[2019]), shares[2020].corr(shares[2021])
    assert 0.2 < sum(next_year) / 3 < 0.9
    assert shares.std().between(0.08, 0.22).all()


def test_scores_look_like_scores(simulated: pd.DataFrame) -> None:
    points = pd.concat([simulated["home_points"], simulated["away_points"]])
    assert points.between(50, 190).all()
    assert 105 < points.mean() < 117


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (SimulatorConfig(teams=7), "teams is 7"),
        (SimulatorConfig(teams=0), "teams is 0"),
        (SimulatorConfig(games_per_team=0), "games_per_team is 0"),
        (SimulatorConfig(games_per_team=400), "games_per_team is 400"),
        (SimulatorConfig(seasons=0), "seasons is 0"),
    ],
)
def test_a_league_that_cannot_be_is_refused(config: SimulatorConfig, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        simulate_games(config)
