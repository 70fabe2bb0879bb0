"""Whether the data a version would meet today still looks like what it was trained on."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.backend.entities import Run
from holdfast.core.drift import ColumnDrift, DriftReport, measure_drift
from holdfast.core.drift_columns import read_table
from holdfast.core.drift_page import summarize
from holdfast.core.evidence import DriftRule
from holdfast.core.promotion import CheckAnswer
from holdfast.errors import DataError, InvalidInputError, MissingDependencyError, NotFoundError
from holdfast.project import Project
from holdfast.registry.gates.case import Case

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class NoDrift:
    """No more columns of the new data have drifted than the rule allows.

    Attributes:
        rule: The reference among the run's artifacts, the new data, and what counts as drift. A relative path of the
            new data is taken from the project's root.
    """

    rule: DriftRule

    @property
    def name(self) -> str:
        """What is asked."""
        return f"no drift in {self.rule.current}"

    def answer(self, case: Case) -> CheckAnswer:
        """Answer; the reason holds the columns that have drifted, with their numbers."""
        if case.run is None:
            return CheckAnswer(
                self.name, False, "the version has no run, which would hold a sample of its training data"
            )
        try:
            report = measure_run(case.project, case.run, self.rule)
        except (DataError, InvalidInputError, MissingDependencyError, NotFoundError) as error:
            return CheckAnswer(self.name, False, f"{error.message.rstrip('.')}: {error.hint}")
        return CheckAnswer(self.name, report.passed, describe(report))


def measure_run(project: Project, run: Run, rule: DriftRule) -> DriftReport:
    """Compare a local file of new data with the reference that a run logged.

    Args:
        project: With whose keys the reference is fetched.
        run: The run of the version.
        rule: As of `NoDrift`.

    Raises:
        NotFoundError: The run has no such reference.
        DataError: A file is no table, the new data is missing, or the two cannot be compared.
        MissingDependencyError: numpy, scipy or pandas is not installed.
        ArtifactError: The store cannot be reached.
    """
    reference = _fetch_reference(project, run, rule.reference)
    return measure_drift(reference, _read(project.settings.project_root / rule.current), rule)


def _fetch_reference(project: Project, run: Run, path: str) -> pd.DataFrame:
    folder = path.rpartition("/")[0]
    if not any(
        item.path == path and not item.is_dir for item in project.artifacts.list_files(run.artifact_uri, folder)
    ):
        raise NotFoundError(
            f"Run {run.run_id} has no file {path} with a sample of its training data.",
            "log one while training, tracker.log_reference(training_inputs), or name another artifact",
        )
    with tempfile.TemporaryDirectory(prefix="holdfast-drift-") as scratch:
        return _read(project.artifacts.download(run.artifact_uri, path, Path(scratch)))


def _read(path: Path) -> pd.DataFrame:
    try:
        with path.open("rb") as file:
            return read_table(file, path.name)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", "give the path of a CSV file") from None


def describe(report: DriftReport) -> str:
    """Return the answer in one sentence, with each column that has drifted and its numbers."""
    found = [_of(column, report.alpha) for column in report.drifted]
    return "; ".join([summarize(report), *found])


def _of(column: ColumnDrift, alpha: float) -> str:
    said = []
    if column.corrected_p is not None and column.corrected_p < alpha and column.psi is not None:
        said.append(f"PSI {column.psi:.3g}, p {column.corrected_p:.3g}")
    if column.missing_p is not None and column.missing_p < alpha:
        said.append(f"missing {column.missing_reference:.1%} -> {column.missing_current:.1%}")
    if column.new_count:
        said.append(f"{column.new_count} new categories ({', '.join(column.new)})")
    return f"{column.column}: {', '.join(said)}"
