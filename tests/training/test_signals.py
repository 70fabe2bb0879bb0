"""What asks a training to end, and what SLURM is told then."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from holdfast.lifecycle import Terminated
from holdfast.training.lightning.signals import Interrupted, Preempted, Signals, requeue


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in SLURM's place: it writes down what it is asked for, and fails for job 13."""
    asked = tmp_path / "asked"
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n[ "$2" != 13 ] || {{ echo "Invalid job" >&2; exit 1; }}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return asked


def test_waits(tmp_path: Path) -> None:
    signals = Signals()
    with signals.caught():
        signals.may_wait = True
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.seen == signal.SIGUSR1
        with pytest.raises(Interrupted) as caught:  # the second does not wait, whichever it is
            os.kill(os.getpid(), signal.SIGINT)
    assert caught.value.number == signal.SIGUSR1


def test_at_once_elsewhere() -> None:
    signals = Signals()
    with signals.caught(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        signals = Signals()
        with signals.caught():
            os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.seen == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_other_thread() -> None:
    # Only the main thread may set handlers; a training elsewhere goes on without.
    failed: list[BaseException] = []

    def use() -> None:
        try:
            with Signals().caught():
                pass
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not failed


def test_ends() -> None:
    assert isinstance(Interrupted(signal.SIGINT).as_exit(), KeyboardInterrupt)
    terminated, preempted = Interrupted(signal.SIGTERM).as_exit(), Interrupted(signal.SIGUSR1).as_exit()
    assert isinstance(terminated, Terminated)
    assert terminated.code == 143
    assert isinstance(preempted, Preempted)
    assert preempted.code == 3


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"SLURM_JOB_ID": "42"}, "42"),
        ({"SLURM_JOB_ID": "45", "SLURM_ARRAY_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": "3"}, "42_3"),
    ],
)
def test_requeue(environment: dict[str, str], name: str, scontrol: Path) -> None:
    assert requeue(environment)
    assert scontrol.read_text() == f"requeue {name}\n"


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": "13"}, {"SLURM_JOB_ID": "1; rm -r /"}])
def test_no_requeue(environment: dict[str, str], scontrol: Path) -> None:
    assert not requeue(environment)
    assert not scontrol.exists() or scontrol.read_text() == "requeue 13\n"


def test_no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not requeue({"SLURM_JOB_ID": "42"})
