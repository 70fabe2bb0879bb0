"""Files on their way into S3: whole, once, by the right account, and going on where they were cut off."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from journaling import until
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3 import S3Files
from holdfast.artifacts.s3.errors import needs_people
from holdfast.artifacts.transfer import SILENT, Item, Meter, Sent, Silent
from holdfast.core.crc import from_text, to_text
from holdfast.errors import ArtifactError, InvalidInputError
from holdfast.settings import Credentials
from holdfast.testing import Account, FaultProxy
from holdfast.testing import S3Access as Server

MIB = 1 << 20
PART = 16 * MIB


@dataclass
class Bucket:
    """A bucket of one account, and ways to look into it that are not ours."""

    server: Server
    account: Account
    name: str

    @property
    def client(self) -> Any:
        return self.server.client()

    def access(self, **more: Any) -> S3Access:
        credentials = Credentials(
            "project", "test", self.account.access_key_id, SecretStr(self.account.secret_access_key), region="us-east-1"
        )
        return S3Access(credentials, **{"endpoint_url": self.server.endpoint_url, "deadline_s": 5.0, **more})

    def files(self, **more: Any) -> S3Files:
        return S3Files(self.access(**more))

    def uri(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def content(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def head(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.head_object(Bucket=self.name, Key=key)
        return found

    def crc(self, key: str) -> str:
        return str(self.head(key)["Metadata"]["holdfast-crc32c"])

    def begun(self) -> list[dict[str, Any]]:
        return list(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", []))

    def parts(self) -> list[dict[str, Any]]:
        """The parts of the one upload that is not complete."""
        return [
            part
            for upload in self.begun()
            for part in self.client.list_parts(Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]).get(
                "Parts", []
            )
        ]


@dataclass
class Note:
    """A note in a file."""

    path: Path

    def load(self) -> Mapping[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def save(self, content: Mapping[str, Any]) -> None:
        self.path.write_text(json.dumps(dict(content)))


@dataclass
class Told(Silent):
    """Adds up what it is told, and does something at the first progress."""

    then: Callable[[], object] = lambda: None
    files: int = 0
    size_bytes: int = 0
    done_bytes: int = 0
    done_files: int = 0
    ended: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, files: int, size_bytes: int) -> None:
        self.files += files
        self.size_bytes += size_bytes

    def advance(self, size_bytes: int) -> None:
        with self._lock:
            self.done_bytes += size_bytes
            then, self.then = self.then, lambda: None
        then()

    def file_done(self) -> None:
        with self._lock:
            self.done_files += 1

    def end(self) -> None:
        self.ended += 1


@pytest.fixture
def bucket(s3_server: Server, unique: str) -> Bucket:
    name = f"b-{unique[-8:]}"
    return Bucket(s3_server, s3_server.add_account(unique, [name]), name)


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[FaultProxy]:
    """A network that fails on command, before the S3 server."""
    with FaultProxy(bucket.server.endpoint_url) as found:
        yield found


def folder_of(path: Path, count: int = 12) -> list[Path]:
    path.mkdir()
    files = [path / f"file-{number:02}.bin" for number in range(count)]
    for number, file in enumerate(files):
        file.write_bytes(os.urandom(1000 + number))
    return files


def large_file(path: Path, size: int = 3 * PART + 12345) -> Path:
    path.write_bytes(os.urandom(MIB) * (size // MIB) + os.urandom(size % MIB))
    return path


def items_of(bucket: Bucket, files: list[Path], prefix: str = "run/") -> list[Item]:
    return [Item(file, bucket.uri(prefix + file.name)) for file in files]


def upload(bucket: Bucket, file: Path, key: str = "file", meter: Meter = SILENT, **more: Any) -> Sent:
    return bucket.files(**more).upload([Item(file, bucket.uri(key))], meter)


def test_a_folder_arrives_with_its_checksums_and_types_and_is_told_of(bucket: Bucket, tmp_path: Path) -> None:
    files = [
        *folder_of(tmp_path / "folder"),
        tmp_path / "empty.json",
        tmp_path / "table.csv.gz",
        tmp_path / "ü ?#%+.png",
    ]
    (tmp_path / "empty.json").write_bytes(b"")
    (tmp_path / "table.csv.gz").write_bytes(b"gz")
    (tmp_path / "ü ?#%+.png").write_bytes(os.urandom(2 * MIB))
    told, size = Told(), sum(file.stat().st_size for file in files)
    assert bucket.files().upload(items_of(bucket, files), told) == Sent(len(files), size, 0)
    assert (told.files, told.size_bytes) == (told.done_files, told.done_bytes) == (len(files), size)
    assert told.ended == 0  # whoever made it ends it
    for file in files:
        assert bucket.content(f"run/{file.name}") == file.read_bytes()
        assert from_text(bucket.crc(f"run/{file.name}")) == google_crc32c.value(file.read_bytes())
    assert bucket.head("run/empty.json")["ContentType"] == "application/json"
    assert bucket.head("run/ü ?#%+.png")["ContentType"] == "image/png"
    table = bucket.head("run/table.csv.gz")
    assert (table["ContentType"], table["ContentEncoding"]) == ("text/csv", "gzip")


def test_a_large_file_arrives_in_parts_with_the_checksum_of_the_whole(bucket: Bucket, tmp_path: Path) -> None:
    file, told = large_file(tmp_path / "model.pt"), Told()
    assert upload(bucket, file, "large", told) == Sent(1, file.stat().st_size, 0)
    assert told.done_bytes == told.size_bytes == file.stat().st_size
    assert bucket.content("large") == file.read_bytes()
    assert from_text(bucket.crc("large")) == google_crc32c.value(file.read_bytes())
    assert bucket.head("large")["ETag"].endswith('-4"')
    assert bucket.begun() == []


def test_what_is_there_is_not_sent_again(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    files = [*folder_of(tmp_path / "folder"), large_file(tmp_path / "model.pt")]
    store = bucket.files(endpoint_url=proxy.url)
    store.upload(items_of(bucket, files))
    proxy.forget()
    assert store.upload(items_of(bucket, files)) == Sent(len(files), 0, len(files))
    assert store.upload(items_of(bucket, files[-1:])) == Sent(1, 0, 1)
    assert store.upload(items_of(bucket, files[:1])) == Sent(1, 0, 1)
    assert not [line for line in proxy.passed if line.startswith(("PUT", "POST"))]
    files[3].write_bytes(os.urandom(files[3].stat().st_size))
    assert store.upload(items_of(bucket, files)) == Sent(len(files), files[3].stat().st_size, len(files) - 1)
    assert bucket.content(f"run/{files[3].name}") == files[3].read_bytes()


def test_what_kms_encrypts_is_not_sent_again_either(bucket: Bucket, tmp_path: Path) -> None:
    files = folder_of(tmp_path / "folder", 3)
    store = bucket.files(put_arguments={"ServerSideEncryption": "aws:kms", "BucketKeyEnabled": True})
    store.upload(items_of(bucket, files))
    assert bucket.head(f"run/{files[0].name}")["ServerSideEncryption"] == "aws:kms"
    assert store.upload(items_of(bucket, files)).unchanged == 3


@pytest.mark.parametrize("size", [100, 3 * MIB, PART + MIB])
def test_what_the_settings_ask_for_goes_with_every_file(bucket: Bucket, tmp_path: Path, size: int) -> None:
    asked = {"ServerSideEncryption": "AES256", "StorageClass": "STANDARD_IA", "Tagging": "team=vision&cost=4%202"}
    for number, more in enumerate(({}, {"ACL": "public-read"}, {"Metadata": {"by": "me"}, "ContentType": "a/b"})):
        upload(bucket, large_file(tmp_path / "f.bin", size), f"file-{number}", put_arguments=asked | more)
        head = bucket.head(f"file-{number}")
        assert (head["ServerSideEncryption"], head["StorageClass"]) == ("AES256", "STANDARD_IA")
        tags = bucket.client.get_object_tagging(Bucket=bucket.name, Key=f"file-{number}")["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "vision", "cost": "4 2"}
    assert bucket.head("file-2")["Metadata"]["by"] == "me"
    assert bucket.head("file-2")["ContentType"] == "a/b"
    grants = bucket.client.get_object_acl(Bucket=bucket.name, Key="file-1")["Grants"]
    assert any(grant["Grantee"].get("URI", "").endswith("AllUsers") for grant in grants)


def test_the_environment_has_no_part_in_it(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIASTRANGER",
        "AWS_SECRET_ACCESS_KEY": "stranger",
        "AWS_SESSION_TOKEN": "left-over",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_REGION": "eu-west-9",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
        "AWS_PROFILE": "gone",
    }.items():
        monkeypatch.setenv(name, value)
    file = folder_of(tmp_path / "folder", 1)[0]
    assert upload(bucket, file).files == 1
    assert "ServerSideEncryption" not in bucket.head("file")
    monkeypatch.delenv("AWS_SERVER_SIDE_ENCRYPTION")
    assert upload(bucket, file, "other").files == 1


def test_two_accounts_in_one_process_keep_to_their_buckets(bucket: Bucket, s3_server: Server, tmp_path: Path) -> None:
    other_name = f"{bucket.name}-2"
    other = Bucket(s3_server, s3_server.add_account(other_name, [other_name]), other_name)
    files, failures = folder_of(tmp_path / "folder", 20), []

    def send(mine: Bucket) -> None:
        try:
            assert mine.files().upload(items_of(mine, files)).sent_bytes
        except BaseException as error:  # told to the test below
            failures.append(error)

    threads = [threading.Thread(target=send, args=(mine,)) for mine in (bucket, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    with pytest.raises(ArtifactError, match="AccessDenied") as caught:
        bucket.files().upload(items_of(other, files[:1], "theirs/"))
    assert needs_people(caught.value)
    assert f"s3://{other_name}/theirs/{files[0].name}" in caught.value.message
    assert bucket.account.access_key_id[:4] + "…" in caught.value.message


@pytest.mark.parametrize("size", [100, 2 * MIB, PART + MIB])
def test_wrong_keys_and_buckets_are_told_apart(bucket: Bucket, tmp_path: Path, canary: str, size: int) -> None:
    file = large_file(tmp_path / "f.bin", size)
    mine = bucket.access()
    for key, secret, code in (
        (bucket.account.access_key_id, canary, "SignatureDoesNotMatch"),
        ("AKIAUNKNOWNUNKNOWN00", canary, "InvalidAccessKeyId"),
    ):
        wrong = replace(mine, credentials=Credentials("project", "test", key, SecretStr(secret), region="us-east-1"))
        with pytest.raises(ArtifactError, match=code) as caught:
            S3Files(wrong).upload([Item(file, bucket.uri("file"))])
        assert needs_people(caught.value)
        assert not caught.value.retryable
        assert "MLFLOW_AWS_" in caught.value.hint
        assert canary not in str(caught.value)
    admin = Bucket(bucket.server, bucket.server.admin, "there-is-none")
    with pytest.raises(ArtifactError, match="NoSuchBucket") as caught:
        upload(admin, file)
    assert "MLFLOW_ARTIFACT_ROOT" in caught.value.hint


def test_whoever_may_only_write_may_write(s3_server: Server, unique: str, tmp_path: Path) -> None:
    name = f"w-{unique[-8:]}"
    denied = ["s3:ListBucket", "s3:GetObject", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts"]
    bucket = Bucket(s3_server, s3_server.add_account(unique, [name], denied), name)
    files = [*folder_of(tmp_path / "folder"), large_file(tmp_path / "model.pt", PART + MIB)]
    for _ in range(2):
        assert bucket.files().upload(items_of(bucket, files)).unchanged == 0
    assert upload(bucket, files[-1], "run/model.pt").sent_bytes == PART + MIB
    assert bucket.content("run/model.pt") == files[-1].read_bytes()


def test_the_owner_that_is_expected_is_named_to_the_server_and_signed(
    bucket: Bucket, proxy: FaultProxy, tmp_path: Path
) -> None:
    # The header is signed with all others, so that a server which verifies signatures has seen it.
    from holdfast.artifacts.s3.connection import S3Connection

    connection = S3Connection(bucket.access(bucket_owner="123456789012"))
    assert not connection.uses_store
    seen: list[Any] = []
    client = connection.client(bucket.name)
    client.meta.events.register("before-send.s3", lambda request, **_: seen.append(request))
    client.put_object(Bucket=bucket.name, Key="k", Body=b"")
    assert seen[0].headers["x-amz-expected-bucket-owner"] in (b"123456789012", "123456789012")
    assert b"x-amz-expected-bucket-owner" in seen[0].headers["Authorization"]
    files = [*folder_of(tmp_path / "folder", 3), large_file(tmp_path / "model.pt", PART + MIB)]
    assert bucket.files(bucket_owner="123456789012").upload(items_of(bucket, files)).files == 4


def test_a_file_that_changes_while_it_is_sent_is_an_error_and_leaves_nothing(bucket: Bucket, tmp_path: Path) -> None:
    file = large_file(tmp_path / "model.pt")
    note = Note(tmp_path / "note")

    def write() -> None:
        with file.open("r+b") as opened:
            opened.seek(-100, os.SEEK_END)
            opened.write(os.urandom(100))

    with pytest.raises(ArtifactError, match=r"model\.pt changed while it was sent") as caught:
        bucket.files(threads=1).upload([Item(file, bucket.uri("large"), note)], Told(write))
    assert caught.value.code == "FileChanged"
    assert bucket.begun() == []
    assert note.load() == {}
    with pytest.raises(bucket.client.exceptions.ClientError):
        bucket.head("large")


def test_a_file_that_is_not_there_or_an_address_that_is_none_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone\.bin"):
        upload(bucket, tmp_path / "gone.bin")
    with pytest.raises(InvalidInputError, match="names no file in S3"):
        bucket.files().upload([Item(tmp_path / "gone.bin", f"s3://{bucket.name}")])


def test_a_pipe_or_a_link_to_nowhere_is_refused_and_not_waited_for(bucket: Bucket, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, said in (("pipe", "pipe is a pipe"), ("link", "link is a link that leads nowhere")):
        with pytest.raises(ArtifactError, match=said) as caught:
            upload(bucket, tmp_path / name)
        assert caught.value.hint


@pytest.mark.parametrize("size", [2 * MIB, 2 * PART])
def test_a_file_that_is_deleted_meanwhile_is_said_to_be(bucket: Bucket, tmp_path: Path, size: int) -> None:
    file = large_file(tmp_path / "model.pt", size)

    class Deleting(Silent):
        def begin(self, files: int, size_bytes: int) -> None:
            file.unlink()

    with pytest.raises(ArtifactError, match=r"model\.pt was deleted during the call") as caught:
        upload(bucket, file, meter=Deleting())
    assert "until the call returns" in caught.value.hint


@pytest.mark.parametrize("fast", [True, False])
def test_no_log_repeats_what_is_sent(
    bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture, fast: bool
) -> None:
    content = b"weights-of-the-model" * (5 * MIB // 4)
    files = [tmp_path / f"{size}.bin" for size in (2000, 3 * MIB, 17 * MIB)]
    for file in files:
        file.write_bytes(content[: int(file.stem)])
    with caplog.at_level(logging.DEBUG):
        bucket.files(bucket_owner=None if fast else "123456789012").upload(items_of(bucket, files))
    assert "Making request for OperationModel(name=PutObject)" in caplog.text
    assert "Making request for OperationModel(name=UploadPart)" in caplog.text
    assert "weights-of" not in caplog.text
    assert len(caplog.text) < 200_000
    assert all(bucket.content(f"run/{file.name}") == file.read_bytes() for file in files)


@pytest.mark.parametrize("size", [100, PART + MIB])
def test_an_extra_argument_that_is_none_names_its_setting(bucket: Bucket, tmp_path: Path, size: int) -> None:
    file = large_file(tmp_path / "model.pt", size)
    with pytest.raises(ArtifactError, match="Colour") as caught:
        upload(bucket, file, put_arguments={"Colour": "red"})
    assert "MLFLOW_S3_UPLOAD_EXTRA_ARGS" in caught.value.hint


def test_a_bucket_that_is_not_there_names_the_account(bucket: Bucket, tmp_path: Path) -> None:
    file = large_file(tmp_path / "f.bin", 100)
    key = bucket.server.admin.access_key_id
    with pytest.raises(ArtifactError, match=f"NoSuchBucket.*key {key[:4]}…{key[-4:]}"):
        upload(Bucket(bucket.server, bucket.server.admin, "there-is-none"), file)


def test_the_rate_holds_for_all_files_together(bucket: Bucket, tmp_path: Path) -> None:
    files = folder_of(tmp_path / "folder", 4)
    for file in files:
        file.write_bytes(os.urandom(100_000))
    began = time.monotonic()
    bucket.files(upload_rate=200_000).upload(items_of(bucket, files))
    assert time.monotonic() - began >= 2.0


def test_an_upload_goes_on_with_the_parts_that_are_there(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    file = large_file(tmp_path / "model.pt")
    note = Note(tmp_path / "note")
    store = bucket.files(endpoint_url=proxy.url, threads=1, deadline_s=0.5)
    with pytest.raises(ArtifactError) as caught:
        store.upload([Item(file, bucket.uri("large"), note)], Told(proxy.refuse))
    assert caught.value.retryable
    proxy.pass_on()
    there = sum(part["Size"] for part in bucket.parts())
    assert 0 < there < file.stat().st_size
    told = Told()
    assert store.upload([Item(file, bucket.uri("large"), note)], told) == Sent(1, file.stat().st_size - there, 0)
    assert told.done_bytes == file.stat().st_size
    assert bucket.content("large") == file.read_bytes()
    assert note.load() == {}


def test_without_a_note_the_server_is_asked_for_the_parts(bucket: Bucket, tmp_path: Path) -> None:
    file = large_file(tmp_path / "model.pt")
    content = file.read_bytes()
    begun = bucket.client.create_multipart_upload(
        Bucket=bucket.name, Key="large", Metadata={"holdfast-crc32c": to_text(google_crc32c.value(content))}
    )
    where = {"Bucket": bucket.name, "Key": "large", "UploadId": begun["UploadId"]}
    bucket.client.upload_part(**where, PartNumber=2, Body=content[PART : 2 * PART])
    bucket.client.upload_part(**where, PartNumber=3, Body=b"x" * PART)  # another content: sent again
    assert upload(bucket, file, "large").sent_bytes == len(content) - PART
    assert bucket.content("large") == content
    assert bucket.begun() == []


def test_an_upload_that_somebody_else_began_does_not_lend_its_checksum(bucket: Bucket, tmp_path: Path) -> None:
    file = large_file(tmp_path / "model.pt", PART + MIB)
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="large", Metadata={"holdfast-crc32c": "AAAAAA=="})
    told = Told()
    upload(bucket, file, "large", told)
    assert from_text(bucket.crc("large")) == google_crc32c.value(file.read_bytes())
    assert told.done_bytes == file.stat().st_size


def test_an_upload_that_the_server_has_forgotten_begins_anew(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    file = large_file(tmp_path / "model.pt")
    note = Note(tmp_path / "note")

    def forget() -> None:
        begun = bucket.begun()[0]
        bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=begun["Key"], UploadId=begun["UploadId"])
        # What AWS says to the next part; moto says 500.
        proxy.fail_next(1, 404, body="<Error><Code>NoSuchUpload</Code></Error>")

    told, store = Told(forget), bucket.files(endpoint_url=proxy.url, threads=1)
    assert store.upload([Item(file, bucket.uri("large"), note)], told).files == 1
    assert told.done_bytes == file.stat().st_size
    assert bucket.content("large") == file.read_bytes()


def test_a_refusal_in_the_middle_leaves_no_parts(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    file = large_file(tmp_path / "model.pt")
    denied = "<Error><Code>AccessDenied</Code><Message>no more</Message></Error>"

    def deny() -> None:
        proxy.fail_next(1, 403, body=denied)

    with pytest.raises(ArtifactError, match="AccessDenied: no more"):
        bucket.files(endpoint_url=proxy.url, threads=1).upload([Item(file, bucket.uri("large"))], Told(deny))
    assert bucket.begun() == []


CHILD = """
    import json, sys
    from pathlib import Path
    from holdfast.artifacts.access import S3Access
    from holdfast.artifacts.s3 import S3Files
    from holdfast.artifacts.transfer import Item

    class Note:
        def __init__(self, path): self.path = Path(path)
        def load(self): return json.loads(self.path.read_text()) if self.path.exists() else {}
        def save(self, content): self.path.write_text(json.dumps(dict(content)))

    local, uri, note, access = json.loads(sys.stdin.read())
"""
UPLOAD = """
    item = Item(Path(local), uri, Note(note) if note else None)
    print(json.dumps(S3Files(S3Access.from_json(access)).upload([item]).sent_bytes))
"""


def start(bucket: Bucket, file: Path, note: Path | None, script: str = UPLOAD, **more: Any) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD) + textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    child.stdin.write(
        json.dumps([str(file), bucket.uri("large"), str(note) if note else "", bucket.access(**more).to_json()])
    )
    child.stdin.close()
    child.stdin = None
    return child


@pytest.mark.parametrize("has_note", [True, False])
def test_what_was_killed_is_finished_by_another_process(bucket: Bucket, tmp_path: Path, has_note: bool) -> None:
    file = large_file(tmp_path / "model.pt", 6 * PART)
    note = tmp_path / "note" if has_note else None
    # A part a second: there is time to kill it between two of them.
    child = start(bucket, file, note, upload_rate=PART)
    until(lambda: len(bucket.parts()) >= 2)
    child.kill()
    child.communicate()
    there = sum(part["Size"] for part in bucket.parts())
    assert 2 * PART <= there < 6 * PART
    output, errors = start(bucket, file, note).communicate(timeout=60)
    assert json.loads(output or "null") == 6 * PART - there, errors
    assert bucket.content("large") == file.read_bytes()
    assert bucket.begun() == []


@pytest.mark.parametrize("has_note", [True, False])
def test_ctrl_c_leaves_soon_and_keeps_parts_only_for_a_note(bucket: Bucket, tmp_path: Path, has_note: bool) -> None:
    file = large_file(tmp_path / "model.pt", 6 * PART)
    child = start(bucket, file, tmp_path / "note" if has_note else None, upload_rate=PART // 2)
    # A part in two seconds: there is time to press it before all are there.
    until(lambda: len(bucket.parts()) >= 1)
    pressed = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert time.monotonic() - pressed < 20
    assert child.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert bool(bucket.begun()) is has_note


def test_a_burst_of_refusals_and_resets_is_outlasted(bucket: Bucket, proxy: FaultProxy, tmp_path: Path) -> None:
    files = [*folder_of(tmp_path / "folder"), large_file(tmp_path / "mid.bin", 2 * MIB)]
    files.append(large_file(tmp_path / "large.bin", PART + MIB))
    for how in (503, 429, "reset", "drop_answers"):
        proxy.fail_next(4, how)
        store = bucket.files(endpoint_url=proxy.url, deadline_s=20.0)
        assert store.upload(items_of(bucket, files, f"run-{how}/")).files == len(files)
        for file in files:
            assert bucket.content(f"run-{how}/{file.name}") == file.read_bytes()
    assert bucket.begun() == []


def test_keys_that_were_changed_in_a_profile_take_effect(bucket: Bucket, s3_server: Server, tmp_path: Path) -> None:
    successor = s3_server.add_account(f"{bucket.account.name}-next", [bucket.name])
    file = folder_of(tmp_path / "folder", 1)[0]
    folder = Path.home() / ".aws"
    folder.mkdir()

    def write(key: str, secret: str) -> None:
        (folder / "credentials").write_text(f"[mine]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")

    write("AKIAGONEGONEGONEGONE", "gone")
    mine = Credentials("profile", "profile mine", profile="mine", region="us-east-1")
    store = S3Files(replace(bucket.access(), credentials=mine))
    with pytest.raises(ArtifactError, match="InvalidAccessKeyId"):
        store.upload([Item(file, bucket.uri("file"))])
    write(successor.access_key_id, successor.secret_access_key)
    assert store.upload([Item(file, bucket.uri("file"))]).files == 1


FORKED = """
    import os, signal

    first = S3Files(S3Access.from_json(access))
    item = Item(Path(local), uri)
    first.upload([item])
    if os.fork() == 0:
        signal.alarm(20)
        ok = first.upload([Item(Path(local), uri + "-2")]).files == 1
        ok = ok and S3Files(S3Access.from_json(access)).upload([Item(Path(local), uri + "-3")]).files == 1
        os._exit(0 if ok else 1)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_forked_process_uploads_too(bucket: Bucket, tmp_path: Path) -> None:
    file = folder_of(tmp_path / "folder", 1)[0]
    output, errors = start(bucket, file, None, script=FORKED).communicate(timeout=60)
    assert output.strip() == "0", errors
    assert bucket.content("large-3") == file.read_bytes()
