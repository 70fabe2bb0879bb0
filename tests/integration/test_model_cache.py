"""The cache of models: many processes, kills, damage, bounds, hostile names; on real files and a real S3 server."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from journaling import QUIET, until

from holdfast import Project, load_settings, open_project
from holdfast.errors import ArtifactError, InvalidInputError, RegistryError
from holdfast.registry.checksums import measure_folder
from holdfast.registry.serving.leases import Lease
from holdfast.registry.serving.model_cache import ModelCache
from holdfast.testing import FaultProxy, S3Access

CHILD = """
import sys
from pathlib import Path
from holdfast import open_project
from holdfast.registry.serving.model_cache import ModelCache

root, checksum, place = sys.argv[1:]
store = open_project().artifacts
with ModelCache(Path(root)).lease(checksum, lambda into: store.download(place, "", into)) as lease:
    print((lease.folder / "MLmodel").read_text(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "models")


class Shelf:
    """Models on this machine, and how often each was fetched."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.fetched = folder, 0

    def put(self, name: str, size_bytes: int = 100) -> str:
        """Make a model of this size, and return its checksum."""
        model = self._folder / name
        (model / "data").mkdir(parents=True)
        (model / "MLmodel").write_text(name)
        (model / "data" / "weights").write_bytes(os.urandom(size_bytes - len(name)))
        return measure_folder(model).checksum

    def fetch(self, name: str) -> Callable[[Path], object]:
        def fetch(into: Path) -> object:
            self.fetched += 1
            return shutil.copytree(self._folder / name, into)

        return fetch


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def entries(cache: ModelCache) -> set[str]:
    return {f"sha256:{path.name}" for path in (cache.root / "entries").glob("*")}


def leftovers(cache: ModelCache) -> list[str]:
    return [str(p) for where in ("arriving", "leaving", "passing") for p in (cache.root / where).glob("*")]


def test_fetched_once_and_kept(cache: ModelCache, shelf: Shelf) -> None:
    checksum = shelf.put("one")
    for _ in range(3):
        with ModelCache(cache.root).lease(checksum, shelf.fetch("one")) as lease:
            assert (lease.folder / "MLmodel").read_text() == "one"
            assert lease.checksum == checksum
    assert shelf.fetched == 1
    assert (cache.root.stat().st_mode & 0o777, entries(cache), leftovers(cache)) == (0o700, {checksum}, [])


@pytest.mark.parametrize("how", ["flipped", "same time", "shorter", "missing", "list", "link"])
def test_a_damaged_entry_is_found_and_replaced(cache: ModelCache, shelf: Shelf, how: str) -> None:
    checksum = shelf.put("one")
    cache.lease(checksum, shelf.fetch("one")).close()
    entry = next((cache.root / "entries").iterdir())
    weights = entry / "files" / "data" / "weights"
    before, content = weights.stat(), bytearray(weights.read_bytes())
    weights.chmod(0o644)
    if how in ("flipped", "same time"):
        content[7] ^= 1
        weights.write_bytes(content)
        if how == "same time":
            os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "shorter":
        weights.write_bytes(content[:-1])
    elif how == "list":
        text = (entry / "manifest.json").read_text()
        assert '"MLmodel",3' in text
        (entry / "manifest.json").write_text(text.replace('"MLmodel",3', '"MLmodel",4'))
    else:
        weights.unlink()
        if how == "link":
            weights.symlink_to(entry / "files" / "MLmodel")
    with cache.lease(checksum, shelf.fetch("one")) as lease:
        assert measure_folder(lease.folder).checksum == checksum
    assert (shelf.fetched, entries(cache), leftovers(cache)) == (2, {checksum}, [])


@pytest.mark.parametrize("how", ["flipped", "folder gone", "list"])
def test_a_damaged_entry_in_use_is_fetched_once(
    cache: ModelCache, shelf: Shelf, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    checksum = shelf.put("one")
    with cache.lease(checksum, shelf.fetch("one")) as used, (used.folder / "data" / "weights").open("rb") as before:
        weights = used.folder / "data" / "weights"
        if how == "flipped":
            weights.chmod(0o644)
            weights.write_bytes(b"damaged")
        elif how == "list":
            (used.folder.parent / "manifest.json").write_text("{}")
        else:
            shutil.rmtree(used.folder / "data")
        for _ in range(4):
            with cache.lease(checksum, shelf.fetch("one")) as lease:
                assert measure_folder(lease.folder).checksum == checksum
        assert caplog.text.count("is damaged and is fetched again") == 1
        assert measure_folder(used.folder).checksum == checksum
        assert before.read()
    assert (shelf.fetched, entries(cache), leftovers(cache)) == (2, {checksum}, [])


def test_what_others_add_while_it_is_compared_is_no_damage(
    cache: ModelCache, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    checksum = shelf.put("one")
    cache.lease(checksum, shelf.fetch("one")).close()
    files = next((cache.root / "entries").iterdir()) / "files"
    (files / "data" / "__pycache__").mkdir()
    write = "import sys\nwhile True: open(sys.argv[1], 'w').close()"
    with subprocess.Popen([sys.executable, "-c", write, files / "data" / "__pycache__" / "code.pyc"]) as other:
        until((files / "data" / "__pycache__" / "code.pyc").exists)
        try:
            for _ in range(100):
                os.utime(files / "MLmodel")  # it is compared byte by byte each time
                cache.lease(checksum, shelf.fetch("one")).close()
        finally:
            other.kill()
    assert ("damaged" in caplog.text, shelf.fetched) == (False, 1)


def test_what_was_put_beside_the_files_is_taken_away(cache: ModelCache, shelf: Shelf, tmp_path: Path) -> None:
    checksum = shelf.put("one")
    with cache.lease(checksum, shelf.fetch("one")) as lease:
        (lease.folder / "data" / "__pycache__").mkdir()
        (lease.folder / "data" / "__pycache__" / "code.pyc").write_text("planted")
        (lease.folder / "elsewhere").symlink_to(tmp_path)
    with cache.lease(checksum, shelf.fetch("one")) as lease:
        assert sorted(p.name for p in lease.folder.rglob("*") if not p.is_dir()) == ["MLmodel", "weights"]
    assert shelf.fetched == 1


def test_the_bound_holds_and_nothing_in_use_goes(cache: ModelCache, shelf: Shelf) -> None:
    sums = {name: shelf.put(name, 1000) for name in ("a", "b", "c", "d")}
    small = ModelCache(cache.root, limit_bytes=3600)  # three models, each with its list and lock

    def use(name: str) -> Lease:
        return small.lease(sums[name], shelf.fetch(name))

    in_use = use("a")
    for name in ("b", "c", "b", "d"):  # b was used after c
        use(name).close()
    assert entries(cache) == {sums["a"], sums["b"], sums["d"]}
    others = [use("b"), use("d")]
    passing = use("c")  # everything is in use: it is served, and not kept
    assert measure_folder(passing.folder).checksum == sums["c"]
    assert (entries(cache), len(leftovers(cache))) == ({sums["a"], sums["b"], sums["d"]}, 1)
    for lease in (in_use, passing, *others):
        lease.close()
    use("c").close()
    assert sums["c"] in entries(cache)
    tiny = ModelCache(cache.root, limit_bytes=500)
    with tiny.lease(sums["a"], shelf.fetch("a")) as lease:
        assert (lease.folder / "MLmodel").read_text() == "a"
    assert leftovers(cache) == []


def test_a_lease_lasts_as_long_as_what_was_loaded(cache: ModelCache, shelf: Shelf) -> None:
    class Model:
        pass

    checksum, other = shelf.put("one", 1000), shelf.put("two", 1000)
    small = ModelCache(cache.root, limit_bytes=1500)
    model = Model()
    lease = small.lease(checksum, shelf.fetch("one"))
    lease.keep_with(model)
    small.lease(other, shelf.fetch("two")).close()
    assert (lease.folder / "MLmodel").read_text() == "one"
    del model, lease
    gc.collect()
    small.lease(other, shelf.fetch("two")).close()
    assert entries(cache) == {other}


def test_hostile_checksums_and_empty_models(cache: ModelCache, shelf: Shelf, tmp_path: Path) -> None:
    shelf.put("one")
    for bad in ("../../outside", "sha256:" + "../" * 21 + "a", "sha256:" + "A" * 64, "md5:" + "0" * 64):
        with pytest.raises(InvalidInputError, match="no checksum of a model"):
            cache.lease(bad, shelf.fetch("one"))
    with pytest.raises(RegistryError, match="not those that were registered"):
        cache.lease("sha256:" + "0" * 64, shelf.fetch("one"))
    with pytest.raises(ArtifactError, match="no files"):
        cache.lease("", lambda into: into.mkdir())
    assert leftovers(cache) == []
    assert {path.name for path in tmp_path.iterdir()} <= {"models", "shelf", "home", "work"}


# -- with S3 ------------------------------------------------------------------------------


@pytest.fixture
def bucket(unique: str) -> str:
    return unique.replace("_", "-")[-40:].strip("-")


@pytest.fixture
def s3(s3_server: S3Access) -> Iterator[FaultProxy]:
    """A network that fails on command, before the S3 server."""
    with FaultProxy(s3_server.endpoint_url) as found:
        yield found


@pytest.fixture
def environ(s3_server: S3Access, s3: FaultProxy, unique: str, bucket: str) -> dict[str, str]:
    account = s3_server.add_account(unique, [bucket])
    return {
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
        "MLFLOW_S3_ENDPOINT_URL": s3.url,
        "MLFLOW_ARTIFACT_ROOT": f"s3://{bucket}/models",
    }


@pytest.fixture
def project(environ: dict[str, str], tmp_path: Path) -> Project:
    return open_project(load_settings(environ=environ))


@pytest.fixture
def stored(project: Project, bucket: str, tmp_path: Path) -> tuple[str, str]:
    """A model of 3 MB in the bucket: its address, and its checksum."""
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "MLmodel").write_text("real")
    (folder / "weights").write_bytes(os.urandom(3 << 20))
    place = f"s3://{bucket}/models/one"
    project.artifacts.upload_folder(folder, place)
    return place, measure_folder(folder).checksum


@pytest.fixture
def child(cache: ModelCache, environ: dict[str, str]) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    """Starts processes that take a model from the cache and hold it until their input ends."""
    started: list[subprocess.Popen[str]] = []

    def start(place: str, checksum: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-c", CHILD, str(cache.root), checksum, place]
        process = subprocess.Popen(
            command, env={**os.environ, **QUIET, **environ}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_processes_that_load_at_once_fetch_once(
    child: Callable[[str, str], subprocess.Popen[str]], stored: tuple[str, str], s3: FaultProxy, cache: ModelCache
) -> None:
    s3.forget()
    children = [child(*stored) for _ in range(3)]
    for process in children:
        assert process.stdout is not None
        assert process.stdout.readline() == "real\n"
    got = [line for line in s3.passed if line.startswith("GET ") and line.split()[1].endswith("/weights")]
    assert (len(got), entries(cache), leftovers(cache)) == (1, {stored[1]}, [])
    tiny = ModelCache(cache.root, limit_bytes=1)
    tiny._make_room(1)
    assert entries(cache) == {stored[1]}  # the children use it
    for process in children:
        process.communicate()
    tiny._make_room(1)
    assert entries(cache) == set()


def test_killed_in_the_middle_of_a_download(
    child: Callable[[str, str], subprocess.Popen[str]],
    stored: tuple[str, str],
    s3: FaultProxy,
    cache: ModelCache,
    project: Project,
) -> None:
    place, checksum = stored
    s3.slow(200_000)
    process = child(place, checksum)
    part = cache.root / "arriving" / checksum.removeprefix("sha256:") / "files"
    until(lambda: part.is_dir() and any(path.stat().st_size for path in part.iterdir()))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert part.is_dir()
    assert entries(cache) == set()
    s3.pass_on()
    cache.lease("", lambda into: project.artifacts.download(place, "", into)).close()
    assert leftovers(cache) == []  # also what was left of another model
    with cache.lease(checksum, lambda into: project.artifacts.download(place, "", into)) as lease:
        assert measure_folder(lease.folder).checksum == checksum
    assert (entries(cache), leftovers(cache)) == ({checksum}, [])


def test_names_in_the_store_that_lead_out_of_the_cache(
    s3_server: S3Access, project: Project, bucket: str, cache: ModelCache, tmp_path: Path
) -> None:
    s3_server.client().put_object(Bucket=bucket, Key="evil/../../../../outside", Body=b"x")
    s3_server.client().put_object(Bucket=bucket, Key="evil/MLmodel", Body=b"x")
    with pytest.raises(ArtifactError, match="leads out of the folder"):
        cache.lease("", lambda into: project.artifacts.download(f"s3://{bucket}/evil", "", into))
    assert not list(tmp_path.rglob("outside"))
    assert leftovers(cache) == []


def test_a_store_that_is_down_is_not_asked_for_what_is_kept(
    stored: tuple[str, str], s3: FaultProxy, cache: ModelCache, project: Project
) -> None:
    place, checksum = stored

    def fetch(into: Path) -> Path:
        return project.artifacts.download(place, "", into)

    cache.lease(checksum, fetch).close()
    s3.refuse()
    with cache.lease(checksum, fetch) as lease:
        assert (lease.folder / "MLmodel").read_text() == "real"
