"""Sweeps by Optuna: trials in processes of their own, on SQLite and on a server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from holdfast import open_project
from holdfast.cli import sweep as command
from holdfast.errors import InvalidInputError, RunStateError
from holdfast.project import Project
from holdfast.testing.fixtures import RunningMlflow
from holdfast.training.sweeping import State, SweepError, sweep
from holdfast.training.sweeping.records import trial_of

Starter = Callable[..., subprocess.Popen[str]]

# What a trial does depends on how many were begun before it; each leaves a file with its arguments,
# and takes its number by making that file: two trials may begin at the same moment.
TRIAL = """
import itertools, os, pathlib, sys, time
for number in itertools.count():
    try:
        file = open(f"begun-{number}", "x")
        break
    except FileExistsError:
        pass
with file:
    file.write(str(os.getpid()) + " " + " ".join(sys.argv[1:]))
def hang():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.05)
"""
# Imported by those trials alone that log: it takes them the most time.
WITH_HOLDFAST = """
def log(*values, then=lambda: None):
    from holdfast import MLflowTracker
    with MLflowTracker() as tracker:
        for step, value in enumerate(values):
            tracker.log_metrics({"val/loss": value}, step=step)
        then()
"""


@pytest.fixture
def project(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    monkeypatch.setenv("HOLDFAST_SHIPPER", "thread")  # a trial begins no other process
    return open_project()


@pytest.fixture
def served(mlflow_server: RunningMlflow, unique: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    """On a server: there a trial need not import what opens a database, which takes it the most time."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", unique)
    monkeypatch.setenv("HOLDFAST_SHIPPER", "thread")
    return open_project()


def script(body: str) -> list[str]:
    Path("trial.py").write_text(TRIAL + WITH_HOLDFAST + textwrap.dedent(body))
    return [sys.executable, "trial.py"]


def invoke(*arguments: str) -> Result:
    app = typer.Typer()
    command.add_to(app)
    return CliRunner().invoke(app, arguments)


def until(true: Callable[[], Any], what: str, limit_s: float = 120) -> Any:
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen")


def children(project: Project, parent: str) -> list[Any]:
    experiment = project.experiment().experiment_id
    found = project.runs.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    return sorted(found, key=lambda run: trial_of(run).number)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def begun(number: int) -> str:
    path = Path(f"begun-{number}")
    return path.read_text() if path.exists() else ""


def test_trials_of_all_kinds(project: Project) -> None:
    """One by plain MLflow that is good, one that fails, and one that is pruned, from the command line."""
    body = """
    if number == 0:
        import mlflow
        with mlflow.start_run():
            mlflow.log_param("learning_rate", "as it likes")
            mlflow.log_metric("val/loss", 1.0, step=0)
            mlflow.log_metric("val/loss", 0.5, step=1)
    if number == 1:
        sys.exit("no such thing")
    if number == 2:
        log(5.0, 6.0, then=hang)
    """
    options = ["--json", "--metric=val/loss", "--trials=3", "--seed=1", "--pruner=median", "--prune-after=1"]
    space = ["--param", "learning_rate=1e-4..1e-1:log", "--param", "deep=true,false"]
    done = invoke(*options, *space, "--", *script(body))
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [trial["state"] for trial in found["trials"]] == ["complete", "failed", "pruned"]
    assert found["best"] == found["trials"][0]
    assert found["best"]["value"] == 0.5
    parent = project.runs.get_run(found["run_id"])
    runs = children(project, parent.run_id)
    assert [run.run_id for run in runs] == [trial["run_id"] for trial in found["trials"]]
    assert [run.status for run in (parent, *runs)] == ["FINISHED", "FINISHED", "FAILED", "KILLED"]
    assert runs[2].tags["holdfast.sweep.state"] == "pruned"
    assert "exit code 1" in found["trials"][1]["reason"]
    assert parent.tags["holdfast.sweep.best_run_id"] == runs[0].run_id
    assert json.loads(parent.tags["holdfast.sweep.best_params"]) == found["best"]["params"]
    assert parent.metrics == {"sweep/best_value": 0.5}
    first, second = (trial["params"] for trial in found["trials"][:2])
    assert runs[0].params == {"learning_rate": "as it likes", "deep": str(first["deep"]).lower()}
    assert runs[1].params == {"learning_rate": str(second["learning_rate"]), "deep": str(second["deep"]).lower()}
    arguments = begun(0).split()[1:]
    assert arguments == ["--learning-rate", str(first["learning_rate"]), "--deep", str(first["deep"]).lower()]
    output = project.artifacts.download(runs[1].artifact_uri, "sweep/output.txt")
    assert "no such thing" in output.read_text()
    # Where MLflow keeps a metric's points: nothing is there twice.
    assert [point.value for point in project.runs.metric_history(runs[0].run_id, "val/loss")] == [1.0, 0.5]


SWEEPER = """
import sys
from holdfast.training.sweeping import sweep
sweep([sys.executable, "trial.py"], {"x": {"low": -1e-5, "high": 0.0}}, metric="val/loss", trials=TRIALS,
      parallel=PARALLEL, sampler="random", engine="ENGINE")
"""


@pytest.fixture
def start_sweeper() -> Iterator[Starter]:
    """Starts a sweep in a process of its own, which is gone when the test is over, whatever became of it."""
    started = []

    def start(trials: int, parallel: int, engine: str = "optuna") -> subprocess.Popen[str]:
        code = SWEEPER.replace("TRIALS", str(trials)).replace("PARALLEL", str(parallel)).replace("ENGINE", engine)
        started.append(subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for sweeper in started:
        with sweeper:
            sweeper.kill()


def only_parent(project: Project) -> str:
    experiment = project.experiment().experiment_id
    (parent,) = [run for run in project.runs.search_runs([experiment]) if "holdfast.sweep" in run.tags]
    return parent.run_id


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process is not bound to its parent")
def test_killed_and_resumed(served: Project, start_sweeper: Starter) -> None:
    """The sweep goes on in the same parent: what is done is not repeated, what was interrupted is."""
    line = script("if number == 0: sys.exit(1)\nif number == 1: hang()\nlog(1.0)\n")
    served.experiment()
    sweeper = start_sweeper(2, 1)
    pid = int(until(lambda: begun(1), "the second trial").split()[0])
    until(lambda: len(children(served, only_parent(served))) == 2, "the second trial's run")
    with pytest.raises(RunStateError, match=f"is being worked on by another process, {sweeper.pid}"):
        sweep(line, resume=only_parent(served), trials=2)
    assert served.runs.get_run(only_parent(served)).status == "RUNNING"
    sweeper.kill()
    sweeper.communicate()
    until(lambda: not is_alive(pid), "the end of the trial whose sweep was killed")
    parent = only_parent(served)
    before = children(served, parent)
    result = sweep(line, resume=parent, trials=2, sampler="random")
    assert result.run_id == parent
    states = [trial.state for trial in result.trials]
    assert states == [State.FAILED, State.INTERRUPTED, State.COMPLETE]
    assert [trial.run_id for trial in result.trials][:2] == [run.run_id for run in before]
    assert result.trials[2].params == result.trials[1].params
    assert len({trial.params["x"] for trial in result.trials}) == 2
    assert not begun(3)
    assert [run.status for run in children(served, parent)] == ["FAILED", "KILLED", "FINISHED"]
    assert served.runs.get_run(parent).status == "FINISHED"
    again = sweep(line, resume=parent, trials=2)  # nothing is left to do
    assert len(again.trials) == 3
    assert list(Path(".holdfast/journal/sweeps").iterdir()) == []


@pytest.mark.parametrize("engine", ["optuna", "ray"])
def test_terminated(served: Project, start_sweeper: Starter, engine: str) -> None:
    """SIGTERM reaches all trials; their runs and the parent are KILLED, though Ray sets a handler of its own."""
    script("hang()\n")
    served.experiment()
    sweeper = start_sweeper(4, 2, engine)
    until(lambda: begun(0) and begun(1), "two trials")
    until(lambda: len(children(served, only_parent(served))) == 2, "their runs")
    pids = [int(begun(number).split()[0]) for number in (0, 1)]
    sweeper.send_signal(signal.SIGTERM)
    _, told = sweeper.communicate(timeout=120)
    assert sweeper.returncode == 128 + signal.SIGTERM, told
    assert not any(is_alive(pid) for pid in pids)
    parent = only_parent(served)
    assert served.runs.get_run(parent).status == "KILLED"
    runs = children(served, parent)
    assert [run.status for run in runs] == ["KILLED", "KILLED"]
    assert {run.tags["holdfast.sweep.state"] for run in runs} == {"interrupted"}


def test_all_fail(project: Project, canary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is told in JSON; what a trial prints of the project's keys is masked in the file that is kept."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLEEXAMPLE12")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", canary)
    code = "import os; print('the key is', os.environ['AWS_SECRET_ACCESS_KEY'], os.environ['PARAM_X']); exit(7)"
    options = ["--json", "--metric", "loss", "--trials", "1", "--pass", "env", "--param", "x=1"]
    done = invoke(*options, "--", sys.executable, "-c", code)
    assert isinstance(done.exception, SweepError)
    assert done.exception.exit_code == 1
    (run,) = children(project, only_parent(project))
    told = json.loads(done.stdout)
    assert told["error"]["message"].startswith(f"None of 1 trials of the sweep {only_parent(project)} gave a value")
    assert f"run {run.run_id}: the command ended with exit code 7" in told["error"]["message"]
    assert (told["best"], told["run_id"]) == (None, only_parent(project))
    assert [(trial["run_id"], trial["state"]) for trial in told["trials"]] == [(run.run_id, "failed")]
    text = project.artifacts.download(run.artifact_uri, "sweep/output.txt").read_text()
    assert "the key is ****" in text
    assert text.strip().endswith(" 1")
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in json.dumps(run.tags)


def test_errors_name_options(project: Project) -> None:
    """The command line's options, not the arguments of the function behind it."""
    bad = ["--metric=a", "--param=x=1,2", "--mode=least", "--trials=0", "--timeout=-1", "--pass=mail"]
    for given, told in (
        (bad, "--mode = 'least' is .*; --pass = 'mail' is .*; --trials = 0 is below 1; --timeout = -1.0 is"),
        (["--param=x=1,2"], "not valid: --metric is missing"),
        ([], "needs --metric and --param or --space"),
    ):
        error = invoke(*given, "--", "true").exception
        assert isinstance(error, InvalidInputError)
        assert re.search(told, error.message)
        assert "SweepOptions" not in str(error)
