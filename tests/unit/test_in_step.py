"""Promotions that get in each other's way, one call at a time, and that end at any of them.

All schedules of two promoters with two changes of turn are tried, and random ones of more actors. Where nobody is
killed the registry is in step when all have come to rest; where somebody is, after one more call.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from registry_world import NAME, Actor, Version, World

from holdfast.core.history import Kind, broken_links, read_event
from holdfast.core.ledger import fold
from holdfast.core.policy import PromotionPolicy
from holdfast.core.stages import STAGE_TAG, Stage
from holdfast.errors import RegistryError
from holdfast.registry.changes.in_step import View, differences
from holdfast.registry.changes.moving import Mover
from holdfast.registry.changes.promoting import Promoter, Promotion
from holdfast.registry.history import book

Action = Callable[[], object]


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no copies in an artifact store, and do not wait."""
    monkeypatch.setattr(book, "Mirror", NoMirror)
    monkeypatch.setattr("holdfast.registry.changes.moving.time.sleep", lambda _: None)


class NoMirror:
    """A history's copy in an artifact store, where there is no store."""

    def __init__(self, *_: object) -> None: ...

    def put(self, *_: object) -> None: ...


def promoting(world: World, number: int, stage: Stage = Stage.PRODUCTION) -> Action:
    """Return the promotion of a version by a process of its own."""
    project = world.project()
    promoter = Promoter(project, PromotionPolicy(), Mover(project))
    return lambda: promoter.promote(NAME, number, stage, "", None)


def refused(world: World) -> Action:
    """Return a promotion that is refused: it only finishes what others left."""
    return promoting(world, 99)


def world_with(production: int | None = 1, count: int = 3, **what: bool) -> World:
    """Return a registry with versions of which one is Production, its history included."""
    world = World({number: Version(number) for number in range(1, count + 1)}, **what)
    if production is not None:
        promoting(world, production)()
    return world


class Watch:
    """Looks after each step whether a reader finds a Production version by alias."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_there = "production" in world.aliases

    def look(self) -> None:
        """Look once."""
        now = self._world.aliases.get("production")
        assert now is not None or not self._is_there, "models:/model@production does not resolve"
        self._is_there = now is not None


def run_to_end(actors: list[Actor], watch: Watch) -> None:
    """Let the actors that are left go on, one after the other."""
    for actor in actors:
        for _ in range(2000):
            actor.step()
            watch.look()
        assert actor.is_over, "it never comes to rest"


def check(world: World, actors: list[Actor], expected: int | None = None) -> None:
    """Check what must be so when all are at rest."""
    texts = world.texts()
    assert broken_links(texts, NAME) == []
    events = [read_event(text) for text in texts]
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    ids = [event.id for event in events]
    told = [done.event.id for actor in actors if isinstance(done := actor.said, Promotion) and done.event is not None]
    assert sorted(told) == sorted(set(told))
    assert set(told) <= set(ids), "a promotion is reported that is not in the history"
    assert sum(event.kind is Kind.MOVED for event in events) <= len(told) + sum(a.said is None for a in actors) + 1
    look = Mover(world.project()).peek(NAME)
    left = differences(fold(events), View(look.view.model, look.view.versions))
    assert [str(item) for item in left] == []
    holder = fold(events).holder(Stage.PRODUCTION)
    by_stage, alias, by_tag = world.places()
    assert (alias, by_tag) == (holder, [] if holder is None else [holder])
    assert by_stage == (by_tag if world.has_stages else [])
    assert expected is None or holder == expected


def finish(world: World) -> None:
    """Make one more call, which moves nothing by itself."""
    with pytest.raises(RegistryError):
        Mover(world.project()).change(NAME, lambda _: (_ for _ in ()).throw(RegistryError("refused")))


def turns(
    world: World, actions: list[Action], order: list[tuple[int, int]], killed: tuple[int, ...] = ()
) -> list[Actor]:
    """Let actors take so many steps each, in this order; then kill some; then let the others come to their ends."""
    actors = [Actor(action) for action in actions]
    watch = Watch(world)
    for who, steps in order:
        for _ in range(steps):
            actors[who].step()
            watch.look()
    for who in killed:
        actors[who].kill()
    run_to_end(actors, watch)
    return actors


def length(make: Callable[[], World], action: Callable[[World], Action]) -> int:
    """Return how many calls an action makes when it is alone."""
    world = make()
    actor = Actor(action(world))
    for steps in range(1, 2000):
        actor.step()
        if actor.is_over:
            return steps
    raise AssertionError("it never comes to rest")


def test_three_changes_of_turn() -> None:
    """The first takes i steps, the second j, the first k; then one of them may be killed, and the rest is done."""
    steps = length(world_with, lambda world: promoting(world, 2))
    for i, j, k in itertools.product(range(1, steps), range(1, steps, 2), range(1, steps, 3)):
        for killed in ((), (0,), (1,)):
            world = world_with()
            actors = turns(world, [promoting(world, 2), promoting(world, 3)], [(0, i), (1, j), (0, k)], killed)
            if killed:
                finish(world)
            check(world, actors)


KINDS = [{}, {"archives": False}, {"has_stages": False}]
KIND_IDS = ["stock", "cannot archive", "no stages"]


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_killed_at_any_step_and_finished_by_the_next_call(kind: dict[str, bool]) -> None:
    steps = length(lambda: world_with(**kind), lambda world: promoting(world, 2))
    outcomes = set()
    for i in range(1, steps):
        world = world_with(**kind)
        actors = turns(world, [promoting(world, 2)], [(0, i)], (0,))
        finish(world)
        check(world, actors)
        outcomes.add(world.places()[1])
    assert outcomes == {1, 2}  # undone or finished


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
@pytest.mark.parametrize("killed", [(), (0,)], ids=["whole", "killed"])
def test_two_promoters_in_every_order(kind: dict[str, bool], killed: tuple[int, ...]) -> None:
    """The first takes i steps, the second j, then the first goes on (or is killed), and then the second."""
    steps = length(lambda: world_with(**kind), lambda world: promoting(world, 2))
    for i in range(1, steps + 1):
        for j in range(0, steps + 1, 1 if not kind else 3):
            world = world_with(**kind)
            actors = turns(world, [promoting(world, 2), promoting(world, 3)], [(0, i), (1, j)], killed)
            if killed:
                finish(world)
            assert isinstance(actors[1].said, Promotion), actors[1].said
            check(world, actors)


@pytest.mark.parametrize("production", [None, 1])
def test_the_first_promotions_of_a_model(production: int | None) -> None:
    """Two who begin the history at once begin one, also where one of them is killed at it."""
    steps = length(lambda: world_with(None), lambda world: promoting(world, 2))
    for i in range(1, steps + 1):
        for killed in ((), (0,)):
            world = world_with(None)
            if production is not None:
                world.versions[production].current_stage = "Production"
            actors = turns(world, [promoting(world, 2), promoting(world, 3)], [(0, i), (1, i)], killed)
            if killed:
                finish(world)
            check(world, actors)
            assert len([run for run in world.runs.values() if any("event/" in key for key in run.params)]) == 1


def schedules(count: int) -> Iterator[random.Random]:
    """Return sources of random schedules, the same each time."""
    return (random.Random(seed) for seed in range(count))  # noqa: S311 - no secret


def at_random(world: World, actions: list[Action], dice: random.Random, deaths: int) -> list[Actor]:
    """Let actors take turns at random, and kill some of them somewhere."""
    actors, watch = [Actor(action) for action in actions], Watch(world)
    doomed = {dice.randrange(len(actors)): dice.randrange(40) for _ in range(deaths)}
    taken = [0] * len(actors)
    while alive := [who for who, actor in enumerate(actors) if not actor.is_over]:
        who = dice.choice(alive)
        if doomed.get(who) == taken[who]:
            actors[who].kill()
        for _ in range(dice.choice((1, 1, 2, 5, 15))):
            actors[who].step()
            taken[who] += 1
            watch.look()
            if doomed.get(who) == taken[who]:
                break
    return actors


def test_many_promoters_at_random() -> None:
    for dice in schedules(150):
        world = world_with(count=6, **dice.choice(KINDS))
        deaths = dice.choice((0, 1, 2))
        numbers = [dice.randrange(1, 7) for _ in range(4)]
        actors = at_random(world, [*(promoting(world, n) for n in numbers), refused(world)], dice, deaths)
        if any(actor.said is None for actor in actors):
            finish(world)
        check(world, actors)


def test_moves_of_all_kinds_at_random() -> None:
    """Versions go down, too, so that the alias may be taken away for a while; at rest everything is in step."""
    for dice in schedules(150):
        world = world_with(count=4, **dice.choice(KINDS))
        moves = [(dice.randrange(1, 5), dice.choice(list(Stage))) for _ in range(4)]
        actors = at_random_unwatched(world, [promoting(world, *move) for move in moves], dice)
        if any(actor.said is None for actor in actors):
            finish(world)
        check(world, actors)


def at_random_unwatched(world: World, actions: list[Action], dice: random.Random) -> list[Actor]:
    """The same without a reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "look", lambda _: None)
        return at_random(world, actions, dice, dice.choice((0, 1)))


# -- the same with bugs planted on purpose ---------------------------------------------------


def outcome(test: Callable[[], None]) -> bool:
    """Whether a test passes."""
    try:
        test()
    except AssertionError:
        return False
    return True


def test_a_missing_second_look_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mover, "catch_up", lambda *_: None)
    assert not outcome(lambda: test_two_promoters_in_every_order({}, ()))


def test_finishing_without_a_second_look_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(self: Mover, name: str) -> Any:
        look = self.look(name)
        return self.look(name) if self.finish(look) else look

    monkeypatch.setattr(Mover, "settled", once)
    assert not outcome(test_many_promoters_at_random)


def test_missing_compare_and_set_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = world_with

    def forgetful(*args: Any, **kwargs: Any) -> World:
        world = real(*args, **kwargs)
        world.compares = False
        return world

    monkeypatch.setitem(globals(), "world_with", forgetful)
    assert not outcome(lambda: test_two_promoters_in_every_order({}, ()))


def test_a_killed_promotion_that_nobody_finishes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.registry.changes.moving.unfinished", lambda *_: [])
    assert not outcome(lambda: test_killed_at_any_step_and_finished_by_the_next_call({}))


def test_tags_name_one_production() -> None:
    world = world_with()
    promoting(world, 2)()
    assert {number: item.tags.get(STAGE_TAG) for number, item in world.versions.items()} == {
        1: "Archived",
        2: "Production",
        3: None,
    }
