"""Features against values counted by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from holdfast.errors import DataError
from holdfast_examples.game_outcomes import build_features, canonical
from holdfast_examples.game_outcomes.features import CLASSIC_FEATURES, POINT_FEATURES


def _table(*rows: tuple[str, str, str, int, int], season: int = 2020) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["date", "home", "away", "home_points", "away_points"])
    frame["date"] = pd.to_datetime(frame["date"])
    frame["home_win"] = (frame["home_points"] > frame["away_points"]).astype(int)
    return canonical(frame.assign(season=season))


@pytest.fixture
def five_games() -> pd.DataFrame:
    return _table(
        ("2019-11-01", "A", "B", 100, 90),
        ("2019-11-02", "C", "A", 80, 99),
        ("2019-11-05", "B", "A", 95, 85),
        ("2019-11-06", "A", "C", 110, 100),
        ("2019-11-08", "A", "B", 90, 91),
    )


def test_rest_days_count_games_at_home_and_away(five_games: pd.DataFrame) -> None:
    features = build_features(five_games)
    # A plays on the 1st (home), 2nd (away), 5th (away), 6th (home) and 8th (home).
    assert features["away_rest_days"].tolist()[1:3] == [1.0, 3.0]
    assert features["home_rest_days"].tolist()[3:] == [1.0, 2.0]
    assert features["home_rest_days"].iloc[0] == 10.0  # a first game is as rested as can be
    assert features["away_back_to_back"].tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
    assert features["home_back_to_back"].tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]
    assert features["home_games_7_days"].iloc[4] == 4.0
    assert features["home_road_games"].tolist()[3:] == [2.0, 0.0]


def test_rolling_means_are_of_earlier_games_only(five_games: pd.DataFrame) -> None:
    features = build_features(five_games)
    assert pd.isna(features["home_win_share_10"].iloc[0])
    # Before the last game A has won 100-90, 99-80, lost 85-95 and won 110-100.
    assert features["home_win_share_10"].iloc[4] == pytest.approx(3 / 4)
    assert features["home_points_for_10"].iloc[4] == pytest.approx((100 + 99 + 85 + 110) / 4)
    assert features["home_points_against_10"].iloc[4] == pytest.approx((90 + 80 + 95 + 100) / 4)
    assert features["home_margin_10"].iloc[4] == pytest.approx(29 / 4)
    assert features["home_season_win_share"].iloc[4] == pytest.approx((3 + 5) / (4 + 10))
    # B has lost one and won one against A.
    assert features["head_to_head"].iloc[4] == pytest.approx((1 + 2) / (2 + 4))
    assert features["league_home_share"].iloc[4] == pytest.approx(3 / 4)


def test_a_window_of_ten_forgets_the_eleventh_game() -> None:
    rows = [(f"2019-11-{day:02}", "A", "B", 100 if day > 1 else 50, 90) for day in range(1, 13)]
    features = build_features(_table(*rows))
    assert features["home_win_share_10"].iloc[10] == pytest.approx(9 / 10)
    assert features["home_win_share_10"].iloc[11] == pytest.approx(1.0)


def test_the_classic_sixteen_are_there_with_points(league: pd.DataFrame) -> None:
    assert len(CLASSIC_FEATURES) == 16
    assert set(CLASSIC_FEATURES) <= set(build_features(league).columns)


def test_without_points_only_the_features_of_points_are_absent(league: pd.DataFrame) -> None:
    features = build_features(league.drop(columns=["home_points", "away_points"]))
    assert set(CLASSIC_FEATURES) - set(features.columns) == set(POINT_FEATURES)
    assert not [name for name in map(str, features) if "margin" in name or "points" in name]


def test_calendar(five_games: pd.DataFrame) -> None:
    features = build_features(five_games)
    assert features["month"].unique().tolist() == [11.0]
    assert features["day_of_week"].tolist() == [4.0, 5.0, 1.0, 2.0, 4.0]
    assert features["weekend"].tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
    assert features["season_phase"].tolist() == [0.0] * 5


def test_unsound_games_are_refused(five_games: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="neither 0 nor 1"):
        build_features(five_games.assign(home_win=2))
