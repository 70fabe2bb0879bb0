"""`ModelVersioning`: a registry behind one dictionary of configuration and boolean answers.

For scripts written against that interface; new code has `ModelRegistry`, with typed values
and errors. Both do the same things underneath.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from holdfast.backend.entities import ModelVersion
from holdfast.core.names import as_version_or_word, check_version
from holdfast.core.stages import Stage, parse_stage
from holdfast.errors import HoldfastError, InvalidInputError, NotFoundError
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.registry.registry import ModelRegistry
from holdfast.registry.versioning_config import Configuration, read_configuration
from holdfast.settings import Settings

_log = get_logger(__name__)


class ModelVersioning:
    """Registers models and moves them through None → Staging → Production → Archived.

    Also importable as `ModelVersioningWithMlflow`. Making one opens nothing.

    Args:
        config: A dictionary with any of `tracking_uri`, `experiment_name`, `artifact_location`,
            `backend_store_uri`, `default_tags`; or None; what is not given comes from the settings, and where they
            say nothing either, from the defaults that `versioning_config` lists. Or loaded `Settings`, without these
            defaults.

    Attributes:
        config: The dictionary.
        default_tags: The tags of every version that is registered.
        project: Its stores.
        registry: The native API on them.
        experiment_id: The experiment's id once `setup` has been called, else None.

    Raises:
        InvalidInputError: A key is unknown, or the tags are none.
        SettingsError: A URI cannot be used (an `s3://` tracking URI, a `file:` one); the hint has the form that can.
    """

    def __init__(self, config: Mapping[str, Any] | Settings | None = None) -> None:
        if isinstance(config, Settings):
            self.config: dict[str, Any] = {}
            found = Configuration(config, {})
        else:
            found = read_configuration({} if config is None else config)
            self.config = dict(config or {})
        for notice in found.settings.notices:
            _log.warning(notice)
        self.default_tags = found.default_tags
        self.project = Project(found.settings)
        self.registry = ModelRegistry(self.project)
        self.experiment_id: str | None = None

    def __repr__(self) -> str:
        return f"ModelVersioning({self.project!r})"

    def setup(self) -> bool:
        """Open the stores, find or create the experiment, and have plain `mlflow.*` calls go there.

        After it `mlflow.start_run()`, `log_model` and the like use this project's stores, experiment and keys, unless
        a run is open: then they stay with that one. The environment is not changed.

        Returns:
            Whether that worked; the reason why not is logged as an error.
        """
        from holdfast.backend import fluent

        settings = self.project.settings
        try:
            found = self.project.experiment().experiment_id
            if not fluent.is_any_run_active():
                registry_uri = settings.registry_uri or settings.tracking_uri
                fluent.go_to(fluent.Place(settings.tracking_uri, registry_uri, found))
        except HoldfastError as error:
            _log.error("setup failed", reason=error.message, hint=error.hint)
            return False
        self.experiment_id = found
        return True

    def validate_prerequisites(self) -> bool:
        """Try within seconds what registering models needs: that the stores answer, and that files can be kept.

        In the artifact store some bytes are stored, listed, fetched and deleted again, so missing and refused keys are
        found here. Nothing else is created.

        Returns:
            Whether all of it works; the reason why not is logged as an error, with the remedy.
        """
        from holdfast.registry.prerequisites import check_prerequisites

        try:
            check_prerequisites(self.project)
        except HoldfastError as error:
            _log.error("prerequisites are missing", reason=error.message, hint=error.hint)
            return False
        return True

    def register_model(
        self,
        model_name: str,
        model_artifact_path: str | None = None,
        run_id: str | None = None,
        description: str | None = None,
        tags: Mapping[str, object] | None = None,
        *,
        model_uri: str | None = None,
    ) -> dict[str, Any]:
        """Register a model that a run logged.

        Args:
            model_name: The registered model; created where it is missing.
            model_artifact_path: The name or path it was logged under, with `run_id`; `model` if not given.
            run_id: The run; the active one of `mlflow.start_run()` if not given.
            description: What this version is.
            tags: Its tags, on top of the configured default ones.
            model_uri: Instead of run and path: `models:/m-…`, `runs:/ID/path`.

        Returns:
            `model_name`, `version`, `stage`, `run_id`, `source`, `status`, `description`, `tags`, `aliases`.

        Raises:
            HoldfastError: It could not be registered.
        """
        uri = model_uri or f"runs:/{run_id or _active_run()}/{model_artifact_path or 'model'}"
        version = self.registry.register(model_name, uri, description, {**self.default_tags, **(tags or {})})
        return describe(version)

    def promote_model(self, model_name: str, version: int | str, stage: str | None, reason: str = "") -> bool:
        """Move a version to a stage; whoever was in Staging or Production there before becomes Archived.

        Args:
            model_name: The registered model.
            version: Its number.
            stage: Staging, Production, Archived or the text `None`, in any case. Python's None is no stage here: a
                variable that was forgotten moves nothing.
            reason: Why; kept in the history.

        Returns:
            Whether it is in that stage now; the reason why not, a gate that refuses for one, is logged as an error.
        """
        try:
            self.registry.promote(model_name, check_version(version), _given(stage), reason=reason)
        except HoldfastError as error:
            _log.error("promotion failed", model=model_name, version=version, reason=error.message, hint=error.hint)
            return False
        return True

    def rollback_model(self, model_name: str, version: int | str | None = None, reason: str = "") -> bool:
        """Go back to the version that was Production before, or to a given one, once it is found whole and loads.

        Returns:
            Whether it is Production now; the reason why not is logged as an error, and nothing was changed then.
        """
        try:
            number = None if version is None else check_version(version)
            self.registry.rollback(model_name, number, reason=reason)
        except HoldfastError as error:
            _log.error("rollback failed", model=model_name, version=version, reason=error.message, hint=error.hint)
            return False
        return True

    def get_model_version(
        self,
        model_name: str,
        stage: str | None = None,
        version: int | str | None = None,
        *,
        alias: str | None = None,
    ) -> dict[str, Any] | None:
        """Return a version by number, stage or alias; the newest one where none of them is given.

        Where a stage and a number are given, both must hold.

        Args:
            model_name: The registered model.
            stage: A stage in any case, or an alias.
            version: A number from 1 up.
            alias: An alias, with or without its @.

        Returns:
            What `register_model` returns, or None where there is no such version, or it is not in that stage.

        Raises:
            InvalidInputError: `version` is no number from 1 up (0 is not "not given"), or `alias` is given beside one
                of the others.
            BackendError: The registry cannot be asked.
        """
        if alias is not None and (stage is not None or version is not None):
            raise InvalidInputError("An alias is given, and a stage or version beside it.", "give one of them")
        try:
            found = self.registry.get(model_name, _wanted(stage, version, alias))
            is_meant = version is None or stage is None or self._is_in(found, stage)
        except NotFoundError:
            return None
        return describe(found) if is_meant else None

    def _is_in(self, found: ModelVersion, stage: str) -> bool:
        word = as_version_or_word(stage)
        if str(word).lower() in {known.value.lower() for known in Stage}:
            return (found.stage or Stage.NONE) is parse_stage(word)
        return self.registry.get(found.name, word).version == found.version

    def get_model_by_version(self, model_name: str, version: int | str) -> dict[str, Any] | None:
        """Return the version of this number, or None."""
        return self.get_model_version(model_name, version=version)

    def get_latest_model(self, model_name: str, stage: str | None = None) -> dict[str, Any] | None:
        """Return the newest version, or the newest in a stage, or None."""
        return self.get_model_version(model_name, stage=stage)

    def load_model(
        self,
        model_name: str,
        stage: str | None = None,
        version: int | str | None = None,
        *,
        alias: str | None = None,
        flavor: str = "pyfunc",
    ) -> Any:
        """Load a version, the Production one if nothing is given, with the project's keys.

        Args:
            model_name: The registered model.
            stage: A stage in any case.
            version: A number from 1 up.
            alias: An alias.
            flavor: `pyfunc` for MLflow's common `predict`, or `sklearn`, `xgboost` … for the object itself.

        Raises:
            HoldfastError: There is no such version, more than one is named, or it cannot be loaded.
        """
        from holdfast.registry.serving.loading import load_model

        return load_model(model_name, stage, alias, version, project=self.project, flavor=flavor)

    def get_model_history(self, model_name: str) -> list[dict[str, Any]]:
        """Return what was ever done to a model, the oldest first.

        Returns:
            An event each: `number`, `at`, `kind`, `version`, `who`, and where they apply `why`, `from`, `to`,
            `archived`, `gates`, `checksum`, `details`; `prev` and `hash` chain them. An empty list where there is no
            such model.

        Raises:
            HistoryError: The history is lost or damaged.
            BackendError: The registry cannot be asked.
        """
        try:
            return [event.to_dict() for event in self.registry.history(model_name)]
        except NotFoundError:
            return []

    def execute(self, model_name: str = "holdfast-demo") -> dict[str, Any]:
        """Show the whole path once: fit a small model, log, register, Staging, Production.

        The model is a logistic regression on scikit-learn's breast-cancer data, fitted on three
        quarters of it and measured on the rest. Gates are asked as for any other model.

        Returns:
            `success`, `run_id`, `model_uri`, `metrics`, `model_name`, `model_version`, `final_stage`, and where a step
            failed `failed_step` (`log`, `register`, `Staging`, `Production`) and `error`. `success` is true only when
            every step worked and the registry says Production; `final_stage` is what it says, in any case.

        Raises:
            InvalidInputError: `setup` has not been called, or failed.
        """
        if self.experiment_id is None:
            raise InvalidInputError("The experiment is not set up.", "call setup() first, and see that it returns True")
        from holdfast.registry.demonstration import demonstrate

        told = demonstrate(self.project, self.registry, self.experiment_id, self.default_tags, model_name)
        return dataclasses.asdict(told)

    def cleanup(self) -> None:
        """Let go of the connection. Nothing that was logged or registered is touched."""
        self.project = Project(self.project.settings)
        self.registry = ModelRegistry(self.project)
        self.experiment_id = None


def describe(version: ModelVersion) -> dict[str, Any]:
    """Return a version as the dictionary that `register_model` gives."""
    return {
        "model_name": version.name,
        "version": version.version,
        "stage": (version.stage or Stage.NONE).value,
        "aliases": list(version.aliases),
        "run_id": version.run_id,
        "source": version.source,
        "status": version.status,
        "description": version.description,
        "tags": dict(version.tags),
        "created_ms": version.created_ms,
    }


def _given(stage: str | None) -> Stage:
    if stage is None:
        raise InvalidInputError(
            "No stage is given.", "give Staging, Production, Archived or, to leave them all, the text 'None'"
        )
    return parse_stage(stage)


def _wanted(stage: str | None, version: int | str | None, alias: str | None) -> int | str:
    if version is not None:
        return check_version(version)
    if alias is not None:
        return f"@{alias.removeprefix('@')}"
    return "latest" if stage is None else stage


def _active_run() -> str:
    from holdfast.backend.fluent import active_run_id

    run_id = active_run_id()
    if run_id is None:
        raise InvalidInputError("No run is given and none is active.", "pass run_id=, or call inside a run")
    return run_id
