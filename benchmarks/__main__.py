"""`make bench`: what Holdfast costs and keeps beside its peers, in one run."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import warnings
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.children import PEERS_PYTHON
from benchmarks.peers import NAMES, get_peer
from benchmarks.servers import WORKERS, Servers
from benchmarks.session import Session, say
from benchmarks.table import Table

_TOPICS = {
    "calls": "logging_calls",
    "footprint": "footprint",
    "losses": "losses",
    "outage": "outage",
    "delivery": "delivery",
    "registry": "registry",
    "promotion": "promotions",
    "transfers": "transfers",
    "cleanup": "cleanup",
    "doctor": "examinations",
    "training": "training",
    "basketworld": "basketworld_speed",
    "basketworld-elo": "basketworld_elo",
}
_VERSIONS = (
    "import importlib.metadata as m, json\n"
    "names = {d.metadata['Name']: d.version for d in m.distributions()}\n"
    "print(json.dumps(names))"
)


def main() -> None:
    """Print one table a topic, as each is done."""
    options = _parse()
    # Leave by the context managers, which end the servers and the peers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore", category=FutureWarning)  # MLflow's, about stages
    environment = _environment()
    print("\n".join(f"{name}: {value}" for name, value in environment.items()), end="\n\n", flush=True)
    tables: list[Table] = []
    with Servers() as servers:
        session = Session(servers, options.trials, options.outage, options.rounds, options.peers)
        for topic in options.only:
            tables += _measure(session, topic)
    environment["load at the end"] = _load()
    print(f"load at the end: {environment['load at the end']}")
    if options.json:
        written = {"environment": environment, "tables": [table.as_json() for table in tables]}
        options.json.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")


def _measure(session: Session, topic: str) -> list[Table]:
    """Measure and print one topic; what goes wrong in it is printed and stops nothing else."""
    try:
        tables: list[Table] = import_module(f"benchmarks.{_TOPICS[topic]}").measure(session)
    except Exception as error:
        tables = [Table(f"{topic}: not measured", [""], notes=[f"{type(error).__name__}: {error}"])]
    say("")
    for table in tables:
        print(table.render(), flush=True)
    return tables


def _environment() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "CPUs": str(os.cpu_count()),
        "load": _load(),
        "here": ", ".join(f"{name} {version(name)}" for name in ("holdfast", "mlflow", "requests", "psycopg")),
        "peers": _peer_versions(),
        "server": f"`mlflow server` with {WORKERS} workers, its default, on PostgreSQL, over loopback without TLS",
    }


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _peer_versions() -> str:
    names = sorted({peer.distribution for peer in map(get_peer, NAMES) if peer.own_venv and peer.distribution})
    found: dict[str, str] = {}
    if PEERS_PYTHON.exists():
        done = subprocess.run(
            [str(PEERS_PYTHON), "-c", _VERSIONS], capture_output=True, text=True, check=True, timeout=60
        )
        found = json.loads(done.stdout)
    return ", ".join(f"{name} {found.get(name, 'not installed')}" for name in names)


def _parse() -> Any:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", type=_choice(tuple(_TOPICS)), default=tuple(_TOPICS), metavar=",".join(_TOPICS))
    parser.add_argument("--peers", type=_choice(NAMES), default=(), metavar="A,B", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--trials", type=int, default=5, help="kills of each kind (default 5; the long one: 200)")
    parser.add_argument(
        "--outage", type=float, default=10.0, help="seconds of each half (default 10; the long one: 60)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of calls and delivery (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same figures there")
    return parser.parse_args(sys.argv[1:])


def _choice(allowed: tuple[str, ...]) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        given = tuple(part.strip() for part in text.split(",") if part.strip())
        if unknown := [part for part in given if part not in allowed]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(allowed)}")
        return given

    return parse


main()
