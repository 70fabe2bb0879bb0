"""What the delivery may rely on, over REST and over the database itself alike."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.backend.rest_sender import RestSender
from holdfast.backend.store_sender import StoreSender
from holdfast.core.sending import KEY_TAG, Point, Refused, RunRef, Sender

START_MS = 1_700_000_000_000
NOBODY = "0" * 32


@pytest.fixture
def sender(tracking_uri: str) -> Iterator[Sender]:
    made: Sender = RestSender(tracking_uri) if tracking_uri.startswith("http") else StoreSender(tracking_uri)
    yield made
    made.close()


@pytest.fixture
def experiment(sender: Sender, unique: str, tmp_path: Any) -> str:
    return sender.create_experiment(unique, str(tmp_path / "artifacts"), {}).experiment_id


@pytest.fixture
def run(sender: Sender, experiment: str) -> RunRef:
    return start(sender, experiment)


def start(sender: Sender, experiment: str, key: str = "k", at_ms: int = START_MS) -> RunRef:
    return sender.create_run(experiment, "ann", at_ms, None, {KEY_TAG: key})


def stored(sender: Sender, run_id: str) -> RunRef:
    run = sender.get_run(run_id)
    assert run is not None
    return run


def test_a_store_that_works_passes_the_check(sender: Sender) -> None:
    sender.check(10)


def test_an_experiment_is_created_once(sender: Sender, unique: str, tmp_path: Any) -> None:
    name = f"{unique} größe/✓ '\""
    assert sender.find_experiment(name) is None
    made = sender.create_experiment(name, str(tmp_path), {"team": "ä"})
    assert sender.create_experiment(name, None, {}) == made
    assert sender.find_experiment(name) == sender.get_experiment(made.experiment_id) == made
    assert (made.name, made.deleted) == (name, False)
    assert str(tmp_path) in made.artifact_location


def test_an_experiment_that_is_missing_is_none(sender: Sender, unique: str) -> None:
    assert sender.find_experiment(unique) is None
    assert sender.get_experiment("987654321") is None


def test_a_run_is_found_by_its_key(sender: Sender, experiment: str) -> None:
    key = f"it's {uuid.uuid4().hex}"
    later = start(sender, experiment, key, START_MS + 5)
    first = start(sender, experiment, key, START_MS)
    start(sender, experiment, "another")
    sender.delete_run(first.run_id)
    found = sender.find_runs(experiment, key)
    assert [(run.run_id, run.deleted) for run in found] == [(first.run_id, True), (later.run_id, False)]
    assert sender.find_runs(experiment, "none") == []


def test_a_key_that_no_filter_can_hold_is_refused(sender: Sender, experiment: str) -> None:
    with pytest.raises(Refused):
        sender.find_runs(experiment, "'\"")


def test_a_new_run_is_as_it_was_asked_for(sender: Sender, experiment: str) -> None:
    made = sender.create_run(experiment, "ann", START_MS, "Lauf ✓", {KEY_TAG: "k", "mlflow.user": "ann"})
    assert (made.name, made.status, made.start_time_ms, made.end_time_ms) == ("Lauf ✓", "RUNNING", START_MS, None)
    assert made.experiment_id == experiment
    assert made.artifact_uri
    assert stored(sender, made.run_id).tags.items() >= {KEY_TAG: "k", "mlflow.user": "ann"}.items()
    assert start(sender, experiment).name  # MLflow thinks of one


def test_a_run_in_no_experiment_is_refused(sender: Sender) -> None:
    with pytest.raises(Refused) as caught:
        start(sender, "987654321")
    assert not caught.value.about_run


def test_a_batch_sent_three_times_is_stored_once(sender: Sender, run: RunRef) -> None:
    odd = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3]
    metrics = [Point("loss", odd[step] if step < len(odd) else step / 7, START_MS + step, step) for step in range(998)]
    metrics += [Point("größe/a b", 1.0, START_MS, -3)] * 2
    for _ in range(3):
        sender.log_batch(run.run_id, metrics, [], [])
        sender.log_batch(run.run_id, [], [("lr", "0.1"), ("ü", "✓ '\"\\\n\u2028")], [("tag", "größe")])
    history = {point.step: point for point in sender.metric_history(run.run_id, "loss")}
    assert len(sender.metric_history(run.run_id, "loss")) == len(history) == 998
    assert math.isnan(history[0].value)
    # SQL has no infinities: MLflow's stores keep the largest number in their place.
    assert (history[1].value, history[2].value) == (1.7976931348623157e308, -1.7976931348623157e308)
    assert [history[step].value for step in (6, 7, 997)] == [0.1, 1 / 3, 997 / 7]
    assert history[997] == Point("loss", 997 / 7, START_MS + 997, 997)
    now = stored(sender, run.run_id)
    assert now.params == {"lr": "0.1", "ü": "✓ '\"\\\n\u2028"}
    assert now.tags["tag"] == "größe"
    assert now.metrics["größe/a b"] == 1.0
    assert sender.metric_history(run.run_id, "none") == []


def test_metrics_of_a_model_sent_again_are_stored_once(sender: Sender, run: RunRef, tracking_uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    model_id = client.create_logged_model(run.experiment_id, name="m").model_id
    metrics = [Point(f"m{at}", at / 7, START_MS, 1, (model_id, "games", "d1gest")) for at in range(250)]
    for _ in range(3):
        sender.log_batch(run.run_id, [*metrics, Point("plain", 1.0, START_MS, 1)], [("p", "1")], [])
    now = stored(sender, run.run_id)
    assert len(now.metrics) == 251
    assert now.params == {"p": "1"}
    assert len(client.get_logged_model(model_id).metrics or []) == 250


def test_another_value_for_a_param_is_refused(sender: Sender, run: RunRef) -> None:
    sender.log_batch(run.run_id, [], [("lr", "0.1")], [])
    with pytest.raises(Refused, match="lr") as caught:
        sender.log_batch(run.run_id, [], [("lr", "0.2")], [])
    assert not caught.value.about_run
    assert stored(sender, run.run_id).params == {"lr": "0.1"}


@pytest.mark.parametrize(
    ("metrics", "params", "tags"),
    [
        ([Point("m" * 300, 1.0, START_MS, 0)], [], []),
        ([Point("no\nname", 1.0, START_MS, 0)], [], []),
        ([Point("step", 1.0, START_MS, 2**63 - 1)] * 1001, [], []),
        ([], [("p" * 300, "1")], []),
        ([], [], [("t" * 300, "1")]),
    ],
    ids=["long metric", "odd metric", "too many", "long param", "long tag"],
)
def test_what_mlflow_does_not_take_is_refused(
    sender: Sender, run: RunRef, metrics: list[Point], params: list[tuple[str, str]], tags: list[tuple[str, str]]
) -> None:
    with pytest.raises(Refused) as caught:
        sender.log_batch(run.run_id, metrics, params, tags)
    assert not caught.value.about_run


@pytest.mark.parametrize(
    "last", [Point("c", 1.0, START_MS, 2**63), Point("c", 1.0, 2**64, 0), Point("\ud800", 1.0, 1, 1)]
)
def test_what_mlflow_would_store_wrong_without_a_word_is_refused(sender: Sender, run: RunRef, last: Point) -> None:
    with pytest.raises(Refused):
        sender.log_batch(run.run_id, [Point("a", 1.0, START_MS, 0), last], [], [])
    with pytest.raises(Refused):
        sender.log_batch(run.run_id, [], [("p", "\udfff")], [])
    with pytest.raises(Refused):
        sender.update_run(run.run_id, "FINISHED", 2**63, None)
    now = stored(sender, run.run_id)
    assert (now.metrics, now.params, now.status) == ({}, {}, "RUNNING")


def ways_to_write(sender: Sender, run_id: str) -> dict[str, Any]:
    return {
        "log_batch": lambda: sender.log_batch(run_id, [Point("a", 1.0, START_MS, 0)], [], []),
        "log_inputs": lambda: sender.log_inputs(run_id, INPUTS),
        "log_outputs": lambda: sender.log_outputs(run_id, {"models": [{"model_id": "m-1", "step": 1}]}),
        "log_model": lambda: sender.log_model(run_id, model_json(run_id)),
        "delete_tag": lambda: sender.delete_tag(run_id, "t"),
        "update_run": lambda: sender.update_run(run_id, "FINISHED", START_MS, "n"),
    }


def test_a_deleted_run_takes_nothing(sender: Sender, run: RunRef) -> None:
    sender.delete_run(run.run_id)
    sender.delete_run(run.run_id)
    assert stored(sender, run.run_id).deleted
    for name, write in ways_to_write(sender, run.run_id).items():
        with pytest.raises(Refused) as caught:
            write()
        assert caught.value.about_run, (name, caught.value.reason)


@pytest.mark.parametrize("run_id", [NOBODY, "no such run", "größe"])
def test_an_unknown_run_takes_nothing(sender: Sender, run_id: str) -> None:
    assert sender.get_run(run_id) is None
    for name, write in {**ways_to_write(sender, run_id), "delete_run": lambda: sender.delete_run(run_id)}.items():
        with pytest.raises(Refused) as caught:
            write()
        assert caught.value.about_run, (name, caught.value.reason)


def test_an_update_keeps_what_is_none(sender: Sender, run: RunRef) -> None:
    sender.update_run(run.run_id, "FINISHED", START_MS + 9, None)
    now = stored(sender, run.run_id)
    assert (now.status, now.end_time_ms, now.name) == ("FINISHED", START_MS + 9, run.name)
    sender.update_run(run.run_id, None, None, "named ✓")
    now = stored(sender, run.run_id)
    assert (now.status, now.end_time_ms, now.name) == ("FINISHED", START_MS + 9, "named ✓")
    sender.update_run(run.run_id, "RUNNING", None, None)
    assert stored(sender, run.run_id).status == "RUNNING"


def test_an_unknown_status_is_refused(sender: Sender, run: RunRef) -> None:
    with pytest.raises(Refused):
        sender.update_run(run.run_id, "SLEEPING", None, None)
    assert stored(sender, run.run_id).status == "RUNNING"


INPUTS = {
    "datasets": [
        {
            "dataset": {"name": "games ✓", "digest": "d1", "source_type": "local", "source": "{}"},
            "tags": [{"key": "mlflow.data.context", "value": "training"}],
        }
    ],
    "models": [{"model_id": "m-input"}],
}


def test_inputs_and_outputs_sent_twice_are_stored_once(sender: Sender, run: RunRef, tracking_uri: str) -> None:
    for step in (1, 1, 2):
        sender.log_inputs(run.run_id, INPUTS)
        sender.log_outputs(run.run_id, {"models": [{"model_id": "m-1", "step": step}]})
    sender.log_outputs(run.run_id, {"models": [{"model_id": "m-1", "step": 1}, {"model_id": "m-2", "step": 3}]})
    from mlflow import MlflowClient

    found = MlflowClient(tracking_uri).get_run(run.run_id)
    assert [item.dataset.name for item in found.inputs.dataset_inputs] == ["games ✓"]
    assert [tag.value for tag in found.inputs.dataset_inputs[0].tags] == ["training"]
    assert [item.model_id for item in found.inputs.model_inputs] == ["m-input"]
    outputs = sorted((item.model_id, item.step) for item in found.outputs.model_outputs)
    assert outputs == [("m-1", 1), ("m-2", 3)]


def test_inputs_that_are_none_are_refused(sender: Sender, run: RunRef) -> None:
    with pytest.raises(Refused):
        sender.log_inputs(run.run_id, {"datasets": "games"})


def model_json(run_id: str, path: str = "model") -> str:
    made = {"artifact_path": path, "flavors": {"sklearn": {}}, "utc_time_created": "2026-01-02 03:04:05.678901"}
    return json.dumps({**made, "run_id": run_id, "model_uuid": f"{path}-uuid"})


def test_a_model_noted_twice_stands_there_once(sender: Sender, run: RunRef) -> None:
    for path in ("model", "model", "other", "model"):
        sender.log_model(run.run_id, model_json(run.run_id, path))
    noted = json.loads(stored(sender, run.run_id).tags["mlflow.log-model.history"])
    assert [model["artifact_path"] for model in noted] == ["model", "other"]


@pytest.mark.parametrize("described", ["{", "[]", '{"artifact_path": "model"}'])
def test_a_model_without_description_is_refused(sender: Sender, run: RunRef, described: str) -> None:
    with pytest.raises(Refused):
        sender.log_model(run.run_id, described)


def test_a_tag_is_deleted_once(sender: Sender, run: RunRef) -> None:
    sender.log_batch(run.run_id, [], [], [("t", "1")])
    for _ in range(2):
        sender.delete_tag(run.run_id, "t")
    assert "t" not in stored(sender, run.run_id).tags


def test_a_long_history_is_read_whole(sender: Sender, run: RunRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.backend.rest_sender._HISTORY_PAGE", 700)
    for first in range(0, 3000, 1000):
        batch = [Point("loss", float(step), START_MS + step // 3, step) for step in range(first, first + 1000)]
        sender.log_batch(run.run_id, batch, [], [])
    history = sender.metric_history(run.run_id, "loss")
    assert sorted(point.step for point in history) == list(range(3000))
    assert all(point.value == point.step for point in history)


def test_a_sender_works_again_after_close(sender: Sender, run: RunRef) -> None:
    sender.close()
    assert sender.get_run(run.run_id) is not None
