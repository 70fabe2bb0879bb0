"""What the environment says otherwise than `.env`, and wins: the same command does something else in another shell."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pydantic import SecretStr

from holdfast.core.uris import mask_uri
from holdfast.doctor.machine.sources import Sources
from holdfast.settings.layers import Found, Report, lookup, means_the_same, reveal
from holdfast.settings.names import FIELDS

# Those that decide where things go.
_PLACES = ("tracking_uri", "registry_uri", "artifact_root", "s3_endpoint_url", "experiment_name")


@dataclass(frozen=True)
class Override:
    """A setting of `.env` that the environment holds with another value.

    Attributes:
        field: Its name.
        used: What the environment has.
        unused: What `.env` has.
    """

    field: str
    used: Found
    unused: Found

    @property
    def is_place(self) -> bool:
        """Whether it decides where things go."""
        return self.field in _PLACES

    def describe(self) -> str:
        """Return it for people; values of secrets are not shown."""
        name, file = self.used.origin.name, self.unused.origin.path
        if not self.is_place:
            return f"{name} of the environment is used, and not the other one in {file}"
        return f"{name}={_shown(self.used)} of the environment is used, and not {_shown(self.unused)} in {file}"

    def remedy(self) -> str:
        """Return what makes them agree."""
        ours, theirs, file = self.used.origin.name, self.unused.origin.name, self.unused.origin.path
        return f"unset {ours}, or remove {theirs} from {shlex.quote(str(file))}"


def overrides_in(sources: Sources) -> list[Override]:
    """Return the settings that the environment and `.env` disagree about."""
    found = []
    for setting in FIELDS:
        environment, dotenv, both = (
            lookup(setting, layers, Report())
            for layers in ((sources.environment,), (sources.dotenv,), (sources.environment, sources.dotenv))
        )
        is_used = environment is not None and both is not None and both.origin == environment.origin
        if environment and dotenv and is_used and not means_the_same(environment, dotenv):
            found.append(Override(setting.name, environment, dotenv))
    return found


def _shown(found: Found) -> str:
    return "****" if isinstance(found.value, SecretStr) else mask_uri(str(reveal(found.value)).strip())
