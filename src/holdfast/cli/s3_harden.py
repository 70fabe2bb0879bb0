"""`holdfast s3 harden`: a bucket that one can answer for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.s3_place import DryRun, Json, Profile, Where, Yes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.bucket.hardening import Step, Target
    from holdfast.cli.output import Output

_MARKS = {"right": "is right", "to do": "to do", "left": "left", "failed": "FAILED", "done": "done"}


def harden(
    where: Where = "",
    log_bucket: Annotated[
        str | None, typer.Option("--log-bucket", help="Log accesses to this bucket, of the same region and account.")
    ] = None,
    log_prefix: Annotated[
        str | None, typer.Option("--log-prefix", help="What the logs' names begin with; the bucket's name by default.")
    ] = None,
    kms_key: Annotated[
        str, typer.Option("--kms-key", help="Encrypt with this KMS key by default; the settings' if not given.")
    ] = "",
    profile: Profile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Close and tidy the bucket: TLS only, no public access, no ACLs, versions, encryption, lifecycle, access logs.

    What is right already stays. What the server lacks, or would lock this project out, is named and left. Each step
    is read back. Needs keys that may change the bucket: a writer's may not (--profile takes others for this once).

    Exit code 1 where a step failed; the others are done all the same.

    Example: holdfast s3 harden --log-bucket my-logs --profile admin
    """
    from holdfast.bucket.hardening import apply_steps, plan_hardening
    from holdfast.cli.asking import is_sure
    from holdfast.cli.output import get_output

    out = get_output(json)
    target = _target(where, log_bucket, log_prefix, kms_key, profile)
    steps = plan_hardening(target)
    is_needed = any(step.state == "to do" for step in steps)
    if is_needed and not dry_run:
        if not yes:
            _show(out, target, steps)
        if not is_sure(f"Do this to s3://{target.place.bucket}?", yes):
            raise typer.Exit(1)
        steps = list(apply_steps(steps))
    _report(out, target, steps, dry_run)
    if any(step.state == "failed" for step in steps):
        raise typer.Exit(1)


def _target(where: str, log_bucket: str | None, log_prefix: str | None, kms_key: str, profile: str | None) -> Target:
    from holdfast.bucket.arns import place_named
    from holdfast.bucket.hardening import Target
    from holdfast.bucket.logs import Logs
    from holdfast.cli.s3_place import connect, place_of
    from holdfast.project import open_project

    project = open_project(aws_profile=profile)
    place, given = place_of(project.settings, where), project.settings.s3_put_arguments
    prefix = f"{place.bucket}/" if log_prefix is None else log_prefix
    return Target(
        connect(project),
        place,
        kms_key or str(given.get("SSEKMSKeyId") or ""),
        str(given.get("ACL") or ""),
        Logs(place_named(log_bucket, setting="--log-bucket").bucket, prefix) if log_bucket is not None else None,
    )


def _show(out: Output, target: Target, steps: Sequence[Step]) -> None:
    rows = [[step.name, _MARKS[step.state], step.says] for step in steps]
    out.table(f"s3://{target.place.bucket}", ["step", "state", "what"], rows)


def _report(out: Output, target: Target, steps: Sequence[Step], dry_run: bool) -> None:
    if out.json:
        shown = [
            {"name": step.name, "state": step.state, "says": step.says, "hint": step.hint or None} for step in steps
        ]
        changed = any(step.state == "done" for step in steps)
        out.data({"bucket": target.place.bucket, "changed": changed, "dry_run": dry_run, "steps": shown})
        return
    _show(out, target, steps)
    for step in steps:
        if step.state == "failed":
            out.error(f"{step.name}: {step.says}", step.hint)
    if not any(step.state in ("to do", "done", "failed") for step in steps):
        out.line("Nothing was to be done.")
