"""Evidence of a run on every store: scores, a sample of the data, and the gates that ask for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from holdfast import MLflowTracker, open_project
from holdfast.backend.entities import ModelVersion
from holdfast.core.evidence import BootstrapRule, DriftRule
from holdfast.core.promotion import Check, CheckAnswer
from holdfast.core.stages import Stage
from holdfast.errors import DataError, InvalidInputError, RunStateError
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.drift import NoDrift
from holdfast.registry.gates.paired import answer_with_scores

# Nothing here differs between databases.
pytestmark = pytest.mark.backends("sqlite", "http")

LOSS = Check("not-above-production", "test/loss", 0.0)


@pytest.fixture
def tracker(tracking_uri: str, unique: str, tmp_path: Path) -> MLflowTracker:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return MLflowTracker(tracking_uri=tracking_uri, experiment_name=unique, artifact_uri=root)


def log(tracker: MLflowTracker, scores: Any, examples: Any = None, **metrics: float) -> str:
    with tracker.run() as run_id:
        tracker.log_scores("test/loss", scores, examples)
        tracker.log_metrics(metrics)
    return run_id


def version(run_id: str, number: int = 1) -> ModelVersion:
    return ModelVersion("m", number, Stage.NONE, "READY", "models:/m-0", run_id, "", 0)


def case(tracker: MLflowTracker, candidate: str, production: str | None = None) -> Case:
    tracker.flush()
    project = open_project(tracker.settings)
    return Case(project, version(candidate, 2), Stage.PRODUCTION, version(production) if production else None)


def judged(
    tracker: MLflowTracker, ours: str, theirs: str, check: Check = LOSS, evidence: str = "no-harm"
) -> CheckAnswer:
    with case(tracker, ours, theirs) as opened:
        answer = answer_with_scores(opened, check, BootstrapRule(evidence=evidence))
    assert answer is not None
    return answer


# -- scores ---------------------------------------------------------------------------


def test_two_versions_are_compared_example_by_example(tracker: MLflowTracker) -> None:
    rng = np.random.default_rng(0)
    base = rng.exponential(size=400)
    ids = [f"game {i}" for i in range(400)]
    present = log(tracker, base, ids)
    same = log(tracker, base[::-1], ids[::-1])  # another order, the same scores
    better = log(tracker, base - 0.1 + rng.normal(0, 0.1, 400), ids)
    worse = log(tracker, base + 0.1 + rng.normal(0, 0.1, 400), ids)
    unsure = log(tracker, base + rng.normal(0, 0.5, 400), ids)

    answer = judged(tracker, same, present)
    assert answer.passed
    assert "interval +0 to +0; 400 examples" in answer.reason
    assert judged(tracker, better, present).passed
    assert not judged(tracker, worse, present).passed
    # What nobody can tell is refused where no harm must be shown, and let through where harm must be.
    assert not judged(tracker, unsure, present).passed
    assert judged(tracker, unsure, present, evidence="harm").passed
    assert not judged(tracker, worse, present, evidence="harm").passed
    # A tolerance, also as a share of Production's mean; and metrics of which more is better.
    assert judged(tracker, worse, present, replace(LOSS, number=0.2)).passed
    assert judged(tracker, worse, present, replace(LOSS, number=0.2, is_relative=True)).passed
    assert not judged(tracker, worse, present, replace(LOSS, number=0.01, is_relative=True)).passed
    more = Check("not-below-production", "test/loss", 0.0)
    assert judged(tracker, worse, present, more).passed
    assert not judged(tracker, better, present, more).passed


def test_without_scores_of_both_there_is_no_answer(tracker: MLflowTracker) -> None:
    with tracker.run() as bare:
        tracker.log_metrics({"test/loss": 1.0})
    scored = log(tracker, [0.5] * 40)
    for ours, theirs in ((bare, scored), (scored, bare), (scored, None)):
        with case(tracker, ours, theirs) as opened:
            assert answer_with_scores(opened, LOSS, BootstrapRule()) is None
    with case(tracker, scored, scored) as opened:
        assert answer_with_scores(opened, replace(LOSS, metric="test/other"), BootstrapRule()) is None


def test_scores_of_other_examples_are_no_evidence(tracker: MLflowTracker) -> None:
    present = log(tracker, [0.5] * 100, [f"a{i}" for i in range(100)])
    chosen = log(tracker, [0.1] * 40, [f"a{i}" for i in range(40)])
    other = log(tracker, [0.1] * 100, [f"b{i}" for i in range(100)])
    grown = log(tracker, [0.1] * 300, [f"a{i}" for i in range(300)])
    assert "only 40 of Production's 100 examples" in judged(tracker, chosen, present).reason
    assert not judged(tracker, other, present).passed
    answer = judged(tracker, grown, present)
    assert answer.passed
    assert "100 examples paired of 300 and 100" in answer.reason
    few = log(tracker, [0.1] * 20)
    assert not judged(tracker, few, few).passed


def test_scores_that_are_not_the_metrics_are_pointed_at(tracker: MLflowTracker) -> None:
    present = log(tracker, [0.5] * 40, **{"test/loss": 0.5})
    odd = log(tracker, [0.4] * 40, **{"test/loss": 0.9})
    assert "the run's test/loss is 0.9, not the mean of its scores, 0.4" in judged(tracker, odd, present).reason
    assert "not the mean" not in judged(tracker, present, odd).reason


def test_damaged_scores_do_not_pass(tracker: MLflowTracker, tmp_path: Path) -> None:
    present = log(tracker, [0.5] * 40)
    path = tmp_path / "test-loss.csv"
    path.write_text("example,score\n0,nan\n")
    with tracker.run() as damaged:
        tracker.log_artifact(path, "scores")
    answer = judged(tracker, damaged, present)
    assert not answer.passed
    assert "line 2" in answer.reason


def test_bad_evidence_is_refused_before_anything_is_stored(tracker: MLflowTracker, tmp_path: Path) -> None:
    with pytest.raises(RunStateError):
        tracker.log_scores("m", [1.0])
    with tracker.run() as run_id:
        with pytest.raises(InvalidInputError, match="nan at position 0"):
            tracker.log_scores("m", [float("nan")])
        for data in ([1, 2], {"a": [1]}, tmp_path / "missing.csv", pd.DataFrame(), pd.DataFrame({"a": []})):
            with pytest.raises(InvalidInputError):
                tracker.log_reference(data)
        for rows in (0, -1, 1.5, True):
            with pytest.raises(InvalidInputError, match="rows"):
                tracker.log_reference(pd.DataFrame({"a": [1]}), rows=rows)  # type: ignore[arg-type]
        (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DataError):
            tracker.log_reference(tmp_path / "bad.csv")
        (tmp_path / "a").mkdir()
        for data in (
            [tmp_path / "missing"],
            str(tmp_path),
            {"na$me": tmp_path},
            [tmp_path / "a", tmp_path / "." / "a"],
        ):
            with pytest.raises(InvalidInputError):
                tracker.log_lineage(data)
    tracker.flush()
    assert tracker._project.artifacts.list_files(tracker.get_run_info(run_id)["artifact_uri"]) == []


# -- drift ----------------------------------------------------------------------------


def test_new_data_is_compared_with_what_was_trained_on(tracker: MLflowTracker, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=3000), "team": rng.choice(["a", "b"], 3000)})
    frame.index = [0] * 3000  # type: ignore[assignment]
    with tracker.run() as run_id:
        tracker.log_reference(frame, rows=1000)
    with tracker.run() as again:
        tracker.log_reference(frame, rows=1000)
    with case(tracker, run_id) as opened, case(tracker, again) as other:
        first = opened.fetch(opened.run.artifact_uri, "reference.csv").read_text()  # type: ignore[union-attr]
        assert first == other.fetch(other.run.artifact_uri, "reference.csv").read_text()  # type: ignore[union-attr]
        assert len(first.splitlines()) == 1001
        same, moved = tmp_path / "same.csv", tmp_path / "moved.csv"
        frame.sample(500, random_state=1).to_csv(same, index=False)
        frame.assign(x=frame["x"] + 2, team="c").sample(500, random_state=1).to_csv(moved, index=False)
        assert NoDrift(DriftRule("reference.csv", str(same))).answer(opened).passed
        answer = NoDrift(DriftRule("reference.csv", str(moved))).answer(opened)
        assert not answer.passed
        assert "2 columns have drifted of 2 (500 new rows against 1,000" in answer.reason
        assert "x: PSI " in answer.reason
        assert "team: PSI" in answer.reason
        assert "1 new categories (c)" in answer.reason
        assert NoDrift(DriftRule("reference.csv", str(moved), max_drifted=2)).answer(opened).passed
        for rule, said in (
            (DriftRule("other.csv", str(same)), "no file other.csv"),
            (DriftRule("../reference.csv", str(same)), "no path inside"),
            (DriftRule("reference.csv", str(tmp_path / "missing.csv")), "cannot be read"),
            (DriftRule("reference.csv", str(same), ("y",)), "lacks the columns y"),
        ):
            answer = NoDrift(rule).answer(opened)
            assert (answer.passed, said in answer.reason) == (False, True)
