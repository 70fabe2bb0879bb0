"""Transfers over a network that fails, to servers that verify: whole in the end, or an error that says what to do."""

from __future__ import annotations

import datetime
import json
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3 import S3Files
from holdfast.artifacts.transfer import Item, Sent
from holdfast.errors import ArtifactError
from holdfast.settings import Credentials
from holdfast.testing import Account, FaultProxy, RcloneAccess, ServerCertificate, SwiftAccess
from holdfast.testing import S3Access as MotoAccess

pytest.importorskip("swift")
pytestmark = pytest.mark.timeout(120)
MIB = 1 << 20
# A small file, one that goes in one request, and one that goes in parts.
SIZES = [300_000, 3 * MIB, 40 * MIB]
SLACK_S = 10.0  # a busy machine
# Further than any listing or error is long, and inside each file.
AT = 200_000


def keys_of(account: Account, token: str | None = None) -> Credentials:
    secret = SecretStr(account.secret_access_key)
    return Credentials("project", "arguments", account.access_key_id, secret, SecretStr(token) if token else None)


@dataclass(frozen=True)
class World:
    """A bucket at a server behind a proxy.

    Attributes:
        proxy: The network.
        access: How to reach the server through it.
        bucket: The bucket.
        folder: Where local files lie.
        client: Sees the bucket without the proxy.
    """

    proxy: FaultProxy
    access: S3Access
    bucket: str
    folder: Path
    client: Any = field(repr=False)

    def files(self, **changed: Any) -> S3Files:
        """Return the store, with another access if asked."""
        return S3Files(replace(self.access, **changed))

    @property
    def root(self) -> str:
        """Where the files are."""
        return f"s3://{self.bucket}/root"

    def item(self, content: bytes, name: str = "file") -> Item:
        """Return a file to be stored."""
        path = self.folder / name
        path.write_bytes(content)
        return Item(path, f"{self.root}/{name}")

    def stored(self, name: str = "file") -> bytes:
        """Return what the server has."""
        return bytes(self.client.get_object(Bucket=self.bucket, Key=f"root/{name}")["Body"].read())

    def keys(self) -> list[str]:
        """Return the keys that the server has."""
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", ())]

    def store(self, content: bytes, name: str = "file") -> None:
        """Have the server hold a file as our own uploads leave it."""
        self.files().upload([self.item(content, name)])
        self.proxy.forget()


@pytest.fixture
def world(swift_server: SwiftAccess, unique: str, tmp_path: Path) -> Iterator[World]:
    """On Swift, which verifies what arrives."""
    bucket = f"faults-{unique[-8:]}"
    account = swift_server.add_account(unique, [bucket])
    with FaultProxy(swift_server.endpoint_url) as proxy:
        access = S3Access(keys_of(account), endpoint_url=proxy.url, deadline_s=30)
        yield World(proxy, access, bucket, tmp_path, swift_server.client(account))


def s3_error(code: str, message: str = "said the server", **more: str) -> str:
    """Return the XML that S3 refuses with."""
    tags = {"Code": code, "Message": message, **more}
    return "<Error>" + "".join(f"<{name}>{value}</{name}>" for name, value in tags.items()) + "</Error>"


# -- faults that pass -----------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (429, "TooManyRequests"), (500, "InternalError")])
def test_bursts_of_refusals_pass(world: World, status: int, code: str) -> None:
    contents = {f"{at}": os.urandom(size) for at, size in enumerate(SIZES)}
    world.proxy.fail_next(4, status, {"Retry-After": "0", "Content-Type": "application/xml"}, s3_error(code))
    files = world.files()
    assert files.upload([world.item(content, name) for name, content in contents.items()]).files == 3
    assert {name: world.stored(name) for name in contents} == contents
    world.proxy.fail_next(4, status, {"Retry-After": "0"}, s3_error(code))
    fetched = files.download(world.root, "", world.folder / "out")
    assert {name: (fetched / name).read_bytes() for name in contents} == contents


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_reset_in_the_middle_of_an_upload(world: World, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    world.proxy.cut_requests(AT, times=2)
    world.files().upload([world.item(content)])
    assert world.proxy.happened == 2
    assert world.stored() == content


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_reset_in_the_middle_of_a_download(world: World, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    world.store(content)
    world.proxy.cut_answers(AT, times=2)
    assert world.files().download(world.root, "file", world.folder / "out").read_bytes() == content
    assert world.proxy.happened == 2


@pytest.mark.parametrize("size_bytes", SIZES)
def test_answers_that_are_lost(world: World, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    world.proxy.fail_next(3, "drop_answers")
    world.files().upload([world.item(content)])
    assert world.stored() == content


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_byte_that_flips_on_its_way_up_is_refused_and_sent_again(world: World, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    world.proxy.flip_in_requests(AT, times=1)
    world.files().upload([world.item(content)])
    assert world.proxy.happened == 1
    assert world.stored() == content


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_byte_that_flips_on_its_way_down_is_noticed_and_fetched_again(world: World, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    world.store(content)
    world.proxy.flip_in_answers(AT, times=1)
    assert world.files().download(world.root, "file", world.folder / "out").read_bytes() == content
    assert world.proxy.happened == 1


@pytest.mark.parametrize("size_bytes", SIZES)
def test_bytes_that_flip_each_time_are_an_error_and_no_file(world: World, size_bytes: int) -> None:
    world.store(os.urandom(size_bytes))
    world.proxy.flip_in_answers(AT)
    with pytest.raises(ArtifactError) as caught:
        world.files(deadline_s=1).download(world.root, "file", world.folder / "out")
    assert world.bucket in str(caught.value)
    assert world.proxy.happened >= 2
    assert not [path for path in (world.folder / "out").rglob("*") if path.is_file()]


def test_bytes_that_flip_each_time_are_not_stored(world: World) -> None:
    world.proxy.flip_in_requests(AT)
    for size in SIZES:
        with pytest.raises(ArtifactError):
            world.files(deadline_s=1).upload([world.item(os.urandom(size))])
    assert world.proxy.happened >= 3
    world.proxy.pass_on()
    assert world.keys() == []


# -- faults that take their time ------------------------------------------------------


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_black_hole_ends_with_the_deadline(world: World, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    files = world.files(deadline_s=1)
    item = world.item(content)
    world.proxy.black_hole()
    started = time.monotonic()
    with pytest.raises(ArtifactError) as caught:
        files.upload([item])
    assert time.monotonic() - started < 3 + SLACK_S
    assert caught.value.retryable
    world.proxy.cut()
    world.proxy.pass_on()
    files.upload([item])
    assert world.stored() == content


def test_what_is_slow_but_goes_on_is_waited_for(world: World) -> None:
    content = os.urandom(3 * MIB)
    files = world.files(deadline_s=1)
    world.proxy.slow(2 * MIB)
    started = time.monotonic()
    files.upload([world.item(content)])
    assert time.monotonic() - started > 1.2  # longer than the deadline without progress
    assert files.download(world.root, "file", world.folder / "out").read_bytes() == content


def test_a_server_that_is_away_for_a_while_in_the_middle(world: World) -> None:
    content = os.urandom(80 * MIB)
    done: list[Sent | BaseException] = []

    def upload() -> None:
        try:
            done.append(world.files(threads=2).upload([world.item(content)]))
        except BaseException as error:
            done.append(error)

    world.proxy.slow(32 * MIB)
    thread = threading.Thread(target=upload)
    thread.start()
    wait_until(lambda: world.proxy.traffic("PUT").requests >= 1)
    world.proxy.refuse()
    away_until = time.monotonic() + 2
    wait_until(lambda: time.monotonic() > away_until)
    assert thread.is_alive()
    sent_before = world.proxy.traffic("PUT").sent_bytes
    world.proxy.pass_on()
    thread.join(60)
    assert done == [Sent(1, len(content))]
    assert world.stored() == content
    # Parts that were there are not sent again.
    assert world.proxy.traffic("PUT").sent_bytes - sent_before <= len(content) - 16 * MIB


def test_an_upload_that_failed_goes_on_where_it_was(world: World) -> None:
    content = os.urandom(64 * MIB)
    item = world.item(content)
    failed: list[BaseException] = []

    def upload() -> None:
        with pytest.raises(ArtifactError) as caught:
            world.files(threads=1, deadline_s=1).upload([item])
        failed.append(caught.value)

    world.proxy.slow(64 * MIB)
    thread = threading.Thread(target=upload)
    thread.start()
    wait_until(lambda: world.proxy.traffic("PUT").requests >= 2)
    world.proxy.refuse()
    thread.join(60)
    assert isinstance(failed[0], ArtifactError)
    assert failed[0].retryable
    assert world.keys() == []
    world.proxy.pass_on()
    world.proxy.forget()
    world.files().upload([item])
    assert world.proxy.traffic("PUT").sent_bytes <= len(content) - 2 * 16 * MIB
    assert world.stored() == content


def wait_until(condition: Callable[[], bool], within_s: float = 30) -> None:
    """Return when the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- memory ---------------------------------------------------------------------------

_CHILD = """
import json, sys
from pathlib import Path
from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3 import S3Files
from holdfast.artifacts.transfer import Item
what = json.loads(sys.stdin.readline())
files = S3Files(S3Access.from_json(what["access"]))
if what["do"] == "upload":
    files.upload([Item(Path(what["local"]), what["root"] + "/large")])
else:
    files.download(what["root"], "large", Path(what["local"]))
# Not ru_maxrss: that counts the memory of the process which this one was forked from.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")]
print(int(peak) * 1024)
"""


@pytest.mark.timeout(300)
def test_memory_stays_small_however_large_the_file(rclone_server: RcloneAccess, unique: str, tmp_path: Path) -> None:
    size = 1024 * MIB
    bucket = f"large-{unique[-8:]}"
    client = rclone_server.client()
    client.create_bucket(Bucket=bucket)
    local, out = tmp_path / "large", tmp_path / "out"
    local.touch()
    os.truncate(local, size)
    access = S3Access(keys_of(rclone_server.account), endpoint_url=rclone_server.endpoint_url, deadline_s=60)
    for do, path in (("upload", local), ("download", out)):
        told = json.dumps({"do": do, "access": access.to_json(), "local": str(path), "root": f"s3://{bucket}"})
        child = subprocess.run(
            [sys.executable, "-c", _CHILD], input=told, capture_output=True, text=True, timeout=200, check=False
        )
        assert child.returncode == 0, child.stderr
        assert int(child.stdout) < 256 * MIB
    assert client.head_object(Bucket=bucket, Key="large")["ContentLength"] == (out / "large").stat().st_size == size
    client.delete_object(Bucket=bucket, Key="large")
    (out / "large").unlink()


# -- refusals -------------------------------------------------------------------------


def refused(
    world: World, account: str, caplog: pytest.LogCaptureFixture, secret: str = "", **changed: Any
) -> list[ArtifactError]:
    """Return the errors of all four calls, which must name place and account and no secret."""
    files = world.files(deadline_s=2, **changed)
    root = world.root
    calls: list[tuple[str, Callable[[], object]]] = [
        ("root/small", lambda: files.upload([world.item(b"content", "small")])),
        ("root/large", lambda: files.upload([world.item(bytes(SIZES[2]), "large")])),
        ("", lambda: files.list_files(root)),
        ("root/small", lambda: files.download(root, "small", world.folder / "out")),
        ("", lambda: files.delete(root, "small")),
    ]
    errors = []
    for key, call in calls:
        with caplog.at_level(logging.INFO), pytest.raises(ArtifactError) as caught:
            call()
        error = caught.value
        shown = "".join(traceback.format_exception(error)) + repr(error) + repr(files) + caplog.text
        assert world.bucket in str(error)
        assert key in str(error)
        assert account in str(error)
        assert error.hint
        assert world.access.credentials.secret_access_key is not None
        assert world.access.credentials.secret_access_key.get_secret_value() not in shown
        if secret:
            assert secret not in shown
        errors.append(error)
    return errors


@pytest.fixture
def moto(s3_server: MotoAccess, unique: str, tmp_path: Path) -> Iterator[World]:
    """On moto, which has policies."""
    bucket = f"faults-{unique[-8:]}"
    account = s3_server.add_account(unique, [bucket])
    with FaultProxy(s3_server.endpoint_url) as proxy:
        access = S3Access(keys_of(account), endpoint_url=proxy.url, deadline_s=30)
        yield World(proxy, access, bucket, tmp_path, s3_server.client(account))


def masked(access: S3Access) -> str:
    key = access.credentials.access_key_id or ""
    return f"key {key[:4]}…{key[-4:]}"


def test_a_wrong_secret(moto: World, canary: str, caplog: pytest.LogCaptureFixture) -> None:
    credentials = replace(moto.access.credentials, secret_access_key=SecretStr(canary))
    for error in refused(moto, masked(moto.access), caplog, canary, credentials=credentials):
        assert error.code == "SignatureDoesNotMatch"
        assert "MLFLOW_AWS_SECRET_ACCESS_KEY" in error.hint


def test_an_unknown_key(moto: World, canary: str, caplog: pytest.LogCaptureFixture) -> None:
    credentials = keys_of(Account("x", "AKIANOBODY0000000001", canary))
    for error in refused(moto, "key AKIA…0001", caplog, canary, credentials=credentials):
        assert error.code == "InvalidAccessKeyId"
        assert "MLFLOW_AWS_ACCESS_KEY_ID" in error.hint


def test_somebody_elses_bucket(
    moto: World, s3_server: MotoAccess, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = s3_server.add_account(f"{unique}-other", [f"{moto.bucket}-other"])
    credentials = keys_of(other)
    for error in refused(moto, masked(replace(moto.access, credentials=credentials)), caplog, credentials=credentials):
        assert error.code == "AccessDenied"
        assert "s3:PutObject" in error.hint


def test_a_bucket_that_is_not_there(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for error in refused(replace(world, bucket="faults-nowhere"), "", caplog):
        assert error.code == "NoSuchBucket"
        assert "MLFLOW_ARTIFACT_ROOT" in error.hint


def test_a_clock_that_is_wrong(world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swift compares the time of a request with its own."""

    def an_hour_ago(remove_tzinfo: bool = True) -> datetime.datetime:
        found = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
        return found.replace(tzinfo=None) if remove_tzinfo else found

    monkeypatch.setattr("botocore.auth.get_current_datetime", an_hour_ago)
    files = world.files(deadline_s=1)
    for call in (
        lambda: files.upload([world.item(bytes(SIZES[2]))]),
        lambda: files.list_files(world.root),
        lambda: files.delete(world.root, "file"),
    ):
        with pytest.raises(ArtifactError) as caught:
            call()
        assert caught.value.code == "RequestTimeTooSkewed"
        assert world.bucket in str(caught.value)
        assert masked(world.access) in str(caught.value)
        assert "clock" in caught.value.hint


ANSWERS = {
    "expired token": (400, s3_error("ExpiredToken", "The provided token has expired."), "MLFLOW_AWS_SESSION_TOKEN"),
    "KMS": (403, s3_error("AccessDenied", "not authorized to perform: kms:GenerateDataKey"), "kms:GenerateDataKey"),
    "region": (
        301,
        s3_error("PermanentRedirect", "use the specified endpoint"),
        "MLFLOW_AWS_DEFAULT_REGION to eu-west-3",
    ),
    "a region unsaid": (301, s3_error("PermanentRedirect", "use the specified endpoint"), "MLFLOW_AWS_DEFAULT_REGION"),
    "clock": (403, s3_error("RequestTimeTooSkewed", "too large"), "clock"),
}


@pytest.mark.parametrize("which", ANSWERS)
def test_what_only_the_cloud_answers(which: str, world: World, canary: str, caplog: pytest.LogCaptureFixture) -> None:
    status, body, remedy = ANSWERS[which]
    region = {"x-amz-bucket-region": "eu-west-3"} if which == "region" else {}
    world.proxy.answer(status, {"Content-Type": "application/xml", **region}, body)
    credentials = replace(world.access.credentials, session_token=SecretStr(canary))
    account = "" if "region" in which else masked(world.access)
    for error in refused(world, account, caplog, canary, credentials=credentials):
        assert remedy in error.hint


def test_the_region_is_learnt_from_the_server(world: World) -> None:
    content = os.urandom(SIZES[0])
    files = world.files(region="eu-west-1")
    files.upload([world.item(content)])
    assert world.stored() == content
    assert files.download(world.root, "file", world.folder / "out").read_bytes() == content


# -- TLS ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["swift", "rclone"])
def test_tls_with_an_authority_of_ones_own(
    kind: str, request: pytest.FixtureRequest, server_certificate: ServerCertificate, unique: str, tmp_path: Path
) -> None:
    server: SwiftAccess | RcloneAccess = request.getfixturevalue(f"{kind}_server")
    bucket = f"tls-{unique[-8:]}"
    if isinstance(server, SwiftAccess):
        account = server.add_account(unique, [bucket])
        client = server.client(account)
    else:
        account, client = server.account, server.client()
        client.create_bucket(Bucket=bucket)
    with FaultProxy(server.endpoint_url, tls=server_certificate) as proxy:
        access = S3Access(keys_of(account), endpoint_url=proxy.url, deadline_s=5)
        world = World(proxy, access, bucket, tmp_path, client)
        contents = {f"{at}": os.urandom(size) for at, size in enumerate(SIZES)}
        items = [world.item(content, name) for name, content in contents.items()]
        for item in items:
            with pytest.raises(ArtifactError) as caught:
                world.files().upload([item])
            assert caught.value.code == "Certificate"
            assert not caught.value.retryable
            assert "AWS_CA_BUNDLE" in caught.value.hint
        assert proxy.count == 0
        trusting: list[dict[str, Any]] = [{"ca_bundle": str(server_certificate.ca_bundle)}, {"ignore_tls": True}]
        for at, how in enumerate(trusting):
            files = world.files(deadline_s=20, **how)
            files.upload([replace(item, uri=f"{world.root}/{at}/{item.local.name}") for item in items])
            fetched = files.download(world.root, str(at), tmp_path / "out")
            assert {name: (fetched / name).read_bytes() for name in contents} == contents


@pytest.mark.parametrize("size", [SIZES[0], SIZES[1]])
@pytest.mark.parametrize("bundle", ["missing", "garbage", "folder"])
def test_a_ca_bundle_that_is_none_is_named(
    bundle: str, size: int, moto: World, server_certificate: ServerCertificate, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    if bundle == "garbage":
        path.write_text("no certificate")
    if bundle == "folder":
        path.mkdir()
    with FaultProxy(moto.proxy.url, tls=server_certificate) as proxy:
        with pytest.raises(ArtifactError, match="AWS_CA_BUNDLE") as caught:
            moto.files(endpoint_url=proxy.url, ca_bundle=str(path)).upload([moto.item(os.urandom(size))])
        assert proxy.count == 0
    assert str(path) in caught.value.message
    assert caught.value.code == "Certificate"
    assert not caught.value.retryable
    assert "PEM" in caught.value.hint
    # Without TLS it serves for nothing.
    assert moto.files(ca_bundle=str(path)).upload([moto.item(os.urandom(size))]).files == 1


def test_plain_http_to_a_port_that_speaks_tls_is_told(moto: World, server_certificate: ServerCertificate) -> None:
    with FaultProxy(moto.proxy.url, tls=server_certificate) as proxy:
        plain = proxy.url.replace("https://", "http://")
        for size in SIZES[:2]:
            with pytest.raises(ArtifactError) as caught:
                moto.files(endpoint_url=plain, deadline_s=2).upload([moto.item(os.urandom(size))])
            assert "https://" in caught.value.hint


def test_unchecked_certificates_are_spoken_of_once(
    moto: World, server_certificate: ServerCertificate, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultProxy(moto.proxy.url, tls=server_certificate) as proxy, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        files = moto.files(endpoint_url=proxy.url, ignore_tls=True)
        for size in SIZES:
            files.upload([moto.item(os.urandom(size), f"{size}")])
        files.list_files(moto.root)
    assert not [warning for warning in warned if "HTTPS" in str(warning.message)]
    assert caplog.text.count("certificate is not checked") == 1
