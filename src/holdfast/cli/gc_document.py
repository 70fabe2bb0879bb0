"""What `holdfast gc --json` prints."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.core.cleanup.plan import Holding, Item, Plan
    from holdfast.maintenance.applying import Outcome
    from holdfast.maintenance.survey import Survey
    from holdfast.project import Project


def document(
    status: str, project: Project, plan: Plan, survey: Survey | None = None, outcome: Outcome | None = None
) -> dict[str, Any]:
    """Return a plan, and what came of it, as one document with no secret in it.

    Args:
        status: `planned`, `nothing to do`, `applied` or `stopped`.
        project: Whose secrets are masked.
        plan: The plan.
        survey: What made it; None where it came from a file.
        outcome: What came of it; None where nothing was done.
    """
    from holdfast.core.uris import mask_uri

    made: dict[str, Any] = {
        "status": status,
        "tracking_uri": mask_uri(project.settings.tracking_uri),
        "plan": {
            "made": stamp(plan.made_ms),
            "rules": asdict(plan.rules),
            "items": [item_of(item) for item in plan.items],
            "kept": [asdict(one) for one in plan.kept],
            "told": list(plan.told),
            "totals": {"items": dict(Counter(item.kind for item in plan.items)), **holding_of(plan.total)},
        },
        "troubles": None if survey is None else [asdict(one) for one in survey.troubles],
        "objects_seen": None if survey is None else survey.listed,
        "outcome": None if outcome is None else _outcome(outcome),
    }
    cleaned: dict[str, Any] = _clean(made, project)
    return cleaned


def _outcome(outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    return {
        "gc_id": outcome.gc_id,
        "done": [_short(item) for item in outcome.done],
        "skipped": [{**_short(one.item), "why": one.why} for one in outcome.skipped],
        "refused": [
            {**_short(one.item), "failures": [asdict(failure) for failure in one.failures]} for one in outcome.refused
        ],
        "reclaimed": holding_of(outcome.reclaimed),
        "hidden": outcome.trashed,
        "rows": dict(outcome.rows),
        "left": outcome.left,
        "error": None
        if error is None
        else {"message": error.message, "hint": error.hint, "retryable": error.retryable},
    }


def item_of(item: Item) -> dict[str, Any]:
    """Return an item with its times and sums readable."""
    return {**asdict(item), "holding": holding_of(item.holding)}


def _short(item: Item) -> dict[str, Any]:
    return {"kind": item.kind, "id": item.id, "name": item.name, "action": item.action}


def holding_of(held: Holding) -> dict[str, Any]:
    """Return what is stored, with its sum."""
    told = asdict(held)
    newest_ms = told.pop("newest_ms")
    told.pop("digest")
    return {**told, "all_bytes": held.all_bytes, "newest": None if newest_ms is None else stamp(newest_ms)}


def stamp(time_ms: int) -> str:
    """Return a time as `2026-11-22T20:15:00Z`."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _clean(found: Any, project: Project) -> Any:
    from holdfast.core.uris import mask_passwords_in

    if isinstance(found, dict):
        return {str(key): _clean(value, project) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_clean(value, project) for value in found]
    return mask_passwords_in(project.redact(found)) if isinstance(found, str) else found
