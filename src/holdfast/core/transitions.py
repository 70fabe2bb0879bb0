"""Which stage may follow which, and how many approve: two rows of the promotion policy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from holdfast.core.stages import Stage, parse_stage
from holdfast.errors import InvalidInputError

# From each stage, where a version may go, in the order of the stages; a stage that is missing is left by nobody.
Transitions: TypeAlias = Mapping[Stage, tuple[Stage, ...]]

PRESETS: Mapping[str, Transitions] = MappingProxyType(
    {
        "any": MappingProxyType({stage: tuple(other for other in Stage if other is not stage) for stage in Stage}),
        "step-by-step": MappingProxyType(
            {
                Stage.NONE: (Stage.STAGING,),
                Stage.STAGING: (Stage.NONE, Stage.PRODUCTION, Stage.ARCHIVED),
                Stage.PRODUCTION: (Stage.STAGING, Stage.ARCHIVED),
                Stage.ARCHIVED: (Stage.NONE, Stage.STAGING),
            }
        ),
    }
)
_STAGES = ", ".join(Stage)


def read_transitions(value: object, problems: list[str]) -> Transitions:
    """Read the row `transitions`; false, as where there is none, allows every move.

    Args:
        value: The name of a preset, or a table of stage = list of stages.
        problems: What is wrong is added here; the result is then of no use.
    """
    if value is False:
        return PRESETS["any"]
    if isinstance(value, str) and value in PRESETS:
        return PRESETS[value]
    if not isinstance(value, Mapping):
        known = ", ".join(f'"{name}"' for name in PRESETS)
        problems.append(f'transitions is {value!r:.60}; write {known}, or a table such as {{ None = ["Staging"] }}')
        return PRESETS["any"]
    found: dict[Stage, tuple[Stage, ...]] = {}
    for stage, targets in _by_stage("transitions", value, problems).items():
        listed = [targets] if isinstance(targets, str) else targets
        if not isinstance(listed, list | tuple):
            problems.append(f'transitions from {stage} is {targets!r:.60}; write a list such as ["Staging"]')
            continue
        to = {_stage(f"transitions from {stage}", item, problems) for item in listed} - {stage}
        found[stage] = tuple(other for other in Stage if other in to)
    return MappingProxyType(found)


def read_approvals(value: object, problems: list[str]) -> Mapping[Stage, int]:
    """Read the row `approvals`, a table of stage = how many must approve; false, as where there is none, asks nobody.

    Args:
        value: The table.
        problems: What is wrong is added here; the result is then of no use.
    """
    if value is False:
        return MappingProxyType({})
    if not isinstance(value, Mapping):
        problems.append(f"approvals is {value!r:.60}; write a table such as {{ Production = 2 }}")
        return MappingProxyType({})
    found = {}
    for stage, count in _by_stage("approvals", value, problems).items():
        if count is False:
            continue
        if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
            found[stage] = count
        else:
            problems.append(f"approvals of {stage} is {count!r:.60}; write a whole number from 0 up")
    return MappingProxyType(found)


def _by_stage(row: str, table: Mapping[object, object], problems: list[str]) -> dict[Stage, object]:
    found: dict[Stage, object] = {}
    for name, value in table.items():
        stage = _stage(row, name, problems)
        if stage in found:
            problems.append(f"{row} has {stage} twice; keep one")
        if stage is not None:
            found[stage] = value
    return found


def _stage(row: str, name: object, problems: list[str]) -> Stage | None:
    try:
        return parse_stage(name)
    except InvalidInputError:
        problems.append(f"{row} names {name!r:.60}, which is no stage; write one of {_STAGES}")
        return None
