"""Credentials by MLflow workspace, for a server that passes files on for several teams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from holdfast.core.uris import expand_home
from holdfast.errors import CredentialsError
from holdfast.settings.choice import choose_credentials
from holdfast.settings.credentials import Credentials, Role
from holdfast.settings.dotenv_file import read_file
from holdfast.settings.layers import Layer, Report
from holdfast.settings.model import Settings

DEFAULT = "default"
_OTHERS = "*"


def credentials_of_workspace(settings: Settings, workspace: str | None) -> Credentials:
    """Return the credentials of a workspace by `[tool.holdfast.workspaces]`: `aws-profile`, `env-file` or `role-arn`.

    Where the table is empty all workspaces use the project's. Where it is not, a workspace that it does not name,
    nor `"*"`, has none; only the default one falls back on the project's.

    Args:
        settings: The server's settings.
        workspace: Its name; None for the default one.

    Raises:
        CredentialsError: It has none, or they cannot be used. The env-file is read each time.
    """
    name = workspace or DEFAULT
    entry = settings.workspaces.get(name) or settings.workspaces.get(_OTHERS)
    if entry is None:
        if not settings.workspaces or name == DEFAULT:
            return settings.credentials
        raise CredentialsError(
            f"Workspace {name} has no credentials.", f"add [tool.holdfast.workspaces.{name}] or one for '*'"
        )
    base = _base(settings, name, entry)
    arn = entry.get("role-arn")
    if arn is None:
        return replace(base, origin=f"workspace {name}: {base.origin}")
    session = settings.credentials.role.session_name if settings.credentials.role else f"holdfast-{name}"[:64]
    role = Role(arn, entry.get("external-id"), session, sts_endpoint_url=settings.sts_endpoint_url)
    return replace(base, origin=f"workspace {name}: {base.origin}, role {arn}", role=role)


def _base(settings: Settings, name: str, entry: Mapping[str, str]) -> Credentials:
    if "env-file" not in entry and "aws-profile" not in entry:
        return settings.credentials
    report = Report()
    path = settings.project_root / expand_home(Path(entry["env-file"])) if "env-file" in entry else None
    arguments = {"aws_profile": entry["aws-profile"]} if "aws-profile" in entry else {}
    layers = {
        "argument": Layer("argument", arguments),
        "environment": Layer("environment"),
        "dotenv": Layer("dotenv") if path is None else read_file(path, report),
        "pyproject": Layer("pyproject"),
    }
    found, _ = choose_credentials(layers, report)
    if report.problems or found.kind == "chain":
        why = report.problems[0].message if report.problems else f"{path} holds no keys and no profile."
        raise CredentialsError(
            f"Workspace {name} has no usable credentials: {why}", f"mend [tool.holdfast.workspaces.{name}]"
        )
    return replace(found, region=settings.region)
