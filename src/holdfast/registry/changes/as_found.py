"""Taking a registry as somebody left it: what the three places say, where they differ from the history."""

from __future__ import annotations

from typing import Any

from holdfast.backend.entities import ModelVersion
from holdfast.core.ledger import Ledger, as_ranges
from holdfast.core.stages import STAGE_TAG, Stage
from holdfast.registry.changes.in_step import View


def as_found(ledger: Ledger, view: View) -> dict[str, Any]:
    """Return the details of an `adopted` event that takes the registry as it is.

    Who changes a stage by hand rarely changes all three places. So what differs from the history counts: the alias
    first, then MLflow's own stage, then the tag; a version that has lost its stage and got no other is Archived.

    Args:
        ledger: What the history says.
        view: The registry.
    """
    stages = _stages(ledger, view)
    changed = {number: stage for number, stage in stages.items() if stage is not ledger.version(number).stage}
    by_stage = {
        stage.value: as_ranges(number for number, where in changed.items() if where is stage) for stage in Stage
    }
    return {
        "stages": {stage: numbers for stage, numbers in by_stage.items() if numbers},
        "aliases": _aliases(ledger, view),
        "tags": _tags(ledger, view),
    }


def _stages(ledger: Ledger, view: View) -> dict[int, Stage]:
    found = {number: _own_stage(item, ledger.version(number).stage, view) for number, item in view.versions.items()}
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        chosen = _holder(stage, found, ledger, view)
        inside = [number for number, where in found.items() if where is stage]
        found |= dict.fromkeys(inside, Stage.ARCHIVED)
        if chosen is not None:
            found[chosen] = stage
    return found


def _own_stage(version: ModelVersion, should: Stage, view: View) -> Stage:
    if view.has_stages and version.stage not in (None, should):
        return version.stage or Stage.NONE
    tag = version.tags.get(STAGE_TAG)
    return next((stage for stage in Stage if stage.value == tag), should)


def _holder(stage: Stage, found: dict[int, Stage], ledger: Ledger, view: View) -> int | None:
    alias, present = view.model.aliases.get(stage.alias or ""), ledger.holder(stage)
    others = sorted(number for number, where in found.items() if where is stage and number != present)
    if alias != present:
        return alias if alias in found or not others else others[-1]
    if others:
        return others[-1]
    return present if present is not None and found.get(present) is stage else None


def _aliases(ledger: Ledger, view: View) -> dict[str, int | None]:
    now = {alias: view.model.aliases.get(alias) for alias in ledger.aliases}
    return {alias: number for alias, number in now.items() if number != ledger.aliases[alias]}


def _tags(ledger: Ledger, view: View) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    for number, version in sorted(view.versions.items()):
        known = ledger.version(number).tags
        changed = {key: version.tags.get(key) for key, value in known.items() if version.tags.get(key) != value}
        if changed:
            found[str(number)] = changed
    return found
