"""What clean-up knows of a store: experiments, runs, models, traces, versions, what needs them, and stored objects.

A *place* is an address without a slash at its end: `s3://bucket/prefix`, `/absolute/path` or `mlflow-artifacts:/path`.
Times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """An experiment.

    Attributes:
        experiment_id: Its id.
        name: Its name.
        place: Where its runs keep their files; empty where nobody can tell.
        is_deleted: Whether it is in MLflow's state `deleted`.
        changed_ms: When it was last changed, which its deletion is; None where the store does not say.
    """

    experiment_id: str
    name: str
    place: str
    is_deleted: bool = False
    changed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run.

    Attributes:
        run_id: Its id.
        experiment_id: Its experiment.
        place: Where its files lie; empty where nobody can tell.
        status: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED.
        is_deleted: Whether it is in MLflow's state `deleted`.
        started_ms: When it began.
        ended_ms: When it ended; None where it did not.
        deleted_ms: When it was deleted; None where it is not, or the store does not say.
        name: Its name.
        tags: Its tags; empty where nobody asked for them.
        metrics: The last value of each metric; empty where nobody asked for them.
    """

    run_id: str
    experiment_id: str
    place: str
    status: str = "FINISHED"
    is_deleted: bool = False
    started_ms: int = 0
    ended_ms: int | None = None
    deleted_ms: int | None = None
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A logged model.

    Attributes:
        model_id: Its id, `m-…`.
        experiment_id: Its experiment.
        place: Where its files lie.
        run_id: The run that logged it; empty where none did.
        is_deleted: Whether it is in MLflow's state `deleted`.
        changed_ms: When it was last changed, which its deletion is.
        name: Its name.
    """

    model_id: str
    experiment_id: str
    place: str
    run_id: str = ""
    is_deleted: bool = False
    changed_ms: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """A trace.

    Attributes:
        trace_id: Its id.
        experiment_id: Its experiment.
        place: Where its files lie; empty where it has none.
        run_id: The run that it was recorded in; empty where there was none.
        created_ms: When it was recorded.
    """

    trace_id: str
    experiment_id: str
    place: str = ""
    run_id: str = ""
    created_ms: int = 0


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A registered version.

    Attributes:
        name: Of the model.
        version: Its number.
        places: Where its files lie, by all that the registry says of it; empty where that names only a run or a model.
        run_id: The run that it comes from; empty where there is none.
        model_id: The logged model that it comes from; empty where there is none.
        stage: Its stage, where the registry has stages.
        aliases: What points to it.
    """

    name: str
    version: int
    places: tuple[str, ...] = ()
    run_id: str = ""
    model_id: str = ""
    stage: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """Something else that needs a run, a model or a place: a rollback target, an approval, a journal, an input.

    Attributes:
        why: For people: `approval of fraud version 3`.
        run_id: The run that it needs, or empty.
        model_id: The logged model that it needs, or empty.
        place: Where the files lie that it needs, or empty.
        experiment_id: The experiment of which it needs all runs and files, or empty.
    """

    why: str
    run_id: str = ""
    model_id: str = ""
    place: str = ""
    experiment_id: str = ""


class Form(StrEnum):
    """In which form something is stored."""

    OBJECT = "object"
    OLD = "old version"
    MARKER = "delete marker"
    UPLOAD = "unfinished upload"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Something that is stored.

    Attributes:
        address: Its whole address: `s3://bucket/a/key`, `/path/of/file`, `mlflow-artifacts:/a/file`.
        size_bytes: Its size; 0 for a delete marker.
        modified_ms: When it was stored, or begun; None where the store does not say.
        form: In which form.
        version_id: Of an object in a versioned bucket its version, of an unfinished upload its id; else empty.
    """

    address: str
    size_bytes: int
    modified_ms: int | None
    form: Form = Form.OBJECT
    version_id: str = ""


@dataclass(frozen=True)
class State:
    """A store at one moment.

    Attributes:
        experiments: All of them, deleted ones too.
        runs: All of them, deleted ones too.
        models: All logged models, deleted ones too where the store shows them.
        traces: Those that have files, or that deleted runs or experiments have.
        versions: All registered versions.
        needs: What else needs something.
        has_rows: Whether rows of the database can be removed; over REST they cannot, and what has no files any more
            is no garbage then.
    """

    experiments: tuple[ExperimentRecord, ...] = ()
    runs: tuple[RunRecord, ...] = ()
    models: tuple[ModelRecord, ...] = ()
    traces: tuple[TraceRecord, ...] = ()
    versions: tuple[VersionRecord, ...] = ()
    needs: tuple[Need, ...] = ()
    has_rows: bool = True
