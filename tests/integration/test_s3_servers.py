"""The two S3 servers beside moto: what Swift verifies, and what rclone does not."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import MissingDependencyError, ServerError
from holdfast.testing import Account, RcloneAccess, RcloneServer, SwiftAccess, SwiftServer
from holdfast.testing import rclone as rclone_module
from holdfast.testing import swift as swift_module

errors = pytest.importorskip("botocore.exceptions")

needs_swift = pytest.mark.skipif(sys.platform != "linux", reason="Swift runs on Linux alone")
ZEROS = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
MIB = 1 << 20


def bucket_name(unique: str) -> str:
    return f"b-{unique[-8:]}"


def refusal(call: Callable[..., object], **arguments: object) -> str:
    """The error code with which S3 refuses the call."""
    with pytest.raises(errors.ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def put_parts(client: Any, bucket: str, key: str, parts: list[bytes]) -> str:
    """Store an object in parts; return its ETag."""
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    done = []
    for number, data in enumerate(parts, 1):
        where = {"Bucket": bucket, "Key": key, "UploadId": upload, "PartNumber": number}
        done.append({"PartNumber": number, "ETag": client.upload_part(Body=data, **where)["ETag"]})
    found = client.list_parts(Bucket=bucket, Key=key, UploadId=upload)["Parts"]
    assert [(part["PartNumber"], part["Size"]) for part in found] == [(at + 1, len(p)) for at, p in enumerate(parts)]
    finished = client.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": done}
    )
    return str(finished["ETag"]).strip('"')


def etag_of(parts: list[bytes]) -> str:
    sums = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in parts)
    return f"{hashlib.md5(sums, usedforsecurity=False).hexdigest()}-{len(parts)}"


@needs_swift
class TestSwift:
    @pytest.fixture
    def bucket(self, unique: str) -> str:
        return bucket_name(unique)

    @pytest.fixture
    def account(self, swift_server: SwiftAccess, unique: str, bucket: str) -> Account:
        return swift_server.add_account(unique, [bucket])

    @pytest.fixture
    def client(self, swift_server: SwiftAccess, account: Account) -> Any:
        return swift_server.client(account)

    def test_the_right_key_writes_and_reads(self, client: Any, bucket: str) -> None:
        key = "a folder/größe+1%20#?.txt"
        client.put_object(Bucket=bucket, Key=key, Body=b"content")
        assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"content"
        assert [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
        found = client.get_object(Bucket=bucket, Key=key, Range="bytes=2-3")
        assert (found["ResponseMetadata"]["HTTPStatusCode"], found["Body"].read()) == (206, b"nt")

    def test_strangers_are_refused(self, swift_server: SwiftAccess, account: Account, bucket: str, unique: str) -> None:
        other = swift_server.add_account(f"{unique}-other", [])
        wrong = Account("x", account.access_key_id, "0" * 40)
        unknown = Account("x", "HOLD0000000000000000", account.secret_access_key)
        refused = [refusal(swift_server.client(who).list_objects_v2, Bucket=bucket) for who in (other, wrong, unknown)]
        assert refused == ["NoSuchBucket", "SignatureDoesNotMatch", "SignatureDoesNotMatch"]

    @pytest.mark.parametrize("algorithm", ZEROS)
    def test_a_wrong_checksum_is_refused(self, algorithm: str, client: Any, bucket: str) -> None:
        claimed = {f"Checksum{algorithm}": base64.b64encode(bytes(ZEROS[algorithm])).decode()}
        assert refusal(client.put_object, Bucket=bucket, Key="a", Body=b"content", **claimed) == "BadDigest"
        assert "Contents" not in client.list_objects_v2(Bucket=bucket)

    def test_a_wrong_md5_is_refused(self, client: Any, bucket: str) -> None:
        wrong = base64.b64encode(bytes(16)).decode()
        assert refusal(client.put_object, Bucket=bucket, Key="a", Body=b"content", ContentMD5=wrong) == "BadDigest"

    def test_parts_make_an_object(self, client: Any, bucket: str) -> None:
        parts = [bytes([at]) * 5 * MIB for at in range(2)] + [b"the end"]
        assert put_parts(client, bucket, "large", parts) == etag_of(parts)
        assert client.get_object(Bucket=bucket, Key="large")["Body"].read() == b"".join(parts)

    def test_conditions_hold(self, client: Any, bucket: str) -> None:
        client.put_object(Bucket=bucket, Key="a", Body=b"1", IfNoneMatch="*")
        assert refusal(client.put_object, Bucket=bucket, Key="a", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"

    def test_copies_are_whole(self, client: Any, bucket: str) -> None:
        client.put_object(Bucket=bucket, Key="a", Body=b"content")
        client.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")
        assert client.get_object(Bucket=bucket, Key="b")["Body"].read() == b"content"

    def test_nothing_is_left_when_it_has_ended(self) -> None:
        server = SwiftServer()
        with server:
            folder = Path(server.access.users).parent
            assert folder.is_dir()
            assert len(_processes_of(folder)) >= 5
            with pytest.raises(ServerError, match="running already"):
                server.start()
        assert not folder.exists()
        assert not _processes_of(folder)
        with pytest.raises(ServerError, match="not started"):
            _ = server.access
        server.stop()

    def test_where_a_folder_has_no_attributes_another_is_taken(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(swift_module, "_has_attributes", lambda folder: str(folder) == str(tmp_path))
        with pytest.raises(ServerError, match="TMPDIR"):
            SwiftServer().start()
        monkeypatch.chdir(tmp_path)
        assert SwiftServer()._make_folder().parent == tmp_path

    def test_without_its_package_it_is_one_clear_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(swift_module, "find_spec", lambda _: None)
        with pytest.raises(MissingDependencyError, match=r"holdfast\[testing\]"):
            SwiftServer().start()


class TestRclone:
    def test_the_right_key_writes_and_reads(self, rclone_server: RcloneAccess, unique: str) -> None:
        client, bucket = rclone_server.client(), bucket_name(unique)
        client.create_bucket(Bucket=bucket)
        parts = [bytes([at]) * 5 * MIB for at in range(2)] + [b"the end"]
        put_parts(client, bucket, "large", parts)
        assert client.get_object(Bucket=bucket, Key="large")["Body"].read() == b"".join(parts)
        client.put_object(Bucket=bucket, Key="large", Body=b"2", IfNoneMatch="*")  # which it ignores
        assert client.get_object(Bucket=bucket, Key="large")["Body"].read() == b"2"

    def test_strangers_are_refused(self, rclone_server: RcloneAccess) -> None:
        wrong = RcloneAccess(
            rclone_server.endpoint_url, Account("x", rclone_server.account.access_key_id, "0" * 40)
        ).client()
        assert refusal(wrong.list_buckets) == "SignatureDoesNotMatch"

    def test_its_keys_are_no_argument(self) -> None:
        with RcloneServer() as server:
            account = server.access.account
            listed = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        assert "serve s3" in listed
        assert account.access_key_id not in listed
        assert account.secret_access_key not in listed

    def test_without_its_package_it_is_one_clear_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rclone_module, "files", lambda _: [])
        monkeypatch.setenv("PATH", "")
        with pytest.raises(MissingDependencyError, match=r"holdfast\[testing\]"):
            RcloneServer().start()


def _processes_of(folder: Path) -> list[str]:
    listed = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]
