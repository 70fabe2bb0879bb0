"""One row a team and game: what the features of a single team are computed on.

`shift_games` is the one door through which results pass into features: it moves every value
to the team's next game, and since a team plays once a day, that game lies on a later date.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .games import has_points


def list_appearances(games: pd.DataFrame) -> pd.DataFrame:
    """Gives two rows a game, the home team's and the away team's, sorted by team and date.

    Args:
        games: A table of games in any order, with a unique index.

    Returns:
        Columns `game` (label of the game in the index of `games`), `season`, `date`, `team`,
        `opponent`, `at_home` and `won` (0.0 or 1.0), and with points `scored` and `allowed`.
    """
    home = _take_side(games, "home", "away")
    away = _take_side(games, "away", "home")
    both = pd.concat([home, away], ignore_index=True)
    return both.sort_values(["team", "date"], kind="stable").reset_index(drop=True)


def _take_side(games: pd.DataFrame, own: str, other: str) -> pd.DataFrame:
    at_home = own == "home"
    side = pd.DataFrame({"game": games.index, "season": games["season"].to_numpy(), "date": games["date"].to_numpy()})
    side["team"], side["opponent"] = games[own].to_numpy(), games[other].to_numpy()
    side["at_home"] = float(at_home)
    won = games["home_win"].to_numpy(dtype="float64")
    side["won"] = won if at_home else 1.0 - won
    if has_points(games):
        side["scored"] = games[f"{own}_points"].to_numpy(dtype="float64")
        side["allowed"] = games[f"{other}_points"].to_numpy(dtype="float64")
    return side


def shift_games(table: pd.DataFrame, keys: Sequence[str], column: str, count: int = 1) -> pd.Series:
    """Gives each row the value that `column` had `count` games earlier within its group.

    Returns:
        The earlier values; missing for the first games of a group.
    """
    return table.groupby(list(keys), sort=False)[column].shift(count)


def roll_mean(table: pd.DataFrame, keys: Sequence[str], column: str, window: int) -> pd.Series:
    """Gives the mean of `column` over the last `window` games before each row's, within its group.

    Returns:
        The mean of as many games as there are; missing where there is none.
    """
    earlier = shift_games(table, keys, column)
    rolling = earlier.groupby(_label(table, keys), sort=False).rolling(window, min_periods=1)
    means: pd.Series = rolling.mean().droplevel(0).sort_index()
    return means


def roll_sum(table: pd.DataFrame, keys: Sequence[str], column: str, window: int) -> pd.Series:
    """Gives the sum of `column` over the last `window` games before each row's, 0.0 where there is none."""
    # A mean over no game is missing, and so is the count of games it stands for.
    counts = count_before(table, keys).clip(upper=window)
    return (roll_mean(table, keys, column, window) * counts).fillna(0.0)


def _label(table: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    return table.groupby(list(keys), sort=False).ngroup()


def count_before(table: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """Gives how many games of its group come before each row's."""
    return table.groupby(list(keys), sort=False).cumcount().astype("float64")


def count_run(flags: pd.Series, groups: pd.Series) -> pd.Series:
    """Gives how many rows right before each one, within its group, have a flag of 1.

    Args:
        flags: 0.0 or 1.0 a row.
        groups: The group of each row, rows of a group being adjacent.
    """
    earlier = flags.groupby(groups, sort=False).shift(1).fillna(0.0)
    stretch = (np.asarray(earlier == 0.0) | np.asarray(groups != groups.shift(1))).cumsum()
    return earlier.groupby(stretch).cumsum()
