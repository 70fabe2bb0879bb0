"""Policies of runs on this machine, by their checksums: each is fetched once, and checked whenever it is used.

    FOLDER/policies/SHA256.zip    a policy; when it was used last is its time of change
    FOLDER/index/KEY.json         which checksum a run's file has
    FOLDER/locks/KEY              held by the process that fetches it

Files come to a temporary name in the same folder and are renamed; whoever sees one sees it whole. A name that is a
checksum cannot mean two contents, so runs and projects may share a folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from holdfast.backend.entities import Run
from holdfast.errors import ArtifactError, BackendUnavailableError, InvalidInputError
from holdfast.project import Project

from .checkpoints import (
    Source,
    checksum_of,
    checksum_tag,
    find_run,
    policies_of,
    policy_path,
    project_of,
    unknown_policy,
)
from .policies import PolicyPlayer
from .policy_files import load_player

_SHA256 = re.compile(r"[0-9a-f]{64}")


def user_folder() -> Path:
    """Return where policies are kept for all commands and projects of a user."""
    home = Path.home()
    return (home if home.is_dir() else Path(tempfile.gettempdir())) / ".cache" / "holdfast" / "basketworld"


class CheckpointCache:
    """Fetches policies and keeps them. Threads and processes may share a folder, threads the object as well.

    Args:
        folder: Where they are kept; made when it is first needed.
        capacity: How many files are kept; those go first that were not used for the longest time.
        players: How many players are kept in memory.

    Raises:
        InvalidInputError: A number is below 1.
    """

    def __init__(self, folder: Path, capacity: int = 200, players: int = 32) -> None:
        if min(capacity, players) < 1:
            raise InvalidInputError(
                f"A cache of {capacity} files and {players} players keeps nothing.", "both are 1 or more"
            )
        self.folder = folder
        self.capacity = capacity
        self._most_players = players
        self._players: OrderedDict[str, PolicyPlayer] = OrderedDict()
        self._lock = threading.Lock()

    def fetch(self, source: Source, run_id: str, alternation: int) -> Path:
        """Return the file of a policy on this machine, fetched where it is not there or is damaged.

        With the tracking store out of reach, what was fetched before is still found.

        Args:
            source: Settings, or the project that is open for them.
            run_id: The run.
            alternation: Which of its policies.

        Returns:
            The file, whole and checked. It stays until `capacity` others have been used.

        Raises:
            NotFoundError: There is no such run, or it has no such policy; says which.
            BackendError: The tracking store cannot be reached, or refuses.
            ArtifactError: It cannot be fetched, or is not what the run says it is.
        """
        project = project_of(source)
        index = self._index_of(project, run_id, alternation)
        try:
            run = find_run(project, run_id)
        except BackendUnavailableError:
            there = self._whole(_read_index(index))
            if there is None:
                raise
            return there
        said = run.tags.get(checksum_tag(alternation))
        there = self._whole(said or _read_index(index))
        return there or self._fetch_once(project, run, alternation, said)

    def load(self, source: Source, run_id: str, alternation: int) -> PolicyPlayer:
        """Return a player by a policy of a run; one that is in memory already is not read again.

        Raises:
            InvalidInputError: The file is no policy of BasketWorld.
            NotFoundError: As of `fetch`.
            BackendError: As of `fetch`.
            ArtifactError: As of `fetch`.
        """
        path = self.fetch(source, run_id, alternation)
        with self._lock:
            known = self._players.get(path.stem)
            if known is not None:
                self._players.move_to_end(path.stem)
                return known
        try:
            player = load_player(path)
        except InvalidInputError:
            if path.exists():
                raise
            player = load_player(self.fetch(source, run_id, alternation))  # others have just pushed it out
        with self._lock:
            self._players[path.stem] = player
            while len(self._players) > self._most_players:
                self._players.popitem(last=False)
        return player

    def _fetch_once(self, project: Project, run: Run, alternation: int, said: str | None) -> Path:
        """Fetch a policy, unless another process or thread has done so while this one waited for it."""
        index = self._index_of(project, run.run_id, alternation)
        with self._locked(index.stem):
            there = self._whole(said or _read_index(index))
            if there is None:
                there = self._fetched(project, run, alternation, said)
                _write(index, json.dumps({"run": run.run_id, "alternation": alternation, "sha256": there.stem}))
        self._forget_oldest(there)
        return there

    def _fetched(self, project: Project, run: Run, alternation: int, said: str | None) -> Path:
        known = policies_of(project, run)
        if alternation not in [policy.alternation for policy in known]:
            raise unknown_policy(run.run_id, alternation, known)
        into = Path(tempfile.mkdtemp(prefix=".fetching-", dir=self.folder))
        try:
            fetched = project.artifacts.download(run.artifact_uri, policy_path(alternation), into)
            checksum = checksum_of(fetched)
            if said is not None and checksum != said:
                raise ArtifactError(
                    f"{policy_path(alternation)} of run {run.run_id} is not the file that its run speaks of.",
                    "wait until the run's files are stored (holdfast journal status), then try again",
                    retryable=True,
                )
            target = self._file_of(checksum)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(fetched, target)
            os.utime(target)
            return target
        finally:
            shutil.rmtree(into, ignore_errors=True)

    def _whole(self, checksum: str | None) -> Path | None:
        """Return the file of this checksum if it is there and has it, and note that it was used."""
        if checksum is None or not _SHA256.fullmatch(checksum):
            return None
        path = self._file_of(checksum)
        try:
            if checksum_of(path) != checksum:
                return None
            os.utime(path)
        except OSError:
            return None
        return path

    def _forget_oldest(self, kept: Path) -> None:
        with self._locked("forgetting"):
            used = {path: _used_at(path) for path in kept.parent.glob("*.zip") if path != kept}
            for path in sorted(used, key=lambda path: used[path], reverse=True)[self.capacity - 1 :]:
                path.unlink(missing_ok=True)

    def _file_of(self, checksum: str) -> Path:
        return self.folder / "policies" / f"{checksum}.zip"

    def _index_of(self, project: Project, run_id: str, alternation: int) -> Path:
        what = f"{project.settings.tracking_uri}\n{run_id}\n{policy_path(alternation)}"
        return self.folder / "index" / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.json"

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        path = self.folder / "locks" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the kernel lets go of it, however this process ends
            yield


def _used_at(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return 0


def _read_index(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}")
    part.write_text(text)
    os.replace(part, path)
