"""`load_settings`: read the sources, let the first one that knows win, check everything, report at once."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from holdfast.core.uris import mask_passwords_in
from holdfast.errors import CredentialsError, HoldfastError, InvalidInputError, SettingsError
from holdfast.settings.aws_files import region_of_profile
from holdfast.settings.choice import choose_credentials
from holdfast.settings.credentials import Credentials, Role
from holdfast.settings.dotenv_file import known_values, read_dotenv
from holdfast.settings.folder import ProjectFolder, find_project_folder
from holdfast.settings.layers import Found, Layer, Origin, Report, lookup, pick, reveal
from holdfast.settings.model import Settings, default_artifact_root
from holdfast.settings.names import BY_NAME, FIELDS, KEYWORDS, closest
from holdfast.settings.pyproject_file import read_pyproject
from holdfast.settings.tracking_login import choose_login
from holdfast.settings.values import PARSERS, Where

_DEFAULT_REGION = "us-east-1"
_WITH_A_ROLE = ("external_id", "role_session_name", "web_identity_token_file")
_ELSEWHERE = ("region", "aws_profile")  # settled together with the credentials


@dataclass
class _Draft:
    """What is known so far on the way to `Settings`."""

    root: Path
    layers: Mapping[str, Layer]
    report: Report
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    origins: dict[str, Origin] = field(default_factory=dict)

    def settle(self, name: str, found: Found | None) -> None:
        """Check a found value and keep it with its origin."""
        if found is None:
            return
        label = found.origin.name
        if found.origin.kind == "pyproject":
            label = f"tool.holdfast.{label}"
        try:
            self.values[name] = PARSERS[name](found.value, Where(label, self.root))
        except InvalidInputError as error:
            source = found.origin.path or self.layers[found.origin.kind].title
            self.report.refuse(f"{error.message} (from {source})", error.hint)
        self.origins[name] = found.origin


def load_settings(
    *, start: Path | None = None, environ: Mapping[str, str] | None = None, **arguments: object
) -> Settings:
    """Return the settings from arguments, environment, `.env`, pyproject.toml and defaults, in this order.

    Nothing is written to `os.environ`, and boto3 is not touched. Relative paths (also in
    `sqlite:///mlflow.db`) are taken from the project's root, whatever the working directory.

    Args:
        start: The folder where the search for the project, its `.env` and pyproject.toml begins; the
            working directory by default.
        environ: Read instead of `os.environ`, once.
        **arguments: Fields of `Settings`, or the AWS keys: `access_key_id`, `secret_access_key`,
            `session_token`, `aws_profile` (and the aliases `s3_access_key_id`, `s3_secret_access_key`,
            `artifact_uri`). None counts as not given.

    Raises:
        InvalidInputError: An argument is unknown, or `start` does not exist.
        SettingsError: Settings are malformed, or contradict each other; all problems are told together.
        CredentialsError: AWS credentials are incomplete, and nothing else is wrong.
    """
    layer = _argument_layer(arguments)
    # No secret stays in this frame, whose variables a crash reporter may print.
    arguments = {}
    draft = _read(layer, find_project_folder(start), os.environ if environ is None else environ)
    environ = None
    if draft.report.problems:
        raise _error(draft.report)
    return Settings(
        **draft.values,
        project_root=draft.root,
        notices=tuple(draft.report.notices),
        origins=draft.origins,
    )


def peek(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return what the sources say for one setting, unchecked, without looking at the others; None where it is not set.

    For code that must not fail over settings of a project that does not use Holdfast.

    Args:
        name: A field of `Settings` that is no secret.
        environ: Read instead of `os.environ`.
    """
    project, report = find_project_folder(None), Report()
    sources = (
        Layer("environment", known_values(os.environ if environ is None else environ)),
        read_dotenv(project.folders, report),
        read_pyproject(project.pyproject, report),
    )
    found = lookup(BY_NAME[name], sources, report)
    return None if found is None else str(found.value).strip()


def _argument_layer(arguments: Mapping[str, object]) -> Layer:
    for name in arguments:
        if name not in KEYWORDS:
            guess = closest(name, list(KEYWORDS))
            raise InvalidInputError(
                f"load_settings() has no argument {name!r}.",
                f"did you mean {guess!r}?" if guess else f"the arguments are {', '.join(KEYWORDS)}",
            )
    return Layer("argument", {name: _sealed(name, value) for name, value in arguments.items()})


def _sealed(name: str, value: object) -> object:
    return SecretStr(value) if KEYWORDS[name].is_secret and isinstance(value, str) else value


def _read(arguments: Layer, project: ProjectFolder, environ: Mapping[str, str]) -> _Draft:
    report = Report()
    sources = (
        arguments,
        Layer("environment", known_values(environ)),
        read_dotenv(project.folders, report),
        read_pyproject(project.pyproject, report),
    )
    draft = _Draft(project.root, {layer.kind: layer for layer in sources}, report)
    for setting in FIELDS:
        if not setting.is_secret and setting.name not in _ELSEWHERE:
            draft.settle(setting.name, lookup(setting, sources, report))
    _settle_storage(draft)
    choose_login(draft.layers, report, draft.values, draft.origins)
    _settle_webhook_secret(draft)
    _settle_credentials(draft, environ)
    return draft


def _settle_storage(draft: _Draft) -> None:
    values = draft.values
    # Not MLflow's "Default": that is made with the database, its files in ./mlruns whatever the settings say.
    values.setdefault("experiment_name", draft.root.name or "Default")
    values.setdefault("tracking_uri", f"sqlite:///{(draft.root / 'mlflow.db').as_posix()}")
    values["artifact_root_is_configured"] = "artifact_root" in values
    values.setdefault("artifact_root", default_artifact_root(values["tracking_uri"], draft.root))
    bundle = values.get("s3_ca_bundle")
    if bundle is not None and not os.path.exists(bundle):
        draft.report.note(f"{draft.origins['s3_ca_bundle']} names {bundle}, which does not exist.")


def _settle_webhook_secret(draft: _Draft) -> None:
    sources = (draft.layers["argument"], draft.layers["environment"], draft.layers["dotenv"])
    found = lookup(BY_NAME["webhook_secret"], sources, draft.report)
    if found is not None:
        draft.values["webhook_secret"] = SecretStr(str(reveal(found.value)).strip())
        draft.origins["webhook_secret"] = found.origin


def _settle_credentials(draft: _Draft, environ: Mapping[str, str]) -> None:
    credentials, origin = choose_credentials(draft.layers, draft.report)
    draft.origins["credentials"] = origin
    found = lookup(BY_NAME["region"], draft.layers.values(), draft.report)
    if found is None:
        found = _region_of_profile(credentials, draft, environ)
    draft.settle("region", found)
    region = draft.values.setdefault("region", _DEFAULT_REGION)
    role = _role(draft, credentials)
    origin_text = f"{credentials.origin}, role {role.arn}" if role else credentials.origin
    draft.values["credentials"] = replace(credentials, origin=origin_text, region=region, role=role)


def _role(draft: _Draft, credentials: Credentials) -> Role | None:
    """Return the role to assume; what belongs to one and stands alone is refused."""
    values = draft.values
    arn, token_file = values.get("role_arn"), values.get("web_identity_token_file")
    if arn is None:
        alone = [draft.origins[name].name for name in _WITH_A_ROLE if name in values]
        if alone:
            draft.report.refuse(
                f"{' and '.join(alone)} belong to a role, and none is set.", "set MLFLOW_AWS_ROLE_ARN", True
            )
        return None
    if token_file is not None and credentials.kind == "project":
        draft.report.refuse(
            f"{draft.origins['web_identity_token_file'].name} and the project's own keys are both set.",
            "keep one of them to assume the role with",
            True,
        )
    name = values.get("role_session_name") or _session_name()
    return Role(arn, values.get("external_id"), name, token_file, values.get("sts_endpoint_url"))


def _session_name() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = ""
    return re.sub(r"[^\w+=,.@-]", "-", f"holdfast-{user}".rstrip("-"))[:64]


def _region_of_profile(credentials: Credentials, draft: _Draft, environ: Mapping[str, str]) -> Found | None:
    profile = _profile_to_ask(credentials, draft)
    known = region_of_profile(profile, environ, draft.report) if profile else None
    return Found(known[0], Origin("profile", str(profile), known[1])) if known else None


def _profile_to_ask(credentials: Credentials, draft: _Draft) -> str | None:
    """Return the profile whose region counts: the project's, or for global keys the one boto3 would take.

    A project's own keys do not take the region of a profile that belongs to other programs.
    """
    if credentials.profile:
        return credentials.profile
    own = lookup(BY_NAME["aws_profile"], draft.layers.values(), Report())
    if own is not None:
        return str(own.value)
    if credentials.kind == "project":
        return None
    general = pick(draft.layers["environment"], ("AWS_PROFILE",), Report())
    return str(general.value) if general else "default"


def _error(report: Report) -> HoldfastError:
    kind = CredentialsError if all(problem.is_about_credentials for problem in report.problems) else SettingsError
    problems = [(mask_passwords_in(p.message), mask_passwords_in(p.hint)) for p in report.problems]
    if len(problems) == 1:
        return kind(*problems[0])
    lines = [
        f"{i}. {message}" + (f"\n     hint: {hint}" if hint else "") for i, (message, hint) in enumerate(problems, 1)
    ]
    return kind(f"{len(problems)} settings cannot be used:\n  " + "\n  ".join(lines))
