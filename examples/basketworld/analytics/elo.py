"""`elo`: how strong each checkpoint of a training is, by games between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.errors import DataError

from ..play.intervals import wilson
from .analysis import Analysis, analysis
from .choices import Pairings
from .crews import crew_for, do
from .pairings import choose_models, pair, say_overtraining
from .ratings import Fit, Result, fit_strengths, rate_by_elo
from .request import Request, TrainingRun
from .sides import Side
from .units import MatchUnit, Score, seed_of

if TYPE_CHECKING:
    import pandas as pd

_FEWEST = 2


@dataclass(frozen=True)
class Standings:
    """What a tournament found.

    Attributes:
        alternations: The models, the oldest first.
        results: Each match, by the models' numbers from 0.
        elo: (models,) ratings that depend on the order of the matches.
        fit: Those that do not, with intervals.
        points: What the first and the second model scored in each match.
    """

    alternations: list[int]
    results: list[Result]
    elo: Any
    fit: Fit
    points: Sequence[tuple[int, int]]

    @property
    def peak(self) -> int:
        """The alternation of the strongest model."""
        return self.alternations[int(np.argmax(self.fit.ratings))]

    def ratings(self) -> pd.DataFrame:
        """Return a row a model: both ratings, the interval, games and share of wins."""
        import pandas as pd

        wins, games = self.played()
        return pd.DataFrame(
            {
                "alternation": self.alternations,
                "rating": self.fit.ratings,
                "low": self.fit.low,
                "high": self.fit.high,
                "elo": self.elo,
                "games": games.sum(1),
                "win_share": wins.sum(1) / games.sum(1),
            }
        )

    def matchups(self) -> pd.DataFrame:
        """Return a row a match: the older model, the newer one, wins with a 95 % interval, points."""
        import pandas as pd

        rows = []
        for one, points in zip(self.results, self.points, strict=True):
            share = wilson(one.wins, one.games)
            rows.append(
                {
                    "older": self.alternations[one.first],
                    "newer": self.alternations[one.second],
                    "games": one.games,
                    "older_wins": one.wins,
                    "newer_wins": one.games - one.wins,
                    "older_win_share": share.value,
                    "low": share.low,
                    "high": share.high,
                    "older_points": points[0],
                    "newer_points": points[1],
                }
            )
        return pd.DataFrame(rows)

    def played(self) -> tuple[Any, Any]:
        """Return (models, models) wins of the row's model over the column's, and games."""
        wins = np.zeros((len(self.alternations),) * 2)
        for one in self.results:
            wins[one.first, one.second] += one.wins
            wins[one.second, one.first] += one.games - one.wins
        return wins, wins + wins.T


def units_for(
    alternations: Sequence[int], sides: Mapping[int | str, Side], pairs: Sequence[tuple[int, int]], request: Request
) -> list[MatchUnit]:
    """Return a unit of work for each match; its luck comes from the two alternations, not from who else plays."""
    return [
        MatchUnit(
            sides[alternations[old]],
            sides[alternations[new]],
            request.episodes,
            seed_of(request.seed, "match", alternations[old], alternations[new]),
            request.deterministic,
        )
        for old, new in pairs
    ]


def rate(alternations: list[int], pairs: Sequence[tuple[int, int]], scores: Sequence[Score]) -> Standings:
    """Return the standings after all matches, whose scores come in the order of the pairs."""
    results = [Result(old, new, one.wins, one.episodes) for (old, new), one in zip(pairs, scores, strict=True)]
    points = [one.points for one in scores]
    count = len(alternations)
    return Standings(alternations, results, rate_by_elo(count, results), fit_strengths(count, results), points)


def run_elo(request: Request, pairings: Pairings) -> tuple[dict[str, Any], Standings, str | None]:
    """Play the matches and log the standings to a child run.

    Returns:
        What `--json` prints, the standings, and the warning of overtraining if there is one.

    Raises:
        NotFoundError: There is no such run.
        DataError: It has fewer than two checkpoints.
    """
    training = TrainingRun(request.run_id)
    alternations = choose_models(training.alternations, pairings)
    if len(alternations) < _FEWEST:
        raise DataError(f"Run {request.run_id} has one policy only; ratings take two or more.", "train for longer")
    pairs = pair(len(alternations), pairings)
    with analysis("elo", training, request, pairings=str(pairings), models=len(alternations)) as found:
        with crew_for(len(pairs), request.workers, request.ray) as crew:
            sides = training.fetch(alternations)
            scores = do(crew, units_for(alternations, sides, pairs, request), "matches")
        standings = rate(alternations, pairs, scores)
        warning = say_overtraining(alternations, standings.fit)
        _write(found, standings, warning)
    told = {"overtraining": warning, "ratings": standings.ratings().to_dict("records")}
    return found.told() | told, standings, warning


def _write(found: Analysis, standings: Standings, warning: str | None) -> None:
    from .rating_pictures import draw_evolution, draw_win_rates

    found.table("ratings", standings.ratings())
    found.table("matchups", standings.matchups())
    found.picture("evolution", draw_evolution(standings))
    found.picture("win_rates", draw_win_rates(standings))
    gain, low, high = standings.fit.difference(len(standings.alternations) - 1, 0)
    found.metrics |= {
        "elo/peak_alternation": float(standings.peak),
        "elo/peak_rating": float(standings.fit.ratings.max()),
        "elo/last_rating": float(standings.fit.ratings[-1]),
        "elo/gain": gain,
        "elo/gain_low": low,
        "elo/gain_high": high,
        "elo/dispersion": standings.fit.dispersion,
        "elo/overtrained": float(warning is not None),
    }
