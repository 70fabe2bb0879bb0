"""Start-up, runs and the registry beside plain MLflow on SQLite: pairs measured in turn."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.session import Session, say
from benchmarks.table import Table
from benchmarks.timing import Pair, compare, cpu_of, wall_of

if TYPE_CHECKING:
    from holdfast import MLflowTracker

_DELIVERY = "HOLDFAST_DELIVERY"
_METRICS = {f"metric_{i}": 0.5 + i for i in range(10)}


def measure(session: Session) -> list[Table]:
    """Return one row a comparison."""
    here, before = Path.cwd(), os.environ.get(_DELIVERY)
    with tempfile.TemporaryDirectory(prefix="hf-bench-") as folder:
        # A project of its own: no journal and no rule of promotion of the folder that this runs in.
        (Path(folder) / "pyproject.toml").touch()
        os.chdir(folder)
        os.environ[_DELIVERY] = "direct"  # or plain MLflow would go through the journal as well
        try:
            return [_measure()]
        finally:
            os.chdir(here)
            os.environ.pop(_DELIVERY)
            os.environ.update({} if before is None else {_DELIVERY: before})


def _measure() -> Table:
    table = Table(
        "Beside plain MLflow, without the journal (HOLDFAST_DELIVERY=direct)",
        ["", "unit", "Holdfast", "MLflow", "× MLflow"],
    )
    rows: list[tuple[str, str, Callable[[], Pair]]] = [
        ("CPU of `holdfast --help` against `mlflow --version`", "s", _startup),
        ("log_metrics, one metric, SQLite", "ms", lambda: _logging(1)),
        ("log_metrics, ten metrics, SQLite", "ms", lambda: _logging(10)),
        ("curve of 1,000 values: log_series against log_metric", "ms", _curve),
        ("best run of 200 by val/loss, SQLite", "ms", _best),
        ("promotion, stage and alias against stage alone, SQLite", "ms", _promotion),
    ]
    for what, unit, take in rows:
        say(what)
        try:
            pair = take()
        except Exception as error:
            table.add(what, unit)
            table.note(what, (str(error) or type(error).__name__).splitlines()[0])
            continue
        scale = 1000 if unit == "ms" else 1
        table.add(what, unit, pair.ours * scale, pair.theirs * scale, pair.ratio)
    return table


def _startup() -> Pair:
    folder = Path(sys.executable).parent
    return compare(
        lambda: cpu_of([str(folder / "holdfast"), "--help"]),
        lambda: cpu_of([str(folder / "mlflow"), "--version"]),
        rounds=5,
    )


def _logging(count: int) -> Pair:
    import mlflow

    metrics = dict(list(_METRICS.items())[:count])
    tracker = _tracker()
    with tracker.run():
        return compare(
            lambda: wall_of(lambda: tracker.log_metrics(metrics), 100),
            lambda: wall_of(lambda: mlflow.log_metrics(metrics), 100),
            rounds=5,
        )


def _curve() -> Pair:
    import mlflow

    tracker = _tracker()
    values = [1.0 / (i + 1) for i in range(1000)]

    def one_by_one() -> None:
        for step, value in enumerate(values):
            mlflow.log_metric("theirs", value, step=step)

    with tracker.run():
        return compare(
            lambda: wall_of(lambda: tracker.log_series({"ours": values}), 1), lambda: wall_of(one_by_one, 1), rounds=3
        )


def _best() -> Pair:
    import mlflow

    tracker = _tracker()
    for i in range(200):
        with tracker.run():
            tracker.log_metrics({"val/loss": (i * 37 % 200) / 200})

    def theirs() -> object:
        return mlflow.search_runs([tracker.experiment_id], order_by=["metrics.`val/loss` ASC"], max_results=1)

    return compare(lambda: wall_of(lambda: tracker.get_best_run("val/loss"), 5), lambda: wall_of(theirs, 5), rounds=3)


def _promotion() -> Pair:
    from mlflow import MlflowClient

    from holdfast import ModelRegistry, open_project

    tracker = _tracker()
    client = MlflowClient(tracker.settings.tracking_uri)
    for name in ("ours", "theirs"):
        client.create_registered_model(name)
        for _ in range(2):
            client.create_model_version(name, source=tempfile.mkdtemp(dir=Path.cwd()))
    registry = ModelRegistry(open_project(tracker.settings))
    ours, theirs = cycle("12"), cycle("12")

    def stage_alone() -> object:
        return client.transition_model_version_stage("theirs", next(theirs), "Production", True)

    return compare(
        lambda: wall_of(lambda: registry.promote("ours", next(ours), "Production"), 10),
        lambda: wall_of(stage_alone, 10),
        rounds=3,
    )


def _tracker() -> MLflowTracker:
    from holdfast import MLflowTracker

    folder = tempfile.mkdtemp(dir=Path.cwd())
    return MLflowTracker(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="bench", artifact_uri=folder)
