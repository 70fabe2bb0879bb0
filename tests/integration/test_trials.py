"""The process that a model is tried in: how it ends, and that nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.backend import trials
from holdfast.backend.trials import Trial, trial_environment, try_model

Script = Callable[[str], None]
_SAY = "import os, sys; os.write(int(sys.argv[2]), %s)"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Have the process run other code than the one that imports MLflow, which takes seconds."""

    def put(code: str) -> None:
        (tmp_path / "script.py").write_text(code)
        monkeypatch.setattr(trials, "_SCRIPT", tmp_path / "script.py")

    return put


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("code", "trial"),
    [
        (_SAY % """b'{"seconds": 1.5}'""", Trial(seconds=1.5)),
        (_SAY % """b'{"step": "load", "error": "E: x"}'""", Trial(step="load", error="E: x")),
        ("", Trial(step="end", error="exit code 0")),
        ("import sys; print('why'); sys.exit(3)", Trial(step="end", error="exit code 3", printed="why\n")),
        ("import os; os.abort()", Trial(step="end", error="signal 6")),
        (_SAY % "b'no json'", Trial(step="end", error="exit code 0")),
        (_SAY % "b'[1]'", Trial(step="end", error="exit code 0")),
        (_SAY % """b'{"seconds": "1"}'""", Trial(step="end", error="exit code 0")),
        (_SAY % """b'[' * 60000""", Trial(step="end", error="exit code 0")),
        ("import os; os.close(1); os.close(2); os._exit(4)", Trial(step="end", error="exit code 4")),
    ],
)
def test_how_a_trial_ends(script: Script, tmp_path: Path, code: str, trial: Trial) -> None:
    script(code)
    assert try_model(tmp_path, 30) == trial


def test_what_is_printed_is_kept_from_its_end(script: Script, tmp_path: Path) -> None:
    script("print('x' * 10_000_000); print('the end')")
    printed = try_model(tmp_path, 30).printed
    assert printed.endswith("xxx\nthe end\n")
    assert len(printed) <= 1 << 16


def test_when_the_time_is_over_nothing_of_it_is_left(script: Script, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "print('waiting', flush=True)\n"
        "time.sleep(1000)\n"
    )
    before = time.monotonic()
    trial = try_model(tmp_path, 3)
    assert trial == Trial(step="time", error="not done after 3 s", printed="waiting\n")
    assert time.monotonic() - before < 10
    for pid in pids.read_text().split():
        until(lambda pid=int(pid): is_gone(pid))  # type: ignore[misc]


def test_a_process_that_is_left_behind_does_not_hold_it_up(script: Script, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script(
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"  # it holds stdout
        f"open({str(pids)!r}, 'w').write(str(child.pid))\n"
    )
    before = time.monotonic()
    assert try_model(tmp_path, 60).error == "exit code 0"
    assert time.monotonic() - before < 20
    until(lambda: is_gone(int(pids.read_text())))


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    pid, copy, starter = tmp_path / "pid", tmp_path / "trial.py", tmp_path / "starter.py"
    hang = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    copy.write_text(trials._SCRIPT.read_text().replace("import mlflow.pyfunc", hang))
    starter.write_text(
        "from pathlib import Path\n"
        "from holdfast.backend import trials\n"
        f"trials._SCRIPT = Path({str(copy)!r})\n"
        f"trials.try_model(Path({str(tmp_path)!r}), 1000)\n"
    )
    parent = subprocess.Popen([sys.executable, str(starter)], env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        until(lambda: pid.exists() and pid.read_text() != "")
    finally:
        parent.kill()
        parent.wait()
    until(lambda: is_gone(int(pid.read_text())))


def test_the_environment_is_another_one(tmp_path: Path, canary: str) -> None:
    kept = {"PATH": "/bin", "LC_ALL": "C", "CUDA_VISIBLE_DEVICES": "0", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    keys = ("AWS_SESSION_TOKEN", "MLFLOW_TRACKING_TOKEN", "HOLDFAST_X", "PGPASSWORD", "HTTPS_PROXY", "SSH_AUTH_SOCK")
    found = trial_environment({**kept, **dict.fromkeys(keys, canary), "HOME": "/home/me"}, tmp_path)
    assert canary not in found.values()
    assert {name: found[name] for name in kept} == kept
    assert found["HOME"] == found["TMPDIR"] == str(tmp_path)
    assert not {name for name in found if name.startswith("AWS_")}
    assert os.environ["HOME"] not in found.values()
