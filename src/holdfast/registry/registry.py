"""Versions, stages and promotion of registered models.

A stage stands in three places: MLflow's own stage (where the backend still has stages), the
alias (`staging`, `production`) and the version tag `holdfast.stage`. They are moved together
and in this order, so that a reader of either finds a version that was Production at some
moment: first the stage, in one transaction with archiving its predecessor; then the alias,
which can point at one version only; the tags last. When several promote at once, the alias
decides and the stages are brought in line with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.backend.entities import ModelVersion, RegisteredModel
from holdfast.core.names import check_keys, check_model_name
from holdfast.core.promotion import CheckAnswer, PromotionRule, parse_rule
from holdfast.core.stages import STAGE_TAG, Stage, parse_stage
from holdfast.errors import NotFoundError, PromotionRefusedError, RegistryError
from holdfast.project import Project
from holdfast.registry.lookup import find_in_stage, find_version, with_stage
from holdfast.registry.sources import find_source

_LOOKS = 20


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
        found = [with_stage(item) for item in self._project.models.versions(name)]
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
        return find_version(self._project, name, version)

    def find(self, name: str, stage: Stage) -> ModelVersion | None:
        """Return the newest version in a stage, or None."""
        return find_in_stage(self._project, name, stage)

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
            DeliveryError: Not all that this process has logged is on the server yet, or files of the model's run wait.
        """
        check_model_name(name)
        labels = {key: str(value) for key, value in (tags or {}).items()}
        check_keys(labels, "tag")
        self._project.settle()
        source = find_source(self._project, model_uri)
        if source.run_id is not None:
            self._project.settle_files(source.run_id)
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
        return with_stage(made)

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
            RegistryError: The version is not ready, or another one was promoted at the same time and won.
            NotFoundError: There is no such version.
            DeliveryError: Not all that this process has logged is on the server yet, or files of the model's run wait.
        """
        target = parse_stage(stage)
        self._project.settle()
        found = self.get(name, version)
        if found.run_id and target.holds_one:
            self._project.settle_files(found.run_id)
        self.check_ready(found, target)
        answers = self.check(name, found.version) if target is Stage.PRODUCTION else ()
        _refuse_unless_passed(found, answers)
        before = self._others_in(found, target)
        self._move(found, target)
        now = self._settled(found, target)
        archived = tuple(number for number in before if now[number].stage is Stage.ARCHIVED)
        return Promotion(now[found.version], found.stage or Stage.NONE, archived, answers)

    def check_ready(self, version: ModelVersion, target: Stage) -> None:
        """Check that a version can be served from a stage.

        Raises:
            RegistryError: It is to be in Staging or Production and is not READY.
        """
        if target.holds_one and version.status != "READY":
            raise RegistryError(
                f"{version.name} version {version.version} is {version.status}, not READY.",
                "wait until it is registered, or register it again",
            )

    def _others_in(self, version: ModelVersion, target: Stage) -> list[int]:
        if not target.holds_one:
            return []
        others = map(with_stage, self._project.models.versions(version.name))
        return [item.version for item in others if item.stage is target and item.version != version.version]

    def _move(self, version: ModelVersion, target: Stage) -> None:
        store = self._project.models
        # First what it leaves: from here on, an alias without its stage means that the stage is still to be set.
        for left in sorted(({"staging", "production"} - {target.alias}) & set(version.aliases)):
            store.delete_alias(version.name, left)
        store.set_stage(version.name, version.version, target)
        if target.alias is not None:
            store.set_alias(version.name, target.alias, version.version)
        store.set_version_tags(version.name, version.version, {STAGE_TAG: target.value})

    def _settled(self, moved: ModelVersion, target: Stage) -> dict[int, ModelVersion]:
        """Bring stages and tags in line with the aliases, until a look finds nothing to do; return what it sees.

        When several promote at once, the alias decides, since it can point at one version only: the
        last one to set it wins. Whoever changes anything looks again, so the last look is at rest.

        Raises:
            RegistryError: Another version got the alias meanwhile, or others kept changing it.
        """
        name = moved.name
        for _ in range(_LOOKS):
            seen = self._project.models.versions(name)
            to_do = _out_of_step(seen)
            for version, stage in to_do:
                self._correct(version, stage)
            if to_do:
                continue
            now = {item.version: with_stage(item) for item in seen}
            if now[moved.version].stage is target:
                return now
            raise RegistryError(
                f"{name} version {moved.version} was overtaken: another version became {target.value} meanwhile.",
                f"see `holdfast models show {name}`, and promote again if this one is meant",
                retryable=True,
            )
        raise RegistryError(f"Others keep promoting versions of {name!r}.", "try again", retryable=True)

    def _correct(self, version: ModelVersion, stage: Stage) -> None:
        if version.stage is not None and version.stage is not stage:
            self._project.models.set_stage(version.name, version.version, stage)
        self._project.models.set_version_tags(version.name, version.version, {STAGE_TAG: stage.value})


def _out_of_step(versions: list[ModelVersion]) -> list[tuple[ModelVersion, Stage]]:
    """Return the versions whose stage or tag must change, each with the stage it shall have.

    A version that has a stage's alias shall be in that stage, and the others in it shall be archived.
    Where a stage's alias is not set, its versions stay where they are. A tag follows MLflow's stage.
    """
    wanted = {item.version: with_stage(item).stage or Stage.NONE for item in versions}
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        holder = next((item.version for item in versions if stage.alias in item.aliases), None)
        if holder is not None:
            wanted = {number: Stage.ARCHIVED if where is stage else where for number, where in wanted.items()}
            wanted[holder] = stage
    return [(item, wanted[item.version]) for item in versions if not _is_in_step(item, wanted[item.version])]


def _is_in_step(version: ModelVersion, wanted: Stage) -> bool:
    tag = version.tags.get(STAGE_TAG)
    # Without a tag, a version that Holdfast never moved is left alone.
    return with_stage(version).stage is wanted and tag in (None, wanted.value)


def _refuse_unless_passed(version: ModelVersion, answers: tuple[CheckAnswer, ...]) -> None:
    failed = [f"{answer.check} ({answer.reason})" for answer in answers if not answer.passed]
    if failed:
        raise PromotionRefusedError(
            f"{version.name} version {version.version} may not become Production: " + "; ".join(failed) + ".",
            "train a better model, or change [tool.holdfast.promotion] in pyproject.toml",
        )
