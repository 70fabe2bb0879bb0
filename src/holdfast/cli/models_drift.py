"""`holdfast models drift`: has new data moved away from what a version was trained on?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.core.drift import DriftReport
    from holdfast.core.evidence import DriftRule


def drift(
    name: Annotated[str, typer.Argument(help="The registered model's name.")],
    version: Annotated[str, typer.Argument(help="A number, `latest`, a stage, or an alias.")],
    current: Annotated[Path, typer.Option("--current", help="A CSV file with the new data.")],
    reference: Annotated[
        str, typer.Option("--reference", help="The artifact of the version's run with a sample of its training data.")
    ] = "reference.csv",
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Compare this one only; may be repeated.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="The chance of a false alarm over all columns together.")] = 0.01,
    min_psi: Annotated[float, typer.Option(help="The least stability index that counts.")] = 0.1,
    max_drifted: Annotated[int, typer.Option(min=0, help="How many columns may have drifted.")] = 0,
    html: Annotated[Path | None, typer.Option("--html", help="Also write the report as a page to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Compare new data with the sample of its training data that a version's run logged; exit code 1 where it drifted.

    A column has drifted where a two-sample test, corrected for the number of columns, is sure of a difference, and the
    population stability index says that it is large. Example: holdfast models drift game-outcomes production
    --current new_games.csv
    """
    from holdfast.cli.output import get_output
    from holdfast.core.evidence import DriftRule

    rule = DriftRule(reference, str(current.absolute()), tuple(column or ()), alpha, min_psi, max_drifted)
    report = _measure(name, version, rule)
    if html is not None:
        _write_page(html, report, f"Drift of {name} version {version}")
    out = get_output(json)
    if json:
        out.data(report.to_dict())
    else:
        _show(report, f"{name} version {version}")
    if not report.passed:
        raise typer.Exit(1)


def _measure(name: str, version: str, rule: DriftRule) -> DriftReport:
    from holdfast.cli.opening import open_existing
    from holdfast.errors import NotFoundError
    from holdfast.registry.gates.drift import measure_run
    from holdfast.registry.lookup import find_version

    project = open_existing()
    found = find_version(project, name, version)
    if not found.run_id:
        raise NotFoundError(
            f"{name} version {found.version} has no run, which would hold a sample of its training data.",
            "register models that a run logged",
        )
    project.settle_files(found.run_id)
    return measure_run(project, project.runs.get_run(found.run_id), rule)


def _write_page(path: Path, report: DriftReport, title: str) -> None:
    from holdfast.cli.whole_file import write_whole
    from holdfast.core.drift_page import make_page

    write_whole(path, make_page(report, title).encode("utf-8", "backslashreplace"), "--html")


def _show(report: DriftReport, which: str) -> None:
    from holdfast.cli.output import get_output
    from holdfast.core.drift_page import HEADINGS, describe_column, summarize

    out = get_output()
    out.table(f"New data against {which}", HEADINGS, [describe_column(column) for column in report.columns])
    out.line(summarize(report))
    for where, names in (("the reference", report.only_reference), ("the new data", report.only_current)):
        if names:
            out.hint(f"only in {where}: {', '.join(names)}")


def add_to(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("drift")(drift)
