"""Sweeps over Python functions, the spaces they search, and the run that a process is handed."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from holdfast import MLflowTracker, open_project
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.project import Project
from holdfast.training.sweeping import (
    Choice,
    Pruned,
    Span,
    State,
    SweepError,
    SweepOptions,
    load_space,
    parse_space,
    read_params,
    sweep,
)
from holdfast.training.sweeping.book import SweepBook
from holdfast.training.sweeping.records import TrialEnd

SPACE = {"x": {"low": -1.0, "high": 1.0}, "kind": ["a", "b"]}


@pytest.fixture
def project(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    return open_project()


def parents(project: Project) -> list[Any]:
    found = project.runs.search_runs([project.experiment().experiment_id])
    return [run for run in found if "holdfast.sweep" in run.tags]


def test_function(project: Project) -> None:
    """It finds the minimum, the same way twice; trials that give up and that raise are told apart."""
    tracker = MLflowTracker()

    def objective(params: dict[str, Any], run_id: str) -> float:
        with tracker.run(run_id=run_id):
            if params["kind"] == "b" and params["x"] < 0:
                raise Pruned
            if params["kind"] == "b" and params["x"] > 0.9:
                raise RuntimeError("too far")
            return (params["x"] - 0.4) ** 2 + (params["kind"] == "b")

    result = sweep(objective, SPACE, metric="val/loss", trials=16, seed=3)
    assert len(result.trials) == 16
    assert abs(result.best.params["x"] - 0.4) < 0.2
    assert result.best.params["kind"] == "a"
    complete = [trial.value for trial in result.trials if trial.state is State.COMPLETE]
    assert result.best.value == min(value for value in complete if value is not None)
    assert result.count(State.PRUNED) > 0
    assert project.runs.get_run(result.best.run_id).metrics == {"val/loss": result.best.value}
    parent = project.runs.get_run(result.run_id)
    files = {file.path for file in project.artifacts.list_files(parent.artifact_uri, "sweep")}
    assert files == {f"sweep/{name}" for name in ("trials.csv", "trials.json", "history.png", "importance.png")}
    again = sweep(objective, SPACE, metric="val/loss", trials=4, seed=3)
    assert [trial.params for trial in again.trials] == [trial.params for trial in result.trials[:4]]


def test_what_is_noted_is_on_the_server(project: Project, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a tracker made this process log through a journal, and nothing else delivers it."""
    monkeypatch.setenv("HOLDFAST_SHIPPER", "none")
    tracker = MLflowTracker()
    book = SweepBook.begin(project, parse_space(SPACE), SweepOptions(metric="score"), None)
    run = book.begin_trial(0, {"x": 0.5})
    with tracker.run(run_id=run.run_id):
        pass
    book.note_value(run.run_id, 0.5)
    book.end_trial(run.run_id, TrialEnd(State.COMPLETE, 0.5))
    book.end("FINISHED")
    with contextlib.closing(sqlite3.connect(sqlite_uri.removeprefix("sqlite:///"))) as database:
        states = database.execute("SELECT value FROM tags WHERE key = 'holdfast.sweep.state'").fetchall()
        values = database.execute("SELECT value FROM latest_metrics WHERE key = 'score'").fetchall()
        statuses = database.execute("SELECT DISTINCT status FROM runs").fetchall()
    assert (states, values, statuses) == ([("complete",)], [(0.5,)], [("FINISHED",)])


def test_resume_knows(project: Project) -> None:
    """A sweep that goes on draws other parameters, and takes no other space or mode."""
    first = sweep(lambda params, _: params["x"], SPACE, metric="score", mode="max", trials=3, sampler="random")
    more = sweep(lambda params, _: params["x"], resume=first.run_id, trials=6, sampler="random")
    assert more.trials[:3] == first.trials
    assert len({trial.params["x"] for trial in more.trials}) == 6
    assert more.best.value == max(trial.value or 0.0 for trial in more.trials)
    with pytest.raises(InvalidInputError, match="space is another"):
        sweep(lambda params, _: 0.0, {"x": [1, 2]}, resume=first.run_id)
    with pytest.raises(InvalidInputError, match="mode = min, and the sweep was begun with max"):
        sweep(lambda params, _: 0.0, resume=first.run_id, mode="min")
    with pytest.raises(NotFoundError, match="is no sweep"):
        sweep(lambda params, _: 0.0, resume=first.best.run_id)


def test_too_many_failures(project: Project) -> None:
    def objective(params: dict[str, Any], run_id: str) -> float:
        raise RuntimeError("broken")

    with pytest.raises(SweepError, match="3 trials failed, and 2 may; the last: RuntimeError: broken"):
        sweep(objective, SPACE, metric="val/loss", max_failures=2)
    (parent,) = parents(project)
    assert parent.status == "FAILED"


def test_ctrl_c(project: Project) -> None:
    def objective(params: dict[str, Any], run_id: str) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(objective, SPACE, metric="val/loss")
    (parent,) = parents(project)
    (child,) = project.runs.search_runs([parent.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
    assert (parent.status, child.status, child.tags["holdfast.sweep.state"]) == ("KILLED", "KILLED", "interrupted")


def test_no_number(project: Project) -> None:
    with pytest.raises(SweepError, match="its val/loss is nan") as caught:
        sweep(lambda params, _: float("nan"), SPACE, metric="val/loss", trials=1)
    (trial,) = caught.value.trials
    assert (trial.state, trial.value, caught.value.best) == (State.FAILED, None, None)


def test_given_up_without_a_number(project: Project, recwarn: pytest.WarningsRecorder) -> None:
    """The table of trials is JSON, which has no NaN; and Optuna's opinion of the space is nobody's business."""
    tracker = MLflowTracker()

    def objective(params: dict[str, Any], run_id: str) -> float:
        with tracker.run(run_id=run_id):
            tracker.log_metrics({"loss": float("nan")}, step=0)
            tracker.flush()
            if len(project.runs.search_runs([project.experiment().experiment_id])) == 2:  # the parent and this
                raise Pruned
        return float(params["x"])

    result = sweep(objective, {"x": {"low": 0.0, "high": 1.0, "step": 0.3}}, metric="loss", trials=2)
    assert [(trial.state, trial.value is None) for trial in result.trials] == [
        (State.PRUNED, True),
        (State.COMPLETE, False),
    ]
    parent = project.runs.get_run(result.run_id)
    table = project.artifacts.download(parent.artifact_uri, "sweep/trials.json").read_text()
    assert json.loads(table, parse_constant=pytest.fail)[0]["value"] is None
    assert not [str(one.message) for one in recwarn if "optuna" in one.filename]


# -- spaces and options ---------------------------------------------------------------


def test_spaces(tmp_path: Path) -> None:
    wanted = {
        "lr": Span(1e-4, 0.1, log=True),
        "layers": Span(1, 4),
        "size": Choice((16, 32)),
        "q": Span(0, 1, step=0.5),
    }
    texts = ["lr=1e-4..1e-1:log", "layers=1..4", "size=16,32", "q=0..1:step=0.5"]
    assert parse_space(read_params(texts)) == wanted
    assert [str(one) for one in wanted.values()] == ["0.0001..0.1:log", "1..4", "16,32", "0..1:step=0.5"]
    (tmp_path / "s.toml").write_text(
        "lr = {low=1e-4, high=1e-1, log=true}\nlayers = {low=1, high=4}\nsize = [16, 32]\nq = {low=0, high=1, step=0.5}"
    )
    (tmp_path / "s.yaml").write_text(
        "lr: {low: 1e-4, high: 1e-1, log: true}\nlayers: {low: 1, high: 4}\nsize: [16, 32]\n"
        "q: {low: 0, high: 1, step: 0.5}"
    )
    for name in ("s.toml", "s.yaml"):
        assert parse_space(load_space(tmp_path / name)) == wanted
    assert wanted["layers"].is_whole  # type: ignore[union-attr]
    assert not wanted["q"].is_whole  # type: ignore[union-attr]


def test_bad_spaces() -> None:
    """All problems are named at once."""
    given = {
        "a b": [1],
        "log": {"low": 0, "high": 1, "log": True},
        "turned": {"low": 2, "high": 1},
        "more": {"low": 1, "high": 2, "lg": True},
        "half": {"low": 1},
        "text": {"low": "x", "high": 2},
        "none": [],
        "twice": [1, 1],
        "both": {"low": 1, "high": 8, "log": True, "step": 1},
        "word": "fast",
        "endless": [1.0, float("inf")],
    }
    with pytest.raises(InvalidInputError) as caught:
        parse_space(given)
    assert all(f"{name}: " in caught.value.message for name in given)
    with pytest.raises(InvalidInputError, match=r"'x' is not NAME=VALUES; 'y=1\.\.2:lg': 'lg' is neither"):
        read_params(["x", "y=1..2:lg"])
    with pytest.raises(InvalidInputError, match="empty"):
        parse_space({})


def test_bad_options(project: Project) -> None:
    with pytest.raises(InvalidInputError) as caught:
        SweepOptions(" ", mode="least", trials=0, timeout_s=-1.0)  # type: ignore[arg-type]
    assert [part.split(" ")[0] for part in caught.value.message.partition(": ")[2].split("; ")] == [
        "metric",
        "mode",
        "trials",
        "timeout_s",
    ]
    with pytest.raises(InvalidInputError, match="metric is missing"):
        sweep(["true"], SPACE)


# -- the run that a process is handed -------------------------------------------------


def test_handed_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tracker goes on with it, once, as `mlflow.start_run()` does."""
    run = project.runs.create_run(project.experiment().experiment_id, "handed", {})
    tracker = MLflowTracker()
    monkeypatch.setenv("MLFLOW_RUN_ID", run.run_id)
    with tracker.run() as outer:
        assert outer == run.run_id
        assert "MLFLOW_RUN_ID" not in os.environ
        monkeypatch.setenv("MLFLOW_RUN_ID", run.run_id)
        with tracker.run(nested=True) as inner:
            assert inner != run.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run.run_id)
    with tracker.run(run_id=inner) as named:
        assert named == inner
    monkeypatch.delenv("MLFLOW_RUN_ID")
    with tracker.run() as other:
        assert other not in (outer, inner)
    assert project.runs.get_run(run.run_id).status == "FINISHED"
