"""The doctor's checks of who delivers a journal, on real journals, shippers and uploaders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from journal_place import ACCESS, RUN, Place, end, hand_over, say
from journaling import until
from relaying import assert_found, bad, examined

from holdfast.artifacts.access import access_of
from holdfast.doctor.check import Status
from holdfast.journal.locks import FileLock, is_held
from holdfast.settings import load_settings
from holdfast.testing.fixtures import RunningMlflow
from holdfast.testing.s3 import S3Access

OK, WARNING, FAILED, SKIPPED = Status.OK, Status.WARNING, Status.FAILED, Status.SKIPPED


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# -- all is well ----------------------------------------------------------------------------


def test_no_journal_no_trouble(place: Place) -> None:
    report = examined(place.environ, "journal")
    assert bad(report) == []
    assert all(result.finding.status is OK for result in report.results)
    assert not place.root.exists()


def test_nothing_is_journaled(place: Place) -> None:
    report = examined({**place.environ, "HOLDFAST_DELIVERY": "direct"}, "journal")
    assert {result.finding.status for result in report.results if result.check.name != "journal.others"} == {SKIPPED}


_CHILD = """
import mlflow
mlflow.set_experiment({experiment!r})
with mlflow.start_run():
    mlflow.log_metrics({{"loss": 0.5}}, step=1)
    mlflow.log_text("hello", "notes.txt")
"""


def test_a_project_that_has_logged(tmp_path: Path, mlflow_server: RunningMlflow, unique: str) -> None:
    place = Place(tmp_path, mlflow_server.url)
    subprocess.run(
        [sys.executable, "-c", _CHILD.format(experiment=unique)],
        env={**os.environ, **place.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"},
        check=True,
        timeout=120,
    )
    report = examined({**place.environ, "MLFLOW_EXPERIMENT_NAME": unique}, "journal", "config")
    assert bad(report) == []
    found = {result.check.name: result.finding for result in report.results}
    assert found["journal.pending"].found == "everything that was logged is delivered"
    assert found["config.experiment"].found.startswith(f"the files of experiment '{unique}' go to mlflow-artifacts:/")


# -- who delivers ---------------------------------------------------------------------------


def test_a_dead_shipper_with_data_to_deliver(place: Place) -> None:
    end(place.begin())
    say(place.paths.shipper_state, state="delivering", last_error="HTTP 503")
    result = place.result("journal.shipper")
    assert_found(result, FAILED, "no shipper runs: it was killed; last error: HTTP 503", "holdfast sync")
    assert result.finding.fix is not None
    assert_found(place.result("journal.pending"), WARNING, "and nobody delivers them", "holdfast sync")
    result = place.result("journal.shipper", HOLDFAST_SHIPPER="none")
    assert_found(result, SKIPPED, "there is none by HOLDFAST_SHIPPER=none", "holdfast sync")


def test_a_shipper_that_was_never_started(place: Place) -> None:
    place.begin()
    result = place.result("journal.shipper", HOLDFAST_SHIPPER="thread")
    assert_found(result, FAILED, "none was ever started", "holdfast sync")
    assert result.finding.fix is None, "no thread of the doctor would live long enough"


@pytest.fixture
def shippers() -> Iterator[Callable[[Place], list[int]]]:
    """Tells the shippers of a journal, and ends those of all that were asked for."""
    asked: list[Place] = []

    def tell(place: Place) -> list[int]:
        asked.append(place)
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_shipper(path, place.root)]

    yield tell
    for place in asked:
        for pid in tell(place) if place in asked else []:
            os.kill(pid, signal.SIGKILL)
        asked = []


def said_by_shipper(place: Place) -> dict[str, Any]:
    """Return what it says of itself; empty where it has just begun."""
    path = place.paths.shipper_state
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _is_shipper(process: Path, root: Path) -> bool:
    try:
        is_here = Path(os.readlink(process / "cwd")) == root
        return is_here and b"holdfast.delivery" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def test_the_doctor_starts_a_shipper(place: Place, shippers: Callable[[Place], list[int]]) -> None:
    place.begin()  # of which this process is the one that logs, so that the shipper stays
    fix = place.result("journal.shipper").finding.fix
    assert fix is not None
    assert (fix.does, fix.apply()) == ("start a shipper, which delivers in the background", "a shipper is at work")
    assert len(shippers(place)) == 1
    until(lambda: said_by_shipper(place).get("state") == "waiting")
    result = place.result("journal.shipper")
    assert_found(result, WARNING, "the shipper waits for the server; last error: ", "see server.reachable")


def test_a_shipper_that_hangs(place: Place, shippers: Callable[[Place], list[int]]) -> None:
    place.begin()
    fix = place.result("journal.shipper").finding.fix
    assert fix is not None
    fix.apply()
    (pid,) = shippers(place)
    until(lambda: said_by_shipper(place).get("pid") == pid)
    os.kill(pid, signal.SIGSTOP)
    said = json.loads(place.paths.shipper_state.read_text())
    assert place.result("journal.locks").finding.status is OK, "a moment is nothing"
    say(place.paths.shipper_state, **(said | {"updated_ms": said["updated_ms"] - 90_000}))
    result = place.result("journal.locks")
    assert_found(result, FAILED, "the shipper (process", f"kill -9 {pid}")
    os.kill(pid, signal.SIGKILL)  # what the remedy says
    until(lambda: not is_held(place.paths.shipper_lock))
    assert place.result("journal.locks").finding.status is OK


def test_files_that_nobody_uploads(place: Place) -> None:
    journal = place.begin()
    hand_over(journal, place.folder)
    place.deliver(complete_ms=1)
    result = place.result("journal.uploaders")
    assert_found(result, FAILED, "1 files are to be uploaded, and nobody does", "holdfast sync")
    assert result.finding.fix is not None
    assert_found(place.result("journal.pending"), WARNING, "and nobody delivers them", "holdfast sync")


def test_checks_do_not_take_each_other_for_who_delivers(place: Place) -> None:
    journal = place.begin()
    hand_over(journal, place.folder)
    say(place.paths.shipper_state, state="delivering")
    for path in (place.paths.shipper_lock, place.paths.uploader_lock(ACCESS)):
        path.touch()
    found: list[Status] = []

    def examine() -> None:
        for _ in range(25):
            report = examined(place.environ, "journal")
            wanted = ("journal.shipper", "journal.uploaders")
            found.extend(result.finding.status for result in report.results if result.check.name in wanted)

    threads = [threading.Thread(target=examine) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [FAILED] * 200


def test_the_doctor_starts_an_uploader(
    place: Place, s3_server: S3Access, unique: str, shippers: Callable[[Place], list[int]]
) -> None:
    bucket = f"doctor-{unique[-8:]}"
    account = s3_server.add_account(unique, [bucket])
    keys = {
        "MLFLOW_S3_ENDPOINT_URL": s3_server.endpoint_url,
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
        "MLFLOW_ARTIFACT_ROOT": f"s3://{bucket}/x",
    }
    journal = place.begin()
    access = access_of(load_settings(environ={**place.environ, **keys})).fingerprint
    hand_over(journal, place.folder, f"s3://{bucket}/x/1", access)
    place.deliver(complete_ms=1)
    fix = place.result("journal.uploaders", **keys).finding.fix
    assert fix is not None
    assert fix.apply() == "an uploader is at work"
    assert len(shippers(place)) == 1
    until(lambda: not journal.spool.parcels())
    listed = s3_server.client(account).list_objects_v2(Bucket=bucket)
    assert [entry["Key"] for entry in listed["Contents"]] == ["x/1/notes.txt"]
    assert_found(place.result("journal.uploaders", **keys), OK, "no files wait", "")


def test_an_uploader_in_trouble(place: Place, canary: str) -> None:
    journal = place.begin()
    hand_over(journal, place.folder)
    place.deliver(complete_ms=1)
    (parcel,) = journal.spool.parcels()
    say(place.paths.uploader_state(ACCESS))
    with FileLock(place.paths.uploader_lock(ACCESS)) as lock:
        assert lock.acquire()
        assert_found(place.result("journal.uploaders"), OK, "1 files are being uploaded", "")
        parcel.note_trouble(f"AccessDenied for key {canary}")
        keys = {"MLFLOW_AWS_ACCESS_KEY_ID": "AKIAEXAMPLE0123456", "MLFLOW_AWS_SECRET_ACCESS_KEY": canary}
        result = place.result("journal.uploaders", **keys)
        assert_found(result, WARNING, "last trouble: AccessDenied for key ****", "holdfast doctor --only s3")
        assert canary not in str(result)
        parcel.note_trouble("no such bucket", is_refused=True)
    assert_found(place.result("journal.aside"), FAILED, "refused by the server", f"holdfast journal status {RUN}")
