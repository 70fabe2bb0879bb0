"""The options of `holdfast gc`: checked, turned into what is asked, and written down again for a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.core.cleanup.plan import Plan
    from holdfast.maintenance.asking import Asked
    from holdfast.project import Project
    from holdfast.settings import Settings

_OF_RULES = ("older_than", "grace", "orphans", "retention", "trash", "experiment", "run_ids")


@dataclass(frozen=True)
class Options:
    """What was given on the command line.

    Attributes:
        older_than: As it was written; None for that of the settings.
        grace: As it was written; None for that of the settings.
        orphans: Whether they are asked.
        retention: Whether the rules of the settings are asked.
        trash: Whether files are only hidden.
        experiments: Names, globs of names, or ids.
        run_ids: Ids with commas between them; None where all are meant.
        tracking_uri: In place of the settings'.
        backend_store_uri: In place of the settings'.
        artifacts_destination: In place of the settings'.
        limit_shown: How many lines of a table are shown; 0 for all.
    """

    older_than: str | None
    grace: str | None
    orphans: bool
    retention: bool
    trash: bool
    experiments: tuple[str, ...]
    run_ids: str | None
    tracking_uri: str | None
    backend_store_uri: str | None
    artifacts_destination: str | None
    limit_shown: int

    @staticmethod
    def of_rules() -> set[str]:
        """Return the names of the parameters that a plan has of its own."""
        return set(_OF_RULES)

    def open(self) -> tuple[Project, Asked]:
        """Return the project, and what is asked of it.

        Raises:
            InvalidInputError: An option has no meaning.
            HoldfastError: As of `open_existing`.
        """
        from holdfast.core.cleanup.rules import CleanupRules
        from holdfast.maintenance.asking import Asked

        self._check()
        project = self._project()
        settings = project.settings
        older_than_s, grace_s = self._ages_s(settings)
        rules = CleanupRules(
            older_than_s=older_than_s,
            grace_s=grace_s,
            orphans=self.orphans,
            trash=self.trash,
            run_ids=self._run_ids(),
        )
        return project, Asked(
            rules, self.experiments, settings.backend_store_uri, settings.artifacts_destination, self.retention
        )

    def open_for(self, plan: Plan) -> tuple[Project, Asked]:
        """Return the project, and what a plan asked of it.

        Raises:
            HoldfastError: As of `open_existing`.
        """
        from holdfast.maintenance.asking import Asked

        self._check()
        project = self._project()
        settings, rules = project.settings, plan.rules
        # The rules that decide on retention are those of the plan, whatever the settings say by now.
        return project, Asked(
            rules, rules.experiment_ids, settings.backend_store_uri, settings.artifacts_destination, retention=False
        )

    def as_arguments(self) -> list[str]:
        """Return the arguments of `holdfast` that do this without asking.

        Raises:
            InvalidInputError: An option has no meaning.
        """
        from holdfast.settings import load_settings

        self._check()
        # Ages are always written down: the settings that say them may not be where the schedule runs.
        older_than_s, grace_s = self._ages_s(load_settings())
        flags = {"--orphans": self.orphans, "--retention": self.retention, "--trash": self.trash}
        values = {"--run-ids": ",".join(self._run_ids()) or None, **self._addresses()}
        return [
            "gc",
            "--apply",
            "--yes",
            f"--older-than={(self.older_than or _written(older_than_s)).strip()}",
            f"--grace={(self.grace or _written(grace_s)).strip()}",
            *(flag for flag, is_given in flags.items() if is_given),
            *(f"--experiment={name}" for name in self.experiments),
            *(f"{option}={value}" for option, value in values.items() if value is not None),
        ]

    def _ages_s(self, settings: Settings) -> tuple[float, float]:
        from holdfast.core.cleanup.ages import parse_age
        from holdfast.core.cleanup.rules import CleanupRules
        from holdfast.maintenance.asking import configured

        said, default = configured(settings), CleanupRules()
        ages = (
            (self.older_than, "--older-than", said.older_than_s, default.older_than_s),
            (self.grace, "--grace", said.grace_s, default.grace_s),
        )
        first, second = (
            parse_age(text, option) if text is not None else by_settings if by_settings is not None else usual
            for text, option, by_settings, usual in ages
        )
        return first, second

    def _run_ids(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.strip() for part in (self.run_ids or "").split(",") if part.strip()))

    def _check(self) -> None:
        """Refuse what means nothing, before anything is opened; an empty variable in a script must not mean all."""
        from holdfast.core.cleanup.ages import parse_age
        from holdfast.errors import InvalidInputError

        if self.older_than is not None:
            parse_age(self.older_than, "--older-than")
        if self.grace is not None:
            parse_age(self.grace, "--grace")
        if self.run_ids is not None and not self._run_ids():
            raise InvalidInputError("--run-ids names no run.", "give ids with commas between them, or leave it out")
        if not all(name.strip() for name in self.experiments):
            raise InvalidInputError("--experiment names none.", "give a name or an id, or leave it out")
        for option, value in self._addresses().items():
            if value is not None and not value.strip():
                raise InvalidInputError(f"{option} is empty.", "give an address, or leave it out")

    def _addresses(self) -> dict[str, str | None]:
        return {
            "--tracking-uri": self.tracking_uri,
            "--backend-store-uri": self.backend_store_uri,
            "--artifacts-destination": self.artifacts_destination,
        }

    def _project(self) -> Project:
        from holdfast.cli.opening import open_existing
        from holdfast.settings import load_settings

        tracking_uri = self.tracking_uri
        if tracking_uri is None and self.backend_store_uri is not None:
            # As of `mlflow gc`: where nothing else names a store, the database is the one that is cleaned up.
            is_default = "tracking_uri" not in load_settings().origins
            tracking_uri = self.backend_store_uri if is_default else None
        project = open_existing(
            tracking_uri=tracking_uri,
            backend_store_uri=self.backend_store_uri,
            artifacts_destination=self.artifacts_destination,
        )
        if self.backend_store_uri is not None:
            _check_database(project.settings)
        return project


def _check_database(settings: Settings) -> None:
    """Refuse two databases of which only one can be meant, and one that is not there.

    Raises:
        InvalidInputError: The tracking store is another database.
        NotFoundError: There is no such file.
    """
    from holdfast.core.uris import is_database, mask_uri, sqlite_path
    from holdfast.errors import InvalidInputError, NotFoundError

    database = settings.backend_store_uri or ""
    if is_database(settings.tracking_uri) and database != settings.tracking_uri:
        said = settings.origins.get("tracking_uri", "the default")
        raise InvalidInputError(
            f"--backend-store-uri names {mask_uri(database)}, and {said} another database as the tracking store, "
            f"{mask_uri(settings.tracking_uri)}.",
            "name the one that is meant with --tracking-uri, and leave --backend-store-uri out",
        )
    path = sqlite_path(database)
    if path is not None and not path.exists():
        raise NotFoundError(f"There is no database {mask_uri(database)}.", "see --backend-store-uri")


def _written(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def program() -> list[str]:
    """Return what `holdfast` is on this machine, by its whole path."""
    import sys
    from pathlib import Path

    command = Path(sys.executable).with_name("holdfast")
    return [str(command)] if command.is_file() else [sys.executable, "-m", "holdfast"]
