"""What a history begins with: the registry as somebody left it, and what of that could not be kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.backend.entities import ModelVersion, RegisteredModel
from holdfast.core.history import Actor, Draft, Kind, make_event
from holdfast.core.ledger import as_ranges, fold
from holdfast.core.stages import Stage
from holdfast.registry.changes.in_step import Difference, View, differences
from holdfast.registry.lookup import with_stage

MADE_AGAIN = "the registered model is another one of the same name: the history begins anew"
_BEGINS = "the history begins"
_FOUND = "the registry as it was found"
# Of an event's 6,000 characters, so many may be taken by the details; of those, by what was not kept.
_ROOM, _FOUND_ROOM = 4000, 1500
_NAMED = 3


def adoption(model: RegisteredModel, versions: Mapping[int, ModelVersion]) -> dict[str, Any]:
    """Return what an `adopted` event says of a registry: the versions in a stage, and the aliases.

    An alias `staging` or `production` decides who is in that stage; MLflow's own stage, then the tag, where it is
    not set. What another place said is told under `found`, of very much the first.
    """
    details = {
        "anew": True,
        "created_ms": model.created_ms,
        "stages": _by_stage(_stages(model, versions)),
        "aliases": {alias: of for alias, of in model.aliases.items() if alias not in ("staging", "production")},
    }
    found = _fitting(_not_kept(model, versions, details), _ROOM - len(json.dumps(details)))
    return {**details, "found": found} if found else details


def why_adopted(details: Mapping[str, Any], is_made_again: bool = False) -> str:
    """Return the reason of an `adopted` event with these details."""
    found = list(details.get("found", ()))
    is_new = not (found or any(details["stages"].values()) or details["aliases"])
    why = MADE_AGAIN if is_made_again else _BEGINS if is_new else _FOUND
    more = f"; {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"{why}; not kept: {'; '.join(found[:_NAMED])}{more}" if found else why


def _stages(model: RegisteredModel, versions: Mapping[int, ModelVersion]) -> dict[int, Stage]:
    stages = {number: with_stage(item).stage or Stage.NONE for number, item in versions.items()}
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        holder = model.aliases.get(stage.alias or "")
        inside = sorted(number for number, where in stages.items() if where is stage)
        chosen = holder if holder in versions else (inside[-1] if inside else None)
        for number in inside:
            stages[number] = Stage.ARCHIVED
        if chosen is not None:
            stages[chosen] = stage
    return stages


def _by_stage(stages: Mapping[int, Stage]) -> dict[str, str]:
    return {
        stage.value: as_ranges(number for number, where in stages.items() if where is stage)
        for stage in Stage
        if stage is not Stage.NONE
    }


def _not_kept(model: RegisteredModel, versions: Mapping[int, ModelVersion], details: Mapping[str, Any]) -> list[str]:
    """Say what stands in the registry and is not taken; what was never set is nothing that is lost."""
    event = make_event(Draft(Kind.ADOPTED, Actor(""), details=details), model.name, None)
    found = differences(fold([event]), View(model, versions))
    return [_said(item) for item in found if item.found not in (None, Stage.NONE.value)]


def _said(item: Difference) -> str:
    taken = "not set" if item.should is None else item.should
    if item.place.startswith("alias "):
        return f"{item.place} on version {item.found} (taken as {taken})"
    return f"version {item.version}: {item.place} {item.found} (taken as {taken})"


def _fitting(texts: Sequence[str], room: int) -> list[str]:
    """Return as many as there is room for, and how many others there are."""
    left, kept = min(room, _FOUND_ROOM), 0
    while kept < len(texts) and (left := left - len(json.dumps(texts[kept])) - 1) >= 0:
        kept += 1
    others = len(texts) - kept
    return [*texts[:kept], *([f"{others} others"] if others else [])]
