"""A journal that cannot be written to is said to be the trouble, not the server."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from holdfast.delivery.delivery import Delivery
from holdfast.delivery.disk import disk_reason
from holdfast.delivery.target import Target


def test_waiting_says_that_the_journal_cannot_be_written_to(tmp_path: Path) -> None:
    delivery = Delivery(Target("http://127.0.0.1:9", tmp_path / "journal", exit_wait_s=0, shipper="none"))
    delivery.writer("run").metrics({"loss": 1.0})
    # Also root, who may write anywhere, cannot open this one.
    (tmp_path / "journal" / "runs" / "run" / "lock").mkdir()
    reason = delivery.settle(limit_s=1)["run"]
    delivery.close()
    assert reason.startswith(f"the journal {tmp_path / 'journal'} cannot be written to: Is a directory")
    assert "HOLDFAST_JOURNAL" in reason


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/j/lock"),
            "Permission denied (/j/lock); make it writable",
        ),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system; set HOLDFAST_JOURNAL"),
        (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
    ],
)
def test_each_trouble_of_the_disk_has_its_remedy(error: OSError, expected: str) -> None:
    assert expected in disk_reason(error, Path("/j"))


def test_a_lost_connection_is_no_trouble_of_the_disk() -> None:
    assert "journal" not in disk_reason(ConnectionResetError("reset by peer"), Path("/j"))
