"""The commands of the analytics, over one training run with a few checkpoints that nothing was taught."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pd = pytest.importorskip("pandas")

from typer.testing import CliRunner  # noqa: E402

from holdfast import open_project  # noqa: E402
from holdfast.backend.entities import Run  # noqa: E402
from holdfast.errors import HoldfastError  # noqa: E402
from holdfast.project import Project  # noqa: E402
from holdfast.settings import load_settings  # noqa: E402
from holdfast.tracking import MLflowTracker  # noqa: E402
from holdfast_examples.basketworld.analytics import commands  # noqa: E402
from holdfast_examples.basketworld.analytics.analysis import analysis  # noqa: E402
from holdfast_examples.basketworld.analytics.request import Request, TrainingRun  # noqa: E402
from holdfast_examples.basketworld.game.rules import Rules  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from basketworld_made_up import write_made_up  # noqa: E402

RULES = Rules(size=8, shot_clock=10, least_clock=6)
CHECKPOINTS = 4


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> tuple[str, str]:
    """The tracking URI and the id of a training run, which has ended."""
    folder = tmp_path_factory.mktemp("training")
    uri = f"sqlite:///{shutil.copyfile(sqlite_template, folder / 'mlflow.db')}"
    settings = load_settings(
        start=folder, tracking_uri=uri, artifact_uri=str(folder / "files"), experiment_name="court"
    )
    tracker = MLflowTracker(settings=settings)
    with tracker.run("self-play") as run_id:
        tracker.log_metrics({"Offense ppp": 0.8}, step=3)
        for number in range(CHECKPOINTS):
            path = write_made_up(folder / f"unified_policy_alt_{number}.zip", RULES, number)
            tracker.log_artifact(path, "models", wait=True)
    tracker.flush()
    return uri, run_id


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where checkpoints are kept between the tests of this file."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def uri(training: tuple[str, str], home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", training[0])
    monkeypatch.setenv("HOME", str(home))
    return training[0]


@pytest.fixture
def untouched(training: tuple[str, str], uri: str) -> Iterator[None]:
    """The training run is after the test what it was before."""
    before = _run(uri, training[1])
    yield
    assert _run(uri, training[1]) == before


@pytest.fixture
def call(training: tuple[str, str], untouched: None) -> Callable[..., Any]:
    """Calls a command on the training run and returns what it prints."""

    def calling(command: str, *options: str) -> Any:
        given = [command, "--run", training[1], "--json", "--episodes", "24", "--workers", "1", *options]
        result = CliRunner().invoke(commands.app, given, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return calling


def _project(uri: str) -> Project:
    """Return the project, once all is on the server that this process has logged there."""
    project = open_project(load_settings(tracking_uri=uri))
    project.settle(60)
    return project


def _run(uri: str, run_id: str) -> Run:
    return _project(uri).runs.get_run(run_id)


def _children(uri: str, parent: str) -> list[Run]:
    project = _project(uri)
    ids = [one.experiment_id for one in project.runs.experiments()]
    return project.runs.search_runs(ids, f"tags.`mlflow.parentRunId` = '{parent}'")


def _stored(uri: str, run_id: str) -> list[str]:
    project = open_project(load_settings(tracking_uri=uri))
    return sorted(file.path for file in project.artifacts.list_files(_run(uri, run_id).artifact_uri))


def test_elo_rates_all_checkpoints_alike_with_any_workers(
    call: Callable[..., Any], training: tuple[str, str], uri: str
) -> None:
    told, _ = (
        call("elo", "--pairings", "round-robin", "--seed", "5", "--workers", workers, "--out", out)
        for workers, out in (("1", "kept"), ("2", "by-two"))
    )
    for name in ("ratings.csv", "matchups.csv", "evolution.svg"):
        assert Path("kept", name).read_bytes() == Path("by-two", name).read_bytes()
    assert [row["alternation"] for row in told["ratings"]] == [0, 1, 2, 3]
    ratings, matches = pd.read_csv("kept/ratings.csv"), pd.read_csv("kept/matchups.csv")
    assert ratings["rating"].mean() == pytest.approx(1000, abs=0.01)
    assert (ratings["low"] < ratings["rating"]).all()
    assert (ratings["rating"] < ratings["high"]).all()
    assert len(matches) == 6
    assert (matches["older_wins"] + matches["newer_wins"] == matches["games"]).all()
    child = _run(uri, told["run_id"])
    assert child.status == "FINISHED"
    assert child.tags["mlflow.parentRunId"] == training[1]
    assert child.tags["basketworld.analysis"] == "elo"
    assert child.experiment_id == _run(uri, training[1]).experiment_id
    assert child.params["pairings"] == "round-robin"
    assert child.metrics["elo/peak_rating"] == pytest.approx(ratings["rating"].max(), abs=0.01)
    names = ["evolution.png", "evolution.svg", "matchups.csv", "ratings.csv", "win_rates.png", "win_rates.svg"]
    assert _stored(uri, told["run_id"]) == names


def test_evaluate_measures_both_roles(call: Callable[..., Any], uri: str) -> None:
    told = call("evaluate", "--every", "--opponent", "random", "--films", "1", "--out", "kept")
    table = pd.read_csv("kept/evaluation.csv")
    assert set(table["alternation"]) == {0, 1, 2, 3}
    assert set(table["role"]) == {"offense", "defense"}
    known = table.dropna()
    assert (known["low"] <= known["value"] + 1e-9).all()
    assert (known["value"] <= known["high"] + 1e-9).all()
    episodes = pd.read_csv("kept/episodes.csv")
    assert len(episodes) == 4 * 2 * 24
    own = episodes[(episodes["alternation"] == 3) & (episodes["role"] == "offense")]
    made = (own["ending"] == "made").sum()
    (fg,) = table[(table["alternation"] == 3) & (table["role"] == "offense") & (table["measure"] == "fg")]["value"]
    assert fg == pytest.approx(made / (own["attempt"] > 0).sum(), abs=1e-5)
    assert _run(uri, told["run_id"]).metrics["offense/fg"] == pytest.approx(fg, abs=1e-5)
    assert Path("kept/episodes.gif").read_bytes()[:4] == b"GIF8"
    assert "course.svg" in told["files"]


def test_maps_count_every_player_and_every_shot(call: Callable[..., Any]) -> None:
    call("heatmap", "--out", "heat")
    call("shotchart", "--out", "shots", "--opponent", "0")
    occupancy, shots = pd.read_csv("heat/occupancy.csv"), pd.read_csv("shots/shots.csv")
    by_role = occupancy.groupby("role")["steps"].sum()
    assert by_role["offense"] == by_role["defense"] > 24 * 2
    assert occupancy.groupby("role")["share"].sum().tolist() == pytest.approx([1, 1], abs=1e-3)
    assert (shots["makes"] <= shots["attempts"]).all()
    assert 0 < shots["attempts"].sum() <= 24
    assert Path("heat/heatmap_defense.png").stat().st_size > 10_000
    assert Path("shots/shotchart.svg").is_file()


def test_trajectories_fill_the_court(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast_examples.basketworld.analytics import trajectories

    frames = trajectories._frames  # drawing takes long: only the first step is

    def fewer(played: Any, filled: Any) -> Any:
        return frames(played, {role: counts[:1] for role, counts in filled.items()})

    monkeypatch.setattr(trajectories, "_frames", fewer)
    told = call("trajectories", "--out", "kept", "--episodes", "8")
    table = pd.read_csv("kept/trajectories.csv")
    last = table[table["step"] == told["steps"] - 1]
    assert (table.groupby(["role", "row", "column"])["stood"].sum().sum()) == last["stood_so_far"].sum()
    assert Path("kept/trajectories.gif").is_file()


def test_assists_are_regressed_on_skill(call: Callable[..., Any], uri: str) -> None:
    pytest.importorskip("sklearn")
    told = call("assist-skill", "--out", "kept", "--episodes", "300", "--opponent", "random")
    metrics = _run(uri, told["run_id"]).metrics
    assert metrics["assist_skill/auc_low"] <= metrics["assist_skill/auc"] <= metrics["assist_skill/auc_high"]
    table = pd.read_csv("kept/assists.csv")
    assert len(table) == metrics["assist_skill/shots"]
    assert table["assisted"].sum() == metrics["assist_skill/assists"]


@pytest.mark.usefixtures("untouched")
def test_a_failure_is_the_analysis_own(training: tuple[str, str], uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {run.run_id for run in _children(uri, training[1])}
    monkeypatch.setenv("MLFLOW_RUN_ID", training[1])
    given = ["assist-skill", "--run", training[1], "--episodes", "2", "--workers", "1"]
    result = CliRunner().invoke(commands.app, given)
    assert isinstance(result.exception, HoldfastError)
    assert "--episodes 2000" in result.exception.hint
    (child,) = (run for run in _children(uri, training[1]) if run.run_id not in before)
    assert child.status == "FAILED"
    assert child.end_time_ms is not None


@pytest.mark.usefixtures("uri")
def test_errors_name_what_is_wrong(training: tuple[str, str]) -> None:
    run = training[1]
    for options, said in [
        (["heatmap", "--run", "f" * 32], "f" * 32),
        (["heatmap", "--run", run, "-a", "9"], "no checkpoint of alternation 9"),
        (["heatmap", "--run", run, "--opponent", "nobody"], "opponent is 'nobody'"),
        (["heatmap", "--run", run, "--opponent", "77"], "no checkpoint of alternation 77"),
        (["evaluate", "--run", run, "-a", "1", "--every"], "Both --every and --alternation"),
    ]:
        result = CliRunner().invoke(commands.app, options)
        assert isinstance(result.exception, HoldfastError)
        assert said in result.exception.message


@pytest.mark.usefixtures("untouched")
def test_ctrl_c_ends_the_workers_and_the_run(training: tuple[str, str], uri: str) -> None:
    command = [sys.executable, "-m", "holdfast_examples.basketworld.analytics", "elo", "--run", training[1]]
    command += ["--episodes", "100000", "--workers", "2"]
    before = {run.run_id for run in _children(uri, training[1])}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=_environment()
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("matches"):
                break
        workers = _children_of(child.pid)
        time.sleep(0.3)
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does it
        began_s = time.monotonic()
        rest = child.stderr.read()
        assert child.wait(60) == 130, rest
    assert time.monotonic() - began_s < 60  # a hundred thousand episodes take longer
    assert "Traceback" not in rest
    assert workers
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    (killed,) = (run for run in _children(uri, training[1]) if run.run_id not in before)
    assert killed.status == "KILLED"


@pytest.mark.usefixtures("untouched")
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_a_service_manager_or_a_closed_terminal_kills_the_run(training: tuple[str, str], uri: str) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        with (
            pytest.raises(SystemExit) as ended,
            analysis("elo", TrainingRun(training[1]), Request(training[1])) as found,
        ):
            signal.raise_signal(number)
        assert ended.value.code == 128 + number
        assert _run(uri, found.run_id).status == "KILLED"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _children_of(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = status.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == pid and b"spawn_main" in command:
            found.append(int(status.parent.name))
    return found
