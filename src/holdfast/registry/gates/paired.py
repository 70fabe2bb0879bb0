"""Comparing a version with Production example by example, where both runs logged their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from holdfast.backend.entities import Run
from holdfast.core.bootstrap import PairedDifference, paired_difference
from holdfast.core.evidence import BootstrapRule
from holdfast.core.promotion import Check, CheckAnswer
from holdfast.core.scores import SCORES_FOLDER, read_scores, scores_path
from holdfast.errors import DataError, MissingDependencyError
from holdfast.registry.gates.case import Case

# Fewer tell nothing of the spread; and who leaves out half of what Production was measured on may have chosen.
_FEWEST_PAIRS = 30
_LEAST_SHARE = 0.5


def answer_with_scores(case: Case, check: Check, bootstrap: BootstrapRule) -> CheckAnswer | None:
    """Judge a difference to the present Production by the interval of the paired differences.

    The interval is of the mean of candidate minus Production over the examples that both runs have scores of. With
    `no-harm` the check passes only where even the interval's worse end is within the tolerance; with `harm` it refuses
    only where even the better end is beyond it. A relative tolerance is a share of Production's mean on those examples.

    Args:
        case: The version, and the one in Production.
        check: A comparison with Production; its metric names the scores.
        bootstrap: How the interval is made, and what counts as evidence.

    Returns:
        The answer, or None where not both runs have scores of this metric.

    Raises:
        ArtifactError: The store cannot be reached.
    """
    candidate, production = case.run, case.production_run
    if candidate is None or production is None:
        return None
    path = scores_path(check.metric)
    if not (_has(case, candidate, path) and _has(case, production, path)):
        return None
    try:
        ours, theirs = (read_scores(_fetch(case, run, path)) for run in (candidate, production))
        return _judge(check, bootstrap, ours, theirs, candidate)
    except (DataError, MissingDependencyError) as error:
        return CheckAnswer(str(check), False, f"{error.message.rstrip('.')}: {error.hint}")


def _has(case: Case, run: Run, path: str) -> bool:
    return any(item.path == path for item in case.project.artifacts.list_files(run.artifact_uri, SCORES_FOLDER))


def _fetch(case: Case, run: Run, path: str) -> Path:
    return case.fetch(run.artifact_uri, path)


def _judge(
    check: Check, bootstrap: BootstrapRule, ours: Mapping[str, float], theirs: Mapping[str, float], run: Run
) -> CheckAnswer:
    pairs = [(ours[example], score) for example, score in theirs.items() if example in ours]
    if len(pairs) < max(_FEWEST_PAIRS, _LEAST_SHARE * len(theirs)):
        reason = (
            f"only {len(pairs):,} of Production's {len(theirs):,} examples have a score of this version; at least "
            f"{_FEWEST_PAIRS} and half of them are needed: log the scores of the same examples, under the same ids"
        )
        return CheckAnswer(str(check), False, reason)
    found = paired_difference([first for first, _ in pairs], [second for _, second in pairs], bootstrap)
    tolerance = check.tolerance(found.second_mean)
    reason = f"{_numbers(found)}; {_of(len(pairs), len(ours), len(theirs))}, {_meaning(bootstrap, tolerance)}"
    return CheckAnswer(str(check), _passes(check, bootstrap, found, tolerance), reason + _note(check, ours, run))


def _passes(check: Check, bootstrap: BootstrapRule, found: PairedDifference, tolerance: float) -> bool:
    """Whether the interval allows it; a difference is a loss where it points against the check's direction."""
    worse, better = (found.high, found.low) if check.kind == "not-above-production" else (-found.low, -found.high)
    loss = worse if bootstrap.evidence == "no-harm" else better
    # What is at the bound but for the last digit passes.
    return loss <= tolerance + 1e-12 * max(abs(found.second_mean), abs(found.first_mean))


def _numbers(found: PairedDifference) -> str:
    interval = f"{100 * found.confidence:.4g} % interval {found.low:+.6g} to {found.high:+.6g}"
    return f"{found.first_mean:.6g} against Production's {found.second_mean:.6g}, {found.difference:+.6g}, {interval}"


def _of(pairs: int, ours: int, theirs: int) -> str:
    return f"{pairs:,} examples" + ("" if pairs == ours == theirs else f" paired of {ours:,} and {theirs:,}")


def _meaning(bootstrap: BootstrapRule, tolerance: float) -> str:
    asked = "must rule out a loss" if bootstrap.evidence == "no-harm" else "must not show a loss"
    return f"which {asked} above {tolerance:.4g}"


def _note(check: Check, ours: Mapping[str, float], run: Run) -> str:
    """Say where the metric is not what its scores amount to: then one of them is of another evaluation."""
    logged = run.metrics.get(check.metric)
    mean = math.fsum(ours.values()) / len(ours)
    if logged is None or math.isclose(logged, mean, rel_tol=1e-3, abs_tol=1e-9):
        return ""
    return f" (the run's {check.metric} is {logged:.6g}, not the mean of its scores, {mean:.6g})"
