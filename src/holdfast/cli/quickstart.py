"""`holdfast quickstart`: the whole path from data to a model in Production, on embedded defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output

_STAGES = {
    "features": "Building features from past games",
    "train": "Training, a step a boosting round",
    "evaluate": "Measuring on the test season",
    "log": "Logging metrics, plots and the model",
    "promote": "Registering and promoting",
    "predict": "Loading back in a new process",
}


def quickstart(
    games: Annotated[
        Path | None, typer.Option("--games", envvar="GAMES", help="Your own games as CSV; else a simulated league.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the training; the simulated league stays the same.")] = 7,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Train a game-outcome model, track it, register it, check it, promote it, load it back, predict.

    Needs no server: runs go to SQLite and files to a folder in the project's root, unless your settings say
    otherwise. Example: holdfast quickstart --games nba_games.csv
    """
    from holdfast.cli.output import get_output
    from holdfast.settings import load_settings

    out = get_output(json)
    run = _find_job()
    settings = load_settings()
    if settings.origin_of("experiment_name").kind == "default":
        settings = load_settings(experiment_name="game-outcomes")
    for notice in settings.notices:
        out.warn(notice)
    with _progress() as progress:
        result = run(settings, games, seed, progress)
    if json:
        out.data(_as_dict(result))
    else:
        _show(out, result)


def _find_job() -> Callable[..., Any]:
    """Return the example's job.

    Raises:
        MissingDependencyError: Something it needs is not installed.
    """
    from importlib import import_module
    from importlib.util import find_spec

    from holdfast.errors import MissingDependencyError

    needed = ("xgboost", "sklearn", "pandas", "matplotlib", "sqlalchemy", "holdfast_examples")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"The quickstart needs {', '.join(missing)}.", "pip install 'holdfast[quickstart]'"
        )
    return import_module("holdfast_examples.game_outcomes.quickstart").run_quickstart  # type: ignore[no-any-return]


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar a stage on a terminal, and a line a stage elsewhere; both on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        told: set[str] = set()

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in told:
                told.add(stage)
                console.print(f"{_STAGES.get(stage, stage)} ...")

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(_STAGES.get(stage, stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def _show(out: Output, result: Any) -> None:
    from holdfast.core.uris import mask_uri

    measured = {"model": result.metrics, **({"forecast in the file": result.forecast} if result.forecast else {})}
    columns = [name for name in ("auc", "log_loss", "brier", "accuracy") if name in result.metrics]
    rows = [[who, *(f"{values[name]:.4f}" for name in columns)] for who, values in measured.items()]
    out.table("Test season", ["", *columns], rows)
    out.table(
        "Promotion rule",
        ["check", "answer", "why"],
        [[answer.check, "passed" if answer.passed else "refused", answer.reason] for answer in result.answers],
    )
    out.table(
        "What was done",
        ["step", "result"],
        _steps(result, mask_uri(result.tracking_uri), mask_uri(result.artifact_uri)),
    )
    out.line(f"Open MLflow's page with:  {_command()} up")


def _command() -> str:
    """Return how this user calls the command: by name where it is on the path, else by where it lies."""
    import os
    import shutil
    import sys

    beside = Path(sys.executable).with_name("holdfast")
    if shutil.which("holdfast") or not beside.exists():
        return "holdfast"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def _steps(result: Any, tracking: str, artifacts: str) -> list[list[str]]:
    replaced = f", version {', '.join(map(str, result.archived))} archived" if result.archived else ""
    refused = f"Staging; the rule refused Production, which stays version {result.production_version}"
    loaded = [
        [f"predicted by {uri}", " ".join(f"{chance:.3f}" for chance in chances)]
        for uri, chances in result.predictions.items()
    ]
    return [
        ["data", result.games],
        ["run", result.run_id],
        ["registered", f"{result.model_name} version {result.version}"],
        ["promoted", f"Staging, then Production{replaced}" if result.promoted else refused],
        *loaded,
        ["runs are in", tracking],
        ["files are in", artifacts],
    ]


def _as_dict(result: Any) -> dict[str, Any]:
    from dataclasses import asdict

    from holdfast.core.uris import mask_uri

    masked = {name: mask_uri(getattr(result, name)) for name in ("tracking_uri", "artifact_uri")}
    return {**asdict(result), **masked}
