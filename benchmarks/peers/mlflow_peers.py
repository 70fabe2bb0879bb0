"""Plain MLflow against a server, and what its fluent calls cost where nothing is stored."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.peers.base import KEY, Job, Log, Peer


class MlflowSync(Peer):
    """`mlflow.log_metric`, which returns when the server has answered."""

    label = "MLflow, synchronous, http"
    distribution = "mlflow"
    own_venv = False
    on_server = True
    calls = 2_000
    # Holdfast is installed beside this MLflow, and its store stands in for `http` even where it only passes on.
    is_stock = True

    def open(self, job: Job) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        if self.is_stock:
            _put_stock_store_back()
        mlflow.set_tracking_uri(job.uri)
        self._prepare()
        mlflow.set_experiment(job.experiment)
        mlflow.start_run()
        self._check_store()

    def logger(self, count: int) -> Log:
        if count == 1:
            log_metric = self._mlflow.log_metric
            return lambda metrics, step: log_metric(KEY, metrics[KEY], step)
        log_metrics: Log = self._mlflow.log_metrics
        return log_metrics

    def close(self) -> None:
        self._mlflow.end_run()

    def _prepare(self) -> None:
        pass

    def _check_store(self) -> None:
        from mlflow.tracking._tracking_service.utils import _get_store

        module = type(_get_store()).__module__
        if module.startswith("holdfast") == self.is_stock:
            raise RuntimeError(f"the wrong store would be measured: MLflow uses {module}")


class MlflowAsync(MlflowSync):
    """The same with `mlflow.config.enable_async_logging()`."""

    label = "MLflow, asynchronous, http"
    calls = 3_000
    closes = False

    def _prepare(self) -> None:
        self._mlflow.config.enable_async_logging()

    def close(self) -> None:
        self._mlflow.flush_async_logging()
        super().close()


class FluentNothing(MlflowSync):
    """A fluent call to a store that does nothing: what any override of the store starts from."""

    label = "floor: mlflow.log_metric, store does nothing"
    calls = 20_000

    def _prepare(self) -> None:
        from mlflow.store.tracking.rest_store import RestStore

        RestStore.log_metric = RestStore.log_batch = lambda *_args, **_named: None


class FluentNothingWithRegistry(FluentNothing):
    """The same with the registry's URI set, which spares each call a failing `import pyspark`."""

    label = "floor: the same, MLFLOW_REGISTRY_URI set"

    def open(self, job: Job) -> None:
        os.environ["MLFLOW_REGISTRY_URI"] = job.uri
        super().open(job)


def _put_stock_store_back() -> None:
    from mlflow.tracking._tracking_service import utils

    utils._tracking_store_registry.register("http", utils._get_rest_store)
