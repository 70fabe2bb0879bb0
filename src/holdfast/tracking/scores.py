"""Evidence for later comparisons, as files of a run: scores one by one, and a sample of the training data."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.drift_columns import read_table
from holdfast.core.lineage import REFERENCE_FILE
from holdfast.core.missing import load_library
from holdfast.core.scores import scores_path, to_scores, write_scores
from holdfast.errors import InvalidInputError
from holdfast.project import Project
from holdfast.tracking.open_run import OpenRun
from holdfast.tracking.run_files import log_files

if TYPE_CHECKING:
    import pandas as pd


def log_scores(project: Project, run: OpenRun, metric: str, scores: Any, examples: Any) -> None:
    """Log scores one by one; see `MLflowTracker.log_scores`."""
    rows = to_scores(metric, scores, examples)
    with tempfile.TemporaryDirectory(prefix="holdfast-scores-") as scratch:
        path = Path(scratch, "scores.csv")
        write_scores(path, rows)
        log_files(project, run, [(path, scores_path(metric))], None)


def log_reference(project: Project, run: OpenRun, data: Any, rows: int, seed: int) -> None:
    """Log a sample of the training data; see `MLflowTracker.log_reference`."""
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise InvalidInputError(f"A sample of {rows!r} rows is none.", "give rows as a whole number from 1 up")
    table = _table(data)
    if not len(table) or not len(table.columns):
        raise InvalidInputError("There is no training data in an empty table.", "give the inputs, one row an example")
    sample = table if len(table) <= rows else table.sample(n=rows, random_state=seed).sort_index()
    with tempfile.TemporaryDirectory(prefix="holdfast-reference-") as scratch:
        path = Path(scratch, REFERENCE_FILE)
        sample.to_csv(path, index=False, encoding="utf-8", errors="backslashreplace", lineterminator="\n")
        log_files(project, run, [(path, REFERENCE_FILE)], None)


def _table(data: Any) -> pd.DataFrame:
    pandas = load_library("pandas", "a sample of the training data")
    if isinstance(data, pandas.DataFrame):
        # By position, so that the rows of an index with twins are sampled one by one, and in their order.
        frame: pd.DataFrame = data.reset_index(drop=True)
        return frame
    if isinstance(data, str | os.PathLike):
        try:
            with open(data, "rb") as file:
                return read_table(file, os.path.basename(data))
        except OSError as error:
            why = error.strerror or str(error)
            raise InvalidInputError(f"The data {data} cannot be read: {why}.", "give the path of a CSV file") from None
    raise InvalidInputError(
        f"A {type(data).__name__} is no table.", "give a pandas.DataFrame of the inputs, or the path of a CSV file"
    )
