"""`holdfast s3 migrate`: moves what is stored to another root, and MLflow's records with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.s3_usage import Json, size

if TYPE_CHECKING:
    from holdfast.bucket.migration.moving import Migration, Outcome, Survey
    from holdfast.bucket.migration.plan import LeftOut
    from holdfast.bucket.migration.reaching import Unreadable
    from holdfast.cli.output import Output

_AT_MOST = 20


def migrate(
    to: Annotated[str, typer.Option("--to", help="The new root: s3://bucket/prefix, or a folder.")],
    source: Annotated[str, typer.Option("--from", help="The old root; the project's artifact root if not given.")] = "",
    experiment: Annotated[
        list[str] | None, typer.Option("--experiment", "-e", help="Move this one only; may be given several times.")
    ] = None,
    to_env: Annotated[
        Path | None, typer.Option("--to-env", help="A file like .env with the keys and the endpoint of the new place.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace other content under the same names at the new place.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be moved, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Move experiments' files to another root, compare every byte, and have MLflow look for them there.

    Local to S3, S3 to local, bucket to bucket. Everything is copied and read back first; then all locations are
    rewritten in MLflow's database in one transaction. Nothing is deleted at the old root. A command that was killed
    goes on where it was. Experiments with runs that have not ended, or with files in the journal, are left out.

    Exit codes: 0 all was moved, 1 it failed, or only a database out of reach could be told, 3 some was left out that
    the same command may move later.

    Example: holdfast s3 migrate --to s3://models/team --dry-run
    """
    from holdfast.bucket.migration.moving import Migration, Request
    from holdfast.cli.asking import is_sure
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output

    out = get_output(json)
    migration = Migration(open_existing(), Request(to, source, tuple(experiment or ()), to_env, overwrite))
    survey = migration.survey()
    if not json:
        _show_plan(out, migration, survey)
    if dry_run or not (survey.plan.changes or survey.has_begun):
        _end_early(out, migration, survey, dry_run)
    elif is_sure("Move this?", yes, "Nothing was moved"):
        _end(out, migration, _run(migration))


def _run(migration: Migration) -> Outcome:
    from holdfast.artifacts.progress import meter_for

    meter = meter_for(doing="copy")
    try:
        return migration.run(meter)
    finally:
        meter.end()


def _show_plan(out: Output, migration: Migration, survey: Survey) -> None:
    plan = survey.plan
    counts = [
        [what, f"{count:,}"]
        for what, count in (
            ("experiments", plan.count("experiments")),
            ("runs", plan.count("runs")),
            ("logged models", plan.count("logged_models")),
            ("registered versions", plan.count("model_versions")),
            ("files", survey.files),
            ("of them copied and compared before", survey.copied),
        )
    ]
    out.table(f"{_masked(migration.source.uri)} to {_masked(migration.target.uri)}", ["what", "count"], counts)
    out.line(f"{size(survey.size_bytes)} are to be at the new root")
    _show_left_out(out, plan.left_out)
    _show_skipped(out, survey.skipped)
    if survey.unreadable is not None:
        _warn_unreadable(out, survey.unreadable, "will then be")


def _warn_unreadable(out: Output, found: Unreadable, when: str) -> None:
    out.warn(
        f"the files {when} at {found.place}, which this project's own settings do not reach: {found.why}; no run's "
        "files and no model there can be loaded by them"
    )
    out.hint(found.remedy)


def _show_left_out(out: Output, left_out: Sequence[LeftOut]) -> None:
    rows = [[item.what, item.where, item.why, item.remedy] for item in left_out[:_AT_MOST]]
    if rows:
        more = f" ({len(left_out) - _AT_MOST} more are not shown)" if len(left_out) > _AT_MOST else ""
        out.table(f"Not moved{more}", ["what", "where", "why", "what helps"], rows)


def _show_skipped(out: Output, skipped: Sequence[str]) -> None:
    if skipped:
        out.warn(f"{len(skipped)} things are no files (links to folders, dead links …) and stay: {skipped[0]}")


def _end_early(out: Output, migration: Migration, survey: Survey, dry_run: bool) -> None:
    for_now = any(item.is_for_now for item in survey.plan.left_out)
    out.data(_document(migration, survey)) if out.json else None
    if not survey.plan.changes:
        out.line("Nothing is to be moved.")
        raise typer.Exit(3 if for_now and not dry_run else 0)
    out.hint("nothing was changed (--dry-run)")


def _end(out: Output, migration: Migration, outcome: Outcome) -> None:
    for_now = [item for item in outcome.left_out if item.is_for_now]
    if out.json:
        out.data(_outcome(migration, outcome))
    else:
        _show_outcome(out, migration, outcome)
    if outcome.unreadable is not None and outcome.status == "moved":
        _warn_unreadable(out, outcome.unreadable, "are now")
    if outcome.status == "copied":
        out.error(
            "Everything is copied and compared, but MLflow still looks at the old place: its API cannot change "
            "locations.",
            f"where the database can be reached: MLFLOW_BACKEND_STORE_URI=postgresql://… {_command(migration)}",
        )
        raise typer.Exit(1)
    if for_now:
        out.warn(f"{for_now[0].what} was left out: {for_now[0].why} ({for_now[0].remedy})")
        raise typer.Exit(3)


def _show_outcome(out: Output, migration: Migration, outcome: Outcome) -> None:
    tally = outcome.tally
    same = f", {tally.unchanged:,} were there already" if tally.unchanged else ""
    out.line(f"{tally.files:,} files ({size(tally.size_bytes)}) were copied and compared{same}")
    if tally.mended:
        out.warn(f"{tally.mended:,} copies had arrived damaged; they were stored anew and compared again")
    out.line(f"{outcome.rows:,} locations were rewritten")
    _show_left_out(out, [item for item in outcome.left_out if item.is_for_now])
    _show_skipped(out, outcome.skipped)
    if tally.gone:
        out.warn(f"{len(tally.gone):,} files went from the old place meanwhile; their copies are kept: {tally.gone[0]}")
    if tally.late:
        out.warn(
            f"{len(tally.late):,} files changed at both places since the locations were rewritten; those at the new "
            f"one are kept: {tally.late[0]}"
        )
    for column, count in outcome.mentions.items():
        out.hint(f"{count:,} texts in {column} still name the old place; they are history and were left")
    if outcome.left_since:
        out.hint(
            f"{outcome.left_files:,} files ({size(outcome.left_bytes)}) are still at the old root; "
            f"nothing refers to them since {outcome.left_since}"
        )
    if outcome.status == "moved":
        out.hint(f"for new experiments: set MLFLOW_ARTIFACT_ROOT={_masked(migration.target.uri)}{_keys(migration)}")


def _keys(migration: Migration) -> str:
    env = migration.request.to_env
    return "" if env is None else f", and the keys and the endpoint of {env}, in the project's .env"


def _command(migration: Migration) -> str:
    import shlex

    request = migration.request
    parts = ["holdfast", "s3", "migrate", "--from", migration.source.uri, "--to", migration.target.uri]
    parts += [part for name in request.experiments for part in ("--experiment", name)]
    parts += ["--to-env", str(request.to_env)] if request.to_env else []
    return shlex.join([*parts, "--yes"])


def _document(migration: Migration, survey: Survey) -> dict[str, Any]:
    plan = survey.plan
    return {
        "status": "planned",
        "from": _masked(migration.source.uri),
        "to": _masked(migration.target.uri),
        "experiments": plan.experiments,
        "runs": plan.count("runs"),
        "logged_models": plan.count("logged_models"),
        "versions": plan.count("model_versions"),
        "locations": len(plan.changes),
        "files": survey.files,
        "bytes": survey.size_bytes,
        "copied_before": survey.copied,
        "left_out": [asdict(item) for item in plan.left_out],
        "skipped": list(survey.skipped),
        "own_settings": _own_settings(survey.unreadable),
    }


def _outcome(migration: Migration, outcome: Outcome) -> dict[str, Any]:
    tally = outcome.tally
    return {
        "status": outcome.status,
        "from": _masked(migration.source.uri),
        "to": _masked(migration.target.uri),
        "files": tally.files,
        "bytes": tally.size_bytes,
        "unchanged": tally.unchanged,
        "mended": tally.mended,
        "gone": tally.gone,
        "late": tally.late,
        "locations": outcome.rows,
        "left_out": [asdict(item) for item in outcome.left_out],
        "skipped": outcome.skipped,
        "mentions": outcome.mentions,
        "own_settings": _own_settings(outcome.unreadable),
        "at_old_root": {
            "files": outcome.left_files,
            "bytes": outcome.left_bytes,
            "unused_since": outcome.left_since or None,
        },
    }


def _own_settings(found: Unreadable | None) -> dict[str, Any]:
    """Say whether the project's own settings reach the new place."""
    if found is None:
        return {"reach_new_root": True}
    return {"reach_new_root": False, "why": found.why, "remedy": found.remedy}


def _masked(uri: str) -> str:
    from holdfast.core.uris import mask_uri

    return mask_uri(uri)
