"""Reads games from a CSV file of one of two formats.

Forecast format (FiveThirtyEight's "checking-our-work-data", CC BY 4.0): `season`, `date`,
`team1` (home), `team2` (away), `prob1_outcome` (1 where the home team won), and optionally
`prob2_outcome`, `prob1`, `prob2`. The probabilities become the table's `forecast` column,
which is compared with and never learnt from.

Box-score format: `season`, `date`, `home_team`, `away_team`, `home_points`, `away_points`,
and optionally `home_win`. Common other names of these columns are known, see `ALIASES`.

Both: UTF-8 with or without a byte order mark, commas, a header, dates as YYYY-MM-DD,
seasons as 2022 or 2021-22; the rows in any order. Row numbers in errors are line numbers
of the file, so the header is row 1.
"""

from __future__ import annotations

import csv
import datetime as dt
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pandas as pd

from holdfast.errors import DataError

from .games import canonical, find_problems, name_rows, raise_problems

ALIASES: Mapping[str, tuple[str, ...]] = {
    "season": ("season", "season_year"),
    "date": ("date", "game_date", "game_date_est", "day"),
    "home": ("home_team", "home", "team_home", "home_team_name", "home_name", "home_team_abbreviation"),
    "away": ("away_team", "away", "team_away", "away_team_name", "away_name", "visitor_team", "visitor", "road_team"),
    "home_points": ("home_points", "home_score", "pts_home", "home_pts", "points_home", "score_home"),
    "away_points": (
        *("away_points", "away_score", "pts_away", "away_pts", "points_away", "score_away"),
        *("visitor_points", "visitor_score"),
    ),
    "home_win": ("home_win", "home_team_wins", "home_won"),
}
"""For each column of the box-score format, the names it is found under, in lower case."""

FORECAST_NAMES: Mapping[str, tuple[str, ...]] = {
    "season": ("season",),
    "date": ("date",),
    "home": ("team1",),
    "away": ("team2",),
    "home_win": ("prob1_outcome", "outcome"),
    "away_win": ("prob2_outcome",),
    "forecast": ("prob1",),
    "away_forecast": ("prob2",),
}
"""For each column of the forecast format, the names it is found under, in lower case."""

_FORMS_HINT = (
    "the forecast format needs season, date, team1, team2, prob1_outcome; "
    "the box-score format needs season, date, home_team, away_team, home_points, away_points"
)
_PROBABILITY_TOLERANCE = 1e-6


@dataclass(frozen=True)
class _Sheet:
    """A CSV file as text: its header in lower case, its rows and their line numbers."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]


def load_games(path: str | Path, min_seasons: int = 3) -> pd.DataFrame:
    """Reads a file of games in either format.

    Args:
        path: The CSV file.
        min_seasons: How many seasons it must hold; 3 is what training, early stopping
            and a test on separate seasons take.

    Returns:
        The canonical table of `games`.

    Raises:
        DataError: There is no such file, it is not of either format, or it holds rows
            that cannot be right; the message lists all problems with their rows.
    """
    source = str(path)
    sheet = _read_sheet(Path(path))
    names = _find_columns(source, sheet.header)
    frame, problems = _parse(sheet, names)
    problems += _find_contradictions(frame)
    problems += find_problems(frame) if len(frame) or not problems else []
    raise_problems(source, problems)
    games = canonical(_drop_counterparts(frame), source)
    _require_seasons(source, games, min_seasons)
    return games


def _read_sheet(path: Path) -> _Sheet:
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file of games", "name the CSV file in it")
    if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe that nobody writes to never ends
        raise DataError(f"{path} is not a regular file", "save the games in a CSV file, and name that")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            sheet = _read_rows(str(path), stream)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", "check the path; without a file, games are simulated") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "make the file readable for this user") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})", "save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}", "save it as comma-separated text in UTF-8") from error
    return sheet


def _read_rows(source: str, stream: TextIO) -> _Sheet:
    reader = csv.reader(stream)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            _refuse_other_separators(source, cells)
            header = [re.sub(r"[\s\-]+", "_", cell.strip().lower()) for cell in cells]
            continue
        rows.append([cell.strip() for cell in cells])
        lines.append(reader.line_num)
    if not header:
        raise DataError(f"{source} is empty", _FORMS_HINT)
    ragged = [line for line, cells in zip(lines, rows, strict=True) if len(cells) != len(header)]
    if ragged:
        text = f"{source}: not {len(header)} values, as in the header, in {name_rows(ragged)}"
        raise DataError(text, "correct these rows; a comma inside a value needs quotes around it")
    return _Sheet(header, rows, lines)


def _refuse_other_separators(source: str, cells: list[str]) -> None:
    found = [mark for mark in (";", "\t") if len(cells) == 1 and mark in cells[0]]
    if found:
        shown = "tabs" if found[0] == "\t" else f"'{found[0]}'"
        raise DataError(f"{source}: the file looks separated by {shown}", "save it with commas")


def _find_columns(source: str, header: list[str]) -> dict[str, int]:
    """Gives for each known column its place in the file.

    Raises:
        DataError: A column that the format needs is absent, or one is there twice.
    """
    doubled = sorted({name for name in header if name and header.count(name) > 1})
    if doubled:
        raise DataError(f"{source}: column {', '.join(doubled)} is there twice", "keep one of them")
    of_forecast = bool({"team1", "team2"} & set(header))
    names = FORECAST_NAMES if of_forecast else ALIASES
    results = ("home_win",) if of_forecast else ("home_points", "away_points")
    needed = ("season", "date", "home", "away", *results)
    places: dict[str, int] = {}
    for column, aliases in names.items():
        present = [alias for alias in aliases if alias in header]
        if present:
            places[column] = header.index(present[0])
    missing = [names[column][0] for column in needed if column not in places]
    if missing:
        text = f"{source}: missing column {', '.join(missing)}; the file has {', '.join(header)}"
        raise DataError(text, _FORMS_HINT)
    return places


def _parse_season(text: str) -> int:
    """Gives 2022 for `2022` and for `2021-22`."""
    span = re.fullmatch(r"(\d{4})\s*[-/–]\s*(\d{2}|\d{4})", text)
    if span is None:
        return int(text)
    begin, end = int(span[1]), int(span[2])
    if end not in (begin + 1, (begin + 1) % 100):
        raise ValueError(text)
    return begin + 1


def _parse_date(text: str) -> pd.Timestamp:
    return pd.Timestamp(dt.datetime.fromisoformat(text).date())


def _parse_name(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def _parse_outcome(text: str) -> int:
    known = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "true": 1, "false": 0}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


def _parse_points(text: str) -> int:
    points = float(text)
    if points < 0 or points != int(points):
        raise ValueError(text)
    return int(points)


def _parse_probability(text: str) -> float:
    probability = float(text)
    if not 0 <= probability <= 1:
        raise ValueError(text)
    return probability


_PARSERS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "season": (_parse_season, "a season such as 2022 or 2021-22"),
    "date": (_parse_date, "a date such as 2022-04-30"),
    "home": (_parse_name, "a team"),
    "away": (_parse_name, "a team"),
    "home_win": (_parse_outcome, "0 or 1"),
    "away_win": (_parse_outcome, "0 or 1"),
    "home_points": (_parse_points, "a whole number of points"),
    "away_points": (_parse_points, "a whole number of points"),
    "forecast": (_parse_probability, "a probability"),
    "away_forecast": (_parse_probability, "a probability"),
}


def _parse(sheet: _Sheet, places: Mapping[str, int]) -> tuple[pd.DataFrame, list[str]]:
    """Turns text into values; rows with a value that cannot be read are left out and reported."""
    problems: list[str] = []
    columns: dict[str, list[object]] = {}
    bad_lines: set[int] = set()
    for column, place in places.items():
        values, bad = _parse_column(column, sheet, place)
        columns[column] = values
        bad_lines |= bad.keys()
        if bad:
            first = next(iter(bad.values()))
            wanted = _PARSERS[column][1]
            problems.append(f"{sheet.header[place]} is not {wanted} ({first!r}) in {name_rows(list(bad))}")
    frame = pd.DataFrame(columns, index=sheet.lines)
    frame = frame[~frame.index.isin(bad_lines)].infer_objects()
    if "home_points" in frame and "home_win" not in frame:
        frame["home_win"] = (frame["home_points"] > frame["away_points"]).astype("int64")
    return frame, problems


def _parse_column(column: str, sheet: _Sheet, place: int) -> tuple[list[object], dict[int, str]]:
    parser = _PARSERS[column][0]
    values: list[object] = []
    bad: dict[int, str] = {}
    for line, cells in zip(sheet.lines, sheet.rows, strict=True):
        try:
            values.append(parser(cells[place]))
        except (ValueError, OverflowError):
            values.append(None)
            bad[line] = cells[place]
    return values, bad


def _find_contradictions(frame: pd.DataFrame) -> list[str]:
    problems: list[str] = []
    if "away_win" in frame:
        rows = frame.index[frame["home_win"] + frame["away_win"] != 1]
        if len(rows):
            problems.append(f"the two outcomes contradict each other in {name_rows(list(rows))}")
    if "away_forecast" in frame and "forecast" in frame:
        rows = frame.index[(frame["forecast"] + frame["away_forecast"] - 1).abs() > _PROBABILITY_TOLERANCE]
        if len(rows):
            problems.append(f"prob1 and prob2 do not add up to 1 in {name_rows(list(rows))}")
    return problems


def _drop_counterparts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["away_win", "away_forecast"], errors="ignore")


def _require_seasons(source: str, games: pd.DataFrame, min_seasons: int) -> None:
    seasons = sorted(games["season"].unique())
    if len(seasons) < min_seasons:
        held = ", ".join(str(season) for season in seasons)
        text = f"{source}: {len(seasons)} season(s) ({held}), and at least {min_seasons} are needed"
        raise DataError(text, "add earlier or later seasons: one to train on, one to validate, one to test")
