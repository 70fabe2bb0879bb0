"""`HoldfastXGBoostCallback`: what XGBoost trains, in the tracker's run and through the journal."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from xgboost.callback import TrainingCallback

from holdfast.backend.xgboost_models import save_xgboost_model
from holdfast.errors import RunStateError
from holdfast.tracking import MLflowTracker
from holdfast.training.integrations.names import metric_name
from holdfast.training.integrations.params import log_first_values
from holdfast.training.integrations.run_in_use import RunInUse

# XGBoost's own bookkeeping in a booster's configuration, which says nothing about how it was trained.
_NO_PARAMS = {"num_trees", "debug_synchronize", "max_cached_hist_node", "updater_seq", "fail_on_invalid_gpu_id"}
_DECIMAL = re.compile(r"-?\d+\.\d+")


class HoldfastXGBoostCallback(TrainingCallback):  # type: ignore[misc]  # XGBoost is not typed
    """A callback for `xgboost.train`, `xgboost.cv` and the estimators of XGBoost's scikit-learn interface.

    Logged are the booster's parameters as XGBoost has understood them (its own defaults too), every evaluation metric
    of every round as `<data>/<metric>` with the number of boosted rounds before as step (`error@0.3` as `error_at_0.3`,
    the deviation of `xgboost.cv` as `<data>/<metric>_std`), with early stopping `best_iteration` and `best_score`, and
    at the end the features' importance and the booster as an MLflow model (`model`), for `register_model` to take.

    Training neither waits for a server nor loses anything to one that is away. In a distributed training worker 0 logs.

    Args:
        tracker: Whose open run. Where none is open when training begins, one is begun and ends with the training; if
            the training fails, it is ended as FAILED when the next training begins, or with the process.
        prefix: Put before the names of metrics: `fold1/`.
        log_model: Whether the booster is stored.
        example: A few rows of the input, for the model's signature.
        importance: XGBoost's kind of importance: `gain`, `weight`, `cover` …; linear boosters only know `weight`.

    Raises:
        RunStateError: When training begins: this is a copy that was pickled, which has no tracker.
    """

    def __init__(
        self,
        tracker: MLflowTracker,
        *,
        prefix: str = "",
        log_model: bool = True,
        example: Any = None,
        importance: str = "gain",
    ) -> None:
        super().__init__()
        self._tracker: MLflowTracker | None = tracker
        self._prefix, self._log_model, self._example, self._importance = prefix, log_model, example, importance
        self._run: RunInUse | None = None
        self._history: Mapping[str, Mapping[str, Any]] = {}
        self._logged = self._first_step = 0

    def __getstate__(self) -> dict[str, Any]:
        # Estimators are pickled with their callbacks; a run is nothing to keep in a file.
        return {**self.__dict__, "_tracker": None, "_run": None, "_history": {}}

    def __deepcopy__(self, memo: dict[int, Any]) -> HoldfastXGBoostCallback:
        """Return one for the same tracker: scikit-learn copies an estimator with its callbacks for each fit."""
        return type(self)(
            self._known_tracker(),
            prefix=self._prefix,
            log_model=self._log_model,
            example=self._example,
            importance=self._importance,
        )

    def _known_tracker(self) -> MLflowTracker:
        if self._tracker is None:
            raise RunStateError(
                "A HoldfastXGBoostCallback that was pickled has no tracker.",
                "give the estimator a new one: model.set_params(callbacks=[HoldfastXGBoostCallback(tracker)])",
            )
        return self._tracker

    def before_training(self, model: Any) -> Any:
        """Begin the run where none is open, and log the parameters."""
        self._logged, self._history = 0, {}
        if xgboost.collective.get_rank() == 0:
            tracker = self._known_tracker()
            self._run = RunInUse(tracker)
            self._run.begin()
            booster = _first_booster(model)
            self._first_step = booster.num_boosted_rounds()
            log_first_values(tracker, booster_params(booster))
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: TrainingCallback.EvalsLog) -> bool:
        """Log the round's metrics; never stops the training."""
        self._history = evals_log
        self._log_new_rounds()
        return False

    def _log_new_rounds(self) -> None:
        if self._run is None or not self._history:
            return
        tracker = self._known_tracker()
        rounds = max(len(values) for metrics in self._history.values() for values in metrics.values())
        for at in range(self._logged, rounds):
            tracker.log_metrics(dict(_of_round(self._history, at, self._prefix)), self._first_step + at)
        self._logged = rounds

    def after_training(self, model: Any) -> Any:
        """Log the best round, the importance and the model, and end the run that was begun."""
        # XGBoost asks no callback after the one that stops the training, so that a round may be left.
        self._log_new_rounds()
        if self._run is None:
            return model
        if isinstance(model, xgboost.Booster):
            self._log_booster(model)
        self._run.end()
        self._run = None
        return model

    def _log_booster(self, booster: xgboost.Booster) -> None:
        tracker = self._known_tracker()
        best = {name: booster.attr(name) for name in ("best_iteration", "best_score")}
        tracker.log_metrics({self._prefix + name: float(text) for name, text in best.items() if text is not None})
        with tempfile.TemporaryDirectory(prefix="holdfast-xgboost-") as scratch:
            kind = "weight" if _is_linear(booster) else self._importance
            table = Path(scratch, f"feature_importance_{kind}.json")
            table.write_text(json.dumps(_importance(booster, kind), indent=1), encoding="utf-8")
            tracker.log_artifact(table, "")
            if self._log_model:
                save_xgboost_model(booster, Path(scratch, "model"), self._example)
                tracker.log_artifacts_dir(Path(scratch, "model"), "model")


def booster_params(booster: xgboost.Booster) -> dict[str, str]:
    """Return what a booster is trained with, as XGBoost has understood it: `eta`, `max_depth`, `objective` …

    Of the names that XGBoost has for one thing (`eta`, `learning_rate`) all are there. Numbers, which XGBoost keeps in
    32 bits, are as short as that allows: `0.1`, not `0.100000001`.
    """
    learner = json.loads(booster.save_config())["learner"]
    found = dict(_leaves(learner))
    metrics = [str(metric["name"]) for metric in learner.get("metrics", [])]
    shown = {name: _short(text) for name, text in found.items() if name not in _NO_PARAMS and text not in ("", "()")}
    return shown | ({"eval_metric": json.dumps(metrics)} if metrics else {})


def _short(text: str) -> str:
    return str(np.float32(text)) if _DECIMAL.fullmatch(text) else text


def _leaves(node: Any) -> Iterator[tuple[str, str]]:
    """Give the texts of a configuration that stand in a group of parameters, whichever group."""
    if isinstance(node, list):
        for item in node:
            yield from _leaves(item)
    elif isinstance(node, dict):
        for name, item in node.items():
            if name.endswith("_param") and isinstance(item, dict):
                yield from ((key, text) for key, text in item.items() if isinstance(text, str))
            else:
                yield from _leaves(item)


def _of_round(history: Mapping[str, Mapping[str, Any]], at: int, prefix: str) -> Iterator[tuple[str, float]]:
    for data, metrics in history.items():
        for metric, values in metrics.items():
            name = metric_name(f"{prefix}{data}/{metric}")
            value = values[at] if at < len(values) else None
            if isinstance(value, tuple):
                yield from ((name, value[0]), (f"{name}_std", value[1]))
            elif value is not None:
                yield name, value


def _first_booster(model: Any) -> xgboost.Booster:
    """Return the booster, of those of a cross-validation the first."""
    return model if isinstance(model, xgboost.Booster) else model.cvfolds[0].bst


def _is_linear(booster: xgboost.Booster) -> bool:
    return bool(json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear")


def _importance(booster: xgboost.Booster, kind: str) -> dict[str, Any]:
    found = booster.get_score(importance_type=kind)
    return dict(sorted(found.items(), key=lambda item: _size(item[1]), reverse=True))


def _size(value: Any) -> float:
    """Return how much a feature counts; a linear model of several classes has a weight for each."""
    parts = value if isinstance(value, list) else [value]
    return float(sum(abs(part) for part in parts))
