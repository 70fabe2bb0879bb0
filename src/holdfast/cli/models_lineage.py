"""`holdfast models lineage`: what a version came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.registry.lineage import Lineage


def lineage(
    name: Annotated[str, typer.Argument(help="The registered model's name.")],
    version: Annotated[str, typer.Argument(help="A number, `latest`, a stage, or an alias.")],
    diff: Annotated[bool, typer.Option("--diff", help="Print the uncommitted changes that were kept.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Show the run, commit, uncommitted changes, data and environment that a version came from.

    Example: holdfast models lineage game-outcomes production --diff
    """
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.registry.lineage import lineage_of, read_diff
    from holdfast.registry.lookup import find_version

    project = open_existing()
    found = lineage_of(project, find_version(project, name, version))
    changes = read_diff(project, found) if diff else None
    out = get_output(json)
    if json:
        out.data(found.to_dict() | ({"diff": changes} if diff else {}))
    elif changes is not None:
        out.line(changes.rstrip("\n"))
    else:
        _show(found)


def _show(found: Lineage) -> None:
    from holdfast.cli.output import get_output

    out = get_output()
    out.table(f"Lineage of {found.name} version {found.version}", ["what", "which"], _rows(found))
    for what in found.missing:
        out.hint(what)


def _rows(found: Lineage) -> list[list[str]]:
    rows = [
        ["run", " ".join(filter(None, (found.run_id, found.run_name, found.run_status)))],
        ["run by", found.user],
        ["script", found.script],
        ["commit", " ".join(filter(None, (found.commit, found.branch and f"({found.branch})")))],
        ["earlier commits", " ".join(found.earlier_commits)],
        ["git author", found.author],
        ["uncommitted", _uncommitted(found)],
        *([f"data {name}", digest] for name, digest in (found.data or {}).items()),
        ["environment", found.environment_file],
        ["files from", found.source],
    ]
    return [row for row in rows if row[1]]


def _uncommitted(found: Lineage) -> str:
    if found.is_dirty is None:
        return ""
    if not found.is_dirty:
        return "nothing"
    return f"sha256 {found.diff_sha256} (see --diff)" if found.diff_file else "something, which was not kept"


def add_to(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("lineage")(lineage)
