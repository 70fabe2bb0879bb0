"""From a table of games to a trained and measured model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from xgboost import XGBClassifier

from .features import FeatureConfig, build_features
from .games import FORECAST_COLUMN, canonical, fingerprint
from .metrics import Comparison, compare, evaluate
from .model import ModelConfig, read_history, read_importance, train
from .plots import plot_calibration, plot_importance, plot_learning
from .split import PARTS, SeasonSplit, split_seasons

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, the steps of it that are done, and all its steps."""

_EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Outcome:
    """A trained model and all that was measured of it.

    Attributes:
        model: The fitted classifier.
        feature_names: Its inputs, in order.
        split: Which season served what.
        metrics: By part (`train`, `validation`, `test`), what `evaluate` gives.
        forecast_metrics: The same of the file's own forecast on the test season, if it has one.
        comparison: Model against that forecast on the test season, with intervals.
        predictions: A row a game of the test season: who played, who won, `probability`.
        history: Train and validation log loss a boosting round.
        importance: Share of the total gain a feature, largest first.
        best_round: The boosting round that is used, from 1.
        training_inputs: The features of the training seasons' games.
        input_example: The features of the last games.
        data_fingerprint: SHA-256 of the canonical table of games.
        figures: `calibration`, `importance` and `learning`.
    """

    model: XGBClassifier
    feature_names: tuple[str, ...]
    split: SeasonSplit
    metrics: dict[str, dict[str, float]]
    forecast_metrics: dict[str, float] | None
    comparison: Comparison | None
    predictions: pd.DataFrame
    history: pd.DataFrame
    importance: pd.Series
    best_round: int
    training_inputs: pd.DataFrame
    input_example: pd.DataFrame
    data_fingerprint: str
    figures: dict[str, Figure]


def train_and_evaluate(
    games: pd.DataFrame,
    config: ModelConfig | None = None,
    progress: Progress | None = None,
    feature_config: FeatureConfig | None = None,
) -> Outcome:
    """Builds features, trains on the early seasons and measures on the last.

    Args:
        games: A table of games, from the loader, the simulator or elsewhere.
        config: Settings of the training.
        progress: Told about the stages `features`, `train` (a step a round) and `evaluate`.
        feature_config: Constants of the ratings.

    Returns:
        The model with its measurements and figures.

    Raises:
        DataError: The games are unsound, or of fewer than three seasons.
    """
    report = progress or _ignore
    config = config or ModelConfig()
    table = canonical(games)
    split = split_seasons(table)
    report("features", 0, 1)
    features = build_features(table, feature_config)
    report("features", 1, 1)
    model = train(features, table, split, config, lambda done: report("train", done, config.rounds))
    report("train", config.rounds, config.rounds)
    report("evaluate", 0, 1)
    outcome = _measure(table, features, split, model)
    report("evaluate", 1, 1)
    return outcome


def _ignore(stage: str, done: int, total: int) -> None:
    del stage, done, total


def _measure(table: pd.DataFrame, features: pd.DataFrame, split: SeasonSplit, model: XGBClassifier) -> Outcome:
    chance = pd.Series(model.predict_proba(features)[:, 1], index=table.index, dtype="float64")
    rows = {part: split.select(table, part) for part in PARTS}
    predictions = table[rows["test"]].assign(probability=chance[rows["test"]]).reset_index(drop=True)
    comparison = _compare(predictions)
    history, importance = read_history(model), read_importance(model)
    return Outcome(
        model=model,
        feature_names=tuple(features.columns),
        split=split,
        metrics={part: evaluate(table.loc[rows[part], "home_win"], chance[rows[part]]) for part in PARTS},
        forecast_metrics=comparison.forecast if comparison else None,
        comparison=comparison,
        predictions=predictions,
        history=history,
        importance=importance,
        best_round=int(model.best_iteration) + 1,
        training_inputs=features[rows["train"]].reset_index(drop=True),
        input_example=features.tail(_EXAMPLE_ROWS).reset_index(drop=True),
        data_fingerprint=fingerprint(table),
        figures=_draw(predictions, history, importance),
    )


def _compare(predictions: pd.DataFrame) -> Comparison | None:
    if FORECAST_COLUMN not in predictions:
        return None
    return compare(predictions["home_win"], predictions["probability"], predictions[FORECAST_COLUMN])


def _draw(predictions: pd.DataFrame, history: pd.DataFrame, importance: pd.Series) -> dict[str, Figure]:
    shown = {"model": predictions["probability"].to_numpy()}
    if FORECAST_COLUMN in predictions:
        shown["forecast in the file"] = predictions[FORECAST_COLUMN].to_numpy()
    return {
        "calibration": plot_calibration(predictions["home_win"].to_numpy(), shown),
        "importance": plot_importance(importance),
        "learning": plot_learning(history),
    }
