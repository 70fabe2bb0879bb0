"""MLflow's own autologging for scikit-learn and XGBoost, into the tracker's run and through the journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

from holdfast.backend.autologging import autologging
from holdfast.errors import InvalidInputError
from holdfast.tracking import MLflowTracker
from holdfast.training.extras import need
from holdfast.training.integrations.autolog_report import failures_told
from holdfast.training.integrations.run_in_use import run_in_use

Library = Literal["sklearn", "xgboost"]


@contextmanager
def autolog(tracker: MLflowTracker, library: Library = "sklearn", **options: Any) -> Iterator[str]:
    """Log what is fitted in this block: parameters, training scores, plots; searches with a child run for each trial.

        with autolog(tracker):
            GridSearchCV(model, {"C": [0.1, 1.0]}).fit(inputs, targets)

    Fits of this thread go to the tracker's run, or to one nested in it; those of other threads and of other projects'
    runs are not logged. Afterwards autologging is as it was.

    A block has one run. A second fit in it that has other parameters leaves the run the params of the first, as a param
    keeps its value, and metrics of both; a warning names a param that was kept. Give each fit its own run:

        with autolog(tracker):
            for scale in (0.1, 1.0):
                with tracker.run(nested=True):
                    LogisticRegression(C=scale).fit(inputs, targets)

    All of it goes through the journal: a missing server neither holds up a fit nor loses anything of it; plots and
    tables of a run begun without a server are uploaded once its process has ended. That cannot be said of MLflow's
    logged models, which only a server can begin, so `log_models` is off unless it is asked for; with it and without a
    server, MLflow waits, and gives up logging that fit with a warning.

    Args:
        tracker: Whose open run; where none is open, one is begun and ends with the block.
        library: `sklearn` or `xgboost`.
        options: What `mlflow.sklearn.autolog` or `mlflow.xgboost.autolog` takes: `log_models=True`,
            `max_tuning_runs=None`, `silent=False` and so on.

    Yields:
        The run's id.

    Raises:
        MissingDependencyError: The library is not installed.
        InvalidInputError: It is another library, or MLflow's function takes no such option.
    """
    if library not in get_args(Library):
        raise InvalidInputError(
            f"{library!r} is no library that is autologged.", f"give one of {', '.join(get_args(Library))}"
        )
    need((library,), f"autologging of {library}", "quickstart")
    chosen = {"log_models": False, "silent": True} | options
    with run_in_use(tracker) as run_id, autologging(library, run_id, chosen), failures_told(library):
        yield run_id
