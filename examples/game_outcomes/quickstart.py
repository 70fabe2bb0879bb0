"""The whole path on one page: train, track, register, check, promote, load back, predict.

Everything goes through the project's settings: without any, runs are tracked in a SQLite
file and files kept in a folder, both in the project's root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import pandas as pd

from holdfast.core.promotion import CheckAnswer, PromotionRule, parse_rule
from holdfast.core.stages import Stage
from holdfast.core.uris import scheme_of, slug
from holdfast.errors import HoldfastError, PromotionRefusedError
from holdfast.project import Project
from holdfast.registry import ModelRegistry
from holdfast.settings import Settings
from holdfast.settings.handover import s3_environment
from holdfast.tracking import MLflowTracker

from .loader import load_games
from .metrics import score_games
from .model import ModelConfig
from .pipeline import Outcome, Progress, train_and_evaluate
from .simulator import simulate_games

EXPERIMENT = "game-outcomes"
# Better than a coin (log loss ln 2), and not worse than the version that is in Production.
DEFAULT_RULE = {
    "min": {"test/auc": 0.55},
    "max": {"test/log_loss": 0.6931},
    "not-above-production": {"test/log_loss": 0.0},
}


@dataclass(frozen=True)
class QuickstartResult:
    """What was done, and where it is.

    Attributes:
        games: How many games were read, and of which seasons.
        run_id: The run.
        model_name: The registered model.
        version: Its new version.
        metrics: The test metrics.
        forecast: The same metrics of the forecast in the file, if it has one.
        answers: What the promotion rule found.
        promoted: Whether the new version became Production.
        refusal: Why not, where it did not.
        archived: The versions it took the place of.
        production_version: The version in Production now.
        predictions: URI → the first chances of a home win, as a new process predicted them.
        tracking_uri: Where runs are tracked, its password masked by whoever shows it.
        artifact_uri: Where the run's files lie.
    """

    games: str
    run_id: str
    model_name: str
    version: int
    metrics: dict[str, float]
    forecast: dict[str, float] | None
    answers: tuple[CheckAnswer, ...]
    promoted: bool
    refusal: str
    archived: tuple[int, ...]
    production_version: int | None
    predictions: dict[str, list[float]]
    tracking_uri: str
    artifact_uri: str


def run_quickstart(
    settings: Settings, games_path: Path | None = None, seed: int = 7, progress: Progress | None = None
) -> QuickstartResult:
    """Do the whole path once.

    Args:
        settings: The project's settings; the experiment is theirs where they name one.
        games_path: A CSV of games; a simulated league where it is None.
        seed: Of the training; the simulated league is always the same.
        progress: Told about each stage: its name, the steps done, all steps.

    Raises:
        DataError: The file cannot be used.
        HoldfastError: A step failed; the run is then FAILED.
    """
    report = progress or (lambda stage, done, total: None)
    games = simulate_games() if games_path is None else load_games(games_path)
    job = _Job(settings, _model_name(games_path), _describe(games, games_path), report)
    tracker = MLflowTracker(settings=settings)
    config = ModelConfig(seed=seed)
    with tracker.run(description="Chance of a home win, from what was known before each game.") as run_id:
        outcome = train_and_evaluate(games, config, report)
        report("log", 0, 1)
        _log(tracker, outcome, config, job.games)
        _log_evidence(tracker, outcome, games_path)
        logged = _Logged(
            run_id, str(tracker.get_run_info(run_id)["artifact_uri"]), _log_model(tracker, run_id, outcome)
        )
        report("log", 1, 1)
    return _promote(job, outcome, logged)


@dataclass(frozen=True)
class _Job:
    settings: Settings
    model_name: str
    games: str
    report: Progress


@dataclass(frozen=True)
class _Logged:
    run_id: str
    artifact_uri: str
    model_uri: str


def _model_name(path: Path | None) -> str:
    # A model of its own for each file name: versions are compared, and only what is measured on the same games can be.
    return "game-outcomes" if path is None else f"game-outcomes-{slug(path.stem)}"


def _describe(games: pd.DataFrame, path: Path | None) -> str:
    source = "simulated" if path is None else path.name
    return f"{len(games):,} games of {games['season'].min()} to {games['season'].max()} ({source})"


def _registry(settings: Settings) -> ModelRegistry:
    rule: PromotionRule | None = None if settings.promotion else parse_rule(DEFAULT_RULE)
    return ModelRegistry(Project(settings), rule)


def _log(tracker: MLflowTracker, outcome: Outcome, config: ModelConfig, games: str) -> None:
    tracker.log_params(vars(config) | {"best_round": outcome.best_round, "features": len(outcome.feature_names)})
    tracker.log_params({"games": games, "split": str(outcome.split), "data_sha256": outcome.data_fingerprint})
    rounds = outcome.history
    tracker.log_series(
        {
            "train/round_log_loss": list(rounds["train_log_loss"]),
            "val/round_log_loss": list(rounds["validation_log_loss"]),
        },
        first_step=1,
    )
    named = {"train": "train", "validation": "val", "test": "test"}
    for part, metrics in outcome.metrics.items():
        tracker.log_metrics({f"{named[part]}/{metric}": value for metric, value in metrics.items()})
    if outcome.forecast_metrics:
        tracker.log_metrics({f"forecast/{metric}": value for metric, value in outcome.forecast_metrics.items()})
    with tempfile.TemporaryDirectory() as folder:
        for name, figure in outcome.figures.items():
            figure.savefig(Path(folder) / f"{name}.png", dpi=120)
        tracker.log_artifacts_dir(folder, "plots")
    with tempfile.TemporaryDirectory() as folder:
        outcome.predictions.to_csv(Path(folder) / "test_predictions.csv", index=False)
        tracker.log_artifact(Path(folder) / "test_predictions.csv", "predictions")


def _log_evidence(tracker: MLflowTracker, outcome: Outcome, games_path: Path | None) -> None:
    """Log what a later version is compared by, game by game, and what this one came from."""
    played = outcome.predictions
    games = (played["date"].dt.strftime("%Y-%m-%d") + " " + played["away"] + " at " + played["home"]).tolist()
    for metric, scores in score_games(played["home_win"], played["probability"]).items():
        tracker.log_scores(f"test/{metric}", scores, games)
    tracker.log_reference(outcome.training_inputs)
    # The code is this package; what is uncommitted in the folder where it runs is none of its.
    tracker.log_lineage(data=[] if games_path is None else [games_path], diff=False)


def _log_model(tracker: MLflowTracker, run_id: str, outcome: Outcome) -> str:
    import mlflow.xgboost
    from mlflow.models import infer_signature

    chances = outcome.model.predict_proba(outcome.input_example)[:, 1]
    described: dict[str, Any] = {
        "signature": infer_signature(outcome.input_example, chances),
        "input_example": outcome.input_example,
        # Named here: finding them out would start a process and load the model in it.
        "pip_requirements": [f"{name}=={installed_version(name)}" for name in ("mlflow", "xgboost-cpu", "pandas")],
    }
    # The booster up to its best round predicts chances; the classifier would predict 0 or 1 only.
    booster = outcome.model.get_booster()[: outcome.best_round]
    if scheme_of(str(tracker.get_run_info(run_id)["artifact_uri"])) != "s3":
        return str(mlflow.xgboost.log_model(booster, name="model", **described).model_uri)
    # MLflow's own S3 client knows the process's keys only; the tracker uses the project's.
    with tempfile.TemporaryDirectory() as folder:
        mlflow.xgboost.save_model(booster, str(Path(folder) / "model"), **described)
        tracker.log_artifacts_dir(Path(folder) / "model", "model")
    return f"runs:/{run_id}/model"


def _promote(job: _Job, outcome: Outcome, logged: _Logged) -> QuickstartResult:
    job.report("promote", 0, 1)
    registry, name = _registry(job.settings), job.model_name
    version = registry.register(name, logged.model_uri, "Chance that the home team wins", {"data": job.games}).version
    registry.promote(name, version, Stage.STAGING)
    answers = registry.check(name, version)
    refusal = ""
    archived: tuple[int, ...] = ()
    try:
        archived = registry.promote(name, version, Stage.PRODUCTION).archived
    except PromotionRefusedError as error:
        refusal = error.message
    production = registry.find(name, Stage.PRODUCTION)
    job.report("promote", 1, 1)
    job.report("predict", 0, 1)
    predictions = _predict_in_new_process(job.settings, name, outcome) if production else {}
    job.report("predict", 1, 1)
    return QuickstartResult(
        games=job.games,
        run_id=logged.run_id,
        model_name=name,
        version=version,
        metrics=outcome.metrics["test"],
        forecast=outcome.forecast_metrics,
        answers=answers,
        promoted=not refusal,
        refusal=refusal,
        archived=archived,
        production_version=production.version if production else None,
        predictions=predictions,
        tracking_uri=job.settings.tracking_uri,
        artifact_uri=logged.artifact_uri,
    )


def _predict_in_new_process(settings: Settings, name: str, outcome: Outcome) -> dict[str, list[float]]:
    """Load the Production model by stage and by alias where nothing of this process is known."""
    uris = [f"models:/{name}/{Stage.PRODUCTION.value}", f"models:/{name}@{Stage.PRODUCTION.alias}"]
    environment = {
        # The project's keys, and nobody else's beside them.
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **s3_environment(settings, os.environ),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MLFLOW_REGISTRY_URI": settings.registry_uri or settings.tracking_uri,
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.csv"
        outcome.input_example.to_csv(rows, index=False)
        command = [sys.executable, "-m", f"{__package__}.predict", str(rows), *uris]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise HoldfastError(f"The model could not be loaded in a new process: {last}")
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {uri: [float(chance) for chance in answers[uri]] for uri in uris}
