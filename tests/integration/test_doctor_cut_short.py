"""Examinations that are cut short: by Ctrl-C, by signals, by a reader who leaves; nothing may stay in the bucket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from journaling import until
from s3_examining import Project

from holdfast.cli.ending import orderly_end
from holdfast.doctor.check import Check, Finding, Result, ok
from holdfast.doctor.context import Context
from holdfast.doctor.examine import examine
from holdfast.testing import FaultProxy, S3Access

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has other signals")


@pytest.fixture
def project(s3_server: S3Access, unique: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a bucket of its own, which is looked at afterwards."""
    found = Project.at(s3_server, unique, f"cut-{unique[-8:]}", tmp_path_factory.mktemp("project"))
    yield found
    found.check_untouched()


@pytest.fixture
def proxy(project: Project) -> Iterator[FaultProxy]:
    """A slow way to the server: there is always something under way."""
    with FaultProxy(project.url) as found:
        found.delay(0.4)
        yield found


def is_at_it(project: Project) -> bool:
    """Whether there are objects and uploads of an examination."""
    where = {"Bucket": project.bucket}
    objects = project.client.list_objects_v2(**where).get("Contents", ())
    return len(objects) > 1 and bool(project.client.list_multipart_uploads(**where).get("Uploads"))


def start(project: Project, proxy: FaultProxy, stdout: int) -> subprocess.Popen[str]:
    environ = {**os.environ, **project.environ, "MLFLOW_S3_ENDPOINT_URL": proxy.url}
    command = [sys.executable, "-m", "holdfast", "doctor", "--only", "s3"]
    return subprocess.Popen(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environ, cwd=project.folder, bufsize=0
    )


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_a_signal_leaves_nothing_in_the_bucket(
    project: Project, proxy: FaultProxy, number: signal.Signals, code: int
) -> None:
    process = start(project, proxy, subprocess.DEVNULL)
    until(lambda: is_at_it(project))
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (code, "")
    project.check_untouched()


def test_a_reader_who_leaves_leaves_nothing_in_the_bucket(project: Project, proxy: FaultProxy) -> None:
    read, write = os.pipe()
    process = start(project, proxy, write)
    os.close(write)
    assert os.read(read, 1)
    os.close(read)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (141, "")
    project.check_untouched()


def test_what_could_not_be_taken_away_is_said_and_a_second_signal_does_not_wait(
    project: Project, proxy: FaultProxy
) -> None:
    process = start(project, proxy, subprocess.DEVNULL)
    until(lambda: is_at_it(project))
    proxy.black_hole()
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - began < 5.0  # it waits for 6 s if nobody presses twice
    assert process.returncode == 130
    assert f"warning: could not be removed, and is still there: s3://{project.bucket}/" in said
    assert "Traceback" not in said
    remove_all(project)


def remove_all(project: Project) -> None:
    where = {"Bucket": project.bucket}
    for found in project.client.list_objects_v2(**where).get("Contents", ()):
        project.client.delete_object(**where, Key=found["Key"])
    for found in project.client.list_multipart_uploads(**where).get("Uploads", ()):
        project.client.abort_multipart_upload(**where, Key=found["Key"], UploadId=found["UploadId"])


# -- within a program ----------------------------------------------------------------------


def leaving(there: set[str], what: str = "s3://bucket/probe") -> Sequence[Check]:
    def leave(context: Context) -> Finding:
        context.leaves(what, lambda: there.discard(what))
        there.add(what)
        return ok("left")

    return [Check("s3.put", "Put?", leave)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(141), BrokenPipeError()], ids=repr)
def test_whatever_cuts_an_examination_short_it_cleans_up(error: BaseException) -> None:
    there: set[str] = set()

    def say(result: Result) -> None:
        assert there
        raise error

    with pytest.raises(type(error)) as raised:
        examine(catalog=leaving(there), say=say)
    assert not there
    assert not getattr(raised.value, "__notes__", [])


def test_what_stays_is_in_the_notes() -> None:
    def fail() -> None:
        raise ConnectionError

    def leave(context: Context) -> Finding:
        context.leaves("s3://bucket/probe", fail)
        return ok("left")

    def say(result: Result) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        examine(catalog=[Check("s3.put", "Put?", leave)], say=say)
    assert raised.value.__notes__ == ["could not be removed, and is still there: s3://bucket/probe"]


def test_what_was_under_way_is_taken_away_when_it_has_arrived() -> None:
    """A check is given up on while what it sends is on its way, and arrives after it was taken away."""
    there: set[str] = set()
    was_cleaned = threading.Event()

    def undo() -> None:
        there.discard("late")
        was_cleaned.set()

    def leave(context: Context) -> Finding:
        context.leaves("late", undo)
        was_cleaned.wait(10)
        there.add("late")
        return ok("left")

    report = examine(catalog=[Check("s3.put", "Put?", leave, timeout_s=0.1)])
    assert (there, report.left_behind) == (set(), [])


def be_told_to_end() -> None:
    with orderly_end():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)


def test_signals_are_as_before_afterwards_and_ignored_ones_stay_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    other = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended:
            be_told_to_end()
        assert ended.value.code == 143
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, other)
