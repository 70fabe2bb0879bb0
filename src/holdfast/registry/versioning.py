"""`ModelVersioning`: a registry behind one dictionary of configuration and boolean answers.

For scripts written against that interface; new code has `ModelRegistry`, with typed values
and errors. Both do the same things underneath.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from holdfast.backend.entities import ModelVersion
from holdfast.core.names import check_version
from holdfast.core.stages import Stage, parse_stage
from holdfast.errors import HoldfastError, InvalidInputError, NotFoundError
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.registry.registry import ModelRegistry
from holdfast.settings import Settings, load_settings

_KEYS = ("tracking_uri", "experiment_name", "artifact_location", "backend_store_uri", "default_tags")
_DEFAULT_EXPERIMENT = "nba-simulator-ml"
_log = get_logger(__name__)


class ModelVersioning:
    """Registers models and moves them through None → Staging → Production → Archived.

    Args:
        config: A dictionary with any of `tracking_uri`, `experiment_name`, `artifact_location`,
            `backend_store_uri`, `default_tags`; or loaded `Settings`; or None. What is not
            given comes from the settings.

    Attributes:
        experiment_id: The experiment's id once `setup` has been called, else None.

    Raises:
        InvalidInputError: A key is unknown, or a URI cannot be used (an `s3://` tracking URI, a
            `file:` one); the hint has the form that can.
    """

    def __init__(self, config: Mapping[str, Any] | Settings | None = None) -> None:
        self.config: dict[str, Any] = {} if config is None or isinstance(config, Settings) else dict(config)
        unknown = sorted(set(self.config) - set(_KEYS))
        if unknown:
            raise InvalidInputError(
                f"Unknown keys in the configuration: {', '.join(unknown)}.", f"known are {', '.join(_KEYS)}"
            )
        settings = config if isinstance(config, Settings) else self._settings()
        self.default_tags = {key: str(value) for key, value in (self.config.get("default_tags") or {}).items()}
        self.project = Project(settings)
        self.registry = ModelRegistry(self.project)
        self.experiment_id: str | None = None

    def _settings(self) -> Settings:
        given: dict[str, Any] = {
            key: self.config.get(key) for key in ("tracking_uri", "backend_store_uri", "experiment_name")
        }
        settings = load_settings(**given, artifact_root=self.config.get("artifact_location"))
        if settings.origin_of("experiment_name").kind == "default":
            return load_settings(
                **{**given, "experiment_name": _DEFAULT_EXPERIMENT}, artifact_root=self.config.get("artifact_location")
            )
        return settings

    def setup(self) -> bool:
        """Open the stores and find or create the experiment.

        Returns:
            Whether that worked; the reason why not is logged as an error.
        """
        try:
            experiment = self.project.experiment()
        except HoldfastError as error:
            _log.error("setup failed", reason=error.message, hint=error.hint)
            return False
        self.experiment_id = experiment.experiment_id
        return True

    def validate_prerequisites(self) -> bool:
        """Whether the tracking store answers and the registry can be read; the reason why not is logged."""
        try:
            self.project.runs.find_experiment(self.project.settings.experiment_name)
            self.project.models.models()
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

    def promote_model(self, model_name: str, version: int | str, stage: str | None) -> bool:
        """Move a version to a stage; whoever was in Staging or Production there before becomes Archived.

        Returns:
            Whether it is in that stage now; the reason why not is logged as an error.
        """
        try:
            self.registry.promote(model_name, check_version(version), parse_stage(stage))
        except HoldfastError as error:
            _log.error("promotion failed", model=model_name, version=version, reason=error.message, hint=error.hint)
            return False
        return True

    def get_model_version(
        self, model_name: str, stage: str | None = None, version: int | str | None = None
    ) -> dict[str, Any] | None:
        """Return a version by number, stage or alias; the newest one where none of them is given.

        Args:
            model_name: The registered model.
            stage: A stage or an alias.
            version: A number from 1 up; wins over `stage`.

        Returns:
            What `register_model` returns, or None where there is no such version.

        Raises:
            InvalidInputError: `version` is no number from 1 up (0 is not "not given").
        """
        wanted = check_version(version) if version is not None else stage or "latest"
        try:
            return describe(self.registry.get(model_name, wanted))
        except NotFoundError:
            return None

    def get_model_by_version(self, model_name: str, version: int | str) -> dict[str, Any] | None:
        """Return the version of this number, or None."""
        return self.get_model_version(model_name, version=version)

    def get_latest_model(self, model_name: str, stage: str | None = None) -> dict[str, Any] | None:
        """Return the newest version, or the newest in a stage, or None."""
        return self.get_model_version(model_name, stage=stage)

    def execute(self, model_name: str = "holdfast-demo") -> dict[str, Any]:
        """Show the whole path once: fit a small model, log, register, Staging, Production.

        The model is a logistic regression on scikit-learn's breast-cancer data, fitted on three
        quarters of it and measured on the rest.

        Returns:
            `success`, `run_id`, `model_name`, `model_version`, `final_stage`, `metrics`, and `error`
            where a step failed. `success` is true only when the registry says Production.

        Raises:
            HoldfastError: `setup` has not been called.
        """
        if self.experiment_id is None:
            raise InvalidInputError("The experiment is not set up.", "call setup() first")
        from holdfast.registry.demonstration import fit_and_log

        result: dict[str, Any] = {"success": False, "model_name": model_name, "final_stage": Stage.NONE.value}
        try:
            logged = fit_and_log(self.project, self.experiment_id, self.default_tags)
            result |= dataclasses.asdict(logged)
            version = self.registry.register(model_name, logged.model_uri, "Demonstration", self.default_tags)
            result["model_version"] = version.version
            for stage in (Stage.STAGING, Stage.PRODUCTION):
                self.registry.promote(model_name, version.version, stage)
            final = self.registry.get(model_name, version.version).stage or Stage.NONE
        except HoldfastError as error:
            return result | {"error": str(error)}
        return result | {"final_stage": final.value, "success": final is Stage.PRODUCTION}

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


def _active_run() -> str:
    from holdfast.backend.fluent import active_run_id

    run_id = active_run_id()
    if run_id is None:
        raise InvalidInputError("No run is given and none is active.", "pass run_id=, or call inside a run")
    return run_id
