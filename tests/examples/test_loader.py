"""Both file formats, and files that cannot be right."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from holdfast.errors import DataError
from holdfast_examples.game_outcomes import fingerprint, load_games

_FORECAST_HEAD = "season,date,team1,team2,prob1,prob1_outcome,prob2,prob2_outcome"
_FORECAST_ROWS = [
    "2022,2021-11-02,Jays,Auks,0.7,1,0.3,0",
    "2022,2021-11-01,Auks,Jays,0.6,0,0.4,1",
    "2021,2020-11-01,Jays,Auks,0.5,1,0.5,0",
    "2020,2019-11-01,Auks,Jays,0.4,0,0.6,1",
]
_SCORE_HEAD = "season,date,home_team,away_team,home_points,away_points"
_SCORE_ROWS = [
    "2020,2019-11-01,Auks,Jays,99,101",
    "2021,2020-11-01,Jays,Auks,120,100",
    "2022,2021-11-01,Auks,Jays,88,90",
    "2022,2021-11-02,Jays,Auks,101,100",
]


def _write(folder: Path, head: str, rows: list[str], encoding: str = "utf-8") -> Path:
    path = folder / "games.csv"
    path.write_text("\n".join([head, *rows, ""]), encoding=encoding)
    return path


def test_forecast_format(tmp_path: Path) -> None:
    games = load_games(_write(tmp_path, _FORECAST_HEAD, _FORECAST_ROWS))
    assert list(games.columns) == ["season", "date", "home", "away", "home_win", "forecast"]
    assert games["season"].tolist() == [2020, 2021, 2022, 2022]
    assert games["home"].tolist() == ["Auks", "Jays", "Auks", "Jays"]
    assert games["home_win"].tolist() == [0, 1, 0, 1]
    assert games["forecast"].tolist() == [0.4, 0.5, 0.6, 0.7]


def test_box_score_format(tmp_path: Path) -> None:
    games = load_games(_write(tmp_path, _SCORE_HEAD, _SCORE_ROWS))
    assert list(games.columns) == ["season", "date", "home", "away", "home_win", "home_points", "away_points"]
    assert games["home_win"].tolist() == [0, 1, 0, 1]
    assert games["date"].dt.strftime("%Y-%m-%d").iloc[0] == "2019-11-01"


@pytest.mark.parametrize(
    "head",
    [
        "Season,Game Date,Home,Visitor,PTS_home,PTS_away",
        "season,GAME_DATE_EST,home_team_name,away_team_name,home_score,away_score",
        "season , date , team_home , team_away , home-pts , away-pts",
    ],
)
def test_common_other_names_of_columns(tmp_path: Path, head: str) -> None:
    assert fingerprint(load_games(_write(tmp_path, head, _SCORE_ROWS))) == fingerprint(
        load_games(_write(tmp_path, _SCORE_HEAD, _SCORE_ROWS))
    )


def test_byte_order_mark_blank_lines_and_seasons_as_spans(tmp_path: Path) -> None:
    rows = ["", *[row.replace("2022,", "2021-22,", 1) for row in _SCORE_ROWS], "", ""]
    games = load_games(_write(tmp_path, _SCORE_HEAD, rows, "utf-8-sig"))
    assert games["season"].tolist() == [2020, 2021, 2022, 2022]


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    first = load_games(_write(tmp_path, _FORECAST_HEAD, _FORECAST_ROWS))
    second = load_games(_write(tmp_path, _FORECAST_HEAD, _FORECAST_ROWS[::-1]))
    pd.testing.assert_frame_equal(first, second)
    assert fingerprint(first) == fingerprint(second) == fingerprint(second.sample(frac=1, random_state=0))


def test_the_fingerprint_knows_one_changed_value(tmp_path: Path) -> None:
    games = load_games(_write(tmp_path, _FORECAST_HEAD, _FORECAST_ROWS))
    assert fingerprint(games.assign(forecast=games["forecast"] + 1e-9)) != fingerprint(games)
    assert fingerprint(games.drop(columns="forecast")) != fingerprint(games)


def _forecast(*extra: str) -> str:
    return "\n".join([_FORECAST_HEAD, *_FORECAST_ROWS, *extra])


def _score(*extra: str) -> str:
    return "\n".join([_SCORE_HEAD, *_SCORE_ROWS, *extra])


_HOSTILE: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": ("", ["is empty"]),
    "only blank lines": ("\n\n , \n", ["is empty"]),
    "only a header": (_FORECAST_HEAD, ["not one game"]),
    "no known column": ("a,b\n1,2\n", ["missing column season, date", "the file has a, b", "hint"]),
    "a column missing": ("season,date,team1,team2\n2020,2019-11-01,A,B\n", ["missing column prob1_outcome"]),
    "points of one side": ("season,date,home,away,home_points\n2020,2019-11-01,A,B,1\n", ["column away_points"]),
    "a column twice": ("season,date,date,team1\n1,2,3,4\n", ["column date is there twice"]),
    "semicolons": (_forecast().replace(",", ";"), ["looks separated by ';'", "save it with commas"]),
    "tabs": (_forecast().replace(",", "\t"), ["looks separated by tabs", "save it with commas"]),
    "bad dates": (
        _forecast("2022,31/02/2022,Jays,Auks,0.5,1,0.5,0", "2022,2022-02-31,Jays,Auks,0.5,1,0.5,0"),
        ["date is not a date such as 2022-04-30 ('31/02/2022') in rows 6 and 7"],
    ),
    "bad season": (_score("2021-25,2022-01-01,Jays,Auks,1,2"), ["season is not a season", "'2021-25'", "row 6"]),
    "the same game twice": (_score(_SCORE_ROWS[3]), ["the same game a second time in row 6"]),
    "two games a day": (_score("2022,2021-11-02,Auks,Wrens,90,80"), ["second game on one date in row 6"]),
    "a team against itself": (_score("2022,2022-01-01,Jays,Jays,90,80"), ["a team against itself in row 6"]),
    "a team without a name": (_score("2022,2022-01-01,,Jays,90,80"), ["home_team is not a team ('') in row 6"]),
    "an outcome of 2": (_forecast("2022,2022-01-01,Jays,Auks,0.5,2,0.5,0"), ["prob1_outcome is not 0 or 1 ('2')"]),
    "outcomes that contradict": (
        _forecast("2022,2022-01-01,Jays,Auks,0.5,1,0.5,1", "2022,2022-01-03,Jays,Auks,0.5,0,0.5,0"),
        ["two outcomes contradict each other in rows 6 and 7"],
    ),
    "probability over 1": (_forecast("2022,2022-01-01,Jays,Auks,1.5,1,0.5,0"), ["prob1 is not a probability ('1.5')"]),
    "probability not a number": (_forecast("2022,2022-01-01,Jays,Auks,nan,1,0.5,0"), ["prob1 is not a probability"]),
    "probabilities over 1 together": (_forecast("2022,2022-01-01,Jays,Auks,0.9,1,0.5,0"), ["do not add up to 1"]),
    "equal points": (_score("2022,2022-01-01,Jays,Auks,90,90"), ["equal points, so no winner in row 6"]),
    "negative points": (_score("2022,2022-01-01,Jays,Auks,-1,90"), ["home_points is not a whole number", "'-1'"]),
    "infinite points": (_score("2022,2022-01-01,Jays,Auks,inf,90"), ["home_points is not a whole number"]),
    "outcome against points": (
        "\n".join([_SCORE_HEAD + ",home_win", *[row + ",1" for row in _SCORE_ROWS]]),
        ["points and outcome contradict each other in rows 2 and 4"],
    ),
    "too few values": (_score("2022,2022-01-01,Jays"), ["not 6 values, as in the header, in row 6"]),
    "too many values": (_score("2022,2022-01-01,Jays,Auks,1,2,3"), ["not 6 values, as in the header, in row 6"]),
    "seasons that overlap": (
        _score("2021,2021-12-24,Auks,Jays,1,2"),
        ["season 2021 reaches into season 2022", "row 6"],
    ),
    "two seasons": ("\n".join([_SCORE_HEAD, *_SCORE_ROWS[:2]]), ["2 season(s) (2020, 2021)", "at least 3", "hint"]),
    "not text": (b"PK\x03\x04\xff\xfe\x80", ["is not UTF-8 text"]),
    "sixteen-bit text": (_forecast().encode("utf-16"), ["is not UTF-8 text"]),
    "two problems at once": (
        _score("2022,never,Jays,Auks,1,2", "2022,2022-01-02,Jays,Jays,2,1"),
        ["date is not a date", "row 6", "a team against itself in row 7"],
    ),
    "many bad rows": (
        _score(*["2022,2022-01-01,Jays,Auks,x,2"] * 9),
        ["in rows 6, 7, 8, 9, 10 and 4 more"],
    ),
}


@pytest.mark.parametrize(("content", "told"), _HOSTILE.values(), ids=_HOSTILE.keys())
def test_a_file_that_cannot_be_right_is_refused(tmp_path: Path, content: str | bytes, told: list[str]) -> None:
    path = tmp_path / "games.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        load_games(path)
    text = str(caught.value)
    assert str(path) in text
    assert caught.value.hint
    assert [part for part in told if part not in text] == []


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_games(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="is a folder"):
        load_games(tmp_path)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="not a regular file"):
        load_games(tmp_path / "pipe.csv")


def test_the_real_file_is_read_whole(real_games: pd.DataFrame) -> None:
    assert len(real_games) == 8886
    assert real_games["season"].unique().tolist() == list(range(2016, 2023))
    assert real_games["date"].is_monotonic_increasing
