"""The command line of a training script: the seeds' options, files below them, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.data import DataLoader, TensorDataset

from holdfast import MLflowTracker
from holdfast.errors import BackendUnavailableError, InvalidInputError
from holdfast.training import Count, Number, Script, TrainingConfig

QUICK = ["--num-workers", "0", "--system-metrics-every-s", "0", "--devices", "1", "--accelerator", "cpu"]


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    backbone: Literal["tiny", "large"] = "tiny"
    pretrained: bool = True
    freeze_backbone: bool = Field(default=False, description="leave 100% of the trunk as it is")
    augment: bool | None = None
    dropout: Number = 0.0
    layers: Count = 1
    seed: Count = 0


class Line(pl.LightningModule):
    def __init__(self, loss: float = 1.0) -> None:
        super().__init__()
        self.layer, self.scale = torch.nn.Linear(2, 1), loss

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        return torch.square(self.layer(batch[0])).mean()

    def validation_step(self, batch: Any, number: int) -> None:
        self.log("val/loss", (self.layer(batch[0]) ** 2).mean() * self.scale)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


def make_data(options: Any, config: Any) -> Any:
    print("what a script prints of its data")  # noqa: T201 - as scripts do
    drawn = DataLoader(TensorDataset(torch.randn(8, 2)), config.batch_size, num_workers=config.num_workers)
    return drawn, drawn


script = Script(lambda options, config: Line(), make_data, model_config=Options, description="Learns 50% of a line.")


def configured(*arguments: str, of: Script = script) -> tuple[Any, TrainingConfig]:
    return of.configure(of.parse(arguments))


@pytest.fixture
def here(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> MLflowTracker:
    """The tracker of what the script trains."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "command")
    return MLflowTracker()


def runs_of(tracker: MLflowTracker) -> list[Any]:
    tracker.flush(60)
    return list(tracker.client.search_runs([tracker.experiment_id]))


# -- options ----------------------------------------------------------------------------


def test_the_options_of_the_seeds() -> None:
    model, training = configured(
        *("--backbone", "large", "--pretrained", "--freeze-backbone", "--learning-rate", "1e-4", "--batch-size", "16"),
        *("--epochs", "5", "--seed", "7", "--devices", "2", "--num-nodes", "3", "--strategy", "ddp"),
        *("--precision", "bf16-mixed", "--accumulate", "4", "--fast-dev-run", "--layers", "2"),
    )
    assert model == Options(backbone="large", pretrained=True, freeze_backbone=True, layers=2, seed=7)
    assert training == TrainingConfig(
        learning_rate=1e-4,
        batch_size=16,
        epochs=5,
        seed=7,
        devices=2,
        num_nodes=3,
        strategy="ddp",
        precision="bf16-mixed",
        accumulate=4,
        fast_dev_run=True,
    )
    options = script.parse(["--config", "a.toml", "--output-dir", "out", "--run-name", "me", "--resume", "auto"])
    assert (options.config, options.output_dir, options.run_name, options.resume) == ("a.toml", "out", "me", "auto")
    options = script.parse([])
    assert (options.config, options.output_dir, options.run_name, options.resume) == (None, "outputs", None, None)
    assert script.configure(options) == (Options(), TrainingConfig())


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ([], True),
        (["--pretrained"], True),
        (["--no-pretrained"], False),
        (["--pretrained", "false"], False),
        (["--pretrained=False"], False),
        (["--pretrained", "0"], False),
        (["--pretrained", "no"], False),
        (["--pretrained", "true"], True),
        (["--pretrained", "on"], True),
        (["--pretrained", "false", "--pretrained"], True),
        (["--pretrained", "--no-pretrained"], False),
    ],
)
def test_yes_and_no(given: list[str], value: bool) -> None:
    model, _ = configured(*given, "--epochs", "3")
    assert model.pretrained is value


def test_yes_no_and_neither() -> None:
    assert [configured(*given)[0].augment for given in ([], ["--augment"], ["--no-augment"])] == [None, True, False]
    assert configured("--deterministic", "no", "--no-fast-dev-run")[1] == TrainingConfig()


@pytest.mark.parametrize(
    "given",
    [["--pretrained", "maybe"], ["--pretrain"], ["--epochs"], ["--launcher", "rocket"], ["stray"], ["--epoch", "3"]],
)
def test_options_that_cannot_be_read(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        script.main(given)
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert said.out == ""
    assert "error:" in said.err


def test_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    with pytest.raises(SystemExit) as caught:
        script.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0
    assert "Learns 50% of a line." in said
    assert "--backbone tiny|large [tiny]" in said
    assert "leave 100% of the trunk as it is" in said
    assert "--learning-rate VALUE [0.001]" in said
    assert said.count(" --seed VALUE [0]") == 1


def test_keys_that_cannot_be_options() -> None:
    class Clashing(BaseModel):
        resume: str = ""

    with pytest.raises(InvalidInputError, match="--resume"):
        Script(lambda *_: None, make_data, model_config=Clashing).parse([])
    assert Script(lambda *_: None, make_data, model_config=Clashing).main([]) == 2


# -- files ------------------------------------------------------------------------------


def test_options_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text("epochs: 3\nlearning_rate: 1e-4\nbackbone: large\npretrained: false\nmodel: {layers: 4}\n")
    model, training = configured("--config", str(path), "--epochs", "9", "--pretrained", "--layers", "5")
    assert (model.backbone, model.pretrained, model.layers) == ("large", True, 5)
    assert (training.epochs, training.learning_rate) == (9, 1e-4)


@pytest.mark.parametrize("ending", [".toml", ".json"])
def test_tables_of_a_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"all{ending}"
    tables = {"training": {"epochs": 3, "seed": 4}, "model": {"layers": 2, "seed": 5}}
    toml = "[training]\nepochs = 3\nseed = 4\n[model]\nlayers = 2\nseed = 5\n"
    path.write_text(json.dumps(tables) if ending == ".json" else toml)
    model, training = configured("--config", str(path))
    assert (training.epochs, training.seed, model.layers, model.seed) == (3, 4, 2, 5)


@pytest.mark.parametrize(
    ("text", "given", "says"),
    [
        ("epoch: 3\nbatch_size: none", [], "batch_size = 'none': "),
        ("epoch: 3\nmodel: {layer: 3}", [], "epoch is unknown (did you mean epochs?)"),
        ("model: {layer: 3}", [], "of the model is not valid: layer is unknown (did you mean layers?)"),
        ("model: 3", [], "model in"),
        ("epochs: 1", ["--learning-rate", "fast"], "learning_rate = 'fast'"),
        ("epochs: 1", ["--backbone", "huge"], "backbone = 'huge'"),
        ("epochs: 1", ["--epochs", "1.5"], "epochs = '1.5'"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, given: list[str], says: str
) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(text)
    assert script.main(["--config", str(path), "--json", *given]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert "hint:" in said.err


# -- training ---------------------------------------------------------------------------


def test_one_document(here: MLflowTracker, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_text("epochs = 9\nbatch_size = 4\n")
    given = ["--config", str(path), "--epochs", "2", "--output-dir", "out", "--run-name", "me", "--layers", "3"]
    assert script.main([*QUICK, *given, "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["epochs"], document["global_step"], document["is_resumed"]) == (2, 4, False)
    assert document["best_score"] > 0
    assert Path(document["best_checkpoint"]).exists()
    assert Path(document["best_checkpoint"]).parent == Path("out") / document["run_id"]
    assert "what a script prints of its data" in said.err
    (run,) = runs_of(here)
    assert (run.info.run_id, run.info.run_name, run.info.status) == (document["run_id"], "me", "FINISHED")
    assert run.data.params | {"epochs": "2", "batch_size": "4", "model/layers": "3"} == run.data.params


def test_the_seed_draws_the_data(here: MLflowTracker, capsys: pytest.CaptureFixture[str]) -> None:
    scores = []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)
        assert script.main([*QUICK, "--epochs", "1", "--seed", str(seed), "--json"]) == 0
        scores.append(json.loads(capsys.readouterr().out)["best_score"])
    assert scores[0] == scores[1] != scores[2]


def test_a_score_that_json_has_not(here: MLflowTracker, capsys: pytest.CaptureFixture[str]) -> None:
    endless = Script(lambda options, config: Line(float("inf")), make_data, model_config=Options)
    assert endless.main([*QUICK, "--epochs", "1", "--early-stopping-patience", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best_score"] is None


def test_trying_it_out(here: MLflowTracker, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([*QUICK, "--fast-dev-run", "--output-dir", "out"]) == 0
    assert capsys.readouterr().out.endswith("It runs: one batch of everything went through; nothing was logged.\n")
    assert script.main([*QUICK, "--fast-dev-run", "--json", "--output-dir", "out"]) == 0
    assert json.loads(capsys.readouterr().out)["run_id"] is None
    assert runs_of(here) == []
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (["--resume", "0" * 32], 1, "0" * 32),
        (["--resume", "last"], 1, "no run to go on with"),
        (["--precision", "17-mixed"], 2, "Trainer refuses"),
        (["--config", "none.toml"], 2, "none.toml"),
    ],
)
def test_exit_codes(
    here: MLflowTracker, capsys: pytest.CaptureFixture[str], given: list[str], code: int, says: str
) -> None:
    assert script.main([*QUICK, "--json", *given]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "error: " in said.err
    assert says in said.err
    assert runs_of(here) == []


def test_try_again_later(here: MLflowTracker, capsys: pytest.CaptureFixture[str]) -> None:
    def make_model(options: Any, config: Any) -> Any:
        raise BackendUnavailableError("The hub is away.", "wait", retryable=True)

    assert Script(make_model, make_data).main([*QUICK, "--epochs", "1"]) == 3
    assert capsys.readouterr().err.endswith("error: The hub is away.\n  hint: wait\n")
