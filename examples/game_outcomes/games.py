"""The canonical table of games: its columns, its checks, its fingerprint.

Every loader and the simulator give this table, and everything downstream reads it.

| Column | Type | Meaning |
|---|---|---|
| `season` | int64 | label of the season, higher is later (2022 for 2021-22) |
| `date` | datetime64[ns] | day of the game, without a time |
| `home`, `away` | str | the two teams; a team plays at most once a day |
| `home_win` | int64 | 1 where the home team won, else 0 |
| `home_points`, `away_points` | int64 | final score; both columns or neither |
| `forecast` | float64 | somebody else's probability of a home win; compared with, never learnt from |

Rows are sorted by date, then home team, and numbered from 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from holdfast.errors import DataError

REQUIRED_COLUMNS = ("season", "date", "home", "away", "home_win")
POINT_COLUMNS = ("home_points", "away_points")
FORECAST_COLUMN = "forecast"
SORT_KEY = ["date", "home", "away"]

_INTEGER_COLUMNS = ("season", "home_win", *POINT_COLUMNS)
_ROWS_NAMED = 5


def has_points(games: pd.DataFrame) -> bool:
    """Whether the table has final scores."""
    return set(POINT_COLUMNS) <= set(games.columns)


def canonical(frame: pd.DataFrame, source: str = "games") -> pd.DataFrame:
    """Checks a table of games and gives it types, order and row numbers.

    Args:
        frame: A table with at least the required columns; other columns are dropped.
            Its index names the rows in error texts.
        source: What the table came from (a file's path), named in error texts.

    Returns:
        A new table in the form that this module describes.

    Raises:
        DataError: The table breaks the form; the message holds every problem found.
    """
    raise_problems(source, find_problems(frame))
    wanted = (*REQUIRED_COLUMNS, *POINT_COLUMNS, FORECAST_COLUMN)
    table = frame[[name for name in wanted if name in frame.columns]].copy()
    table["date"] = pd.to_datetime(table["date"]).dt.normalize().astype("datetime64[ns]")
    for name in _INTEGER_COLUMNS:
        if name in table:
            table[name] = table[name].astype("int64")
    if FORECAST_COLUMN in table:
        table[FORECAST_COLUMN] = table[FORECAST_COLUMN].astype("float64")
    return table.sort_values(SORT_KEY).reset_index(drop=True)


def raise_problems(source: str, problems: Sequence[str], hint: str = "") -> None:
    """Raises one DataError that lists all problems; does nothing where there are none.

    Raises:
        DataError: `problems` is not empty.
    """
    if problems:
        listed = "; ".join(problems)
        raise DataError(f"{source}: {listed}", hint or "correct or remove the rows named, then load the file again")


def find_problems(frame: pd.DataFrame) -> list[str]:
    """Lists what breaks the form of the canonical table, each with the rows concerned.

    Args:
        frame: The table; the index labels name the rows.

    Returns:
        One text a kind of problem; empty for a sound table.
    """
    missing = [name for name in REQUIRED_COLUMNS if name not in frame.columns]
    if missing:
        return [f"missing column {', '.join(missing)}"]
    if frame.empty:
        return ["there is not one game in it"]
    if not pd.api.types.is_datetime64_any_dtype(frame["date"]):
        return ["column date does not hold dates (convert it with pandas.to_datetime)"]
    nulls = _find_nulls(frame)
    sound = frame.dropna(subset=[name for name in REQUIRED_COLUMNS if name in frame])
    return nulls + _find_bad_teams(sound) + _find_bad_results(sound) + _find_overlapping_seasons(sound)


def name_rows(rows: Sequence[Any]) -> str:
    """Gives row labels as text, the first five by name: `rows 2, 7 and 9`."""
    labels = [str(row) for row in rows]
    if len(labels) == 1:
        return f"row {labels[0]}"
    if len(labels) > _ROWS_NAMED:
        return f"rows {', '.join(labels[:_ROWS_NAMED])} and {len(labels) - _ROWS_NAMED} more"
    return f"rows {', '.join(labels[:-1])} and {labels[-1]}"


def fingerprint(games: pd.DataFrame) -> str:
    """Gives the SHA-256 of the canonical table's content, as 64 hex digits.

    The same games give the same fingerprint whatever the order of rows or columns they came in.

    Raises:
        DataError: The table is not a sound table of games.
    """
    table = canonical(games)
    table["date"] = table["date"].dt.strftime("%Y-%m-%d")
    names = sorted(table.columns)
    digest = hashlib.sha256("\x1f".join(names).encode())
    for row in table[names].itertuples(index=False):
        digest.update(("\x1e" + "\x1f".join(str(value) for value in row)).encode())
    return digest.hexdigest()


def _flag(frame: pd.DataFrame, bad: pd.Series, text: str) -> list[str]:
    rows = frame.index[bad.to_numpy(dtype=bool)]
    return [f"{text} in {name_rows(list(rows))}"] if len(rows) else []


def _find_nulls(frame: pd.DataFrame) -> list[str]:
    known = (*REQUIRED_COLUMNS, *POINT_COLUMNS, FORECAST_COLUMN)
    found: list[str] = []
    for name in known:
        if name in frame:
            found += _flag(frame, frame[name].isna(), f"no value for {name}")
    return found


def _find_bad_teams(frame: pd.DataFrame) -> list[str]:
    found = _flag(frame, frame["home"] == frame["away"], "a team against itself")
    twice = frame.duplicated(["date", "home", "away"], keep="first")
    found += _flag(frame, twice, "the same game a second time")
    sides = pd.concat([frame[["date", side]].set_axis(["date", "team"], axis=1) for side in ("home", "away")])
    sides = sides.sort_index(kind="stable")
    rows = sides.index[(sides.duplicated(keep="first") & ~sides.index.isin(frame.index[twice])).to_numpy()]
    # A team against itself is twice on its date too; it is reported once, above.
    rows = rows[~rows.isin(frame.index[frame["home"] == frame["away"]])].unique()
    return found + ([f"a team's second game on one date in {name_rows(sorted(rows))}"] if len(rows) else [])


def _find_bad_results(frame: pd.DataFrame) -> list[str]:
    found = _flag(frame, ~frame["home_win"].isin([0, 1]), "home_win is neither 0 nor 1")
    present = [name for name in POINT_COLUMNS if name in frame]
    if len(present) == 1:
        found.append(f"column {present[0]} without its counterpart")
    if len(present) == 2:
        found += _find_bad_points(frame.dropna(subset=present))
    if FORECAST_COLUMN in frame:
        outside = (frame[FORECAST_COLUMN] < 0) | (frame[FORECAST_COLUMN] > 1)
        found += _flag(frame, outside, "forecast is outside 0 to 1")
    return found


def _find_bad_points(frame: pd.DataFrame) -> list[str]:
    home, away = frame["home_points"], frame["away_points"]
    fractional = (home % 1 != 0) | (away % 1 != 0)
    found = _flag(frame, (home < 0) | (away < 0) | fractional, "points are not whole numbers from 0 up")
    found += _flag(frame, home == away, "equal points, so no winner")
    contradicts = (home != away) & ((home > away).astype(int) != frame["home_win"])
    return found + _flag(frame, contradicts, "points and outcome contradict each other")


def _find_overlapping_seasons(frame: pd.DataFrame) -> list[str]:
    # A split by season is a split by time only where seasons follow one another.
    spans = frame.groupby("season")["date"].agg(["min", "max"]).sort_index()
    found: list[str] = []
    seasons = list(spans.index)
    for earlier, later in pairwise(seasons):
        late = (frame["season"] == earlier) & (frame["date"] >= spans["min"][later])
        text = f"season {earlier} reaches into season {later}, which begins on {spans['min'][later]:%Y-%m-%d},"
        found += _flag(frame, late, text)
    return found
