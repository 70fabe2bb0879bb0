"""Games, policies and runs that several tests of the examples share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from holdfast import open_project
from holdfast.settings import Settings, load_settings
from holdfast_examples.game_outcomes import Outcome, load_games, simulate_games, train_and_evaluate
from holdfast_examples.game_outcomes.simulator import SimulatorConfig

REAL_FILE = Path(__file__).parents[2].parent / "shared" / "data" / "nba_games.csv"


@pytest.fixture(scope="session")
def simulated() -> pd.DataFrame:
    return simulate_games()


@pytest.fixture(scope="session")
def league() -> pd.DataFrame:
    """Four seasons of a small league: quick, and with everything in it."""
    return simulate_games(SimulatorConfig(seasons=4, teams=8, games_per_team=20, seed=3))


@pytest.fixture(scope="session")
def real_games() -> pd.DataFrame:
    if not REAL_FILE.is_file():
        pytest.skip(f"the file of real games is not there: ../shared/data/{REAL_FILE.name}")
    return load_games(REAL_FILE)


@pytest.fixture(scope="session")
def real_outcome(real_games: pd.DataFrame) -> Outcome:
    return train_and_evaluate(real_games)


@pytest.fixture(scope="session")
def simulated_outcome(simulated: pd.DataFrame) -> Outcome:
    return train_and_evaluate(simulated)


@pytest.fixture(scope="session")
def basketworld_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three small policies of the default rules that nothing was taught, as a training names and writes them."""
    from holdfast_examples.basketworld.game.rules import Rules
    from holdfast_examples.basketworld.play.checkpoints import policy_path
    from holdfast_examples.basketworld.play.policy_files import untrained_policy, write_policy

    folder, rules, widths = tmp_path_factory.mktemp("basketworld"), Rules(), (16, 16)
    files = [folder / policy_path(alternation) for alternation in range(3)]
    for alternation, path in enumerate(files):
        write_policy(untrained_policy(rules, alternation, widths), path, rules, alternation, widths)
    return files


@pytest.fixture
def basketworld_run(basketworld_files: list[Path], sqlite_template: Path, tmp_path: Path) -> tuple[Settings, str]:
    """A project of this test with a run of training that keeps the three policies: its settings, and the run's id."""
    from holdfast_examples.basketworld.play.checkpoints import FOLDER, KIND_TAG, TRAINING

    database = shutil.copyfile(sqlite_template, tmp_path / "basketworld.db")
    settings = load_settings(
        start=tmp_path,
        environ={},
        tracking_uri=f"sqlite:///{database}",
        artifact_root=str(tmp_path / "artifacts"),
        experiment_name="basketworld",
    )
    project = open_project(settings)
    run = project.runs.create_run(project.experiment().experiment_id, "self-play", {KIND_TAG: TRAINING})
    for path in basketworld_files:
        project.artifacts.upload_file(path, run.artifact_uri, FOLDER)
    project.runs.end_run(run.run_id, "FINISHED")
    return settings, run.run_id
