"""What lies below a folder, and removing it: all of it, nothing beside it, and every refusal told."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.landing import PART_PREFIX
from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.removal.outcomes import Removal, Versioning
from holdfast.core.cleanup.records import Form, StoredObject
from holdfast.errors import ArtifactError, InvalidInputError
from holdfast.settings import Credentials

NAMES = ["plain", "two words", "größe", "a%2Fb", ".hidden", "new\nline", "<&>'\"", "deep/er/x", " "]


@pytest.fixture
def holdings() -> Holdings:
    return Holdings(S3Access(Credentials("project", "arguments", "K" * 20, SecretStr("s" * 40))))


def fill(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def listed(holdings: Holdings, place: Path) -> list[StoredObject]:
    return [stored for page in holdings.list_place(str(place)) for stored in page]


def test_everything_below_a_place_and_nothing_beside_it(holdings: Holdings, tmp_path: Path) -> None:
    place = tmp_path / "root" / "run"
    fill(place, [*NAMES, f"deep/{PART_PREFIX}1"])
    fill(tmp_path / "root", ["run2/x", "run.txt"])
    (place / "empty" / "too").mkdir(parents=True)
    (place / "link").symlink_to(tmp_path / "root" / "run2")
    (place / "nowhere").symlink_to("/nowhere")
    found = {stored.address: stored for stored in listed(holdings, place)}
    expected = {*NAMES, f"deep/{PART_PREFIX}1", "link", "nowhere"}
    assert set(found) == {f"{place}/{name}" for name in expected}
    assert found[f"{place}/größe"].size_bytes == len("größe".encode())
    assert found[f"{place}/größe"].modified_ms == os.stat(place / "größe").st_mtime_ns // 1_000_000
    assert found[f"{place}/deep/{PART_PREFIX}1"].form is Form.UPLOAD
    assert found[f"{place}/link"].size_bytes == 0
    told: list[Removal] = []
    done = holdings.remove(found.values(), str(tmp_path / "root"), told.append)
    assert (set(done.removed), done.failed, done.untried, done.error) == (set(found.values()), (), (), None)
    assert sum(len(batch.removed) for batch in told) == len(found)
    assert [path.name for path in place.iterdir()] == ["empty"]
    holdings.prune(str(place), str(tmp_path / "root"))
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["run.txt", "run2"]
    assert (tmp_path / "root" / "run2" / "x").exists()
    assert holdings.remove(found.values(), str(tmp_path / "root")).removed == done.removed  # once more


def test_a_file_is_a_place_and_so_is_nothing(holdings: Holdings, tmp_path: Path) -> None:
    fill(tmp_path, ["a", "ab"])
    (tmp_path / "link").symlink_to(tmp_path)
    assert [stored.address for stored in listed(holdings, tmp_path / "a")] == [f"{tmp_path}/a"]
    assert [stored.address for stored in listed(holdings, tmp_path / "link")] == [f"{tmp_path}/link"]
    assert listed(holdings, tmp_path / "none") == listed(holdings, tmp_path / "a" / "below") == []
    found = holdings.list_place(f"file://{tmp_path}/a")
    assert [stored.address for page in found for stored in page] == [f"{tmp_path}/a"]
    assert holdings.versioning_of(str(tmp_path)) is Versioning.OFF


@pytest.mark.parametrize("place", ["", " ", "/", "///", "s3://", "s3://bucket", "s3://bucket/", "relative", "gs://b/x",
                                   "/a/../b", "mlflow-artifacts:/", "mlflow-artifacts://host/",
                                   "http://host/api/2.0/mlflow-artifacts/artifacts", "runs:/x"])  # fmt: skip
def test_what_is_no_place(holdings: Holdings, place: str) -> None:
    with pytest.raises(InvalidInputError):
        holdings.list_place(place)


@pytest.mark.parametrize("address", ["", "/", "s3://bucket", "s3://bucket/", "S3://bucket/x", "/a/", "/a//b", "/a/../b",
                                     "mlflow-artifacts:/", "x"])  # fmt: skip
def test_what_is_no_object(holdings: Holdings, address: str) -> None:
    with pytest.raises(InvalidInputError):
        holdings.remove([StoredObject(address, 0, None)], root="/a" if address.startswith("/") else "")


def test_files_lie_below_the_root(holdings: Holdings, tmp_path: Path) -> None:
    fill(tmp_path, ["a/x", "ab/y"])
    outside = listed(holdings, tmp_path / "ab")
    for root in ("", str(tmp_path / "a"), str(tmp_path / "ab" / "y")):
        with pytest.raises(InvalidInputError):
            holdings.remove(outside, root)
    assert (tmp_path / "ab" / "y").exists()
    with pytest.raises(InvalidInputError):
        holdings.prune(str(tmp_path / "ab"), str(tmp_path / "a"))


def test_what_changed_since_stays(holdings: Holdings, tmp_path: Path) -> None:
    """A file that was written again, and one that a link leads to by now, are left and told of."""
    fill(tmp_path, ["root/again", "root/moved/x", "root/is folder", "root/fine", "outside/x"])
    found = listed(holdings, tmp_path / "root")
    os.utime(tmp_path / "root" / "again", (1, 1))
    (tmp_path / "root" / "moved").rename(tmp_path / "root" / "elsewhere")
    (tmp_path / "root" / "moved").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "is folder").unlink()
    (tmp_path / "root" / "is folder").mkdir()
    done = holdings.remove(found, str(tmp_path / "root"))
    assert [stored.address for stored in done.removed] == [f"{tmp_path}/root/fine"]
    failed = {Path(failure.address).name: failure.code for failure in done.failed}
    assert failed.pop("is folder") in ("Changed", "EISDIR", "EPERM")
    assert failed == {"again": "Changed", "x": "ENOTDIR"}
    assert (tmp_path / "outside" / "x").exists()
    holdings.prune(str(tmp_path / "root"), str(tmp_path))
    assert (tmp_path / "outside").is_dir()


def test_a_disk_that_is_not_mounted_has_lost_nothing(holdings: Holdings, tmp_path: Path) -> None:
    fill(tmp_path, ["root/run/x"])
    found = listed(holdings, tmp_path / "root")
    (tmp_path / "root").rename(tmp_path / "away")
    assert [failure.code for failure in holdings.remove(found, str(tmp_path / "root")).failed] == ["ENOENT"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_what_may_not_be_removed_or_read(holdings: Holdings, tmp_path: Path) -> None:
    fill(tmp_path, ["root/kept/x", "root/other/y"])
    found = listed(holdings, tmp_path / "root")
    (tmp_path / "root" / "kept").chmod(0o500)
    done = holdings.remove(found, str(tmp_path / "root"))
    assert [(failure.address, failure.code) for failure in done.failed] == [(f"{tmp_path}/root/kept/x", "EACCES")]
    assert (len(done.removed), done.error) == (1, None)
    (tmp_path / "root" / "kept").chmod(0)
    with pytest.raises(ArtifactError) as caught:
        listed(holdings, tmp_path / "root")
    assert caught.value.code == "EACCES"
    (tmp_path / "root" / "kept").chmod(0o700)


def test_stopping(holdings: Holdings, tmp_path: Path) -> None:
    """It ends between two batches; what a caller raises in its journal ends it too, and is raised."""
    fill(tmp_path, [f"root/{number}" for number in range(5000)])
    found, stop = listed(holdings, tmp_path / "root"), threading.Event()
    done = holdings.remove(found, str(tmp_path / "root"), lambda _: stop.set(), stop)
    assert 0 < len(done.untried) < 5000
    assert len(done.removed) + len(done.untried) == 5000
    assert {stored.address for stored in listed(holdings, tmp_path / "root")} == {one.address for one in done.untried}

    def full(_: Removal) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        holdings.remove(done.untried, str(tmp_path / "root"), full)


@pytest.mark.parametrize("name", ["run", "run/artifacts"])
def test_a_root_that_became_a_link(holdings: Holdings, tmp_path: Path, name: str) -> None:
    """Moved to another disk, with a link in its place: the same files, by the same names."""
    fill(tmp_path, ["run/artifacts/x", "run/artifacts/deep/y"])
    root = tmp_path / "run" / "artifacts"
    (root / "empty").mkdir()
    found = listed(holdings, root)
    (tmp_path / name).rename(tmp_path / "away")
    (tmp_path / name).symlink_to(tmp_path / "away")
    done = holdings.remove(found, str(root))
    assert (done.removed, {failure.code for failure in done.failed} <= {"ELOOP", "ENOTDIR"}) == ((), True)
    assert {Path(failure.address) for failure in done.failed} == {root / "x", root / "deep" / "y"}
    holdings.prune(str(root), str(root.parent))
    assert len(listed(holdings, (tmp_path / "away").resolve())) == 2
    assert [path.name for path in (tmp_path / "away").rglob("empty")] == ["empty"]
