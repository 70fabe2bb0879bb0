"""The command line of a training script: the seeds' options, one for each key of the configurations."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import sys
import types
import typing
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.tracking import MLflowTracker
from holdfast.training.config import TrainingConfig, checked, read_table, take_tables
from holdfast.training.result import TrainingResult

_INTERRUPTED = "interrupted; to go on from where it was: --resume last"
_Config = TypeVar("_Config", bound=BaseModel)
_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


class NoModelConfig(BaseModel):
    """A model without options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Script:
    """A training script: what it trains, on what, and what can be said of both.

    Args:
        make_model: Called with the model's configuration and that of the training, after the seed is set; returns the
            LightningModule.
        make_data: Called with the same two, after the seed is set too; returns the LightningDataModule, or the loaders
            of training, validation and test.
        model_config: The pydantic class of the model's configuration. Each of its keys is an option: `backbone` is
            `--backbone`, `pretrained: bool` is `--pretrained`, `--no-pretrained` and `--pretrained false`. A key that
            the training's has too is one option, for both.
        training_config: The class of the training's configuration, where it has more keys than `TrainingConfig`.
        description: What `--help` begins with.
    """

    def __init__(
        self,
        make_model: Callable[[Any, Any], Any],
        make_data: Callable[[Any, Any], Any],
        *,
        model_config: type[BaseModel] = NoModelConfig,
        training_config: type[TrainingConfig] = TrainingConfig,
        description: str = "",
    ) -> None:
        self.make_model, self.make_data = make_model, make_data
        self.model_config, self.training_config = model_config, training_config
        self.description = description

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Train as the command line says; return the exit code: 0 done, 1 failed, 2 wrong input, 130 Ctrl-C.

        A summary goes to standard output, with `--json` as the only thing there; an error goes to standard error.

        Args:
            arguments: Those of the process if not given.

        Raises:
            Terminated: SIGTERM or SIGUSR1; the state was saved. It is an exit, with code 143 or 3.
            SystemExit: After `--help`, or with 2 where the options cannot be read.
        """
        _show_progress()
        try:
            options = self.parse(arguments)
            # What Lightning and the module print is no part of the document.
            with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
                result = self.train(options)
        except HoldfastError as error:
            print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is a command
            return error.exit_code
        except KeyboardInterrupt:
            print(_INTERRUPTED, file=sys.stderr)  # noqa: T201 - this is a command
            return 130
        if result.rank == 0:
            print(_summary(result, options.json))  # noqa: T201 - this is a command
        return 0

    def parse(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Return the options as given; what is not given is None.

        Raises:
            InvalidInputError: A key of a configuration would be an option that the run has already.
        """
        parser = argparse.ArgumentParser(description=self.description, allow_abbrev=False)
        own = parser.add_argument_group("the run")
        own.add_argument("--config", metavar="FILE", help="keys in a JSON, YAML or TOML file; options win over it")
        own.add_argument("--output-dir", metavar="DIR", default="outputs", help="where checkpoints go [outputs]")
        own.add_argument("--run-name", metavar="NAME", help="the MLflow run's name")
        own.add_argument("--experiment", metavar="NAME", help="the MLflow experiment; the configured one if not given")
        own.add_argument("--resume", metavar="RUN_ID|last|auto", help="go on with a run, exactly")
        own.add_argument("--launcher", choices=["none", "ray"], default="none", help="who starts the processes [none]")
        own.add_argument("--json", action="store_true", help="print the result as JSON")
        try:
            _add_options(parser.add_argument_group("the training"), self.training_config)
            _add_options(parser.add_argument_group("the model"), self.model_config, self.training_config.model_fields)
        except argparse.ArgumentError as error:
            raise InvalidInputError(
                f"A key of the configurations cannot be an option: {error}.", "name the key otherwise"
            ) from None
        return parser.parse_args(arguments)

    def configure(self, options: argparse.Namespace) -> tuple[BaseModel, TrainingConfig]:
        """Return both configurations: the defaults, the file over them, and the options over both.

        The file has the training's keys at its top or in a table `training`, and the model's in a table `model`, or at
        the top too where the training has no such key.

        Raises:
            InvalidInputError: Names every key that is unknown or has a bad value.
        """
        in_file = {} if options.config is None else read_table(options.config)
        tables = take_tables(in_file, ("model", "training"), options.config)
        of_model, of_training = tables["model"], tables["training"]
        where = "The configuration" + (f" {options.config}" if options.config else "")
        model_keys = set(self.model_config.model_fields) - set(self.training_config.model_fields)
        of_model |= {key: in_file.pop(key) for key in model_keys & set(in_file)}
        of_model |= _given(options, self.model_config)
        of_training = {**in_file, **of_training, **_given(options, self.training_config)}
        refused: list[InvalidInputError] = []
        model = _checked(self.model_config, of_model, f"{where} of the model", refused)
        training = _checked(self.training_config, of_training, f"{where} of the training", refused)
        if model is None or training is None:
            raise InvalidInputError(" ".join(one.message for one in refused), "; ".join(one.hint for one in refused))
        return model, training

    def train(self, options: argparse.Namespace) -> TrainingResult:
        """Train as parsed options say; see `TrainingPipeline.train`."""
        model_config, training_config = self.configure(options)
        if options.launcher == "ray":
            from holdfast.training.launching.ray import launch_script

            return launch_script(self, options, training_config)
        return self.train_here(model_config, training_config, options)

    def train_here(
        self,
        model_config: BaseModel,
        training_config: TrainingConfig,
        options: argparse.Namespace,
        **ways: Any,
    ) -> TrainingResult:
        """Train in this process.

        Args:
            model_config: The model's configuration.
            training_config: The training's.
            options: What `parse` returned, for the run.
            ways: `trainer_options`, `callbacks` of `TrainingPipeline`, and `prepare` of its `train`.
        """
        from holdfast.training.extras import need

        need(("torch", "lightning"), "the training pipeline", "lightning")
        from lightning.pytorch import seed_everything

        from holdfast.training.pipeline import TrainingPipeline

        prepare = ways.pop("prepare", None)
        tracker = MLflowTracker(experiment_name=options.experiment)
        pipeline = TrainingPipeline(tracker, model_config, training_config, Path(options.output_dir), **ways)
        seed_everything(training_config.seed, workers=True, verbose=False)
        return pipeline.train(
            self.make_model,
            self.make_data(model_config, training_config),
            resume=options.resume,
            run_name=options.run_name,
            prepare=prepare,
        )


def _show_progress() -> None:
    """Have what the training says go to standard error, where nobody has said how to log."""
    ours = logging.getLogger("holdfast.training")
    if not ours.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)


# -- one option a key -------------------------------------------------------------------


def _add_options(group: Any, kind: type[BaseModel], known: Container[str] = ()) -> None:
    for name, field in kind.model_fields.items():
        if name in known:
            continue
        flag = f"--{name.replace('_', '-')}"
        about = (field.description or _described(field)).replace("%", "%%")
        if _is_yes_or_no(field.annotation):
            group.add_argument(flag, dest=name, nargs="?", const=True, type=_truth, metavar="true|false", help=about)
            group.add_argument(
                f"--no-{flag[2:]}", dest=name, action="store_false", default=None, help=argparse.SUPPRESS
            )
        else:
            group.add_argument(flag, dest=name, metavar=_metavar(field), help=about)


def _is_yes_or_no(annotation: Any) -> bool:
    return annotation is bool or set(typing.get_args(annotation)) == {bool, types.NoneType}


def _truth(text: str) -> bool:
    if text.lower() in _YES + _NO:
        return text.lower() in _YES
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _described(field: FieldInfo) -> str:
    return "" if field.is_required() or field.default is None else f"[{field.default}]"


def _metavar(field: FieldInfo) -> str:
    choices = _literals(field.annotation)
    return "|".join(choices) if choices else "VALUE"


def _literals(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return [str(value) for value in typing.get_args(annotation)]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [_literals(part) for part in typing.get_args(annotation)]
        return [value for part in found for value in part] if all(found) else []
    return []


def _checked(
    kind: type[_Config], values: dict[str, Any], where: str, refused: list[InvalidInputError]
) -> _Config | None:
    try:
        return checked(kind, values, where)
    except InvalidInputError as error:
        refused.append(error)
        return None


def _given(options: argparse.Namespace, kind: type[BaseModel]) -> dict[str, Any]:
    found = {name: getattr(options, name) for name in kind.model_fields}
    return {name: value for name, value in found.items() if value is not None}


def _summary(result: TrainingResult, as_json: bool) -> str:
    if as_json:
        plain = {
            "run_id": result.run_id,
            "is_resumed": result.is_resumed,
            "best_checkpoint": str(result.best_checkpoint) if result.best_checkpoint else None,
            "best_score": _finite(result.best_score),
            "epochs": result.epochs,
            "global_step": result.global_step,
            "metrics": {key: _finite(value) for key, value in result.metrics.items()},
        }
        return json.dumps(plain, allow_nan=False)
    if result.run_id is None:
        return "It runs: one batch of everything went through; nothing was logged."
    best = "" if result.best_score is None else f", best {result.best_score:.6g} in {result.best_checkpoint}"
    return f"Run {result.run_id}: {result.epochs} epochs, {result.global_step} steps{best}"


def _finite(value: float | None) -> float | None:
    """Return a number that JSON has."""
    return value if value is not None and math.isfinite(value) else None
