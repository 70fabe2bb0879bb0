"""Artifacts in folders: copied whole or not at all, not twice, and never outside."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.artifacts import local
from holdfast.artifacts.landing import PART_PREFIX, landing, target_in
from holdfast.artifacts.local import LocalFiles
from holdfast.artifacts.transfer import FileStore, Item, Sent, StoredFile
from holdfast.errors import ArtifactError


class _Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.files = self.size_bytes = self.advanced = self.done = 0
        self._lock = threading.Lock()

    def begin(self, files: int, size_bytes: int) -> None:
        self.files, self.size_bytes = self.files + files, self.size_bytes + size_bytes

    def advance(self, size_bytes: int) -> None:
        with self._lock:
            self.advanced += size_bytes

    def file_done(self) -> None:
        with self._lock:
            self.done += 1

    def end(self) -> None:
        raise AssertionError("whoever made the meter ends it")


@pytest.fixture
def store() -> FileStore:
    return LocalFiles()


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _made(folder: Path, **files: bytes) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.mark.parametrize("size_bytes", [0, 1, (1 << 20) + 1, 3 << 20])
def test_there_and_back(store: FileStore, tmp_path: Path, size_bytes: int) -> None:
    source = tmp_path / "a b.bin"
    source.write_bytes(os.urandom(size_bytes))
    told = _Told()
    root = tmp_path / "root"
    assert store.upload([Item(source, f"{root}/x/a b.bin")], told) == Sent(1, size_bytes, 0)
    assert (told.files, told.size_bytes, told.advanced, told.done) == (1, size_bytes, size_bytes, 1)
    got = store.download(str(root), "x/a b.bin", tmp_path / "got", told)
    assert got == tmp_path / "got" / "x" / "a b.bin"
    assert got.read_bytes() == source.read_bytes()
    assert told.advanced == 2 * size_bytes
    umask = os.umask(0)
    os.umask(umask)
    assert got.stat().st_mode & 0o777 == 0o666 & ~umask


def test_file_uris_are_percent_encoded(store: FileStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    store.upload([Item(source, f"file://{tmp_path}/my%20runs/100%25.txt")])
    assert (tmp_path / "my runs" / "100%.txt").read_bytes() == b"x"
    assert store.list_files(f"file://{tmp_path}/my%20runs") == [StoredFile("100%.txt", False, 1)]
    store.upload([Item(source, f"{tmp_path}/my runs/100%25.txt")])
    assert [found.path for found in store.list_files(f"{tmp_path}/my runs")] == ["100%.txt", "100%25.txt"]


def test_unchanged_files_are_not_written_again(store: FileStore, tmp_path: Path) -> None:
    source, root = _made(tmp_path / "source", a=b"1" * 3_000_000, b=b"2"), tmp_path / "root"
    items = [Item(source / name, f"{root}/{name}") for name in "ab"]
    store.upload(items)
    before = (root / "a").stat()
    told = _Told()
    assert store.upload(items, told) == Sent(2, 0, 2)
    assert (told.advanced, told.done) == (3_000_001, 2)
    assert (root / "a").stat().st_ino == before.st_ino
    # The same size and the same time, with one byte changed at the end.
    (source / "a").write_bytes(b"1" * 2_999_999 + b"x")
    os.utime(source / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.upload(items) == Sent(2, 3_000_000, 1)
    assert (root / "a").read_bytes().endswith(b"x")


def test_a_file_stored_onto_itself_stays(store: FileStore, tmp_path: Path) -> None:
    source = tmp_path / "same"
    source.write_bytes(b"content")
    assert store.upload([Item(source, str(source))]).unchanged == 1
    assert source.read_bytes() == b"content"


def test_a_link_is_replaced_and_not_followed(store: FileStore, tmp_path: Path) -> None:
    _made(tmp_path, outside=b"old", source=b"new")
    root = tmp_path / "root"
    root.mkdir()
    (root / "name").symlink_to(tmp_path / "outside")
    store.upload([Item(tmp_path / "source", f"{root}/name")])
    assert (tmp_path / "outside").read_bytes() == b"old"
    assert (root / "name").read_bytes() == b"new"
    assert not (root / "name").is_symlink()


def test_folders(store: FileStore, tmp_path: Path) -> None:
    root = _made(tmp_path / "root", b=b"1", a__x=b"22", a__y__z=b"333", **{f"a__{PART_PREFIX}0": b"half"})
    (root / "nowhere").symlink_to(tmp_path / "missing")
    assert store.list_files(str(root)) == [StoredFile("a", True, None), StoredFile("b", False, 1)]
    assert store.list_files(str(root), "a") == [StoredFile("a/x", False, 2), StoredFile("a/y", True, None)]
    assert store.list_files(str(root), "b") == []
    assert store.list_files(str(root), "c") == []
    told = _Told()
    assert store.download(str(root), "a", tmp_path / "got", told) == tmp_path / "got" / "a"
    assert _tree(tmp_path / "got") == {"a/x": b"22", "a/y/z": b"333"}
    assert (told.files, told.size_bytes, told.advanced, told.done) == (2, 5, 5, 2)
    store.delete(str(root), "a")
    store.delete(str(root), "a")
    assert [found.path for found in store.list_files(str(root))] == ["b"]
    store.delete(str(root))
    assert not root.exists()


def test_what_is_missing_is_named(store: FileStore, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no x/y in"):
        store.download(str(tmp_path), "x/y", tmp_path / "got")
    with pytest.raises(ArtifactError, match="No such file"):
        store.upload([Item(tmp_path / "missing", f"{tmp_path}/root/a")])


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a/../b", "..", "a\0b"])
def test_nothing_climbs_out(store: FileStore, tmp_path: Path, path: str) -> None:
    root = _made(tmp_path / "root", a=b"1")
    for call in (
        lambda: store.list_files(str(root), path),
        lambda: store.download(str(root), path, tmp_path / "got"),
        lambda: store.delete(str(root), path),
    ):
        with pytest.raises(ArtifactError, match="leads out"):
            call()
    assert (root / "a").exists()


@pytest.mark.parametrize("uri", ["{}/../x", "{}/a/../../x", "file://{}/%2e%2e/x", "{}/..", "{}/"])
def test_no_file_is_stored_above(store: FileStore, tmp_path: Path, uri: str) -> None:
    _made(tmp_path, source=b"1")
    with pytest.raises(ArtifactError, match="no path of a file"):
        store.upload([Item(tmp_path / "source", uri.format(tmp_path / "root"))])
    assert not (tmp_path / "x").exists()


@given(st.text(st.sampled_from("./a\0\\"), max_size=12))
def test_targets_stay_below_their_folder(path: str) -> None:
    try:
        target = target_in(Path("/base/into"), path)
    except ArtifactError:
        return
    assert Path(os.path.normpath(target)).is_relative_to("/base/into")


def test_a_failure_leaves_the_old_file_and_nothing_else(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _made(tmp_path, source=b"2" * 5000, root__name=b"1")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local, "_copy", full)
    with pytest.raises(ArtifactError, match="No space left") as caught:
        store.upload([Item(tmp_path / "source", f"{tmp_path}/root/name")])
    assert caught.value.retryable
    assert "free space" in caught.value.hint
    assert _tree(tmp_path / "root") == {"name": b"1"}


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS])
def test_copied_by_hand_where_the_kernel_cannot(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    content = os.urandom(2_500_000)
    _made(tmp_path, source=content)

    def cannot(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", cannot)
    monkeypatch.setattr(local.fcntl, "ioctl", cannot)  # type: ignore[attr-defined]
    told = _Told()
    store.upload([Item(tmp_path / "source", f"{tmp_path}/root/name")], told)
    assert (tmp_path / "root" / "name").read_bytes() == content
    assert told.advanced == len(content)


def test_a_landing_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    with landing(target) as landed:
        landed.write(b"half", 0)
        assert not target.exists()
    assert target.read_bytes() == b"half"
    with pytest.raises(KeyboardInterrupt), landing(target):
        raise KeyboardInterrupt
    with landing(target) as landed:
        landed.is_wanted = False
    assert target.read_bytes() == b"half"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [target.name]


def test_what_may_never_end_is_refused(store: FileStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "root").mkdir()
    for source, said in (
        (tmp_path / "pipe", "pipe is a pipe"),
        (Path("/dev/zero"), "zero is a device"),
        (tmp_path / "link", "link is a link that leads nowhere"),
        (tmp_path / "root", "root is a folder"),
    ):
        with pytest.raises(ArtifactError, match=said) as caught:
            store.upload([Item(source, f"{tmp_path}/root/x")])
        assert caught.value.hint
    os.mkfifo(tmp_path / "root" / "pipe")
    for path in ("", "pipe"):
        with pytest.raises(ArtifactError, match="pipe is a pipe"):
            store.download(str(tmp_path / "root"), path, tmp_path / "out")


def test_a_file_that_is_deleted_meanwhile_is_said_to_be(store: FileStore, tmp_path: Path) -> None:
    file = _made(tmp_path, gone=b"1") / "gone"

    class Deleting(_Told):
        def begin(self, files: int, size_bytes: int) -> None:
            file.unlink()

    with pytest.raises(ArtifactError, match="gone was deleted during the call") as caught:
        store.upload([Item(file, f"{tmp_path}/root/x")], Deleting())
    assert "until the call returns" in caught.value.hint
