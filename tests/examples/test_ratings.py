"""Ratings against values computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from holdfast_examples.game_outcomes import EloConfig, StrengthConfig, filter_strengths, rate_elo
from holdfast_examples.game_outcomes.ratings import expect_home_win, weigh_margin

_GAMES = pd.DataFrame(
    {
        "season": [2020, 2020, 2021],
        "date": pd.to_datetime(["2019-11-01", "2019-11-03", "2020-12-25"]),
        "home": ["A", "B", "A"],
        "away": ["B", "A", "B"],
        "home_win": [1, 1, 0],
        "home_points": [110, 101, 90],
        "away_points": [100, 100, 99],
    }
)


def test_elo_by_hand() -> None:
    config = EloConfig(k=20, home_advantage=100, carry=0.75)
    rated = rate_elo(_GAMES, config)
    # Equal teams, 100 points for the home side: 1 / (1 + 10^-0.25) = 0.640065.
    assert rated["elo_probability"].iloc[0] == pytest.approx(0.640065, abs=1e-6)
    # The winner takes 20 * (1 - 0.640065) = 7.198700.
    assert rated["away_elo"].iloc[1] == pytest.approx(1507.198700, abs=1e-5)
    # B at home is expected at 1 / (1 + 10^(-(100 - 14.3974) / 400)) = 0.620755, and gains 7.584898.
    assert rated["elo_probability"].iloc[1] == pytest.approx(0.620755, abs=1e-5)
    # 1500 + 0.75 * (7.198700 - 7.584898) after the summer.
    assert rated["home_elo"].iloc[2] == pytest.approx(1499.71035, abs=1e-3)
    assert rated["home_elo"].iloc[2] + rated["away_elo"].iloc[2] == pytest.approx(3000)


def test_margin_multiplier_by_hand() -> None:
    # 13^0.8 / (7.5 + 0.6) = 7.783137 / 8.1
    assert weigh_margin(10, 100) == pytest.approx(0.960881, abs=1e-5)
    rated = rate_elo(_GAMES, EloConfig(k=20, home_advantage=100, use_margin=True))
    assert rated["away_elo"].iloc[1] == pytest.approx(1500 + 7.198700 * 0.960881, abs=1e-3)


def test_expectation_is_symmetric() -> None:
    assert expect_home_win(0) == 0.5
    assert expect_home_win(120) + expect_home_win(-120) == pytest.approx(1)
    assert expect_home_win(400) == pytest.approx(10 / 11)


def test_the_filter_takes_one_step_as_computed_by_hand() -> None:
    config = StrengthConfig(first_variance=0.5, day_variance=0.0, home_day_variance=0.0)
    rested = np.zeros(3)
    expected = filter_strengths(_GAMES, rested, rested, config)
    # Mean 0.35, variance 0.5 + 0.5 + 0.02; sigmoid(0.35) = 0.586618, information 0.242498.
    assert expected["strength_doubt"].iloc[0] == pytest.approx(np.sqrt(1.02))
    assert expected["strength_log_odds"].iloc[0] == pytest.approx(0.35 / np.sqrt(1 + np.pi * 1.02 / 8))
    gain = 0.02 / (1 / 0.242498 + 1.02)
    assert expected["home_advantage_log_odds"].iloc[1] == pytest.approx(
        0.35 + gain * (1 - 0.586618) / 0.242498, abs=1e-5
    )


def test_doubt_shrinks_with_games_and_grows_over_the_summer(league: pd.DataFrame) -> None:
    rested = np.zeros(len(league))
    doubt = filter_strengths(league, rested, rested)["strength_doubt"].groupby(league["season"])
    assert (doubt.last() < doubt.first()).all()
    assert doubt.first().iloc[1] > doubt.last().iloc[0]
