"""What XGBoost trains, logged by its callback, with real boosters."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from xgboost.callback import EarlyStopping, TrainingCallback

from holdfast import MLflowTracker
from holdfast.errors import RunStateError
from holdfast.lifecycle import run_guard
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow
from holdfast.training.integrations.sklearn import autolog
from holdfast.training.integrations.xgboost import HoldfastXGBoostCallback

PARAMS = {
    "objective": "binary:logistic",
    "eta": 0.1,
    "max_depth": 2,
    "eval_metric": ["logloss", "error@0.3"],
    "nthread": 1,
}


@pytest.fixture
def tracker(sqlite_uri: str) -> MLflowTracker:
    return MLflowTracker(sqlite_uri, experiment_name="boosting")


def inputs() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    found = random.random((80, 3))
    return found, (found[:, 0] + 0.3 * random.random(80) > 0.6).astype(int)


def matrix() -> xgboost.DMatrix:
    return xgboost.DMatrix(*inputs())


def train(callbacks: list[Any], rounds: int = 4, **options: Any) -> xgboost.Booster:
    data = matrix()
    evals = [(data, "train"), (data, "val")]
    return xgboost.train(PARAMS, data, rounds, evals=evals, callbacks=callbacks, verbose_eval=False, **options)


def steps(tracker: MLflowTracker, run_id: str, name: str) -> list[tuple[int, float]]:
    tracker.flush(60)
    return [(point.step, point.value) for point in tracker.client.get_metric_history(run_id, name)]


def test_a_training(tracker: MLflowTracker) -> None:
    rows = inputs()[0][:5]
    history: dict[str, Any] = {}
    with tracker.run() as run_id:
        booster = train([HoldfastXGBoostCallback(tracker, example=rows)], evals_result=history)
    assert [value for _, value in steps(tracker, run_id, "val/logloss")] == history["val"]["logloss"]
    assert steps(tracker, run_id, "train/error_at_0.3") == list(enumerate(history["train"]["error@0.3"]))
    params = tracker.get_run_info(run_id)["params"]
    assert (params["eta"], params["max_depth"], params["objective"]) == ("0.1", "2", "binary:logistic")
    assert json.loads(params["eval_metric"]) == ["logloss", "error@0.3"]
    files = Path(tracker.client.download_artifacts(run_id, ""))
    importance = json.loads((files / "feature_importance_gain.json").read_text())
    assert next(iter(importance)) == "f0"
    assert importance == pytest.approx(booster.get_score(importance_type="gain"))
    from mlflow.pyfunc import load_model

    model = load_model(str(files / "model"))
    np.testing.assert_array_equal(model.predict(rows), booster.predict(xgboost.DMatrix(rows)))
    assert model.metadata.signature is not None


def test_early_stopping_before_and_after_the_callback(tracker: MLflowTracker) -> None:
    for first in (True, False):
        stopping = EarlyStopping(rounds=2, metric_name="error@0.3", data_name="val", min_delta=1.0)
        ours = HoldfastXGBoostCallback(tracker, log_model=False)
        with tracker.run() as run_id:
            booster = train([stopping, ours] if first else [ours, stopping], rounds=20)
        assert [step for step, _ in steps(tracker, run_id, "val/logloss")] == [0, 1, 2]
        found = tracker.get_run_info(run_id)["metrics"]
        assert (found["best_iteration"], found["best_score"]) == (booster.best_iteration, booster.best_score)


def test_continued_in_the_same_run(tracker: MLflowTracker, caplog: pytest.LogCaptureFixture) -> None:
    with tracker.run() as run_id:
        tracker.log_params({"eta": "0.1", "max_depth": "another"})
        booster = train([HoldfastXGBoostCallback(tracker, log_model=False)], rounds=2)
        train([HoldfastXGBoostCallback(tracker, log_model=False)], rounds=3, xgb_model=booster)
    assert [step for step, _ in steps(tracker, run_id, "val/logloss")] == [0, 1, 2, 3, 4]
    assert "params=max_depth)" in caplog.text
    assert tracker.get_run_info(run_id)["params"]["max_depth"] == "another"


def test_cross_validation_begins_and_ends_a_run(tracker: MLflowTracker) -> None:
    table = xgboost.cv(PARAMS, matrix(), 3, nfold=2, callbacks=[HoldfastXGBoostCallback(tracker, prefix="cv/")])
    assert tracker.run_id is None
    tracker.flush()
    (run,) = tracker.client.search_runs([tracker.experiment_id])
    assert run.info.status == "FINISHED"
    shown = [value for _, value in steps(tracker, run.info.run_id, "cv/test/logloss")]
    assert shown == pytest.approx(list(table["test-logloss-mean"]))
    assert run.data.metrics["cv/test/logloss_std"] == pytest.approx(table["test-logloss-std"].iloc[-1])


class _Breaks(TrainingCallback):  # type: ignore[misc]  # XGBoost is not typed
    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        raise ZeroDivisionError


def test_a_training_that_breaks(tracker: MLflowTracker, caplog: pytest.LogCaptureFixture) -> None:
    """Its run is FAILED when the next training begins, with a run of its own, and at the end of the process."""
    ours = HoldfastXGBoostCallback(tracker, log_model=False)
    with pytest.raises(ZeroDivisionError):
        train([ours, _Breaks()])
    broken = tracker.run_id
    train([ours], rounds=1)
    assert tracker.run_id is None
    assert f"(run={broken})" in caplog.text
    with pytest.raises(ZeroDivisionError):
        train([HoldfastXGBoostCallback(tracker, log_model=False), _Breaks()])
    with pytest.raises(ZeroDivisionError), autolog(tracker):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        train([HoldfastXGBoostCallback(tracker, log_model=False), _Breaks()])
    run_guard().end_all()
    tracker.flush()
    found = [run.info.status for run in tracker.client.search_runs([tracker.experiment_id])]
    assert found == ["FAILED", "FAILED", "FAILED", "FINISHED", "FAILED"]


def test_estimators(tracker: MLflowTracker) -> None:
    from sklearn.base import clone

    data, targets = inputs()
    callback = HoldfastXGBoostCallback(tracker, importance="weight")
    model = clone(xgboost.XGBClassifier(n_estimators=3, max_depth=1, n_jobs=1, callbacks=[callback]))
    with tracker.run() as run_id:
        model.fit(data, targets, eval_set=[(data, targets)], verbose=False)
    assert [step for step, _ in steps(tracker, run_id, "validation_0/logloss")] == [0, 1, 2]
    copied = pickle.loads(pickle.dumps(model))  # noqa: S301
    np.testing.assert_array_equal(copied.predict(data), model.predict(data))
    with pytest.raises(RunStateError, match="pickled"):
        copied.fit(data, targets)


def test_linear_boosters(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        callback = HoldfastXGBoostCallback(tracker)
        xgboost.train({"booster": "gblinear", "nthread": 1}, matrix(), 1, callbacks=[callback])
    assert {item.path for item in tracker.client.list_artifacts(run_id)} == {"feature_importance_weight.json", "model"}


def test_autologging(tracker: MLflowTracker) -> None:
    with autolog(tracker, "xgboost") as run_id:
        train([], rounds=2)
    train([], rounds=1)
    tracker.flush()
    (run,) = tracker.client.search_runs([tracker.experiment_id])
    assert (run.info.run_id, run.info.status, run.data.params["eta"]) == (run_id, "FINISHED", "0.1")
    assert [step for step, _ in steps(tracker, run_id, "val-logloss")] == [0, 1]


def test_server_away(mlflow_server: RunningMlflow, unique: str) -> None:
    with FaultProxy(mlflow_server.url) as proxy:
        proxy.refuse()
        tracker = MLflowTracker(proxy.url, experiment_name=unique)
        with tracker.run():
            train([HoldfastXGBoostCallback(tracker)], rounds=3)
        proxy.pass_on()
        tracker.flush(60)
        (run,) = tracker.client.search_runs([tracker.client.get_experiment_by_name(unique).experiment_id])
        assert [step for step, _ in steps(tracker, run.info.run_id, "val/logloss")] == [0, 1, 2]
        assert (run.info.status, run.data.params["eta"]) == ("FINISHED", "0.1")
        names = {item.path for item in tracker.client.list_artifacts(run.info.run_id)}
        assert names == {"feature_importance_gain.json", "model"}
