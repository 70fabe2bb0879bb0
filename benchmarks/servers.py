"""The one MLflow server of a run of the benchmarks, on PostgreSQL, and its database seen from behind."""

from __future__ import annotations

import json
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.peers.base import KEY
from holdfast.server import ServerOptions
from holdfast.testing import LocalMlflowServer, PostgresServer

_DATABASE = "bench"
# As `mlflow server` itself chooses.
WORKERS = 4


class Servers:
    """MLflow on PostgreSQL, started when first asked for."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def uri(self) -> str:
        """The tracking URI; the server answers."""
        database = self._postgres.create_database(_DATABASE)
        files = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hf-bench-files-"))
        options = ServerOptions(database, artifacts_destination=str(Path(files)), port=0, workers=WORKERS)
        return self._stack.enter_context(LocalMlflowServer(options)).url

    @cached_property
    def _postgres(self) -> PostgresServer:
        return self._stack.enter_context(PostgresServer())

    @cached_property
    def _connection(self) -> Any:
        return self._stack.enter_context(self._postgres.access.connect(_DATABASE))

    def count_metrics(self, experiment: str) -> int:
        """Return how many values the runs of an experiment have, asked of PostgreSQL and not of the server."""
        query = (
            "SELECT count(*) FROM metrics JOIN runs USING (run_uuid)"
            " JOIN experiments ON runs.experiment_id = experiments.experiment_id WHERE experiments.name = %s"
        )
        return int(self._connection.execute(query, (experiment,)).fetchone()[0])

    def steps(self, experiment: str) -> Counter[int]:
        """Return how often each step of the metric `KEY` is in an experiment, by MLflow's REST API."""
        found: Counter[int] = Counter()
        for run_id in self._run_ids(experiment):
            token = ""
            while True:
                page = self._get(
                    "metrics/get-history", run_id=run_id, metric_key=KEY, max_results="20000", page_token=token
                )
                found.update(int(metric.get("step", 0)) for metric in page.get("metrics", []))
                token = page.get("next_page_token", "")
                if not token:
                    break
        return found

    def _run_ids(self, experiment: str) -> list[str]:
        try:
            found = self._get("experiments/get-by-name", experiment_name=experiment)["experiment"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        body = json.dumps({"experiment_ids": [found["experiment_id"]], "max_results": 100}).encode()
        request = urllib.request.Request(  # noqa: S310
            f"{self.uri}/api/2.0/mlflow/runs/search", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return [run["info"]["run_id"] for run in json.load(answer).get("runs", [])]

    def _get(self, path: str, **query: str) -> Any:
        given = urllib.parse.urlencode({name: value for name, value in query.items() if value})
        with urllib.request.urlopen(f"{self.uri}/api/2.0/mlflow/{path}?{given}", timeout=60) as answer:  # noqa: S310
            return json.load(answer)
