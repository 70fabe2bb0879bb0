"""Versions, stages and promotion of registered models.

A stage stands in three places: MLflow's own stage (where the backend still has stages), the
alias (`staging`, `production`) and the version tag `holdfast.stage`. They are moved together
and in this order, so that a reader of either finds a version that was Production at some
moment: first the stage, in one transaction with archiving its predecessor; then the alias,
which can point at one version only; the tags last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from holdfast.backend.entities import ModelVersion, RegisteredModel
from holdfast.core.names import check_alias, check_keys, check_model_name, check_version
from holdfast.core.promotion import CheckAnswer, PromotionRule, parse_rule
from holdfast.core.stages import STAGE_TAG, Stage, parse_stage
from holdfast.errors import NotFoundError, PromotionRefusedError, RegistryError
from holdfast.project import Project
from holdfast.registry.sources import find_source


@dataclass(frozen=True)
class Promotion:
    """What a promotion did.

    Attributes:
        version: The version as it is now.
        from_stage: Where it was.
        archived: The versions it took the place of, now Archived.
        answers: What each check of the rule found; empty where no rule applied.
    """

    version: ModelVersion
    from_stage: Stage
    archived: tuple[int, ...]
    answers: tuple[CheckAnswer, ...]


class ModelRegistry:
    """The native API: typed values, typed errors.

    Args:
        project: Whose registry.
        rule: What a version must show before it becomes Production. None takes
            `[tool.holdfast.promotion]`; a `PromotionRule()` without checks asks nothing.
    """

    def __init__(self, project: Project, rule: PromotionRule | None = None) -> None:
        self._project = project
        self.rule = rule if rule is not None else parse_rule(project.settings.promotion)

    # -- reading ----------------------------------------------------------------------

    def models(self) -> list[RegisteredModel]:
        """Return all registered models, by name."""
        return self._project.models.models()

    def versions(self, name: str) -> list[ModelVersion]:
        """Return all versions of a model, the newest first.

        Raises:
            NotFoundError: There is no such model.
        """
        check_model_name(name)
        found = [_in_step(item) for item in self._project.models.versions(name)]
        if not found and self._project.models.find_model(name) is None:
            raise NotFoundError(f"There is no registered model {name!r}.", "see `holdfast models list`")
        return found

    def get(self, name: str, version: int | str) -> ModelVersion:
        """Return one version.

        Args:
            name: The registered model.
            version: Its number, a stage (the newest version in it), an alias, or `latest`.

        Raises:
            NotFoundError: There is none.
        """
        check_model_name(name)
        if isinstance(version, int) or version.strip().isdecimal():
            return _in_step(self._project.models.get_version(name, check_version(version)))
        found = self._by_word(name, version.strip())
        if found is None:
            raise NotFoundError(
                f"Model {name!r} has no version {version!r}.", f"see its versions with `holdfast models show {name}`"
            )
        return found

    def find(self, name: str, stage: Stage) -> ModelVersion | None:
        """Return the newest version in a stage, or None."""
        inside = [item for item in map(_in_step, self._project.models.versions(name)) if item.stage is stage]
        return inside[0] if inside else None

    def _by_word(self, name: str, word: str) -> ModelVersion | None:
        if word.lower() == "latest":
            return next(iter(self.versions(name)), None)
        if word.lower() in {stage.value.lower() for stage in Stage}:
            return self.find(name, parse_stage(word))
        found = self._project.models.find_by_alias(name, check_alias(word.removeprefix("@")))
        return None if found is None else _in_step(found)

    def metrics_of(self, version: ModelVersion) -> dict[str, float]:
        """Return the metrics of the run a version came from; empty where it has no run, or the run is gone."""
        if not version.run_id:
            return {}
        try:
            return self._project.runs.get_run(version.run_id).metrics
        except NotFoundError:
            return {}

    # -- writing ----------------------------------------------------------------------

    def register(
        self,
        name: str,
        model_uri: str,
        description: str | None = None,
        tags: Mapping[str, object] | None = None,
        await_s: int = 300,
    ) -> ModelVersion:
        """Register a model that was logged as the next version of `name`.

        Args:
            name: The registered model; created where it is missing.
            model_uri: `runs:/ID/path`, `models:/m-…`, or where an MLmodel file lies.
            description: What this version is. It also becomes the model's, where that has none.
            tags: Tags of the version; values are stored as text.
            await_s: How long to wait until it is ready, in seconds.

        Raises:
            InvalidInputError: A name, tag or URI has a form that MLflow refuses, or there is no model there.
            BackendError: It did not get ready in time, or the registry refused it.
        """
        check_model_name(name)
        labels = {key: str(value) for key, value in (tags or {}).items()}
        check_keys(labels, "tag")
        source = find_source(self._project, model_uri)
        text = self._project.redact(description or "")
        store = self._project.models
        store.ensure_model(name)
        made = store.create_version(
            name, source.uri, source.run_id, source.model_id, text, self._project.redact.mapping(labels), await_s
        )
        if source.model_id is not None:
            self._project.runs.note_registration(source.model_id, name, made.version)
        model = store.find_model(name)
        if text and model is not None and not model.description:
            store.describe_model(name, text)
        return _in_step(made)

    def check(self, name: str, version: int | str) -> tuple[CheckAnswer, ...]:
        """Answer each check of the promotion rule for a version, and change nothing."""
        candidate = self.get(name, version)
        present = self.find(name, Stage.PRODUCTION)
        # A version that is Production already has nobody to be worse than.
        compared = None if present is None or present.version == candidate.version else self.metrics_of(present)
        return self.rule.evaluate(self.metrics_of(candidate), compared)

    def promote(self, name: str, version: int | str, stage: str | Stage | None) -> Promotion:
        """Move a version to a stage: MLflow's stage, alias and tag together.

        Args:
            name: The registered model.
            version: A number, or `latest`, a stage, an alias.
            stage: None, Staging, Production or Archived, in any case. The versions that were in
                Staging or Production before become Archived.

        Raises:
            PromotionRefusedError: The rule says no (for Production); nothing was changed.
            RegistryError: The version is not ready.
            NotFoundError: There is no such version.
        """
        target = parse_stage(stage)
        found = self.get(name, version)
        self._check_ready(found, target)
        answers = self.check(name, found.version) if target is Stage.PRODUCTION else ()
        _refuse_unless_passed(found, answers)
        archived = self._others_in(found, target)
        self._move(found, target)
        for other in archived:
            self._archive(other)
        now = self.get(name, found.version)
        return Promotion(now, found.stage or Stage.NONE, tuple(item.version for item in archived), answers)

    def _check_ready(self, version: ModelVersion, target: Stage) -> None:
        if target.holds_one and version.status != "READY":
            raise RegistryError(
                f"{version.name} version {version.version} is {version.status}, not READY.",
                "wait until it is registered, or register it again",
            )

    def _others_in(self, version: ModelVersion, target: Stage) -> list[ModelVersion]:
        if not target.holds_one:
            return []
        others = map(_in_step, self._project.models.versions(version.name))
        return [item for item in others if item.stage is target and item.version != version.version]

    def _move(self, version: ModelVersion, target: Stage) -> None:
        self._project.models.set_stage(version.name, version.version, target)
        self._settle(version, target)

    def _archive(self, version: ModelVersion) -> None:
        """Archive a predecessor, where moving its successor has not done so already."""
        store = self._project.models
        if store.get_version(version.name, version.version).stage not in (None, Stage.ARCHIVED):
            store.set_stage(version.name, version.version, Stage.ARCHIVED)
        self._settle(version, Stage.ARCHIVED)

    def _settle(self, version: ModelVersion, target: Stage) -> None:
        """Bring a version's aliases and tag in line with its stage."""
        store = self._project.models
        if target.alias is not None:
            store.set_alias(version.name, target.alias, version.version)
        aliases = store.get_version(version.name, version.version).aliases
        for stale in {"staging", "production"} & set(aliases) - {target.alias}:
            store.delete_alias(version.name, stale)
        store.set_version_tags(version.name, version.version, {STAGE_TAG: target.value})


def _in_step(version: ModelVersion) -> ModelVersion:
    """Fill in the stage from the tag where the backend has no stages."""
    if version.stage is not None:
        return version
    tag = version.tags.get(STAGE_TAG)
    return replace(version, stage=parse_stage(tag) if tag else Stage.NONE)


def _refuse_unless_passed(version: ModelVersion, answers: tuple[CheckAnswer, ...]) -> None:
    failed = [f"{answer.check} ({answer.reason})" for answer in answers if not answer.passed]
    if failed:
        raise PromotionRefusedError(
            f"{version.name} version {version.version} may not become Production: " + "; ".join(failed) + ".",
            "train a better model, or change [tool.holdfast.promotion] in pyproject.toml",
        )
