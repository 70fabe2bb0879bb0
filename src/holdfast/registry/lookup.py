"""Finding the version that is meant: by number, stage, alias, or `latest`."""

from __future__ import annotations

from dataclasses import replace

from holdfast.backend.entities import ModelVersion
from holdfast.core.names import as_version_or_word, check_alias, check_model_name
from holdfast.core.stages import STAGE_TAG, Stage, parse_stage
from holdfast.errors import NotFoundError
from holdfast.project import Project


def find_version(project: Project, name: str, version: int | str) -> ModelVersion:
    """Return one version of a registered model.

    Args:
        project: Whose registry.
        name: The registered model.
        version: Its number, a stage (the newest version in it), an alias (`@alias` too), or `latest`.

    Raises:
        InvalidInputError: The name, number or alias has a form that MLflow refuses.
        NotFoundError: There is none.
    """
    check_model_name(name)
    wanted = as_version_or_word(version)
    if isinstance(wanted, int):
        return with_stage(project.models.get_version(name, wanted))
    found = _find_by_word(project, name, wanted)
    if found is None:
        raise NotFoundError(
            f"Model {name!r} has no version {version!r}.", f"see its versions with `holdfast models show {name}`"
        )
    return found


def _find_by_word(project: Project, name: str, word: str) -> ModelVersion | None:
    if word.lower() == "latest":
        return next(iter(map(with_stage, project.models.versions(name))), None)
    if word.lower() in {stage.value.lower() for stage in Stage}:
        return find_in_stage(project, name, parse_stage(word))
    found = project.models.find_by_alias(name, check_alias(word.removeprefix("@")))
    return None if found is None else with_stage(found)


def find_in_stage(project: Project, name: str, stage: Stage) -> ModelVersion | None:
    """Return the version in a stage, or None: who has its alias, and the newest in it where nobody has."""
    found = [with_stage(item) for item in project.models.versions(name)]
    holder = next((item for item in found if stage.alias in item.aliases), None)
    return holder or next((item for item in found if item.stage is stage), None)


def with_stage(version: ModelVersion) -> ModelVersion:
    """Return the version with its stage filled in from its tag where the backend has no stages.

    A backend that refuses to move stages, but has them, says None of every version.
    """
    if version.stage not in (None, Stage.NONE):
        return version
    tag = version.tags.get(STAGE_TAG)
    return replace(version, stage=_of_tag(tag) if tag else Stage.NONE)


def _of_tag(tag: str) -> Stage:
    return next((stage for stage in Stage if stage.value == tag), Stage.NONE)
