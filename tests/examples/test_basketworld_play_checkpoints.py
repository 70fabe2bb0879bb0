"""Policies of runs: found, fetched once, checked, and kept for whoever needs them next."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast import open_project
from holdfast.artifacts import ArtifactStore
from holdfast.errors import ArtifactError, BackendUnavailableError, InvalidInputError, NotFoundError
from holdfast.settings import Settings, load_settings
from holdfast_examples.basketworld.play import checkpoint_cache
from holdfast_examples.basketworld.play.checkpoint_cache import CheckpointCache
from holdfast_examples.basketworld.play.checkpoints import (
    KIND_TAG,
    checksum_of,
    checksum_tag,
    list_policies,
    list_runs,
    policy_path,
)

Run = tuple[Settings, str]


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are downloaded, as they are."""
    found: list[str] = []
    real = ArtifactStore.download

    def download(self: ArtifactStore, root_uri: str, path: str, into: Path | None = None) -> Path:
        found.append(path)
        return real(self, root_uri, path, into)

    monkeypatch.setattr(ArtifactStore, "download", download)
    return found


def test_policies_are_listed_in_their_order(basketworld_run: Run, basketworld_files: list[Path]) -> None:
    settings, run_id = basketworld_run
    project = open_project(settings)
    root = project.runs.get_run(run_id).artifact_uri
    project.artifacts.upload_file(basketworld_files[0], root, "models/more")
    project.artifacts.put_once(root, policy_path(10), b"a later one")
    project.artifacts.put_once(root, "models/notes.txt", b"no policy")
    found = list_policies(settings, run_id)
    assert [policy.alternation for policy in found] == [0, 1, 2, 10]
    assert found[1].path == "models/unified_policy_alt_1.zip"
    assert [policy.size_bytes for policy in found][:3] == [path.stat().st_size for path in basketworld_files]


def test_runs_of_training_are_listed_and_searched(basketworld_run: Run) -> None:
    settings, run_id = basketworld_run
    project = open_project(settings)
    here = project.experiment().experiment_id
    project.runs.create_run(here, "an analysis", {KIND_TAG: "elo"})
    later = project.runs.create_run(here, "Longer Training", {KIND_TAG: "training"}).run_id
    assert {run.run_id for run in list_runs(settings)} == {run_id, later}
    assert [run.run_id for run in list_runs(project, search="LONGER ")] == [later]
    assert [run.run_id for run in list_runs(project, search=run_id[:12])] == [run_id]
    assert len(list_runs(project, "basketworld", limit=1)) == 1
    assert list_runs(project, search="nothing so called") == []
    with pytest.raises(NotFoundError, match="'basketball'"):
        list_runs(project, "basketball")


def test_what_is_not_there_is_named(basketworld_run: Run, tmp_path: Path) -> None:
    settings, run_id = basketworld_run
    cache = CheckpointCache(tmp_path / "cache")
    for unknown in ("0" * 32, "../../etc/passwd", ""):
        with pytest.raises(NotFoundError, match="There is no run"):
            list_policies(settings, unknown)
        with pytest.raises(NotFoundError, match="There is no run"):
            cache.fetch(settings, unknown, 0)
    with pytest.raises(NotFoundError, match=f"Run {run_id} has no policy of alternation 7") as caught:
        cache.fetch(settings, run_id, 7)
    assert caught.value.hint == "it has those of 0, 1, 2"
    nowhere = load_settings(start=tmp_path, environ={}, tracking_uri=f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(NotFoundError, match="Nothing is tracked yet"):
        list_runs(nowhere)
    assert not (tmp_path / "none.db").exists()


def test_a_policy_is_fetched_once(
    basketworld_run: Run, basketworld_files: list[Path], tmp_path: Path, downloads: list[str]
) -> None:
    settings, run_id = basketworld_run
    first = CheckpointCache(tmp_path / "cache").fetch(settings, run_id, 1)
    assert first.read_bytes() == basketworld_files[1].read_bytes()
    assert first.stem == checksum_of(first)
    # Another process would have another object.
    other = CheckpointCache(tmp_path / "cache")
    assert other.fetch(settings, run_id, 1) == first
    assert downloads == ["models/unified_policy_alt_1.zip"]
    player = other.load(settings, run_id, 1)
    assert player.name == "policy 1"
    assert other.load(open_project(settings), run_id, 1) is player
    assert len(downloads) == 1


def test_a_damaged_or_lost_file_is_fetched_again(
    basketworld_run: Run, basketworld_files: list[Path], tmp_path: Path, downloads: list[str]
) -> None:
    settings, run_id = basketworld_run
    cache = CheckpointCache(tmp_path / "cache")
    path = cache.fetch(settings, run_id, 0)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert cache.fetch(settings, run_id, 0).read_bytes() == basketworld_files[0].read_bytes()
    path.unlink()
    assert cache.fetch(settings, run_id, 0).read_bytes() == basketworld_files[0].read_bytes()
    (index,) = (tmp_path / "cache" / "index").iterdir()
    for damaged in ("", "{", "[]", '{"sha256": "../../../etc/passwd"}'):
        index.write_text(damaged)
        assert cache.fetch(settings, run_id, 0) == path
    assert len(downloads) == 7
    assert [one.name for one in (tmp_path / "cache").iterdir() if one.name.startswith(".fetching")] == []


def test_a_checksum_of_the_run_is_held_to_and_spares_a_download(
    basketworld_run: Run, basketworld_files: list[Path], tmp_path: Path, downloads: list[str]
) -> None:
    settings, run_id = basketworld_run
    project, cache = open_project(settings), CheckpointCache(tmp_path / "cache")
    path = cache.fetch(project, run_id, 0)
    copy = project.runs.create_run(project.experiment().experiment_id, "a copy", {checksum_tag(0): path.stem})
    assert cache.fetch(project, copy.run_id, 0) == path
    assert len(downloads) == 1
    project.runs.log(run_id, tags={checksum_tag(1): checksum_of(basketworld_files[1])})
    assert cache.fetch(project, run_id, 1).read_bytes() == basketworld_files[1].read_bytes()
    project.runs.log(run_id, tags={checksum_tag(2): "0" * 64})
    with pytest.raises(ArtifactError, match="is not the file that its run speaks of") as caught:
        cache.fetch(project, run_id, 2)
    assert caught.value.retryable


def test_the_longest_unused_goes_first(basketworld_run: Run, tmp_path: Path, downloads: list[str]) -> None:
    settings, run_id = basketworld_run
    project, cache = open_project(settings), CheckpointCache(tmp_path / "cache", capacity=2, players=1)
    first, second = (cache.fetch(project, run_id, alternation) for alternation in (0, 1))
    cache.fetch(project, run_id, 0)
    third = cache.fetch(project, run_id, 2)
    assert (first.exists(), second.exists(), third.exists()) == (True, False, True)
    assert cache.load(project, run_id, 0) is not cache.load(project, run_id, 2)
    assert len(downloads) == 3
    with pytest.raises(InvalidInputError, match="keeps nothing"):
        CheckpointCache(tmp_path, capacity=0)


def test_what_was_fetched_is_there_without_a_server(
    basketworld_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, run_id = basketworld_run
    cache = CheckpointCache(tmp_path / "cache")
    path = cache.fetch(settings, run_id, 0)

    def away(*_: Any) -> None:
        raise BackendUnavailableError("The server is away.")

    monkeypatch.setattr(checkpoint_cache, "find_run", away)
    assert cache.fetch(settings, run_id, 0) == path
    with pytest.raises(BackendUnavailableError, match="away"):
        cache.fetch(settings, run_id, 1)


def test_threads_fetch_it_once(basketworld_run: Run, tmp_path: Path, downloads: list[str]) -> None:
    settings, run_id = basketworld_run
    project, cache = open_project(settings), CheckpointCache(tmp_path / "cache")
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(cache.fetch(project, run_id, 1))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == len(downloads) == 1


_PROCESS = """
import sys, time
from pathlib import Path
from holdfast.artifacts import ArtifactStore
from holdfast.backend.entities import Run
from holdfast.settings import load_settings
from holdfast_examples.basketworld.play import checkpoint_cache

folder, run = Path(sys.argv[1]), Run(sys.argv[2], "", "0", "FINISHED", 0, None, sys.argv[4])
# The run is known: loading MLflow to ask for it is all that would take time here.
checkpoint_cache.find_run = lambda project, run_id: run
real = ArtifactStore.download

def download(self, root_uri, path, into=None):
    with (folder / "downloads").open("a") as log:
        log.write(path + chr(10))
    time.sleep(0.3)
    return real(self, root_uri, path, into)

ArtifactStore.download = download
settings = load_settings(start=folder, environ={}, tracking_uri=sys.argv[3], artifact_root=str(folder / "artifacts"))
(folder / f"ready-{sys.argv[5]}").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
print(checkpoint_cache.CheckpointCache(folder / "cache").fetch(settings, run.run_id, 2))
"""


def test_two_processes_at_once_fetch_it_once(
    basketworld_run: Run, basketworld_files: list[Path], tmp_path: Path
) -> None:
    settings, run_id = basketworld_run
    root = open_project(settings).runs.get_run(run_id).artifact_uri
    command = [sys.executable, "-c", _PROCESS, str(tmp_path), run_id, settings.tracking_uri, root]
    processes = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for name in "ab"
    ]
    deadline_s = time.monotonic() + 60
    while len(list(tmp_path.glob("ready-*"))) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    (tmp_path / "go").touch()
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert Path(said[0][0].strip()).read_bytes() == basketworld_files[2].read_bytes()
    assert (tmp_path / "downloads").read_text().splitlines() == ["models/unified_policy_alt_2.zip"]
