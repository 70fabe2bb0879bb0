"""`holdfast models copy`: a version to another model, or to another server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.project import Project
    from holdfast.registry.copies.versions import Copied


def copy(
    name: Annotated[str, typer.Argument(help="The registered model's name.")],
    version: Annotated[str, typer.Argument(help="A number, a stage, an alias (@champion), or `latest`.")],
    to_name: Annotated[
        str | None, typer.Option("--to-name", help="The registered model it goes to; the same name if not given.")
    ] = None,
    to_env: Annotated[
        Path | None, typer.Option("--to-env", help="A file like .env with all settings of the other server.")
    ] = None,
    to_tracking_uri: Annotated[
        str | None,
        typer.Option("--to-tracking-uri", help="Another server, reached with this project's other settings."),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", "-e", help="Where its run goes there; the configured one if not given."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be copied, and change nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Copy a version, with its run's params, last metrics and tags, and with its history.

    On the same server the new version points at the same files. To another one they are sent, each way with that
    side's keys, and compared byte by byte before they are registered. Copying the same again registers nothing.

    Example: holdfast models copy game-outcomes Production --to-env prod.env
    """
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.registry.copies.target import target_project
    from holdfast.registry.copies.versions import copy_version
    from holdfast.registry.lookup import find_version
    from holdfast.registry.serving.resolving import book_of

    source = open_existing()
    target = target_project(source, to_env, to_tracking_uri)
    found = find_version(source, name, version)
    out = get_output(json)
    if dry_run:
        _show_plan(out, _plan(source, target, f"{name} version {found.version}", to_name or name))
        return
    book = book_of(source, name)
    done = copy_version(
        source,
        name,
        found.version,
        target,
        to_name,
        checksum="" if book is None else book.ledger.version(found.version).checksum,
        history=[] if book is None else [event.to_dict() for event in book.events],
        experiment=experiment,
    )
    _show(out, f"{name} version {found.version}", target, done)


def _plan(source: Project, target: Project, what: str, goal: str) -> dict[str, Any]:
    from holdfast.core.uris import mask_uri

    servers = [mask_uri(project.connection.registry_uri) for project in (source, target)]
    return {"status": "planned", "from": what, "from_server": servers[0], "to": goal, "to_server": servers[1]}


def _show_plan(out: Output, plan: dict[str, Any]) -> None:
    if out.json:
        out.data(plan)
        return
    out.line(f"{plan['from']} ({plan['from_server']}) would be copied to {plan['to']} ({plan['to_server']})")
    out.hint("nothing was changed (--dry-run)")


def _show(out: Output, what: str, target: Project, done: Copied) -> None:
    from holdfast.core.uris import mask_uri

    made = done.version
    if out.json:
        out.data(
            {
                "status": "copied" if done.is_new else "there already",
                "name": made.name,
                "version": made.version,
                "server": mask_uri(target.connection.registry_uri),
                "run_id": made.run_id,
                "checksum": done.checksum,
                "files": done.files,
                "bytes": done.size_bytes,
            }
        )
        return
    if not done.is_new:
        out.line(f"{what} is {made.name} version {made.version} there already; nothing was copied")
        return
    sent = f": {done.files:,} files, {done.size_bytes:,} bytes, compared" if done.files else ", from the same files"
    out.line(f"{what} is now {made.name} version {made.version} at {mask_uri(target.connection.registry_uri)}{sent}")


def add_to(app: typer.Typer) -> None:
    """Give `holdfast models` this command."""
    app.command("copy")(copy)
