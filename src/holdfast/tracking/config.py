"""The project's MLflow configuration, as a script prints it and sets it up."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import Any

from holdfast.backend import fluent
from holdfast.backend.probe import ExperimentPlace, find_experiment_place
from holdfast.core.uris import mask_uri, scheme_of
from holdfast.logs import get_logger
from holdfast.project import Project, open_project
from holdfast.settings import Settings, load_settings

_log = get_logger(__name__)


class MLflowConfig:
    """Settings, and where the experiment's files really go.

    An experiment keeps the artifact root it was created with, and a server may decide it; what the
    settings say is only what a *new* experiment would get. Printing the configuration asks the
    tracking store (for two seconds at most, changing nothing) and says where they differ.

    Args:
        settings: The project's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._project = Project(settings)

    @property
    def tracking_uri(self) -> str:
        """The tracking URI, with its password if it has one; printing the configuration masks it."""
        return self.settings.tracking_uri

    @property
    def artifact_root(self) -> str | None:
        """The configured artifact root; None leaves it to the server."""
        return self.settings.artifact_root

    @property
    def s3_endpoint_url(self) -> str | None:
        """The S3 server, where it is not AWS."""
        return self.settings.s3_endpoint_url

    @property
    def use_s3(self) -> bool:
        """Whether files go to S3: by the experiment's own root where it can be asked, else by the settings."""
        return scheme_of(self.storage.location or self.settings.artifact_root or "") == "s3"

    @property
    def aws_access_key_id(self) -> str | None:
        """The key in force, or None where boto3 finds one by itself."""
        return self.settings.credentials.access_key_id

    @property
    def aws_secret_access_key(self) -> Any:
        """Its secret, wrapped so that printing does not show it (`get_secret_value()`), or None."""
        return self.settings.credentials.secret_access_key

    @property
    def aws_region(self) -> str:
        """The AWS region."""
        return self.settings.region

    @cached_property
    def storage(self) -> ExperimentPlace:
        """Where the experiment keeps its files, asked once."""
        return find_experiment_place(self.settings.tracking_uri, self.settings.experiment_name, self._project.redact)

    def __str__(self) -> str:
        actual = self.storage.location
        lines = str(self.settings).splitlines()
        if actual is not None:
            lines = [_storage_line(line, actual) for line in lines]
            lines += self._difference(actual)
        elif self.storage.reason != "not created yet":
            lines.append(f"  Note: the experiment's storage could not be asked; {self.storage.reason}.")
        return "\n".join(lines)

    def _difference(self, actual: str) -> list[str]:
        if not self.settings.is_elsewhere(actual):
            return []
        configured = mask_uri(self.settings.artifact_root or "")
        return [
            f"  Note: experiment {self.settings.experiment_name!r} keeps its files in {mask_uri(actual)},",
            f"    the root it was created with, not in {configured}.",
            "    To use that one, set another MLFLOW_EXPERIMENT_NAME.",
        ]

    def __repr__(self) -> str:
        return f"MLflowConfig({self.settings!r})"


def _storage_line(line: str, actual: str) -> str:
    head, colon, _ = line.partition(":")
    return f"{head}{colon} {storage_type(actual)}" if head.strip() == "Storage Type" else line


def storage_type(location: str) -> str:
    """Return `S3 (Remote)`, `Local`, `Proxied by the tracking server`, or the cloud's scheme, for an artifact URI."""
    names = {"s3": "S3 (Remote)", "mlflow-artifacts": "Proxied by the tracking server", "": "Local", "file": "Local"}
    scheme = scheme_of(location)
    return names.get(scheme, f"{scheme} (Remote)")


def get_mlflow_config(**arguments: Any) -> MLflowConfig:
    """Return the project's configuration, read from arguments, environment, `.env` and pyproject.toml.

    `print(get_mlflow_config())` shows it with secrets masked.

    Raises:
        SettingsError: A setting is not valid.
    """
    return MLflowConfig(load_settings(**arguments))


def setup_mlflow(verbose: bool = True, **arguments: Any) -> MLflowConfig:
    """Point `mlflow.*` in this process at the project's stores and experiment.

    The process environment is not changed; a child process calls this itself.

    Args:
        verbose: Print the configuration.
        arguments: Settings by name that win over every source.

    Raises:
        SettingsError: A setting is not valid.
        BackendUnavailableError: An experiment is configured and the tracking store cannot be reached.
    """
    project = open_project(None, **arguments)
    settings = project.settings
    fluent.point_at(settings.tracking_uri, settings.registry_uri or settings.tracking_uri)
    if settings.origin_of("experiment_name").kind != "default":
        fluent.use_experiment(project.experiment().experiment_id)
    config = MLflowConfig(settings)
    if verbose:
        sys.stdout.write(f"{config}\n")
    for notice in settings.notices:
        _log.warning(notice)
    return config
