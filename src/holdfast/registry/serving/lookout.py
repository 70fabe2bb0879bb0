"""Looking which version is in a stage, without loading it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from holdfast.backend.entities import ModelVersion
from holdfast.backend.reach import check_listening
from holdfast.core.names import check_model_name
from holdfast.core.stages import Stage, parse_stage
from holdfast.errors import HoldfastError, InvalidInputError, NotFoundError
from holdfast.project import Project
from holdfast.registry.serving.resolving import current_version, wanted_of

LONGEST_S = 60.0
"""However long an outage lasts, a look is taken this often, in seconds (or each interval, where that is longer)."""


@dataclass(frozen=True)
class Sighting:
    """What a look found.

    Attributes:
        version: The version that is there now; None where there is none.
        problem: Why nothing could be seen, said once for each outage; None where something was.
    """

    version: ModelVersion | None
    problem: HoldfastError | None = None


class Lookout:
    """Looks which version is in a stage, ever more rarely while the registry does not answer.

    Args:
        project: Whose registry.
        name: The registered model.
        wanted: A stage that holds one version, or `@alias`.
        interval_s: Seconds between two looks.

    Attributes:
        pause_s: Seconds until the next look.
        is_out: Whether the last look failed.
    """

    def __init__(self, project: Project, name: str, wanted: str, interval_s: float) -> None:
        self._project, self._name, self._wanted = project, check_model_name(name), wanted
        self.interval_s = self.pause_s = checked_interval(interval_s)
        self.is_out = False

    def look(self) -> Sighting | None:
        """Look once; None where it failed as it did the last time. `pause_s` says when to look again.

        Registries over HTTP are first asked whether anybody listens there: MLflow would try for minutes.
        """
        try:
            check_listening(self._project.connection.registry_uri, "")
            found: ModelVersion | None = current_version(self._project, self._name, self._wanted)
        except NotFoundError:
            found = None
        except HoldfastError as error:
            self.pause_s = min(self.pause_s * 2, max(LONGEST_S, self.interval_s))
            was_out, self.is_out = self.is_out, True
            return None if was_out else Sighting(None, error)
        self.pause_s, self.is_out = self.interval_s, False
        return Sighting(found)

    def changes(self, pause: Callable[[float], object] = time.sleep) -> Iterator[Sighting]:
        """Yield what is there first, each change of it, and each outage when it begins; never ends by itself.

        Args:
            pause: Waits for so many seconds.
        """
        last: int | None = -1
        while True:
            seen = self.look()
            if seen is not None and (seen.problem is not None or _number(seen.version) != last):
                last = last if seen.problem is not None else _number(seen.version)
                yield seen
            pause(self.pause_s)


def followed(stage: str | Stage | None = None, alias: str | None = None) -> str:
    """Return what is to be followed: Staging, Production (if nothing is given) or `@alias`.

    Raises:
        InvalidInputError: The stage holds many versions, or a name has a form that cannot be.
    """
    wanted = str(wanted_of(stage, alias, None))
    if not wanted.startswith("@") and not parse_stage(wanted).holds_one:
        raise InvalidInputError(
            f"{wanted} may hold many versions, so it cannot be followed.", "follow Staging, Production or an alias"
        )
    return wanted


def checked_interval(interval_s: object) -> float:
    """Return the seconds between two looks.

    Raises:
        InvalidInputError: They are no number above 0.
    """
    if isinstance(interval_s, int | float) and not isinstance(interval_s, bool) and 0 < interval_s < 1e6:
        return float(interval_s)
    raise InvalidInputError(f"{interval_s!r} is no time between two looks.", "give seconds, more than 0")


def _number(version: ModelVersion | None) -> int | None:
    return None if version is None else version.version
