"""Which parts of a bucket registered models lie in, so that what is done to the others cannot reach them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from holdfast.backend.model_places import place_of_version
from holdfast.bucket.arns import Place
from holdfast.bucket.lifecycle import is_used
from holdfast.core.uris import join_uri, scheme_of
from holdfast.errors import RegistryError
from holdfast.project import Project

_LOCAL = ("", "file")


@dataclass(frozen=True)
class Use:
    """What of a place registered versions use.

    Attributes:
        unused: The folders of experiments that none uses, each with a slash at its end.
        in_use: The places in the bucket, as keys, where registered versions lie.
    """

    unused: tuple[str, ...]
    in_use: tuple[str, ...]


def find_use(project: Project, place: Place) -> Use:
    """Ask the tracking store for the experiments below a place, and the registry for what is registered.

    Raises:
        RegistryError: Where a version's files lie cannot be told, so that nothing is known to be unused.
        BackendError: A store cannot be asked.
    """
    locations = [item.artifact_location for item in project.runs.experiments()]
    sources = [source for source in _sources(project) if scheme_of(source) not in _LOCAL]
    return split(place, locations, sources)


def versions_in(project: Project, place: Place) -> dict[str, list[str]]:
    """Return at which keys of a place's bucket registered versions lie, by what each is called.

    Raises:
        RegistryError: Where a version's files lie cannot be told.
        BackendError: A store cannot be asked.
    """
    keys = ((which, _key_in(place, source)) for which, source in _versions(project))
    return {which: [key] for which, key in keys if key is not None}


def split(place: Place, locations: Iterable[str], sources: Sequence[str]) -> Use:
    """Return which experiments' folders registered versions use.

    Args:
        place: The project's part of its bucket.
        locations: Where experiments keep their files.
        sources: Where the files of registered versions lie, whichever model's.
    """
    used = {key for source in sources if (key := _key_in(place, source)) is not None}
    folders = {f"{key}/" for location in locations if (key := _key_in(place, location))}
    below = {folder for folder in folders if folder.startswith(place.folder)}
    return Use(tuple(sorted(folder for folder in below if not is_used(folder, used))), tuple(sorted(used)))


def _key_in(place: Place, uri: str) -> str | None:
    """Return the key of an address in the place's bucket, without a slash at its end; None for another bucket."""
    if scheme_of(uri) != "s3":
        return None
    bucket, _, key = uri.partition("://")[2].partition("/")
    return key.strip("/") if bucket == place.bucket else None


def _sources(project: Project) -> list[str]:
    return [source for _, source in _versions(project)]


def _versions(project: Project) -> list[tuple[str, str]]:
    """Return what each registered version is called, and where its files lie."""
    found = []
    for model in project.models.models():
        for version in project.models.versions(model.name):
            where = place_of_version(project.connection, version.name, version.version)
            which = f"{version.name} version {version.version}"
            found.append((which, _resolved(project, where, which)))
    return found


def _resolved(project: Project, uri: str, which: str) -> str:
    scheme = scheme_of(uri)
    destination = project.settings.artifacts_destination or ""
    if scheme == "mlflow-artifacts" and destination:
        return join_uri(destination, uri.partition(":")[2].lstrip("/").partition("?")[0])
    if scheme in ("mlflow-artifacts", "models", "runs"):
        raise RegistryError(
            f"Where the files of {which} lie cannot be told: {uri}.",
            "set MLFLOW_ARTIFACTS_DESTINATION to the place that the server keeps files in"
            if scheme == "mlflow-artifacts"
            else "delete that version if its files are gone, or leave --transition out",
        )
    return uri
