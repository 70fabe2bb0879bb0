"""A promotion with its history beside the same made by hand with MLflow's client: requests and seconds, on a server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from uuid import uuid4

from benchmarks.session import Session, say
from benchmarks.table import Table
from holdfast import ModelRegistry, Project, open_project
from holdfast.core.policy import PromotionPolicy
from holdfast.testing import FaultProxy

_ROUNDS = 15
_VERSIONS = 3


@dataclass(frozen=True)
class _Cost:
    """Medians a call: requests that reached the server, and seconds."""

    requests: float
    seconds: float


def measure(session: Session) -> list[Table]:
    """Return one row a change."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="hf-bench-") as folder, FaultProxy(session.servers.uri) as proxy:
        (Path(folder) / "pyproject.toml").touch()
        os.chdir(folder)
        try:
            return [_measure(proxy)]
        finally:
            os.chdir(here)


def _measure(proxy: FaultProxy) -> Table:
    table = Table(
        f"A change of Production on an MLflow server, medians of {_ROUNDS}",
        ["", "requests", "by hand", "more", "ms", "by hand ms", "to reach"],
    )
    project = open_project(tracking_uri=proxy.url, experiment_name="bench-promotions")
    registry = ModelRegistry(project, PromotionPolicy())
    ours, theirs = (_make_model(project, who) for who in ("ours", "by-hand"))
    say("promotion")
    promoting, by_hand = _promote(registry, ours), _by_hand(proxy.url, theirs)
    mine, yours = _cost(proxy, promoting), _cost(proxy, by_hand)
    table.add(
        "promotion to Production, with its history",
        mine.requests,
        yours.requests,
        mine.requests - yours.requests,
        mine.seconds * 1000,
        yours.seconds * 1000,
        "≤ 3 more",
    )
    say("rollback")
    back = _cost(proxy, lambda: registry.rollback(ours), rounds=1)
    table.add("rollback, files compared and model loaded first", back.requests, None, None, back.seconds * 1000)
    table.note(
        "",
        "By hand: read the version, see who is in Production, move the stages of both (MLflow cannot archive by itself "
        "on PostgreSQL with psycopg 3), point the alias, tag both, look at the result. Without history or rollback.",
    )
    return table


def _promote(registry: ModelRegistry, name: str) -> Callable[[], object]:
    turn = cycle(range(1, _VERSIONS + 1))
    return lambda: registry.promote(name, next(turn), "Production", reason="a benchmark")


def _by_hand(uri: str, name: str) -> Callable[[], object]:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client: Any = MlflowClient(uri, uri)
    turn = cycle(range(1, _VERSIONS + 1))

    def holder() -> str | None:
        try:
            return str(client.get_model_version_by_alias(name, "production").version)
        except MlflowException:
            return None

    def promote() -> None:
        number = str(next(turn))
        client.get_model_version(name, number)
        before = holder()
        client.transition_model_version_stage(name, number, "Production")
        client.set_registered_model_alias(name, "production", number)
        client.set_model_version_tag(name, number, "stage", "Production")
        if before is not None:
            client.transition_model_version_stage(name, before, "Archived")
            client.set_model_version_tag(name, before, "stage", "Archived")
        client.get_model_version(name, number)

    return promote


def _cost(proxy: FaultProxy, call: Callable[[], object], rounds: int = _ROUNDS) -> _Cost:
    requests, seconds = [], []
    # The first is another one: nobody is in Production yet, and connections are opened.
    for _ in range(rounds + (rounds > 1)):
        before, began = proxy.count, perf_counter()
        call()
        seconds.append(perf_counter() - began)
        requests.append(proxy.count - before)
    kept = slice(1 if rounds > 1 else 0, None)
    return _Cost(median(requests[kept]), median(seconds[kept]))


def _make_model(project: Project, who: str) -> str:
    """Log a small fitted model, register it three times, and return the registered model's name."""
    from holdfast.registry.demonstration import fit_and_log

    name = f"bench-{who}-{uuid4().hex[:8]}"
    logged = fit_and_log(project, project.experiment().experiment_id, {})
    for _ in range(_VERSIONS):
        ModelRegistry(project, PromotionPolicy()).register(name, logged.model_uri)
    return name
