"""How long a call takes while the server cannot be reached."""

from __future__ import annotations

import time
from contextlib import ExitStack
from urllib.parse import urlsplit

from benchmarks.children import Child, PeerError
from benchmarks.losses import wait_for_first_call
from benchmarks.peers.tasks import ACKNOWLEDGED, BEGUN_IN, BEGUN_NS, PHASE, PHASES, REFUSED, WORST_NS
from benchmarks.proxy import Mode, Proxy
from benchmarks.session import Session, label_of, say
from benchmarks.shared_page import SharedPage
from benchmarks.table import Cell, Table

_CALLERS = ("holdfast", "override", "mlflow-async", "mlflow-sync")
_CALLS_PER_S = 50.0
_UP_S = 3.0
# After the outage, a call that is still waiting is given up: MLflow's own retries go on for many minutes.
_GIVE_UP_S = 15.0
_Pair = tuple[Child, SharedPage]


def measure(session: Session) -> list[Table]:
    """Return the longest call begun in each phase, all callers in the same outage."""
    outage_s = session.outage_s
    table = Table(
        f"Worst call in an outage, ms: refused for {outage_s:.0f} s, then a black hole for {outage_s:.0f} s, "
        f"{_CALLS_PER_S:.0f} calls/s",
        [
            "",
            "worst of all",
            "begun while up",
            "refused",
            "black hole",
            "up again",
            "calls acknowledged",
            "calls refused",
            "to reach",
        ],
    )
    with Proxy(urlsplit(session.servers.uri).port or 80) as proxy, ExitStack() as stack:
        started = _start(session, table, proxy, stack)
        phases: list[tuple[Mode, float]] = [("up", _UP_S), ("refused", outage_s), ("black hole", outage_s)]
        for number, (mode, seconds) in enumerate(phases):
            say(f"outage: {mode} for {seconds:.0f} s")
            _enter(proxy, mode, number, started)
            time.sleep(seconds)
        say("outage: up again")
        _enter(proxy, "up", PHASES - 1, started)
        _wait_until_back(started)
        for name, pair in started.items():
            table.add(label_of(name), *_row(*pair), "as when up" if name in {"holdfast", "override"} else None)
    return [table]


def _start(session: Session, table: Table, proxy: Proxy, stack: ExitStack) -> dict[str, _Pair]:
    started: dict[str, _Pair] = {}
    for name in session.chosen(_CALLERS):
        child = stack.enter_context(Child(name, f"http://127.0.0.1:{proxy.port}"))
        page = stack.enter_context(SharedPage())
        try:
            child.start("pace", page=str(page.path), calls_per_s=_CALLS_PER_S)
            wait_for_first_call(child, page)
        except PeerError as error:
            table.note(label_of(name), str(error))
            continue
        started[name] = child, page
    # The first call opens connections and loads modules, which is another matter.
    for _, page in started.values():
        page[WORST_NS] = 0
    return started


def _enter(proxy: Proxy, mode: Mode, number: int, started: dict[str, _Pair]) -> None:
    for _, page in started.values():
        page[PHASE] = number
    proxy.switch(mode)


def _wait_until_back(started: dict[str, _Pair]) -> None:
    deadline = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < deadline and not all(page[WORST_NS + PHASES - 1] for _, page in started.values()):
        time.sleep(0.1)
    time.sleep(1.0)


def _row(child: Child, page: SharedPage) -> list[Cell]:
    now, begun = time.monotonic_ns(), page[BEGUN_NS]
    child.kill()
    worst_ns = [page[WORST_NS + phase] for phase in range(PHASES)]
    cells: list[Cell] = [max(worst_ns) / 1e6, *(one / 1e6 or None for one in worst_ns)]
    waiting_ns = now - begun if begun else 0
    for place, longest_ns in ((0, max(worst_ns)), (1 + page[BEGUN_IN], worst_ns[page[BEGUN_IN]])):
        if waiting_ns > max(longest_ns, 1_000_000_000):
            cells[place] = f"> {waiting_ns / 1e6:,.0f}"
    return [*cells, page[ACKNOWLEDGED], page[REFUSED]]
