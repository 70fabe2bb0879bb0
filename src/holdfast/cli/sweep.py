"""`holdfast sweep`: search for the best parameters of a training."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.errors import InvalidInputError
    from holdfast.training.sweeping import SweepResult
    from holdfast.training.sweeping.options import SweepError, SweepOptionsError

# How the command line calls what Python calls otherwise; the rest is called the same.
_OPTIONS = {"timeout_s": "--timeout", "given_by": "--pass", "space": "--space or --param"}


def sweep(
    command: Annotated[list[str], typer.Argument(help="What a trial runs, after `--`.")],
    metric: Annotated[
        str | None, typer.Option("--metric", help="What is judged by; that of the sweep with --resume.")
    ] = None,
    space: Annotated[Path | None, typer.Option("--space", help="A JSON, YAML or TOML file of parameters.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="`lr=1e-4..1e-1:log`, `layers=1..4`, `batch_size=16,32`.")
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="min or max.  [default: min]")] = None,
    trials: Annotated[int, typer.Option("--trials", help="How many, those of before included.")] = 20,
    timeout_s: Annotated[float | None, typer.Option("--timeout", help="Seconds after which no trial is begun.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="optuna, or ray (Ray Tune).")] = "optuna",
    seed: Annotated[int, typer.Option("--seed", help="Of the sampler.")] = 0,
    parallel: Annotated[int, typer.Option("--parallel", help="How many trials at a time.")] = 1,
    sampler: Annotated[str, typer.Option("--sampler", help="tpe or random.")] = "tpe",
    pruner: Annotated[str, typer.Option("--pruner", help="none or median.")] = "none",
    prune_after: Annotated[int, typer.Option("--prune-after", help="How many trials must be complete for that.")] = 5,
    max_failures: Annotated[int, typer.Option("--max-failures", help="How many trials may fail.")] = 5,
    given_by: Annotated[
        str, typer.Option("--pass", help="arguments: `--learning-rate 0.01`; env: PARAM_LEARNING_RATE.")
    ] = "arguments",
    run_name: Annotated[str | None, typer.Option("--run-name", help="Of the parent run.")] = None,
    resume: Annotated[str | None, typer.Option("--resume", help="The parent run of a sweep to go on with.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Run a training many times, each as a child run with other parameters, and find the best.

    The command logs to the run that MLFLOW_RUN_ID names, as Holdfast and mlflow.start_run() do, and gets each
    parameter as an option.

    Example: holdfast sweep --metric val/loss --param learning_rate=1e-4..1e-1:log -- python train.py --epochs 3
    """
    from holdfast.cli.output import get_output
    from holdfast.training.sweeping import sweep as search
    from holdfast.training.sweeping.options import SweepError, SweepOptionsError

    out = get_output(json)
    chosen: dict[str, Any] = {
        "trials": trials,
        "timeout_s": timeout_s,
        "engine": engine,
        "seed": seed,
        "parallel": parallel,
        "sampler": sampler,
        "pruner": pruner,
        "prune_after": prune_after,
        "max_failures": max_failures,
        "given_by": given_by,
    }
    chosen |= {key: value for key, value in (("metric", metric), ("mode", mode)) if value is not None}
    searched = _space(space, param or [])
    if searched is None and resume is None:
        raise _nothing_to_search(metric)
    try:
        # Ray prints, and the document is to be alone.
        with contextlib.redirect_stdout(sys.stderr) if out.json else contextlib.nullcontext():
            result = search(command, searched, resume=resume, run_name=run_name, **chosen)
    except SweepOptionsError as error:
        raise _in_options(error) from None
    except SweepError as error:
        _show_failure(out, error)
        raise
    _show(out, result)


def _nothing_to_search(metric: str | None) -> InvalidInputError:
    from holdfast.errors import InvalidInputError

    lacking = (["--metric"] if metric is None else []) + ["--param or --space"]
    return InvalidInputError(
        f"A sweep that begins needs {' and '.join(lacking)}.",
        "for example: --metric val/loss --param learning_rate=1e-4..1e-1:log --param batch_size=16,32",
    )


def _in_options(error: SweepOptionsError) -> SweepOptionsError:
    """Return the same error in the words of the command line."""
    told = {_OPTIONS.get(name, "--" + name.replace("_", "-")): problem for name, problem in error.problems.items()}
    return error.of(told, "see holdfast sweep --help" if error.hint == "see SweepOptions" else error.hint)


def _show_failure(out: Output, error: SweepError) -> None:
    """Print what there is of a sweep that failed, for a program; a person is told by the error."""
    from holdfast.training.sweeping.records import as_row

    if out.json:
        out.data(
            {
                "run_id": error.run_id,
                "best": None if error.best is None else as_row(error.best),
                "trials": [as_row(trial) for trial in error.trials],
                "error": {"message": error.message, "hint": error.hint},
            }
        )


def _space(path: Path | None, params: list[str]) -> dict[str, Any] | None:
    """Return the space of file and options, the latter over the former; None where neither is given."""
    from holdfast.training.sweeping import load_space, read_params

    if path is None and not params:
        return None
    return {**({} if path is None else load_space(path)), **read_params(params)}


def _show(out: Output, result: SweepResult) -> None:
    from holdfast.training.sweeping.process import text_of
    from holdfast.training.sweeping.records import as_row

    best = result.best
    if out.json:
        out.data({"run_id": result.run_id, "best": as_row(best), "trials": [as_row(trial) for trial in result.trials]})
        return
    names = list(best.params)
    rows = [
        [
            str(trial.number),
            trial.state,
            "" if trial.value is None else f"{trial.value:.6g}",
            *(text_of(trial.params[name]) if name in trial.params else "" for name in names),
            trial.run_id,
        ]
        for trial in result.trials
    ]
    out.table("Trials", ["trial", "state", "value", *names, "run"], rows)
    shown = ", ".join(f"{name} = {text_of(value)}" for name, value in best.params.items())
    out.line(f"Best is trial {best.number} with {best.value:.6g}: {shown}  (run {best.run_id})")
    out.hint(f"all of it is in the run {result.run_id}")
    out.hint(f"to go on: holdfast sweep --resume {result.run_id} --trials N -- COMMAND")


def add_to(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("sweep")(sweep)
