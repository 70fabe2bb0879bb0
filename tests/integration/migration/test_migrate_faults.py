"""Migrations that meet other content, damage, full disks and people who go on writing: nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from migrating import MIB, ODD, World, contents, sums

from holdfast.artifacts import local as local_files
from holdfast.artifacts.transfer import Silent
from holdfast.bucket.migration import copying
from holdfast.bucket.migration.ledger import taken
from holdfast.errors import ArtifactError, HoldfastError
from holdfast.testing import FaultProxy

pytestmark = pytest.mark.timeout(120)


# -- what is there already --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_new_place_that_is_not_empty(
    world: World, tmp_path: Path, bucket: tuple[str, dict[str, str]], kind: str
) -> None:
    name, world.more = bucket
    to = str(tmp_path / "new") if kind == "folder" else f"s3://{name}/r"
    run = world.run("one")
    place = f"{to}/one/{run.run_id}/artifacts"
    world.write(place, {"plain.txt": b"plain", "ours.txt": b"nobody's concern", "100%.txt": b"PERCENT"})
    before = world.dump()
    with pytest.raises(ArtifactError, match=r"100%.txt' is at .* already, with other content") as found:
        world.migrate(to)
    assert (found.value.code, "--overwrite" in found.value.hint) == ("Conflict", True)
    assert world.dump() == before
    outcome = world.migrate(to, overwrite=True)
    assert (outcome.tally.unchanged, outcome.tally.files) == (1, len(ODD) - 1)
    assert world.files(place, tmp_path / "there") == sums({**ODD, "ours.txt": b"nobody's concern"})


def test_another_size_is_told_before_anything_is_copied(world: World, tmp_path: Path) -> None:
    run = world.run("one")
    to = tmp_path / "new"
    world.write(f"{to}/one/{run.run_id}/artifacts", {"plain.txt": b"another length"})
    with pytest.raises(ArtifactError, match=r"plain\.txt"):
        world.migration(str(to)).survey()
    assert len(contents(to)) == 1


# -- faults -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, 2 * MIB])
def test_a_damaged_copy_is_noticed_and_mended(
    world: World, proxied: tuple[str, dict[str, str], FaultProxy], tmp_path: Path, size: int
) -> None:
    name, world.more, proxy = proxied
    world.run("one", {"large": os.urandom(size)})
    proxy.flip_in_requests(size // 2, times=1)
    outcome = world.migrate(f"s3://{name}/r")
    assert (proxy.happened, outcome.tally.mended) == (1, 1)
    assert world.files(f"s3://{name}/r", tmp_path / "there") == contents(Path(world.root))


def test_damage_in_the_reading_is_none_of_the_copy(
    world: World, proxied: tuple[str, dict[str, str], FaultProxy], tmp_path: Path
) -> None:
    name, world.more, proxy = proxied
    world.run("one", {"file": os.urandom(50_000)})
    proxy.flip_in_answers(40_000, times=1)
    outcome = world.migrate(f"s3://{name}/r")
    assert (proxy.happened, outcome.tally.mended) == (1, 0)


def test_a_copy_that_stays_damaged_rewrites_nothing(
    world: World, proxied: tuple[str, dict[str, str], FaultProxy]
) -> None:
    name, world.more, proxy = proxied
    world.run("one", {"file": os.urandom(50_000)})
    before = world.dump()
    proxy.flip_in_requests(40_000)
    with pytest.raises(ArtifactError, match="in 3 tries") as found:
        world.migrate(f"s3://{name}/r")
    assert found.value.retryable
    assert world.dump() == before
    proxy.pass_on()
    assert world.migrate(f"s3://{name}/r").status == "moved"


class _Once(Silent):
    """Does something when the first file is over."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action: Callable[[], object] | None = action

    def file_done(self) -> None:
        action, self._action = self._action, None
        if action is not None:
            action()


def test_what_comes_changes_and_goes_in_the_middle(world: World, tmp_path: Path) -> None:
    run = world.run("one")
    place = Path(run.artifact_uri)
    to = tmp_path / "new"

    def meddle() -> None:
        (place / "new.txt").write_bytes(b"came in the middle")
        (place / "plain.txt").write_bytes(b"changed in the middle")
        (place / "empty").unlink()

    outcome = world.migrate(str(to), _Once(meddle))
    expected = {**ODD, "new.txt": b"came in the middle", "plain.txt": b"changed in the middle"}
    assert contents(to / "one" / run.run_id / "artifacts") == sums(expected)
    assert outcome.tally.gone == [f"{world.root}/one/{run.run_id}/artifacts/empty"]
    assert world.project().runs.get_run(run.run_id).artifact_uri.startswith(str(to))


def test_the_old_files_are_deleted_in_the_middle(world: World, tmp_path: Path) -> None:
    """What looks like an unmounted disk stops everything; afterwards it is nobody's concern."""
    run = world.run("one")
    before, to = world.dump(), tmp_path / "new"
    with pytest.raises(ArtifactError, match="is empty, and held"):
        world.migrate(str(to), _Once(lambda: shutil.rmtree(Path(world.root, "one"))))
    assert world.dump() == before
    assert contents(to / "one" / run.run_id / "artifacts") == sums(ODD)


def test_what_happens_after_the_move_is_left_alone(world: World, tmp_path: Path) -> None:
    """The same command later: what was changed or deleted at the new place since stays so; what came late is taken."""
    run = world.run("one")
    old, new = Path(run.artifact_uri), tmp_path / "new" / "one" / run.run_id / "artifacts"
    world.migrate(str(tmp_path / "new"))
    (new / "plain.txt").write_bytes(b"logged again, at the new place")
    (new / "empty").unlink()
    (old / "100%.txt").write_bytes(b"changed at both")
    (new / "100%.txt").write_bytes(b"changed at both places")
    (old / "a+b=c&d;e.txt").write_bytes(b"changed late")
    (old / "late.txt").write_bytes(b"late")
    outcome = world.migrate(str(tmp_path / "new"))
    assert [path.rpartition("/")[2] for path in outcome.tally.late] == ["100%.txt"]
    expected = {
        **ODD,
        "plain.txt": b"logged again, at the new place",
        "100%.txt": b"changed at both places",
        "a+b=c&d;e.txt": b"changed late",
        "late.txt": b"late",
    }
    del expected["empty"]
    assert contents(new) == sums(expected)


def test_the_old_root_is_deleted_afterwards(world: World, tmp_path: Path) -> None:
    run = world.run("one")
    to = tmp_path / "new"
    assert world.migrate(str(to)).left_files == len(ODD)
    shutil.rmtree(world.root)
    assert (world.migrate(str(to)).left_files, world.migrate(str(to)).rows) == (0, 0)
    assert contents(to / "one" / run.run_id / "artifacts") == sums(ODD)


def test_a_run_that_begins_in_the_middle_stays_whole(world: World, tmp_path: Path) -> None:
    world.run("one")
    before_files = contents(Path(world.root))
    outcome = world.migrate(str(tmp_path / "new"), _Once(lambda: world.run("one", {"late": b"1"}, status="RUNNING")))
    assert (outcome.rows, [item.is_for_now for item in outcome.left_out if "'one'" in item.what]) == (0, [True])
    assert before_files.items() <= contents(Path(world.root)).items()


def test_a_full_disk_loses_nothing(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run("one")
    before = world.dump()
    with monkeypatch.context() as patched:
        usage = shutil.disk_usage(tmp_path)
        patched.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
        with pytest.raises(ArtifactError, match="10 free") as found:
            world.migrate(str(tmp_path / "new"))
        assert "free space" in found.value.hint
    with monkeypatch.context() as patched:
        patched.setattr(local_files, "_copy", _no_space)
        with pytest.raises(ArtifactError, match="No space left on device"):
            world.migrate(str(tmp_path / "new"))
    assert world.dump() == before
    assert world.migrate(str(tmp_path / "new")).status == "moved"


def _no_space(*_: object) -> int:
    raise OSError(28, "No space left on device")


def test_two_at_once_are_refused(world: World, tmp_path: Path) -> None:
    world.run("one")
    migration = world.migration(str(tmp_path / "new"))
    with taken(world.folder / ".holdfast" / "migrations"), pytest.raises(HoldfastError, match="under way") as found:
        migration.run()
    assert found.value.retryable


def test_an_interrupted_one_copies_nothing_twice(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run("one", {f"{number:02}": bytes([number]) for number in range(20)})
    monkeypatch.setattr(copying, "_BATCH_FILES", 5)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.migrate(str(tmp_path / "new"), _Once(stop))
    (ledger,) = world.ledgers
    with ledger.open("ab") as file:
        file.write(b'{"is": "copied", "place": "cut o')  # what a kill leaves in the middle of a line
    assert world.migration(str(tmp_path / "new")).survey().copied == 5
    outcome = world.migrate(str(tmp_path / "new"))
    assert (outcome.tally.files, outcome.status) == (15, "moved")
    assert all(json.loads(line) for line in ledger.read_text().splitlines())
