"""The model registry: models, versions, stages and aliases, one MLflow call a method."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Any

from holdfast.backend.client import Connection, stages_are_deprecated
from holdfast.backend.entities import ModelVersion, RegisteredModel
from holdfast.backend.patience import Patient, is_turned_back
from holdfast.core.stages import Stage, parse_stage
from holdfast.errors import AlreadyExistsError, BackendError, HoldfastError, InvalidInputError, NotFoundError

_PAGE = 1000
_NO_STAGES = re.compile(
    r"unsupported|not (supported|implemented)|stages are|failed with error code (404|405|501)"
    r"|has no attribute '(transition_model_version_stage|get_latest_versions)'",
    re.IGNORECASE,
)


class StageMove(Enum):
    """What became of a move of MLflow's own stage."""

    ARCHIVED_OTHERS = "the version is in the stage, and the others that were in it are archived"
    ALONE = "the version is in the stage; others may be in it still"
    NO_STAGES = "this backend has no stages; nothing was changed"


class _Lean:
    """MLflow's client without the look at the registered model that it adds to each change, to see if it is a prompt.

    Whoever changes a model here has looked at it.
    """

    _CHANGES = (
        *("transition_model_version_stage", "set_registered_model_alias", "delete_registered_model_alias"),
        *("set_registered_model_tag", "set_model_version_tag", "delete_model_version_tag", "delete_model_version"),
    )

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client._get_registry_client() if name in self._CHANGES else self._client, name)


class RegistryStore:
    """Registered models behind one registry URI.

    Args:
        connection: Where, and what to hide in errors.

    Every method raises a `BackendError` or an `InvalidInputError`, never an exception of
    MLflow, SQLAlchemy or requests.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._has_stages: bool | None = None
        self._can_archive = True

    @property
    def _client(self) -> Any:
        return Patient(_Lean(self._connection.client))

    def ensure_model(self, name: str) -> None:
        """Create the registered model unless it exists; safe when several do so at once."""
        try:
            with self._connection.registry(f"create registered model {name!r}"):
                self._client.create_registered_model(name)
        except AlreadyExistsError:
            return

    def describe_model(self, name: str, description: str) -> None:
        """Set what the registered model is for."""
        with self._connection.registry(f"describe registered model {name!r}"):
            self._client.update_registered_model(name, description)

    def find_model(self, name: str) -> RegisteredModel | None:
        """Return the registered model, or None where there is none."""
        try:
            with self._connection.registry(f"look up registered model {name!r}"):
                return _model(self._client.get_registered_model(name))
        except NotFoundError:
            return None

    def models(self) -> list[RegisteredModel]:
        """Return all registered models, by name."""
        with self._connection.registry("list registered models"):
            return sorted((_model(item) for item in self._search("search_registered_models")), key=lambda m: m.name)

    def models_with_tag(self, key: str, value: str) -> list[str]:
        """Return the names of the registered models that have a tag of this value."""
        with self._connection.registry(f"look for registered models with tag {key}"):
            return [item.name for item in self._search("search_registered_models", f"tags.`{key}` = '{value}'")]

    def create_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        model_id: str | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        await_s: int = 300,
    ) -> ModelVersion:
        """Register a version from where its artifacts lie.

        Args:
            name: The registered model, which must exist.
            source: `models:/m-…` or the artifacts' own URI.
            run_id: The run it was made by.
            model_id: The LoggedModel it is, where MLflow made one.
            description: What it is.
            tags: Its tags.
            await_s: How long to wait until it is ready, in seconds.

        Raises:
            BackendError: It did not get ready in time.
        """
        with self._connection.registry(f"register a version of {name!r} from {source}"):
            made = self._client.create_model_version(
                name,
                source,
                run_id,
                tags=dict(tags or {}),
                description=description or None,
                await_creation_for=await_s,
                model_id=model_id,
            )
            return _version(made)

    def get_version(self, name: str, version: int) -> ModelVersion:
        """Return the version, its aliases included.

        Raises:
            NotFoundError: There is none.
        """
        with self._connection.registry(f"read {name} version {version}"):
            return _version(self._client.get_model_version(name, str(version)))

    def find_by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version an alias points at, or None where nothing has that alias."""
        try:
            with self._connection.registry(f"look up {name}@{alias}"):
                return _version(self._client.get_model_version_by_alias(name, alias))
        except (NotFoundError, InvalidInputError):
            # MLflow reports an alias that is not set as an invalid parameter.
            return None

    def versions(self, name: str) -> list[ModelVersion]:
        """Return all versions of a model, the newest first, with their aliases; empty where there is no such model."""
        model = self.find_model(name)
        return [] if model is None else self.versions_of(model)

    def versions_of(self, model: RegisteredModel) -> list[ModelVersion]:
        """Return all versions of a model that was looked up, the newest first, with its aliases."""
        name = model.name
        with self._connection.registry(f"list the versions of {name!r}"):
            found = [_version(item) for item in self._search("search_model_versions", is_named(name))]
        # A search leaves the aliases out on most backends; the model has them all.
        pointing: dict[int, list[str]] = {}
        for alias, version in model.aliases.items():
            pointing.setdefault(version, []).append(alias)
        whole = [_with_aliases(item, pointing.get(item.version, [])) for item in found if item.name == name]
        return sorted(whole, key=lambda item: item.version, reverse=True)

    @property
    def may_have_stages(self) -> bool:
        """False once this registry has refused to move a stage."""
        return self._has_stages is not False

    def set_stage(self, name: str, version: int, stage: Stage, alone: bool = False) -> StageMove:
        """Move MLflow's own stage, and archive what was in Staging or Production there in the same transaction.

        A stock server on PostgreSQL with psycopg 3 cannot archive (it compares the version's number
        with a text); there only this version is moved, and the caller archives the others.

        Args:
            name: The registered model.
            version: The version.
            stage: Where it goes.
            alone: Whether to move this version only. Two that archive each other's versions at once wait for each
                other, and PostgreSQL ends one of them after a second.
        """
        if not self.may_have_stages:
            return StageMove.NO_STAGES
        archive = stage.holds_one and self._can_archive and not alone
        try:
            archive = self._move_stage(name, version, stage, archive)
        except (BackendError, InvalidInputError) as error:
            if not refuses_stages(error.message):
                raise
            self._has_stages = False
            return StageMove.NO_STAGES
        return StageMove.ARCHIVED_OTHERS if archive else StageMove.ALONE

    def _move_stage(self, name: str, version: int, stage: Stage, archive: bool) -> bool:
        """Move it, and return whether the others were archived."""
        if archive:
            try:
                self._transition(_Lean(self._connection.client), name, version, stage, archive=True)
            except (BackendError, InvalidInputError) as error:
                self._can_archive = not _cannot_archive(error)
                if self._can_archive and not is_turned_back(error.message):
                    raise
            else:
                return True
        self._transition(self._client, name, version, stage, archive=False)
        return False

    def has_stages(self, name: str) -> bool:
        """Whether this backend still knows MLflow's stages; asked once, by reading those of a model."""
        if self._has_stages is None:
            try:
                with self._connection.registry(f"read the stages of {name!r}"), stages_are_deprecated():
                    self._client.get_latest_versions(name, [Stage.PRODUCTION.value])
            except (BackendError, InvalidInputError) as error:
                if not refuses_stages(error.message):
                    raise
                self._has_stages = False
            else:
                self._has_stages = True
        return self._has_stages

    def _transition(self, client: Any, name: str, version: int, stage: Stage, archive: bool) -> None:
        with self._connection.registry(f"move {name} version {version} to {stage.value}"), stages_are_deprecated():
            # The number as it is: as a text, PostgreSQL would refuse to compare it.
            client.transition_model_version_stage(name, version, stage.value, archive_existing_versions=archive)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point the alias at the version; where it pointed before no longer has it."""
        self._put(
            f"point {name}@{alias} at version {version}",
            lambda: self._client.set_registered_model_alias(name, alias, str(version)),
        )

    def _put(self, doing: str, call: Callable[[], object]) -> None:
        """Make a call that inserts a row or changes the one that is there.

        Two that do so at once may both insert, and MLflow then fails one of them; called again, it
        finds the row and changes it.
        """
        for may_repeat in (True, True, False):
            try:
                with self._connection.registry(doing):
                    call()
            except (BackendError, InvalidInputError) as error:
                if not (may_repeat and _is_already_there(error)):
                    raise
            else:
                return

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove the alias; nothing happens where it is not set."""
        with self._connection.registry(f"remove alias {name}@{alias}"):
            self._client.delete_registered_model_alias(name, alias)

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of a registered model."""
        self._put(f"tag {name}", partial(self._client.set_registered_model_tag, name, key, value))

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version, one request each, as MLflow has it."""
        for key, value in tags.items():
            self._put(
                f"tag {name} version {version}",
                partial(self._client.set_model_version_tag, name, str(version), key, value),
            )

    def delete_version_tag(self, name: str, version: int, key: str) -> None:
        """Remove a tag of a version; nothing happens where it is not set."""
        with self._connection.registry(f"remove tag {key!r} of {name} version {version}"):
            self._client.delete_model_version_tag(name, str(version), key)

    def delete_version(self, name: str, version: int) -> bool:
        """Delete a version; return False where it is gone already."""
        try:
            with self._connection.registry(f"delete {name} version {version}"):
                self._client.delete_model_version(name, str(version))
        except NotFoundError:
            return False
        return True

    def _search(self, method: str, filter_string: str = "") -> Iterator[Any]:
        token: str | None = None
        while True:
            page = getattr(self._client, method)(filter_string, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def is_named(name: str) -> str:
    """Return the filter for a name, which MLflow's language can quote but not escape; it may find others too."""
    if "'" not in name:
        return f"name='{name}'"
    if '"' not in name:
        return f'name="{name}"'
    pattern = name.translate({ord(sign): "_" for sign in "'\"\\"})
    return f"name LIKE '{pattern}'"


def _is_already_there(error: HoldfastError) -> bool:
    text = error.message.lower()
    return "unique constraint" in text or "duplicate key" in text or "duplicate entry" in text


def _cannot_archive(error: HoldfastError) -> bool:
    return "operator does not exist" in error.message and "character varying" in error.message


def refuses_stages(said: str) -> bool:
    """Whether an error says that a registry knows no stages: Unity Catalog's, or one that lacks the call."""
    return _NO_STAGES.search(said) is not None


def _model(item: Any) -> RegisteredModel:
    aliases = {alias: int(version) for alias, version in dict(item.aliases or {}).items()}
    return RegisteredModel(
        item.name,
        item.description or "",
        aliases,
        dict(item.tags or {}),
        item.last_updated_timestamp or 0,
        item.creation_timestamp or 0,
    )


def _version(item: Any) -> ModelVersion:
    with stages_are_deprecated():
        stage = item.current_stage
    return ModelVersion(
        name=item.name,
        version=int(item.version),
        stage=parse_stage(stage) if stage else None,
        status=item.status or "READY",
        source=item.source or "",
        run_id=item.run_id or "",
        description=item.description or "",
        created_ms=item.creation_timestamp or 0,
        aliases=tuple(item.aliases or ()),
        tags=dict(item.tags or {}),
    )


def _with_aliases(item: ModelVersion, aliases: list[str]) -> ModelVersion:
    return replace(item, aliases=tuple(sorted(aliases)))
