"""From run to Production and back, as the notebook-like script tells it: run as it is, and checked from outside."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from holdfast import ModelRegistry, open_project
from holdfast.backend.trials import Trial, try_model
from holdfast.core.bootstrap import PairedDifference
from holdfast.core.history import broken_links
from holdfast.registry.checksums import measure_folder
from holdfast.registry.serving.loading import load_model
from holdfast_examples.game_outcomes import ModelConfig, build_features, simulate_games, split_seasons, train
from holdfast_examples.game_outcomes.lifecycle_steps import free_name, in_words, load_place, prepare_games, read_options
from holdfast_examples.game_outcomes.model import count_rounds
from holdfast_examples.game_outcomes.simulator import SimulatorConfig

REAL_FILE = Path(__file__).parents[2].parent / "shared" / "data" / "nba_games.csv"
SCRIPT = "holdfast_examples.game_outcomes.lifecycle"


def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run the script as `python -m` does, in this process; return the one document that it prints."""
    monkeypatch.setattr(sys, "argv", ["lifecycle", *arguments, "--json"])
    capsys.readouterr()
    runpy.run_module(SCRIPT, run_name="__main__")
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def check_told(told: dict[str, Any]) -> None:
    """Hold what the script tells against what a new look at the project finds."""
    project = open_project(load_place())
    registry = ModelRegistry(project)
    name = told["model_name"]
    versions = {item.version: item for item in registry.versions(name)}
    for which in ("first", "second", "third"):
        part = told[which]
        logged = registry.metrics_of(versions[part["version"]])
        assert {metric: logged[f"test/{metric}"] for metric in part["metrics"]} == part["metrics"]
        assert (part["override"] is not None) == bool(refusing(part)) if which != "third" else True
    assert (told["first"]["version"], told["second"]["version"], told["third"]["version"]) == (1, 2, 3)
    assert told["second"]["archived"] == [1]
    assert "nobody approves a request of one's own" in told["own_request"]
    assert (told["rolled_back_to"], told["forward_to"], told["production"]) == (1, 2, 2)
    assert {number: str(item.stage) for number, item in versions.items()} == {
        1: "Archived",
        2: "Production",
        3: "Archived" if told["third"]["refused_by"] else "Staging",
    }

    by_who = told["predictions"]
    assert len(by_who) == 5
    assert len({tuple(chances) for who, chances in by_who.items() if who != "version 1"}) == 1
    assert by_who["version 1"] != by_who["version 2"]
    assert all(0 < chance < 1 for chances in by_who.values() for chance in chances)

    assert [event["kind"] for event in told["history"]].count("rolled back") == 2
    assert {event["who"]["name"] for event in told["history"] if event["kind"] == "approved"} == {"a colleague"}
    texts = [event.to_json() for event in registry.history(name)]
    assert [json.loads(text) for text in texts] == told["history"]
    assert broken_links(texts, name) == []
    assert told["audit"]["clean"] is True
    assert told["audit"]["copies"] == len(texts)


def refusing(part: dict[str, Any]) -> list[str]:
    return [gate["check"] for gate in part["gates"] if not gate["passed"] and gate["check"] != "approvals"]


def try_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each model loaded in a fresh process once, which takes seconds, not each time that a gate asks."""
    tried: dict[str, Trial] = {}

    def once(folder: Path, timeout_s: float) -> Trial:
        checksum = measure_folder(folder).checksum
        if checksum not in tried:
            tried[checksum] = try_model(folder, timeout_s)
        return tried[checksum]

    monkeypatch.setattr("holdfast.registry.gates.loads.try_model", once)


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.csv"
    simulate_games(SimulatorConfig(seasons=4, teams=12, games_per_team=40, seed=5)).to_csv(path, index=False)
    return path


def test_a_small_league(small_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    try_each_once(monkeypatch)
    told = run_script(monkeypatch, capsys, "--games", str(small_file))
    assert told["model_name"] == "lifecycle-small-1"
    check_told(told)
    assert told["third"]["refused_by"]
    assert told["third"]["refused_by"] == refusing(told["third"])
    assert all(check in told["third"]["refusal"] for check in told["third"]["refused_by"])
    # The next run tells the story from its beginning, in the same project.
    project = open_project(load_place())
    games = prepare_games(small_file, small_file.parent)
    assert free_name(project, games) == "lifecycle-small-2"
    # What is in Production predicts as a model trained anew does.
    again = load_model(told["model_name"], project=project).predict(games.of("test").tail(5))
    assert np.allclose(again, told["predictions"]["version 2"])


def test_the_real_file(
    real_games: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # That these models load, the small league shows; here it is about what they are worth.
    monkeypatch.setattr("holdfast.registry.gates.loads.try_model", lambda *_: Trial(seconds=0.1))
    told = run_script(monkeypatch, capsys, "--games", str(REAL_FILE))
    check_told(told)
    assert told["games"].startswith(f"{len(real_games):,} games")
    first, second, third = (told[which]["metrics"] for which in ("first", "second", "third"))
    # Nobody calls these games much better than specialists, who reach .717; what is too good would be leakage.
    assert 0.60 < first["auc"] < second["auc"] < 0.72
    assert told["first"]["override"] is None
    assert told["second"]["override"] is None
    assert told["comparison"]["test/log_loss"].startswith("better")
    assert told["third"]["train_metrics"]["auc"] > 0.95
    assert third["auc"] < 0.67
    assert "test/log_loss <= Production's + 0.002" in told["third"]["refused_by"]
    assert told["drift"]["columns"] == 37


def test_it_is_a_script_and_no_module() -> None:
    with pytest.raises(ImportError, match="script of cells"):
        __import__(SCRIPT)


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lifecycle", "--games", str(tmp_path / "missing.csv")])
    with pytest.raises(SystemExit, match=r"(?s)error: .*missing\.csv.*hint:"):
        runpy.run_module(SCRIPT, run_name="__main__")
    assert not Path("mlflow.db").exists()


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not read_options([]).json
    assert read_options(["--games", "x.csv", "--json"]).games == Path("x.csv")
    with pytest.raises(SystemExit):
        read_options(["--game-file", "x.csv"])
    # A notebook's kernel has a command line of its own.
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setattr(sys, "argv", ["kernel", "-f", "connection.json"])
    assert read_options().games is None


@pytest.mark.parametrize(
    ("low", "high", "said"), [(-0.03, -0.01, "better"), (0.01, 0.03, "worse"), (-0.01, 0.03, "not told apart on")]
)
def test_words_say_no_more_than_the_interval(low: float, high: float, said: str) -> None:
    paired = PairedDifference((low + high) / 2, low, high, 1000, 0.65, 0.65, 0.95)
    assert in_words(paired).startswith(said)
    assert f"{low:+.4f} to {high:+.4f}" in in_words(paired)


def test_without_early_stopping_every_round_counts(league: pd.DataFrame) -> None:
    features, split = build_features(league), split_seasons(league)
    # Fast enough to be past its best long before the end.
    config = ModelConfig(rounds=40, patience=0, learning_rate=0.8, max_depth=4, monotone=False)
    model = train(features, league, split, config)
    assert count_rounds(model) == model.get_booster().num_boosted_rounds() == 40
    stopped = train(features, league, split, ModelConfig(**{**vars(config), "patience": 5}))
    assert count_rounds(stopped) == stopped.best_iteration + 1 < 40
    chances = [item.predict_proba(features)[:, 1] for item in (model, stopped)]
    assert not np.allclose(*chances)
