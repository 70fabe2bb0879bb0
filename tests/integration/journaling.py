"""What the tests of the journal with real processes share: children that log, shippers, and what the server has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from holdfast.backend.rest_sender import RestSender
from holdfast.core.sending import Point, RunRef
from holdfast.core.uris import is_database
from holdfast.delivery.target import Target, journal_name

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
SHORT_READ_S = 5.0


def until(what: Callable[[], Any], limit_s: float = 60.0, saying: Callable[[], object] = lambda: "") -> Any:
    """Poll until `what` returns something true, and return it.

    Raises:
        AssertionError: It did not within the limit; `saying` tells what was there instead.
    """
    deadline = time.monotonic() + limit_s
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {limit_s} s: {saying()}"
        time.sleep(0.03)


@dataclass(frozen=True)
class Place:
    """Where a child logs to: the server, and a journal that is its own.

    Attributes:
        uri: The tracking store, as the child and its shipper reach it.
        folder: A folder of this place; the journal is in it.
        environ: Further settings.
    """

    uri: str
    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The journal of this tracking store."""
        return self.folder / "journal" / journal_name(self.uri)

    @property
    def target(self) -> Target:
        """What a shipper is told."""
        return Target(self.uri, self.root)

    def settings(self) -> dict[str, str]:
        """Return the environment of a child."""
        return {
            **QUIET,
            "HOLDFAST_DELIVERY": "journal",
            "HOLDFAST_JOURNAL": str(self.folder / "journal"),
            "MLFLOW_TRACKING_URI": self.uri,
            **self.environ,
        }

    def shippers(self) -> list[int]:
        """Return the shippers of this journal that live; each has its journal as working directory."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if (
                    entry.name.isdigit()
                    and (entry / "cwd").resolve() == self.root.resolve()
                    and b"holdfast.delivery" in (entry / "cmdline").read_bytes()
                    and b"\nState:\tZ" not in (entry / "status").read_bytes()
                ):
                    found.append(int(entry.name))
        return found

    def kill_shippers(self) -> int:
        """SIGKILL the shippers of this journal; return how many there were."""
        pids = self.shippers()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def start_shipper(self) -> subprocess.Popen[bytes]:
        """Start a shipper by hand."""
        shipper = subprocess.Popen(
            [sys.executable, "-P", "-m", "holdfast.delivery"],
            stdin=subprocess.PIPE,
            cwd=self.root,
            env={**os.environ, **QUIET},
            start_new_session=True,
        )
        assert shipper.stdin is not None
        shipper.stdin.write(self.target.to_json().encode())
        shipper.stdin.close()
        return shipper

    def asides(self) -> str:
        """Return all that was set aside."""
        return "".join(path.read_text() for path in self.root.rglob("aside.jsonl"))

    def resolved(self, run_id: str) -> str:
        """Return the run's id on the server, or an empty text as long as it has none."""
        if not run_id.startswith("local-"):
            return run_id
        with suppress(OSError, ValueError):
            return str(json.loads((self.root / "runs" / run_id / "resolved.json").read_bytes())["run_id"])
        return ""

    def tell(self) -> str:
        """Return what there is to know when something went wrong."""
        parts = [f"{path.name}: {path.read_text()[-1500:]}" for path in self.folder.rglob("output.txt")]
        parts += [f"{path.name}: {path.read_text()[-1500:]}" for path in self.root.glob("shipper.*") if path.is_file()]
        return "\n".join([*parts, self.asides()[-1500:]])


@dataclass(frozen=True)
class Plain(Place):
    """Where a child logs to that has no settings but this: it delivers as it does by default."""

    def settings(self) -> dict[str, str]:
        """Return the environment of a child."""
        settings = super().settings()
        del settings["HOLDFAST_DELIVERY"]
        return {**settings, "HOME": str(self.folder), **self.environ}


@dataclass
class Child:
    """A process that logs."""

    place: Place
    pid: int = 0
    code: int | None = None
    said: dict[str, Any] = field(default_factory=lambda: defaultdict(lambda: None))

    @property
    def acknowledged(self) -> int:
        """The number of the last call that has returned."""
        return int.from_bytes((self.place.folder / "acknowledged").read_bytes(), "little")

    @property
    def output(self) -> str:
        """What it has printed."""
        return (self.place.folder / "output.txt").read_text()

    def hears(self, name: str, limit_s: float = 60.0) -> Any:
        """Wait until the child says something, and return that."""
        until(lambda: name in self.said or self.code is not None, limit_s, lambda: f"{name}: {self.place.tell()}")
        assert name in self.said, f"the child ended with {self.code}: {self.place.tell()}"
        return self.said[name]

    def has_acknowledged(self, number: int, limit_s: float = 60.0) -> int:
        """Wait until so many calls have returned; return how many have."""
        until(lambda: self.acknowledged >= number or self.code is not None, limit_s, self.place.tell)
        assert self.acknowledged >= number, f"the child ended with {self.code}: {self.place.tell()}"
        return self.acknowledged

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def ends(self, limit_s: float = 60.0) -> int:
        """Wait for its end; return its exit code, negative for a signal."""
        until(lambda: self.code is not None, limit_s, self.place.tell)
        assert self.code is not None
        return self.code


class Nursery:
    """Starts children; see `nursery.py`.

    Args:
        modules: What all children are to have imported, besides MLflow.
    """

    def __init__(self, *modules: str) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HOLDFAST_"))}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py")), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environ, **QUIET},
            text=True,
        )
        self._children: dict[int, Child] = {}
        self._ended = 0
        self._by_pid: dict[int, Child] = {}
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_children()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def end_children(self) -> None:
        """Kill the children that are left, and their shippers."""
        for child in self._children.values():
            if child.code is None and child.pid:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
        for child in self._children.values():
            child.place.kill_shippers()
        self._ended += len(self._children)
        self._children.clear()

    def start(self, place: Place, code: str) -> Child:
        """Start a child that runs this program."""
        place.folder.mkdir(parents=True, exist_ok=True)
        (place.folder / "acknowledged").write_bytes(bytes(8))
        child = Child(place)
        job = self._ended + len(self._children)
        self._children[job] = child
        line = {
            "job": job,
            "code": textwrap.dedent(code),
            "environ": place.settings(),
            "folder": str(place.folder),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        until(lambda: child.pid, 120.0)  # the first one waits for the imports
        return child

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError):  # closed
            for line in self._process.stdout:
                found = json.loads(line)
                if "pid" in found:
                    child = self._children[found["job"]]
                    self._by_pid[found["pid"]] = child
                    child.pid = found["pid"]
                elif "say" in found:
                    if found["job"] in self._children:
                        self._children[found["job"]].said[found["say"]] = found["value"]
                elif found["exit"] in self._by_pid:
                    self._by_pid.pop(found["exit"]).code = found["code"]


class Stored:
    """What a tracking store has, seen without any journal."""

    def __init__(self, uri: str) -> None:
        if is_database(uri):
            from holdfast.backend.store_sender import StoreSender
            from holdfast.core.redaction import Redactor

            self._sender: Any = StoreSender(uri, Redactor())
        else:
            self._sender = RestSender(uri, timeout_s=30)

    def run(self, run_id: str) -> RunRef:
        """Return a run."""
        found: RunRef | None = self._sender.get_run(run_id)
        assert found is not None, f"there is no run {run_id}"
        return found

    def points(self, run_id: str, key: str) -> list[Point]:
        """Return the values of a metric by step and time."""
        return sorted(self._sender.metric_history(run_id, key), key=lambda point: (point.step, point.timestamp))

    def values(self, run_id: str, key: str) -> list[float]:
        """Return the values of a metric, by step and time."""
        return [point.value for point in self.points(run_id, key)]

    def runs(self, experiment: str) -> list[RunRef]:
        """Return the runs of an experiment by name, deleted ones too; empty where there is no such experiment."""
        import requests

        found = self._sender.find_experiment(experiment)
        if found is None:
            return []
        body = {"experiment_ids": [found.experiment_id], "run_view_type": "ALL", "max_results": 1000}
        answer = requests.post(f"{self._sender._url}/api/2.0/mlflow/runs/search", json=body, timeout=30).json()
        return [self.run(run["info"]["run_id"]) for run in answer.get("runs", [])]

    def ends(self, run_id: str, limit_s: float = 60.0, place: Place | None = None) -> RunRef:
        """Wait until a run is ended, and return it."""
        until(
            lambda: self.run(run_id).status not in ("RUNNING", "SCHEDULED"),
            limit_s,
            lambda: f"run {run_id}: {self.run(run_id)} {place.tell() if place else ''}",
        )
        return self.run(run_id)


def script(folder: Path, code: str) -> Path:
    """Write a program to a file and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "script.py"
    path.write_text(textwrap.dedent(code))
    return path


@contextmanager
def running(place: Place, code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a process of its own, and kill it at the end of the block."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HOLDFAST_"))}
    process = subprocess.Popen(
        [sys.executable, str(script(place.folder, code)), *arguments],
        env={**environ, **place.settings()},
        cwd=place.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        place.kill_shippers()


def completed(place: Place, code: str, *arguments: str, limit_s: float = 120.0) -> tuple[str, str]:
    """Run a program to its end, which has to be a good one; return what it printed."""
    with running(place, code, *arguments) as process:
        output, errors = process.communicate(timeout=limit_s)
        assert process.returncode == 0, f"{output}\n{errors}\n{place.tell()}"
        return output, errors
