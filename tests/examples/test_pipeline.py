"""Split, training, measurement: something is learnt, and the test season stays unseen."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from holdfast.errors import DataError
from holdfast_examples.game_outcomes import (
    ModelConfig,
    Outcome,
    build_features,
    compare,
    evaluate,
    fingerprint,
    score_rolling,
    split_seasons,
    train,
    train_and_evaluate,
)

_SMALL = ModelConfig(rounds=60, patience=20, learning_rate=0.1, trees_per_round=1)


def test_split_is_chronological(league: pd.DataFrame) -> None:
    split = split_seasons(league)
    assert (split.train, split.validation, split.test) == ((2016, 2017), 2018, 2019)
    assert str(split) == "train 2016-2017, validation 2018, test 2019"
    assert split_seasons(league, 2018).train == (2016,)
    parts = [split.select(league, part) for part in ("train", "validation", "test")]
    assert np.array_equal(np.sum([part.to_numpy() for part in parts], axis=0), np.ones(len(league)))
    assert league.loc[parts[0], "date"].max() < league.loc[parts[1], "date"].min()
    assert league.loc[parts[1], "date"].max() < league.loc[parts[2], "date"].min()


@pytest.mark.parametrize("test_season", [2017, 1999, 2030])
def test_too_few_seasons_are_refused(league: pd.DataFrame, test_season: int) -> None:
    with pytest.raises(DataError, match="two earlier"):
        split_seasons(league, test_season)
    with pytest.raises(DataError, match="two earlier"):
        split_seasons(league[league["season"] < 2018])


def test_the_test_season_has_no_part_in_training(league: pd.DataFrame) -> None:
    split = split_seasons(league)
    features = build_features(league)
    test = split.select(league, "test")
    altered_games, altered_features = league.copy(), features.copy()
    altered_games.loc[test, "home_win"] = 1 - league.loc[test, "home_win"]
    altered_features.loc[test] = -1.0
    first = train(features, league, split, _SMALL)
    second = train(altered_features, altered_games, split, _SMALL)
    assert first.get_booster().save_raw() == second.get_booster().save_raw()


def test_same_seed_same_model(league: pd.DataFrame) -> None:
    first, second = (train_and_evaluate(league, _SMALL) for _ in range(2))
    assert first.metrics == second.metrics
    assert first.data_fingerprint == second.data_fingerprint
    assert first.model.get_booster().save_raw() == second.model.get_booster().save_raw()
    other = train_and_evaluate(league, ModelConfig(**{**vars(_SMALL), "seed": 8}))
    assert not other.predictions["probability"].equals(first.predictions["probability"])


def test_something_is_learnt(simulated: pd.DataFrame, simulated_outcome: Outcome) -> None:
    tested = simulated_outcome.metrics["test"]
    won = simulated_outcome.predictions["home_win"]
    always_home = evaluate(won, np.full(len(won), simulated.loc[simulated["season"] < 2022, "home_win"].mean()))
    assert tested["log_loss"] < always_home["log_loss"] - 0.03
    assert tested["log_loss"] < np.log(2) - 0.04
    assert tested["accuracy"] > always_home["accuracy"] + 0.04
    assert tested["auc"] > 0.65


def test_an_outcome_is_whole(simulated_outcome: Outcome) -> None:
    outcome = simulated_outcome
    assert set(outcome.metrics) == {"train", "validation", "test"}
    assert outcome.forecast_metrics is None
    assert outcome.comparison is None
    assert outcome.input_example.shape == (5, len(outcome.feature_names))
    assert list(outcome.input_example.columns) == list(outcome.feature_names)
    assert len(outcome.predictions) == outcome.metrics["test"]["n"] == 1230
    losses = outcome.history["validation_log_loss"]
    assert outcome.best_round == int(losses.argmin()) + 1
    assert losses.min() == pytest.approx(outcome.metrics["validation"]["log_loss"], abs=1e-5)
    assert outcome.importance.sum() == pytest.approx(1)
    assert outcome.importance.is_monotonic_decreasing
    assert len(outcome.data_fingerprint) == 64
    predicted = outcome.model.predict_proba(outcome.input_example)
    again = pickle.loads(pickle.dumps(outcome.model)).predict_proba(outcome.input_example)  # noqa: S301
    assert np.array_equal(predicted, again)


def test_progress_is_told_in_order(league: pd.DataFrame) -> None:
    told: list[tuple[str, int, int]] = []
    train_and_evaluate(league, _SMALL, lambda *step: told.append(step))
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["features", "train", "evaluate"]
    for stage in ("features", "train", "evaluate"):
        done = [(count, total) for name, count, total in told if name == stage]
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1]


def test_the_row_order_of_the_games_changes_nothing(league: pd.DataFrame) -> None:
    first = train_and_evaluate(league, _SMALL)
    second = train_and_evaluate(league.sample(frac=1, random_state=5), _SMALL)
    assert first.data_fingerprint == second.data_fingerprint == fingerprint(league)
    assert first.metrics == second.metrics


def test_metrics_agree_with_their_definitions() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(500)
    won = (rng.random(500) < chance).astype(int)
    measured = evaluate(won, chance)
    assert measured["log_loss"] == pytest.approx(log_loss(won, chance))
    assert measured["brier"] == pytest.approx(brier_score_loss(won, chance))
    assert measured["auc"] == pytest.approx(roc_auc_score(won, chance))
    assert measured["accuracy"] == pytest.approx(((chance > 0.5) == won).mean())
    assert measured["n"] == 500


def test_a_better_forecast_is_told_from_a_worse_one() -> None:
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.1, 0.9, 2000)
    won = (rng.random(2000) < chance).astype(int)
    better = compare(won, chance, np.full(2000, 0.5))
    assert better.log_loss.high < 0
    assert better.brier.low < better.brier.difference < better.brier.high < 0
    same = compare(won, chance, chance)
    assert (same.log_loss.low, same.log_loss.difference, same.log_loss.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("won", "chance"),
    [([1, 0], [0.5]), ([1, 1], [0.5, 0.5]), ([1, 0], [0.5, 1.5]), ([1, 0], [0.5, float("nan")]), ([], [])],
)
def test_what_cannot_be_measured_is_refused(won: list[int], chance: list[float]) -> None:
    with pytest.raises(DataError):
        evaluate(won, chance)


def test_figures_are_drawn_without_pyplot(simulated_outcome: Outcome) -> None:
    assert set(simulated_outcome.figures) == {"calibration", "importance", "learning"}
    for figure in simulated_outcome.figures.values():
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
        assert stream.getvalue().startswith(b"\x89PNG")
    code = "import sys, holdfast_examples.game_outcomes; sys.exit('matplotlib.pyplot' in sys.modules)"
    # A fresh process: another test may have imported pyplot into this one.
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rolling_scores_read_nothing_after_the_last_scored_season(league: pd.DataFrame) -> None:
    altered = league.copy()
    later = league["season"] == 2019
    altered.loc[later, "home_win"] = 1 - league.loc[later, "home_win"]
    altered.loc[later, ["home_points", "away_points"]] = league.loc[later, ["away_points", "home_points"]].to_numpy()
    assert score_rolling(league, [2018], _SMALL) == score_rolling(altered, [2018], _SMALL)


def test_the_forecast_of_the_real_file_has_its_known_numbers(real_outcome: Outcome) -> None:
    assert real_outcome.forecast_metrics is not None
    rounded = {name: round(value, 3) for name, value in real_outcome.forecast_metrics.items()}
    assert (rounded["accuracy"], rounded["auc"], rounded["brier"]) == (0.665, 0.717, 0.218)


def test_the_real_file_is_learnt(real_outcome: Outcome) -> None:
    assert str(real_outcome.split) == "train 2016-2020, validation 2021, test 2022"
    tested = real_outcome.metrics["test"]
    assert tested["auc"] >= 0.68
    assert tested["accuracy"] > 0.62
    assert tested["brier"] < 0.226
    # What is too good would be leakage: nobody calls these games much better than specialists.
    assert tested["auc"] < 0.72
    assert real_outcome.metrics["train"]["auc"] - tested["auc"] < 0.05
