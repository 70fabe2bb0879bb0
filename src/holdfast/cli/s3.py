"""`holdfast s3`: the bucket behind a project. Each command has a file of its own; they are mounted here."""

from __future__ import annotations

import typer

from holdfast.cli import s3_cost, s3_harden, s3_lifecycle, s3_migrate, s3_policy, s3_usage

app = typer.Typer(
    help="Policies, lifecycle, hardening, costs of the project's bucket, and moving it.", no_args_is_help=True
)


@app.callback()
def _s3() -> None:
    """Policies, lifecycle, hardening, costs of the project's bucket, and moving it."""


app.command("usage")(s3_usage.usage)
app.command("cost")(s3_cost.cost)
app.command("migrate")(s3_migrate.migrate)
app.command("policy")(s3_policy.policy)
app.command("bucket-policy")(s3_policy.bucket_policy)
app.add_typer(s3_lifecycle.app, name="lifecycle")
app.command("harden")(s3_harden.harden)
