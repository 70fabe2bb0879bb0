"""Files from S3: what comes is what was stored, or nothing comes; and listing and deleting take what they should."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from boto3.s3.transfer import TransferConfig
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.landing import PART_PREFIX
from holdfast.artifacts.s3 import S3Files
from holdfast.artifacts.s3 import download as download_module
from holdfast.artifacts.s3.checking import Proof, proof_of, proves
from holdfast.artifacts.s3.listing import StoredObject, walk
from holdfast.artifacts.transfer import Item, StoredFile
from holdfast.core.crc import to_text
from holdfast.errors import ArtifactError
from holdfast.settings import Credentials
from holdfast.testing import Account, FaultProxy, RcloneServer, SwiftAccess
from holdfast.testing import S3Access as Server

MIB = 1 << 20


class _Told:
    """Keeps what it is told, and may do something at the first byte."""

    def __init__(self, at_first: Callable[[], object] = lambda: None) -> None:
        self.files = self.size_bytes = self.advanced = self.done = 0
        self._at_first: Callable[[], object] | None = at_first
        self._lock = threading.Lock()

    def begin(self, files: int, size_bytes: int) -> None:
        with self._lock:
            self.files, self.size_bytes = self.files + files, self.size_bytes + size_bytes

    def advance(self, size_bytes: int) -> None:
        with self._lock:
            self.advanced += size_bytes
            call, self._at_first = self._at_first, None
            if call:
                call()

    def file_done(self) -> None:
        with self._lock:
            self.done += 1

    def end(self) -> None:
        raise AssertionError("whoever made the meter ends it")


class _Place:
    """A bucket with an account of its own."""

    def __init__(self, server: Server, account: Account) -> None:
        self.server, self.account, self.bucket = server, account, account.buckets[0]
        self.root = f"s3://{self.bucket}/root"
        self.client = server.client(account)

    def access(self, url: str = "", **more: Any) -> S3Access:
        keys = Credentials("project", "the test", self.account.access_key_id, SecretStr(self.account.secret_access_key))
        return S3Access(keys, endpoint_url=url or self.server.endpoint_url, deadline_s=20, **more)

    def files(self, url: str = "", **more: Any) -> S3Files:
        return S3Files(self.access(url, **more))

    def put(self, key: str, content: bytes, crc: bytes | None = None, **more: Any) -> str:
        """Store an object; with a checksum as Holdfast's uploads write it, of `crc`'s bytes."""
        if crc is not None:
            more["Metadata"] = {"holdfast-crc32c": to_text(google_crc32c.value(crc))}
        return str(self.client.put_object(Bucket=self.bucket, Key=key, Body=content, **more)["ETag"].strip('"'))

    def put_parts(self, key: str, content: bytes, part_bytes: int = 8 * MIB, **more: Any) -> None:
        """Store an object as plain boto3 does."""
        config = TransferConfig(multipart_threshold=part_bytes, multipart_chunksize=part_bytes)
        self.client.upload_fileobj(io.BytesIO(content), self.bucket, key, ExtraArgs=more or None, Config=config)

    def stored(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [entry["Key"] for entry in found]


@pytest.fixture
def place(s3_server: Server, unique: str) -> _Place:
    name = unique.replace("_", "-")[-40:].strip("-").lower()
    return _Place(s3_server, s3_server.add_account(unique, [name]))


@pytest.fixture
def network(s3_server: Server) -> Any:
    with FaultProxy(s3_server.endpoint_url) as found:
        yield found


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as large from 1 MiB on, so that ranges can be watched without gigabytes."""
    monkeypatch.setattr(download_module, "_LARGE_BYTES", MIB)
    monkeypatch.setattr(download_module, "_RANGE_BYTES", MIB // 4)


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


# -- fetching -------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [0, 1, 20_000, 5 * MIB + 7, 70 * MIB + 3])
def test_a_file(place: _Place, tmp_path: Path, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    place.put("root/a b/ü+%41#.json.gz", content, crc=content, ContentEncoding="gzip")
    told = _Told()
    got = place.files().download(place.root, "a b/ü+%41#.json.gz", tmp_path, told)
    assert got == tmp_path / "a b" / "ü+%41#.json.gz"
    assert got.read_bytes() == content
    assert (told.files, told.size_bytes, told.advanced, told.done) == (1, size_bytes, size_bytes, 1)
    assert list(_tree(tmp_path)) == ["a b/ü+%41#.json.gz"]


def test_what_holdfast_has_stored_comes_back(place: _Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(40 * MIB))  # in parts
    files = place.files()
    files.upload([Item(source, f"{place.root}/model.bin")])
    assert files.download(place.root, "model.bin", tmp_path / "got").read_bytes() == source.read_bytes()


def test_a_folder(place: _Place, tmp_path: Path, small_ranges: None) -> None:
    contents = {f"m/f{number:04d}": os.urandom(100) for number in range(1100)}  # two pages
    contents |= {"m/large": os.urandom(2 * MIB + 1), "m/deep/er/x": b"x", "m/empty": b"", "mm": b"other"}
    for path, content in contents.items():
        place.put(f"root/{path}", content, crc=content if len(content) % 2 else None)
    place.put("root/m/deep/", b"")  # a marker
    told = _Told()
    assert place.files().download(place.root, "m", tmp_path, told) == tmp_path / "m"
    assert _tree(tmp_path) == {path: content for path, content in contents.items() if path != "mm"}
    total = sum(len(content) for path, content in contents.items() if path != "mm")
    assert (told.files, told.size_bytes, told.advanced, told.done) == (1103, total, total, 1103)
    few = {"m/deep/er/x": b"x", "m/empty": b"", "mm": b"other"}
    for path, content in few.items():
        place.put(f"few/{path}", content)
    assert place.files().download(f"s3://{place.bucket}/few", "", tmp_path / "all") == tmp_path / "all"
    assert _tree(tmp_path / "all") == few


def test_nothing_there(place: _Place, tmp_path: Path) -> None:
    place.put("root/xy", b"1")
    with pytest.raises(ArtifactError, match=rf"no file or folder 'x' in s3://{place.bucket}/root") as caught:
        place.files().download(place.root, "x", tmp_path / "got")
    assert caught.value.code == "NoSuchKey"
    assert not (tmp_path / "got" / "x").exists()
    assert place.files().download(f"s3://{place.bucket}/elsewhere", "", tmp_path / "got") == tmp_path / "got"
    with pytest.raises(ArtifactError, match=r"not-a-bucket") as caught:
        place.files().download("s3://not-a-bucket/x", "y", tmp_path)


@pytest.mark.parametrize("key", ["../evil", "a/../../evil", "/etc/evil", "a/.."])
def test_keys_that_climb_out_are_refused(place: _Place, network: FaultProxy, tmp_path: Path, key: str) -> None:
    """No server of ours keeps such keys, though AWS does: its listing is given by hand."""
    into = tmp_path / "deep" / "er"
    listing = (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>'
        f"<Contents><Key>root/{key}</Key><Size>4</Size><ETag>&quot;x&quot;</ETag></Contents></ListBucketResult>"
    )
    network.answer(200, {"Content-Type": "application/xml"}, listing)
    with pytest.raises(ArtifactError, match=r"leads out of the folder"):
        place.files(network.url).download(place.root, "", into)
    assert _tree(tmp_path) == {}


def test_keys_with_empty_parts(place: _Place, tmp_path: Path) -> None:
    """obstore takes no such key; boto3 does."""
    place.put("root/m/a//b", b"1", crc=b"1")
    place.files().download(place.root, "m", tmp_path)
    assert _tree(tmp_path) == {"m/a/b": b"1"}


def test_what_obstore_cannot_do_boto3_does(place: _Place, tmp_path: Path, small_ranges: None) -> None:
    content = os.urandom(2 * MIB + 5)
    place.put("root/m/large", content, crc=content)
    place.put("root/m/small", b"2", crc=b"2")
    files = place.files(bucket_owner="123456789012")
    assert not files.connection.uses_store
    files.download(place.root, "m", tmp_path)
    assert _tree(tmp_path) == {"m/large": content, "m/small": b"2"}


# -- checking -------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [30_000, 3 * MIB])
@pytest.mark.parametrize("listed", [False, True])
def test_a_byte_that_flipped_in_the_store_is_noticed(
    place: _Place, tmp_path: Path, small_ranges: None, size_bytes: int, listed: bool
) -> None:
    content = os.urandom(size_bytes)
    place.put("root/m/x", _flipped(content), crc=content)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x").write_bytes(b"what was there before")
    told = _Told()
    with pytest.raises(ArtifactError, match=r"root/m/x: it came 2 times with other bytes") as caught:
        place.files().download(place.root, "m" if listed else "m/x", tmp_path, told)
    assert not caught.value.retryable
    assert told.advanced == 0
    assert _tree(tmp_path) == {"m/x": b"what was there before"}


def _with_crc(place: _Place, content: bytes) -> None:
    place.put("root/x", content, crc=content)


def _with_md5(place: _Place, content: bytes) -> None:
    place.put("root/x", content)


def _with_crc32(place: _Place, content: bytes) -> None:
    place.put("root/x", content, ChecksumAlgorithm="CRC32")


def _in_parts(place: _Place, content: bytes) -> None:
    place.put_parts("root/x", content, 5 * MIB)


@pytest.mark.parametrize("store", [_with_crc, _with_md5, _with_crc32, _in_parts])
@pytest.mark.parametrize("is_ranged", [False, True])
def test_a_byte_that_flips_on_the_way_is_noticed_and_the_file_fetched_again(
    place: _Place,
    network: FaultProxy,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    store: Callable[[_Place, bytes], None],
    is_ranged: bool,
) -> None:
    if is_ranged:
        request.getfixturevalue("small_ranges")
    content = os.urandom(11 * MIB)
    store(place, content)
    network.flip_in_answers(200_000, times=1)
    told = _Told()
    got = place.files(network.url).download(place.root, "x", tmp_path, told)
    assert network.happened == 1
    assert got.read_bytes() == content
    assert (told.advanced, told.done) == (len(content), 1)
    network.flip_in_answers(200_000)
    with pytest.raises(ArtifactError, match="other bytes"):
        place.files(network.url).download(place.root, "x", tmp_path / "again")
    assert _tree(tmp_path) == {"x": content}


def test_objects_of_others(place: _Place, tmp_path: Path, small_ranges: None) -> None:
    """By plain boto3: in one piece and in parts, with its default checksums, others, and none."""
    large, small = os.urandom(17 * MIB), os.urandom(1000)
    place.put_parts("root/m/parts-8", large)
    place.put_parts("root/m/parts-7", large, 7 * MIB)
    for kind in ("CRC32", "SHA1", "SHA256"):
        place.put(f"root/m/{kind}", small, ChecksumAlgorithm=kind)
        place.put(f"root/m/large-{kind}", large, ChecksumAlgorithm=kind)
    place.put("root/m/kms", small, ServerSideEncryption="aws:kms")
    place.put("root/m/large-kms", large, ServerSideEncryption="aws:kms")
    place.files().download(place.root, "m", tmp_path)
    found = _tree(tmp_path)
    assert len(found) == 10
    assert all(content == (small if len(content) == 1000 else large) for content in found.values())


def test_which_proof_is_taken(place: _Place) -> None:
    connection = place.files().connection
    content = b"123456789"
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    crc32 = base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
    sha256 = base64.b64encode(hashlib.sha256(content).digest()).decode()
    head: dict[str, Any] = {"ETag": f'"{md5}"', "ContentLength": 9}

    def chosen(**more: Any) -> Proof | None:
        proof = proof_of(connection, place.bucket, "none", head | more)
        assert proof is None or proves(proof, lambda at, count: content[at : at + count], 9)
        return proof

    assert chosen() == Proof("md5", md5)
    assert chosen(ChecksumSHA256=sha256) == Proof("sha256", sha256)
    assert chosen(ChecksumSHA256=sha256, ChecksumCRC32=crc32) == Proof("crc32", crc32)
    assert chosen(ChecksumCRC32=crc32, ChecksumCRC32C="4waSgw==") == Proof("crc32c", "4waSgw==")
    assert chosen(Metadata={"holdfast-crc32c": "4waSgw=="}, ChecksumCRC32=crc32) == Proof("crc32c", "4waSgw==")
    assert chosen(ChecksumCRC32="x", ChecksumType="COMPOSITE") == Proof("md5", md5)
    assert chosen(ServerSideEncryption="aws:kms") is None
    assert chosen(SSECustomerAlgorithm="AES256") is None
    assert chosen(ServerSideEncryption="AES256") == Proof("md5", md5)
    assert chosen(ETag='"of-some-server"') is None


@pytest.mark.parametrize("part_bytes", [5 * MIB, 6 * MIB])
def test_the_server_tells_the_size_of_parts(place: _Place, part_bytes: int) -> None:
    content = os.urandom(11 * MIB)
    place.put_parts("x", content, part_bytes)
    head = place.client.head_object(Bucket=place.bucket, Key="x")
    proof = proof_of(place.files().connection, place.bucket, "x", head)
    assert proof is not None
    assert (proof.kind, proof.parts_bytes, proof.is_sure) == ("parts", (part_bytes,), True)
    assert proves(proof, lambda at, count: content[at : at + count], len(content))
    wrong = _flipped(content)
    assert not proves(proof, lambda at, count: wrong[at : at + count], len(wrong))


def test_the_size_of_parts_is_guessed_where_the_server_does_not_tell(place: _Place) -> None:
    content = os.urandom(17 * MIB)
    digests = b"".join(
        hashlib.md5(content[at : at + 8 * MIB], usedforsecurity=False).digest() for at in range(0, 17 * MIB, 8 * MIB)
    )
    etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-3"
    proof = proof_of(
        place.files().connection, place.bucket, "no/such/key", {"ETag": f'"{etag}"', "ContentLength": len(content)}
    )
    assert proof == Proof("parts", etag, (8 * MIB,), is_sure=False)
    assert proves(proof, lambda at, count: content[at : at + count], len(content))


# -- what happens meanwhile -----------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [100_000, 3 * MIB])
def test_a_file_that_is_replaced_meanwhile(place: _Place, tmp_path: Path, small_ranges: None, size_bytes: int) -> None:
    old, new = os.urandom(size_bytes), os.urandom(size_bytes)
    place.put("root/x", old, crc=old)
    told = _Told(at_first=lambda: place.put("root/x", new, crc=new))
    got = place.files(threads=2).download(place.root, "x", tmp_path, told)
    # In one request the old one comes whole; of ranges, no two are of different files.
    assert got.read_bytes() == (new if size_bytes > MIB else old)
    assert told.advanced == size_bytes


@pytest.mark.parametrize("size_bytes", [100_000, 3 * MIB])
@pytest.mark.parametrize("fault", ["cut", "reset", 503, 500, 429])
def test_faults_that_pass(
    place: _Place, network: FaultProxy, tmp_path: Path, small_ranges: None, size_bytes: int, fault: str | int
) -> None:
    content = os.urandom(size_bytes)
    place.put("root/x", content, crc=content)
    if fault == "cut":
        network.cut_answers(50_000, times=2)
    else:
        network.fail_next(2, fault)
    told = _Told()
    assert place.files(network.url).download(place.root, "x", tmp_path, told).read_bytes() == content
    assert (told.advanced, told.done) == (size_bytes, 1)
    assert list(_tree(tmp_path)) == ["x"]


def test_files_that_are_there_are_not_fetched_again(
    place: _Place, network: FaultProxy, tmp_path: Path, small_ranges: None
) -> None:
    large, small = os.urandom(2 * MIB), os.urandom(5000)
    place.put("root/m/large", large, crc=large)
    place.put("root/m/small", small, crc=small)
    place.put_parts("root/m/parts", large, 5 * MIB)
    files = place.files(network.url)
    files.download(place.root, "m", tmp_path)
    network.forget()
    told = _Told()
    files.download(place.root, "m", tmp_path, told)
    assert (told.advanced, told.done) == (2 * len(large) + len(small), 3)
    gets = [line for line in network.passed if line.startswith("GET") and "list-type" not in line]
    assert [line for line in gets if not line.startswith(f"GET /{place.bucket}/root/m ")] == []
    (tmp_path / "m" / "large").write_bytes(_flipped(large))
    (tmp_path / "m" / "small").write_bytes(_flipped(small))
    files.download(place.root, "m", tmp_path)
    assert _tree(tmp_path) == {"m/large": large, "m/parts": large, "m/small": small}


_CHILD = """
import sys
from pathlib import Path
from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3 import S3Files
S3Files(S3Access.from_json(sys.stdin.read())).download(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
"""


@pytest.mark.parametrize("size_bytes", [8 * MIB, 70 * MIB])
def test_killed_in_the_middle(place: _Place, network: FaultProxy, tmp_path: Path, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    place.put("root/x", content, crc=content)
    network.slow(MIB)
    into = tmp_path / "got"
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, place.root, "x", str(into)], stdin=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    child.stdin.write(place.access(network.url).to_json())
    child.stdin.close()
    until_s = time.monotonic() + 60
    while not any(path.stat().st_blocks for path in into.glob(f"{PART_PREFIX}*")):
        assert child.poll() is None
        assert time.monotonic() < until_s
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (into / "x").exists()
    network.pass_on()
    assert place.files(network.url).download(place.root, "x", into).read_bytes() == content


def test_a_server_without_ranges(tmp_path: Path, small_ranges: None) -> None:
    """rclone answers a Range with everything."""
    content = os.urandom(3 * MIB)
    with RcloneServer() as server:
        account = server.access.account
        client = server.access.client()
        client.create_bucket(Bucket="models")
        client.put_object(Bucket="models", Key="root/m/x", Body=content)
        keys = Credentials("project", "the test", account.access_key_id, SecretStr(account.secret_access_key))
        files = S3Files(S3Access(keys, endpoint_url=server.endpoint_url, deadline_s=20))
        files.download("s3://models/root", "m", tmp_path)
        assert files.connection.dialect("models").ranges is False
        files.download("s3://models/root", "m", tmp_path / "again")
    assert _tree(tmp_path) == {"m/x": content, "again/m/x": content}


def test_on_swift(swift_server: SwiftAccess, unique: str, tmp_path: Path, small_ranges: None) -> None:
    """Swift keeps what came in parts as a list of objects, and knows no checksums of the whole."""
    content, small, bucket = os.urandom(11 * MIB), os.urandom(1000), f"b-{unique[-8:]}"
    account = swift_server.add_account(unique, [bucket])
    client = swift_server.client(account)
    client.put_object(Bucket=bucket, Key="root/m/whole", Body=content)
    client.put_object(Bucket=bucket, Key="root/m/small", Body=small)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    client.upload_fileobj(io.BytesIO(content), bucket, "root/m/parts", Config=config)
    keys = Credentials("project", "the test", account.access_key_id, SecretStr(account.secret_access_key))
    with FaultProxy(swift_server.endpoint_url) as network:
        files = S3Files(S3Access(keys, endpoint_url=network.url, deadline_s=20))
        network.flip_in_answers(200_000, times=2)
        files.download(f"s3://{bucket}/root", "m", tmp_path)
        assert network.happened == 2
    assert _tree(tmp_path) == {"m/whole": content, "m/small": small, "m/parts": content}


# -- listing and deleting -------------------------------------------------------------------


def test_listing_answers_as_mlflow_does(place: _Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("a.txt", "a/x", "a/y/z", "a b/ü&<c>", "a-b", "ab/c", "b/", "b/only", "marker/"):
        place.put(f"root/{key}", b"" if key.endswith("/") else b"12")
    for number in range(1001):
        place.put(f"root/many/{number:04d}", b"1")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", place.server.endpoint_url)
    theirs = S3ArtifactRepository(
        place.root, access_key_id=place.account.access_key_id, secret_access_key=place.account.secret_access_key
    )
    files = place.files()
    for folder in ("", "a", "a b", "b", "marker", "a/y", "a.txt", "none", "many"):
        expected = [StoredFile(one.path, one.is_dir, one.file_size) for one in theirs.list_artifacts(folder or None)]
        assert files.list_files(place.root, folder) == expected, folder
    assert files.list_files(f"s3://{place.bucket}", "root/a") == [
        StoredFile("root/a/x", False, 2),
        StoredFile("root/a/y", True, None),
    ]
    pages = list(walk(files.connection, place.bucket, "root/many/"))
    assert [len(page) for page in pages] == [1000, 1]
    assert pages[1] == [StoredObject("root/many/1000", 1, hashlib.md5(b"1", usedforsecurity=False).hexdigest())]


def test_deleting_takes_a_path_and_no_other(place: _Place) -> None:
    kept = ["root/xy", "root/x-1/a", "rootx", "root/y/x/a"]
    for key in ("root/x", "root/x/a", "root/x/b/c", "root/x/", *kept):
        place.put(key, b"1")
    files = place.files()
    files.delete(place.root, "x")
    files.delete(place.root, "x")
    assert place.stored() == sorted(kept)
    files.delete(place.root)
    assert place.stored() == ["rootx"]


def test_deleting_many(place: _Place) -> None:
    for number in range(1003):
        place.put(f"root/m/{number}", b"1")
    place.files().delete(place.root, "m")
    assert place.stored() == []


def test_what_may_not_be_deleted_is_said(s3_server: Server, place: _Place, unique: str) -> None:
    for number in range(5):
        place.put(f"root/m/{number}", b"1")
    denied = s3_server.add_account(f"{unique}-reader", [place.bucket], denied_actions=["s3:DeleteObject"])
    with pytest.raises(ArtifactError, match=r"root/m") as caught:
        _Place(s3_server, denied).files().delete(place.root, "m")
    assert "s3:" in caught.value.hint
    assert caught.value.code == "AccessDenied"
    assert len(place.stored()) == 5
