"""What is lost of what was acknowledged when the training process is killed."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import Child, PeerError
from benchmarks.peers import get_peer
from benchmarks.peers.tasks import ACKNOWLEDGED
from benchmarks.session import Session, label_of, say
from benchmarks.shared_page import SharedPage
from benchmarks.table import Cell, Table

_VICTIMS = (
    *("holdfast", "override", "os-write", "mlflow-sync", "mlflow-async"),
    *("trackio", "tensorboardx", "tensorboard", "swanlab", "wandb"),
)
_CALLS_PER_S = 1000.0
_LIVES_S = (0.5, 2.5)
_START_S = 60.0
# How long helpers and servers may take to finish what they have; ends at once when nothing is lost.
_SETTLE_S = 30.0
_STABLE_S = 1.5
_AT_ONCE = 2


@dataclass(frozen=True)
class _Trial:
    acknowledged: int
    lost: int
    twice: int
    note: str = ""


def measure(session: Session) -> list[Table]:
    """Return how many acknowledged calls could not be read back, by peer and by what was killed."""
    table = Table(
        f"Lost of what was acknowledged, SIGKILL at about {_CALLS_PER_S:,.0f} calls/s, "
        f"{session.trials} trials each: median, worst",
        [
            *("", "calls acknowledged", "process alone: median", "worst", "whole tree: median", "worst"),
            *("stored twice", "to reach"),
        ],
    )
    for name in session.chosen(_VICTIMS):
        _add_row(session, table, name)
    if "aim" in session.chosen(("aim",)):
        table.note(label_of("aim"), f"left out: {get_peer('aim').unreadable}")
    return [table]


def _add_row(session: Session, table: Table, name: str) -> None:
    say(f"losses: {name}")
    kinds = (False, True) if get_peer(name).has_helper else (False,)
    try:
        taken = {whole_tree: _trials(session, name, whole_tree) for whole_tree in kinds}
    except PeerError as error:
        table.add(label_of(name))
        table.note(label_of(name), str(error))
        return
    every = [trial for trials in taken.values() for trial in trials]
    table.add(
        *(label_of(name), sum(trial.acknowledged for trial in every)),
        *_median_and_worst(taken[False]),
        *_median_and_worst(taken.get(True, [])),
        max(trial.twice for trial in every),
        "0, 0" if name in {"holdfast", "override"} else None,
    )
    for trial in every:
        table.note(label_of(name), trial.note)


def _median_and_worst(trials: list[_Trial]) -> tuple[Cell, Cell]:
    lost = [trial.lost for trial in trials]
    return (int(statistics.median(lost)), max(lost)) if lost else (None, None)


def _trials(session: Session, name: str, whole_tree: bool) -> list[_Trial]:
    # The server is started here, and not by two threads at once.
    uri = session.servers.uri
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda _: _try(session, name, uri, whole_tree), range(session.trials)))


def _try(session: Session, name: str, uri: str, whole_tree: bool) -> _Trial:
    with Child(name, uri) as child, SharedPage() as page:
        child.start("pace", page=str(page.path), calls_per_s=_CALLS_PER_S)
        wait_for_first_call(child, page)
        time.sleep(random.uniform(*_LIVES_S))
        if child.has_ended():
            child.answer(1.0)
        (child.kill_tree if whole_tree else child.kill)()
        acknowledged = page[ACKNOWLEDGED]
        note = _sync(child) if whole_tree and name in {"holdfast", "override"} else ""
        lost, twice = _settle(session, child, acknowledged)
        return _Trial(acknowledged, lost, twice, note)


def wait_for_first_call(child: Child, page: SharedPage) -> None:
    """Return once a call is acknowledged.

    Raises:
        PeerError: The process ended, with its reason, or none was acknowledged in time.
    """
    deadline = time.monotonic() + _START_S
    while not page[ACKNOWLEDGED]:
        if child.has_ended():
            child.answer(1.0)
        if time.monotonic() > deadline:
            raise PeerError(f"no call was acknowledged within {_START_S:.0f} s")
        time.sleep(0.01)


def _settle(session: Session, child: Child, acknowledged: int) -> tuple[int, int]:
    """Count until nothing is lost, or nothing more arrives and nobody is left to bring it."""
    deadline = time.monotonic() + _SETTLE_S
    best, since = _count(session, child, acknowledged), time.monotonic()
    while best[0] and time.monotonic() < deadline:
        # What a peer without a helper left in its files is all there is.
        if not get_peer(child.peer).on_server and not child.helpers():
            return _count(session, child, acknowledged)
        if not child.helpers() and time.monotonic() > since + _STABLE_S:
            return best
        time.sleep(0.3)
        now = _count(session, child, acknowledged)
        if now[0] < best[0]:
            best, since = now, time.monotonic()
    return best


def _count(session: Session, child: Child, acknowledged: int) -> tuple[int, int]:
    if not get_peer(child.peer).on_server:
        with Child(child.peer, child.uri, child.folder) as reader:
            found = reader.run("read_back", acknowledged=acknowledged)
        return found["lost"], found["twice"]
    steps = session.servers.steps(child.experiment)
    lost = sum(1 for step in range(acknowledged) if not steps[step])
    return lost, sum(1 for times in steps.values() if times > 1)


def _sync(child: Child) -> str:
    """Have what a killed tree left behind delivered, as its user would; return what went wrong."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "holdfast"), "sync"],
        cwd=child.folder,
        # The script named its server in code; the command has it from the settings.
        env=child.environment | {"MLFLOW_TRACKING_URI": child.uri},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode == 0:
        return ""
    said = [line.strip("│ ") for line in (done.stderr or done.stdout).splitlines() if any(map(str.isalpha, line))]
    return f"`holdfast sync` ended with {done.returncode}: {said[-1] if said else 'it said nothing'}"
