"""`holdfast gc --schedule`: prints what does it by itself, and warns of what will not be there when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.cli.gc_asked import Options
    from holdfast.settings import Row, Settings

# Settings that say which store is cleaned up, where its files are, and by what right.
_NEEDED = (
    *("tracking_uri", "registry_uri", "backend_store_uri", "artifact_root", "artifacts_destination", "workspaces"),
    *("tracking_username", "tracking_password", "tracking_token", "journal"),
    *("access_key_id", "secret_access_key", "session_token", "aws_profile", "region"),
    *("role_arn", "external_id", "role_session_name", "web_identity_token_file", "sts_endpoint_url"),
    *("s3_endpoint_url", "s3_ignore_tls", "s3_ca_bundle", "s3_addressing_style", "s3_checksums", "s3_bucket_owner"),
)
_KEYS = ("access_key_id", "secret_access_key", "session_token")
# What boto3 looks up by itself, where no keys are set.
_CHAIN = (
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
)


def print_schedule(options: Options, json: bool) -> None:
    """Print a line for cron and a CronJob that do what was asked."""
    from holdfast.cli.gc_asked import program
    from holdfast.cli.output import get_output
    from holdfast.maintenance.schedule import cron_line, kubernetes_cronjob

    arguments = options.as_arguments()
    line, manifest = cron_line(program(), str(Path.cwd()), arguments), kubernetes_cronjob(arguments)
    out = get_output(json)
    if names := _only_here(options):
        out.warn(
            f"{', '.join(names)}: set in this shell alone, and neither cron nor the CronJob has it; without it they "
            "may clean up another store. Put it into .env, and that into the Secret"
        )
    if json:
        out.data({"cron": line, "kubernetes": manifest})
        return
    out.line(f"# For crontab -e, without the # before it:\n# {line}\n---\n{manifest.rstrip()}")
    if options.retention:
        out.hint("put the pyproject.toml with the rules into /work of the image")
    out.hint("fill in the image, and make the Secret: kubectl create secret generic holdfast-gc --from-env-file .env")


def _only_here(options: Options) -> list[str]:
    """Return the variables of this shell without which a needed setting would be another one; never their values."""
    from holdfast.errors import HoldfastError
    from holdfast.settings import load_settings

    given: dict[str, Any] = {
        "tracking_uri": options.tracking_uri,
        "backend_store_uri": options.backend_store_uri,
        "artifacts_destination": options.artifacts_destination,
    }
    here = load_settings(**given)
    try:
        there = load_settings(environ={}, **given)
    except HoldfastError:  # what the files say is whole only together with this shell
        there = None
    rows = [row for row in here.describe() if row.field in _NEEDED and row.origin.kind == "environment"]
    names = [_variable(row) for row in rows if there is None or _value(here, row.field) != _value(there, row.field)]
    if here.credentials.kind == "chain":
        names += [name for name in _CHAIN if os.environ.get(name)]
    return list(dict.fromkeys(names))


def _value(settings: Settings, field: str) -> object:
    if field == "aws_profile":
        return settings.credentials.profile
    return getattr(settings.credentials if field in _KEYS else settings, field)


def _variable(row: Row) -> str:
    # Keys come as a whole: MLFLOW_AWS_*.
    return row.origin.name.removesuffix("*") + row.field.upper() if row.origin.name.endswith("*") else row.origin.name
