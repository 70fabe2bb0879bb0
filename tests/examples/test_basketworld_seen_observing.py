"""What a team sees: against a plain reading of one game at a time, and by the court's symmetries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from holdfast.errors import InvalidInputError
from holdfast_examples.basketworld.game.actions import ACTIONS, MIRRORED, MOVE, PASS, SHOOT
from holdfast_examples.basketworld.game.chances import expected_points
from holdfast_examples.basketworld.game.court import get_court
from holdfast_examples.basketworld.game.games import Games
from holdfast_examples.basketworld.game.observing import layout, observe, width
from holdfast_examples.basketworld.game.passing import interception_chances, receivers
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.game.turning import as_seen, chances_on_court, on_court, sixths_seen

RULES = [
    Rules(),
    Rules(players=3),
    Rules(size=6, dunks=True, spawn_distance=0, players=3, lane_steals=True),
    Rules(size=9, mask_passes=False, pass_arc_degrees=60, contest_decay=0.2),
]
STEPS = np.array([(1, 0), (1, -1), (0, -1), (-1, 0), (-1, 1), (0, 1)])


def played(rules: Rules, n: int = 40, steps: int = 4, seed: int = 3) -> Games:
    """Give games that have gone on for some random steps."""
    games, rng = Games(rules, n, seed), np.random.default_rng(seed)
    for _ in range(steps):
        moves = games.legal().astype(float)
        moves[:, :, SHOOT] = 0
        games.step((rng.random(moves.shape) * moves).argmax(2))
    games.reset(games.done)
    return games


def turned(vector: npt.NDArray[np.int64], sixths: int) -> npt.NDArray[np.int64]:
    q, r = vector
    for _ in range(sixths):
        q, r = q + r, -q
    return np.array([q, r])


def with_ball_at(rules: Rules, cells: npt.NDArray[np.int64]) -> Games:
    """Give a game for each cell, with the ball there and all others elsewhere."""
    games = Games(rules, len(cells), 0)
    others = np.arange(1, 2 * rules.players) + cells[:, None] + 3
    games.cells = np.concatenate([cells[:, None], others % rules.size**2], 1).astype(np.int16)
    games.holder[:] = 0
    return games


def worth(games: Games, index: int, attacker: int, cell: int) -> float:
    rules, court = games.rules, games.court
    defenders = games.cells[index, rules.players :]
    return float(expected_points(rules, court, np.array(cell), games.skills[index, attacker], defenders))


def goal_of(games: Games, index: int, player: int, way: int) -> int | None:
    goal = int(games.court.neighbour[games.cells[index, player], way])
    taken = goal in games.cells[index] or goal < 0 or (goal == games.court.basket and not games.rules.dunks)
    return None if taken else goal


def worth_after(games: Games, index: int, attacker: int, way: int) -> float:
    goal = goal_of(games, index, attacker, way)
    return 0.0 if goal is None else worth(games, index, attacker, goal)


def pressed(games: Games, index: int, cell: int | None) -> float:
    defenders = games.cells[index, games.rules.players :]
    near = games.rules.pressure_distance
    return 0.0 if cell is None else float(np.mean([games.court.distance[cell, d] <= near for d in defenders]))


def guard(games: Games, index: int, defender: int, way: int, others: bool) -> float:
    """Move a defender, and see what becomes of the holder's worth or the others'."""
    team, goal = games.rules.players, goal_of(games, index, games.rules.players + defender, way)
    if goal is None:
        return 0.0
    who = [p for p in range(team) if (p != games.holder[index]) == others]
    before = sum(worth(games, index, p, int(games.cells[index, p])) for p in who)
    kept = games.cells.copy()
    games.cells[index, team + defender] = goal
    after = sum(worth(games, index, p, int(games.cells[index, p])) for p in who)
    games.cells = kept
    return after - before


def press(games: Games, index: int, defender: int, way: int) -> float:
    goal = goal_of(games, index, games.rules.players + defender, way)
    ball = games.cells[index, games.holder[index]]
    return float(goal is not None and games.court.distance[ball, goal] <= games.rules.pressure_distance)


def worth_passed(games: Games, index: int, way: int) -> float:
    rules, cells, holder = games.rules, games.cells[index], games.holder[index]
    mate = int(receivers(rules, np.array([way]), holder[None], cells[None, : rules.players])[0])
    if mate < 0:
        return 0.0
    caught = interception_chances(games.court, cells[holder, None], cells[mate, None], cells[None, rules.players :])
    arrives = float((1 - caught).prod()) if rules.lane_steals else 1.0
    return arrives * worth(games, index, mate, int(cells[mate]))


def plainly(games: Games, index: int, offense: bool) -> dict[str, list[float]]:
    """Read one game in the plainest way."""
    rules, court, team = games.rules, games.court, games.rules.players
    cells, holder, clock = games.cells[index], int(games.holder[index]), int(games.clock[index])
    order = [*range(team), *range(team, 2 * team)] if offense else [*range(team, 2 * team), *range(team)]
    turn = int(sixths_seen(games)[index])
    middle = court.axial[cells[holder]]
    attackers, size = range(team), rules.size
    ways = [(way - turn) % 6 for way in range(6)]
    means = [rules.layup, rules.three, rules.dunk]
    return {
        "players": [float(x) for p in order for x in turned(court.axial[cells[p]] - middle, turn) / size],
        "holder": [float(p == holder) for p in order],
        "clock": [clock / rules.shot_clock],
        "hoop": list(turned(court.axial[court.basket] - middle, turn) / size),
        "to_hoop": [court.to_basket[cells[p]] / size for p in order],
        "nearest": [min(court.distance[cells[p], d] for d in cells[team:]) / size for p in attackers],
        "worth": [worth(games, index, p, int(cells[p])) for p in attackers],
        "layup": [float(court.to_basket[cells[p]] <= 1) for p in attackers],
        "worth_after": [worth_after(games, index, p, way) for p in attackers for way in ways],
        "worth_passed": [worth_passed(games, index, way) for way in ways],
        "pressed": [pressed(games, index, int(cells[p])) for p in attackers],
        "pressed_after": [pressed(games, index, goal_of(games, index, p, way)) for p in attackers for way in ways],
        "closeness": [np.exp(1 - float(court.distance[cells[p], d])) for p in attackers for d in cells[team:]],
        "guard": [guard(games, index, d, way, False) for d in attackers for way in ways],
        "guard_others": [guard(games, index, d, way, True) for d in attackers for way in ways],
        "press": [press(games, index, d, way) for d in attackers for way in ways],
        "way_by_clock": [min(1.0, court.to_basket[cells[p]] / clock) for p in attackers],
        "role": [1.0 if offense else -1.0],
        "skills": [10 * (games.skills[index, p, kind] - means[kind]) for p in attackers for kind in range(3)],
    }


@pytest.mark.parametrize("rules", RULES)
def test_a_plain_reading_of_each_game_sees_the_same(rules: Rules) -> None:
    games = played(rules)
    for offense in (True, False):
        seen = observe(games, "offense" if offense else "defense")
        assert seen.dtype == np.float32
        for index in range(len(seen)):
            read = plainly(games, index, offense)
            assert set(read) == set(layout(rules))
            for name, values in read.items():
                np.testing.assert_allclose(seen[index, layout(rules)[name]], values, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("rules", RULES)
def test_layout_covers_the_observation_without_gaps(rules: Rules) -> None:
    parts = list(layout(rules).values())
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert observe(Games(rules, 3, 0), "offense").shape == (3, parts[-1].stop) == (3, width(rules))


@pytest.mark.parametrize("size", [6, 9, 12, 24])
def test_the_hoop_lies_east_of_the_ball_within_thirty_degrees(size: int) -> None:
    rules = Rules(size=size)
    q, r = observe(with_ball_at(rules, np.arange(size**2)), "defense")[:, layout(rules)["hoop"]].T
    east, south = q + r / 2, r * np.sqrt(3) / 2
    assert (np.abs(south) <= east * np.tan(np.pi / 6) + 1e-6).all()


@pytest.mark.parametrize("size", [6, 9, 12])
def test_the_first_move_brings_the_ball_nearer_the_hoop(size: int) -> None:
    rules, court = Rules(size=size), get_court(size)
    cells = np.flatnonzero(court.to_basket > 0)
    sixths = sixths_seen(with_ball_at(rules, cells))
    ways = on_court(np.full((len(cells), 1), MOVE), sixths)[:, 0] - MOVE
    assert (court.to_basket[court.neighbour[cells, ways]] == court.to_basket[cells] - 1).all()


def test_turning_and_turning_back_is_the_identity() -> None:
    rng, sixths = np.random.default_rng(0), np.arange(12) % 6
    chances = rng.random((12, 3, ACTIONS))
    np.testing.assert_array_equal(chances_on_court(as_seen(chances, sixths), sixths), chances)
    np.testing.assert_array_equal(as_seen(chances_on_court(chances, sixths), sixths), chances)
    # An action of the seen frame has the chance of the action on the court that it stands for.
    actions = rng.integers(ACTIONS, size=(12, 3))
    seen = np.take_along_axis(as_seen(chances, sixths), actions[..., None], 2)
    np.testing.assert_array_equal(seen, np.take_along_axis(chances, on_court(actions, sixths)[..., None], 2))


def test_staying_and_shooting_are_not_turned_and_passes_turn_like_moves() -> None:
    for turn in range(6):
        table = on_court(np.arange(ACTIONS)[:, None], np.full(ACTIONS, turn))[:, 0]
        assert table[0] == 0
        assert table[SHOOT] == SHOOT
        np.testing.assert_array_equal(table[MOVE:SHOOT] - MOVE, table[PASS:] - PASS)
        assert table[MOVE + turn] == MOVE  # what is east on the court is seen so many sixths further


@pytest.mark.parametrize("rules", RULES)
def test_the_teams_see_the_same_game_from_two_sides(rules: Rules) -> None:
    games, parts, team = played(rules), layout(rules), rules.players
    offense, defense = observe(games, "offense"), observe(games, "defense")
    for name in ("players", "holder", "to_hoop"):
        mine = offense[:, parts[name]].reshape(games.n, 2, -1)
        np.testing.assert_array_equal(mine[:, ::-1], defense[:, parts[name]].reshape(games.n, 2, -1))
    np.testing.assert_array_equal(offense[:, parts["role"]], -defense[:, parts["role"]])
    for name in set(parts) - {"players", "holder", "to_hoop", "role"}:
        np.testing.assert_array_equal(offense[:, parts[name]], defense[:, parts[name]], err_msg=name)
    assert (offense[:, parts["holder"]][:, :team].sum(1) == 1).all()
    sides = np.arange(games.n) % 3 == 0
    np.testing.assert_array_equal(observe(games, sides), np.where(sides[:, None], offense, defense))


@pytest.mark.parametrize("players", [2, 3])
def test_a_mirrored_court_is_seen_mirrored(players: int) -> None:
    rules = Rules(size=9, players=players)
    games, mirrored = played(rules, n=200), played(rules, n=200)
    mirrored.cells = games.court.mirror[games.cells].astype(np.int16)
    parts = layout(rules)
    # Where the hoop lies between two directions, one of them is chosen, which no mirror changes.
    q, r = np.round(observe(games, "offense")[:, parts["hoop"]] * rules.size).T
    clear = (q != r) & (r * 2 != -q)
    assert clear.sum() > 100
    seen, other = (observe(one, "defense")[clear] for one in (games, mirrored))
    swap = np.array([0, 5, 4, 3, 2, 1])
    by_way = {"worth_after", "worth_passed", "pressed_after", "guard", "guard_others", "press"}
    for name in set(parts) - {"players", "hoop"} - by_way:
        np.testing.assert_allclose(seen[:, parts[name]], other[:, parts[name]], atol=1e-6, err_msg=name)
    for name in ("players", "hoop"):
        q, r = np.moveaxis(seen[:, parts[name]].reshape(len(seen), -1, 2), 2, 0)
        vectors = np.stack([q + r, -r], 2).reshape(len(seen), -1)
        np.testing.assert_allclose(vectors, other[:, parts[name]], atol=1e-6)
    for name in by_way:
        ways = seen[:, parts[name]].reshape(len(seen), -1, 6)[:, :, swap].reshape(len(seen), -1)
        np.testing.assert_allclose(ways, other[:, parts[name]], atol=1e-6)
    masks = [as_seen(one.legal(), sixths_seen(one))[clear] for one in (games, mirrored)]
    np.testing.assert_array_equal(masks[0][:, :, np.array(MIRRORED)], masks[1])


@pytest.mark.parametrize("rules", RULES)
def test_worth_is_seen_only_where_a_move_is_legal(rules: Rules) -> None:
    games = played(rules)
    legal = as_seen(games.legal(), sixths_seen(games))[:, : rules.players, MOVE:SHOOT]
    gains = observe(games, "offense")[:, layout(rules)["worth_after"]].reshape(legal.shape)
    assert not gains[~legal].any()


def test_seeing_changes_nothing_and_is_the_same_again() -> None:
    games = played(Rules())
    before = games.state()
    first = observe(games, "offense")
    np.testing.assert_array_equal(first, observe(games, "offense"))
    for name, value in games.state().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("side", ["attack", np.ones(3, bool)])
def test_sides_that_do_not_fit_are_refused(side: object) -> None:
    with pytest.raises(InvalidInputError, match=r"side"):
        observe(Games(Rules(), 2, 0), side)  # type: ignore[arg-type]


def test_values_that_cannot_be_turned_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="cannot be turned"):
        as_seen(np.zeros((2, 14)), np.zeros(2, np.int64))
