"""What `lifecycle` does in a word each: the games, a model trained on them, its run, and the tables that are shown."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import pandas as pd
from xgboost import XGBClassifier

from holdfast.cli.output import Output
from holdfast.core.bootstrap import PairedDifference
from holdfast.core.history import Event
from holdfast.core.promotion import CheckAnswer
from holdfast.core.uris import slug
from holdfast.errors import HoldfastError
from holdfast.project import Project
from holdfast.settings import Settings, load_settings
from holdfast.tracking import MLflowTracker

from .features import build_features
from .loader import load_games
from .metrics import evaluate, score_games
from .model import ModelConfig, count_rounds, train
from .simulator import SimulatorConfig, simulate_games
from .split import PARTS, SeasonSplit, split_seasons

EXPERIMENT = "game-outcomes"
_SHOWN = ("auc", "log_loss", "brier", "accuracy")


@dataclass(frozen=True)
class Options:
    """How the script was called.

    Attributes:
        games: A CSV of games; None simulates a league.
        json: Whether one JSON document is printed, and nothing else.
    """

    games: Path | None
    json: bool


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; in a notebook's kernel, whose command line is not ours, the defaults."""
    in_kernel = arguments is None and "ipykernel" in sys.modules
    parser = argparse.ArgumentParser(prog="python -m holdfast_examples.game_outcomes.lifecycle")
    parser.add_argument("--games", type=Path, default=None, help="your own games as CSV; else a simulated league")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    found = parser.parse_args([] if in_kernel else arguments)
    return Options(found.games, found.json)


@dataclass(frozen=True)
class Games:
    """The games, and what was known before each.

    Attributes:
        title: How many, of which seasons, from where.
        file: The file they are in, which models are trained on.
        table: The canonical table.
        features: As `build_features` gives them.
        split: Which season serves what.
    """

    title: str
    file: Path
    table: pd.DataFrame
    features: pd.DataFrame
    split: SeasonSplit

    def of(self, part: str) -> pd.DataFrame:
        """Gives the features of a part's games: `train`, `validation` or `test`."""
        return self.features[self.split.select(self.table, part)].reset_index(drop=True)


def prepare_games(path: Path | None, folder: Path, league: SimulatorConfig | None = None) -> Games:
    """Reads or simulates games and computes their features.

    Args:
        path: A CSV of games; a league is simulated where it is None.
        folder: Where a simulated league is written to, as the file that models are trained on.
        league: What is simulated.

    Raises:
        DataError: The file cannot be used, or its games are of fewer than three seasons.
    """
    file = path.resolve() if path is not None else folder / "simulated_games.csv"
    if path is None:
        simulate_games(league).to_csv(file, index=False)
    table = load_games(file)
    title = f"{len(table):,} games of {table['season'].min()} to {table['season'].max()} ({file.name})"
    return Games(title, file, table, build_features(table), split_seasons(table))


def load_place(user: str | None = None) -> Settings:
    """Return the working directory's settings, in the experiment of this example where they name none.

    Args:
        user: Somebody else, who works on the same project.
    """
    settings = load_settings(user=user)
    is_named = settings.origin_of("experiment_name").kind != "default"
    return settings if is_named else load_settings(user=user, experiment_name=EXPERIMENT)


def begin(options: Options, folder: Path) -> tuple[Settings, MLflowTracker, Games]:
    """Open the project and prepare the games; ends the script with what is wrong and its remedy."""
    try:
        games = prepare_games(options.games, folder)
        settings = load_place()
        return settings, MLflowTracker(settings=settings), games
    except HoldfastError as error:
        sys.exit(f"error: {error}")


def free_name(project: Project, games: Games) -> str:
    """Return a name that no registered model has yet: the story is told from its beginning each time."""
    base, number = f"lifecycle-{slug(games.file.stem)}", 1
    while project.models.find_model(f"{base}-{number}") is not None:
        number += 1
    return f"{base}-{number}"


@dataclass(frozen=True)
class Trained:
    """A model, and what it makes of each game.

    Attributes:
        model: The fitted classifier.
        config: Its settings.
        columns: Its inputs, in order.
        chances: Of a home win, one a game of the table.
        metrics: By part, what `evaluate` gives.
    """

    model: XGBClassifier
    config: ModelConfig
    columns: tuple[str, ...]
    chances: pd.Series
    metrics: dict[str, dict[str, float]]


def train_on(games: Games, columns: Iterable[str], config: ModelConfig) -> Trained:
    """Trains on the early seasons with these features, and measures every part; the last season is only measured."""
    inputs = games.features[list(columns)]
    model = train(inputs, games.table, games.split, config)
    chances = pd.Series(model.predict_proba(inputs)[:, 1], index=inputs.index, dtype="float64")
    rows = {part: games.split.select(games.table, part) for part in PARTS}
    metrics = {part: evaluate(games.table.loc[rows[part], "home_win"], chances[rows[part]]) for part in PARTS}
    return Trained(model, config, tuple(inputs.columns), chances, metrics)


def log_run(tracker: MLflowTracker, games: Games, trained: Trained, name: str) -> str:
    """Log a model as a run, with all that gates will want to see; return the model's URI.

    Those are metrics, the log loss of every single test game, a sample of the training inputs, the fingerprint of the
    games' file, and with the model its signature and an input example.
    """
    with tracker.run(name) as run_id:
        tracker.log_params(vars(trained.config) | {"features": len(trained.columns), "split": str(games.split)})
        for part, metrics in trained.metrics.items():
            tracker.log_metrics({f"{part}/{metric}": value for metric, value in metrics.items()})
        tested = games.table[games.split.select(games.table, "test")]
        named = (tested["date"].dt.strftime("%Y-%m-%d") + " " + tested["away"] + " at " + tested["home"]).tolist()
        for metric, scores in score_games(tested["home_win"], trained.chances[tested.index]).items():
            tracker.log_scores(f"test/{metric}", scores, named)
        tracker.log_reference(games.of("train")[list(trained.columns)])
        # The code is this package; what is uncommitted in the folder where it runs is none of its.
        tracker.log_lineage(data=[games.file], diff=False)
        _log_model(tracker, games, trained)
    return f"runs:/{run_id}/model"


def _log_model(tracker: MLflowTracker, games: Games, trained: Trained) -> None:
    import mlflow.xgboost
    from mlflow.models import infer_signature

    example = games.of("test")[list(trained.columns)].tail(5).reset_index(drop=True)
    chances = trained.model.predict_proba(example)[:, 1]
    with tempfile.TemporaryDirectory(prefix="holdfast-lifecycle-") as folder:
        mlflow.xgboost.save_model(
            # The booster predicts chances; the classifier would predict 0 or 1 only.
            trained.model.get_booster()[: count_rounds(trained.model)],
            str(Path(folder) / "model"),
            signature=infer_signature(example, chances),
            input_example=example,
            # Named here: finding them out would start a process and load the model in it.
            pip_requirements=[f"{name}=={installed_version(name)}" for name in ("mlflow", "xgboost-cpu", "pandas")],
        )
        tracker.log_artifacts_dir(Path(folder) / "model", "model")


# -- what is shown ------------------------------------------------------------------------


def show_metrics(out: Output, trained: Trained) -> None:
    """Show what a model reaches on the seasons it learnt from, and on the one it never saw."""
    parts = {"training seasons": "train", "test season": "test"}
    rows = [[name, *(f"{trained.metrics[part][metric]:.4f}" for metric in _SHOWN)] for name, part in parts.items()]
    out.table(f"{len(trained.columns)} features", ["", *_SHOWN], rows)


def show_answers(out: Output, title: str, answers: Sequence[CheckAnswer]) -> None:
    """Show what each gate says, and why."""
    rows = [[item.check, "passed" if item.passed else "refused", item.reason] for item in answers]
    out.table(title, ["gate", "answer", "why"], rows)


def show_history(out: Output, events: Sequence[Event]) -> None:
    """Show a model's history, an event a line."""
    rows = [
        [str(event.number), event.at, event.draft.actor.name, _what(event), event.draft.reason, _refused(event)]
        for event in events
    ]
    out.table("History", ["", "when", "who", "what", "why", "gates that refused"], rows)


def _what(event: Event) -> str:
    draft = event.draft
    said = "" if event.version is None else f" version {event.version}"
    if draft.to_stage is not None:
        way = "for" if draft.from_stage is None else f"{draft.from_stage.value} ->"
        said += f" {way} {draft.to_stage.value}"
    archived = ", ".join(map(str, draft.archived))
    return f"{event.kind.value}{said}" + (f", archives {archived}" if archived else "")


def _refused(event: Event) -> str:
    return "; ".join(gate.check for gate in event.draft.gates if not gate.passed)


def in_words(paired: PairedDifference) -> str:
    """Say what the interval of a loss's paired difference, second minus first, allows to say, and no more."""
    numbers = f"{paired.difference:+.4f}, {paired.confidence:.0%} interval {paired.low:+.4f} to {paired.high:+.4f}"
    if paired.high < 0:
        return f"better: {numbers}"
    if paired.low > 0:
        return f"worse: {numbers}"
    return f"not told apart on these {paired.n:,} games: {numbers}"


def failing(answers: Sequence[CheckAnswer]) -> list[str]:
    """Return the names of the gates that refuse, approvals left out: those come last, when all else is settled."""
    return [item.check for item in answers if not item.passed and item.check != "approvals"]


def as_dicts(answers: Sequence[CheckAnswer]) -> list[dict[str, Any]]:
    """Return gates' answers for JSON."""
    return [{"check": item.check, "passed": item.passed, "reason": item.reason} for item in answers]
