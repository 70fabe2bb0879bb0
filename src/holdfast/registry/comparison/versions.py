"""What tells two versions of a model apart: metrics, params, tags, signature, files, lineage, plots.

The order is that of the command line: A is what one has, B what one thinks of. A difference is B's value minus A's.
Which direction is better is not guessed from a metric's name.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.backend.entities import Run
from holdfast.core.bootstrap import PairedDifference, paired_difference
from holdfast.core.evidence import BootstrapRule
from holdfast.core.scores import SCORES_FOLDER, read_scores, scores_path
from holdfast.errors import ArtifactError, HoldfastError
from holdfast.project import Project
from holdfast.registry.comparison.sides import Plot, Side, plots_of, side_of
from holdfast.registry.lookup import find_version
from holdfast.registry.serving.resolving import ledger_of

_FEWEST_PAIRS = 2


@dataclass(frozen=True)
class MetricRow:
    """A metric of both runs.

    Attributes:
        name: The metric.
        a: The last value of A's run; None where it was not logged. May be NaN or infinite.
        b: That of B's.
        difference: B minus A; None where one is missing or not finite.
        relative: The difference as a share of A's absolute value; None where that is 0 too.
        paired: The mean difference of the scores that both runs logged of the same examples, B minus A, with its
            bootstrap interval; None where not both did.
        note: Why there is no interval, where scores are there.
    """

    name: str
    a: float | None
    b: float | None
    difference: float | None
    relative: float | None
    paired: PairedDifference | None = None
    note: str = ""


@dataclass(frozen=True)
class TextRow:
    """A param, tag, column, file or fact of both; None where one has none of this name."""

    name: str
    a: str | None
    b: str | None

    @property
    def differs(self) -> bool:
        """Whether the two are not the same."""
        return self.a != self.b


@dataclass(frozen=True)
class Comparison:
    """Two versions side by side; rows are sorted by name and hold equal values too.

    Attributes:
        name: The registered model.
        a: The first.
        b: The second.
        metrics: Of their runs.
        params: Of their runs.
        tags: Of the versions.
        signature: The columns of the signatures, as `inputs: age`.
        files: The models' files with their sizes in bytes.
        lineage: What each was made from.
        plots: Images that both runs have under the same path; empty unless they were asked for.
        plots_left_out: How many more there are, which are too large or too many.
        problems: What could not be found out, and why.
    """

    name: str
    a: Side
    b: Side
    metrics: tuple[MetricRow, ...]
    params: tuple[TextRow, ...]
    tags: tuple[TextRow, ...]
    signature: tuple[TextRow, ...]
    files: tuple[TextRow, ...]
    lineage: tuple[TextRow, ...]
    plots: tuple[Plot, ...] = ()
    plots_left_out: int = 0
    problems: tuple[str, ...] = ()


def compare(
    project: Project,
    name: str,
    a: int | str,
    b: int | str,
    *,
    with_plots: bool = False,
    bootstrap: BootstrapRule | None = None,
) -> Comparison:
    """Compare two versions of a registered model.

    A version without a run, or whose files cannot be read, is compared in what there is; `problems` says the rest.

    Args:
        project: Whose registry.
        name: The registered model.
        a: A number, a stage, an alias, or `latest`.
        b: The same.
        with_plots: Whether to fetch the images too.
        bootstrap: How the intervals are made.

    Raises:
        InvalidInputError: The name or a version has a form that cannot be.
        NotFoundError: There is no such version.
        BackendError: The registry or the tracking store cannot be asked.
    """
    ledger = ledger_of(project, name)
    found = [find_version(project, name, wanted) for wanted in (a, b)]
    first, second = (side_of(project, version, ledger.version(version.version).checksum) for version in found)
    problems = [*first.problems, *second.problems]
    metrics = _metric_rows(project, first, second, bootstrap or BootstrapRule(), problems)
    plots, left_out = plots_of(project, first.run, second.run, problems) if with_plots else ((), 0)
    return Comparison(
        name=name,
        a=first,
        b=second,
        metrics=metrics,
        params=_rows(first, second, lambda side: {} if side.run is None else side.run.params),
        tags=_rows(first, second, lambda side: side.version.tags),
        signature=_rows(first, second, lambda side: side.signature),
        files=_rows(first, second, lambda side: {path: str(size) for path, size in side.files.items()}),
        lineage=_rows(first, second, lambda side: side.lineage),
        plots=plots,
        plots_left_out=left_out,
        problems=tuple(dict.fromkeys(problems)),
    )


def _rows(a: Side, b: Side, part: Callable[[Side], Mapping[str, str]]) -> tuple[TextRow, ...]:
    ours, theirs = part(a), part(b)
    return tuple(TextRow(key, ours.get(key), theirs.get(key)) for key in sorted(set(ours) | set(theirs)))


# -- metrics ------------------------------------------------------------------------------


def _metric_rows(
    project: Project, a: Side, b: Side, bootstrap: BootstrapRule, problems: list[str]
) -> tuple[MetricRow, ...]:
    ours, theirs = ({} if side.run is None else side.run.metrics for side in (a, b))
    scored = _scored(project, a.run, b.run, set(ours) & set(theirs), problems)
    rows = []
    with tempfile.TemporaryDirectory(prefix="holdfast-compare-") as scratch:
        for name in sorted(set(ours) | set(theirs)):
            paired, note = None, ""
            if name in scored and a.run is not None and b.run is not None:
                paired, note = _paired(project, a.run, b.run, scores_path(name), bootstrap, Path(scratch))
            rows.append(_metric_row(name, ours.get(name), theirs.get(name), paired, note))
    return tuple(rows)


def _metric_row(name: str, a: float | None, b: float | None, paired: PairedDifference | None, note: str) -> MetricRow:
    if a is None or b is None or not (math.isfinite(a) and math.isfinite(b)):
        return MetricRow(name, a, b, None, None, paired, note)
    return MetricRow(name, a, b, b - a, (b - a) / abs(a) if a else None, paired, note)


def _scored(project: Project, a: Run | None, b: Run | None, metrics: Iterable[str], problems: list[str]) -> set[str]:
    """Return the metrics of which both runs logged scores, one an example."""
    if a is None or b is None:
        return set()
    try:
        there = [
            {item.path for item in project.artifacts.list_files(run.artifact_uri, SCORES_FOLDER)} for run in (a, b)
        ]
    except ArtifactError as error:
        problems.append(f"scores of single examples cannot be listed: {error.message}")
        return set()
    return {name for name in metrics if all(scores_path(name) in paths for paths in there)}


def _paired(
    project: Project, a: Run, b: Run, path: str, bootstrap: BootstrapRule, scratch: Path
) -> tuple[PairedDifference | None, str]:
    try:
        ours, theirs = (
            read_scores(project.artifacts.download(run.artifact_uri, path, Path(tempfile.mkdtemp(dir=scratch))))
            for run in (a, b)
        )
        pairs = [(theirs[example], score) for example, score in ours.items() if example in theirs]
        if len(pairs) < _FEWEST_PAIRS:
            return None, f"{len(pairs)} examples have a score in both runs"
        return paired_difference([one for one, _ in pairs], [other for _, other in pairs], bootstrap), ""
    except HoldfastError as error:
        return None, error.message
