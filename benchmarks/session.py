"""What the topics of one run share: the options, the server, and measurements that two tables need."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from benchmarks.children import Child, PeerError
from benchmarks.peers import get_peer
from benchmarks.servers import Servers

# In the order of the tables.
CALLERS = (
    *("holdfast", "override", "override-registry", "os-write", "fluent-nothing-registry", "fluent-nothing"),
    *("mlflow-async", "mlflow-sync", "trackio", "tensorboardx", "tensorboard", "swanlab", "wandb", "aim"),
)
OURS = "holdfast"
LIMIT_S = 1.5
_COUNTS = (1, 10)
Figures = dict[str, float | None]


@dataclass(frozen=True)
class Measured:
    """Medians of the rounds of one peer and one number of metrics; or why there are none."""

    figures: Figures = field(default_factory=dict)
    note: str = ""
    error: str = ""

    def __getitem__(self, name: str) -> float | None:
        return self.figures.get(name)


@dataclass
class Session:
    """One run of the benchmarks."""

    servers: Servers
    trials: int = 5
    outage_s: float = 10.0
    rounds: int = 3
    peers: tuple[str, ...] = ()

    def chosen(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the names that this run measures."""
        return tuple(name for name in names if not self.peers or name in self.peers)

    @cached_property
    def calls(self) -> dict[tuple[str, int], Measured]:
        """Every peer, with one metric a call and with ten, each round after round in turn."""
        uri = self.servers.uri
        taken: dict[tuple[str, int], list[dict[str, Any]]] = {}
        failed: dict[tuple[str, int], str] = {}
        for round_ in range(self.rounds):
            for key in [(name, count) for name in self.chosen(CALLERS) for count in _COUNTS]:
                if key in failed:
                    continue
                say(f"calls, round {round_ + 1} of {self.rounds}: {key[0]}, {key[1]}")
                try:
                    taken.setdefault(key, []).append(_measure(uri, *key))
                except PeerError as error:
                    failed[key] = str(error)
        return {key: _medians(rounds) for key, rounds in taken.items() if rounds} | {
            key: Measured(error=reason) for key, reason in failed.items()
        }


def label_of(name: str) -> str:
    """Return how a peer is called in the tables."""
    return get_peer(name).label


def say(text: str) -> None:
    """Show what is going on, on one line of a terminal; nothing where stderr is a file."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)


def _measure(uri: str, name: str, count: int) -> dict[str, Any]:
    with Child(name, uri) as child:
        return child.run("measure", count=count, calls=get_peer(name).calls, limit_s=LIMIT_S)


def _medians(rounds: list[dict[str, Any]]) -> Measured:
    note = rounds[0].pop("note", "")
    figures: Figures = {}
    for name in rounds[0]:
        if name != "note":
            values = [one[name] for one in rounds if one[name] is not None]
            figures[name] = statistics.median(values) if values else None
    return Measured(figures, note)
