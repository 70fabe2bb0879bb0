"""Files through a real MLflow server: what goes in comes out, whatever the network does in between."""

from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path

import pytest
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

from holdfast.artifacts.landing import PART_PREFIX
from holdfast.artifacts.proxied import ProxiedFiles, resolve
from holdfast.artifacts.transfer import Item, Sent, StoredFile
from holdfast.core.login import Login
from holdfast.errors import ArtifactError, InvalidInputError
from holdfast.testing import FaultProxy, LocalMlflowServer
from holdfast.testing.fixtures import RunningMlflow

_API = "/api/2.0/mlflow-artifacts/artifacts"


class _Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.files = self.size_bytes = self.advanced = self.done = 0
        self._lock = threading.Lock()

    def begin(self, files: int, size_bytes: int) -> None:
        with self._lock:
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
def root() -> str:
    """A folder that no other test uses."""
    return f"mlflow-artifacts:/proxied-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def files(mlflow_server: RunningMlflow) -> ProxiedFiles:
    return ProxiedFiles(mlflow_server.url, deadline_s=20)


@pytest.fixture
def behind(proxy: FaultProxy) -> ProxiedFiles:
    return ProxiedFiles(proxy.url, deadline_s=20)


def _sources(folder: Path, sizes: dict[str, int]) -> list[Path]:
    found = []
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        found.append(path)
    return found


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


_SIZES = {"a.bin": 3_000_001, "empty": 0, "sub/ü b+c&d=e.txt": 10, "sub/deep/x": 70_000, "sub/deep/y": 1}


def test_a_folder_there_and_back(files: ProxiedFiles, root: str, tmp_path: Path, mlflow_server: RunningMlflow) -> None:
    source = tmp_path / "source"
    items = [Item(path, f"{root}/m/{path.relative_to(source)}") for path in _sources(source, _SIZES)]
    told = _Told()
    assert files.upload(items, told) == Sent(5, sum(_SIZES.values()), 0)
    assert (told.files, told.size_bytes, told.advanced, told.done) == (5, told.advanced, sum(_SIZES.values()), 5)
    stored = Path(mlflow_server.artifacts) / root.partition("/")[2] / "m"
    assert _tree(stored) == _tree(source)

    assert files.list_files(root) == [StoredFile("m", True, None)]
    assert files.list_files(root, "m/sub") == [
        StoredFile("m/sub/deep", True, None),
        StoredFile("m/sub/ü b+c&d=e.txt", False, 10),
    ]
    assert files.list_files(root, "m/a.bin") == []
    assert files.list_files(root, "nothing") == []
    theirs = HttpArtifactRepository(f"{mlflow_server.url}{_API}/{root.partition('/')[2]}").list_artifacts("m")
    assert [(one.path, one.is_dir, one.file_size) for one in theirs] == files.list_files(root, "m")

    back = _Told()
    assert files.download(root, "m", tmp_path / "got", back) == tmp_path / "got" / "m"
    assert _tree(tmp_path / "got" / "m") == _tree(source)
    assert (back.files, back.advanced, back.done) == (5, sum(_SIZES.values()), 5)
    assert files.download(root, "m/sub/deep/x", tmp_path / "one").read_bytes() == (source / "sub/deep/x").read_bytes()
    assert files.download(root, "", tmp_path / "all") == tmp_path / "all"
    assert _tree(tmp_path / "all" / "m") == _tree(source)


def test_deleting(files: ProxiedFiles, root: str, tmp_path: Path) -> None:
    source = _sources(tmp_path, {"x": 3})[0]
    files.upload([Item(source, f"{root}/{name}") for name in ("a/x", "a/b/x", "ab", "c")])
    files.delete(root, "a")
    files.delete(root, "a")
    assert [found.path for found in files.list_files(root)] == ["ab", "c"]
    files.delete(root, "c")
    assert [found.path for found in files.list_files(root)] == ["ab"]


def test_what_is_missing_is_said(files: ProxiedFiles, root: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"Cannot fetch .*/no/such from http://127") as caught:
        files.download(root, "no/such", tmp_path / "got")
    assert not caught.value.retryable
    assert _tree(tmp_path) == {}


@pytest.mark.parametrize("fault", ["reset", "drop_answers", 503, 502, 429])
def test_faults_that_pass(behind: ProxiedFiles, proxy: FaultProxy, root: str, tmp_path: Path, fault: str | int) -> None:
    source = _sources(tmp_path, {"x": 300_000})[0]
    proxy.fail_next(2, fault)
    told = _Told()
    assert behind.upload([Item(source, f"{root}/x")], told).files == 1
    assert told.advanced == 300_000
    proxy.fail_next(2, fault)
    assert behind.download(root, "x", tmp_path / "got", told).read_bytes() == source.read_bytes()
    assert told.advanced == 600_000


def test_a_body_cut_short_is_noticed(behind: ProxiedFiles, proxy: FaultProxy, root: str, tmp_path: Path) -> None:
    """A server that dies while it sends: the half file never gets the name of a whole one."""
    source = _sources(tmp_path, {"x": 200_000})[0]
    behind.upload([Item(source, f"{root}/x")])
    target = tmp_path / "got" / "x"
    proxy.drip(0.0005)  # a byte at a time: there is time to look, and to cut
    failures: list[BaseException] = []

    def fetch() -> None:
        try:
            behind.download(root, "x", tmp_path / "got")
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    parts = f"{PART_PREFIX}*"
    while not list(target.parent.glob(parts)) and thread.is_alive():
        threading.Event().wait(0.01)
    assert not target.exists()
    proxy.cut()
    proxy.pass_on()
    thread.join(60)
    assert failures == []
    assert target.read_bytes() == source.read_bytes()
    assert not list(target.parent.glob(parts))


def test_nobody_answers(proxy: FaultProxy, root: str, tmp_path: Path) -> None:
    files = ProxiedFiles(proxy.url, deadline_s=1)
    proxy.refuse()
    with pytest.raises(ArtifactError, match=r"Cannot store .*connection refused \(tried \d+ times\)") as caught:
        files.upload([Item(path, f"{root}/{path.name}") for path in _sources(tmp_path, {"x": 3, "y": 3})])
    assert caught.value.retryable
    assert "MLFLOW_TRACKING_URI" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "MLFLOW_TRACKING_USERNAME"), (403, "MLFLOW_TRACKING_TOKEN"), (413, "client_max_body")]
)
def test_refusals_name_the_remedy(proxy: FaultProxy, root: str, tmp_path: Path, status: int, hint: str) -> None:
    files = ProxiedFiles(proxy.url, deadline_s=20)
    proxy.answer(status, {"Content-Type": "text/html"}, "<html><h1>No</h1></html>")
    with pytest.raises(ArtifactError, match=f"HTTP {status} No") as caught:
        files.upload([Item(_sources(tmp_path, {"x": 3})[0], f"{root}/x")])
    assert hint in caught.value.hint
    assert not caught.value.retryable


def test_the_login_goes_with_requests_and_shows_nowhere(
    proxy: FaultProxy, root: str, tmp_path: Path, canary: str
) -> None:
    login = Login(username="me", password=canary)
    assert canary not in repr(ProxiedFiles(proxy.url.replace("//", f"//me:{canary}@"), login))
    for files in (ProxiedFiles(proxy.url, login), ProxiedFiles(proxy.url.replace("//", f"//me:{canary}@"))):
        proxy.answer(403, {}, f"no rights for {canary}")
        with pytest.raises(ArtifactError) as caught:
            files.list_files(root)
        assert canary not in str(caught.value)
        assert "no rights for ****" in caught.value.message


def test_a_server_that_keeps_no_files(sqlite_uri: str, tmp_path: Path) -> None:
    from holdfast.server import ServerOptions

    with LocalMlflowServer(ServerOptions(sqlite_uri, port=0, default_artifact_root=str(tmp_path / "root"))) as server:
        files = ProxiedFiles(server.url, deadline_s=20)
        with pytest.raises(ArtifactError, match="503") as caught:
            files.upload([Item(_sources(tmp_path, {"x": 3})[0], "mlflow-artifacts:/x")])
    assert "--no-serve-artifacts" in caught.value.hint
    assert not caught.value.retryable


@pytest.mark.parametrize("name", ["a%20b", "a#b", "a?", "a\nb", "../x", "a/../../x"])
def test_names_that_the_server_would_change_are_refused(
    files: ProxiedFiles, root: str, tmp_path: Path, name: str
) -> None:
    source = _sources(tmp_path, {"x": 3})[0]
    with pytest.raises(ArtifactError, match=r"under its name|leads out"):
        files.upload([Item(source, f"{root}/{name}")])
    with pytest.raises(ArtifactError, match=r"under its name|leads out"):
        files.download(root, name, tmp_path / "got")


@pytest.mark.parametrize("name", ["../../evil", "..", "a/../../evil", "/etc/evil", ""])
def test_a_listing_that_climbs_is_refused(proxy: FaultProxy, root: str, tmp_path: Path, name: str) -> None:
    import json

    files = ProxiedFiles(proxy.url, deadline_s=20)
    proxy.answer(200, {}, json.dumps({"files": [{"path": name, "is_dir": False, "file_size": 1}]}))
    with pytest.raises(ArtifactError, match="not MLflow's"):
        files.download(root, "", tmp_path / "got")


@pytest.mark.parametrize(
    ("uri", "tracking_uri", "expected"),
    [
        ("mlflow-artifacts:/1/run/artifacts", "http://h:5000", ("http://h:5000", "1/run/artifacts")),
        ("mlflow-artifacts:/", "http://h:5000/", ("http://h:5000", "")),
        ("mlflow-artifacts:/x", "https://h/prefix/", ("https://h/prefix", "x")),
        ("mlflow-artifacts://other:80/x/y", "https://u:p@h/prefix", ("https://other:80/prefix", "x/y")),
        ("mlflow-artifacts://other//x//y/", "http://h", ("http://other", "x/y")),
    ],
)
def test_where_a_uri_leads(uri: str, tracking_uri: str, expected: tuple[str, str]) -> None:
    assert resolve(uri, tracking_uri) == expected
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    theirs = MlflowArtifactsRepository.resolve_uri(uri, tracking_uri)
    assert theirs == f"{expected[0]}{_API}/{expected[1]}".rstrip("/")


def test_uris_that_lead_nowhere() -> None:
    with pytest.raises(InvalidInputError, match="no host"):
        resolve("mlflow-artifacts://5000/x", "http://h")
    with pytest.raises(InvalidInputError, match="through a server"):
        ProxiedFiles("sqlite:///mlflow.db")


def test_another_host_in_the_uri(mlflow_server: RunningMlflow, root: str, tmp_path: Path) -> None:
    files = ProxiedFiles("http://nobody.invalid:1", deadline_s=20)
    there = mlflow_server.url.replace("http:", "mlflow-artifacts:") + "/" + root.partition("/")[2]
    files.upload([Item(_sources(tmp_path, {"x": 30})[0], f"{there}/x")])
    assert files.list_files(there) == [StoredFile("x", False, 30)]


def test_the_workspace_goes_with_requests(
    root: str, monkeypatch: pytest.MonkeyPatch, mlflow_server: RunningMlflow
) -> None:
    """MLflow's server without workspaces refuses the header of one, so it shows that it was sent."""
    pytest.importorskip("mlflow.utils.workspace_utils", reason="this MLflow has no workspaces")
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    with pytest.raises(ArtifactError, match=r"(?i)workspace"):
        ProxiedFiles(mlflow_server.url, deadline_s=20).list_files(root)


def test_a_pipe_is_refused(files: ProxiedFiles, root: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="pipe is a pipe"):
        files.upload([Item(tmp_path / "pipe", f"{root}/pipe")])
    assert files.list_files(root) == []
