"""What a tracker promises, on SQLite, on PostgreSQL and on a real MLflow server alike."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from holdfast import MLflowTracker, initialize_mlflow
from holdfast.errors import InvalidInputError, NotFoundError, RunStateError
from holdfast.settings import load_settings

# Every name that MLflow takes must work as a metric to search for.
AWKWARD_NAMES = ["val/loss", "top-5 accuracy", "a.b.c", "loss:total", "order by", "é_loss", "_", "metrics.x", "1"]


@pytest.fixture
def tracker(tracking_uri: str, unique: str, tmp_path: Path) -> MLflowTracker:
    return make(tracking_uri, unique, tmp_path)


def make(tracking_uri: str, unique: str, tmp_path: Path) -> MLflowTracker:
    # A server decides where files go; a database leaves it to the client.
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return MLflowTracker(tracking_uri=tracking_uri, experiment_name=unique, artifact_uri=root)


def test_a_run_holds_what_was_logged(tracker: MLflowTracker) -> None:
    run_id = tracker.start_run("first", {"team": "a", "note": 3})
    tracker.log_params({"lr": 0.1, "layers": [1, 2], "optimizer": {"name": "adam"}, "none": None})
    tracker.log_metrics({"val/loss": 0.5}, step=1)
    tracker.log_metrics({"val/loss": 0.25}, step=2)
    tracker.end_run()
    info = tracker.get_run_info(run_id)
    assert (info["run_name"], info["status"]) == ("first", "FINISHED")
    assert info["params"] == {"lr": "0.1", "layers": "[1, 2]", "optimizer": '{"name": "adam"}', "none": "None"}
    assert info["metrics"] == {"val/loss": 0.25}
    assert info["tags"]["team"] == "a"
    assert info["tags"]["note"] == "3"
    assert info["end_time"] >= info["start_time"]


def test_a_curve_is_logged_in_order(tracker: MLflowTracker) -> None:
    with tracker.run("curve") as run_id:
        tracker.log_series({"loss": [1.0 / (i + 1) for i in range(1100)], "short": [5.0]}, first_step=1)
    points = tracker._project.runs.metric_history(run_id, "loss")
    assert [point.step for point in points] == list(range(1, 1101))
    assert points[-1].value == pytest.approx(1 / 1100)
    assert [point.value for point in tracker._project.runs.metric_history(run_id, "short")] == [5.0]


def test_more_params_and_tags_than_one_request_takes(tracker: MLflowTracker) -> None:
    with tracker.run("many") as run_id:
        tracker.log_params({f"p{i}": i for i in range(250)})
        tracker.set_tags({f"t{i}": i for i in range(150)})
        tracker.log_metrics({f"m{i}": float(i) for i in range(1200)})
    info = tracker.get_run_info(run_id)
    assert len(info["params"]) == 250
    assert info["tags"]["t149"] == "149"
    assert len(info["metrics"]) == 1200


def test_fluent_calls_go_to_the_same_run(tracker: MLflowTracker) -> None:
    import mlflow

    with tracker.run("outer") as run_id:
        mlflow.log_metric("fluent", 1.0)
        mlflow.log_param("p", "x")
    assert mlflow.active_run() is None
    info = tracker.get_run_info(run_id)
    assert info["metrics"] == {"fluent": 1.0}
    assert info["params"] == {"p": "x"}


def test_runs_begun_inside_end_with_it(tracker: MLflowTracker) -> None:
    import mlflow

    outer = tracker.start_run("outer")
    inner = mlflow.start_run(nested=True).info.run_id
    tracker.end_run("FAILED")
    assert mlflow.active_run() is None
    assert tracker.get_run_info(outer)["status"] == "FAILED"
    assert tracker.get_run_info(inner)["status"] == "FAILED"


def test_children_know_their_parent(tracker: MLflowTracker) -> None:
    with tracker.run("parent") as parent:
        with tracker.run("child", nested=True) as child:
            tracker.log_metrics({"x": 1})
        assert tracker.run_id == parent
    assert tracker.get_run_info(child)["tags"]["mlflow.parentRunId"] == parent
    assert tracker.get_run_info(child)["metrics"] == {"x": 1.0}
    assert tracker.get_run_info(parent)["metrics"] == {}


def test_a_second_run_needs_the_first_to_end(tracker: MLflowTracker) -> None:
    with tracker.run("one") as run_id:
        with pytest.raises(RunStateError, match=run_id):
            tracker.start_run("two")
        assert tracker.run_id == run_id


def test_a_run_goes_on_where_it_was(tracker: MLflowTracker) -> None:
    with tracker.run("again") as run_id:
        tracker.log_metrics({"x": 1}, step=1)
    with tracker.run(run_id=run_id, tags={"resumed": "yes"}) as same:
        assert tracker.get_run_info(same)["status"] == "RUNNING"
        tracker.log_metrics({"x": 2}, step=2)
    info = tracker.get_run_info(run_id)
    assert (same, info["status"], info["metrics"], info["tags"]["resumed"]) == (run_id, "FINISHED", {"x": 2.0}, "yes")


def test_files_arrive_whole(tracker: MLflowTracker, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "b.bin").write_bytes(bytes(range(256)) * 1000)
    with tracker.run("files") as run_id:
        tracker.log_artifact(folder / "a.txt")
        tracker.log_artifacts_dir(folder, "plots")
        tracker.log_artifact(folder / "a.txt", "")
    tracker.flush()
    root = tracker.get_run_info(run_id)["artifact_uri"]
    store = tracker._project.artifacts
    assert {item.path for item in store.list_files(root)} == {"a.txt", "artifacts", "plots"}
    fetched = store.download(root, "plots", tmp_path / "back")
    assert (fetched / "deep" / "b.bin").read_bytes() == bytes(range(256)) * 1000


def test_files_that_are_not_there(tracker: MLflowTracker, tmp_path: Path) -> None:
    with tracker.run("files"):
        with pytest.raises(InvalidInputError, match="does not exist"):
            tracker.log_artifact(tmp_path / "missing.pt")
        with pytest.raises(InvalidInputError, match="is a folder"):
            tracker.log_artifact(tmp_path)
        (tmp_path / "f").write_text("x")
        with pytest.raises(InvalidInputError, match="is a file"):
            tracker.log_artifacts_dir(tmp_path / "f")
        with pytest.raises(InvalidInputError, match="no path inside"):
            tracker.log_artifact(tmp_path / "f", "../elsewhere")


def test_the_best_run_by_any_name(tracker: MLflowTracker) -> None:
    runs = log_every_name(tracker, [0.5, 0.25, math.nan, 0.75])
    with tracker.run() as without:
        tracker.log_metrics({"another": 0.0})
    for name in AWKWARD_NAMES:
        best = tracker.get_best_run(name)
        assert best is not None, name
        assert (best["run_id"], best["metric_value"]) == (runs[name, "0.25"], 0.25), name
        assert set(best["lacking"]) == {runs[name, "nan"], without}, name
        for mode in ("max", max):
            greatest = tracker.get_best_run(name, mode=mode)
            assert greatest is not None, name
            assert greatest["run_id"] == runs[name, "0.75"], name


def log_every_name(tracker: MLflowTracker, values: list[float]) -> dict[tuple[str, str], str]:
    """Log as many runs as values, in each every name, one with one value and the next with another.

    Returns:
        The run by name and value.
    """
    runs = {}
    for number in range(len(values)):
        turned = {name: values[(number + shift) % len(values)] for shift, name in enumerate(AWKWARD_NAMES)}
        with tracker.run() as run_id:
            tracker.log_metrics(turned)
        runs |= {(name, str(value)): run_id for name, value in turned.items()}
    return runs


def test_the_best_run_among_some(tracker: MLflowTracker) -> None:
    for value, kind in ((1.0, "a"), (2.0, "b")):
        with tracker.run() as last:
            tracker.log_params({"kind": kind})
            tracker.log_metrics({"loss": value})
    found = tracker.get_best_run("loss", min, filter_string="params.kind = 'b'")
    assert found is not None
    assert found["run_id"] == last
    assert tracker.get_best_run("loss", lambda values: sorted(values)[-1])["run_id"] == last  # type: ignore[index]
    with pytest.raises(InvalidInputError):
        tracker.get_best_run("loss", filter_string="this is no filter")


def test_the_best_of_very_many_runs(tracker: MLflowTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    # With more runs than are fetched, the store is asked to sort; NaN must still be last either way.
    monkeypatch.setattr("holdfast.tracking.best._LOOKED_AT", 2)
    runs = log_every_name(tracker, [0.5, 0.25, 0.75, math.nan])
    looked_at = set(list(dict.fromkeys(runs.values()))[-2:])
    for name, (mode, expected) in itertools.product(AWKWARD_NAMES, (("min", "0.25"), ("max", "0.75"))):
        best = tracker.get_best_run(name, mode=mode)
        assert best is not None, name
        assert best["run_id"] == runs[name, expected], name
        assert set(best["lacking"]) == {runs[name, "nan"]} & looked_at, name
    assert tracker.get_best_run("never logged") is None


def test_infinities_are_never_best(tracker: MLflowTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.tracking.best._ASKED_FOR", 2)
    assert log_each(tracker, "only", [math.inf, math.inf, math.nan])
    runs = log_each(tracker, "loss", [1.0, 2.0, *[math.inf] * 3, *[-math.inf] * 3])
    for looked_at, mode in itertools.product((2, 2000), ("min", "max")):
        monkeypatch.setattr("holdfast.tracking.best._LOOKED_AT", looked_at)
        assert tracker.get_best_run("only", mode=mode) is None
        best = tracker.get_best_run("loss", mode=mode)
        assert best is not None
        expected = 0 if mode == "min" else 1
        assert (best["run_id"], best["metric_value"]) == (runs[expected], [1.0, 2.0][expected])
        assert set(best["lacking"]) >= set(runs[-2:])


def log_each(tracker: MLflowTracker, name: str, values: list[float]) -> list[str]:
    runs = []
    for value in values:
        with tracker.run() as run_id:
            tracker.log_metrics({name: value})
        runs.append(run_id)
    return runs


def test_no_run_has_the_metric(tracker: MLflowTracker) -> None:
    with tracker.run():
        tracker.log_metrics({"loss": math.nan})
    assert tracker.get_best_run("loss") is None
    assert tracker.get_best_run("never logged") is None


def test_bad_input_names_all_that_is_bad_and_logs_nothing(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        with pytest.raises(InvalidInputError, match=r"(?s)a='x'.*b=None"):
            tracker.log_metrics({"good": 1.0, "a": "x", "b": None})
        with pytest.raises(InvalidInputError, match=r"'bad\$name'.*'\.\./up'"):
            tracker.log_metrics({"good": 1.0, "bad$name": 1, "../up": 2})
        with pytest.raises(InvalidInputError, match=r"long \(6,001"):
            tracker.log_params({"long": "x" * 6001})
        with pytest.raises(InvalidInputError, match="no step"):
            tracker.log_metrics({"good": 1.0}, step=1.5)  # type: ignore[arg-type]
    assert tracker.get_run_info(run_id)["metrics"] == {}
    assert tracker.get_run_info(run_id)["params"] == {}


def test_no_error_is_raw(tracker: MLflowTracker) -> None:
    loop: list[object] = []
    loop.append(loop)
    calls = [
        lambda: tracker.log_metrics(None),  # type: ignore[arg-type]
        lambda: tracker.log_params("abc"),  # type: ignore[arg-type]
        lambda: tracker.set_tags(3),  # type: ignore[arg-type]
        lambda: tracker.log_series(None),  # type: ignore[arg-type]
        lambda: tracker.log_params({"loop": loop}),
        lambda: tracker.log_params({"nul": "a\0b"}),
        lambda: tracker.set_tags({"half": "\ud800"}),
        lambda: tracker.log_metrics({"x": 1}, step=2**63),
        lambda: tracker.start_run("\ud800", nested=True),
    ]
    with tracker.run() as run_id:
        for call in calls:
            with pytest.raises(InvalidInputError):
                call()
        tracker.log_metrics({"x": 1}, step=2**63 - 1)
        tracker.log_params({"array": np.arange(2000) % 10})
    info = tracker.get_run_info(run_id)
    assert (info["metrics"], info["tags"].get("half")) == ({"x": 1.0}, None)
    assert json.loads(info["params"]["array"]) == (np.arange(2000) % 10).tolist()


def test_a_param_keeps_its_first_value(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        tracker.log_params({"lr": 0.1})
        tracker.log_params({"lr": 0.1})
        with pytest.raises(InvalidInputError, match="lr"):
            tracker.log_params({"lr": 0.2})
    assert tracker.get_run_info(run_id)["params"] == {"lr": "0.1"}


def test_infinities_and_nan_are_logged(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        tracker.log_metrics({"nan": math.nan, "inf": math.inf, "true": True})
    metrics = tracker.get_run_info(run_id)["metrics"]
    assert math.isnan(metrics["nan"])
    # SQL databases have no infinity; MLflow keeps the greatest number instead.
    assert metrics["inf"] > 1e308
    assert metrics["true"] == 1.0


def test_logging_needs_a_run(tracker: MLflowTracker) -> None:
    with pytest.raises(RunStateError, match="No run is open"):
        tracker.log_metrics({"x": 1})
    tracker.end_run()  # nothing to end is nothing wrong
    with pytest.raises(InvalidInputError, match="'DONE'"):
        tracker.end_run("DONE")


def test_inside_a_block_the_first_log_starts_a_run(tracker: MLflowTracker) -> None:
    with tracker:
        tracker.log_metrics({"x": 1})
        run_id = tracker.run_id
    assert tracker.run_id is None
    assert tracker.get_run_info(run_id)["status"] == "FINISHED"


def test_an_unknown_run(tracker: MLflowTracker) -> None:
    with pytest.raises(NotFoundError, match="0123456789abcdef"):
        tracker.get_run_info("0123456789abcdef0123456789abcdef")


def test_secrets_are_masked_in_params_and_tags(tracker: MLflowTracker, canary: str) -> None:
    with tracker.run(tags={"db": f"postgresql://u:{canary}@host/db"}) as run_id:
        tracker.log_params({"db_password": canary, "uri": f"https://u:{canary}@host/"})
    info = tracker.get_run_info(run_id)
    assert info["params"] == {"db_password": "****", "uri": "https://u:****@host/"}
    assert info["tags"]["db"] == "postgresql://u:****@host/db"


def test_secrets_inside_params_and_in_names_are_masked(tracker: MLflowTracker, canary: str) -> None:
    with tracker.run(f"https://u:{canary}@host/", description=f"https://u:{canary}@host/") as run_id:
        tracker.log_params({"d": {"a": {"password": canary}}, "list": [{"hf_token": canary, "n": 1}]})
    info = tracker.get_run_info(run_id)
    assert info["params"] == {"d": '{"a": {"password": "****"}}', "list": '[{"hf_token": "****", "n": 1}]'}
    assert info["run_name"] == info["tags"]["mlflow.note.content"] == "https://u:****@host/"


def test_known_secrets_are_masked_by_value(tracking_uri: str, unique: str, tmp_path: Path, canary: str) -> None:
    tracker = MLflowTracker(
        tracking_uri=tracking_uri, experiment_name=unique, s3_access_key_id="AKIDEXAMPLE", s3_secret_access_key=canary
    )
    with tracker.run() as run_id:
        tracker.log_params({"command": f"train --key {canary}"})
    assert tracker.get_run_info(run_id)["params"] == {"command": "train --key ****"}
    assert canary not in repr(tracker)


def test_nothing_is_printed(tracker: MLflowTracker, capfd: pytest.CaptureFixture[str]) -> None:
    # MLflow prints "View run ... at http://user:password@host" when a run ends.
    with tracker.run():
        tracker.log_metrics({"x": 1})
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_two_trackers_side_by_side(tracking_uri: str, unique: str, tmp_path: Path) -> None:
    first, second = make(tracking_uri, f"{unique}-1", tmp_path), make(tracking_uri, f"{unique}-2", tmp_path)
    with first.run("a") as a:
        first.log_metrics({"x": 1})
    with second.run("b") as b:
        second.log_metrics({"x": 2})
    assert first.get_run_info(a)["experiment_id"] != second.get_run_info(b)["experiment_id"]


def test_fluent_calls_follow_the_open_run_from_store_to_store(
    tracking_uri: str, sqlite_template: Path, unique: str, tmp_path: Path
) -> None:
    import mlflow

    first = make(tracking_uri, unique, tmp_path)
    other = f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'other.db')}"
    second = MLflowTracker(tracking_uri=other, experiment_name=unique, artifact_uri=str(tmp_path / "other"))
    for value, tracker in ((1.0, first), (2.0, second), (3.0, first)):
        with tracker.run() as run_id:
            mlflow.log_metric("x", value)
        assert tracker.get_run_info(run_id)["metrics"] == {"x": value}


def test_initialize_mlflow_takes_settings_of_any_kind(tracking_uri: str, unique: str) -> None:
    class AppSettings:
        mlflow_tracking_uri = tracking_uri
        mlflow_experiment_name = unique
        mlflow_s3_endpoint_url = ""
        mlflow_run_name_prefix = "rf"

    theirs = initialize_mlflow(AppSettings())
    ours = initialize_mlflow(load_settings(tracking_uri=tracking_uri, experiment_name=unique))
    assert theirs.experiment_id == ours.experiment_id
    with theirs.run() as run_id:
        pass
    assert theirs.get_run_info(run_id)["run_name"].startswith("rf-20")


def test_nothing_touches_the_environment(tracking_uri: str, unique: str, tmp_path: Path) -> None:
    import boto3

    before = dict(os.environ)
    tracker = make(tracking_uri, unique, tmp_path)
    with tracker.run() as run_id:
        tracker.log_params({"a": 1})
        tracker.log_metrics({"b": 1})
        (tmp_path / "f").write_text("x")
        tracker.log_artifact(tmp_path / "f")
    tracker.get_best_run("b")
    tracker.get_run_info(run_id)
    assert dict(os.environ) == before
    assert boto3.DEFAULT_SESSION is None
