"""Ratings: Elo by its definition, the fit and its intervals on simulated tournaments, pairings and the warning."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pandas")

from holdfast.errors import DataError
from holdfast_examples.basketworld.analytics.choices import Pairings
from holdfast_examples.basketworld.analytics.pairings import choose_models, pair, say_overtraining
from holdfast_examples.basketworld.analytics.ratings import (
    POINTS,
    Fit,
    Result,
    fit_strengths,
    rate_by_elo,
)
from holdfast_examples.basketworld.analytics.units import seed_of


def _tournament(strengths: np.ndarray, games: int, rng: np.random.Generator) -> list[Result]:
    results = []
    for old, new in pair(len(strengths), Pairings.ROUND_ROBIN):
        chance = 1 / (1 + np.exp((strengths[new] - strengths[old]) / POINTS))
        results.append(Result(old, new, int(rng.binomial(games, chance)), games))
    return results


def test_elo_moves_by_32_times_the_surprise() -> None:
    ratings = rate_by_elo(3, [Result(0, 1, 75, 100), Result(1, 2, 100, 100)])
    assert ratings[0] == pytest.approx(1000 + 32 * 0.25)
    expected = 1 / (1 + 10 ** ((1000 - 992) / 400))
    assert ratings[1] == pytest.approx(992 + 32 * (1 - expected))
    assert ratings.sum() == pytest.approx(3000)


def test_elo_depends_on_the_order_and_the_fit_does_not() -> None:
    results = _tournament(np.array([0.0, 80.0, 30.0, 150.0]), 100, np.random.default_rng(1))
    assert not np.allclose(rate_by_elo(4, results), rate_by_elo(4, results[::-1]))
    assert np.allclose(fit_strengths(4, results).ratings, fit_strengths(4, results[::-1]).ratings, atol=1e-6)


def test_two_players_differ_by_their_log_odds() -> None:
    fit = fit_strengths(2, [Result(0, 1, 3000, 4000)])
    assert fit.ratings.mean() == pytest.approx(1000)
    assert fit.difference(0, 1)[0] == pytest.approx(POINTS * np.log(3), rel=2e-3)
    # The error of a logit is 1 / sqrt(n p q).
    half = 1.96 * POINTS / np.sqrt(4000 * 0.25 * 0.75)
    assert fit.difference(0, 1)[2] - fit.difference(0, 1)[0] == pytest.approx(half, rel=5e-3)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    true = np.linspace(-120, 120, 6)
    held = []
    for _ in range(150):
        fit = fit_strengths(6, _tournament(true, 60, rng))
        held.append((fit.low <= true + 1000) & (true + 1000 <= fit.high))
    assert 0.93 <= np.mean(held) <= 0.985


def test_who_never_lost_has_a_finite_rating() -> None:
    fit = fit_strengths(3, [Result(0, 1, 0, 50), Result(1, 2, 0, 50), Result(0, 2, 0, 50)])
    assert np.isfinite([fit.ratings, fit.low, fit.high]).all()
    assert (np.diff(fit.ratings) > 200).all()


def test_what_is_not_transitive_widens_the_intervals() -> None:
    circle = [Result(0, 1, 90, 100), Result(1, 2, 90, 100), Result(2, 0, 90, 100)]
    even = [Result(0, 1, 50, 100), Result(1, 2, 50, 100), Result(2, 0, 50, 100)]
    odd, plain = fit_strengths(3, circle), fit_strengths(3, even)
    assert plain.dispersion == 1
    assert odd.dispersion > 10
    assert odd.high[0] - odd.low[0] > 3 * (plain.high[0] - plain.low[0])


def test_groups_that_never_met_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="never met"):
        fit_strengths(4, [Result(0, 1, 5, 10), Result(2, 3, 5, 10)])


def test_pairings() -> None:
    assert pair(4, Pairings.SEQUENTIAL) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    assert len(pair(20, Pairings.ROUND_ROBIN)) == 190
    sparse = choose_models(list(range(0, 200, 2)), Pairings.SPARSE)
    assert len(set(sparse)) == 10
    assert (sparse[0], sparse[-1]) == (0, 198)
    assert choose_models([3, 1, 2], Pairings.SPARSE) == [1, 2, 3]


@pytest.mark.parametrize(("count", "peak", "warned"), [(20, 14, True), (20, 15, False), (19, 3, False), (40, 5, True)])
def test_overtraining_is_a_peak_before_the_last_quarter(count: int, peak: int, warned: bool) -> None:
    ratings = np.full(count, 1000.0)
    ratings[peak] = 1100.0
    fit = Fit(ratings, ratings - 10, ratings + 10, np.eye(count) * 25, 1.0)
    said = say_overtraining(list(range(100, 100 + count)), fit)
    assert (said is not None) is warned
    if said is not None and peak < count - 1:
        assert f"alternation {100 + peak} is the strongest, 100 points" in said
        assert "leaves no doubt" in said


def test_seeds_differ_by_what_they_are_for() -> None:
    seeds = {seed_of(seed, "match", old, new) for seed in (0, 1) for old in range(5) for new in range(5)}
    assert len(seeds) == 50
    assert seed_of(0, "match", 1, 2) == seed_of(0, "match", 1, 2)
