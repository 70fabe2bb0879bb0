"""Checkpoints and logged steps through the tracker, on every way to store them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import MLflowTracker, load_settings
from holdfast.errors import DeliveryError, InvalidInputError, NotFoundError, RunStateError
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow

# Nothing here differs between databases.
pytestmark = pytest.mark.backends("sqlite", "http")


@pytest.fixture(params=["journal", "direct"])
def tracker(
    request: pytest.FixtureRequest, tracking_uri: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MLflowTracker]:
    monkeypatch.setenv("HOLDFAST_DELIVERY", request.param)
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    with MLflowTracker(tracking_uri=tracking_uri, experiment_name=unique, artifact_uri=root) as made:
        yield made


def checkpoint(folder: Path, content: str) -> Path:
    path = folder / "present.ckpt"
    path.write_text(content)
    return path


def names(tracker: MLflowTracker, run_id: str, folder: str = "checkpoints") -> dict[str, str]:
    """Return what is stored, once all of it is."""
    tracker.flush(60)
    project = tracker._project
    root = project.runs.get_run(run_id).artifact_uri
    stored = project.artifacts.list_files(root, folder)
    return {
        file.path.rpartition("/")[2]: project.artifacts.download(root, file.path).read_text()
        for file in stored
        if not file.is_dir
    }


def test_the_best_and_the_last_are_kept(tracker: MLflowTracker, tmp_path: Path) -> None:
    run_id = tracker.start_run()
    for step in range(6):
        source = checkpoint(tmp_path, f"weights {step}")
        drop = [f"step-{step - 2}.ckpt"] if step >= 2 else []
        tracker.log_checkpoint(source, name=f"step-{step}.ckpt", drop=drop)
        tracker.log_checkpoint(source, name="last.ckpt")
        source.write_text("overwritten")
    kept = {"step-4.ckpt": "weights 4", "step-5.ckpt": "weights 5", "last.ckpt": "weights 5"}
    assert names(tracker, run_id) == kept
    tracker.drop_checkpoints(["step-4.ckpt", "never.ckpt"])
    tracker.drop_checkpoints([])
    assert names(tracker, run_id) == {name: kept[name] for name in ("step-5.ckpt", "last.ckpt")}
    tracker.log_checkpoint(checkpoint(tmp_path, "own name"), "other/place")
    assert names(tracker, run_id, "other/place") == {"present.ckpt": "own name"}


def test_names_that_lead_elsewhere_are_refused(tracker: MLflowTracker, tmp_path: Path) -> None:
    run_id = tracker.start_run()
    source = checkpoint(tmp_path, "weights")
    tracker.log_checkpoint(source, name="a.ckpt")
    with pytest.raises(InvalidInputError, match=r"'\.\./b'.*''.*'c/d'.*'\.'"):
        tracker.log_checkpoint(source, name="ok.ckpt", drop=["../b", "", "c/d", ".", "a.ckpt"])
    for name in ("", "..", "a/b", "a\\b", "a\nb", "x" * 256):
        with pytest.raises(InvalidInputError):
            tracker.log_checkpoint(source, name=name)
    with pytest.raises(InvalidInputError, match="stored and dropped"):
        tracker.log_checkpoint(source, name="a.ckpt", drop=["a.ckpt"])
    with pytest.raises(InvalidInputError, match="one name"):
        tracker.drop_checkpoints("a.ckpt")
    with pytest.raises(InvalidInputError):
        tracker.drop_checkpoints(["a.ckpt"], "../elsewhere")
    with pytest.raises(InvalidInputError):
        tracker.log_checkpoint(tmp_path / "missing")
    assert names(tracker, run_id) == {"a.ckpt": "weights"}
    tracker.end_run()
    outside = MLflowTracker(settings=tracker.settings)
    with pytest.raises(RunStateError):
        outside.log_checkpoint(source)


def test_the_last_steps(tracker: MLflowTracker, unique: str) -> None:
    run_id = tracker.start_run()
    for step in (0, 7, 3):
        tracker.log_metrics({"loss": 1.0, "only/here": float("nan")}, step=step)
    tracker.log_metrics({"late": 2.0}, step=2)
    assert tracker.logged_steps(run_id) == {"loss": 7, "only/here": 7, "late": 2}
    with pytest.raises(NotFoundError):
        tracker.logged_steps("0" * 32)


# -- what a killed process has left -----------------------------------------------------------

_KILLED = """
import json, sys, time
from pathlib import Path
from holdfast.delivery.delivery import Delivery
from holdfast.delivery.target import Target

told = json.loads(sys.stdin.readline())
delivery = Delivery(Target.from_json(told["target"]))
writer = delivery.writer(told["run"])
for step in range(told["first"], told["last"] + 1):
    writer.points([("loss", 1.0, time.time_ns() // 1_000_000, step)])
print("logged", flush=True)
sys.stdin.readline()
"""


def log_and_be_killed(target: str, run_id: str, first: int, last: int) -> None:
    """Log through the journal in a process that is killed before anything is delivered."""
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps({"target": target, "run": run_id, "first": first, "last": last}) + "\n")
    child.stdin.flush()
    assert child.stdout.readline() == "logged\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()


def test_what_a_killed_process_left_counts(tracking_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SHIPPER", "none")
    tracker = MLflowTracker(tracking_uri=tracking_uri, experiment_name=unique)
    assert tracker._project.delivery is not None
    target = tracker._project.delivery.target.to_json()
    with tracker.run() as run_id:
        tracker.log_metrics({"loss": 1.0}, step=4)
    tracker.flush()
    log_and_be_killed(target, run_id, 5, 9)
    assert tracker.logged_steps(run_id) == {"loss": 9}
    # Also for whoever logs without a journal, and finds what another has left.
    log_and_be_killed(target, run_id, 10, 12)
    direct = MLflowTracker(settings=load_settings(
        tracking_uri=tracking_uri, experiment_name=unique, delivery="direct"
    ))  # fmt: skip
    assert direct.logged_steps(run_id) == {"loss": 12}


@pytest.mark.backends("http")
def test_an_outage_of_the_server(
    mlflow_server: RunningMlflow, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_READ_WAIT", "1")
    with FaultProxy(mlflow_server.url) as proxy:
        proxy.refuse()
        tracker = MLflowTracker(tracking_uri=proxy.url, experiment_name=unique)
        run_id = tracker.start_run()
        assert run_id.startswith("local-")
        for step in range(5):
            tracker.log_metrics({"loss": 1.0}, step=step)
            source = checkpoint(tmp_path, f"weights {step}")
            tracker.log_checkpoint(source, name=f"{step}.ckpt", drop=[f"{step - 1}.ckpt"] if step else [])
        with pytest.raises(DeliveryError) as failed:
            tracker.logged_steps(run_id)
        assert failed.value.retryable
        assert "holdfast journal status" in failed.value.hint
        proxy.pass_on()
        tracker.flush(60)
        assert tracker.logged_steps(run_id) == {"loss": 4}
        server_id = tracker.get_run_info(run_id)["run_id"]
        assert tracker.logged_steps(server_id) == {"loss": 4}
        assert names(tracker, run_id) == {"4.ckpt": "weights 4"}
        tracker.end_run()
