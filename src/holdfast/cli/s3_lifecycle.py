"""`holdfast s3 lifecycle`: what becomes of files as they age."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.s3_place import DryRun, Json, Profile, Where, Yes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.artifacts.s3.connection import S3Connection
    from holdfast.bucket.arns import Place
    from holdfast.bucket.lifecycle import Rule
    from holdfast.bucket.lifecycle_plan import Wish
    from holdfast.bucket.posture import Lifecycle
    from holdfast.cli.output import Output

app = typer.Typer(help="What becomes of files as they age.", no_args_is_help=True)


@app.command("show")
def show(where: Where = "", profile: Profile = None, json: Json = False) -> None:
    """Show the bucket's lifecycle rules, which of them are about the project's files, and what is amiss.

    Example: holdfast s3 lifecycle show
    """
    from holdfast.bucket.lifecycle import read_rules, warnings_of
    from holdfast.bucket.posture import ask_versioning
    from holdfast.cli.output import get_output
    from holdfast.cli.s3_place import connect, place_of
    from holdfast.project import open_project

    project = open_project(aws_profile=profile)
    place, connection, out = place_of(project.settings, where), connect(project), get_output(json)
    rules = read_rules(_ask(connection, place).rules)
    is_versioned = bool(ask_versioning(connection, place.bucket).value)
    warnings = warnings_of(rules, place.folder, is_versioned) + _in_use(out, rules, place)
    if json:
        shown = [
            {
                "id": rule.name,
                "enabled": rule.is_enabled,
                "for": rule.scope,
                "does": rule.actions,
                "touches": rule.touches(place.folder),
                "rule": rule.raw,
            }
            for rule in rules
        ]
        out.data({"bucket": place.bucket, "prefix": place.prefix, "rules": shown, "warnings": warnings})
        return
    rows = [
        [
            rule.name,
            "yes" if rule.is_enabled else "no",
            rule.scope,
            "; ".join(rule.actions),
            "yes" if rule.touches(place.folder) else "no",
        ]
        for rule in rules
    ]
    if rows:
        title = f"Lifecycle of s3://{place.bucket}"
        out.table(title, ["rule", "in force", "for", "does", f"touches {place.folder or 'files'}"], rows)
    else:
        out.line(f"s3://{place.bucket} has no lifecycle rules.")
    for text in warnings:
        out.warn(text)
    if warnings:
        out.hint("holdfast s3 lifecycle apply sets what a project needs")


def _in_use(out: Output, rules: Sequence[Rule], place: Place) -> list[str]:
    """Return which registered versions lie where a rule of ours moves files, if the stores tell."""
    from holdfast.bucket.in_use import versions_in
    from holdfast.bucket.lifecycle import moving_rules, warnings_of_use
    from holdfast.cli.opening import open_existing
    from holdfast.errors import HoldfastError

    if not moving_rules(rules):
        return []
    try:
        return warnings_of_use(rules, versions_in(open_existing(), place))
    except HoldfastError as error:
        out.hint(f"whether a registered version lies where files are moved is not known: {error.message}")
        return []


@app.command("apply")
def apply(
    where: Where = "",
    abort_days: Annotated[int, typer.Option("--abort-days", help="Abort unfinished uploads after so many days.")] = 7,
    noncurrent_days: Annotated[
        int, typer.Option("--noncurrent-days", help="Delete old versions so many days after they were replaced.")
    ] = 30,
    keep_versions: Annotated[
        int, typer.Option("--keep-versions", help="Keep so many of the newest old versions all the same.")
    ] = 0,
    transition: Annotated[
        str, typer.Option("--transition", help="Move files that no registered version uses: STANDARD_IA:30,…")
    ] = "",
    allow_archive: Annotated[
        bool, typer.Option("--allow-archive", help="Classes too from which files must be restored to be read.")
    ] = False,
    profile: Profile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Set what a project needs: unfinished uploads are aborted, and old versions deleted, after some days.

    Current files are never deleted. With --transition, files of experiments move to cheaper classes, except of those
    experiments that a registered model version lies in. Others' rules stay as they are.

    Example: holdfast s3 lifecycle apply --transition STANDARD_IA:30,GLACIER_IR:90
    """
    from holdfast.bucket.lifecycle_plan import Wish, parse_moves
    from holdfast.cli.output import get_output
    from holdfast.cli.s3_place import connect, place_of
    from holdfast.project import open_project

    moves = parse_moves(transition, allow_archive)
    project = open_project(aws_profile=profile)
    place, connection, out = place_of(project.settings, where), connect(project), get_output(json)
    before = _ask(connection, place)
    wish = Wish(place.folder, abort_days, noncurrent_days, keep_versions, moves)
    _carry_out(out, connection, place, before, _with_use(place, wish, before), dry_run, yes)


def _carry_out(
    out: Output, connection: S3Connection, place: Place, before: Lifecycle, wish: Wish, dry_run: bool, yes: bool
) -> None:
    from holdfast.bucket.changing import set_lifecycle
    from holdfast.bucket.lifecycle_plan import plan_rules
    from holdfast.cli.asking import is_sure

    plan = plan_rules(before.rules, wish)
    document: dict[str, Any] = {"bucket": place.bucket, "changes": list(plan.changes), "applied": False}
    if not plan.changes:
        out.data(document) if out.json else out.line(f"The lifecycle of s3://{place.bucket} is as wanted already.")
        return
    for text in plan.changes:
        out.line(text)
    for folder in wish.in_use if wish.moves else ():
        out.hint(f"left where it is, for a registered version uses it: {folder}")
    if not dry_run:
        if not is_sure(f"Set the lifecycle of s3://{place.bucket}?", yes):
            raise typer.Exit(1)
        set_lifecycle(connection, place.bucket, plan, before)
        document["applied"] = True
    if out.json:
        out.data(document)
    else:
        out.line("Nothing was changed (--dry-run)." if dry_run else "Done, and read back.")


def _ask(connection: S3Connection, place: Place) -> Lifecycle:
    from holdfast.bucket.posture import ask_whole_lifecycle
    from holdfast.errors import ArtifactError

    answer = ask_whole_lifecycle(connection, place.bucket)
    if answer.value is not None:
        return answer.value
    if answer.why_not == "denied":
        raise ArtifactError(
            f"The key may not ask for the lifecycle of s3://{place.bucket}: it takes {answer.action}.",
            "run it with keys that may ask (--profile NAME); changing it takes s3:PutLifecycleConfiguration",
        )
    raise ArtifactError(
        f"The server of s3://{place.bucket} has no lifecycle rules.", "delete by age with the server's own means"
    )


def _with_use(place: Place, wish: Wish, before: Lifecycle) -> Wish:
    """Return the wish with what registered versions use, where a rule moves files or shall."""
    from dataclasses import replace

    from holdfast.bucket.in_use import find_use
    from holdfast.bucket.lifecycle_plan import moves_files
    from holdfast.cli.opening import open_existing

    if not wish.moves and not moves_files(before.rules):
        return wish
    use = find_use(open_existing(), place)
    return replace(wish, unused=use.unused, in_use=use.in_use)
