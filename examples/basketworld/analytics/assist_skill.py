"""`assist-skill`: does the ball go to the better shooter? A logistic regression of assists on the difference in skill.

A row is a shot that followed a team-mate's pass within the assist window; it became an assist if it went in. What it is
explained by is the passer's chance of making a shot of that kind (lay-up, three or dunk) less the shooter's, as both
were drawn at the beginning of the episode: a slope below zero says that passes to the better shooter pay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from holdfast.errors import DataError
from holdfast.training.extras import need

from ..play.episodes import DUNK, SKILLS, THREE, Episodes
from ..play.intervals import Interval, quantile, wilson
from .analysis import analysis
from .playing import OFFENSE, play_roles
from .request import Request, TrainingRun
from .units import seed_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_DRAWS = 1000
_FEWEST = 5  # of shots that went in, and of those that did not
_POINTS = 0.01  # skills differ by hundredths: the slope is for one percentage point
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Regression:
    """What was found; intervals of 95 %.

    Attributes:
        delta: (shots,) the passer's skill less the shooter's.
        assisted: (shots,) whether the shot went in.
        slope: Log odds for one percentage point of skill.
        intercept: Log odds where both are as good.
        auc: Of the difference in skill alone: the chance that an assist has the higher fitted probability than a miss.
    """

    delta: _Floats
    assisted: npt.NDArray[np.bool_]
    slope: Interval
    intercept: float
    auc: Interval

    def chance(self, delta: _Floats) -> _Floats:
        """Return the fitted probability of an assist."""
        found: _Floats = 1 / (1 + np.exp(-(self.intercept + self.slope.value * delta / _POINTS)))
        return found


def passed_shots(episodes: Episodes) -> tuple[_Floats, npt.NDArray[np.bool_]]:
    """Return of each shot after a pass the passer's skill less the shooter's, and whether it was an assist."""
    rows = np.flatnonzero((episodes["attempt"] > 0) & (episodes["passer"] >= 0))
    attempt = episodes["attempt"][rows]
    names = np.where(attempt == THREE, "three", np.where(attempt == DUNK, "dunk", "layup"))
    kind = np.array([SKILLS.index(name) for name in names], dtype=np.int64)
    delta = episodes["passer_skills"][rows, kind] - episodes["shooter_skills"][rows, kind]
    return delta.astype(np.float64), episodes.made[rows]


def regress(delta: _Floats, assisted: npt.NDArray[np.bool_], seed: int) -> Regression:
    """Fit assists to differences in skill.

    Args:
        delta: (shots,) differences.
        assisted: (shots,) whether an assist came of it.
        seed: Of the bootstrap that gives the AUC's interval.

    Raises:
        DataError: There are too few shots of one kind, or all players are as good as each other.
    """
    need(("sklearn",), "the regression of assists", "quickstart")
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    made = int(assisted.sum())
    if min(made, len(assisted) - made) < _FEWEST or np.ptp(delta) == 0:
        raise DataError(
            f"Of {len(assisted)} shots after a pass {made} went in; a regression takes {_FEWEST} of either kind, and "
            "skills that differ.",
            "play more of them: --episodes 2000",
        )
    points = delta / _POINTS
    fit = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-8).fit(points[:, None], assisted)
    slope, intercept = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    half = quantile(0.95) * _standard_error(points, intercept, slope)
    score = intercept + slope * points
    drawn = _drawn_auc(score, assisted, np.random.default_rng(seed_of(seed, "auc")))
    low, high = np.quantile(drawn, (0.025, 0.975))
    auc = Interval(float(roc_auc_score(assisted, score)), float(low), float(high))
    return Regression(delta, assisted, Interval(slope, slope - half, slope + half), intercept, auc)


def run_assist_skill(request: Request) -> tuple[dict[str, Any], Regression]:
    """Play, and log the regression to a child run.

    Returns:
        What `--json` prints, and the regression.

    Raises:
        NotFoundError: There is no such run, or no such alternation.
        DataError: Too few shots came after a pass.
    """
    training = TrainingRun(request.run_id)
    last = training.chosen(request)
    with analysis("assist-skill", training, request, alternation=last) as found:
        (played,) = play_roles(training, [last], request, (OFFENSE,))
        episodes = played.offense.episodes
        result = regress(*passed_shots(episodes), request.seed)
        found.table("assists", _table(episodes, result))
        found.picture("assist_skill", draw(result, played.title))
        found.metrics |= {
            "assist_skill/auc": result.auc.value,
            "assist_skill/auc_low": result.auc.low,
            "assist_skill/auc_high": result.auc.high,
            "assist_skill/slope": result.slope.value,
            "assist_skill/slope_low": result.slope.low,
            "assist_skill/slope_high": result.slope.high,
            "assist_skill/shots": float(len(result.assisted)),
            "assist_skill/assists": float(result.assisted.sum()),
        }
    return found.told(), result


def draw(result: Regression, title: str) -> Figure:
    """Draw the fitted curve, and the share of assists in fifths of the differences, with intervals."""
    from matplotlib.ticker import PercentFormatter

    from ...figures import BLUE, INK, MUTED, begin, dress, explain

    figure, axes = begin((7.4, 4.8))
    across = np.linspace(result.delta.min(), result.delta.max(), 200)
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(100 * across, result.chance(across), color=BLUE, linewidth=2, label="logistic regression")
    fifths = np.array_split(np.argsort(result.delta, kind="stable"), min(5, len(result.delta)))
    shares = [wilson(int(result.assisted[rows].sum()), len(rows)) for rows in fifths]
    x = [100 * float(result.delta[rows].mean()) for rows in fifths]
    axes.vlines(x, [one.low for one in shares], [one.high for one in shares], color=INK, linewidth=1.2)
    axes.plot(x, [one.value for one in shares], "o", color=INK, markersize=5, label="a fifth of the shots each, 95 %")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    auc = result.auc
    heading = f"Assists of {title}\nAUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}), {len(result.delta):,} shots"
    dress(axes, heading, "passer's skill less the shooter's, percentage points", "shots after a pass that went in")
    explain(figure, 2)
    return figure


def _standard_error(points: _Floats, intercept: float, slope: float) -> float:
    """Return the slope's, from the observed information."""
    chance = 1 / (1 + np.exp(-(intercept + slope * points)))
    design = np.stack([np.ones_like(points), points], 1)
    information = design.T @ (design * (chance * (1 - chance))[:, None])
    return float(np.sqrt(np.linalg.inv(information)[1, 1]))


def _drawn_auc(score: _Floats, assisted: npt.NDArray[np.bool_], rng: np.random.Generator) -> list[float]:
    """Return the AUC of shots drawn with replacement, assists and misses apart; ties count half."""
    hit, miss = score[assisted], score[~assisted]
    return [_auc(rng.choice(hit, len(hit)), rng.choice(miss, len(miss))) for _ in range(_DRAWS)]


def _auc(hit: _Floats, miss: _Floats) -> float:
    ordered = np.sort(miss)
    below = np.searchsorted(ordered, hit, "left") + np.searchsorted(ordered, hit, "right")
    return float(below.sum() / (2 * len(hit) * len(miss)))


def _table(episodes: Episodes, result: Regression) -> pd.DataFrame:
    frame = episodes.frame()
    rows = frame[(frame["attempt"] > 0) & (frame["passer"] >= 0)].reset_index()
    rows = rows.rename(columns={"index": "episode"})[["episode", "shooter", "passer", "attempt", "distance", "chance"]]
    rows["skill_delta"], rows["assisted"] = result.delta, result.assisted.astype(int)
    rows["fitted"] = result.chance(result.delta)
    return rows
