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

from gc_world import NOW, GcWorld, in_bucket
from process_checks import killed

from holdfast.core.cleanup.plan import Plan
from holdfast.core.cleanup.rules import CleanupRules, RetentionRule
from holdfast.journal.line_file import LineFile
from holdfast.maintenance import applying
from holdfast.maintenance.ledger import home_of, ledgers_in
from holdfast.maintenance.undoing import undo
from holdfast.testing import S3Access as Server

LONG = bool(os.environ.get("HOLDFAST_LONG_TESTS"))
pytestmark = [pytest.mark.timeout(280), pytest.mark.skipif(not LONG, reason="takes minutes: make test-long")]
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
        steps.watch(
            botocore.endpoint.Endpoint,
            "_send",
            lambda _, request: request.method == "DELETE" or "?delete" in request.url,
        )
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


def kills(total: int) -> list[tuple[int, bool]]:
    """Return at which steps to kill: all where tests may take long, else a few of them."""
    every = [(at, after) for at in range(1, total) for after in (False, True)]
    return every if LONG else every[1::9]


@pytest.fixture(params=["local", "unversioned", "versioned"])
def world(request: pytest.FixtureRequest, sqlite_uri: str, tmp_path: Path) -> GcWorld:
    if request.param == "local":
        return GcWorld(tmp_path / "project", sqlite_uri, str(tmp_path / "root"))
    server: Server = request.getfixturevalue("s3_server")
    return in_bucket(server, tmp_path / "project", sqlite_uri, request.param == "versioned")


def test_killed_again_and_again(world: GcWorld) -> None:
    """Each child dies a few steps later than the one before it, in what the others have begun."""
    plan = scene(world, PURGE)
    gone = {item.id for item in plan.items if item.kind == "run"}
    deaths = 0
    for at, after in kills(60):
        if not apply_and_die(world, plan, at, after):
            break
        deaths += 1
        for run_id in gone:
            # No files without the row that names them.
            has_files = any(run_id in path for path in world.readable())
            assert not has_files or world.rows_naming(run_id)["runs"] == 1
    assert deaths >= 2
    outcome = world.apply(plan)
    assert (outcome.error, outcome.refused, outcome.left) == (None, (), 0)
    assert not world.rows_naming(*gone)
    assert len(world.readable()) == 2 * 2
    assert not world.bucket or len(world.stored()) == len(world.readable())
    assert world.plan(PURGE).items == ()


@pytest.mark.parametrize(("at", "after"), [(4, True), (6, False)] if not LONG else [*kills(16)])
def test_killed_once_in_the_trash(s3_server: Server, sqlite_uri: str, tmp_path: Path, at: int, after: bool) -> None:
    """Undone at once, or gone on with and then undone: all is as it was."""
    world = in_bucket(s3_server, tmp_path / "project", sqlite_uri, versioned=True)
    plan = scene(world, TRASH)
    seen, runs = world.readable(), active(world)
    for goes_on in (False, True):
        was_killed = apply_and_die(world, plan, at, after, commits=False)
        if goes_on:
            outcome = world.apply(plan)
            assert (outcome.error, outcome.refused, outcome.skipped, outcome.left) == (None, (), (), 0)
            assert len(world.readable()) == 4
        ledger = ledgers_in(home_of(world.project()))[-1]
        assert was_killed or LONG
        if ledger.hides_anything():
            done = undo(world.project(), ledger.gc_id)
            assert (done.failures, done.error) == ((), None)
        assert (world.readable(), active(world)) == (seen, runs)


def active(world: GcWorld) -> set[str]:
    return {row[0] for row in world.dump()["runs"] if "active" in row}
