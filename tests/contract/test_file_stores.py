"""One suite over every file store: what goes in comes out under its name, and nothing else is touched."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.local import LocalFiles
from holdfast.artifacts.proxied import ProxiedFiles
from holdfast.artifacts.s3 import S3Files
from holdfast.artifacts.transfer import FileStore, Item, Sent, StoredFile
from holdfast.errors import ArtifactError, HoldfastError
from holdfast.settings import Credentials
from holdfast.testing import Account, FaultProxy

pytestmark = pytest.mark.timeout(120)
MIB = 1 << 20
KINDS = ["folder", "moto", "swift", "rclone", "mlflow"]
NAMES = ["plain.txt", "two words.txt", "größe.txt", "日本語.bin", "a+b.txt", "a&b=c;d,e.txt", "~tilde's (1)!.txt"]
# MLflow's server decodes a path as often as it can, so a name like these becomes another one there.
CODED_NAMES = ["100%.txt", "a%20b.txt", "#1.txt", "what?.txt"]


@dataclass(frozen=True)
class Place:
    """A file store, and a root in it that no other test uses.

    Attributes:
        kind: Which server, or none.
        store: The store.
        root: Its root, as a URI or path.
        proxy: What its requests go through, where there are any.
        client: A boto3 client that sees what it does, where it is an S3.
        bucket: Its bucket there.
    """

    kind: str
    store: FileStore
    root: str
    proxy: FaultProxy | None = None
    client: Any = field(default=None, repr=False)
    bucket: str = ""

    def put(self, folder: Path, contents: Mapping[str, bytes]) -> Sent:
        """Store files of these names and contents."""
        return self.store.upload(self.items(folder, contents))

    def items(self, folder: Path, contents: Mapping[str, bytes]) -> list[Item]:
        """Return what is to be stored, written to a folder."""
        found = []
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            found.append(Item(path, f"{self.root}/{name}"))
        return found

    def all(self, into: Path) -> dict[str, bytes]:
        """Fetch everything."""
        return tree(self.store.download(self.root, "", into))


class Told:
    """A meter that adds up."""

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
        """Of no interest here."""


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def access_to(endpoint_url: str, account: Account) -> S3Access:
    keys = Credentials("project", "arguments", account.access_key_id, SecretStr(account.secret_access_key))
    return S3Access(keys, endpoint_url=endpoint_url, deadline_s=60)


def open_folder(request: pytest.FixtureRequest, name: str, stack: ExitStack) -> Place:
    path: Path = request.getfixturevalue("tmp_path") / name
    path.mkdir()
    return Place("folder", LocalFiles(), str(path))


def open_mlflow(request: pytest.FixtureRequest, name: str, stack: ExitStack) -> Place:
    proxy = stack.enter_context(FaultProxy(request.getfixturevalue("mlflow_server").url))
    return Place("mlflow", ProxiedFiles(proxy.url, deadline_s=60), f"mlflow-artifacts:/{name}", proxy)


def open_s3(request: pytest.FixtureRequest, name: str, stack: ExitStack) -> Place:
    kind = request.param
    if kind == "swift":
        pytest.importorskip("swift")
    server = request.getfixturevalue("s3_server" if kind == "moto" else f"{kind}_server")
    if kind == "rclone":
        account, client = server.account, server.client()
        client.create_bucket(Bucket=name)
    else:
        account = server.add_account(name, [name])
        client = server.client(account)
    proxy = stack.enter_context(FaultProxy(server.endpoint_url))
    return Place(kind, S3Files(access_to(proxy.url, account)), f"s3://{name}/a root", proxy, client, name)


OPEN: dict[str, Callable[[pytest.FixtureRequest, str, ExitStack], Place]] = {
    "folder": open_folder,
    "mlflow": open_mlflow,
}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, unique: str) -> Iterator[Place]:
    """Each kind of store."""
    with ExitStack() as stack:
        yield OPEN.get(request.param, open_s3)(request, f"files-{unique[-8:]}", stack)


def empty_size(place: Place) -> int | None:
    """MLflow's server leaves a size of 0 out."""
    return None if place.kind == "mlflow" else 0


def is_oldest(place: Place) -> bool:
    """MLflow 3.0's server cannot send a name beyond Latin-1, and answers 500 for a file that is not there."""
    return place.kind == "mlflow" and version("mlflow-skinny").startswith("3.0.")


def names_for(place: Place) -> Sequence[str]:
    if is_oldest(place):
        return [name for name in NAMES if name.isascii()]
    return NAMES if place.kind == "mlflow" else NAMES + CODED_NAMES


# -- in and out -----------------------------------------------------------------------


def test_names_and_contents_come_back(place: Place, tmp_path: Path) -> None:
    names = names_for(place)
    contents = {name: f"content of {name}".encode() for name in names}
    contents |= {f"a folder/{name}/in {name}": name.encode() for name in names}
    assert place.put(tmp_path / "in", contents) == Sent(len(contents), sum(map(len, contents.values())))
    assert place.all(tmp_path / "out") == contents
    for name in contents:
        fetched = place.store.download(place.root, name, tmp_path / "one by one")
        assert fetched == tmp_path / "one by one" / name
        assert fetched.read_bytes() == contents[name]
    listed = place.store.list_files(place.root)
    assert listed == sorted([StoredFile("a folder", True, None)] + [
        StoredFile(name, False, len(contents[name])) for name in names
    ])  # fmt: skip


@pytest.mark.parametrize("size_bytes", [0, 1, MIB, MIB + 1, 17 * MIB + 5])
def test_sizes(place: Place, size_bytes: int, tmp_path: Path) -> None:
    content = os.urandom(size_bytes)
    assert place.put(tmp_path / "in", {"file": content}) == Sent(1, size_bytes)
    assert place.store.list_files(place.root) == [StoredFile("file", False, size_bytes or empty_size(place))]
    assert place.store.download(place.root, "file", tmp_path / "out").read_bytes() == content


def test_a_folder_is_fetched_with_its_paths(place: Place, tmp_path: Path) -> None:
    contents = {f"a/b{at % 3}/{at}.bin": os.urandom(at * 100) for at in range(40)} | {"other.txt": b"no"}
    place.put(tmp_path / "in", contents)
    fetched = place.store.download(place.root, "a", tmp_path / "out")
    assert fetched == tmp_path / "out" / "a"
    assert tree(tmp_path / "out") == {name: content for name, content in contents.items() if name.startswith("a/")}


def test_a_folder_may_hold_one_file_of_its_own_name(place: Place, tmp_path: Path) -> None:
    place.put(tmp_path / "in", {"model/model": b"1", "a/b/b": b"2"})
    assert place.store.list_files(place.root, "model") == [StoredFile("model/model", False, 1)]
    assert place.all(tmp_path / "all") == {"model/model": b"1", "a/b/b": b"2"}
    assert tree(place.store.download(place.root, "a/b", tmp_path / "one")) == {"b": b"2"}


def test_a_fetched_file_replaces_what_was_there(place: Place, tmp_path: Path) -> None:
    place.put(tmp_path / "in", {"a/x": b"new", "a/y": b"why"})
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "x").write_bytes(b"an old and longer one")
    (out / "a" / "mine").write_bytes(b"mine")
    place.store.download(place.root, "a", out)
    assert tree(out) == {"a/x": b"new", "a/y": b"why", "a/mine": b"mine"}
    assert sorted(path.name for path in (out / "a").iterdir()) == ["mine", "x", "y"]


def test_overwriting(place: Place, tmp_path: Path) -> None:
    for content in (b"first", b"other", b"longer than before", b"", b"x"):
        sent = place.put(tmp_path / "in", {"file": content})
        assert (sent.files, sent.unchanged) == (1, 0)
        assert place.store.download(place.root, "file", tmp_path / "out").read_bytes() == content


def test_threads_share_a_store(place: Place, tmp_path: Path) -> None:
    contents = [{f"t{at}/{number}": os.urandom(2000) for number in range(10)} for at in range(4)]
    failed: list[BaseException] = []

    def work(at: int) -> None:
        try:
            place.put(tmp_path / "in", contents[at])
            out = tmp_path / f"out{at}"
            place.store.download(place.root, f"t{at}", out)
            assert tree(out) == contents[at]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [item.path for item in place.store.list_files(place.root)] == ["t0", "t1", "t2", "t3"]


def test_the_meter_ends_where_it_should(place: Place, tmp_path: Path) -> None:
    contents = {"a": b"", "b": os.urandom(3000), "large": os.urandom(17 * MIB)}
    size = sum(map(len, contents.values()))
    for _ in range(2):  # the second time nothing has changed
        up = Told()
        place.store.upload(place.items(tmp_path / "in", contents), up)
        assert (up.files, up.size_bytes, up.advanced, up.done) == (3, size, size, 3)
    down = Told()
    place.store.download(place.root, "", tmp_path / "out", down)
    assert (down.files, down.size_bytes, down.advanced, down.done) == (3, size, size, 3)


# -- listing --------------------------------------------------------------------------


def test_listing(place: Place, tmp_path: Path) -> None:
    contents = {"b.txt": b"22", "a/2": b"", "a/1": b"1", "a/deep/er/x": b"x", "ab/y": b"y", "Z": b"z"}
    place.put(tmp_path / "in", contents)
    assert place.store.list_files(place.root) == [
        StoredFile("Z", False, 1),
        StoredFile("a", True, None),
        StoredFile("ab", True, None),
        StoredFile("b.txt", False, 2),
    ]
    in_a = [StoredFile("a/1", False, 1), StoredFile("a/2", False, empty_size(place)), StoredFile("a/deep", True, None)]
    assert place.store.list_files(place.root, "a") == in_a
    assert place.store.list_files(f"{place.root}/a") == [item._replace(path=item.path[2:]) for item in in_a]
    assert place.store.list_files(place.root, "a/deep") == [StoredFile("a/deep/er", True, None)]


def test_a_file_and_nothing_are_listed_empty(place: Place, tmp_path: Path) -> None:
    assert place.store.list_files(place.root) == []
    place.put(tmp_path / "in", {"folder/file": b"1"})
    for path in ("folder/file", "folder/fil", "fold", "folder/file/x", "nothing/at/all"):
        assert place.store.list_files(place.root, path) == []


# -- deleting -------------------------------------------------------------------------


def test_deleting_leaves_the_neighbours(place: Place, tmp_path: Path) -> None:
    contents = dict.fromkeys(["a/1", "a/2", "a/sub/3", "ab/4", "a.txt", "a b", "c"], b"x")
    place.put(tmp_path / "in", contents)
    place.store.delete(place.root, "a")
    kept = {name: b"x" for name in contents if not name.startswith("a/")}
    assert place.all(tmp_path / "1") == kept
    place.store.delete(place.root, "a.txt")
    del kept["a.txt"]
    assert place.all(tmp_path / "2") == kept
    for missing in ("a", "a.txt", "nothing/there"):
        place.store.delete(place.root, missing)
    assert place.all(tmp_path / "3") == kept


def test_deleting_a_root_leaves_its_neighbours(place: Place, tmp_path: Path) -> None:
    beside = Place(place.kind, place.store, f"{place.root}-beside")
    for at in (place, beside):
        at.put(tmp_path / "in", {"a": b"1", "b/c": b"2"})
    place.store.delete(place.root)
    assert place.store.list_files(place.root) == []
    assert beside.all(tmp_path / "out") == {"a": b"1", "b/c": b"2"}
    place.store.delete(place.root)


def test_deleting_more_than_a_request_holds(place: Place, tmp_path: Path) -> None:
    if place.kind != "moto":
        pytest.skip("one S3 server is enough for this many")
    contents = {f"many/{at:04}": b"" for at in range(1005)} | {"one": b"1"}
    place.put(tmp_path / "in", contents)
    assert len(place.store.list_files(place.root, "many")) == 1005
    place.store.delete(place.root, "many")
    assert place.all(tmp_path / "out") == {"one": b"1"}


# -- what is missing, and what must not be ---------------------------------------------


def test_what_is_missing_is_named(place: Place, tmp_path: Path) -> None:
    place.put(tmp_path / "in", {"folder/there": b"1"})
    for path in ("folder/missing", "missing", "folder/the"):
        with pytest.raises(ArtifactError) as caught:
            place.store.download(place.root, path, tmp_path / "out")
        assert path in str(caught.value)
        assert not caught.value.retryable or is_oldest(place)
    assert tree(tmp_path / "out") == {}


def test_a_missing_local_file_is_named(place: Place, tmp_path: Path) -> None:
    with pytest.raises(HoldfastError, match=r"gone\.bin"):
        place.store.upload([Item(tmp_path / "gone.bin", f"{place.root}/gone.bin")])
    assert place.store.list_files(place.root) == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/hostname"])
def test_nothing_is_fetched_from_outside(place: Place, path: str, tmp_path: Path) -> None:
    place.put(tmp_path / "in", {"a/b": b"1"})
    (tmp_path / "x").write_bytes(b"outside")
    with pytest.raises(HoldfastError):
        place.store.download(place.root, path, tmp_path / "out" / "deep")
    assert tree(tmp_path / "out" if (tmp_path / "out").exists() else tmp_path / "work") == {}


# -- unchanged ------------------------------------------------------------------------


def test_unchanged_files_are_not_sent_again(place: Place, tmp_path: Path) -> None:
    contents = {f"f/{at}": os.urandom(at * 1000) for at in range(10)} | {"large": os.urandom(17 * MIB)}
    size = sum(map(len, contents.values()))
    assert place.put(tmp_path / "in", contents) == Sent(11, size)
    if place.kind == "mlflow":
        pytest.skip("MLflow's server does not say what it has")
    if place.proxy is not None:
        assert place.proxy.traffic("PUT").sent_bytes >= size
        place.proxy.forget()
    assert place.put(tmp_path / "in", contents) == Sent(11, 0, unchanged=11)
    if place.proxy is not None:
        assert (place.proxy.traffic("PUT").requests, place.proxy.traffic().sent_bytes) == (0, 0)
    contents["f/3"] = bytes(byte ^ 1 for byte in contents["f/3"])  # as long as before
    assert place.put(tmp_path / "in", contents) == Sent(11, 3000, unchanged=10)
    assert place.all(tmp_path / "out") == contents


# -- S3 alone -------------------------------------------------------------------------


@pytest.fixture(params=["moto", "swift"])
def s3_place(request: pytest.FixtureRequest, unique: str) -> Iterator[Place]:
    """The S3 servers that keep a key and the folder of its name apart."""
    with ExitStack() as stack:
        yield open_s3(request, f"files-{unique[-8:]}", stack)


def test_empty_objects_that_mark_folders_are_no_files(s3_place: Place, tmp_path: Path) -> None:
    place = s3_place
    for key in ("a root/", "a root/marked/", "a root/marked/deeper/", "a root/full/"):
        place.client.put_object(Bucket=place.bucket, Key=key, Body=b"")
    place.put(tmp_path / "in", {"full/x": b"1"})
    folders = [StoredFile("full", True, None), StoredFile("marked", True, None)]
    assert place.store.list_files(place.root) == folders
    assert place.store.list_files(place.root, "full") == [StoredFile("full/x", False, 1)]
    assert place.store.list_files(place.root, "marked") == [StoredFile("marked/deeper", True, None)]
    assert place.all(tmp_path / "out") == {"full/x": b"1"}
    place.store.delete(place.root, "marked")
    assert place.store.list_files(place.root) == folders[:1]


def test_what_others_have_stored_is_fetched(s3_place: Place, tmp_path: Path) -> None:
    """MLflow and other programs leave no checksum of ours."""
    content = os.urandom(17 * MIB)
    s3_place.client.put_object(Bucket=s3_place.bucket, Key="a root/foreign", Body=content)
    assert s3_place.store.download(s3_place.root, "foreign", tmp_path / "out").read_bytes() == content


def test_a_bucket_may_be_a_root(s3_place: Place, tmp_path: Path) -> None:
    place = Place(s3_place.kind, s3_place.store, f"s3://{s3_place.bucket}")
    place.put(tmp_path / "in", {"a": b"1", "b/c": b"2"})
    assert place.store.list_files(place.root) == [StoredFile("a", False, 1), StoredFile("b", True, None)]
    assert place.all(tmp_path / "out") == {"a": b"1", "b/c": b"2"}
    place.store.delete(place.root)
    assert place.store.list_files(place.root) == []
