"""Clean-ups that are killed: the same call goes on, and ends as one that nobody killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

# What the tests of clean-up share lies with them in the tier of real servers.
sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))

from gc_world import NOW, GcWorld, on, whole, world_for
from process_checks import killed

from holdfast.core.cleanup.plan import Plan
from holdfast.core.cleanup.rules import CleanupRules, RetentionRule
from holdfast.journal.line_file import LineFile
from holdfast.maintenance import applying
from holdfast.maintenance.ledger import home_of, ledgers_in
from holdfast.maintenance.undoing import undo

LONG = bool(os.environ.get("HOLDFAST_LONG_TESTS"))
TRASH = replace(NOW, trash=True, retention=(RetentionRule(keep_last=2),))
PURGE = replace(NOW, orphans=True, retention=(RetentionRule(keep_last=2),))


class Steps:
    """Counts what changes anything, and kills this process just before or after the one of a number."""

    def __init__(self, at: int, after: bool) -> None:
        self._at, self._after, self._count = at, after, 0

    def watch(self, owner: Any, name: str, is_step: Callable[..., bool] = lambda *_: True) -> None:
        real = getattr(owner, name)

        def counting(*arguments: Any, **named: Any) -> Any:
            if not is_step(*arguments):
                return real(*arguments, **named)
            self._count += 1
            is_last = self._count == self._at
            if is_last and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            done = real(*arguments, **named)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        setattr(owner, name, counting)


def _deletes(_: object, request: Any) -> bool:
    return request.method == "DELETE" or "?delete" in request.url


def apply_and_die(world: GcWorld, plan: Plan, at: int, after: bool, commits: bool = True) -> bool:
    """Apply in a child that is killed at its `at`-th line of the ledger, request that deletes, file or commit."""

    def action() -> None:
        import botocore.endpoint
        from sqlalchemy.engine import Connection

        steps = Steps(at, after)
        steps.watch(LineFile, "add")
        steps.watch(os, "unlink")
        if commits:
            steps.watch(Connection, "_commit_impl")
        steps.watch(botocore.endpoint.Endpoint, "_send", _deletes)
        applying._CHUNK = 4
        world.forget().apply(plan)

    return killed(action)


def scene(world: GcWorld, rules: CleanupRules) -> Plan:
    """Make runs that are deleted, and one that a rule takes, and return the plan."""
    world.deleted(2)
    world.runs(3)
    if rules.orphans:
        world.write(f"{world.root}/one/nobodys/artifacts", {"x": b"1"})
    return world.plan(rules)


def kills(total: int, few: slice) -> list[tuple[int, bool]]:
    """Return at which steps to kill: all where tests may take long, else a few of them."""
    every = [(at, after) for at in range(1, total) for after in (False, True)]
    return every if LONG else every[few]


@pytest.fixture
def world(request: pytest.FixtureRequest) -> GcWorld:
    return world_for(request)


@on("local", "versioned", *(["unversioned"] if LONG else []))
def test_killed_again_and_again(world: GcWorld) -> None:
    """Each child dies a few steps later than the one before it, in what the others have begun."""
    plan = scene(world, PURGE)
    gone = {item.id for item in plan.items if item.kind == "run"}
    deaths = 0
    for at, after in kills(60, slice(5, None, 14)):
        if not apply_and_die(world, plan, at, after):
            break
        deaths += 1
        # No files without the row that names them.
        rows = {row[0] for row in world.dump()["runs"]}
        assert not any(world.left_of([run_id]) for run_id in gone - rows)
    assert deaths >= 2
    outcome = world.apply(plan)
    assert (outcome.error, outcome.refused, outcome.left) == (None, (), 0)
    assert not world.rows_naming(*gone)
    assert len(world.readable()) == 2 * 2
    assert not world.bucket or len(world.stored()) == len(world.readable())
    assert world.plan(PURGE).items == ()


@on("versioned")
@pytest.mark.parametrize(("at", "after"), kills(17, slice(7, None, 11)))
def test_killed_once_in_the_trash(world: GcWorld, at: int, after: bool) -> None:
    """Undone at once, or gone on with and then undone: all is as it was."""
    plan = scene(world, TRASH)
    seen, runs = world.readable(), active(world)
    apply_and_die(world, plan, at, after, commits=False)
    undo_all(world)
    assert (world.readable(), active(world)) == (seen, runs)
    apply_and_die(world, plan, at, after, commits=False)
    ledgers = ledgers_in(home_of(world.project()))
    was_finished = bool(ledgers) and not ledgers[-1].noted.undone and ledgers[-1].noted.is_finished
    outcome = world.apply(plan)
    if was_finished:  # killed after its last line: there is nothing left that could be done
        assert ({one.item for one in outcome.skipped}, outcome.done) == (set(plan.items), ())
    else:
        assert whole(outcome, plan)
    assert len(world.readable()) == 4
    undo_all(world)
    assert (world.readable(), active(world)) == (seen, runs)


def undo_all(world: GcWorld) -> None:
    """Undo what the last clean-up that hid anything has hidden, if one has."""
    if any(one.hides_anything() and not one.noted.undone for one in ledgers_in(home_of(world.project()))):
        done = undo(world.project())
        assert (done.failures, done.error) == ((), None)


def active(world: GcWorld) -> set[str]:
    return {row[0] for row in world.dump()["runs"] if "active" in row}
