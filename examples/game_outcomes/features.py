"""What is known of a game before its date, as numbers.

Every feature of a game uses results of strictly earlier dates only, and the schedule up to the
game itself. Three means keep it so: values of a team pass through `appearances.shift_games`;
the ratings are read before the date's games update them; averages over the league end with the
day before. The `forecast` column is never read.

The 16 features that `POINT_FEATURES` and `CALENDAR_FEATURES` name together with the two win
shares are the classic set for this task; the rest adds ratings, form and schedule.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .appearances import count_before, count_run, list_appearances, roll_mean, roll_sum, shift_games
from .games import SORT_KEY, find_problems, has_points, raise_problems
from .ratings import EloConfig, rate_elo
from .strengths import StrengthConfig, filter_strengths

POINT_FEATURES = (
    *("home_points_for_10", "away_points_for_10", "home_points_against_10", "away_points_against_10"),
    *("home_margin_10", "away_margin_10"),
)
"""Means over a team's last ten games; there only where the games have points."""

CALENDAR_FEATURES = (
    *("home_rest_days", "away_rest_days", "home_back_to_back", "away_back_to_back"),
    *("month", "day_of_week", "weekend", "season_phase"),
)

CLASSIC_FEATURES = ("home_win_share_10", "away_win_share_10", *POINT_FEATURES, *CALENDAR_FEATURES)
"""The 16 features of the classic set."""

_REST_CAP_DAYS = 10.0
_LEAGUE_WINDOW = 300
_PHASES = (20, 41, 62, 82)  # games played: a quarter, half and three quarters of a season, all of it
_PRIOR_GAMES = 10.0
_PRIOR_MEETINGS = 4.0


@dataclass(frozen=True)
class FeatureConfig:
    """Constants of the ratings that the features contain.

    Strengths are filtered at three speeds: how fast a team changes differs by team and by
    season, and the trees weigh the three against each other.
    """

    elo: EloConfig = field(default_factory=EloConfig)
    margin_elo: EloConfig = field(default_factory=lambda: EloConfig(use_margin=True, home_advantage=60.0, carry=0.7))
    strength: StrengthConfig = field(default_factory=StrengthConfig)
    fast_strength: StrengthConfig = field(default_factory=lambda: StrengthConfig(day_variance=3e-3))
    slow_strength: StrengthConfig = field(
        default_factory=lambda: StrengthConfig(day_variance=1e-4, season_variance=0.25)
    )


def build_features(games: pd.DataFrame, config: FeatureConfig | None = None) -> pd.DataFrame:
    """Computes the features of every game.

    Args:
        games: A table of games as `games` describes it, in any order, with a unique index.
        config: Constants of the ratings.

    Returns:
        One float64 column a feature, with the index of `games`. A mean over no game is missing.

    Raises:
        DataError: The table is not a sound table of games.
    """
    raise_problems("games", find_problems(games))
    config = config or FeatureConfig()
    ordered = games.drop(columns="forecast", errors="ignore").sort_values(SORT_KEY)
    teams = _describe_teams(list_appearances(ordered))
    home, away = (_pick_side(teams, at_home, ordered.index) for at_home in (1.0, 0.0))
    once = ["head_to_head", "rematch"]  # the away team's is the home team's turned round
    sides = pd.concat(
        [home.drop(columns=once).add_prefix("home_"), away.drop(columns=once).add_prefix("away_")], axis=1
    )
    parts = [sides, home[["head_to_head"]], _describe_pair(home, away), _describe_calendar(ordered, home, away)]
    parts.append(_describe_ratings(ordered, home, away, config))
    features = pd.concat(parts, axis=1).astype("float64")
    return features.loc[games.index]


def _pick_side(teams: pd.DataFrame, at_home: float, index: pd.Index) -> pd.DataFrame:
    chosen = teams[teams["at_home"] == at_home].set_index("game")
    return chosen.drop(columns="at_home").loc[index]


def _describe_teams(table: pd.DataFrame) -> pd.DataFrame:
    """Gives the features of one team before one game, a row an appearance."""
    frame = table[["game", "at_home"]].copy()
    frame["win_share_10"] = roll_mean(table, ["team"], "won", 10)
    frame["win_share_5"] = roll_mean(table, ["team"], "won", 5)
    frame["season_games"] = count_before(table, ["team", "season"])
    frame["season_win_share"] = _share_of_season(table)
    frame["venue_win_share_20"] = roll_mean(table, ["team", "at_home"], "won", 20)
    frame["head_to_head"] = _share_of_meetings(table)
    if "scored" in table:
        frame = frame.assign(**_describe_points(table))
    return frame.assign(**_describe_schedule(table))


def _share_of_season(table: pd.DataFrame) -> pd.Series:
    # Pulled towards one half as if ten games had been played before, so that a 2-0 start
    # does not read as a perfect team.
    wins = roll_sum(table, ["team", "season"], "won", 200)
    return (wins + _PRIOR_GAMES / 2) / (count_before(table, ["team", "season"]) + _PRIOR_GAMES)


def _share_of_meetings(table: pd.DataFrame) -> pd.Series:
    wins = roll_sum(table, ["team", "opponent"], "won", 8)
    meetings = count_before(table, ["team", "opponent"]).clip(upper=8)
    return (wins + _PRIOR_MEETINGS / 2) / (meetings + _PRIOR_MEETINGS)


def _describe_points(table: pd.DataFrame) -> dict[str, pd.Series]:
    scored, allowed = (roll_mean(table, ["team"], column, 10) for column in ("scored", "allowed"))
    return {"points_for_10": scored, "points_against_10": allowed, "margin_10": scored - allowed}


def _describe_schedule(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Rest over all games of a team, home and away, in days; and how dense its schedule was."""
    rest = _days_since(table, 1).clip(upper=_REST_CAP_DAYS).fillna(_REST_CAP_DAYS)
    within_week = [(_days_since(table, count) <= 7).astype("float64") for count in range(1, 6)]
    previous = shift_games(table, ["team"], "opponent")
    return {
        "rest_days": rest,
        "back_to_back": (rest == 1).astype("float64"),
        "games_7_days": sum(within_week[1:], within_week[0]),
        "road_games": count_run(1.0 - table["at_home"], table["team"]),
        "rematch": (previous == table["opponent"]).astype("float64"),
    }


def _days_since(table: pd.DataFrame, count: int) -> pd.Series:
    return (table["date"] - shift_games(table, ["team"], "date", count)).dt.days


def _describe_pair(home: pd.DataFrame, away: pd.DataFrame) -> pd.DataFrame:
    """Gives differences, home minus away, which shallow trees use better than two columns."""
    names = ["win_share_10", "win_share_5", "season_win_share", "venue_win_share_20", "rest_days", "games_7_days"]
    names += [name for name in ("margin_10",) if name in home]
    frame = (home[names] - away[names]).add_suffix("_difference")
    # Only in a playoff series, and rarely else, do two teams meet twice in a row.
    return frame.assign(rematch=home["rematch"] * away["rematch"])


def _describe_calendar(games: pd.DataFrame, home: pd.DataFrame, away: pd.DataFrame) -> pd.DataFrame:
    date = games["date"].dt
    frame = pd.DataFrame({"month": date.month, "day_of_week": date.day_of_week}, index=games.index)
    frame["weekend"] = (date.day_of_week >= 5).astype("int64")
    # Counted in games played, not in dates: some seasons began late or paused for months.
    played = np.minimum(home["season_games"].to_numpy(), away["season_games"].to_numpy())
    frame["season_phase"] = np.searchsorted(np.array(_PHASES), played, side="right")
    frame["league_home_share"] = _share_of_home_wins(games)
    return frame


def _share_of_home_wins(games: pd.DataFrame) -> pd.Series:
    """Gives the share of home wins in the league's last 300 games before each date."""
    wins = np.concatenate([[0.0], games["home_win"].to_numpy(dtype="float64").cumsum()])
    dates = games["date"].to_numpy()
    last = np.searchsorted(dates, dates, side="left")
    first = np.maximum(last - _LEAGUE_WINDOW, 0)
    shares = np.divide(wins[last] - wins[first], last - first, out=np.full(len(games), np.nan), where=last > first)
    return pd.Series(shares, index=games.index)


def _describe_ratings(
    games: pd.DataFrame, home: pd.DataFrame, away: pd.DataFrame, config: FeatureConfig
) -> pd.DataFrame:
    # Differences only: a level of both teams' ratings tells nothing of who wins.
    ratings = rate_elo(games, config.elo)
    frame = pd.DataFrame({"elo_difference": ratings["home_elo"] - ratings["away_elo"]})
    if has_points(games):
        ratings = rate_elo(games, config.margin_elo)
        frame["margin_elo_difference"] = ratings["home_elo"] - ratings["away_elo"]
    home_tired, away_tired = (side["back_to_back"].to_numpy(dtype="float64") for side in (home, away))
    for name, speed in (("fast", config.fast_strength), ("slow", config.slow_strength)):
        filtered = filter_strengths(games, home_tired, away_tired, speed)
        frame[f"{name}_strength_log_odds"] = filtered["strength_log_odds"]
    return frame.join(filter_strengths(games, home_tired, away_tired, config.strength))
