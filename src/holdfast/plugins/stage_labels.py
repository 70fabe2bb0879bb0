"""Which versions are in a stage by alias and tag, asked of one of MLflow's registry stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.backend.registry import is_named, refuses_stages
from holdfast.core.stages import STAGE_TAG, Stage

_PAGE = 1000


def has_no_stages(error: Exception) -> bool:
    """Whether a store refused because it knows no stages."""
    return refuses_stages(str(error))


def versions_in(store: Any, name: str, stages: Sequence[str] | None, only_tagged: bool = False) -> list[Any]:
    """Return the newest version in each of some stages.

    Args:
        store: The registry.
        name: The registered model.
        stages: Their names, in any case; None asks for all, as `models:/name/latest` does.
        only_tagged: Whether a version counts only where its tag names the stage; if not, an alias is enough.
    """
    wanted = [stage for stage in Stage if stages is None or stage.value.lower() in {item.lower() for item in stages}]
    versions = sorted(_all(store, name), key=lambda item: int(item.version), reverse=True) if wanted else []
    aliases = {} if only_tagged or not versions else dict(store.get_registered_model(name).aliases)
    newest = [_newest(stage, versions, aliases.get(stage.alias)) for stage in wanted]
    return [item for item in newest if item is not None]


def _newest(stage: Stage, versions: list[Any], holder: Any) -> Any:
    by_alias = (item for item in versions if holder is not None and int(item.version) == int(holder))
    by_tag = (item for item in versions if item.tags.get(STAGE_TAG, Stage.NONE.value) == stage.value)
    return next(by_alias, None) or next(by_tag, None)


def _all(store: Any, name: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = store.search_model_versions(is_named(name), max_results=_PAGE, page_token=token)
        found += [item for item in page if item.name == name]
        token = page.token
        if not token:
            return found
