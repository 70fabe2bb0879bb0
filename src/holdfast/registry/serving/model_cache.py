"""Files of model versions on this machine, kept by the checksum of what they are, up to a bound.

    entries/<64 hex>/         a model; the name is the SHA-256 of its list of files
        manifest.json         that list, which must give the name again
        files/…               the files
        lock                  shared by those who use it; who deletes it has it alone; its time is that of the last use
    passing/<token>/          the same, for what is not kept: gone when nobody uses it any more
    arriving/<key>/           being fetched, by the one who holds <key>.lock
    leaving/<token>/          being deleted
    known/<64 hex>.json       what a stage, alias or number meant when the registry was last asked

Any number of processes work here at once. What is fetched gets its name by a rename when all of it is there and its
checksum is the one that was asked for, so a killed process leaves nothing but a folder in `arriving/`, which the next
one to fetch anything deletes. Nothing is forced to the disk: each process compares the SHA-256 of all files before it
first uses an entry, and so finds what a loss of power has torn, and fetches that anew; what is in use is mended file by
file. Later uses in the same process compare each file's size, number and times, which every change alters.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from holdfast.artifacts.landing import disk_errors
from holdfast.core.manifest import Manifest
from holdfast.errors import ArtifactError, HoldfastError, InvalidInputError, RegistryError
from holdfast.journal.locks import FileLock
from holdfast.logs import get_logger
from holdfast.registry.checksums import measure_files, measure_folder
from holdfast.registry.serving.leases import Lease, delete, delete_unless_shared, last_used, share, touch

DEFAULT_LIMIT_BYTES = 10 << 30
Fetch = Callable[[Path], object]
"""Puts the files of a model into a folder that does not exist yet."""

_log = get_logger(__name__)
_MANIFEST, _FILES = "manifest.json", "files"
_SAY_AFTER_S = 5.0
# (device, file number, size, time of change, time of its own) by path: what a change of a file alters.
_Look = dict[str, tuple[int, int, int, int, int]]
# What this process has compared byte by byte, by folder.
_compared: dict[Path, _Look] = {}
_guard = threading.Lock()


class ModelCache:
    """A folder of models; threads and processes may share it.

    Args:
        root: The folder; made when something is first kept.
        limit_bytes: How much all kept models may have together. Those that were not used for longest go first, never
            one that is in use. What does not fit is not kept. What is being fetched comes on top.
    """

    def __init__(self, root: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.root = root
        self.limit_bytes = limit_bytes
        self._entries, self._passing = root / "entries", root / "passing"
        self._arriving, self._leaving = root / "arriving", root / "leaving"

    def __repr__(self) -> str:
        return f"ModelCache({str(self.root)!r}, {self.limit_bytes})"

    def holds(self, checksum: str) -> bool:
        """Whether a model is kept here; its files are not looked at."""
        return (self._entries / digest_of(checksum) / _MANIFEST).is_file()

    def lease(self, checksum: str, fetch: Fetch) -> Lease:
        """Return a model's files, fetched where they are not kept here whole.

        Processes that ask for the same at once wait for the one that fetches.

        Args:
            checksum: What they must be; empty where nobody knows: they are then always fetched, and not kept.
            fetch: Gets them.

        Raises:
            RegistryError: What came is not what was asked for.
            ArtifactError: It could not be fetched, or there is no room for it on the disk.
        """
        found = self._take(digest_of(checksum)) if checksum else None
        if found is not None:
            return found
        with self._arrival(digest_of(checksum) if checksum else secrets.token_hex(32)) as part:
            # Somebody else may have fetched it while this one waited.
            found = self._take(digest_of(checksum), is_told=True) if checksum else None
            return found if found is not None else self._fetched(part, checksum, fetch)

    # -- what is there ------------------------------------------------------------------

    def _take(self, digest: str, is_told: bool = False) -> Lease | None:
        entry = self._entries / digest
        descriptor = share(entry)
        if descriptor is None:
            return None
        try:
            problem = _problem_of(entry, digest)
        except BaseException:
            os.close(descriptor)
            raise
        if problem:
            os.close(descriptor)
            if not is_told:
                _log.warning("a model in the cache is damaged and is fetched again", entry=str(entry), problem=problem)
            delete_unless_shared(entry, self._way_out())
            return None
        touch(entry)
        return Lease(entry / _FILES, f"sha256:{digest}", lambda: os.close(descriptor))

    # -- what comes ---------------------------------------------------------------------

    @contextmanager
    def _arrival(self, key: str) -> Iterator[Path]:
        """Give a new folder to fetch into, for this key to nobody else at the same time; it is gone afterwards."""
        lock = FileLock(self._arriving / f"{key}.lock")
        with disk_errors(f"Cannot use the model cache {self.root}"):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._arriving.mkdir(exist_ok=True)
            _wait_for(lock, "another process fetches this model; waiting for it")
        part = self._arriving / key
        try:
            self._sweep(key)
            delete(part)
            with disk_errors(f"Cannot use the model cache {self.root}"):
                part.mkdir()
            yield part
        finally:
            delete(part)
            with suppress(OSError):
                lock.path.unlink()
            lock.release()

    def _fetched(self, part: Path, checksum: str, fetch: Fetch) -> Lease:
        fetch(part / _FILES)
        with disk_errors(f"Cannot use the model cache {self.root}"):
            manifest = checked(part / _FILES, checksum)
            (part / _MANIFEST).write_text(manifest.to_json(), "utf-8")
            (part / "lock").touch(mode=0o600)
            for name in manifest.files:  # a model that is loaded should not write into it by mistake
                (part / _FILES / name).chmod(0o444)
            return self._landed(part, manifest, is_wanted=bool(checksum))

    def _landed(self, part: Path, manifest: Manifest, is_wanted: bool) -> Lease:
        descriptor = share(part)
        if descriptor is None:
            raise ArtifactError(f"Somebody deleted {part} while it was fetched.", "try again", retryable=True)
        room = FileLock(self.root / "room.lock")
        _wait_for(room, "another process makes room in the model cache; waiting for it")
        with room:
            entry = self._entries / digest_of(manifest.checksum)
            if is_wanted and entry.exists():
                _mend(entry, part, manifest)
            is_kept = is_wanted and not entry.exists() and self._make_room(manifest.size_bytes)
            target = entry if is_kept else self._passing / secrets.token_hex(8)
            target.parent.mkdir(exist_ok=True)
            touch(part)
            os.rename(part, target)
        if is_kept:
            _remember_look(target, manifest)
        return Lease(target / _FILES, manifest.checksum, lambda: self._give_back(target, descriptor))

    def _give_back(self, folder: Path, descriptor: int) -> None:
        os.close(descriptor)
        if folder.parent == self._passing:
            delete_unless_shared(folder, self._way_out())

    # -- what goes ----------------------------------------------------------------------

    def _make_room(self, size_bytes: int) -> bool:
        """Delete what was not used for longest until so much more fits; False where it does not."""
        if size_bytes > self.limit_bytes:
            return False
        sizes = {entry: _size_of(entry) for entry in _folders(self._entries)}
        used = sum(sizes.values())
        for entry in sorted(sizes, key=last_used):
            if used + size_bytes <= self.limit_bytes:
                break
            if delete_unless_shared(entry, self._way_out()):
                used -= sizes[entry]
        return used + size_bytes <= self.limit_bytes

    def _sweep(self, mine: str) -> None:
        """Delete what killed processes have left."""
        for folder in _folders(self._leaving):
            delete(folder)
        for folder in _folders(self._passing):
            delete_unless_shared(folder, self._way_out())
        for folder in _folders(self._arriving):
            lock = FileLock(folder.with_suffix(".lock"))
            with suppress(OSError):
                if folder.name != mine and lock.acquire():
                    delete(folder)
                    lock.path.unlink()
            lock.release()

    def _way_out(self) -> Path:
        return self._leaving / secrets.token_hex(8)


def digest_of(checksum: str) -> str:
    """Return the 64 hex digits of a checksum.

    Raises:
        InvalidInputError: It is none; what is no checksum never becomes a path.
    """
    kind, _, digest = checksum.partition(":")
    if kind != "sha256" or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise InvalidInputError(f"{checksum!r:.90} is no checksum of a model.", "write sha256: and 64 hex digits")
    return digest


def checked(folder: Path, checksum: str) -> Manifest:
    """Return what was fetched into a folder.

    Args:
        folder: Where.
        checksum: What it must be; empty where nobody knows.

    Raises:
        RegistryError: It is something else.
        ArtifactError: There is no file.
    """
    manifest = measure_folder(folder)
    if not manifest.files:
        raise ArtifactError("There are no files of this model.", "see whether its artifacts were deleted")
    if checksum and manifest.checksum != checksum:
        raise RegistryError(
            f"The files of this model are not those that were registered: they are {manifest.checksum}, and "
            f"{checksum} was registered.",
            "see who changed them (holdfast models audit); restore them, or register them as a new version",
        )
    return manifest


def _wait_for(lock: FileLock, saying: str) -> None:
    if not lock.acquire(_SAY_AFTER_S):
        _log.warning(saying, lock=str(lock.path))
        lock.acquire(float("inf"))


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _size_of(entry: Path) -> int:
    return sum(path.lstat().st_size for path in entry.rglob("*") if path.is_file())


def _problem_of(entry: Path, digest: str) -> str:
    """Say what is wrong with an entry; empty where it is whole."""
    try:
        manifest = Manifest.from_json((entry / _MANIFEST).read_text("utf-8"))
        if manifest.checksum != f"sha256:{digest}":
            return f"{_MANIFEST} is not the list it was"
        _delete_what_was_added(entry / _FILES, manifest)
        look = _look_at(entry / _FILES, manifest)
        with _guard:
            if _compared.get(entry) == look:
                return ""
        return _compare(entry, manifest, look)
    except (OSError, ValueError, HoldfastError) as error:
        return str(error).partition("\n")[0]


def _mend(entry: Path, whole: Path, manifest: Manifest) -> None:
    """Put whole files in the place of those of an entry that is damaged and in use, so that the next one finds it so.

    Each is replaced in one step: whoever has it open reads on in the old one. Where the disk has no hard links, or
    something else is in the way, the entry stays damaged until nobody uses it.
    """
    step = whole / "step"
    try:
        for name in (_MANIFEST, *(f"{_FILES}/{name}" for name in manifest.files)):
            (entry / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(whole / name, step)
            os.replace(step, entry / name)
    except OSError as error:
        _log.warning("a model in the cache stays damaged while it is in use", entry=str(entry), problem=str(error))


def _compare(entry: Path, manifest: Manifest, look: _Look) -> str:
    # What somebody else who loads this model adds or removes meanwhile (`__pycache__`) is no damage.
    different = manifest.differences(measure_files(entry / _FILES, manifest.files))
    if not different:
        with _guard:
            _compared[entry] = look
    return "; ".join(different)


def _remember_look(entry: Path, manifest: Manifest) -> None:
    with _guard:
        _compared[entry] = _look_at(entry / _FILES, manifest)


def _look_at(folder: Path, manifest: Manifest) -> _Look:
    look = {}
    for name in manifest.files:
        found = (folder / name).lstat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{name} is no file any more")
        look[name] = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return look


def _delete_what_was_added(folder: Path, manifest: Manifest) -> None:
    """Delete what loading has left (`__pycache__` of a model's own code), or somebody has put there."""
    for where, folders, names in os.walk(folder):
        linked = [name for name in folders if os.path.islink(os.path.join(where, name))]
        for path in (Path(where, name) for name in (*names, *linked)):
            if path.relative_to(folder).as_posix() not in manifest.files:
                with suppress(FileNotFoundError):
                    path.unlink()
