"""`make bench`: what Holdfast costs beside plain MLflow."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.timing import Pair, compare, cpu_of, wall_of

if TYPE_CHECKING:
    from holdfast import MLflowTracker

_METRICS = {f"metric_{i}": 0.5 + i for i in range(10)}


def main() -> None:
    """Print one row a comparison."""
    logging.disable(logging.INFO)
    print(
        f"Python {sys.version.split()[0]}, MLflow {version('mlflow')}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.1f}\n"
    )
    print(f"{'what':<58}{'Holdfast':>12}{'MLflow':>12}{'ratio':>8}")
    rows: list[tuple[str, str, Callable[[], Pair]]] = [
        ("CPU of `holdfast --help` against `mlflow --version`", "s", _startup),
        ("log_metrics, one metric, SQLite", "ms", lambda: _logging(1)),
        ("log_metrics, ten metrics, SQLite", "ms", lambda: _logging(10)),
        ("curve of 1,000 values: log_series against log_metric", "ms", _curve),
        ("best run of 200 by val/loss, SQLite", "ms", _best),
    ]
    for what, unit, measure in rows:
        pair = measure()
        scale = 1000 if unit == "ms" else 1
        print(f"{what:<58}{pair.ours * scale:>9.2f} {unit:<2}{pair.theirs * scale:>9.2f} {unit:<2}{pair.ratio:>8.2f}")


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


def _tracker() -> MLflowTracker:
    from holdfast import MLflowTracker

    folder = tempfile.mkdtemp(prefix="holdfast-bench-")
    return MLflowTracker(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="bench", artifact_uri=folder)


main()
