"""Plain MLflow code through the journal: what `mlflow.*` and `MlflowClient` promise holds, whatever the store.

Nothing here imports Holdfast to log; the setting alone puts the journal in between. The shipper is left out, so that
each read has to deliver by itself what it promises to show.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent
from mlflow.tracking._model_registry import utils as registry_utils
from mlflow.tracking._tracking_service import utils as tracking_utils

from holdfast.plugins.run_context import DeliveryNotInForce

pytestmark = pytest.mark.timeout(120)
needs_sklearn = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed")
KILO = 1000


def forget_stores() -> None:
    """Have MLflow make its tracking stores anew."""
    tracking_utils._tracking_store_registry._get_store_with_resolved_uri.cache_clear()


def forget_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have MLflow begin as in a new process, and put back afterwards what it was."""
    # MLflow keeps a store for each tracking URI, and that of an earlier test has let go of its journal.
    forget_stores()
    for module, name in (
        (tracking_utils, "_tracking_uri"),
        (registry_utils, "_registry_uri"),
        (fluent, "_active_experiment_id"),
    ):
        monkeypatch.setattr(module, name, None)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever MLflow sets
        monkeypatch.delenv(name)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The setting, and the journal's folder."""
    forget_state(monkeypatch)
    folder = tmp_path / "journal"
    for name, value in {
        "HOLDFAST_DELIVERY": "journal",
        "HOLDFAST_JOURNAL": str(folder),
        "HOLDFAST_SHIPPER": "none",
        "HOLDFAST_EXIT_WAIT": "0",
        "HOLDFAST_READ_WAIT": "30",
    }.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def experiment(journal: Path, tracking_uri: str, unique: str) -> Iterator[str]:
    """The id of the active experiment, through the journal."""
    mlflow.set_tracking_uri(tracking_uri)
    yield mlflow.set_experiment(unique).experiment_id
    while mlflow.active_run() is not None:
        mlflow.end_run()


@pytest.fixture
def client(experiment: str) -> MlflowClient:
    """MLflow's client of the store in use."""
    return MlflowClient()


@pytest.fixture
def run_id(client: MlflowClient, experiment: str) -> str:
    """A run that was begun by the client."""
    return str(client.create_run(experiment).info.run_id)


def segments(journal: Path) -> list[Path]:
    """Return the journal's segments that hold records."""
    return [path for path in journal.rglob("*.seg") if path.stat().st_size > 16]


def history(client: MlflowClient, run_id: str, key: str) -> list[tuple[float, int]]:
    """Return value and step of a metric's values, in the order they were logged."""
    points = client.get_metric_history(run_id, key)
    return [(point.value, point.step) for point in sorted(points, key=lambda p: (p.step, p.timestamp))]


# -- metrics --------------------------------------------------------------------------


def test_metrics_go_through_the_journal(experiment: str, client: MlflowClient, journal: Path) -> None:
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
        assert segments(journal)
    assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.5}


def test_metric_steps_and_times(client: MlflowClient, run_id: str) -> None:
    before = time.time_ns() // 1_000_000
    client.log_metric(run_id, "a", 1.0)
    client.log_metric(run_id, "a", 2.0, step=7)
    client.log_metric(run_id, "a", 3.0, timestamp=1234, step=-3)
    client.log_metric(run_id, "a", 4.0, step=1 << 40)
    points = {point.value: point for point in client.get_metric_history(run_id, "a")}
    assert {value: point.step for value, point in points.items()} == {1.0: 0, 2.0: 7, 3.0: -3, 4.0: 1 << 40}
    assert points[3.0].timestamp == 1234
    assert before <= points[1.0].timestamp <= time.time_ns() // 1_000_000
    assert client.get_run(run_id).data.metrics == {"a": 4.0}, "the value of the largest step"


@pytest.mark.backends("sqlite", "http")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e-320, 1.7e308, -0.0, 5, True])
def test_metric_values(client: MlflowClient, run_id: str, value: float) -> None:
    client.log_metric(run_id, "a", value)
    (found,) = client.get_metric_history(run_id, "a")
    if math.isinf(value):  # MLflow's databases keep the largest number in place of an infinity
        assert found.value in (value, math.copysign(1.7976931348623157e308, value))
    else:
        assert found.value == value or (math.isnan(value) and math.isnan(found.value))


def test_metrics_of_numpy(client: MlflowClient, experiment: str) -> None:
    numpy = pytest.importorskip("numpy")
    with mlflow.start_run() as run:
        mlflow.log_metric("a", numpy.float32(0.5), step=int(numpy.int64(3)))
        mlflow.log_metrics({"b": numpy.array(2.5), "c": numpy.int64(3)}, step=1)
        mlflow.log_metric("d", numpy.array([1.5]))
    assert client.get_run(run.info.run_id).data.metrics == {"a": 0.5, "b": 2.5, "c": 3.0, "d": 1.5}


def test_log_metrics_of_one_step(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as run:
        mlflow.log_metrics({"a": 1.0, "b": 2.0}, step=3, timestamp=99)
    for key, value in {"a": 1.0, "b": 2.0}.items():
        (point,) = client.get_metric_history(run.info.run_id, key)
        assert (point.value, point.step, point.timestamp) == (value, 3, 99)


def test_log_batch(client: MlflowClient, run_id: str) -> None:
    metrics = [Metric("a", float(i), 1000 + i, i) for i in range(500)] + [Metric("b", 1.0, 5, 0)]
    client.log_batch(run_id, metrics, [Param("p", "1")], [RunTag("t", "x")])
    assert history(client, run_id, "a") == [(float(i), i) for i in range(500)]
    data = client.get_run(run_id).data
    assert (data.params, data.tags["t"], data.metrics) == ({"p": "1"}, "x", {"a": 499.0, "b": 1.0})


def test_the_same_value_at_the_same_time_is_stored_once(client: MlflowClient, run_id: str) -> None:
    for _ in range(2):
        client.log_batch(run_id, [Metric("a", 1.0, 1000, 0), Metric("a", 1.0, 1000, 0)])
        client.log_metric(run_id, "a", 1.0, timestamp=1000, step=0)
        client.log_metric(run_id, "a", 2.0, timestamp=1000, step=0)
        assert sorted(history(client, run_id, "a")) == [(1.0, 0), (2.0, 0)]


def test_many_metrics(client: MlflowClient, run_id: str) -> None:
    for step in range(3 * KILO):
        client.log_metric(run_id, "a", step / 2, timestamp=step, step=step)
    assert history(client, run_id, "a") == [(step / 2, step) for step in range(3 * KILO)]


@pytest.mark.backends("sqlite", "http")
@pytest.mark.parametrize(
    ("key", "value", "step"),
    [("", 1.0, 0), ("a\nb", 1.0, 0), ("x" * 300, 1.0, 0), ("../up", 1.0, 0), ("a", "one", 0), ("a", None, 0),
     ("a", 1.0, "x"), ("a", 1.0, 1 << 70)],
)  # fmt: skip
def test_invalid_metrics(client: MlflowClient, run_id: str, key: str, value: Any, step: Any) -> None:
    with pytest.raises(MlflowException):
        client.log_metric(run_id, key, value, step=step)
    client.log_metric(run_id, "good", 1.0)
    assert client.get_run(run_id).data.metrics == {"good": 1.0}


def test_a_batch_with_an_invalid_name_logs_nothing(client: MlflowClient, run_id: str) -> None:
    with pytest.raises(MlflowException):
        client.log_batch(run_id, [Metric("good", 1.0, 1, 0), Metric("a\nb", 1.0, 1, 0)], [Param("p", "1")])
    assert client.get_run(run_id).data.metrics == {}
    assert client.get_run(run_id).data.params == {}


# -- params and tags ------------------------------------------------------------------


def test_params(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as run:
        assert mlflow.log_param("lr", 0.1) == 0.1
        assert mlflow.log_param("lr", 0.1) == 0.1, "the same value again is fine"
        assert mlflow.log_params({"layers": [1, 2], "none": None, "empty": ""}) is None
    found = client.get_run(run.info.run_id).data.params
    assert found == {"lr": "0.1", "layers": "[1, 2]", "none": "None", "empty": ""}


CHANGES: dict[str, Callable[[str], object]] = {
    "log_param": lambda _: mlflow.log_param("lr", 2),
    "log_params": lambda _: mlflow.log_params({"lr": 2, "other": 1}),
    "client": lambda run_id: MlflowClient().log_param(run_id, "lr", 2),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_changed_param_is_an_error_at_once(client: MlflowClient, experiment: str, how: str) -> None:
    with mlflow.start_run() as run:
        mlflow.log_param("lr", 1)
        with pytest.raises(MlflowException, match="Changing param values is not allowed"):
            CHANGES[how](run.info.run_id)
    assert client.get_run(run.info.run_id).data.params == {"lr": "1"}


def test_a_param_twice_in_one_batch(client: MlflowClient, run_id: str) -> None:
    with pytest.raises(MlflowException):
        client.log_batch(run_id, params=[Param("p", "1"), Param("p", "2")])
    assert client.get_run(run_id).data.params == {}


def test_many_params_and_tags(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as run:
        mlflow.log_params({f"p{i}": i for i in range(250)})
        mlflow.set_tags({f"t{i}": i for i in range(250)})
    data = client.get_run(run.info.run_id).data
    assert len(data.params) == 250
    assert len([tag for tag in data.tags if tag[0] == "t"]) == 250


def test_tags(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run(tags={"begun": "with"}) as run:
        mlflow.set_tag("a", 1)
        mlflow.set_tag("a", 2)
        mlflow.set_tags({"b": "x", "c": "ä 雪"})
        mlflow.delete_tag("b")
        mlflow.set_tag("d", "1")
        mlflow.delete_tag("d")
        mlflow.set_tag("d", "2")
    tags = client.get_run(run.info.run_id).data.tags
    assert {key: tags.get(key) for key in "abcd"} == {"a": "2", "b": None, "c": "ä 雪", "d": "2"}
    assert tags["begun"] == "with"


@pytest.mark.backends("sqlite", "http")
@pytest.mark.parametrize("name", ["", "a\nb", "x" * 300])
def test_invalid_names_of_params_and_tags(client: MlflowClient, run_id: str, name: str) -> None:
    for call in (lambda: client.log_param(run_id, name, "1"), lambda: client.set_tag(run_id, name, "1")):
        with pytest.raises(MlflowException):
            call()
    client.set_tag(run_id, "good", "1")
    assert client.get_run(run_id).data.tags["good"] == "1"


def test_long_texts_are_cut_by_mlflows_rule(client: MlflowClient, run_id: str) -> None:
    client.set_tag(run_id, "note", "x" * 8000)
    client.log_param(run_id, "longest", "x" * 6000)
    data = client.get_run(run_id).data
    assert data.tags["note"] == "x" * 8000
    assert data.params["longest"] == "x" * 6000
    client.set_tag(run_id, "long", "y" * 9000)
    client.log_param(run_id, "long", "y" * 6500)
    data = client.get_run(run_id).data
    assert data.tags["long"] == "y" * 8000
    assert data.params["long"] == "y" * 6000


def test_long_texts_are_refused_where_they_are_not_to_be_cut(
    client: MlflowClient, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
    with pytest.raises(MlflowException):
        client.log_param(run_id, "long", "y" * 6500)


def test_an_unknown_run(client: MlflowClient) -> None:
    with pytest.raises(MlflowException):
        client.get_run("0" * 32)


@pytest.mark.backends("sqlite", "http")
@pytest.mark.parametrize("bad", ["", "../../etc", "a/b"])
def test_invalid_run_ids(client: MlflowClient, journal: Path, bad: str) -> None:
    before = sorted(journal.parent.rglob("*.seg"))
    with pytest.raises(MlflowException):
        client.log_metric(bad, "a", 1.0)
    with pytest.raises(MlflowException):
        client.set_tag(bad, "a", "1")
    assert sorted(journal.parent.rglob("*.seg")) == before


# -- runs -----------------------------------------------------------------------------


def test_nested_runs(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run(run_name="outer") as outer:
        with mlflow.start_run(run_name="inner", nested=True) as inner:
            mlflow.log_metric("a", 1.0)
        mlflow.log_metric("a", 2.0)
        with pytest.raises(Exception, match="already active"):
            mlflow.start_run()
    found = client.get_run(inner.info.run_id)
    assert found.data.tags["mlflow.parentRunId"] == outer.info.run_id
    assert (found.info.run_name, found.data.metrics) == ("inner", {"a": 1.0})
    assert client.get_run(outer.info.run_id).data.metrics == {"a": 2.0}
    assert client.get_parent_run(inner.info.run_id).info.run_id == outer.info.run_id


def test_parent_run_id(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as parent:
        pass
    with mlflow.start_run(parent_run_id=parent.info.run_id) as child:
        pass
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_resumed_run(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run(run_name="first") as run:
        mlflow.log_metric("a", 1.0, step=0)
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    with mlflow.start_run(run_id=run.info.run_id, tags={"again": "yes"}, description="more") as again:
        assert again.info.run_id == run.info.run_id
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
        mlflow.log_metric("a", 2.0, step=1)
    found = client.get_run(run.info.run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "first")
    assert (found.data.tags["again"], found.data.tags["mlflow.note.content"]) == ("yes", "more")
    assert history(client, run.info.run_id, "a") == [(1.0, 0), (2.0, 1)]


def test_resumed_by_the_environment(
    client: MlflowClient, experiment: str, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with mlflow.start_run() as run:
        assert run.info.run_id == run_id
    assert client.get_run(run_id).info.status == "FINISHED"


def test_names_and_descriptions(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run(run_name="chosen", description="what it is") as run:
        assert run.info.run_name == "chosen"
    found = client.get_run(run.info.run_id)
    assert (found.info.run_name, found.data.tags["mlflow.runName"]) == ("chosen", "chosen")
    assert found.data.tags["mlflow.note.content"] == "what it is"
    with mlflow.start_run() as unnamed:
        assert unnamed.info.run_name
    assert client.get_run(unnamed.info.run_id).info.run_name == unnamed.info.run_name


def test_a_run_is_renamed(client: MlflowClient, run_id: str) -> None:
    client.update_run(run_id, name="second")
    assert client.get_run(run_id).info.run_name == "second"
    assert client.get_run(run_id).data.tags["mlflow.runName"] == "second"
    client.set_tag(run_id, "mlflow.runName", "third")
    assert client.get_run(run_id).info.run_name == "third"


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_end_run_statuses(client: MlflowClient, experiment: str, status: str) -> None:
    started = time.time_ns() // 1_000_000
    run = mlflow.start_run()
    mlflow.end_run(status)
    found = client.get_run(run.info.run_id).info
    assert found.status == status
    assert started - 1 <= found.start_time <= found.end_time <= time.time_ns() // 1_000_000 + 1


def test_a_block_with_an_exception(client: MlflowClient, experiment: str) -> None:
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as run:
        mlflow.log_metric("a", 1 / 0)
    assert client.get_run(run.info.run_id).info.status == "FAILED"
    assert mlflow.active_run() is None


def test_set_terminated_and_update(client: MlflowClient, run_id: str) -> None:
    client.update_run(run_id, status="SCHEDULED")
    assert client.get_run(run_id).info.status == "SCHEDULED"
    client.set_terminated(run_id, "KILLED", end_time=123456789)
    found = client.get_run(run_id).info
    assert (found.status, found.end_time) == ("KILLED", 123456789)


def test_client_create_run(client: MlflowClient, experiment: str) -> None:
    run = client.create_run(experiment, start_time=1234, tags={"a": 1}, run_name="by the client")
    assert (run.info.start_time, run.info.status, run.data.tags["a"]) == (1234, "RUNNING", "1")
    found = client.get_run(run.info.run_id)
    assert (found.info.start_time, found.info.run_name, found.info.experiment_id) == (1234, "by the client", experiment)
    assert found.info.artifact_uri == run.info.artifact_uri
    assert mlflow.active_run() is None


def test_create_run_in_no_experiment(client: MlflowClient) -> None:
    with pytest.raises(MlflowException):
        client.create_run("987654321")


def test_last_active_run(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as run:
        mlflow.log_metric("a", 1.0)
    last = mlflow.last_active_run()
    assert last is not None
    assert last.info.run_id == run.info.run_id
    assert (last.info.status, last.data.metrics) == ("FINISHED", {"a": 1.0})


def test_deleted_and_restored(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as run:
        mlflow.log_metric("a", 1.0)
    mlflow.delete_run(run.info.run_id)
    assert client.search_runs([experiment]) == []
    (deleted,) = client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)
    assert deleted.data.metrics == {"a": 1.0}
    client.restore_run(run.info.run_id)
    assert [found.info.run_id for found in client.search_runs([experiment])] == [run.info.run_id]


def test_one_reads_ones_own_writes(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as run:
        for step in range(20):
            mlflow.log_metric("a", step, step=step)
            if step % 5 == 0:
                mlflow.log_param(f"p{step}", step)
                found = client.get_run(run.info.run_id).data
                assert (found.metrics["a"], found.params[f"p{step}"]) == (step, str(step))
                assert len(client.get_metric_history(run.info.run_id, "a")) == step + 1
                (listed,) = client.search_runs([experiment], f"metrics.a = {step} and params.p{step} = '{step}'")
                assert listed.info.run_id == run.info.run_id
        frame = mlflow.search_runs([experiment])
        assert list(frame["metrics.a"]) == [19.0]
        assert len(mlflow.search_runs(experiment_names=[client.get_experiment(experiment).name])) == 1


def test_active_run_in_a_thread(client: MlflowClient, experiment: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def work(number: int) -> str:
        with mlflow.start_run(run_name=f"thread {number}") as run:
            for step in range(50):
                mlflow.log_metric("a", number * KILO + step, step=step)
            return str(run.info.run_id)

    with ThreadPoolExecutor(4) as pool:
        run_ids = list(pool.map(work, range(4)))
    for number, run_id in enumerate(run_ids):
        assert history(client, run_id, "a") == [(number * KILO + step, step) for step in range(50)]
        assert client.get_run(run_id).info.status == "FINISHED"


# -- experiments ----------------------------------------------------------------------


def test_experiments(client: MlflowClient, experiment: str, unique: str) -> None:
    made = mlflow.create_experiment(f"{unique}-made", tags={"a": "1"})
    assert mlflow.set_experiment(experiment_id=made).name == f"{unique}-made"
    with mlflow.start_run() as run:
        mlflow.set_experiment_tag("b", "2")
    assert run.info.experiment_id == made
    assert client.get_experiment(made).tags.items() >= {"a": "1", "b": "2"}.items()
    found = client.get_experiment_by_name(f"{unique}-made")
    assert found is not None
    assert found.experiment_id == made
    assert client.get_experiment_by_name(f"{unique}-missing") is None
    with pytest.raises(MlflowException):
        mlflow.create_experiment(f"{unique}-made")
    with pytest.raises(MlflowException):
        mlflow.set_experiment(experiment_id="987654321")
    with mlflow.start_run(experiment_id=experiment) as elsewhere:
        pass
    assert elsewhere.info.experiment_id == experiment


# -- inputs, outputs, files -----------------------------------------------------------


def test_dataset_of_a_frame(client: MlflowClient, experiment: str) -> None:
    pandas = pytest.importorskip("pandas")
    data = mlflow.data.from_pandas(pandas.DataFrame({"x": [1.0, 2.0], "y": [0, 1]}), name="small", targets="y")
    with mlflow.start_run() as run:
        mlflow.log_input(data, context="training", tags={"part": "1"})
        mlflow.log_input(data, context="training", tags={"part": "1"})
        mlflow.log_metric("auc", 0.5, dataset=data)
    found = client.get_run(run.info.run_id)
    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("small", data.digest)
    assert {tag.key: tag.value for tag in used.tags} == {"mlflow.data.context": "training", "part": "1"}
    assert found.data.metrics == {"auc": 0.5}


def test_inputs_of_the_client(client: MlflowClient, run_id: str) -> None:
    dataset = Dataset("games", "abc123", "http", '{"url": "http://x"}', schema="{}", profile="{}")
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("k", "v")])])
    (found,) = client.get_run(run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest, found.dataset.source_type) == ("games", "abc123", "http")
    assert [(tag.key, tag.value) for tag in found.tags] == [("k", "v")]


def test_files(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(tmp_path / "notes.txt"), "files")
        mlflow.log_text("some text", "text.txt")
        mlflow.log_dict({"a": [1, 2]}, "dict.json")
        mlflow.log_table({"a": [1, 2]}, "table.json")
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert names >= {"files", "text.txt", "dict.json", "table.json"}
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/text.txt") == "some text"
    assert mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/dict.json") == {"a": [1, 2]}
    assert "table.json" in client.get_run(run.info.run_id).data.tags["mlflow.loggedArtifacts"]


@needs_sklearn
def test_a_model(client: MlflowClient, experiment: str, unique: str) -> None:
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(fitted, name="model", pip_requirements=["scikit-learn"])
        mlflow.log_metric("auc", 0.75, model_id=info.model_id)
        mlflow.register_model(info.model_uri, unique)
    found = client.get_run(run.info.run_id)
    assert [output.model_id for output in found.outputs.model_outputs] == [info.model_id]
    assert client.get_model_version(unique, "1").run_id == run.info.run_id
    model = client.get_logged_model(info.model_id)
    assert (model.source_run_id, model.status.value) == (run.info.run_id, "READY")
    assert [(metric.key, metric.value) for metric in model.metrics or []] == [("auc", 0.75)]
    assert list(mlflow.sklearn.load_model(f"models:/{unique}/1").predict([[0.0], [1.0]])) == [0, 1]


@needs_sklearn
def test_autologging(client: MlflowClient, experiment: str) -> None:
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    mlflow.sklearn.autolog(log_models=False, silent=True)
    try:
        LogisticRegression(C=0.5).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    finally:
        mlflow.sklearn.autolog(disable=True)
    (found,) = client.search_runs([experiment])
    assert found.info.status == "FINISHED"
    assert found.data.params["C"] == "0.5"
    assert found.data.metrics["training_accuracy_score"] == 1.0
    assert found.data.tags["estimator_name"] == "LogisticRegression"


# -- asynchronous logging -------------------------------------------------------------


def test_asynchronous_calls(client: MlflowClient, experiment: str) -> None:
    with mlflow.start_run() as run:
        done = [
            mlflow.log_metric("a", 1.0, step=1, synchronous=False),
            mlflow.log_metrics({"b": 2.0}, step=1, synchronous=False),
            mlflow.log_param("p", 1, synchronous=False),
            mlflow.log_params({"q": 2}, synchronous=False),
            mlflow.set_tag("t", "x", synchronous=False),
            mlflow.set_tags({"u": "y"}, synchronous=False),
        ]
        for operation in done:
            operation.wait()
        mlflow.flush_async_logging()
    data = client.get_run(run.info.run_id).data
    assert (data.metrics, data.params) == ({"a": 1.0, "b": 2.0}, {"p": "1", "q": "2"})
    assert (data.tags["t"], data.tags["u"]) == ("x", "y")


def test_asynchronous_by_configuration(client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    with mlflow.start_run() as run:
        mlflow.log_param("p", 1)
        for step in range(100):
            mlflow.log_metric("a", float(step), step=step)
    mlflow.flush_async_logging()
    assert history(client, run.info.run_id, "a") == [(float(step), step) for step in range(100)]


# -- where the journal is in force ----------------------------------------------------


def test_without_the_setting_nothing_changes(
    tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unique: str
) -> None:
    forget_state(monkeypatch)
    monkeypatch.setenv("HOLDFAST_JOURNAL", str(tmp_path / "journal"))
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(unique)
    with mlflow.start_run() as run:
        mlflow.log_metric("a", 1.0)
        mlflow.log_metrics({"b": 1.0}, synchronous=False).wait()
        mlflow.log_param("p", 1)
        with pytest.raises(MlflowException):
            mlflow.log_param("p", 2)
    found = MlflowClient().get_run(run.info.run_id)
    assert (found.data.metrics, found.data.params) == ({"a": 1.0, "b": 1.0}, {"p": "1"})
    assert found.info.status == "FINISHED"
    assert not [tag for tag in found.data.tags if tag.startswith("holdfast")]
    assert not (tmp_path / "journal").exists()
    assert not list(tmp_path.rglob(".holdfast"))


def test_direct_by_setting(experiment: str, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that was opened journals on, whatever the setting becomes; nothing is lost half-way."""
    monkeypatch.setenv("HOLDFAST_DELIVERY", "direct")
    with mlflow.start_run() as run:
        mlflow.log_metric("a", 1.0)
    assert MlflowClient().get_run(run.info.run_id).data.metrics == {"a": 1.0}


def other_store(*_: Any, **__: Any) -> Any:
    """A store of another plugin."""
    return SimpleNamespace(
        get_experiment_by_name=lambda name: SimpleNamespace(experiment_id="1", lifecycle_stage="active", name=name),
        create_run=lambda *_, **__: pytest.fail("a run was begun without the journal"),
    )


@pytest.fixture
def begin(journal: Path) -> Iterator[Callable[[str], None]]:
    """Begins a run at a tracking URI."""

    def run(uri: str) -> None:
        mlflow.set_tracking_uri(uri)
        mlflow.start_run(experiment_id="1")

    yield run
    forget_stores()


def test_another_plugin_in_our_place(begin: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    found = tracking_utils._tracking_store_registry
    monkeypatch.setattr(found, "_registry", {**found._registry, "http": other_store})
    with pytest.raises(DeliveryNotInForce, match="HOLDFAST_DELIVERY=journal is set"):
        begin("http://127.0.0.1:9")


def test_a_store_that_is_not_delivered_to(
    begin: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with pytest.raises(DeliveryNotInForce):
        begin(f"file://{tmp_path}/mlruns")
    assert not list(tmp_path.rglob("meta.yaml")) or not list((tmp_path / "mlruns").glob("1/*/meta.yaml"))


def test_databricks_is_not_delivered_to(begin: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("DATABRICKS_TOKEN", "none")
    with pytest.raises(DeliveryNotInForce):
        begin("databricks")
