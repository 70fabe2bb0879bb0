"""All that the page shows of a table, worked out once a turn."""

from __future__ import annotations

import numpy as np

from ..game.actions import PASS
from ..game.chances import open_chance, points_of, shot_chance
from ..game.games import Games
from ..game.passing import receivers
from .messages import Event, Game, Quality, Side, State
from .session import TEAMS, Table
from .words import Happening


def state_of(session_id: str, run: str | None, table: Table) -> State:
    """Return a session as it stands; asks both policies for their chances."""
    rules = table.rules
    return State(
        session=session_id,
        run=run,
        size=rules.size,
        players=rules.players,
        three_distance=rules.three_distance,
        shot_clock=rules.shot_clock,
        teams={team: Side(name=table.teams[team].name, human=team in table.humans) for team in TEAMS},
        points=table.points(),
        wins=table.wins(),
        game=_game(table),
        shots=table.shots(),
        log=table.log(),
    )


def _game(table: Table) -> Game:
    now, games = table.now, table.games
    goes_on = not now.ended
    legal = games.legal()[0] if goes_on else np.zeros((2 * table.rules.players, 14), bool)
    return Game(
        episode=table.episode,
        seed=table.seed,
        at=table.at,
        length=len(table.moments) - 1,
        attacking=table.attacking,
        cells=now.view.cells,
        holder=now.view.holder,
        clock=now.view.clock,
        ended=now.ended,
        event=_event(now.happening) if now.happening else None,
        legal=legal.tolist(),
        receivers=_receivers(games) if goes_on else {},
        chances=_chances(table) if goes_on else None,
        quality=_quality(games) if goes_on else [],
    )


def _event(happening: Happening) -> Event:
    return Event(
        actions=happening.actions,
        handler=happening.handler,
        receiver=happening.receiver,
        ending=happening.ending,
        points=happening.points,
        shooter=happening.shooter,
        made=happening.ending == "made" if happening.is_shot else None,
        chance=happening.chance if happening.is_shot else None,
    )


def _chances(table: Table) -> list[list[float]]:
    sides = ((table.team_of(0), True), (table.team_of(table.rules.players), False))
    found = [table.teams[team].chances(table.games, np.array([attacks]))[0] for team, attacks in sides]
    return [[round(float(chance), 4) for chance in player] for player in np.concatenate(found)]


def _receivers(games: Games) -> dict[int, int]:
    """Return who would get the ball by each pass action that reaches anyone."""
    attackers = np.repeat(games.cells[:, : games.rules.players], 6, axis=0)
    found = receivers(games.rules, np.arange(6), np.repeat(games.holder, 6), attackers)
    return {PASS + sixth: int(mate) for sixth, mate in enumerate(found) if mate >= 0}


def _quality(games: Games) -> list[Quality]:
    rules, count = games.rules, games.rules.players
    cells, defenders = games.cells[0, :count], games.cells[:1, count:]
    skills = games.skills[0]
    chance = shot_chance(rules, games.court, cells, skills, defenders)
    free = open_chance(rules, games.court, cells, skills)
    points = points_of(rules, games.court, cells)
    return [
        Quality(
            player=player,
            cell=int(cells[player]),
            points=int(points[player]),
            open=float(free[player]),
            chance=float(chance[player]),
            pressure=float(1 - chance[player] / free[player]),
            expected=float(points[player] * chance[player]),
        )
        for player in range(count)
    ]
