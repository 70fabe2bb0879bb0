"""Rolling-origin scores: how settings are chosen without a look at the test season.

Each season in turn is the test season, with the season before it for early stopping and all
earlier ones to train on. The games of all these seasons are then measured together.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from .features import FeatureConfig, build_features
from .games import canonical
from .metrics import evaluate
from .model import ModelConfig, train
from .split import split_seasons


def score_rolling(
    games: pd.DataFrame,
    seasons: Sequence[int],
    config: ModelConfig | None = None,
    feature_config: FeatureConfig | None = None,
) -> dict[str, float]:
    """Measures settings on several seasons, none of which its model has seen.

    Args:
        games: A table of games; seasons after the last scored one are never read.
        seasons: The seasons to score; each needs two earlier ones in the table.
        config: Settings of the training.
        feature_config: Constants of the ratings.

    Returns:
        What `metrics.evaluate` gives for the games of all scored seasons together.

    Raises:
        DataError: A season to score has fewer than two seasons before it.
    """
    table = canonical(games[games["season"] <= max(seasons)])
    features = build_features(table, feature_config)
    chances = []
    for season in seasons:
        split = split_seasons(table, season)
        model = train(features, table, split, config)
        rows = split.select(table, "test")
        chances.append(pd.Series(model.predict_proba(features[rows])[:, 1], index=table.index[rows]))
    together = pd.concat(chances)
    return evaluate(table.loc[together.index, "home_win"], together)
