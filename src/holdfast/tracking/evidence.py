"""What a tracker logs beside metrics and files, so that a promotion can be decided on evidence later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from holdfast.project import Project
from holdfast.tracking.lineage import DataPaths, log_lineage
from holdfast.tracking.open_run import OpenRun
from holdfast.tracking.scores import log_reference, log_scores


class Evidence(ABC):
    """The methods of `MLflowTracker` that log where a run came from and what it can be compared by."""

    _project: Project

    @abstractmethod
    def _open_run(self) -> OpenRun:
        """Return the run that this thread logs to."""

    def log_scores(self, metric: str, scores: Any, examples: Any = None) -> None:
        """Log the scores that a metric is the mean of, so that two models can be compared example by example.

        They become the file `scores/<metric>.csv` of the run. Where both a version's run and that of the present
        Production have them, a promotion rule judges the difference by a paired bootstrap interval.

        Args:
            metric: The metric's name, as it is logged: `test/log_loss`.
            scores: One finite number an example, whose mean is the metric: losses, or 1 and 0 for right and wrong.
            examples: An id for each, the same in every run that measures the same example; if not given, their
                positions, for test sets that never change their order.

        Raises:
            InvalidInputError: Says everything that is wrong with names, lengths, ids and numbers; nothing is logged.
            RunStateError: No run is open, or this thread began none and several are.
            ArtifactError: The artifact store refused it; told by `flush` where it was handed over.
        """
        log_scores(self._project, self._open_run(), metric, scores, examples)

    def log_reference(self, data: Any, rows: int = 10_000, seed: int = 0) -> None:
        """Log a sample of the training inputs as `reference.csv`, which new data is compared with (`models drift`).

        Args:
            data: A `pandas.DataFrame`, one row an example, or the path of a CSV file.
            rows: The most rows to keep; drawn without replacement, in their order.
            seed: Of the drawing; the same data gives the same sample.

        Raises:
            InvalidInputError: It is no table, or there is nothing in it.
            DataError: The file is no CSV table.
            MissingDependencyError: pandas is not installed.
            RunStateError: No run is open, or this thread began none and several are.
            ArtifactError: The artifact store refused it; told by `flush` where it was handed over.
        """
        log_reference(self._project, self._open_run(), data, rows, seed)

    def log_lineage(self, data: DataPaths | None = None, diff: bool = True, environment: bool = True) -> None:
        """Log what the open run comes from: the code's state now, the data's fingerprints, the environment.

        Tags: `holdfast.git.commit`, `.branch`, `.author`, `.dirty` and `.diff` (the SHA-256 of the uncommitted
        changes), and `holdfast.data.<name>` with the SHA-256 of each file. Files: `lineage/uncommitted.diff`, at most
        1 MiB of it, with keys and passwords masked, `.env` and key files left out, and files that are in no commit only
        named; `lineage/environment.txt`, Python, the platform and every installed distribution. Without a git
        repository around the working directory the rest is logged, and where `diff` was asked for a warning says so
        once.

        Args:
            data: The files or folders that are trained on: a list of paths, named by their last part, or name → path.
            diff: Whether the uncommitted changes are kept.
            environment: Whether the environment is.

        Raises:
            InvalidInputError: A data file cannot be read, or two have the same name; nothing is logged then.
            RunStateError: No run is open, or this thread began none and several are.
            ArtifactError: The artifact store refused a file; told by `flush` where it was handed over.
        """
        log_lineage(self._project, self._open_run(), data, diff, environment)
