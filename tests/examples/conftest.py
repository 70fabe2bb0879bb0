"""Games that several tests of the example share."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

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
