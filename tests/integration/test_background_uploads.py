"""Files that are uploaded in the background, with real processes, kills, outages, wrong keys and two accounts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from journaling import QUIET, until
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.delivery.delivery import Delivery
from holdfast.delivery.identity import Resolved
from holdfast.delivery.process import uploader_environment
from holdfast.delivery.target import Target, journal_name
from holdfast.delivery.upload_target import UploadTarget
from holdfast.delivery.uploads import root_of
from holdfast.journal.checkpoint import Checkpoint, save_checkpoint
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.spool import Spool
from holdfast.settings import Credentials
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow
from holdfast.testing.s3 import Account
from holdfast.testing.s3 import S3Access as S3Running

MIB = 1 << 20

_TRAINER = """
import json, os, sys
from pathlib import Path
from holdfast.artifacts.access import S3Access
from holdfast.delivery.delivery import Delivery
from holdfast.delivery.target import Target

told = json.loads(sys.stdin.readline())
delivery = Delivery(Target.from_json(told["target"]))
access = S3Access.from_json(told["access"])
for source, path in told["files"]:
    delivery.hand_over(told["run"], [(Path(source), path)], told["root"], access, told["artifact_root"])
    if told["overwrites"]:
        Path(source).write_bytes(b"overwritten")
print("handed over", flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True)
class World:
    """An S3 bucket of one account, a journal, and a folder with files."""

    s3: S3Running
    account: Account
    folder: Path
    tracking_uri: str

    @property
    def bucket(self) -> str:
        return self.account.buckets[0]

    @property
    def root(self) -> str:
        return f"s3://{self.bucket}/run"

    @property
    def target(self) -> Target:
        return Target(self.tracking_uri, self.folder / "journal" / journal_name(self.tracking_uri), exit_wait_s=0)

    @property
    def spool(self) -> Spool:
        return Spool(JournalPaths(self.target.root))

    def access(self, endpoint_url: str | None = None, secret: str | None = None) -> S3Access:
        key = SecretStr(secret or self.account.secret_access_key)
        credentials = Credentials("project", "the test", self.account.access_key_id, key)
        return S3Access(credentials, endpoint_url=endpoint_url or self.s3.endpoint_url, addressing_style="path")

    def file(self, name: str, size_bytes: int) -> tuple[Path, bytes]:
        path, data = self.folder / name, os.urandom(size_bytes)
        path.write_bytes(data)
        return path, data

    def stored(self, key: str) -> bytes | None:
        client = self.s3.client()
        with suppress(client.exceptions.NoSuchKey):
            found: bytes = client.get_object(Bucket=self.bucket, Key=f"run/{key}")["Body"].read()
            return found
        return None

    def uploaders(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_one = b"holdfast.delivery\0files" in (entry / "cmdline").read_bytes()
                is_alive = b"\nState:\tZ" not in (entry / "status").read_bytes()
                if is_one and is_alive and (entry / "cwd").resolve() == self.target.root.resolve():
                    found.append(int(entry.name))
        return found

    def tell(self) -> str:
        log = JournalPaths(self.target.root).uploader_log
        troubles = [(parcel.id, parcel.trouble) for parcel in self.spool.parcels()]
        return f"{troubles}\n{log.read_text()[-3000:] if log.exists() else ''}"

    def is_empty(self, limit_s: float = 60.0) -> None:
        """Wait until every parcel is uploaded."""
        until(lambda: not self.spool.parcels(), limit_s, self.tell)

    def kill(self) -> None:
        for pid in self.uploaders():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def world(s3_server: S3Running, tmp_path: Path) -> Iterator[World]:
    account = s3_server.add_account(f"u{uuid.uuid4().hex[:8]}", [f"b{uuid.uuid4().hex[:8]}"])
    # Nobody answers there: files need no tracking server.
    found = World(s3_server, account, tmp_path, "http://127.0.0.1:9")
    yield found
    found.kill()


@contextmanager
def training(
    world: World, access: S3Access, files: Sequence[tuple[Path, str]], **told: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run a process that hands files over, up to where it has."""
    process = subprocess.Popen(
        [sys.executable, "-c", _TRAINER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **QUIET},
    )  # fmt: skip
    line = {
        "target": world.target.to_json(),
        "access": access.to_json(),
        "files": [(str(source), path) for source, path in files],
        "run": "run",
        "root": world.root,
        "artifact_root": None,
        "overwrites": True,
        **told,
    }
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "handed over\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_trainer_that_is_killed_at_once_loses_no_file(world: World) -> None:
    large, content = world.file("model.pt", 24 * MIB)
    small, text = world.file("notes.txt", 1000)
    with training(world, world.access(), [(large, "m/model.pt"), (small, "notes.txt")]) as trainer:
        trainer.kill()
    world.is_empty()
    assert world.stored("m/model.pt") == content
    assert world.stored("notes.txt") == text
    until(lambda: not world.uploaders(), 30)


def test_files_of_one_name_arrive_in_order(world: World) -> None:
    source = world.folder / "last.ckpt"
    parts = []
    for number in range(12):
        parts.append((world.folder / f"{number}", "last.ckpt"))
        parts[-1][0].write_bytes(b"%d " % number * 5000 * (12 - number))
    last = parts[-1][0].read_bytes()
    with training(world, world.access(), parts):
        world.is_empty()
    assert world.stored("last.ckpt") == last
    assert not source.exists()


def test_an_uploader_that_is_killed_again_and_again(world: World) -> None:
    large, content = world.file("model.pt", 96 * MIB)
    access = replace(world.access(), upload_rate=24 * MIB)
    with training(world, access, [(large, "model.pt")]):
        for _ in range(2):
            (uploader,) = until(world.uploaders)
            (parcel,) = world.spool.parcels()
            until(lambda: list(parcel.folder.glob("upload-0.json")), 60, world.tell)  # noqa: B023 - used at once
            os.kill(uploader, signal.SIGKILL)
            until(lambda: uploader not in world.uploaders())  # noqa: B023 - used at once
        world.is_empty(90)
    assert world.stored("model.pt") == content


def test_an_outage_holds_nothing_up_and_loses_nothing(world: World) -> None:
    source, content = world.file("model.pt", 9 * MIB)
    with FaultProxy(world.s3.endpoint_url) as proxy:
        proxy.refuse()
        with training(world, replace(world.access(proxy.url), deadline_s=1.0), [(source, "model.pt")]) as trainer:
            trainer.kill()
            until(lambda: world.spool.parcels()[0].trouble, 60, world.tell)
            trouble = world.spool.parcels()[0].trouble
            assert trouble is not None
            assert not trouble.is_refused
            proxy.pass_on()
            world.is_empty(90)
    assert world.stored("model.pt") == content


def test_wrong_keys_are_reported_and_right_ones_go_on(world: World, canary: str) -> None:
    source, content = world.file("model.pt", 100_000)
    with training(world, world.access(secret=canary), [(source, "model.pt")], artifact_root=f"s3://{world.bucket}"):
        until(lambda: world.spool.parcels()[0].trouble, 60, world.tell)
        trouble = world.spool.parcels()[0].trouble
        assert trouble is not None
        assert not trouble.is_refused
        assert "SignatureDoesNotMatch" in trouble.reason
    other, text = world.file("other", 1000)
    # The uploader with the wrong keys goes on trying, for as long as that is not done.
    assert world.uploaders()
    with training(world, world.access(), [(other, "other")], artifact_root=f"s3://{world.bucket}"):
        world.is_empty()
    assert (world.stored("model.pt"), world.stored("other")) == (content, text)
    until(lambda: not world.uploaders(), 60)


def test_two_accounts_in_one_journal_never_use_each_others_keys(world: World) -> None:
    account = world.s3.add_account(f"u{uuid.uuid4().hex[:8]}", [f"b{uuid.uuid4().hex[:8]}"])
    other = replace(world, account=account)
    mine, content = world.file("mine", 50_000)
    theirs, their_content = world.file("theirs", 50_000)
    with FaultProxy(world.s3.endpoint_url) as proxy:
        # Of the other project no process is left, and nobody uploads for it.
        lease_target = replace(other.target, shipper="none")
        absent = replace(other, tracking_uri=world.tracking_uri)
        delivery = Delivery(lease_target)
        delivery.hand_over("other", [(theirs, "theirs")], other.root, absent.access(), f"s3://{other.bucket}")
        delivery.close()
        with training(world, world.access(proxy.url), [(mine, "mine")], artifact_root=f"s3://{world.bucket}"):
            until(lambda: len(world.spool.parcels()) == 1, 60, world.tell)
            (left,) = world.spool.parcels()
            state = JournalPaths(world.target.root).uploader_state(world.access(proxy.url).fingerprint)
            # Well after the time when parcels that nobody uploads are adopted.
            passes_s = time.monotonic() + 8
            until(lambda: time.monotonic() > passes_s and state.exists(), 30)
            assert left.is_there
            assert left.trouble is None
        assert not [line for line in proxy.passed if other.bucket in line]
        assert [line for line in proxy.passed if world.bucket in line]
    assert world.stored("mine") == content
    with training(world, absent.access(), [], artifact_root=f"s3://{other.bucket}"):
        delivery = Delivery(replace(other.target, shipper="thread"))
        delivery.see_to_uploads(absent.access(), f"s3://{other.bucket}")
        world.is_empty()
        delivery.close()
    assert other.stored("theirs") == their_content


def test_waiting_says_why_and_sync_uploads_by_hand(
    world: World, mlflow_server: RunningMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.backend.rest_sender import RestSender

    world = replace(world, tracking_uri=mlflow_server.url)
    experiment = RestSender(mlflow_server.url).create_experiment(f"x{uuid.uuid4().hex}", world.root, {})
    run = RestSender(mlflow_server.url).create_run(experiment.experiment_id, "me", 1, "r", {})
    source, content = world.file("model.pt", 9 * MIB)
    delivery = Delivery(replace(world.target, shipper="none"))
    delivery.hand_over(run.run_id, [(source, "model.pt")], world.root, world.access(), None)
    source.unlink()
    (reason,) = delivery.settle(limit_s=5).values()
    assert "holdfast sync" in reason
    assert delivery.settle([run.run_id], limit_s=5, with_files=False) == {}
    delivery.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    monkeypatch.setenv("HOLDFAST_JOURNAL", str(world.folder / "journal"))
    _as_project(world, monkeypatch)
    assert _holdfast("verify", run.run_id, code=3)["files_waiting"] == 1
    (status,) = _holdfast("journal", "status", code=0)["journals"]
    assert [(found["files_waiting"], found["state"]) for found in status["runs"]] == [(1, "pending")]
    (done,) = _holdfast("sync", code=0)["journals"]
    assert [found["files"] for found in done["runs"]] == [1]
    assert world.stored("model.pt") == content
    verified = _holdfast("verify", run.run_id, code=0)
    assert (verified["verdict"], verified["files_compared"]) == ("complete", False)
    assert "files: none waiting; stored files are not checked here" in _run("verify", run.run_id, code=0)


def test_what_was_lost_is_set_aside_shown_and_dropped(
    world: World, mlflow_server: RunningMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = replace(world, tracking_uri=mlflow_server.url)
    good, content = world.file("good", 1000)
    bad, _ = world.file("bad", 1000)
    delivery = Delivery(replace(world.target, shipper="thread"))
    # As after a power cut: the journal has its name, and not all of its content.
    delivery.writer("run")
    spool = delivery.journal.spool
    access = world.access()
    spool.hand_over([(good, "good"), (bad, "bad")], "run", world.root, access.fingerprint, delivery.journal.process)
    (parcel,) = spool.parcels()
    (parcel.folder / "1").write_bytes(b"half")
    delivery.see_to_uploads(access)
    until(lambda: parcel.is_refused, 60, world.tell)
    assert world.stored("good") == content
    assert world.stored("bad") is None
    assert "bad" in delivery.settling._files_left({"run"})["run"]
    delivery.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    monkeypatch.setenv("HOLDFAST_JOURNAL", str(world.folder / "journal"))
    (status,) = _holdfast("journal", "status", "run", code=0)["journals"]
    (aside,) = [item for item in status["runs"][0]["aside"] if item["what"] == "files"]
    assert aside["content"]["paths"] == ["good", "bad"]
    assert "bad" in aside["reason"]
    lines = _run("journal", "export", "run", code=0).splitlines()
    assert [json.loads(line)["what"] for line in lines if "files" in line] == ["files"]
    _as_project(world, monkeypatch)
    assert "2 files are to be uploaded again" in _run("journal", "retry", "run", code=0)
    assert not parcel.is_refused
    (done,) = _holdfast("sync", code=1)["journals"]
    assert parcel.is_refused
    assert done["runs"][0]["aside"] >= 1
    _run("journal", "drop", "run", "--yes", code=0)
    assert not parcel.is_there


_SCRIPT = """
import sys
from pathlib import Path
from holdfast.artifacts.access import S3Access
from holdfast.delivery.delivery import Delivery
from holdfast.delivery.target import Target
from holdfast.settings import Credentials

root, source, endpoint = sys.argv[1:]
delivery = Delivery(Target("http://127.0.0.1:9", Path(root), exit_wait_s=1.0))
access = S3Access(Credentials("project", "the test", "AKIA", None), endpoint_url=endpoint, deadline_s=0.2)
delivery.hand_over("run", [(Path(source), "model.pt")], "s3://bucket/run", access)
"""


def test_a_process_says_at_its_end_what_is_still_to_be_uploaded(world: World) -> None:
    source, _ = world.file("model.pt", 1000)
    arguments = [str(world.target.root), str(source), "http://127.0.0.1:9"]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    assert "holdfast: 1 file is still to be uploaded" in done.stderr
    assert f"holdfast sync {world.target.root}" in done.stderr
    assert len(world.spool.parcels()) == 1


def test_files_of_a_run_that_was_begun_offline_wait_for_it(world: World) -> None:
    source, content = world.file("model.pt", 1000)
    paths = JournalPaths(world.target.root)
    with training(world, world.access(), [(source, "model.pt")], run="local-1"):
        until(world.uploaders)
        (parcel,) = world.spool.parcels()
        assert root_of(paths, parcel) is None
        resolved = {"format": 1, **vars(Resolved("1", "2", world.root))}
        temporary = paths.run("local-1").folder / "resolved.tmp"
        temporary.write_text(json.dumps(resolved))
        assert parcel.is_there
        temporary.replace(paths.run("local-1").resolved)
        world.is_empty()
    assert world.stored("model.pt") == content


def test_files_kept_with_a_run_that_was_begun_offline_are_uploaded_when_it_is_over(world: World) -> None:
    files, run = OsFileSystem(), JournalPaths(world.target.root).run("local-1")
    foreign = JournalPaths(world.target.root).run("local-2")
    for folder, root in ((run, world.root), (foreign, "s3://another/run")):
        (folder.folder / "artifacts" / "plots").mkdir(parents=True)
        (folder.folder / "artifacts" / "plots" / "roc.png").write_bytes(b"a picture")
        folder.resolved.write_text(json.dumps({"format": 1, **vars(Resolved("1", "2", root))}))
    source, _ = world.file("model.pt", 1000)
    with training(world, world.access(), [(source, "model.pt")], artifact_root=f"s3://{world.bucket}"):
        world.is_empty()
        save_checkpoint(files, run.checkpoint, Checkpoint(complete_ms=1))
        save_checkpoint(files, foreign.checkpoint, Checkpoint(complete_ms=1))
        until((run.folder / "artifacts.sent").exists, 30, world.tell)
    assert world.stored("plots/roc.png") == b"a picture"
    assert not (foreign.folder / "artifacts.sent").exists()


def test_the_uploaders_environment_holds_no_key(world: World) -> None:
    environ = {
        "PATH": "/bin",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_PROFILE": "mine",
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_AWS_SECRET_ACCESS_KEY": "secret",
    }
    project = UploadTarget(world.target, world.access())
    assert uploader_environment(project, environ) == {"PATH": "/bin"}
    chain = replace(project, access=S3Access(Credentials("chain", "boto3's own search")))
    expected = {"PATH": "/bin", "AWS_PROFILE": "mine", "AWS_EC2_METADATA_DISABLED": "true"}
    assert uploader_environment(chain, environ) == expected
    assert UploadTarget.from_json(project.to_json()).access.fingerprint == project.access.fingerprint
    assert world.account.secret_access_key not in repr(project)


def _as_project(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", world.s3.endpoint_url)
    monkeypatch.setenv("MLFLOW_AWS_ACCESS_KEY_ID", world.account.access_key_id)
    monkeypatch.setenv("MLFLOW_AWS_SECRET_ACCESS_KEY", world.account.secret_access_key)


def _run(*arguments: str, code: int) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    sys.stdout.write(done.stdout)  # searched for secrets with the test
    sys.stderr.write(done.stderr)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def _holdfast(*arguments: str, code: int) -> Any:
    return json.loads(_run(*arguments, "--json", code=code))
