"""Nothing of a game's date or later may reach its features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from holdfast_examples.game_outcomes import build_features
from holdfast_examples.game_outcomes.games import FORECAST_COLUMN

# No shrinking: a leak shows at almost any date, and features of a whole league are slow to shrink.
_QUICK = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_RESULTS = ["home_win", "home_points", "away_points"]


@pytest.fixture(scope="module")
def features(league: pd.DataFrame) -> pd.DataFrame:
    return build_features(league)


def _assert_same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(left, right, check_exact=True)


@_QUICK
@given(where=st.floats(0.02, 0.98), seed=st.integers(0, 2**32 - 1))
def test_shuffling_results_from_a_date_on_changes_no_feature_up_to_it(
    league: pd.DataFrame, features: pd.DataFrame, where: float, seed: int
) -> None:
    date = league["date"].iloc[int(where * len(league))]
    future = league["date"] >= date  # the date's own results are shuffled too
    altered = league.copy()
    order = np.random.default_rng(seed).permutation(int(future.sum()))
    altered.loc[future, _RESULTS] = league.loc[future, _RESULTS].to_numpy()[order]
    known = league["date"] <= date
    _assert_same(build_features(altered)[known], features[known])


@_QUICK
@given(where=st.floats(0.02, 0.98), scale=st.integers(2, 9))
def test_turning_every_later_result_round_changes_no_feature_up_to_the_date(
    league: pd.DataFrame, features: pd.DataFrame, where: float, scale: int
) -> None:
    date = league["date"].iloc[int(where * len(league))]
    future = league["date"] >= date
    altered = league.copy()
    altered.loc[future, "home_win"] = 1 - league.loc[future, "home_win"]
    altered.loc[future, "home_points"] = scale * league.loc[future, "away_points"]
    altered.loc[future, "away_points"] = scale * league.loc[future, "home_points"]
    known = league["date"] <= date
    _assert_same(build_features(altered)[known], features[known])


@_QUICK
@given(where=st.floats(0.02, 0.98))
def test_games_yet_to_come_change_no_feature(league: pd.DataFrame, features: pd.DataFrame, where: float) -> None:
    date = league["date"].iloc[int(where * len(league))]
    known = league["date"] <= date
    _assert_same(build_features(league[known]), features[known])


def test_a_team_that_joins_later_changes_no_feature(league: pd.DataFrame, features: pd.DataFrame) -> None:
    joined = league.iloc[[-1]].assign(home="Aardvarks", date=league["date"].max() + pd.Timedelta(days=1))
    longer = pd.concat([league, joined], ignore_index=True)
    _assert_same(build_features(longer).iloc[: len(league)], features)


def test_a_result_does_change_later_features(league: pd.DataFrame, features: pd.DataFrame) -> None:
    # Without this, features that are constants would pass the tests above.
    altered = league.copy()
    first = league["date"] == league["date"].min()
    altered.loc[first, "home_win"] = 1 - league.loc[first, "home_win"]
    altered.loc[first, ["home_points", "away_points"]] = league.loc[first, ["away_points", "home_points"]].to_numpy()
    changed = (build_features(altered) != features) & features.notna()
    expected = {"home_win_share_10", "elo_difference", "strength_log_odds", "head_to_head", "home_margin_10"}
    assert expected <= set(changed.columns[changed.any()])


def test_the_forecast_never_reaches_a_feature(league: pd.DataFrame, features: pd.DataFrame) -> None:
    oracle = league.assign(**{FORECAST_COLUMN: league["home_win"].astype(float)})
    _assert_same(build_features(oracle), features)


def test_no_feature_of_the_real_file_knows_the_outcome(real_games: pd.DataFrame) -> None:
    features = build_features(real_games)
    # A feature with leakage stands out by far: the forecast of specialists correlates by .4.
    assert features.corrwith(real_games["home_win"].astype(float)).abs().max() < 0.4
    assert not [name for name in map(str, features) if "forecast" in name or "prob" in name]


def test_the_order_of_the_rows_does_not_matter(league: pd.DataFrame, features: pd.DataFrame) -> None:
    shuffled = league.sample(frac=1, random_state=1)
    _assert_same(build_features(shuffled).loc[league.index], features)
