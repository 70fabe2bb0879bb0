"""A seeded simulator of seasons, so that the example needs no file.

A team's strength is a number of points: between seasons it regresses to the mean and is
drawn anew in part, within a season it drifts as a random walk. The margin of a game is

    strength(home) - strength(away) + home advantage - fatigue(home) + fatigue(away) + noise

with fatigue by the days since the team's last game. All of it is known to nobody but the
simulator: the table holds schedules and scores only.

Scales follow what is commonly reported for the NBA: team strengths with a standard deviation
of about 4.5 points, single games of about 12 points around expectation, a home advantage of
about 2.5 points, and about 2 points lost on the second night of a back-to-back.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from holdfast.errors import InvalidInputError

from .games import canonical

TEAM_NAMES = (
    *("Auks", "Bitterns", "Condors", "Dippers", "Egrets", "Falcons", "Goshawks", "Harriers", "Ibises", "Jays"),
    *("Kestrels", "Lapwings", "Merlins", "Nightjars", "Ospreys", "Petrels", "Quails", "Ravens", "Shrikes", "Terns"),
    *("Umbrellabirds", "Vireos", "Wrens", "Xenops", "Yellowhammers", "Avocets", "Buzzards", "Curlews", "Dunlins"),
    *("Eiders",),
)

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_BREAK_AFTER = 0.65  # share of the rounds played before the mid-season break
_DAYS_A_ROUND = 2


@dataclass(frozen=True)
class SimulatorConfig:
    """What is simulated; points and days are the units.

    Attributes:
        seasons: How many seasons.
        first_season: Label of the first; season 2016 begins in October 2015.
        teams: How many teams, an even number.
        games_per_team: Rounds of a season; each team plays once a round.
        home_advantage: Points in favour of the home team.
        strength_sd: Standard deviation of strengths at a season's start, in points.
        drift_sd: Standard deviation of one day's step of a strength, in points.
        carry: Correlation of a team's strength at a season's start with the end of the last.
        noise_sd: Standard deviation of a game's margin around its expectation, in points.
        fatigue: Points lost with one day and with two days since the last game.
        late_share: Share of a round's games played on its second day.
        break_days: Days without games after two thirds of the season.
        seed: Same seed, same games.
    """

    seasons: int = 7
    first_season: int = 2016
    teams: int = 30
    games_per_team: int = 82
    home_advantage: float = 2.6
    strength_sd: float = 4.6
    drift_sd: float = 0.15
    carry: float = 0.65
    noise_sd: float = 12.0
    fatigue: tuple[float, float] = (2.2, 0.4)
    late_share: float = 0.35
    break_days: int = 6
    seed: int = 7


def simulate_games(config: SimulatorConfig | None = None) -> pd.DataFrame:
    """Simulates seasons of games with final scores.

    Args:
        config: What to simulate; seven seasons of 30 teams by default.

    Returns:
        The canonical table of `games`, with points and without a forecast.

    Raises:
        InvalidInputError: The number of teams, rounds or seasons makes no league.
    """
    config = config or SimulatorConfig()
    _check(config)
    rng = np.random.default_rng(config.seed)
    strengths = rng.normal(0, config.strength_sd, config.teams)
    parts: list[pd.DataFrame] = []
    for season in range(config.first_season, config.first_season + config.seasons):
        part, strengths = _simulate_season(config, season, strengths, rng)
        parts.append(part)
    return canonical(pd.concat(parts, ignore_index=True), "simulated games")


def _check(config: SimulatorConfig) -> None:
    problems = []
    if config.teams < 2 or config.teams % 2:
        problems.append(f"teams is {config.teams}, and must be even and at least 2")
    if config.games_per_team < 1 or config.games_per_team * _DAYS_A_ROUND + config.break_days > 300:
        problems.append(f"games_per_team is {config.games_per_team}, and a season holds 1 to 147")
    if config.seasons < 1:
        problems.append(f"seasons is {config.seasons}, and must be at least 1")
    if problems:
        raise InvalidInputError("; ".join(problems), "see SimulatorConfig for the meaning of each number")


def _simulate_season(
    config: SimulatorConfig, season: int, strengths: _Floats, rng: np.random.Generator
) -> tuple[pd.DataFrame, _Floats]:
    """Plays one season; gives its games and the strengths that the next season begins with."""
    day, home, away = _draw_schedule(config, rng)
    steps = rng.normal(0, config.drift_sd, (int(day.max()) + 1, config.teams))
    path = strengths + np.cumsum(steps, axis=0)
    tired_home, tired_away = _find_fatigue(config, day, home, away)
    edge = path[day, home] - path[day, away] + config.home_advantage - tired_home + tired_away
    home_points, away_points = _draw_scores(edge + rng.normal(0, config.noise_sd, len(day)), rng)
    names = np.array([_name_team(number) for number in range(config.teams)])
    opening = pd.Timestamp(dt.date(season - 1, 10, 20))
    games = pd.DataFrame({"season": season, "date": opening + pd.to_timedelta(day, unit="D")})
    games = games.assign(home=names[home], away=names[away], home_win=(home_points > away_points).astype("int64"))
    games = games.assign(home_points=home_points, away_points=away_points)
    fresh = rng.normal(0, config.strength_sd * math.sqrt(1 - config.carry**2), config.teams)
    return games, config.carry * path[-1] + fresh


def _name_team(number: int) -> str:
    return TEAM_NAMES[number] if number < len(TEAM_NAMES) else f"Team {number + 1}"


def _draw_schedule(config: SimulatorConfig, rng: np.random.Generator) -> tuple[_Ints, _Ints, _Ints]:
    """Gives day, home team and away team of each game of a season.

    Rounds begin two days apart and each game falls on its round's first or second day, so
    no team plays twice on a day and one to three days lie between a team's games.
    """
    rounds = [_pair_round(config.teams, number) for number in range(config.games_per_team)]
    shuffled = rng.permutation(config.teams)
    home = shuffled[np.concatenate([pair[0] for pair in rounds])]
    away = shuffled[np.concatenate([pair[1] for pair in rounds])]
    number = np.repeat(rng.permutation(config.games_per_team), config.teams // 2)
    after_break = number >= _BREAK_AFTER * config.games_per_team
    late = rng.random(len(number)) < config.late_share
    day = number * _DAYS_A_ROUND + after_break * config.break_days + late
    return day.astype("int64"), home, away


def _pair_round(teams: int, number: int) -> tuple[_Ints, _Ints]:
    """Pairs the teams for one round by the circle method of round-robin tournaments."""
    cycle, turn = divmod(number, teams - 1)
    ring = np.roll(np.arange(1, teams), turn)
    table = np.concatenate([[0], ring])
    first, second = table[: teams // 2], table[: teams // 2 - 1 : -1]
    # Home alternates by turn and place, and swaps with every cycle, so that it evens out.
    swap = (np.arange(teams // 2) + turn * (np.arange(teams // 2) == 0) + cycle) % 2 == 1
    return np.where(swap, second, first), np.where(swap, first, second)


def _find_fatigue(config: SimulatorConfig, day: _Ints, home: _Ints, away: _Ints) -> tuple[_Floats, _Floats]:
    """Gives the points that tiredness costs the home and the away team of each game."""
    sides = pd.DataFrame({"team": np.concatenate([home, away]), "day": np.concatenate([day, day])})
    rest = sides.sort_values("day", kind="stable").groupby("team")["day"].diff().sort_index()
    after_one, after_two = config.fatigue
    costs = np.where(rest == 1, after_one, np.where(rest == 2, after_two, 0.0)).astype(np.float64)
    return costs[: len(day)], costs[len(day) :]


def _draw_scores(margin: _Floats, rng: np.random.Generator) -> tuple[_Ints, _Ints]:
    """Turns margins into whole points; a margin that rounds to none is decided by one point."""
    whole = np.rint(margin)
    whole = np.where(whole == 0, np.where(margin >= 0, 1.0, -1.0), whole)
    total = np.maximum(rng.normal(222, 17, len(margin)), np.abs(whole) + 120)
    away = np.rint((total - whole) / 2)
    return (away + whole).astype("int64"), away.astype("int64")
