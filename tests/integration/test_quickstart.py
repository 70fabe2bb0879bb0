"""The main job, as `make quickstart` runs it: real processes, embedded defaults."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from journaling import QUIET, Nursery, Place

from holdfast import ModelRegistry, open_project
from holdfast.core.stages import Stage
from holdfast.testing import S3Access

pytest.importorskip("xgboost", reason="the quickstart's libraries are not installed")
GAMES = Path(__file__).parents[2].parent / "shared" / "data" / "nba_games.csv"


MODULES = (
    "holdfast_examples.game_outcomes.quickstart",
    "holdfast_examples.game_outcomes.pipeline",
    "alembic.command",
    "matplotlib.figure",
    "mlflow.pyfunc",
    "mlflow.xgboost",
    "pyarrow.pandas_compat",
    "sklearn.metrics",
)
# The command, with its two outputs apart.
COMMAND = """
import os, sys
import holdfast.cli
for number, name in ((1, "told"), (2, "shown")):
    os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), number)
sys.argv = ["holdfast", "quickstart", *{arguments!r}]
holdfast.cli.main()
"""


@dataclass(frozen=True)
class Here(Place):
    """The folder of the test, with its environment."""

    def settings(self) -> dict[str, str]:
        """Return the environment of a child."""
        return {**QUIET, **{name: os.environ[name] for name in ("HOME", "AWS_EC2_METADATA_DISABLED")}, **self.environ}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Starts processes that have imported what takes most of the quickstart's time."""
    with Nursery(*MODULES) as found:
        yield found


@pytest.fixture
def tables(sqlite_template: Path) -> None:
    """The database that a quickstart finds; that for a person makes its own."""
    shutil.copyfile(sqlite_template, "mlflow.db")


def quickstart(nursery: Nursery, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A shipper of its own would import MLflow once more.
    place = Here("", Path.cwd(), {"HOLDFAST_SHIPPER": "thread", **environment})
    child = nursery.start(place, COMMAND.format(arguments=arguments))
    code = child.ends(280)
    return subprocess.CompletedProcess(arguments, code, Path("told").read_text(), Path("shown").read_text())


def result(nursery: Nursery, *arguments: str, **environment: str) -> dict[str, Any]:
    done = quickstart(nursery, "--json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def test_for_a_person_again_and_once_worse(nursery: Nursery) -> None:
    # The whole process, from its start to its end, with nothing there before.
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "quickstart"], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr
    for text in ("game-outcomes version 1", "Staging, then Production", "sqlite:///", "mlartifacts", "holdfast up"):
        assert text in done.stdout
    assert "Training" in done.stderr  # progress does not mix with the result
    project = open_project()
    registry = ModelRegistry(project)
    first = registry.get("game-outcomes", 1)
    assert first.stage is Stage.PRODUCTION
    run = project.runs.get_run(first.run_id or "")
    assert run.status == "FINISHED"
    assert {"test/auc", "val/log_loss", "train/round_log_loss"} <= set(run.metrics)
    assert run.metrics["test/auc"] > 0.7
    assert run.params["data_sha256"]
    files = {item.path for item in project.artifacts.list_files(run.artifact_uri, "plots")}
    assert files == {"plots/calibration.png", "plots/importance.png", "plots/learning.png"}

    second = result(nursery)
    assert (second["version"], second["promoted"], second["archived"]) == (2, True, [1])
    assert second["metrics"]["auc"] == run.metrics["test/auc"]  # the same seed gives the same model
    by_stage, by_alias = second["predictions"].values()
    assert by_stage == by_alias
    assert len(set(by_stage)) > 1
    assert all(0 < chance < 1 for chance in by_stage)
    assert set(second["predictions"]) == {"models:/game-outcomes/Production", "models:/game-outcomes@production"}
    assert {v.version: v.stage for v in registry.versions("game-outcomes")} == {
        1: Stage.ARCHIVED,
        2: Stage.PRODUCTION,
    }

    Path("pyproject.toml").write_text('[tool.holdfast.promotion]\nmin = { "test/auc" = 0.99 }\n')
    third = result(nursery)
    assert (third["version"], third["promoted"], third["production_version"]) == (3, False, 2)
    assert "test/auc >= 0.99" in third["refusal"]
    assert registry.get("game-outcomes", 3).stage is Stage.STAGING


@pytest.mark.usefixtures("tables")
def test_the_users_own_games_in_the_projects_bucket(nursery: Nursery, s3_server: S3Access) -> None:
    account = s3_server.add_account("quickstart", ["quickstart-bucket"])
    settings = {
        "MLFLOW_ARTIFACT_ROOT": "s3://quickstart-bucket/files",
        "MLFLOW_S3_ENDPOINT_URL": s3_server.endpoint_url,
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
    }
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    Path(".env").chmod(0o600)
    stranger = {"AWS_ACCESS_KEY_ID": "AKIASTRANGER", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "left-over"}
    is_there = GAMES.exists()  # it is not part of the project
    done = result(nursery, **({"GAMES": str(GAMES)} if is_there else {}), **stranger)
    assert (done["promoted"], len(done["predictions"])) == (True, 2)
    if is_there:
        assert done["model_name"] == "game-outcomes-nba_games"
        assert done["metrics"]["auc"] >= 0.68
        assert done["forecast"]["auc"] == pytest.approx(0.717, abs=0.001)
    assert done["artifact_uri"].startswith("s3://quickstart-bucket/files/game-outcomes")
    keys = [item["Key"] for item in s3_server.client().list_objects_v2(Bucket="quickstart-bucket")["Contents"]]
    assert {"MLmodel", "calibration.png"} <= {key.rsplit("/", 1)[1] for key in keys}


def test_games_that_cannot_be_used(nursery: Nursery) -> None:
    missing = quickstart(nursery, "--games", "missing.csv")
    assert missing.returncode == 2
    assert "missing.csv" in missing.stderr
    Path("bad.csv").write_text("season,date,team1,team2,prob1_outcome\n2020,yesterday,A,A,7\n")
    bad = quickstart(nursery, GAMES="bad.csv")
    assert bad.returncode == 2
    assert "bad.csv" in bad.stderr
    assert "Traceback" not in bad.stderr
    assert not Path("mlflow.db").exists()  # no run is left of what could not begin
