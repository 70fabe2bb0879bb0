"""Migrations that are killed: the same call goes on, copies nothing twice that was compared, and ends the same way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

# What the tests of migrations share lies with them in the tier of real servers.
sys.path.insert(0, str(Path(__file__).parent.parent / "integration" / "migration"))

from migrating import World, contents, keys_of, moved
from process_checks import killed

from holdfast.backend import locations
from holdfast.bucket.migration import copying
from holdfast.bucket.migration.ledger import Ledger
from holdfast.testing import S3Access as Server

FILES = {f"{number}/{number}": bytes([number]) * 1000 * number for number in range(7)}
BATCH = 3


@pytest.fixture
def world(sqlite_uri: str, tmp_path: Path) -> World:
    """A project with two experiments in a folder."""
    found = World(tmp_path / "project", sqlite_uri, str(tmp_path / "old"))
    found.run("one", FILES)
    found.run("two", {"file": b"of another experiment"})
    return found


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def migrate_and_die(world: World, to: Path, at: int, after: bool) -> bool:
    """Migrate in a child that is killed just before or after the `at`-th line of the ledger is written."""

    def action() -> None:
        add, count = Ledger._add, 0

        def counting(self: Ledger, **record: object) -> None:
            nonlocal count
            count += 1
            if count == at and not after:
                die()
            add(self, **record)
            if count == at:
                die()

        Ledger._add = counting  # type: ignore[method-assign]
        copying._BATCH_FILES = BATCH
        world.migrate(str(to))

    return killed(action)


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_line_of_the_ledger(world: World, tmp_path: Path, after: bool) -> None:
    """Each child dies one line later than the one before it, in a migration that the others have begun."""
    before, files = world.dump(), contents(Path(world.root))
    allowed = [before]
    deaths = 0
    to = tmp_path / "new"
    expected = moved(before, world.root, str(to))
    allowed.append(expected)
    for at in range(1, 100):
        if not migrate_and_die(world, to, at, after):
            break
        deaths += 1
        assert world.dump() in allowed  # all locations or none
        assert contents(Path(world.root)) == files
    # Each time the first line is skipped that is there already, so that fewer are left.
    assert deaths >= 4
    assert world.dump() == expected
    assert contents(to) == files


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_killed_within_the_transaction(
    world: World, tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    if database == "postgresql":
        world.tracking_uri = request.getfixturevalue("postgres_uri")
        world.run("one", FILES)
    before, to = world.dump(), tmp_path / "new"

    def action() -> None:
        locations._check = lambda *_: die()
        world.migrate(str(to))

    assert killed(action)
    assert world.dump() == before
    outcome = world.migrate(str(to))
    assert (outcome.status, outcome.tally.files) == ("moved", 0)  # all was compared before the kill
    assert world.dump() == moved(before, world.root, str(to))


def test_killed_between_the_commit_and_the_ledger(world: World, tmp_path: Path) -> None:
    before, to = world.dump(), tmp_path / "new"

    def action() -> None:
        Ledger.rewritten = lambda *_: die()  # type: ignore[method-assign,assign,misc]
        world.migrate(str(to))

    assert killed(action)
    expected = moved(before, world.root, str(to))
    assert world.dump() == expected
    # A straggler that still knew the old place.
    (late,) = Path(world.root, "two").glob("*/artifacts")
    (late / "late").write_bytes(b"late")
    assert world.migration(str(to)).survey().has_begun
    world.migrate(str(to))
    assert contents(to) == contents(Path(world.root))
    assert world.dump() == expected


def test_killed_before_anything_is_compared(world: World, tmp_path: Path) -> None:
    """What is at the new place then is the migration's own, whatever it holds: it is no conflict, and is mended."""
    to = tmp_path / "new"

    def action() -> None:
        copying.Copier._differing = lambda self, new, loads: die() if loads else []  # type: ignore[assign,func-returns-value,method-assign]
        world.migrate(str(to))

    assert killed(action)
    stored = [path for path in to.rglob("*") if path.is_file()]
    for path in stored:
        path.write_bytes(b"damaged" * 100)
    assert len(stored) == len(FILES)
    assert world.migrate(str(to)).tally.files == len(FILES) + 1
    assert contents(to) == contents(Path(world.root))


CHILD = """
import json, sys
from pathlib import Path
from holdfast.bucket.migration import copying
from holdfast.bucket.migration.moving import Migration, Request
from holdfast.project import Project
from holdfast.settings import load_settings
copying._BATCH_FILES = 10
folder, to, environ = sys.argv[1], sys.argv[2], json.load(sys.stdin)
Migration(Project(load_settings(start=Path(folder), environ=environ)), Request(to)).run()
"""


def test_killed_while_it_copies_into_a_bucket(world: World, s3_server: Server, unique: str, tmp_path: Path) -> None:
    name = f"k-{unique[-8:]}"
    world.more = keys_of(s3_server.add_account(unique, [name]), s3_server.endpoint_url)
    world.run("many", {f"{number:03}": os.urandom(100) for number in range(200)})
    before, to = world.dump(), f"s3://{name}/new"
    environ = {"MLFLOW_TRACKING_URI": world.tracking_uri, "MLFLOW_ARTIFACT_ROOT": world.root, **world.more}
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(world.folder), to], stdin=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    with child.stdin as stdin:
        json.dump(environ, stdin)
    until = time.monotonic() + 60
    while not any('"copied"' in ledger.read_text() for ledger in world.ledgers):
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    child.kill()
    child.wait()
    copied = world.migration(to).survey().copied
    assert 0 < copied < 208
    assert world.dump() == before
    outcome = world.migrate(to)
    assert outcome.tally.files == 208 - copied
    assert world.dump() == moved(before, world.root, to)
    assert world.files(to, tmp_path / "there") == contents(Path(world.root))
