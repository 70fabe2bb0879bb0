"""The command line: data on stdout, what is said about it on stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 try again later, 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .choices import Format, Pairings

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.cli.output import Output

    from .request import Request

app = typer.Typer(
    name="python -m holdfast_examples.basketworld.analytics",
    help="What the checkpoints of a BasketWorld training are worth, and how they play. Each command writes tables and "
    "pictures to a child run of its own; the training run is only read.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Run = Annotated[str, typer.Option("--run", help="The training run's id, as `holdfast runs list` shows it.")]
Alternation = Annotated[
    int | None, typer.Option("--alternation", "-a", min=0, help="The checkpoint; the last one if not given.")
]
Opponent = Annotated[
    str, typer.Option("--opponent", help="self, random, greedy, or the number of another alternation.")
]
Episodes = Annotated[int, typer.Option("--episodes", min=2, help="Of each role, or of each match-up.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same one gives the same tables.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Processes; one a processor core if not given, two at most."),
]
Ray = Annotated[
    str | None, typer.Option("--ray", metavar="ADDRESS", help="Play on a Ray cluster: auto, host:port, or local.")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Keep the files in this folder too.")]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="Policies take their likeliest action instead of drawing one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Film = Annotated[Format, typer.Option("--format", help="Of the film.")]


@app.command("elo")
def elo(
    run: Run,
    pairings: Annotated[
        Pairings,
        typer.Option(
            help="sequential: the previous two; round-robin: everybody; sparse: ten checkpoints, all of them."
        ),
    ] = Pairings.SEQUENTIAL,
    episodes: Episodes = 100,
    seed: Seed = 0,
    workers: Workers = None,
    ray: Ray = None,
    out: Out = None,
    deterministic: Deterministic = False,
    json: Json = False,
) -> None:
    """Rate the checkpoints by games between them: Elo, and a Bradley-Terry fit with intervals.

    Example: python -m holdfast_examples.basketworld.analytics elo --run ID --pairings round-robin --workers 4
    """
    from .elo import run_elo

    request = _request(run, None, "self", episodes, seed, workers, ray, out, deterministic)
    told, standings, warning = run_elo(request, pairings)
    said = _said(json)
    _finish(said, told, out)
    columns = ["alternation", "rating", "low", "high", "elo", "games", "win_share"]
    formats = {"win_share": "{:.1%}", "alternation": "{:d}", "games": "{:.0f}"}
    _show(said, "Strength of the checkpoints", standings.ratings(), columns, formats, "{:.0f}")
    if warning is not None:
        said.warn(warning)


@app.command("evaluate")
def evaluate(
    run: Run,
    alternation: Alternation = None,
    every: Annotated[bool, typer.Option("--every", help="All checkpoints instead of one.")] = False,
    opponent: Opponent = "self",
    episodes: Episodes = 100,
    films: Annotated[int, typer.Option("--films", min=0, help="Episodes in the film; 0 for none.")] = 3,
    film_format: Film = Format.GIF,
    seed: Seed = 0,
    workers: Workers = None,
    ray: Ray = None,
    out: Out = None,
    deterministic: Deterministic = False,
    json: Json = False,
) -> None:
    """Measure shooting, passing, assists and turnovers, with intervals.

    Example: python -m holdfast_examples.basketworld.analytics evaluate --run ID --every --opponent greedy
    """
    from holdfast.errors import InvalidInputError

    from .evaluate import run_evaluate

    if every and alternation is not None:
        raise InvalidInputError("Both --every and --alternation are given.", "give one of them")
    request = _request(run, alternation, opponent, episodes, seed, workers, ray, out, deterministic)
    told, table = run_evaluate(request, every, films, film_format)
    said = _said(json)
    _finish(said, told, out)
    shown = table[table["measure"].isin(["ppp", "fg", "efg", "assist_share", "turnover_share", "passes"])]
    shown = shown if every else table
    columns = ["alternation", "role", "measure", "value", "low", "high"]
    _show(said, f"Against {table['opponent'].iloc[-1]}", shown.dropna(), columns, {"alternation": "{:d}"}, "{:.3f}")


@app.command("heatmap")
def heatmap(
    run: Run,
    alternation: Alternation = None,
    opponent: Opponent = "self",
    episodes: Episodes = 100,
    seed: Seed = 0,
    workers: Workers = None,
    ray: Ray = None,
    out: Out = None,
    deterministic: Deterministic = False,
    json: Json = False,
) -> None:
    """Draw how often the team stands on which hexagon, in either role."""
    from .courts import run_heatmap

    told, table = run_heatmap(_request(run, alternation, opponent, episodes, seed, workers, ray, out, deterministic))
    said = _said(json)
    _finish(said, told, out)
    _show_most(said, "Where the team stands most", table, "share", ["role", "row", "column", "distance", "share"])


@app.command("shotchart")
def shotchart(
    run: Run,
    alternation: Alternation = None,
    opponent: Opponent = "self",
    episodes: Episodes = 100,
    seed: Seed = 0,
    workers: Workers = None,
    ray: Ray = None,
    out: Out = None,
    deterministic: Deterministic = False,
    json: Json = False,
) -> None:
    """Draw where the policy's shots come from, and how many of them go in."""
    from .courts import run_shotchart

    told, table = run_shotchart(_request(run, alternation, opponent, episodes, seed, workers, ray, out, deterministic))
    said = _said(json)
    _finish(said, told, out)
    _show_most(said, "Where most shots come from", table, "attempts", list(table.columns))


@app.command("trajectories")
def trajectories(
    run: Run,
    alternation: Alternation = None,
    opponent: Opponent = "self",
    episodes: Episodes = 100,
    film_format: Film = Format.GIF,
    seed: Seed = 0,
    workers: Workers = None,
    ray: Ray = None,
    out: Out = None,
    deterministic: Deterministic = False,
    json: Json = False,
) -> None:
    """Film how the court fills with the steps of the episodes."""
    from .trajectories import run_trajectories

    request = _request(run, alternation, opponent, episodes, seed, workers, ray, out, deterministic)
    told, _ = run_trajectories(request, film_format)
    _finish(_said(json), told, out)


@app.command("assist-skill")
def assist_skill(
    run: Run,
    alternation: Alternation = None,
    opponent: Opponent = "self",
    episodes: Episodes = 1000,
    seed: Seed = 0,
    workers: Workers = None,
    ray: Ray = None,
    out: Out = None,
    deterministic: Deterministic = False,
    json: Json = False,
) -> None:
    """Ask whether passes go to the better shooter: a logistic regression of assists on the difference in skill."""
    from .assist_skill import run_assist_skill

    told, result = run_assist_skill(
        _request(run, alternation, opponent, episodes, seed, workers, ray, out, deterministic)
    )
    said = _said(json)
    _finish(said, told, out)
    rows = [
        ["shots after a pass", f"{len(result.assisted)}"],
        ["assists", f"{int(result.assisted.sum())}"],
        ["AUC", str(result.auc)],
        ["log odds a percentage point", str(result.slope)],
    ]
    said.table("Assists by the passer's skill less the shooter's", ["", ""], rows)


def main() -> NoReturn:
    """Run the command, and turn errors into one clear line and an exit code."""
    from holdfast.cli.output import get_output
    from holdfast.cli.pipes import prepare_pipes
    from holdfast.errors import HoldfastError

    prepare_pipes()
    try:
        app()
    except HoldfastError as error:
        get_output().error(error.message, error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        sys.stdout.flush()
    sys.exit(0)


def _request(
    run: str,
    alternation: int | None,
    opponent: str,
    episodes: int,
    seed: int,
    workers: int | None,
    ray: str | None,
    out: Path | None,
    deterministic: bool,
) -> Request:
    from holdfast.training.extras import need

    need(("numpy", "pandas", "matplotlib", "PIL"), "the analysis of BasketWorld", "basketworld")
    from .request import Request

    return Request(run, alternation, opponent, episodes, seed, workers, ray, out, deterministic)


def _said(json: bool) -> Output:
    from holdfast.cli.output import get_output

    return get_output(json)


def _finish(said: Output, told: dict[str, Any], out: Path | None) -> None:
    """Print the JSON, or say where the files are."""
    if said.json:
        said.data(told)
    where = f" and in {out}" if out is not None else ""
    said.hint(f"{len(told['files'])} files are with run {told['run_id']}{where}: {', '.join(told['files'])}")


def _show(
    said: Output, title: str, frame: pd.DataFrame, columns: list[str], formats: dict[str, str], usual: str
) -> None:
    rows = [
        [str(value) if isinstance(value, str) else formats.get(name, usual).format(value)
         for name, value in zip(columns, row, strict=True)]
        for row in frame[columns].itertuples(index=False)
    ]  # fmt: skip
    said.table(title, columns, rows)


def _show_most(said: Output, title: str, frame: pd.DataFrame, by: str, columns: list[str]) -> None:
    most = frame.sort_values(by, ascending=False, kind="stable").head(8)
    formats = dict.fromkeys(("share", "made_share", "low", "high"), "{:.1%}")
    _show(said, title, most, columns, formats, "{}")


if __name__ == "__main__":
    main()
