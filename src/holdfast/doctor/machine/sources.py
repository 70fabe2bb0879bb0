"""What the sources of the settings hold, each by itself: for checks that must work where settings cannot be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from holdfast.core.uris import secrets_in
from holdfast.settings.dotenv_file import known_values, read_dotenv
from holdfast.settings.folder import ProjectFolder
from holdfast.settings.layers import Layer, Report
from holdfast.settings.names import VARIABLES
from holdfast.settings.pyproject_file import read_pyproject

# Identifiers, which a report shows shortened, and words such as `mlflow`, which it may need.
_NO_SECRET = ("access_key_id", "tracking_username")


@dataclass(frozen=True)
class Sources:
    """Environment, `.env` and pyproject.toml, with what is wrong with the two files.

    Attributes:
        environment: The variables that are settings.
        dotenv: What `.env` holds of them; its `path` is None where no such file is read.
        dotenv_report: What is wrong with it, and with others of its name.
        pyproject: What `[tool.holdfast]` holds.
        pyproject_report: What is wrong with it.
    """

    environment: Layer
    dotenv: Layer
    dotenv_report: Report
    pyproject: Layer
    pyproject_report: Report

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The sources by kind, as the settings are made of them."""
        found = (Layer("argument"), self.environment, self.dotenv, self.pyproject)
        return {layer.kind: layer for layer in found}

    def secrets(self) -> tuple[str, ...]:
        """Return every secret in them, used or not, for hiding; never show the result."""
        found: list[str] = []
        for layer in (self.environment, self.dotenv):
            for name, value in layer.values.items():
                if isinstance(value, SecretStr):
                    found += [value.get_secret_value().strip()] * (VARIABLES[name].name not in _NO_SECRET)
                else:
                    found += secrets_in(str(value).strip())
        return tuple(found)


def read_sources(folder: ProjectFolder, environ: Mapping[str, str]) -> Sources:
    """Return what the sources hold; what is wrong with them is kept, not raised."""
    dotenv_report, pyproject_report = Report(), Report()
    return Sources(
        Layer("environment", known_values(environ)),
        read_dotenv(folder.folders, dotenv_report),
        dotenv_report,
        read_pyproject(folder.pyproject, pyproject_report),
        pyproject_report,
    )
