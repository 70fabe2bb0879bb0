"""Training, evaluation and serving of the RF example, on simulated scenes and through the real pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pl = pytest.importorskip("lightning.pytorch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
EllipseCollection = pytest.importorskip("matplotlib.collections").EllipseCollection

from holdfast import ModelRegistry, Project, open_project  # noqa: E402
from holdfast.backend.trials import Trial  # noqa: E402
from holdfast.core.stages import Stage  # noqa: E402
from holdfast.errors import InvalidInputError, PromotionRefusedError  # noqa: E402
from holdfast.settings import load_settings  # noqa: E402
from holdfast_examples.rf_localization import end_to_end, evaluate, maps, serve, train  # noqa: E402
from holdfast_examples.rf_localization.data_module import ScenesDataModule  # noqa: E402
from holdfast_examples.rf_localization.lightning_module import LocalizationModule  # noqa: E402
from holdfast_examples.rf_localization.local_frame import FRAME  # noqa: E402

PLAIN: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scenes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests of this file keep their scenes, so that they are simulated once."""
    return tmp_path_factory.mktemp("scenes")


def test_data_module_gives_what_was_simulated(scenes_dir: Path) -> None:
    data = ScenesDataModule(300, 1, 32, folder=scenes_dir)
    data.prepare_data()
    data.setup("fit")
    arrays = data.splits()["val"]
    images, measurements, positions = next(iter(data.val_dataloader()))
    assert images.shape == (45, 14, 128, 32)
    assert images.dtype == torch.float32
    assert np.array_equal(images.numpy(), arrays.images.astype(np.float32))
    assert np.array_equal(measurements.numpy(), arrays.measurements)
    assert np.allclose(FRAME.to_latlon(positions.numpy()), arrays.positions, atol=1e-5)
    one = data.train_dataloader().dataset[3]
    assert [tuple(part.shape) for part in one] == [(14, 128, 32), (35,), (2,)]
    seen = torch.cat([batch[2] for batch in data.train_dataloader()])
    assert len(seen) == 210
    assert not torch.equal(seen, torch.cat([batch[2] for batch in data.train_dataloader()]))  # shuffled


def test_the_network_alone_learns(scenes_dir: Path) -> None:
    """Without the solver all it knows is learnt: scenes it has seen often it must find far better than a centroid."""
    data = ScenesDataModule(300, 1, 30, folder=scenes_dir)
    pl.seed_everything(1, verbose=False)
    module = LocalizationModule(solver=False, dropout=0.0, learning_rate=3e-3)
    trainer = pl.Trainer(
        max_epochs=40,
        **PLAIN,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=40,
    )
    # The same two batches each time.
    batches = [batch for batch, _ in zip(data.train_dataloader(), range(2), strict=False)]
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None), data.val_dataloader())
    learnt = {name: float(value) for name, value in trainer.callback_metrics.items()}
    centre = torch.cat([batch[2] for batch in batches])
    assert learnt["train/median_km"] < 0.5 * float((centre - centre.mean(0)).norm(dim=1).median())
    # The calibration is of this validation data, so that its own share is exact.
    assert learnt["val/coverage_68"] == pytest.approx(0.68, abs=0.03)


def test_options_are_the_seeds() -> None:
    given = ["--backbone", "CONVNEXT_TINY", "--pretrained", "false", "--freeze-backbone", "--learning-rate", "1e-4"]
    model, training = train.SCRIPT.configure(train.SCRIPT.parse([*given, "--batch-size", "8", "--epochs", "3"]))
    assert model.model_dump()["backbone"] == "CONVNEXT_TINY"
    assert model.model_dump()["pretrained"] is False
    assert model.model_dump()["freeze_backbone"] is True
    assert (training.learning_rate, training.batch_size, training.epochs) == (1e-4, 8, 3)
    with pytest.raises(InvalidInputError, match="scenes"):
        train.SCRIPT.configure(train.SCRIPT.parse(["--scenes", "3"]))


def test_each_mark_of_a_map_is_explained() -> None:
    """The legend's marks are those of what they name: as many points, the regions' colour, the receivers' shape."""
    truth = FRAME.to_latlon(np.array([[0.0, 0.0], [30.0, -20.0]]))
    found = FRAME.to_latlon(np.array([[5.0, 0.0], [30.0, -10.0]]))
    figure = maps.draw_positions(found, np.array([[4.0, 2.0], [1.0, 8.0]]), truth)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "located", "its 68 % region", "true position", "receiver",
    ]  # fmt: skip
    (axes,) = figure.axes
    drawn = {one.get_label(): np.asarray(one.get_offsets()) for one in axes.collections}
    assert np.allclose(drawn["located"], FRAME.to_km(found))
    assert np.allclose(drawn["true position"], FRAME.to_km(truth))
    assert len(drawn["receiver"]) == 7
    (regions,) = (one for one in axes.collections if isinstance(one, EllipseCollection))
    # 68 % of two-dimensional Gaussian errors are within 1.51 standard deviations.
    assert np.allclose(regions.get_widths(), 2 * 1.5096 * np.array([4.0, 1.0]), rtol=1e-3)
    assert np.allclose(regions.get_heights(), 2 * 1.5096 * np.array([2.0, 8.0]), rtol=1e-3)


def test_a_core_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 1), (2, 1), (4, 3)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        torch.set_num_threads(cores)
        train.spare_a_core()
        assert torch.get_num_threads() == threads


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"no checkpoint")
    assert evaluate.main([str(broken)]) == 2
    assert "broken.ckpt is no checkpoint of this example" in capsys.readouterr().err
    assert serve.main(["--name", "missing"]) == 1
    assert "No version of 'missing' is in Production" in capsys.readouterr().err


def test_a_checkpoint_knows_its_scenes(scenes_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Judged on the default's scenes it would be judged on some that it has learnt, and nobody would see it."""
    data = ScenesDataModule(40, 7, 14, folder=scenes_dir)
    trainer = pl.Trainer(max_epochs=1, **PLAIN)
    module = LocalizationModule(solver=False)
    trainer.fit(module, data)
    path = tmp_path / "one.ckpt"
    capsys.readouterr()
    trainer.save_checkpoint(path)
    call = [str(path), "--data-dir", str(scenes_dir), "--json"]
    assert evaluate.main(call) == 0
    told = json.loads(capsys.readouterr().out)
    found = evaluate.evaluate(evaluate.load_checkpoint(path), data.splits()["test"])
    assert told == pytest.approx(found.metrics())
    assert evaluate.main([*call, "--scenes", "40", "--data-seed", "7"]) == 0
    for others in (["--scenes", "6000"], ["--data-seed", "1"]):
        assert evaluate.main([*call, *others]) == 2
        assert "trained on 40 scenes of seed 7, and not" in capsys.readouterr().err
    with pytest.raises(InvalidInputError, match="and not 41 scenes"):
        pl.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False).fit(
            module, ScenesDataModule(41, 7, 14, folder=scenes_dir), ckpt_path=str(path)
        )
    content = torch.load(path, weights_only=True)
    content["ScenesDataModule"]["config"]["noise_dbm"] = -110.0
    torch.save(content, path)
    assert evaluate.main(call) == 2
    assert "with another simulator" in capsys.readouterr().err
    del content["ScenesDataModule"]
    torch.save(content, path)
    assert evaluate.main(call) == 2
    assert "does not say on which scenes" in capsys.readouterr().err


def test_end_to_end(
    scenes_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From simulation to a fresh process that locates transmitters, and a look from outside at what was left."""
    assert end_to_end.main(["--tiny", "--json", "--data-dir", str(scenes_dir)]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    figures = told["figures"]
    trivial = min(figures[f"compare/{name}/median_km"] for name in ("centroid", "power_weighted_centroid"))
    assert figures["compare/model/median_km"] < 0.5 * trivial
    assert all(gate["passed"] for gate in told["gates"])
    assert told["served"]["scenes"] == end_to_end.TINY.unseen
    assert told["served"]["median_km"] < 0.5 * trivial
    assert told["served"]["with_torch"] is False
    assert told["export"]["position_difference_km"] < 0.05

    project = open_project(load_settings(experiment_name=end_to_end.EXPERIMENT))
    name, run_id = told["production"]["name"], told["best"]["run_id"]
    version = ModelRegistry(project).find(name, Stage.PRODUCTION)
    assert version is not None
    assert version.version == told["production"]["version"] == 1
    run = project.runs.get_run(run_id)
    assert run.status == "FINISHED"
    assert run.metrics["compare/model/median_km"] == pytest.approx(figures["compare/model/median_km"])
    assert run.metrics["best/val/loss"] == pytest.approx(told["best"]["val_loss"])
    pictures = {Path(file.path).name for file in project.artifacts.list_files(run.artifact_uri, "pictures")}
    assert pictures == {"error_map.png", "error_cdf.png", "calibration.png", "served_map.png"}
    logged = project.runs.get_run(run_id).metrics
    assert {"train/loss", "val/loss", "test/loss", "lr-AdamW"} <= set(logged), sorted(logged)
    schema = json.loads((project.artifacts.download(run.artifact_uri, "onnx/metadata.json", tmp_path)).read_text())
    assert [one["name"] for one in schema["inputs"]] == ["mel_spectrogram", "measurements"]
    assert [one["name"] for one in schema["outputs"]] == ["positions", "uncertainties"]
    # The files that are asked about once more have just been loaded.
    monkeypatch.setattr("holdfast.registry.gates.loads.try_model", lambda *_: Trial(seconds=0.1))
    _refuse_a_poor_one(project, name, f"runs:/{run_id}/onnx")


def _refuse_a_poor_one(project: Project, name: str, model_uri: str) -> None:
    """The gates are not for show: none of this example's models has an error of a ten-thousandth of a centroid's."""
    plan = end_to_end.Plan(300, {}, 1e-4, (0.0, 1.0), 1, 1)
    registry = ModelRegistry(project, end_to_end.gates(plan))
    second = registry.register(name, model_uri, "the same again").version
    registry.promote(name, second, "Staging")
    with pytest.raises(PromotionRefusedError, match="compare/of_best_trivial"):
        registry.promote(name, second, "Production")
    assert [registry.get(name, stage).version for stage in ("Production", "Staging")] == [1, second]
