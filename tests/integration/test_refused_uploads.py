"""Files that a store will never take are set aside; what keys, rights or settings mend is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.store import ArtifactStore
from holdfast.delivery.blame import TRIES
from holdfast.delivery.file_sync import FileSync
from holdfast.delivery.target import Target
from holdfast.delivery.upload_target import UploadTarget
from holdfast.delivery.uploader import Uploader
from holdfast.delivery.uploads import Fate, Shipment, Uploads
from holdfast.journal.layout import JournalPaths
from holdfast.journal.parcel import Parcel
from holdfast.journal.spool import Spool
from holdfast.settings import Credentials
from holdfast.testing.fixtures import RunningMlflow
from holdfast.testing.s3 import S3Access as S3Running

ACCESS = S3Access(Credentials("project", "the test", "AKIA", SecretStr("x" * 40)), deadline_s=2.0)


@contextmanager
def answering(status: int) -> Iterator[str]:
    """Run a server that answers every PUT so."""

    class Answer(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"no")

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def handed(tmp_path: Path) -> Callable[[str, str], Parcel]:
    """Hands a file over as a process that is gone since."""
    spool = Spool(JournalPaths(tmp_path / "journal"))

    def hand_over(name: str, root_uri: str, access: S3Access = ACCESS) -> Parcel:
        source = tmp_path / "source"
        source.write_bytes(b"content")
        parcel_id = spool.hand_over([(source, name)], "run", root_uri, access.fingerprint, "1-gone")
        return Parcel(spool.paths.files / parcel_id)

    return hand_over


def send(parcel: Parcel, tracking_uri: str, access: S3Access = ACCESS) -> Shipment:
    return Uploads(JournalPaths(parcel.folder.parent.parent), ArtifactStore(access, tracking_uri)).send(parcel)


def test_a_name_that_the_server_cannot_keep(
    handed: Callable[..., Parcel], mlflow_server: RunningMlflow, tmp_path: Path
) -> None:
    bad = handed("a%20b.txt", "mlflow-artifacts:/refused")
    good = handed("good.txt", "mlflow-artifacts:/refused")
    target = Target(mlflow_server.url, tmp_path / "journal")
    uploader = threading.Thread(target=Uploader(UploadTarget(target, ACCESS)).run)
    uploader.start()
    # It ends, although what was set aside is still there.
    uploader.join(60)
    assert not uploader.is_alive()
    assert not good.is_there
    assert bad.is_refused
    assert bad.trouble is not None
    assert "under its name" in bad.trouble.reason


def test_a_key_that_is_too_long_for_s3(handed: Callable[..., Parcel], s3_server: S3Running, tmp_path: Path) -> None:
    account = s3_server.add_account("refused", ["refused-bucket"])
    access = S3Access(
        Credentials("project", "the test", account.access_key_id, SecretStr(account.secret_access_key)),
        endpoint_url=s3_server.endpoint_url,
        addressing_style="path",
    )
    name = "/".join(["n" * 200] * 6)
    parcel = handed(name, "s3://refused-bucket/run", access)
    assert send(parcel, "http://127.0.0.1:9", access).fate is Fate.REFUSED
    assert parcel.is_refused


@pytest.mark.parametrize("status", [413, 414])
def test_answers_about_this_file_set_it_aside_at_once(handed: Callable[..., Parcel], status: int) -> None:
    parcel = handed("model.pt", "mlflow-artifacts:/refused")
    with answering(status) as url:
        assert send(parcel, url).fate is Fate.REFUSED
    assert parcel.is_refused


@pytest.mark.parametrize("status", [400, 404, 409])
def test_answers_that_may_be_about_this_file_do_after_some_tries(handed: Callable[..., Parcel], status: int) -> None:
    parcel = handed("model.pt", "mlflow-artifacts:/refused")
    with answering(status) as url:
        found = [send(parcel, url) for _ in range(TRIES)]
    assert [(one.fate, one.doubts) for one in found[:-1]] == [(Fate.FAILED, n) for n in range(1, TRIES)]
    assert found[-1].fate is Fate.REFUSED
    parcel.forgive()
    with answering(status) as url:
        assert send(parcel, url).doubts == 1


def test_another_trouble_in_between_begins_the_count_anew(handed: Callable[..., Parcel]) -> None:
    parcel = handed("model.pt", "mlflow-artifacts:/refused")
    for status, doubts in ((400, 1), (400, 2), (401, 0), (400, 1)):
        with answering(status) as url:
            assert send(parcel, url).doubts == doubts


@pytest.mark.parametrize("status", [301, 401, 403])
def test_what_people_mend_is_kept_and_tried_again(handed: Callable[..., Parcel], status: int) -> None:
    parcel = handed("model.pt", "mlflow-artifacts:/refused")
    with answering(status) as url:
        found = [send(parcel, url) for _ in range(2 * TRIES)]
    assert {(one.fate, one.needs_people) for one in found} == {(Fate.FAILED, True)}
    assert not parcel.is_refused


def test_wrong_keys_and_a_missing_bucket_are_kept(handed: Callable[..., Parcel], s3_server: S3Running) -> None:
    account = s3_server.add_account("kept", ["kept-bucket"])
    for key, bucket in (("y" * 40, "kept-bucket"), (account.secret_access_key, "no-such-bucket-anywhere")):
        access = S3Access(
            Credentials("project", "the test", account.access_key_id, SecretStr(key)),
            endpoint_url=s3_server.endpoint_url,
            addressing_style="path",
        )
        parcel = handed("model.pt", f"s3://{bucket}/run", access)
        found = [send(parcel, "http://127.0.0.1:9", access) for _ in range(TRIES + 1)]
        assert {(one.fate, one.doubts) for one in found} == {(Fate.FAILED, 0)}, found
        assert not parcel.is_refused


def test_sync_tries_until_it_is_set_aside(handed: Callable[..., Parcel], tmp_path: Path) -> None:
    parcel, told = handed("model.pt", "mlflow-artifacts:/refused"), list[str]()
    paths = JournalPaths(tmp_path / "journal")
    started_s = time.monotonic()
    with answering(400) as url:
        uploads = Uploads(paths, ArtifactStore(ACCESS, url))
        done = FileSync(Spool(paths), uploads, told=told.append).run(["run"])
    assert parcel.is_refused
    assert done["run"].reason == ""
    assert "HTTP 400" in told[-1]
    assert time.monotonic() - started_s < 60
