"""How good probabilities of a home win are, and whether one forecast beats another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from holdfast.errors import DataError

_Floats = npt.NDArray[np.float64]
_CLIP = 1e-15


@dataclass(frozen=True)
class Interval:
    """A difference with its 95 % bootstrap interval; below 0 the first forecast is better."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two forecasts on the same games.

    Attributes:
        model: Metrics of the first, as `evaluate` gives them.
        forecast: Metrics of the second.
        log_loss: Log loss of the first minus that of the second.
        brier: Brier score of the first minus that of the second.
    """

    model: dict[str, float]
    forecast: dict[str, float]
    log_loss: Interval
    brier: Interval


def evaluate(outcomes: npt.ArrayLike, probabilities: npt.ArrayLike) -> dict[str, float]:
    """Measures probabilities against outcomes.

    Args:
        outcomes: 1 where the home team won, else 0.
        probabilities: Of a home win, one a game.

    Returns:
        `log_loss` (nats), `brier`, `accuracy` (a home win called above one half), `auc`, and `n`.

    Raises:
        DataError: Lengths differ, there are no games, one side won all, or a value is no probability.
    """
    won, chance = _check(outcomes, probabilities)
    return {
        "log_loss": float(_log_losses(won, chance).mean()),
        "brier": float(_squared_errors(won, chance).mean()),
        "accuracy": float(((chance > 0.5) == (won == 1.0)).mean()),
        "auc": float(roc_auc_score(won, chance)),
        "n": float(len(won)),
    }


def score_games(outcomes: npt.ArrayLike, probabilities: npt.ArrayLike) -> dict[str, list[float]]:
    """Measures game by game what `evaluate` gives the mean of, to pair two models by their games.

    Args:
        outcomes: 1 where the home team won, else 0.
        probabilities: Of a home win, one a game.

    Returns:
        `log_loss` and `brier`, one number a game.

    Raises:
        DataError: As for `evaluate`.
    """
    won, chance = _check(outcomes, probabilities)
    return {"log_loss": _log_losses(won, chance).tolist(), "brier": _squared_errors(won, chance).tolist()}


def compare(
    outcomes: npt.ArrayLike, model: npt.ArrayLike, forecast: npt.ArrayLike, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Compares two forecasts of the same games by a paired bootstrap over games.

    Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), percentile interval.

    Args:
        outcomes: 1 where the home team won, else 0.
        model: The first forecast's probabilities of a home win.
        forecast: The second forecast's.
        resamples: How often the games are drawn anew, with replacement.
        seed: Same seed, same interval.

    Raises:
        DataError: As for `evaluate`.
    """
    won, first = _check(outcomes, model)
    _, second = _check(outcomes, forecast)
    draws = np.random.default_rng(seed).integers(0, len(won), (resamples, len(won)))
    return Comparison(
        model=evaluate(won, first),
        forecast=evaluate(won, second),
        log_loss=_bound(_log_losses(won, first) - _log_losses(won, second), draws),
        brier=_bound(_squared_errors(won, first) - _squared_errors(won, second), draws),
    )


def _bound(differences: _Floats, draws: npt.NDArray[np.int64]) -> Interval:
    low, high = np.quantile(differences[draws].mean(axis=1), [0.025, 0.975])
    return Interval(float(differences.mean()), float(low), float(high))


def _log_losses(won: _Floats, chance: _Floats) -> _Floats:
    clipped = np.clip(chance, _CLIP, 1 - _CLIP)
    return -(won * np.log(clipped) + (1 - won) * np.log(1 - clipped))


def _squared_errors(won: _Floats, chance: _Floats) -> _Floats:
    return np.square(chance - won)


def _check(outcomes: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[_Floats, _Floats]:
    won = np.asarray(outcomes, dtype="float64")
    chance = np.asarray(probabilities, dtype="float64")
    if won.shape != chance.shape or won.ndim != 1:
        raise DataError(f"{won.shape} outcomes and {chance.shape} probabilities", "give one probability a game")
    if set(np.unique(won)) != {0.0, 1.0}:
        raise DataError("outcomes must be 0 and 1, with both present", "measure on more games")
    if not ((chance >= 0) & (chance <= 1)).all():
        raise DataError("probabilities outside 0 to 1, or missing", "give the probability of a home win")
    return won, chance
