"""Gradient-boosted trees that turn features into the probability of a home win.

The model is kept simple on purpose: the ratings carry most of what the past tells, a season
has little more than a thousand games, and a game's outcome is mostly chance. So the trees are
shallow, each sees a small random share of the features, and they may use a team's record in
one direction only (monotone constraints: a better record never lowers the chance to win).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from xgboost import XGBClassifier
from xgboost.callback import TrainingCallback

from .split import SeasonSplit

_MERITS = r"win_share|margin_10|margin_elo|elo|head_to_head|strength_log_odds"


@dataclass(frozen=True)
class ModelConfig:
    """Settings of the training; see the README for how the defaults were chosen.

    Attributes:
        rounds: Most boosting rounds; early stopping ends sooner.
        patience: Rounds without a better validation log loss before it stops; 0 never stops it early.
        learning_rate: Weight of each tree.
        max_depth: Depth of each tree.
        min_child_weight: Least sum of second derivatives (about 0.24 a game) in a leaf.
        reg_lambda: L2 penalty of leaf weights.
        subsample: Share of the games each tree sees.
        colsample_bytree: Share of the features each tree sees.
        trees_per_round: Trees grown side by side and averaged, so that the draw of games and
            features, and with it the seed, matters less.
        max_bin: Most cut points a feature.
        monotone: Whether merits of a team may only raise its chance.
        seed: Same seed and same `n_jobs`, same model.
        n_jobs: Threads. One is fastest here: a round is so short that threads mostly wait for
            each other, for many seconds where the cores are busy.
    """

    rounds: int = 3000
    patience: int = 200
    learning_rate: float = 0.02
    max_depth: int = 1
    min_child_weight: float = 3.0
    reg_lambda: float = 1.0
    subsample: float = 0.7
    colsample_bytree: float = 0.2
    trees_per_round: int = 4
    max_bin: int = 64
    monotone: bool = True
    seed: int = 7
    n_jobs: int = 1


class _RoundReport(TrainingCallback):  # type: ignore[misc]
    """Tells a function about each round that is done."""

    def __init__(self, on_round: Callable[[int], None]) -> None:
        super().__init__()
        self._on_round = on_round

    def after_iteration(self, model: object, epoch: int, evals_log: object) -> bool:
        del model, evals_log
        self._on_round(epoch + 1)
        return False


def train(
    features: pd.DataFrame,
    games: pd.DataFrame,
    split: SeasonSplit,
    config: ModelConfig | None = None,
    on_round: Callable[[int], None] | None = None,
) -> XGBClassifier:
    """Fits the model on the training seasons, stopped early by the validation season.

    The test season is neither read nor passed on.

    Args:
        features: What `build_features` gave, with the index of `games`.
        games: The table of games, for seasons and outcomes.
        split: Which season serves what.
        config: Settings of the training.
        on_round: Called with the number of rounds done after each.

    Returns:
        The fitted classifier; it predicts with `count_rounds` of its rounds and can be pickled.
    """
    config = config or ModelConfig()
    callbacks = [_RoundReport(on_round)] if on_round else None
    model = _configure(config, list(features.columns), callbacks)
    sets = []
    for part in ("train", "validation"):
        rows = split.select(games, part)
        sets.append((features[rows], games.loc[rows, "home_win"]))
    # Early stopping watches the last set only; the first is there for its curve.
    model.fit(*sets[0], eval_set=sets, verbose=False)
    model.set_params(callbacks=None)  # a function held here could not be pickled
    return model


def _configure(config: ModelConfig, names: Sequence[str], callbacks: list[_RoundReport] | None) -> XGBClassifier:
    return XGBClassifier(
        objective="binary:logistic",
        tree_method="hist",
        eval_metric="logloss",
        n_estimators=config.rounds,
        early_stopping_rounds=config.patience or None,
        learning_rate=config.learning_rate,
        max_depth=config.max_depth,
        min_child_weight=config.min_child_weight,
        reg_lambda=config.reg_lambda,
        subsample=config.subsample,
        colsample_bytree=config.colsample_bytree,
        num_parallel_tree=config.trees_per_round,
        max_bin=config.max_bin,
        monotone_constraints=tuple(_find_direction(name) for name in names) if config.monotone else None,
        random_state=config.seed,
        n_jobs=config.n_jobs,
        callbacks=callbacks,
    )


def _find_direction(name: str) -> int:
    """Gives 1 where a higher value may only raise the home team's chance, -1 where only lower it, else 0."""
    if not re.search(_MERITS, name):
        return 0
    return -1 if name.startswith("away_") else 1


def count_rounds(model: XGBClassifier) -> int:
    """Gives how many boosting rounds it predicts with: up to the best one, or all where nothing stops it early."""
    return int(model.best_iteration) + 1 if model.early_stopping_rounds else int(model.n_estimators)


def read_history(model: XGBClassifier) -> pd.DataFrame:
    """Gives the log loss of each boosting round.

    Returns:
        Columns `round` (from 1), `train_log_loss` and `validation_log_loss`.
    """
    curves = model.evals_result()
    train_losses, validation_losses = (curves[name]["logloss"] for name in ("validation_0", "validation_1"))
    rounds = range(1, len(train_losses) + 1)
    return pd.DataFrame({"round": rounds, "train_log_loss": train_losses, "validation_log_loss": validation_losses})


def read_importance(model: XGBClassifier) -> pd.Series:
    """Gives each feature's share of the total gain over all splits, largest first; the sum is 1."""
    gains = model.get_booster().get_score(importance_type="total_gain")
    shares = pd.Series(gains, dtype="float64").reindex(model.feature_names_in_).fillna(0.0)
    total = float(shares.sum())
    return (shares / total if total else shares).sort_values(ascending=False, kind="stable")
