"""The configuration of a training: read from files of three kinds, and checked all at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from holdfast import MLflowTracker, TrainingPipeline, load_training_config
from holdfast.errors import InvalidInputError, MissingDependencyError
from holdfast.training import Count, Number, TrainingConfig
from holdfast.training.config import checked
from holdfast.training.extras import need

SAME = {
    ".json": '{"learning_rate": 1e-3, "batch_size": 8, "monitor": "val/f1", "mode": "max", "deterministic": true}',
    ".yaml": "learning_rate: 1e-3\nbatch_size: 8\nmonitor: val/f1\nmode: max\ndeterministic: true\n",
    ".yml": "{learning_rate: 1E-03, batch_size: 8, monitor: val/f1, mode: max, deterministic: yes}",
    ".toml": 'learning_rate = 1e-3\nbatch_size = 8\nmonitor = "val/f1"\nmode = "max"\ndeterministic = true\n',
}


def written(folder: Path, ending: str, text: str) -> Path:
    path = folder / f"training{ending}"
    path.write_text(text, encoding="utf-8")
    return path


def refused(values: dict[str, Any], kind: type[TrainingConfig] = TrainingConfig) -> str:
    with pytest.raises(InvalidInputError) as caught:
        load_training_config(None, values, kind=kind)
    assert caught.value.exit_code == 2
    return caught.value.message


# -- files ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", SAME)
def test_the_same_from_each_kind_of_file(tmp_path: Path, ending: str) -> None:
    found = load_training_config(written(tmp_path, ending, SAME[ending]))
    assert found == TrainingConfig(learning_rate=0.001, batch_size=8, monitor="val/f1", mode="max", deterministic=True)
    assert type(found.learning_rate) is float


def test_the_file_of_a_training_script(tmp_path: Path) -> None:
    """The same file does for a script, which has a table for the model, and for code."""
    for ending, text in (
        (".yaml", "training: {epochs: 7}\nmodel: {width: 4}\n"),
        (".toml", "[training]\nepochs = 7\n[model]\nwidth = 4\n"),
        (".json", '{"epochs": 7, "model": {"width": 4}}'),
    ):
        assert load_training_config(written(tmp_path, ending, text)).epochs == 7
    with pytest.raises(InvalidInputError, match="no table"):
        load_training_config(written(tmp_path, ".yaml", "training: 7\n"))
    with pytest.raises(InvalidInputError, match="model"):
        load_training_config(written(tmp_path, ".yaml", "model: 7\n"))


def test_who_is_to_blame(tmp_path: Path) -> None:
    path = written(tmp_path, ".yaml", "epochs: 7\nbatch_size: none\n")
    with pytest.raises(InvalidInputError) as caught:
        load_training_config(path, {"seed": "x"})
    file, given = caught.value.message.split(f" What is given over {path}")
    assert ("batch_size" in file, "seed" in file) == (True, False)
    assert ("batch_size" in given, "seed" in given) == (False, True)
    with pytest.raises(InvalidInputError, match=r"^What is given over .*seed"):
        load_training_config(written(tmp_path, ".yaml", "epochs: 7\n"), {"seed": "x"})


def test_defaults_and_precedence(tmp_path: Path) -> None:
    path = written(tmp_path, ".toml", "epochs = 7\nseed = 3\n")
    assert load_training_config() == TrainingConfig()
    found = load_training_config(str(path), {"epochs": 9, "seed": None, "batch_size": "16"})
    assert (found.epochs, found.seed, found.batch_size) == (9, 3, 16)
    with pytest.raises(ValueError, match="frozen"):
        setattr(found, "epochs", 1)  # noqa: B010 - which the type does not allow


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("+1e+2", 100.0), ("5E5", 5e5), (".5e1", 5.0), ("1.5e-4", 1.5e-4), ("0.1", 0.1), ("3", 3.0)],
)
def test_numbers_of_yaml(tmp_path: Path, text: str, value: float) -> None:
    assert load_training_config(written(tmp_path, ".yaml", f"learning_rate: {text}")).learning_rate == value


@pytest.mark.parametrize("text", ["1e3-big", "5e3x", "1e-3abc", "e5"])
def test_texts_that_begin_like_numbers(tmp_path: Path, text: str) -> None:
    assert load_training_config(written(tmp_path, ".yaml", f"monitor: {text}")).monitor == text


def test_tables_of_toml_anchors_of_yaml_and_marks(tmp_path: Path) -> None:
    assert load_training_config(written(tmp_path, ".toml", "[training]\nepochs = 2\n")).epochs == 2
    assert load_training_config(written(tmp_path, ".yaml", "")) == TrainingConfig()
    assert load_training_config(written(tmp_path, ".yaml", "<<: {epochs: 2, seed: 1}\nseed: 5\n")).seed == 5
    (tmp_path / "marked.json").write_bytes(b'\xef\xbb\xbf{"epochs": 2}')
    assert load_training_config(tmp_path / "marked.json").epochs == 2


@pytest.mark.parametrize(
    ("ending", "text", "says"),
    [
        (".json", '{"epochs": 1', "cannot be read as JSON"),
        (".json", "[1, 2]", "no table"),
        (".json", '{"epochs": 1, "epochs": 2}', "epochs is given twice"),
        (".json", "[" * 100_000, "cannot be read as JSON"),
        (".yaml", "epochs: [1", "cannot be read as YAML"),
        (".yaml", "epochs: 1\nepochs: 2\n", "epochs is given twice"),
        (".yaml", "just a text", "no table"),
        (".yaml", "on: 1", "no table"),
        (".yaml", "a: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
        (".toml", "epochs = ", "cannot be read as TOML"),
        (".toml", "training = 5", "no table"),
        (".ini", "epochs = 1", "of no known kind"),
        ("", "epochs: 1", "of no known kind"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, ending: str, text: str, says: str) -> None:
    path = written(tmp_path, ending, text)
    with pytest.raises(InvalidInputError, match=says) as caught:
        load_training_config(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.toml").write_bytes(b'monitor = "verlust/pr\xfcfung"')
    for name, says in (("none.json", "No such file"), ("folder.yaml", "directory"), ("latin.toml", "utf-8")):
        with pytest.raises(InvalidInputError, match=says):
            load_training_config(tmp_path / name)


# -- values -----------------------------------------------------------------------------


def test_every_problem_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path, ".yaml", "learning-rate: 1\nbatchsize: 2\nepochs: many\nsave_top_k: 0\nlearning_rate: .nan"
    )
    with pytest.raises(InvalidInputError) as caught:
        load_training_config(path, {"mode": "least"})
    said = caught.value.message
    assert "learning-rate is unknown (did you mean learning_rate?)" in said
    assert "batchsize is unknown (did you mean batch_size?)" in said
    assert all(part in said for part in ("epochs = 'many'", "save_top_k = 0", "learning_rate = nan", "mode = 'least'"))
    assert "early_stopping_patience" in caught.value.hint


def test_an_unknown_key_like_no_other() -> None:
    assert refused({"zzz": 1}) == "The training configuration is not valid: zzz is unknown."


@pytest.mark.parametrize("key", ["batch_size", "epochs", "learning_rate", "seed", "devices", "gradient_clip"])
def test_yes_is_no_number(key: str) -> None:
    assert f"{key} = True" in refused({key: True})


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, "inf", "NaN", "-Infinity"])
@pytest.mark.parametrize("key", ["batch_size", "learning_rate", "gradient_clip", "checkpoint_every_s"])
def test_numbers_are_finite(key: str, value: Any) -> None:
    assert f"{key} = {value!r}" in refused({key: value})


def test_infinities_of_files(tmp_path: Path) -> None:
    for ending, text in (
        (".json", '{"weight_decay": Infinity}'),
        (".json", '{"weight_decay": 1e999}'),
        (".json", '{"weight_decay": NaN}'),
        (".yaml", "weight_decay: -.inf"),
        (".yaml", "weight_decay: 1e999"),
        (".toml", "weight_decay = inf"),
    ):
        with pytest.raises(InvalidInputError, match="weight_decay ="):
            load_training_config(written(tmp_path, ending, text))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 0),
        ("batch_size", 2.5),
        ("batch_size", None),
        ("epochs", 0),
        ("seed", -1),
        ("seed", 1 << 32),
        ("devices", 0),
        ("devices", "some"),
        ("gradient_clip", 0),
        ("monitor", ""),
        ("fast_dev_run", "perhaps"),
        ("fast_dev_run", 2),
    ],
)
def test_values_out_of_bounds(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"not valid: {key} = {value!r}"):
        checked(TrainingConfig, {key: value}, "It")


def test_what_a_key_may_be_is_said() -> None:
    assert "devices = 0: should be auto, or 1 or more" in refused({"devices": 0})
    assert load_training_config(None, {"devices": "2"}).devices == 2
    assert load_training_config(None, {"devices": "auto"}).devices == "auto"


# -- more keys --------------------------------------------------------------------------


class Noise(BaseModel):
    model_config = ConfigDict(extra="forbid")
    scale: Number
    repeats: Count = 1


class MyConfig(TrainingConfig):
    noise: Noise | None = None
    warmup_steps: Count = 0
    hub_token: int = 0


def test_more_keys(tmp_path: Path) -> None:
    path = written(tmp_path, ".toml", "warmup_steps = 10\nepochs = 2\n[noise]\nscale = 1e-2\n")
    found = load_training_config(path, kind=MyConfig)
    assert isinstance(found, MyConfig)
    assert (found.warmup_steps, found.noise, found.learning_rate) == (10, Noise(scale=0.01), 1e-3)
    with pytest.raises(InvalidInputError, match="warmup_steps is unknown"):
        load_training_config(path)


def test_problems_of_keys_within_keys(canary: str) -> None:
    said = refused({"noise": {"repeats": True, "scales": 1}, "warmup": 1, "hub_token": canary}, MyConfig)
    assert "noise.scale is missing" in said
    assert "noise.repeats = True" in said
    assert "noise.scales is unknown (did you mean scale?)" in said
    assert "warmup is unknown (did you mean warmup_steps?)" in said
    assert "hub_token = ****" in said
    assert canary not in said


# -- the pipeline's ---------------------------------------------------------------------


def test_the_pipeline_takes_all_forms(sqlite_uri: str, tmp_path: Path) -> None:
    tracker = MLflowTracker(sqlite_uri, experiment_name="config")
    path = written(tmp_path, ".yaml", "epochs: 2")
    for given, epochs in ((None, 100), ({"epochs": 2}, 2), (path, 2), (str(path), 2), (MyConfig(epochs=2), 2)):
        assert TrainingPipeline(tracker, None, given).config.epochs == epochs
    with pytest.raises(InvalidInputError, match="did you mean epochs"):
        TrainingPipeline(tracker, None, {"epoch": 2})
    with pytest.raises(InvalidInputError, match="max_epochs"):
        TrainingPipeline(tracker, None, None, trainer_options={"max_epochs": 2})


def test_missing_libraries_are_all_named() -> None:
    need(("torch", "lightning"), "the pipeline", "lightning")
    with pytest.raises(MissingDependencyError, match="no_such_lib and no_other are needed for the pipeline") as caught:
        need(("torch", "no_such_lib", "no_other"), "the pipeline", "lightning")
    assert caught.value.hint == "pip install 'holdfast[lightning]'"
