"""The page's table of play: stepping back and going on, orders, the score, and the words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from holdfast.errors import InvalidInputError, NotFoundError
from holdfast_examples.basketworld.app.session import Table
from holdfast_examples.basketworld.app.sessions import Sessions, TooManySessionsError
from holdfast_examples.basketworld.app.snapshot import state_of
from holdfast_examples.basketworld.app.words import Happening, describe
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.play.players import RandomPlayer, get_player

PASS = 8


def _table(seed: int = 3, **rules: Any) -> Table:
    return Table(Rules(**rules), {"A": RandomPlayer(), "B": RandomPlayer()}, seed)


def _play_out(table: Table) -> None:
    while not table.now.ended:
        table.step()


def _told(table: Table) -> dict[str, Any]:
    return state_of("s", None, table).model_dump()


@pytest.mark.parametrize("players", [2, 3])
def test_stepping_back_and_on_shows_the_same_turns(players: int) -> None:
    table = _table(players=players)
    seen = [_told(table)]
    while not table.now.ended:
        table.step()
        seen.append(_told(table))
    for at in reversed(range(len(seen))):
        table.go_to(at)
        again = _told(table)
        assert again["game"].pop("length") == len(seen) - 1
        assert again == seen[at] | {"game": {key: value for key, value in seen[at]["game"].items() if key != "length"}}


def test_the_same_choices_after_stepping_back_play_the_same_future() -> None:
    table = _table()
    _play_out(table)
    first = [moment.view for moment in table.moments]
    table.go_to(0)
    table.control("A", True)  # forgets the future, and nobody orders anything: the policies play on
    assert len(table.moments) == 1
    _play_out(table)
    assert [moment.view for moment in table.moments] == first


def test_an_order_counts_and_makes_a_new_future() -> None:
    table = _table()
    _play_out(table)
    table.go_to(0)
    before = table.now.view
    table.control("A", True)
    move = int(np.flatnonzero(table.games.legal()[0, 0, 1:7])[0]) + 1
    table.step({0: move, 1: 0})
    assert table.now.happening is not None
    assert table.now.happening.actions[:2] == (move, 0)
    assert table.now.view.cells[1] == before.cells[1]
    assert len(table.moments) == 2


def test_orders_for_others_and_illegal_ones_are_refused() -> None:
    table = _table()
    with pytest.raises(InvalidInputError, match="A1 is not yours"):
        table.step({0: 0})
    table.control("B", True)
    with pytest.raises(InvalidInputError, match="B1 cannot shoot"):
        table.step({2: 7})
    for player, action in [(9, 0), (-1, 0), (2, 14), (2, -1)]:
        with pytest.raises(InvalidInputError, match="no action"):
            table.step({player: action})
    assert table.at == 0
    with pytest.raises(InvalidInputError, match="no turn 5"):
        table.go_to(5)


def test_teams_attack_in_turns_and_the_score_adds_up() -> None:
    table = _table()
    attackers, points, wins = [], {"A": 0, "B": 0}, {"A": 0, "B": 0}
    for _ in range(12):
        attackers.append(table.attacking)
        _play_out(table)
        last = table.now.happening
        assert last is not None
        other = "B" if table.attacking == "A" else "A"
        points[table.attacking] += last.points
        wins[table.attacking if last.points else other] += 1
        table.next_episode()
    assert attackers == ["A", "B"] * 6
    assert table.points() == points
    assert table.wins() == wins
    assert table.seed == 15
    assert sum(shot.points for shot in table.shots()) == sum(points.values())
    table.clear(3)
    assert (table.points(), table.shots(), table.episode) == ({"A": 0, "B": 0}, [], 0)


def test_a_shot_that_was_stepped_back_from_does_not_count() -> None:
    table = Table(Rules(), {"A": get_player("greedy"), "B": get_player("random")}, 5)
    while not table.shots():
        table.next_episode()
        _play_out(table)
    count, points = len(table.shots()), table.points()
    table.go_to(table.at - 1)
    assert len(table.shots()) == count - 1
    assert sum(table.points().values()) <= sum(points.values())


def test_the_state_is_consistent() -> None:
    table = _table(seed=8, players=3)
    told = _told(table)
    chances, legal = np.array(told["game"]["chances"]), np.array(told["game"]["legal"])
    assert np.allclose(chances.sum(1), 1, atol=1e-2)
    assert not chances[~legal].any()
    for shot in told["game"]["quality"]:
        assert math.isclose(shot["expected"], shot["points"] * shot["chance"])
        assert math.isclose(shot["chance"], shot["open"] * (1 - shot["pressure"]))
    holder = told["game"]["holder"]
    assert {int(action) for action in told["game"]["receivers"]} == set(np.flatnonzero(legal[holder, PASS:]) + PASS)


def test_a_pass_reaches_whom_the_page_names() -> None:
    table = _table(seed=1, steal=0.0)
    while not (receivers := state_of("s", None, table).game.receivers):
        table.next_episode()
    team = table.attacking
    table.control(team, True)
    action, mate = next(iter(receivers.items()))
    table.step({table.now.view.holder: action})
    assert table.now.view.holder == mate
    assert table.now.happening is not None
    assert table.now.happening.receiver == mate
    assert "passes to" in table.log()[-1].text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ending": "missed", "attempt": 2, "distance": 1, "chance": 0.5}, "P0 takes a two from 1 hex (50% to go in)"),
        ({"ending": "made", "attempt": 3, "distance": 5, "points": 3, "assisted": True, "passer": 1}, "Assist: P1."),
        ({"ending": "made", "attempt": 1, "points": 2}, "P0 takes a dunk ("),
        ({"ending": "stolen"}, "P0 is pressed and loses the ball"),
        ({"ending": "out"}, "out of bounds"),
        ({"ending": "intercepted"}, "picked off"),
        ({"ending": "clock"}, "shot clock runs out"),
        ({"ending": "lane", "points": 1}, "one point to the attackers"),
        ({"receiver": 1}, "P0 passes to P1."),
    ],
)
def test_words(given: dict[str, Any], words: str) -> None:
    told = describe(Happening(actions=(0, 0, 0, 0), handler=0, **given), lambda player: f"P{player}")
    assert told is not None
    assert words in told[0]


def test_sessions_are_limited_and_expire_when_idle() -> None:
    now = [0.0]
    sessions = Sessions(most=2, idle_s=60, clock=lambda: now[0])
    first, second = sessions.add(_table(), None), sessions.add(_table(), None)
    assert first.id != second.id
    assert len(first.id) >= 22
    with pytest.raises(TooManySessionsError):
        sessions.add(_table(), None)
    second.viewers = 1
    now[0] = 61
    assert sessions.get(second.id) is second
    with pytest.raises(NotFoundError):
        sessions.get(first.id)
    sessions.close(second.id)
    assert len(sessions) == 0


def test_a_session_that_is_left_makes_room() -> None:
    now = [0.0]
    sessions = Sessions(most=2, idle_s=1800, clock=lambda: now[0])
    watched, left = sessions.add(_table(), None), sessions.add(_table(), None)
    watched.viewers = 1
    now[0] = 59
    with pytest.raises(TooManySessionsError):
        sessions.check_room()  # it may be a page that is being loaded again
    now[0] = 60
    third = sessions.add(_table(), None)
    assert sessions.get(watched.id) is watched
    assert sessions.get(third.id) is third
    with pytest.raises(NotFoundError):
        sessions.get(left.id)
