"""From a run's best checkpoint to a registered ONNX model that a fresh process loads."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import typer
from torch import Tensor, nn
from typer.testing import CliRunner

import holdfast
from holdfast import MLflowTracker, ModelRegistry
from holdfast.cli import export as export_command
from holdfast.core.policy import parse_policy
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.project import open_project
from holdfast.training.export import ExportError, OnnxExport, ParityRule, export_onnx, find_module, publish

_FRESH = """
import json, sys
import numpy as np, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/located/Staging")
got = model.predict({"x": np.array(json.loads(sys.argv[2]), dtype=np.float32)})
assert "torch" not in sys.modules
print(json.dumps({name: value.tolist() for name, value in got.items()}))
"""


class Net(pl.LightningModule):
    """A small module with hyper-parameters."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.example_input_array = torch.linspace(-1, 1, 6).reshape(2, 3)
        self.layers = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Dropout(), nn.Linear(width, 2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"position": self.layers(x)}


class Apart(Net):
    """One whose checkpoint does not fit `Net`."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.more = nn.Linear(1, 1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tracker(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MLflowTracker:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "export")
    monkeypatch.setenv("MLFLOW_ARTIFACT_URI", str(tmp_path / "artifacts"))
    return MLflowTracker()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> OnnxExport:
    """Exported once; a test that changes the file takes a copy."""
    torch.manual_seed(0)
    net, folder = Net(), tmp_path_factory.mktemp("exported")
    return export_onnx(net, net.example_input_array, input_names=["x"], checks=ParityRule(repeats=2), into=folder)


def _finished(tracker: MLflowTracker, **metrics: float) -> str:
    with tracker.run("trained") as run_id:
        tracker.log_metrics({name.replace("_", "/"): value for name, value in metrics.items()})
        tracker.set_tags({"holdfast.training.module": f"{Net.__module__}:Net"})
    tracker.flush()
    return run_id


def _checkpoint(path: Path, module: pl.LightningModule, **more: Any) -> Path:
    content = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "pytorch-lightning_version": version("lightning"),
    }
    torch.save(content | more, path)
    return path


def test_publish(tracker: MLflowTracker, exported: OnnxExport, sqlite_uri: str) -> None:
    run_id = _finished(tracker, val_loss=0.5)
    done = publish(tracker, exported, run_id, model_name="located", description="where", tags={"by": "test"})
    assert done.version is not None
    assert done.stage is not None
    assert (done.version.version, done.stage.value, done.version.run_id) == (1, "Staging", run_id)
    assert done.version.description == "where"
    assert done.version.tags["by"] == "test"
    assert done.version.tags["onnx.sha256"] == exported.sha256
    info = tracker.get_run_info(run_id)
    assert info["status"] == "FINISHED"
    assert info["metrics"]["onnx/max_abs_error"] == exported.parity.max_abs_error
    assert info["metrics"]["onnx/latency_ms"] == exported.timings[0].onnx_ms
    project = open_project()
    assert len(project.runs.search_runs([project.experiment().experiment_id])) == 1
    folder = project.artifacts.download(info["artifact_uri"], "onnx")
    assert (folder / "model.onnx").read_bytes() == exported.path.read_bytes()
    about = json.loads((folder / "metadata.json").read_text())
    assert about["run_id"] == run_id
    assert about["sha256"] == exported.sha256
    assert about["inputs"] == [{"name": "x", "dtype": "float32", "dims": ["batch", 3]}]
    report = json.loads((folder / "parity.json").read_text())
    assert len(report["float32"]["batches"]) == len(exported.parity.batches)
    # In a process that has neither the module nor PyTorch, on a batch of another size.
    rows = [[0.1, 0.2, 0.3], [1.0, -1.0, 2.0], [0.0, 0.0, 0.0]]
    fresh = subprocess.run(
        [sys.executable, "-c", _FRESH, sqlite_uri, json.dumps(rows)], capture_output=True, text=True, check=False
    )
    assert fresh.returncode == 0, fresh.stderr[-2000:]
    torch.manual_seed(0)
    expected = Net().eval()(torch.tensor(rows))["position"].detach().numpy()
    np.testing.assert_allclose(json.loads(fresh.stdout.splitlines()[-1])["position"], expected, atol=1e-5)
    mine = holdfast.load_model("located", "Staging").predict({"x": np.array(rows, dtype=np.float32)})
    np.testing.assert_allclose(mine["position"], expected, atol=1e-5)
    gates = parse_policy({"loads": True})
    answers = ModelRegistry(project, gates).check("located", 1, "Production")
    assert [(item.check, item.passed) for item in answers] == [("loads", True)], answers
    # Again: a version of its own, and files of its own.
    again = publish(project, exported, run_id, model_name="located", stage=None)
    assert again.artifact_path == "onnx-2"
    assert again.version is not None
    assert again.version.version == 2
    assert ModelRegistry(project).get("located", "Staging").version == 1


def test_corrupted(tracker: MLflowTracker, exported: OnnxExport, tmp_path: Path) -> None:
    run_id = _finished(tracker)
    content = bytearray(exported.path.read_bytes())
    content[len(content) // 2] ^= 1
    changed = replace(exported, path=tmp_path / "model.onnx")
    changed.path.write_bytes(content)
    with pytest.raises(ExportError, match="is not what was exported") as caught:
        publish(tracker, changed, run_id, model_name="located")
    assert caught.value.step == "publish"
    project = open_project()
    assert project.models.find_model("located") is None
    assert project.artifacts.list_files(tracker.get_run_info(run_id)["artifact_uri"]) == []


def test_best(tracker: MLflowTracker, tmp_path: Path) -> None:
    worse, better = _finished(tracker, val_loss=0.5), _finished(tracker, val_loss=0.9, best_val_loss=0.1)
    project = open_project()
    net = Net(width=6)
    gone = str(tmp_path / "gone" / "epoch-001.ckpt")
    state = {"ModelCheckpoint{'monitor': 'val/loss'}": {"best_model_path": gone, "dirpath": str(tmp_path / "gone")}}
    root = project.runs.get_run(better).artifact_uri
    for path in (
        _checkpoint(tmp_path / "epoch-001.ckpt", net),
        _checkpoint(tmp_path / "epoch-002.ckpt", Net(width=3)),
        _checkpoint(tmp_path / "last.ckpt", Net(width=3), callbacks=state),
    ):
        project.artifacts.upload_file(path, root, "checkpoints")
    chosen = find_module(project, "best:val/loss", tmp_path / "scratch")
    assert (chosen.run_id, chosen.value, chosen.input_names) == (better, 0.1, ("x",))
    assert torch.equal(chosen.module.state_dict()["layers.0.weight"], net.state_dict()["layers.0.weight"])
    with pytest.raises(NotFoundError, match=f"Run {worse} has 0 checkpoints"):
        find_module(project, f"run:{worse}", tmp_path / "scratch")
    with pytest.raises(NotFoundError, match="has a number for 'val/acc'"):
        find_module(project, "best:val/acc:max", tmp_path / "scratch")
    with pytest.raises(InvalidInputError, match="'mxa' is neither min nor max") as wrong:
        find_module(project, "best:val/loss:mxa", tmp_path / "scratch")
    assert wrong.value.hint == "say --from best:val/loss:min or --from best:val/loss:max"
    _finished(tracker, **{"top:k": 1.0})
    with pytest.raises(NotFoundError, match="has 0 checkpoints"):
        find_module(project, "best:top:k", tmp_path / "scratch")
    with pytest.raises(NotFoundError, match="no checkpoint 'nothing'"):
        find_module(project, "nothing", tmp_path / "scratch")


def test_checkpoints(tracker: MLflowTracker, tmp_path: Path) -> None:
    project, name = open_project(), f"{Net.__module__}:Net"
    path = str(_checkpoint(tmp_path / "a.ckpt", Net()))
    chosen = find_module(project, path, tmp_path, module=name, inputs=["mel:float32:4x3"])
    assert chosen.input_names == ("mel",)
    assert chosen.sample_inputs[0].shape == (4, 3)
    assert chosen.run_id is None
    with pytest.raises(InvalidInputError, match="of which class"):
        find_module(project, path, tmp_path)
    with pytest.raises(InvalidInputError, match="'x:float99:3'"):
        find_module(project, path, tmp_path, module=name, inputs=["x:float99:3"])
    unsafe = str(_checkpoint(tmp_path / "b.ckpt", Net(), extra=ParityRule()))
    with pytest.raises(
        ExportError, match=r"holds Python objects \(holdfast\.training\.export\.rules\.ParityRule\)"
    ) as told:
        find_module(project, unsafe, tmp_path, module=name)
    assert "\x1b" not in told.value.message
    assert "weights_only" not in told.value.message
    assert find_module(project, unsafe, tmp_path, module=name, trust_checkpoint=True).module.hparams["width"] == 4
    other = str(_checkpoint(tmp_path / "c.ckpt", Apart()))
    with pytest.raises(ExportError, match="cannot be built"):
        find_module(project, other, tmp_path, module=name)
    Path(path).write_bytes(Path(path).read_bytes()[:500])
    with pytest.raises(ExportError, match=r"cannot be read|damaged"):
        find_module(project, path, tmp_path, module=name)


def test_command(tracker: MLflowTracker, tmp_path: Path) -> None:
    run_id = _finished(tracker, val_loss=0.5)
    project = open_project()
    path = _checkpoint(tmp_path / "epoch-001.ckpt", Net())
    project.artifacts.upload_file(path, project.runs.get_run(run_id).artifact_uri, "checkpoints")
    app = typer.Typer()
    export_command.add_to(app)
    call = ["export", "onnx", "--from", "best:val/loss", "--name", "located", "--into", str(tmp_path / "o"), "--json"]
    done = CliRunner().invoke(app, [*call, "--int8"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["run_id"], told["version"], told["stage"], told["metric_value"]) == (run_id, 1, "Staging", 0.5)
    assert (tmp_path / "o" / "model.int8.onnx").exists()
    assert told["parity"]["passed"]
    assert told["int8"]["file"]
    refused = CliRunner().invoke(app, [*call, "--rtol", "0", "--atol", "0", "--no-register", "--opset", "99"])
    assert isinstance(refused.exception, InvalidInputError)
    assert [item.version for item in ModelRegistry(project).versions("located")] == [1]
    # A folder that cannot be one is refused before a checkpoint is looked for.
    (tmp_path / "file").touch()
    placed = CliRunner().invoke(app, ["export", "onnx", "--from", "best:none", "--into", str(tmp_path / "file")])
    assert isinstance(placed.exception, InvalidInputError)
    assert "cannot be written to" in placed.exception.message
    assert placed.exception.hint == "give another folder: --into FOLDER"


def test_hints_name_options() -> None:
    """What a person reads who wrote a command: no argument of Python is in any hint of the library by then."""
    hints = [
        hint for path in Path(export_command.__file__).parents[1].glob("training/export/*.py") for hint in _hints(path)
    ]
    assert len(hints) > 15
    arguments = re.compile(
        r"\w+=(?!self)|ParityRule|QuantizeRule|\b(quantize|output_names|sample_inputs|dynamic_batch)\b"
    )
    # In front of the translation it is these that the expression has to find.
    assert sum(bool(arguments.search(hint)) for hint in hints) > 5
    assert [hint for hint in hints if arguments.search(export_command.as_options(hint))] == []


def _hints(path: Path) -> Iterator[str]:
    """The second argument of every error that a file raises, as far as it is written there."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error") and len(node.args) > 1:
            parts = [part.value for part in ast.walk(node.args[1]) if isinstance(part, ast.Constant)]
            yield "".join(str(part) for part in parts)
