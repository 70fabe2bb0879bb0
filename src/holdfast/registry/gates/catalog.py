"""All gates of a rule, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.core.gate_rule import GateRule
from holdfast.core.promotion import CheckAnswer
from holdfast.registry.gates.about import HasDescription, HasInputExample, HasSignature, HasTag
from holdfast.registry.gates.artifacts import Artifacts
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.data import SameData
from holdfast.registry.gates.drift import NoDrift
from holdfast.registry.gates.functions import Asks
from holdfast.registry.gates.gate import Gate
from holdfast.registry.gates.git import CleanGit
from holdfast.registry.gates.loads import Loads
from holdfast.registry.gates.metrics import MetricCheck


def gates_for(rule: GateRule) -> tuple[Gate, ...]:
    """Return the gates a rule asks for: first what the registry knows, then what needs files, last what runs code."""
    known: list[Gate] = [HasDescription()] if rule.description else []
    known += [HasTag(key, value) for key, value in rule.tags.items()]
    known += [MetricCheck(check, rule.bootstrap) for check in rule.metrics.checks]
    return (*known, *_of_evidence(rule), *_of_files(rule), *map(Asks, rule.callables), *_of_trials(rule))


def _of_evidence(rule: GateRule) -> list[Gate]:
    gates: list[Gate] = [CleanGit()] if rule.clean_git else []
    gates += [SameData(rule.data)] if rule.data else []
    return gates + ([NoDrift(rule.drift)] if rule.drift else [])


def _of_files(rule: GateRule) -> list[Gate]:
    gates: list[Gate] = [HasSignature()] if rule.signature else []
    gates += [HasInputExample()] if rule.input_example else []
    return gates + ([Artifacts()] if rule.artifacts else [])


def _of_trials(rule: GateRule) -> list[Gate]:
    # Last, since a model that is loaded may do anything, to its own files too.
    return [] if rule.loads_timeout_s is None else [Loads(rule.loads_timeout_s)]


def ask(gates: Iterable[Gate], case: Case) -> tuple[CheckAnswer, ...]:
    """Ask all gates, whatever the first ones answer.

    Raises:
        HoldfastError: A server or a store cannot be reached.
    """
    return tuple(gate.answer(case) for gate in gates)
