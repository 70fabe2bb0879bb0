"""What MLflow's `ArtifactRepository` promises, over what `get_artifact_repository` returns while Holdfast is installed.

Each test does the same with MLflow's own local repository, whose answers are the reference. MLflow's own repositories
of S3 and of its server run beside ours, which shows that the promises are MLflow's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

from holdfast.testing import Account, S3Access
from holdfast.testing.fixtures import RunningMlflow

pytestmark = pytest.mark.timeout(120)
OURS = ["folder", "s3", "mlflow-artifacts"]
STOCK = ["MLflow's s3", "MLflow's mlflow-artifacts"]


@dataclass(frozen=True)
class Pair:
    """The repository that is tested, and the reference, with a folder for each of them to fetch to.

    Attributes:
        tested: By `get_artifact_repository`.
        reference: MLflow's own, of a local folder.
        folder: A folder for both.
        uri: Where the tested one keeps its files.
        is_ours: Whether the tested one is Holdfast's.
    """

    tested: Any
    reference: Any
    folder: Path
    uri: str
    is_ours: bool

    def same(self, seen: Callable[[Any, Path], Any]) -> Any:
        """Do something with both; return what both have shown."""
        found = []
        for name, repository in (("tested", self.tested), ("reference", self.reference)):
            into = self.folder / name
            into.mkdir(exist_ok=True)
            found.append(seen(repository, into))
        assert found[0] == found[1]
        return found[0]


def account_for(server: S3Access, unique: str) -> tuple[Account, str]:
    bucket = f"repo-{unique[-8:]}"
    return server.add_account(unique, [bucket]), bucket


def open_s3(request: pytest.FixtureRequest, unique: str, is_stock: bool) -> tuple[Any, str]:
    server: S3Access = request.getfixturevalue("s3_server")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    account, bucket = account_for(server, unique)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", server.endpoint_url)
    keys = {"access_key_id": account.access_key_id, "secret_access_key": account.secret_access_key}
    uri = f"s3://{bucket}/some root"
    if is_stock:
        return S3ArtifactRepository(uri, **keys), uri
    for name, value in keys.items():
        monkeypatch.setenv(f"MLFLOW_AWS_{name.upper()}", value)
    # Somebody else's, which must count for nothing.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASTRANGER00000001")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stranger")
    return get_artifact_repository(uri), uri


def open_proxied(request: pytest.FixtureRequest, unique: str, is_stock: bool) -> tuple[Any, str]:
    server: RunningMlflow = request.getfixturevalue("mlflow_server")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    uri = f"mlflow-artifacts:/{unique}"
    if is_stock:
        return HttpArtifactRepository(f"{server.url}/api/2.0/mlflow-artifacts/artifacts/{unique}"), uri
    return get_artifact_repository(uri), uri


@pytest.fixture(params=OURS + STOCK)
def pair(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> Iterator[Pair]:
    """Each kind of repository beside the reference."""
    is_stock = request.param in STOCK
    # What is missing is a 500 of MLflow 3.0's server, which its client tries again for minutes.
    request.getfixturevalue("monkeypatch").setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    mlflow.set_tracking_uri(None)
    if request.param == "folder":
        uri = str(tmp_path / "a root")
        tested = get_artifact_repository(uri)
    elif request.param.endswith("s3"):
        tested, uri = open_s3(request, unique, is_stock)
    else:
        tested, uri = open_proxied(request, unique, is_stock)
    (tmp_path / "fetched").mkdir()
    is_ours = type(tested).__module__.startswith("holdfast.")
    assert is_ours == (request.param in ("s3", "mlflow-artifacts"))
    yield Pair(tested, LocalArtifactRepository(str(tmp_path / "reference")), tmp_path / "fetched", uri, is_ours)
    mlflow.set_tracking_uri(None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of files."""
    folder = tmp_path / "source"
    contents = {
        "top.txt": b"top",
        "empty.bin": b"",
        "two words.txt": b"words",
        "größe.txt": "größe".encode(),
        "a+b&c=d.txt": b"signs",
        "sub/one.txt": b"one",
        "sub/deep/two.bin": os.urandom(70_000),
        "sub.txt": b"no folder",
        "subway/three.txt": b"three",
    }
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def listed(repository: Any, path: str | None = None) -> list[tuple[str, bool, int]]:
    """Return path, kind and size of what is listed, in its order; MLflow's server leaves a size of 0 out."""
    return [(item.path, item.is_dir, item.file_size or 0) for item in repository.list_artifacts(path)]


def everything(repository: Any, into: Path) -> dict[str, bytes]:
    """Return all files, fetched to a folder."""
    return tree(Path(repository.download_artifacts("", str(into))))


# -- storing --------------------------------------------------------------------------


def test_files_are_stored_by_their_own_names(pair: Pair, source: Path) -> None:
    def seen(repository: Any, into: Path) -> Any:
        repository.log_artifact(str(source / "top.txt"))
        repository.log_artifact(str(source / "sub" / "one.txt"), "a/b")
        repository.log_artifact(str(source / "two words.txt"), artifact_path="a b")
        repository.log_artifact(str(source / "größe.txt"), "größe")
        repository.log_artifact(source / "a+b&c=d.txt")
        return everything(repository, into), listed(repository)

    contents, _ = pair.same(seen)
    assert sorted(contents) == ["a b/two words.txt", "a+b&c=d.txt", "a/b/one.txt", "größe/größe.txt", "top.txt"]


def test_folders_are_stored_with_their_paths(pair: Pair, source: Path) -> None:
    def seen(repository: Any, into: Path) -> Any:
        repository.log_artifacts(str(source))
        repository.log_artifacts(str(source / "sub"), "below/this")
        return everything(repository, into)

    contents = pair.same(seen)
    expected = tree(source) | {f"below/this/{name}": content for name, content in tree(source / "sub").items()}
    assert contents == expected


def test_what_is_stored_again_replaces_what_was_there(pair: Pair, source: Path) -> None:
    def seen(repository: Any, into: Path) -> Any:
        for content in (b"first", b"a second and longer one", b"third"):
            (source / "top.txt").write_bytes(content)
            repository.log_artifact(str(source / "top.txt"))
        (source / "sub" / "one.txt").write_bytes(b"1")
        repository.log_artifacts(str(source / "sub"), "sub")
        (source / "sub" / "one.txt").write_bytes(b"2")
        (source / "sub" / "deep" / "two.bin").unlink(missing_ok=True)
        repository.log_artifacts(str(source / "sub"), "sub")
        (source / "sub" / "deep" / "two.bin").write_bytes(b"back")
        return tree(Path(repository.download_artifacts("", str(into)))).get("top.txt"), listed(repository, "sub")

    content, _ = pair.same(seen)
    assert content == b"third"


def test_what_is_not_there_cannot_be_stored(pair: Pair, source: Path) -> None:
    for repository in (pair.tested, pair.reference):
        with pytest.raises((MlflowException, OSError)):
            repository.log_artifact(str(source / "missing.txt"))
    if pair.is_ours:
        with pytest.raises((MlflowException, OSError), match=r"missing\.txt"):
            pair.tested.log_artifact(str(source / "missing.txt"))
    assert listed(pair.tested) == []


# -- listing --------------------------------------------------------------------------


def test_listing(pair: Pair, source: Path) -> None:
    def seen(repository: Any, into: Path) -> Any:
        repository.log_artifacts(str(source))
        paths = (
            None,
            "",
            "sub",
            "sub/deep",
            "subway",
            "sub/",
            "sub/deep/two.bin",
            "top.txt",
            "nothing",
            "nothing/here",
        )
        return {path: listed(repository, path) for path in paths}

    found = pair.same(seen)
    assert ("sub", True, 0) in found[None]
    assert ("sub.txt", False, 9) in found[""]
    assert found["sub"] == [("sub/deep", True, 0), ("sub/one.txt", False, 3)]
    assert found["top.txt"] == found["sub/deep/two.bin"] == found["nothing"] == []


def test_an_empty_repository_lists_nothing(pair: Pair) -> None:
    assert pair.same(lambda repository, into: listed(repository)) == []


# -- fetching -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["top.txt", "empty.bin", "two words.txt", "größe.txt", "sub/deep/two.bin"])
def test_a_file_is_fetched_to_its_path_below_a_folder(pair: Pair, source: Path, path: str) -> None:
    def seen(repository: Any, into: Path) -> Any:
        repository.log_artifacts(str(source))
        fetched = Path(repository.download_artifacts(path, str(into)))
        return fetched.relative_to(into).as_posix(), tree(into)

    assert pair.same(seen) == (path, {path: (source / path).read_bytes()})


@pytest.mark.parametrize("path", ["sub", "sub/deep", "sub/", ""])
def test_a_folder_is_fetched_to_its_path_below_a_folder(pair: Pair, source: Path, path: str) -> None:
    def seen(repository: Any, into: Path) -> Any:
        repository.log_artifacts(str(source))
        fetched = Path(repository.download_artifacts(path, str(into)))
        return fetched.relative_to(into).as_posix(), tree(into)

    _, contents = pair.same(seen)
    start = f"{path.rstrip('/')}/" if path else ""
    assert contents == {name: content for name, content in tree(source).items() if name.startswith(start)}


def test_without_a_folder_it_is_fetched_to_a_temporary_one(pair: Pair, source: Path) -> None:
    def seen(repository: Any, into: Path) -> Any:
        repository.log_artifacts(str(source))
        file, folder = repository.download_artifacts("sub/one.txt"), repository.download_artifacts("sub")
        assert isinstance(file, str)
        assert Path(file).is_absolute()
        return Path(file).read_bytes(), tree(Path(folder))

    assert pair.same(seen) == (b"one", tree(source / "sub"))


def test_what_was_there_is_replaced_and_the_rest_is_left(pair: Pair, source: Path) -> None:
    def seen(repository: Any, into: Path) -> Any:
        repository.log_artifacts(str(source))
        (into / "sub").mkdir()
        (into / "sub" / "one.txt").write_bytes(b"an older one, and longer")
        (into / "sub" / "mine.txt").write_bytes(b"mine")
        repository.download_artifacts("sub", str(into))
        return tree(into)

    assert pair.same(seen)["sub/mine.txt"] == b"mine"


@pytest.mark.parametrize("path", ["missing.txt", "sub/missing.txt", "missing/deep.txt"])
def test_what_is_missing_cannot_be_fetched(pair: Pair, source: Path, path: str) -> None:
    for name, repository in (("tested", pair.tested), ("reference", pair.reference)):
        repository.log_artifacts(str(source))
        with pytest.raises(Exception) as caught:  # noqa: PT011 - MLflow's kinds differ by repository and version
            repository.download_artifacts(path, str(pair.folder))
        if name == "tested" and pair.is_ours and pair.uri.startswith("s3:"):
            assert isinstance(caught.value, MlflowException)
            assert path in str(caught.value)
            assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert tree(pair.folder) == {}


def test_a_destination_must_be_there(pair: Pair, source: Path) -> None:
    for repository in (pair.tested, pair.reference):
        repository.log_artifacts(str(source))
        with pytest.raises(MlflowException, match="does not exist"):
            repository.download_artifacts("top.txt", str(pair.folder / "nowhere"))


@pytest.mark.parametrize("path", ["../secret", "sub/../../secret", "/etc/hostname"])
def test_nothing_is_fetched_from_outside(pair: Pair, source: Path, path: str) -> None:
    (pair.folder.parent / "secret").write_bytes(b"outside")
    for repository in (pair.tested, pair.reference):
        repository.log_artifacts(str(source))
        with pytest.raises(Exception):  # noqa: B017, PT011 - MLflow's kinds differ by repository and version
            repository.download_artifacts(path, str(pair.folder))
    assert tree(pair.folder) == {}


# -- deleting -------------------------------------------------------------------------


def test_deleting_a_folder_leaves_its_neighbours(pair: Pair, source: Path) -> None:
    if pair.uri.startswith("s3:") and not pair.is_ours:
        pytest.skip("that of MLflow 3.0 deletes them too")

    def seen(repository: Any, into: Path) -> Any:
        repository.log_artifacts(str(source))
        repository.delete_artifacts("sub")
        return everything(repository, into)

    contents = pair.same(seen)
    assert "sub.txt" in contents
    assert "subway/three.txt" in contents
    assert not [name for name in contents if name.startswith("sub/")]


def test_deleting_a_file(pair: Pair, source: Path) -> None:
    def seen(repository: Any, into: Path) -> Any:
        repository.log_artifacts(str(source))
        repository.delete_artifacts("sub/one.txt")
        return everything(repository, into)

    assert set(tree(source)) - set(pair.same(seen)) == {"sub/one.txt"}


def test_nothing_is_deleted_outside(pair: Pair, source: Path) -> None:
    """MLflow's own repository of its server deletes the files of other runs here."""
    if not pair.is_ours:
        pytest.skip("ours is stricter")
    root, _, name = pair.uri.rpartition("/")
    beside = get_artifact_repository(f"{root}/{name} beside")
    for repository in (pair.tested, beside):
        repository.log_artifacts(str(source))
    for path in (f"../{name} beside", f"sub/../../{name} beside", f"/{name} beside"):
        with pytest.raises(MlflowException):
            pair.tested.delete_artifacts(path)
    assert everything(beside, pair.folder) == tree(source)


def test_deleting_all(pair: Pair, source: Path) -> None:
    def seen(repository: Any, into: Path) -> Any:
        repository.log_artifacts(str(source))
        repository.delete_artifacts()
        return listed(repository)

    assert pair.same(seen) == []


# -- from above -----------------------------------------------------------------------


def test_the_address_of_a_part_is_an_address(pair: Pair, source: Path) -> None:
    if not pair.is_ours:
        pytest.skip("it asks for the repository by its address")
    pair.tested.log_artifacts(str(source))
    part = get_artifact_repository(f"{pair.uri}/sub")
    assert listed(part) == [("deep", True, 0), ("one.txt", False, 3)]
    assert everything(part, pair.folder) == tree(source / "sub")


def test_mlflows_own_helpers_work_on_it(pair: Pair, source: Path) -> None:
    if not pair.is_ours:
        pytest.skip("they ask for the repository by its address")
    pair.tested.log_artifacts(str(source))
    assert mlflow.artifacts.load_text(f"{pair.uri}/sub/one.txt") == "one"
    names = {item.path.rpartition("/")[2] for item in mlflow.artifacts.list_artifacts(f"{pair.uri}/sub")}
    assert names == {"one.txt", "deep"}
    fetched = mlflow.artifacts.download_artifacts(artifact_uri=f"{pair.uri}/sub", dst_path=str(pair.folder))
    assert tree(Path(fetched)) == tree(source / "sub")
