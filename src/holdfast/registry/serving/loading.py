"""From a name and a stage to the model in memory: found, fetched with the project's keys, checked, loaded."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.backend.entities import ModelVersion
from holdfast.backend.loading import load_from_folder
from holdfast.backend.model_places import place_of_version
from holdfast.core.stages import Stage
from holdfast.core.uris import expand_home
from holdfast.errors import ArtifactError, InvalidInputError
from holdfast.logs import get_logger
from holdfast.project import Project, open_project
from holdfast.registry.serving.leases import Lease
from holdfast.registry.serving.model_cache import Fetch, ModelCache, checked
from holdfast.registry.serving.resolving import check_servable, resolve, wanted_of
from holdfast.settings import Settings

_log = get_logger(__name__)
# What the disk says where the cache is of no use, and another folder may be.
_NO_USE = {
    errno.errorcode[number]
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
}


def load_model(
    name: str,
    stage: str | Stage | None = None,
    alias: str | None = None,
    version: int | str | None = None,
    *,
    project: Project | None = None,
    settings: Settings | None = None,
    flavor: str = "pyfunc",
    cache: bool | ModelCache = True,
) -> Any:
    """Load a version of a registered model; its Production version if nothing else is said.

    The files are fetched with the project's own keys, and kept on this machine by the checksum that the version was
    registered with: what is there is not fetched again, and what is not what was registered is not loaded. When the
    registry does not answer, what was meant when it last did is loaded from the cache, with a warning. Neither the
    environment nor MLflow's own settings are changed.

    Args:
        name: The registered model.
        stage: The stage, in any case; or
        alias: the alias; or
        version: the number (or `latest`).
        project: Whose registry; that of `settings`, or of the working directory, if not given.
        settings: Settings that were loaded before.
        flavor: `pyfunc` for MLflow's common `predict`, or `sklearn`, `xgboost` … for the object itself.
        cache: Whether to keep files on this machine; or where.

    Raises:
        InvalidInputError: More than one of stage, alias and version is given; or the model has no such flavor.
        NotFoundError: There is no such version.
        RegistryError: It is not ready, its files are not those that were registered, or it cannot be loaded.
        ArtifactError: Its files cannot be fetched.
        BackendUnavailableError: The registry does not answer, and nothing is kept here.
    """
    wanted = wanted_of(stage, alias, version)
    if project is not None and settings is not None:
        raise InvalidInputError("Both project and settings are given.", "leave one of them out")
    place = project if project is not None else open_project(settings)
    return load_wanted(place, name, wanted, flavor=flavor, cache=cache)[0]


def load_wanted(
    project: Project, name: str, wanted: int | str, *, flavor: str = "pyfunc", cache: bool | ModelCache = True
) -> tuple[Any, ModelVersion]:
    """Load the version that is meant now; return it too.

    Args:
        project: Whose registry.
        name: The registered model.
        wanted: A number, a stage, `@alias` or `latest`.
        flavor: As of `load_model`.
        cache: As of `load_model`.

    Raises:
        HoldfastError: As of `load_model`.
    """
    kept = cache_for(project, cache)
    found = resolve(project, name, wanted, kept)
    model = load_version(project, found.version, checksum=found.checksum, flavor=flavor, cache=kept)
    return model, found.version


def load_version(
    project: Project,
    version: ModelVersion,
    *,
    checksum: str = "",
    flavor: str = "pyfunc",
    cache: ModelCache | None = None,
) -> Any:
    """Load a version that was found before. Its files stay as they are for as long as the model lives.

    Args:
        project: Whose registry.
        version: The version.
        checksum: What its files must be; empty where nobody knows: they are fetched anew then.
        flavor: As of `load_model`.
        cache: Where files are kept; None keeps none.

    Raises:
        HoldfastError: As of `load_model`.
    """
    lease = lease_version(project, version, checksum, cache)
    try:
        model = load_from_folder(lease.folder, flavor)
    except BaseException:
        lease.close()
        raise
    lease.keep_with(model)
    return model


def lease_version(
    project: Project, version: ModelVersion, checksum: str = "", cache: ModelCache | None = None
) -> Lease:
    """Return the files of a version on this machine, to be read until the lease is closed.

    Raises:
        RegistryError: The version is not ready, or its files are not those that were registered.
        ArtifactError: They cannot be fetched.
    """
    check_servable(version)

    def fetch(into: Path) -> Path:
        place = place_of_version(project.connection, version.name, version.version)
        return project.artifacts.download(place, "", into)

    if cache is None:
        return _in_passing(fetch, checksum)
    try:
        return cache.lease(checksum, fetch)
    except ArtifactError as error:
        if error.code not in _NO_USE:
            raise
        _log.warning("the model cache cannot be used", cache=str(cache.root), problem=error.message, hint=error.hint)
    return _in_passing(fetch, checksum)


def download_version(
    project: Project, version: ModelVersion, into: Path, *, checksum: str = "", cache: ModelCache | None = None
) -> Path:
    """Put the files of a version into a folder; each stands under its name only when it is whole.

    Raises:
        RegistryError: The version is not ready, or its files are not those that were registered.
        ArtifactError: They cannot be fetched, or not be written there.
    """
    with lease_version(project, version, checksum, cache) as lease:
        try:
            return project.artifacts.download(str(lease.folder), "", into)
        except ArtifactError as error:
            said = error.message.partition(": ")[2] or error.message
            raise ArtifactError(
                f"Cannot put {version.name} version {version.version} into {into}: {said}",
                error.hint,
                error.retryable,
                error.code,
            ) from None


def cache_for(project: Project, wanted: bool | ModelCache) -> ModelCache | None:
    """Return the cache that is meant: that of the project's settings for True, none for False."""
    if isinstance(wanted, ModelCache):
        return wanted
    return cache_of(project.settings) if wanted else None


def cache_of(settings: Settings) -> ModelCache | None:
    """Return the cache of models: HOLDFAST_CACHE, else `holdfast/models` in $XDG_CACHE_HOME or ~/.cache.

    None where nothing is set and the user has no home, as in a container.
    """
    if settings.cache is not None:
        return ModelCache(Path(settings.cache), settings.cache_limit)
    home = expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return ModelCache(home / "holdfast" / "models", settings.cache_limit) if home.is_absolute() else None


def _in_passing(fetch: Fetch, checksum: str) -> Lease:
    """Fetch into a temporary folder, which is gone when the lease is closed."""
    scratch = Path(tempfile.mkdtemp(prefix="holdfast-model-"))
    drop: Callable[[], None] = lambda: shutil.rmtree(scratch, ignore_errors=True)  # noqa: E731
    try:
        fetch(scratch / "files")
        manifest = checked(scratch / "files", checksum)
    except BaseException:
        drop()
        raise
    return Lease(scratch / "files", manifest.checksum, drop)
