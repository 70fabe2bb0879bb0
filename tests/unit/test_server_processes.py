"""A group ends as one: asked, forced, or because its parent is gone."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.errors import ServerError
from holdfast.server.processes import ProcessGroup

ENV = {"PATH": os.environ["PATH"]}
# A parent with a child of its own, as servers have workers.
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("ready", flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
signal.signal(15, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", deaf])
time.sleep(600)
"""
# Ends at once and leaves a child behind.
CARELESS = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
sys.exit(7)
"""


def members(group_id: int) -> list[int]:
    """The living processes of a group; a zombie that nobody reaped is not one."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,pid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pgid, pid, state in rows if int(pgid) == group_id and not state.startswith("Z")]


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., ProcessGroup]]:
    groups = []

    def make_group(code: str, wait_for: str = "ready", grace_s: float = 10.0) -> ProcessGroup:
        group = ProcessGroup([sys.executable, "-c", code], ENV, tmp_path / "log", grace_s=grace_s)
        groups.append(group)
        group.start()
        wait_until(lambda: wait_for in group.output() or group.poll() is not None)
        return group

    yield make_group
    for group in groups:
        group.kill()


def test_stop_leaves_nobody(make: Callable[..., ProcessGroup]) -> None:
    group = make(FAMILY)
    assert group.pid is not None
    assert len(members(group.pid)) == 3
    group.stop()
    assert members(group.pid) == []
    assert group.poll() == 128 + signal.SIGTERM
    group.stop()


def test_the_deaf_are_killed(make: Callable[..., ProcessGroup]) -> None:
    group = make(STUBBORN)
    start = time.monotonic()
    group.stop(grace_s=0.3)
    assert time.monotonic() - start < 5
    assert members(group.pid or 0) == []


def test_an_interruption_while_stopping_kills(
    make: Callable[..., ProcessGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(timeout_s: float | None = None) -> None:
        raise KeyboardInterrupt

    group = make(STUBBORN)
    monkeypatch.setattr(group, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        group.stop(grace_s=60)
    assert members(group.pid or 0) == []


def test_orphans_do_not_outlive_the_command(make: Callable[..., ProcessGroup]) -> None:
    group = make(CARELESS, wait_for="never")
    assert group.wait(20) == 7
    wait_until(lambda: members(group.pid or 0) == [])


def test_kill_of_a_group_that_is_gone_is_harmless(make: Callable[..., ProcessGroup]) -> None:
    group = make("print('ready')")
    assert group.wait(20) == 0
    group.kill()
    group.kill()
    group.stop()
    assert group.poll() == 0


def test_it_can_be_started_again_but_not_twice(make: Callable[..., ProcessGroup]) -> None:
    group = make(FAMILY)
    with pytest.raises(ServerError, match="running already"):
        group.start()
    group.kill()
    assert group.poll() is not None
    group.start()
    assert group.poll() is None


def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    group = ProcessGroup([str(tmp_path / "nothing")], ENV, tmp_path / "log")
    group.start()
    assert group.wait(20) == 127
    assert "cannot start" in group.output()
    group.kill()


def test_its_log_is_private_and_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for word in ("first", "second"):
        group = ProcessGroup([sys.executable, "-c", f"print('{word}')"], ENV, log)
        group.start()
        assert group.wait(20) == 0
        assert group.output() == f"{word}\n"  # of this start alone
        group.kill()
    assert log.read_text() == "first\nsecond\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_environment_is_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "somebody's")
    group = ProcessGroup([sys.executable, "-c", "import os; print(sorted(os.environ))"], ENV, tmp_path / "log")
    group.start()
    assert group.wait(20) == 0
    assert "AWS_SECRET_ACCESS_KEY" not in group.output()
    group.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("code", [FAMILY, STUBBORN], ids=["obedient", "stubborn"])
def test_it_ends_with_its_parent(tmp_path: Path, number: signal.Signals, code: str) -> None:
    parent_code = f"""
import sys, time
from pathlib import Path
from holdfast.server.processes import ProcessGroup
group = ProcessGroup([sys.executable, "-c", {code!r}], {ENV!r}, Path({str(tmp_path / "log")!r}), grace_s=0.5)
group.start()
while "ready" not in group.output():
    time.sleep(0.02)
print(group.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        group_id = int(parent.stdout.readline())
        assert len(members(group_id)) == 3
        parent.send_signal(number)
    wait_until(lambda: members(group_id) == [])


def test_descriptors_above_those_of_select(make: Callable[..., ProcessGroup]) -> None:
    """A program with more than 1024 open files starts servers, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 2048:
        pytest.skip(f"no process may open more than {hard} files")
    with contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            stack.enter_context(open(os.devnull))
        group = make(FAMILY)
        assert group.pid is not None
        assert len(members(group.pid)) == 3
        group.stop()
        assert members(group.pid) == []
