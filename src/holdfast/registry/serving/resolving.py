"""From a name and a stage to a version and the checksum of its files, also while the registry does not answer."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.backend.entities import ModelVersion
from holdfast.core.ledger import Ledger
from holdfast.core.names import check_alias, check_model_name, check_version
from holdfast.core.stages import Stage, parse_stage
from holdfast.errors import BackendUnavailableError, HistoryError, InvalidInputError, NotFoundError, RegistryError
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.registry.history.book import Book, Histories
from holdfast.registry.lookup import find_version, with_stage
from holdfast.registry.serving.last_known import Known, recall, remember
from holdfast.registry.serving.model_cache import ModelCache

_log = get_logger(__name__)


@dataclass(frozen=True)
class Resolved:
    """A version that was asked for.

    Attributes:
        version: The version.
        checksum: Of its files when it was registered (`core.manifest`); empty where nobody recorded it.
        seen_at: When the registry said so, where it does not answer now; else empty.
    """

    version: ModelVersion
    checksum: str
    seen_at: str = ""


def wanted_of(stage: str | Stage | None, alias: str | None, version: int | str | None) -> int | str:
    """Return what is meant, in the one form that `find_version` takes.

    Raises:
        InvalidInputError: More than one is given, or one has a form that cannot be.
    """
    given = {"stage": stage, "alias": alias, "version": version}
    names = [key for key, value in given.items() if value is not None]
    if len(names) > 1:
        raise InvalidInputError(f"{' and '.join(names)} are given.", "give one of stage, alias and version")
    if alias is not None:
        return f"@{check_alias(alias.removeprefix('@') if isinstance(alias, str) else alias)}"
    if version is not None:
        is_latest = isinstance(version, str) and version.strip().lower() == "latest"
        return "latest" if is_latest else check_version(version)
    return parse_stage(stage if stage is not None else Stage.PRODUCTION).value


def resolve(project: Project, name: str, wanted: int | str, cache: ModelCache | None = None) -> Resolved:
    """Find the version that is meant, and what its files are.

    Args:
        project: Whose registry.
        name: The registered model.
        wanted: A number, a stage, `@alias` or `latest`.
        cache: What remembers the answer for when the registry does not answer.

    Raises:
        NotFoundError: There is none.
        RegistryError: It is not ready.
        BackendUnavailableError: The registry does not answer, and nothing is remembered whose files are kept.
    """
    check_model_name(name)
    try:
        found = current_version(project, name, wanted)
        check_servable(found)
        checksum = registered_checksum(project, found)
    except BackendUnavailableError as error:
        known = recall(cache, project, name, wanted) if cache is not None else None
        if known is None:
            raise
        return _as_it_was(known, wanted, error)
    if cache is not None and checksum:
        remember(cache, project, wanted, found, checksum)
    return Resolved(found, checksum)


def current_version(project: Project, name: str, wanted: int | str) -> ModelVersion:
    """Return the version that is meant now; one request for a number, an alias, Staging and Production.

    Where the alias of a stage is not set, MLflow's own stage and the tag decide, as ever.

    Raises:
        NotFoundError: There is none.
    """
    alias = {stage.value: stage.alias for stage in Stage}.get(str(wanted))
    found = project.models.find_by_alias(name, alias) if alias is not None else None
    return with_stage(found) if found is not None else find_version(project, name, wanted)


def registered_checksum(project: Project, version: ModelVersion) -> str:
    """Return the checksum that a version was registered with; empty where its history does not say.

    A history that cannot be read keeps nobody from loading: a warning says that nothing could be compared.
    """
    return ledger_of(project, version.name).version(version.version).checksum


def ledger_of(project: Project, name: str) -> Ledger:
    """Return what a model's history says is so; an empty one, with a warning, where it cannot be read."""
    book = book_of(project, name)
    return Ledger() if book is None else book.ledger


def book_of(project: Project, name: str) -> Book | None:
    """Return a model's history; None where it has none, or, with a warning, where it cannot be read."""
    try:
        model = project.models.find_model(name)
        return None if model is None else Histories(project).find(model)
    except (HistoryError, NotFoundError) as error:
        _log.warning(
            "a model's files are not compared with what was registered: its history cannot be read",
            model=name,
            problem=error.message,
            hint=error.hint,
        )
        return None


def check_servable(version: ModelVersion) -> None:
    """Check that a version's registration is over, and went well.

    Raises:
        RegistryError: It is PENDING_REGISTRATION or FAILED_REGISTRATION.
    """
    if version.status == "READY":
        return
    hint = "register it again" if version.status.startswith("FAILED") else "wait until it is registered, or do so again"
    raise RegistryError(f"{version.name} version {version.version} is {version.status}, not READY.", hint)


def _as_it_was(known: Known, wanted: int | str, error: BackendUnavailableError) -> Resolved:
    _log.warning(
        "the registry does not answer; what was meant when it last did is taken from the cache",
        model=known.version.name,
        wanted=wanted,
        version=known.version.version,
        seen_at=known.seen_at,
        problem=error.message,
    )
    return Resolved(known.version, known.checksum, known.seen_at)
