"""`MLflowTracker`: one object that a training script logs through."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from holdfast.artifacts.store import file_sources, folder_sources
from holdfast.backend.entities import MetricPoint
from holdfast.backend.tracking import now_ms
from holdfast.core.names import check_end_status, check_version
from holdfast.errors import InvalidInputError, RunStateError
from holdfast.journal.writer import NOT_PLAIN
from holdfast.lifecycle import status_for
from holdfast.logs import get_logger
from holdfast.project import Project, open_project
from holdfast.registry import ModelRegistry
from holdfast.settings import Settings
from holdfast.tracking.best import check_mode, find_best
from holdfast.tracking.checkpoints import Checkpoints
from holdfast.tracking.evidence import Evidence
from holdfast.tracking.fast_path import FastPath
from holdfast.tracking.handed_run import take_handed_run
from holdfast.tracking.lineage import git_tags
from holdfast.tracking.open_run import OpenRun
from holdfast.tracking.open_runs import Blocks, OpenRuns
from holdfast.tracking.run_files import log_files
from holdfast.tracking.values import is_masked, to_params, to_points, to_series, to_tags

_log = get_logger(__name__)
_PARENT_TAG = "mlflow.parentRunId"
_DESCRIPTION_TAG = "mlflow.note.content"
_NAME_TAG = "mlflow.runName"


class MLflowTracker(Evidence, Checkpoints):
    """Logs runs, their files and their models to one project's MLflow.

    Every argument may be left out; it then comes from the settings (process environment, `.env`,
    `[tool.holdfast]`). The process environment and boto3's default session are never changed, but for MLFLOW_RUN_ID,
    which `start_run` takes out of it as MLflow does.

    Making a tracker opens the tracking store and finds or creates the experiment. While a run of
    the tracker is open it is MLflow's active run too, so that autologging and `mlflow.*` calls
    go to the same run.

    As a context manager it ends the runs begun in the block: FINISHED when it is left normally, FAILED by
    an exception, KILLED by Ctrl-C and SIGTERM. Inside the block the first call that logs starts a run
    if there is none. Without a block the same statuses are set when the process ends.

    Threads may share a tracker. A run belongs to the thread that began it; one without a run of its own logs to
    the run that another has open, as long as it is the only one.

    Args:
        tracking_uri: `http(s)://host:port`, `sqlite:///file.db`, `postgresql://user@host/db`.
        artifact_uri: Where a *new* experiment keeps its files: `s3://bucket/prefix` or a folder.
        backend_store_uri: The database of the server that `holdfast up` starts.
        registry_uri: The model registry, where it is not the tracking store.
        s3_endpoint_url: The S3 server, where it is not AWS.
        s3_access_key_id: The project's key; with its secret or not at all.
        s3_secret_access_key: The project's secret.
        experiment_name: The experiment; created where it is missing.
        settings: Loaded settings instead of all of these.

    Raises:
        SettingsError: A setting is not valid.
        BackendUnavailableError: The tracking store cannot be reached.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        artifact_uri: str | None = None,
        backend_store_uri: str | None = None,
        registry_uri: str | None = None,
        s3_endpoint_url: str | None = None,
        s3_access_key_id: str | None = None,
        s3_secret_access_key: str | None = None,
        experiment_name: str | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        given = {
            "tracking_uri": tracking_uri,
            "artifact_uri": artifact_uri,
            "backend_store_uri": backend_store_uri,
            "registry_uri": registry_uri,
            "s3_endpoint_url": s3_endpoint_url,
            "s3_access_key_id": s3_access_key_id,
            "s3_secret_access_key": s3_secret_access_key,
            "experiment_name": experiment_name,
        }
        named = [name for name, value in given.items() if value is not None]
        if settings is not None and named:
            raise InvalidInputError(
                f"Both settings and {', '.join(named)} are given.",
                "give them to load_settings(…), or leave settings out",
            )
        self._project: Project = open_project(settings, journaled=True, **({} if settings is not None else given))
        for notice in self.settings.notices:
            _log.warning(notice)
        self.experiment_name = self.settings.experiment_name
        self.experiment_id = self._get_or_create_experiment(self.experiment_name)
        self._open = OpenRuns(self._project, self.experiment_id)
        self._blocks = Blocks()
        self._fast = FastPath()
        self._configure_mlflow()

    def __repr__(self) -> str:
        return f"MLflowTracker(experiment={self.experiment_name!r}, project={self._project!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("A tracker cannot be pickled: it holds open runs. Make one in each process.")

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._project.settings

    @property
    def run_id(self) -> str | None:
        """The id of the run that this thread logs to (its innermost, or the only one open), or None."""
        return self._open.run_id

    @property
    def client(self) -> Any:
        """MLflow's own `MlflowClient` for the tracker's stores; what is logged through it goes the same way."""
        return self._project.connection.client

    def _configure_mlflow(self) -> None:
        self._open.point_fluent()

    def _get_or_create_experiment(self, name: str) -> str:
        return self._project.experiment(name).experiment_id

    # -- runs -------------------------------------------------------------------------

    def start_run(
        self,
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        nested: bool = False,
        description: str | None = None,
    ) -> str:
        """Start a run, or go on with one.

        Inside a git repository it gets the tags `holdfast.git.*`, which say what code it ran, unless HOLDFAST_LINEAGE
        is `off`: the state of the working directory when this process began its first run there.

        Args:
            run_name: Its name; if not given, `<MLFLOW_RUN_NAME_PREFIX>-YYYYmmdd-HHMMSS` (local time), or one
                that MLflow makes up where there is no prefix.
            tags: Its tags; secrets in them are masked.
            run_id: Go on with this run instead, whatever its status was. If not given, and for a run that is not
                inside another, the run that MLFLOW_RUN_ID names, once, as with `mlflow.start_run()`: `holdfast sweep`
                hands each trial its run so.
            nested: Begin it inside the open run, as its child.
            description: Shown at the head of the run's page.

        Returns:
            The run's id.

        Raises:
            RunStateError: A run is open already in this thread, of this tracker or by `mlflow.start_run()`.
            NotFoundError: There is no run `run_id`.
        """
        blocking = self._open.blocking()
        if blocking is not None and not nested:
            raise RunStateError(
                f"Run {blocking} is still open.",
                "end it with end_run(), or pass nested=True to start_run(); around a training begin it with "
                "tracker.run() rather than mlflow.start_run(), and it is the one that is trained in",
            )
        parent = self._open.parent() if nested else None
        if run_id is None and parent is None:
            run_id = take_handed_run()
        labels = self._labels(tags, description, parent)
        if run_id is None:
            labels = git_tags(self._project) | labels
            run = self._project.runs.create_run(self.experiment_id, self._shown_name(run_name), labels)
        else:
            run = self._project.runs.reopen_run(run_id)
            self._project.runs.log(run_id, tags=git_tags(self._project, run.tags) | labels)
        self._open.enter(run.run_id, run.artifact_uri, parent)
        return run.run_id

    def _labels(self, tags: Mapping[str, Any] | None, description: str | None, parent: str | None) -> dict[str, str]:
        texts = to_tags(tags) | (to_tags({_DESCRIPTION_TAG: description}) if description else {})
        return self._redacted(texts) | ({_PARENT_TAG: parent} if parent else {})

    def _shown_name(self, run_name: str | None) -> str | None:
        name = run_name or self._default_name()
        return self._redacted(to_tags({_NAME_TAG: name}))[_NAME_TAG] if name else None

    def _default_name(self) -> str | None:
        prefix = self._project.settings.run_name_prefix
        return f"{prefix}-{time.strftime('%Y%m%d-%H%M%S')}" if prefix else None

    def end_run(self, status: str = "FINISHED") -> None:
        """End this thread's innermost run, or the only one open; nothing happens where none is.

        A run that `mlflow.end_run()` ended keeps the status it got there.

        Args:
            status: FINISHED, FAILED or KILLED.

        Raises:
            InvalidInputError: Another status.
            RunStateError: This thread began no run, and several are open in others.
            BackendError: The store did not take it, and the run is still open; or it was deleted, and is let go.
        """
        self._open.end_current(check_end_status(status))

    def __enter__(self) -> MLflowTracker:
        self._blocks.kept.append(self._open.own())
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.end_all_but(self._blocks.kept.pop(), status_for(error, value), raising=error is None)

    @contextmanager
    def run(
        self,
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        nested: bool = False,
        description: str | None = None,
    ) -> Iterator[str]:
        """Start a run for a `with` block and end it with the block; gives the run's id.

        Takes what `start_run` takes; ends the run as the tracker's own block does.
        """
        kept = self._open.own()
        started = self.start_run(run_name, tags, run_id=run_id, nested=nested, description=description)
        try:
            yield started
        except BaseException as error:
            self._open.end_all_but(kept, status_for(type(error), error), raising=False)
            raise
        self._open.end_all_but(kept, "FINISHED", raising=True)

    def _open_run(self) -> OpenRun:
        if self._open.current is None and self._blocks.kept:
            self.start_run()
        run = self._open.current
        if run is None:
            raise RunStateError(
                "No run is open.", "call start_run() first, or log inside this thread's `with tracker:`"
            )
        return run

    # -- logging ----------------------------------------------------------------------

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log params; lists and dicts are stored as JSON, secrets are masked.

        When it returns, they are stored. A param keeps its first value.

        Raises:
            InvalidInputError: A name or value that MLflow refuses, or a param that has another value already.
            RunStateError: No run is open, or this thread began none and several are.
        """
        texts = self._redacted(to_params(params))
        self._project.runs.log(self._open_run().run_id, params=texts)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics, all of one step and the present time.

        When it returns, they are in the journal: neither a killed process nor a missing server loses them.

        Args:
            metrics: Name → number. NaN and infinities are logged as such.
            step: The step or epoch; 0 if not given.

        Raises:
            InvalidInputError: A name that MLflow refuses, or a value that is no number; nothing is logged then.
            RunStateError: No run is open, or this thread began none and several are.
        """
        put = self._fast.put()
        if put is not None:
            try:
                put(metrics, 0 if step is None else step)
            except (AttributeError, *NOT_PLAIN):  # something in it is no plain number; the slow way says what
                pass
            else:
                return
        points = to_points(metrics, step, now_ms())
        self._log_points(points)

    def _log_points(self, points: list[MetricPoint]) -> None:
        run = self._open_run()
        if run.writer is None:
            self._project.runs.log(run.run_id, points)
            return
        run.writer.points([(point.name, point.value, point.timestamp_ms, point.step) for point in points])
        self._fast.take(run)

    def log_series(self, metrics: Mapping[str, Sequence[Any]], first_step: int = 0) -> None:
        """Log whole curves at once, such as a booster's loss a round, in as few requests as MLflow allows.

        Args:
            metrics: Name → values, one a step.
            first_step: The step of the first value.

        Raises:
            InvalidInputError: As for `log_metrics`; nothing is logged then.
            RunStateError: No run is open, or this thread began none and several are.
        """
        self._log_points(to_series(metrics, first_step, now_ms()))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags of the open run; secrets are masked."""
        texts = self._redacted(to_tags(tags))
        self._project.runs.log(self._open_run().run_id, tags=texts)

    def _redacted(self, texts: Mapping[str, str]) -> dict[str, str]:
        shown = self._project.redact.mapping(texts)
        masked = sorted(name for name, text in texts.items() if shown[name] != text or is_masked(text))
        if masked:
            _log.warning("secrets were masked", names=", ".join(masked))
        return shown

    def log_artifact(
        self, local_path: str | os.PathLike[str], artifact_path: str = "artifacts", *, wait: bool | None = None
    ) -> None:
        """Store a file with the open run, with the project's own credentials.

        With the journal (the default) a file for a remote store is handed over: when this returns it may be
        overwritten or deleted, and neither a killed process nor a missing store loses it. It is uploaded in the
        background; `flush` waits for that, and so do registration and promotion.

        Args:
            local_path: The file.
            artifact_path: The folder among the run's artifacts; an empty text for the top.
            wait: True: it is in the store when this returns. False: it is handed over. Not given: handed over where
                there is a journal and it would take time.

        Raises:
            InvalidInputError: There is no such file, or `wait=False` and no journal.
            ArtifactError: The artifact store refused it; told by `flush` where it was handed over.
            JournalError: It cannot be taken into the journal.
        """
        log_files(self._project, self._open_run(), file_sources(Path(local_path), artifact_path), wait)

    def log_artifacts_dir(
        self, local_dir: str | os.PathLike[str], artifact_path: str = "artifacts", *, wait: bool | None = None
    ) -> None:
        """Store all files of a folder with the open run; files that are there already are not sent again.

        Args:
            local_dir: The folder.
            artifact_path: The folder among the run's artifacts; an empty text for the top.
            wait: As of `log_artifact`.

        Raises:
            InvalidInputError: There is no such folder, or `wait=False` and no journal.
            ArtifactError: The artifact store refused a file; told by `flush` where they were handed over.
            JournalError: They cannot be taken into the journal.
        """
        log_files(self._project, self._open_run(), folder_sources(Path(local_dir), artifact_path), wait)

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything that this process has logged is on the server, for others to read.

        Args:
            timeout_s: How long, in seconds; HOLDFAST_READ_WAIT if not given.

        Raises:
            DeliveryError: Not all of it was, within that time; it is in the journal and is delivered later.
        """
        self._project.settle(timeout_s)

    # -- models -----------------------------------------------------------------------

    def register_model(
        self,
        model_name: str,
        model_uri: str,
        description: str | None = None,
        tags: Mapping[str, object] | None = None,
        *,
        await_s: int = 300,
    ) -> int:
        """Register a model that was logged as the next version.

        Args:
            model_name: The registered model; created where it is missing.
            model_uri: `runs:/ID/path` (also written `runs://ID/path`), or `models:/m-…`.
            description: What this version is.
            tags: Tags of the version.
            await_s: How long to wait until it is ready, in seconds.

        Returns:
            The version's number.
        """
        return self._registry.register(model_name, model_uri, description, tags, await_s).version

    def transition_model_stage(self, model_name: str, version: int | str, stage: str) -> None:
        """Move a version to a stage, with its alias; its predecessor in Staging or Production is archived.

        Raises:
            PromotionRefusedError: The project's promotion rule says no.
            NotFoundError: There is no such version.
        """
        self._registry.promote(model_name, check_version(version), stage)

    @property
    def _registry(self) -> ModelRegistry:
        return ModelRegistry(self._project)

    # -- queries ----------------------------------------------------------------------

    def get_run_info(self, run_id: str | None = None) -> dict[str, Any]:
        """Return a run as a dictionary; the open one if no id is given.

        Returns:
            `run_id`, `run_name`, `experiment_id`, `status`, `start_time` and `end_time` (ms since the epoch),
            `artifact_uri`, `params`, `metrics` (last values), `tags`.

        Raises:
            NotFoundError: There is no such run.
        """
        run = self._project.runs.get_run(run_id or self._open_run().run_id)
        return {
            "run_id": run.run_id,
            "run_name": run.name,
            "experiment_id": run.experiment_id,
            "status": run.status,
            "start_time": run.start_time_ms,
            "end_time": run.end_time_ms,
            "artifact_uri": run.artifact_uri,
            "params": run.params,
            "metrics": run.metrics,
            "tags": run.tags,
        }

    def get_best_run(
        self,
        metric: str,
        compare_fn: Callable[..., Any] | str | None = None,
        *,
        mode: str | Callable[..., Any] | None = None,
        filter_string: str = "",
    ) -> dict[str, Any] | None:
        """Return the experiment's best run by the last value of a metric; runs without a number for it do not count.

        Args:
            metric: Any metric name: `val/loss`.
            compare_fn: `min` (the default) or `max`, the function or the word.
            mode: The same, under its other name.
            filter_string: A filter in MLflow's language, such as `attributes.status = 'FINISHED'`.

        Returns:
            `run_id`, `run_name`, `metric_value`, `params`, `metrics`, and `lacking`, the ids of the runs that
            have no number for the metric; None where all of them lack it (which are then logged).
        """
        if compare_fn is not None and mode is not None:
            raise InvalidInputError("Both compare_fn and mode are given.", "give one of them")
        chosen = check_mode(mode if mode is not None else compare_fn if compare_fn is not None else "min")
        best = find_best(self._project, [self.experiment_id], metric, chosen, filter_string)
        if best.run is None:
            _log.warning("no run has the metric", metric=metric, runs_without_it=len(best.lacking))
        return best.as_dict()
