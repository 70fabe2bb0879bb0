"""MLflow's autologging, bound to a tracker's run, with real scikit-learn."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.utils.autologging_utils import get_autologging_config
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from holdfast import MLflowTracker
from holdfast.delivery.delivery import close_deliveries
from holdfast.errors import InvalidInputError
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow
from holdfast.training.integrations.sklearn import autolog

PLAIN = {"log_post_training_metrics": False, "log_datasets": False}


@pytest.fixture(autouse=True)
def _off_again() -> Iterator[None]:
    yield
    mlflow.sklearn.autolog(disable=True)


@pytest.fixture
def tracker(sqlite_uri: str) -> MLflowTracker:
    return MLflowTracker(sqlite_uri, experiment_name="fitting")


def fit(scale: float = 1.0) -> LogisticRegression:
    return LogisticRegression(C=scale).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])


def search() -> GridSearchCV:
    inputs = np.random.default_rng(0).random((40, 2))
    return GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=2).fit(inputs, inputs[:, 0] > 0.5)


def runs(tracker: MLflowTracker) -> list[Any]:
    tracker.flush(60)
    return list(tracker.client.search_runs([tracker.experiment_id]))


def test_into_the_open_run(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        with autolog(tracker) as used:
            fit(0.5)
        assert (used, tracker.run_id) == (run_id, run_id)
    (run,) = runs(tracker)
    assert (run.info.run_id, run.data.params["C"]) == (run_id, "0.5")
    assert run.data.metrics["training_accuracy_score"] == 1.0
    assert run.data.tags["estimator_name"] == "LogisticRegression"
    names = {item.path for item in tracker.client.list_artifacts(run_id)}
    assert "training_confusion_matrix.png" in names


def test_a_run_of_its_own_and_off_again(tracker: MLflowTracker) -> None:
    with autolog(tracker, **PLAIN) as run_id:
        fit()
    with tracker.run():
        fit(2.0)
    newest, first = runs(tracker)
    assert (first.info.run_id, first.info.status, first.data.params["C"]) == (run_id, "FINISHED", "1.0")
    assert newest.data.params == {}
    assert get_autologging_config("sklearn", "disable") is True


def test_two_fits_in_one_run(tracker: MLflowTracker, caplog: pytest.LogCaptureFixture) -> None:
    """The run keeps the params of the first, and a warning says so; a run for each has its own."""
    with autolog(tracker, **PLAIN) as run_id:
        fit(0.5)
        assert "keeps them" not in caplog.text
        fit(2.0)
        with tracker.run(nested=True) as child:
            fit(3.0)
    assert caplog.text.count("keeps them") == 1
    assert f"(params=C run={run_id})" in caplog.text
    assert {run.info.run_id: run.data.params["C"] for run in runs(tracker)} == {run_id: "0.5", child: "3.0"}


def test_no_library(tracker: MLflowTracker) -> None:
    with pytest.raises(InvalidInputError, match="'nonsense' is no library") as caught, autolog(tracker, "nonsense"):  # type: ignore[arg-type]
        pass
    assert caught.value.hint == "give one of sklearn, xgboost"
    assert runs(tracker) == []


def test_a_search_has_child_runs(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id, autolog(tracker, **PLAIN):
        found = search()
    children = [run for run in runs(tracker) if run.data.tags.get("mlflow.parentRunId") == run_id]
    assert {run.data.params["C"] for run in children} == {"0.1", "1.0", "10.0"}
    assert {run.info.status for run in children} == {"FINISHED"}
    (parent,) = [run for run in runs(tracker) if run.info.run_id == run_id]
    assert parent.data.metrics["best_cv_score"] == pytest.approx(found.best_score_)
    assert len(runs(tracker)) == 4


def test_other_trackers_and_threads_do_not_get_it(tracker: MLflowTracker, sqlite_uri: str) -> None:
    other = MLflowTracker(sqlite_uri, experiment_name="other")
    with autolog(tracker, **PLAIN) as run_id:
        with other.run():
            fit(2.0)
        thread = threading.Thread(target=fit, args=(3.0,))
        thread.start()
        thread.join()
        with tracker.run(nested=True) as child:
            fit(4.0)
        fit(1.0)
    assert {run.info.run_id: run.data.params.get("C") for run in runs(tracker)} == {run_id: "1.0", child: "4.0"}
    (elsewhere,) = runs(other)
    assert elsewhere.data.params == {}


def test_what_was_set_before_is_set_again(tracker: MLflowTracker) -> None:
    mlflow.sklearn.autolog(log_models=False, max_tuning_runs=2)
    with autolog(tracker, **PLAIN), autolog(tracker, max_tuning_runs=3):
        assert get_autologging_config("sklearn", "max_tuning_runs") == 3
    assert get_autologging_config("sklearn", "max_tuning_runs") == 2
    assert not get_autologging_config("sklearn", "disable")
    with pytest.raises(InvalidInputError, match="does not take this"), autolog(tracker, nonsense=1):
        pass
    assert not get_autologging_config("sklearn", "disable")


def test_server_away(mlflow_server: RunningMlflow, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SHIPPER", "process")  # which uploads what this one leaves
    with FaultProxy(mlflow_server.url) as proxy:
        proxy.refuse()
        tracker = MLflowTracker(proxy.url, experiment_name=unique)
        with tracker.run(), autolog(tracker, **PLAIN):
            search()
        proxy.pass_on()
        tracker.flush(60)
        found = tracker.client.search_runs([tracker.client.get_experiment_by_name(unique).experiment_id])
        (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
        children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert {run.data.params["C"] for run in children} == {"0.1", "1.0", "10.0"}
        assert {run.info.status for run in found} == {"FINISHED"}
        assert "best_cv_score" in parent.data.metrics
        # Files that MLflow itself logs to a run begun offline are uploaded once its process has taken leave.
        close_deliveries()
        listed = mlflow.MlflowClient(mlflow_server.url).list_artifacts
        deadline = time.monotonic() + 120
        while "cv_results.csv" not in {item.path for item in listed(parent.info.run_id)}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
