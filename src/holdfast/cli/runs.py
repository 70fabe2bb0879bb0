"""`holdfast runs`: list, show, best, resolve."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.backend.entities import Run
    from holdfast.project import Project

app = typer.Typer(help="Look at runs.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
ExperimentOption = Annotated[
    str | None, typer.Option("--experiment", "-e", help="Its name; the configured one if not given.")
]
FilterOption = Annotated[
    str, typer.Option("--filter", "-f", help="In MLflow's language: \"attributes.status = 'FINISHED'\".")
]

_LOOKED_AT = 100


class Mode(StrEnum):
    """Which value of a metric is best."""

    MIN = "min"
    MAX = "max"


@app.command("list")
def list_runs(
    experiment: ExperimentOption = None,
    filter_string: FilterOption = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    json: Json = False,
) -> None:
    """List an experiment's runs, the latest first.

    Example: holdfast runs list -e game-outcomes -f "metrics.`test/auc` > 0.65"
    """
    from holdfast.cli.output import get_output

    project, ids = _open(experiment)
    found = project.runs.search_runs(ids, filter_string, limit=limit)
    out = get_output(json)
    if json:
        out.data([_as_dict(run) for run in found])
        return
    columns = ["run", "name", "status", "started", "took", "metrics"]
    out.table(f"Runs of {_name(project, experiment)}", columns, [_row(run) for run in found])
    if not found:
        matching = " matches the filter" if filter_string else ""
        out.hint(f"no run of {_name(project, experiment)!r}{matching}; {_where_runs_are(project)}")


@app.command("show")
def show_run(
    run_id: Annotated[str, typer.Argument(help="The run's id, as `holdfast runs list` shows it.")],
    json: Json = False,
) -> None:
    """Show one run: params, metrics, tags, and where its files lie."""
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output

    run = open_existing().runs.get_run(run_id)
    out = get_output(json)
    if json:
        out.data(_as_dict(run))
        return
    head = [["run", run.run_id], ["name", run.name], ["status", run.status], ["started", _time(run.start_time_ms)]]
    out.table(f"Run {run.run_id}", ["", ""], [*head, ["took", _took(run)], ["artifacts", _masked(run.artifact_uri)]])
    out.table("Metrics", ["metric", "last value"], [[name, f"{v:.6g}"] for name, v in sorted(run.metrics.items())])
    out.table("Params", ["param", "value"], [[name, _masked(v)] for name, v in sorted(run.params.items())])
    shown = {name: value for name, value in run.tags.items() if not name.startswith("mlflow.log-model")}
    out.table("Tags", ["tag", "value"], [[name, _masked(value)] for name, value in sorted(shown.items())])


@app.command("best")
def best_run(
    metric: Annotated[str, typer.Argument(help="Any metric name, such as val/loss.")],
    mode: Annotated[Mode, typer.Option(help="Whether the least or the greatest value is best.")] = Mode.MIN,
    experiment: ExperimentOption = None,
    filter_string: FilterOption = "",
    json: Json = False,
) -> None:
    """Show the run with the least (or greatest) value of a metric, and which runs never logged it.

    Example: holdfast runs best test/auc --mode max -e game-outcomes
    """
    from holdfast.cli.output import get_output
    from holdfast.core.uris import mask_uri
    from holdfast.errors import NotFoundError
    from holdfast.tracking.best import check_mode, find_best

    chosen = check_mode(mode.value)
    project, ids = _open(experiment)
    best = find_best(project, ids, metric, chosen, filter_string)
    lacking = f"{len(best.lacking)} runs have no {metric}"
    if best.run is None:
        where = f"experiment {_name(project, experiment)!r} on {mask_uri(project.settings.tracking_uri)}"
        raise NotFoundError(f"No run of {where} has a number for {metric!r} ({lacking}).", _where_runs_are(project))
    out = get_output(json)
    if json:
        out.data({**_as_dict(best.run), "metric": metric, "metric_value": best.value, "lacking": list(best.lacking)})
        return
    out.table(
        f"Best run by {chosen} of {metric}",
        ["run", "name", metric],
        [[best.run.run_id, best.run.name, f"{best.value:.6g}"]],
    )
    out.table("Params", ["param", "value"], [[name, _masked(v)] for name, v in sorted(best.run.params.items())])
    if best.lacking:
        more = "" if best.lacking_is_complete else " of the latest 2,000"
        out.hint(f"{lacking}{more}: {', '.join(best.lacking[:5])}{' …' if len(best.lacking) > 5 else ''}")


@app.command("resolve")
def resolve_run(
    local_id: Annotated[str, typer.Argument(help="The id that a run had offline: local-...")],
    json: Json = False,
) -> None:
    """Print the server's id of a run that was begun offline; exit code 3 if it is not on the server yet.

    Example: holdfast runs show $(holdfast runs resolve local-0123456789abcdef0123456789abcdef)
    """
    from holdfast.cli.output import get_output
    from holdfast.delivery.places import find_run, places_of
    from holdfast.errors import DeliveryError
    from holdfast.settings import load_settings

    runs = find_run(places_of(load_settings()).all, local_id)
    server_id = next((found for run in runs if (found := run.server_id) is not None), None)
    if server_id is None:
        raise DeliveryError(f"Run {local_id} is not on the server yet.", "deliver it: holdfast sync", retryable=True)
    out = get_output(json)
    if json:
        out.data({"local_id": local_id, "run_id": server_id})
    out.line(server_id)


def _name(project: Project, experiment: str | None) -> str:
    return experiment or project.settings.experiment_name


def _open(experiment: str | None) -> tuple[Project, list[str]]:
    """Return the project and the experiment's id.

    Raises:
        NotFoundError: There is no such experiment; it is not created by looking.
    """
    from holdfast.cli.opening import open_existing
    from holdfast.core.uris import mask_uri
    from holdfast.errors import NotFoundError

    project = open_existing()
    name = _name(project, experiment)
    found = project.runs.find_experiment(name)
    if found is None:
        known = ", ".join(sorted(item.name for item in project.runs.experiments())[:10])
        raise NotFoundError(
            f"There is no experiment {name!r} on {mask_uri(project.settings.tracking_uri)}.",
            f"there are: {known}; choose one with --experiment" if known else "log a run first: holdfast quickstart",
        )
    return project, [found.experiment_id]


def _where_runs_are(project: Project) -> str:
    """Return in which experiments the latest runs are, as a hint for who looked where none is."""
    names = {item.experiment_id: item.name for item in project.runs.experiments()}
    latest = project.runs.search_runs(list(names), limit=_LOOKED_AT)
    counts = Counter(names[run.experiment_id] for run in latest)
    if not counts:
        return "no experiment has runs yet; log one first: holdfast quickstart"
    which = "experiments with runs" if len(latest) < _LOOKED_AT else f"experiments of the latest {_LOOKED_AT} runs"
    listed = ", ".join(f"{name} ({count})" for name, count in counts.most_common(10))
    return f"{which}: {listed}; choose one with --experiment"


def _as_dict(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "experiment_id": run.experiment_id,
        "status": run.status,
        "start_time_ms": run.start_time_ms,
        "end_time_ms": run.end_time_ms,
        "artifact_uri": _masked(run.artifact_uri),
        "params": {name: _masked(value) for name, value in run.params.items()},
        "metrics": run.metrics,
        "tags": {name: _masked(value) for name, value in run.tags.items()},
    }


def _row(run: Run) -> list[str]:
    metrics = ", ".join(f"{name}={value:.4g}" for name, value in sorted(run.metrics.items())[:4])
    more = f" (+{len(run.metrics) - 4})" if len(run.metrics) > 4 else ""
    return [run.run_id, run.name, run.status, _time(run.start_time_ms), _took(run), metrics + more]


def _masked(text: str) -> str:
    from holdfast.core.uris import mask_passwords_in

    return mask_passwords_in(text)


def _time(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _took(run: Run) -> str:
    return "" if run.end_time_ms is None else f"{(run.end_time_ms - run.start_time_ms) / 1000:.1f} s"
