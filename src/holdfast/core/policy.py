"""The promotion policy: the gates before each stage, the allowed moves, and how many approve.

It is written as a table, in pyproject.toml for instance:

    [tool.holdfast.promotion]                                # asked before Production
    min = { "test/auc" = 0.65 }
    not-below-production = { "test/accuracy" = "1%" }
    signature = true
    loads = { timeout-s = 60 }
    transitions = "step-by-step"
    approvals = { Production = 2 }
    staging = { input-example = true }                       # asked before Staging

`false` turns a row off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.core.gate_rule import GATE_ROWS, GateRule, named_rows, read_gate_rule
from holdfast.core.promotion import PromotionRule
from holdfast.core.stages import Stage
from holdfast.core.transitions import PRESETS, Transitions, read_approvals, read_transitions
from holdfast.errors import SettingsError

__all__ = ["GateRule", "PromotionPolicy", "parse_policy"]

_OWN_ROWS = ("transitions", "approvals", "staging")
_NOTHING = GateRule()


@dataclass(frozen=True)
class PromotionPolicy:
    """What must be so before a version may move. The default asks nothing and allows every move.

    Attributes:
        production: The gates before Production.
        staging: The gates before Staging.
        transitions: From each stage, where a version may go.
        approvals: How many must approve before a version may enter a stage.
    """

    production: GateRule = field(default_factory=GateRule)
    staging: GateRule = field(default_factory=GateRule)
    transitions: Transitions = field(default_factory=lambda: PRESETS["any"])
    approvals: Mapping[Stage, int] = field(default_factory=dict)

    @classmethod
    def of_rule(cls, rule: PromotionRule) -> PromotionPolicy:
        """Return the policy that asks before Production what a rule about metrics asks, and nothing else."""
        return cls(production=GateRule(metrics=rule))

    def rule_for(self, stage: Stage) -> GateRule:
        """Return the gates before a stage; None and Archived have none."""
        return {Stage.PRODUCTION: self.production, Stage.STAGING: self.staging}.get(stage, _NOTHING)

    def allows(self, from_stage: Stage, to_stage: Stage) -> bool:
        """Whether a version may go from one stage to another; staying where it is always may."""
        return from_stage is to_stage or to_stage in self.allowed_from(from_stage)

    def allowed_from(self, stage: Stage) -> tuple[Stage, ...]:
        """Return the other stages that a version may go to from this one, in their order."""
        return self.transitions.get(stage, ())

    def approvers(self, stage: Stage) -> int:
        """Return how many must approve before a version may enter a stage."""
        return self.approvals.get(stage, 0)


def parse_policy(table: Mapping[str, object]) -> PromotionPolicy:
    """Read a policy from its table; an empty one asks nothing.

    Raises:
        SettingsError: Names every unknown row with the nearest known one, and every value that is none with its form.
    """
    problems: list[str] = []
    rows = named_rows(table, (*GATE_ROWS, *_OWN_ROWS), problems)
    own = {name: rows.pop(name, False) for name in _OWN_ROWS}
    policy = PromotionPolicy(
        production=read_gate_rule(rows, problems),
        staging=_read_staging(own["staging"], problems),
        transitions=read_transitions(own["transitions"], problems),
        approvals=read_approvals(own["approvals"], problems),
    )
    if problems:
        raise SettingsError(
            "The promotion policy is not valid: " + "; ".join(problems) + ".", "mend [tool.holdfast.promotion]"
        )
    return policy


def _read_staging(value: object, problems: list[str]) -> GateRule:
    if value is False:
        return GateRule()
    if not isinstance(value, Mapping):
        problems.append(f"staging is {value!r:.60}; write the gates' rows, [tool.holdfast.promotion.staging]")
        return GateRule()
    inside = {str(row).replace("_", "-"): row for row in value}
    misplaced = [inside[row] for row in _OWN_ROWS if row in inside]
    problems += [
        f"staging.{row} has no meaning there; put it into [tool.holdfast.promotion] itself" for row in misplaced
    ]
    gates = {row: item for row, item in value.items() if row not in misplaced}
    return read_gate_rule(named_rows(gates, GATE_ROWS, problems, "staging."), problems, "staging.")
