"""How a model is trained: the numbers of a training run, read from a file and checked at once."""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from holdfast.core.redaction import names_a_secret
from holdfast.core.uris import MASK
from holdfast.errors import InvalidInputError

_Kind = TypeVar("_Kind", bound="TrainingConfig")
_Model = TypeVar("_Model", bound=BaseModel)


def _number(value: Any) -> Any:
    """Refuse what pydantic would make a number of: a yes or no, an infinity, a text that is none."""
    if isinstance(value, bool):
        raise ValueError("is yes or no where a number is wanted")  # noqa: TRY004 - what pydantic takes
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("is no finite number")
    return value


def _devices(value: Any) -> Any:
    if value == "auto" or (isinstance(_number(value), (int, str)) and re.fullmatch(r"0*[1-9]\d*", str(value).strip())):
        return value if value == "auto" else int(value)
    raise ValueError("should be auto, or 1 or more")


# For the keys of your own configurations as well: `True` is no 1 here, and an infinity no number.
Count = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]


class TrainingConfig(BaseModel):
    """The configuration of a training run; frozen. Subclass it for more keys.

    Attributes:
        learning_rate: Step size of the optimizer.
        batch_size: Samples a batch and process.
        epochs: How many at most.
        max_steps: How many optimizer steps at most; None for no bound.
        weight_decay: Of the optimizer.
        early_stopping_patience: After how many validations without a better `monitor` training stops; 0 for never.
        num_workers: Processes that load data.
        seed: Of everything that is drawn.
        devices: How many devices, or `auto`.
        num_nodes: How many machines.
        strategy: Lightning's name for how the devices work together: `auto`, `ddp`.
        accelerator: `auto`, `cpu`, `gpu` …
        precision: Lightning's name of the arithmetic: `32-true`, `bf16-mixed`.
        accumulate: Batches whose gradients are added up before a step.
        gradient_clip: The largest norm of the gradients; None for no bound.
        deterministic: Whether operations without a reproducible form are refused.
        monitor: The metric by which checkpoints are ranked, and which early stopping watches.
        mode: Whether less (`min`) or more (`max`) of it is better.
        save_top_k: How many of the best checkpoints are kept, here and in the artifact store.
        checkpoint_every_s: The latest state is saved each epoch, and after so many seconds within one; 0 for not.
        checkpoint_every_steps: Also after so many optimizer steps; 0 for not.
        log_every_n_steps: How often the metrics of a step are logged.
        system_metrics_every_s: How often processor, memory, disk, network and GPUs are logged; 0 for never.
        log_ranks: Whether the other processes of a distributed run log too, under `rank1/`, `rank2/` …
        fast_dev_run: One batch of everything, to see whether it runs; nothing is logged.
        trust_checkpoint: Whether a checkpoint out of the artifact store may hold any Python object, which runs code
            when it is loaded; plain values and tensors need no trust.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: Number = Field(default=1e-3, gt=0)
    batch_size: Count = Field(default=32, ge=1)
    epochs: Count = Field(default=100, ge=1)
    max_steps: Annotated[Count, Field(ge=1)] | None = None
    weight_decay: Number = Field(default=1e-5, ge=0)
    early_stopping_patience: Count = Field(default=5, ge=0)
    num_workers: Count = Field(default=4, ge=0)
    seed: Count = Field(default=0, ge=0, lt=1 << 32)
    devices: Annotated[int | Literal["auto"], BeforeValidator(_devices)] = "auto"
    num_nodes: Count = Field(default=1, ge=1)
    strategy: str = "auto"
    accelerator: str = "auto"
    precision: str = "32-true"
    accumulate: Count = Field(default=1, ge=1)
    gradient_clip: Annotated[Number, Field(gt=0)] | None = None
    deterministic: bool = False
    monitor: str = Field(default="val/loss", min_length=1)
    mode: Literal["min", "max"] = "min"
    save_top_k: Count = Field(default=3, ge=1)
    checkpoint_every_s: Number = Field(default=300.0, ge=0)
    checkpoint_every_steps: Count = Field(default=0, ge=0)
    log_every_n_steps: Count = Field(default=10, ge=1)
    system_metrics_every_s: Number = Field(default=10.0, ge=0)
    log_ranks: bool = False
    fast_dev_run: bool = False
    trust_checkpoint: bool = False


@typing.overload
def load_training_config(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainingConfig: ...


@typing.overload
def load_training_config(path: str | Path | None, overrides: Mapping[str, Any] | None, kind: type[_Kind]) -> _Kind: ...


@typing.overload
def load_training_config(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None, *, kind: type[_Kind]
) -> _Kind: ...


def load_training_config(
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    kind: type[TrainingConfig] = TrainingConfig,
) -> TrainingConfig:
    """Return the configuration of a training run: the defaults, a file over them, and what is given over both.

    Args:
        path: A JSON, YAML or TOML file, told by its ending; None for the defaults. The keys are at its top or in a
            table `training`; a table `model` is left to others, so that the file of a training script does here too.
            `1e-3` is a number in each kind of file.
        overrides: Keys that win over the file, such as those of a command line; None counts as not given.
        kind: The class, where it is one of your own with more keys.

    Raises:
        InvalidInputError: There is no such file, it is none of the three, or keys are unknown or have bad values; all
            of them are named, those of the file apart from those given over it.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    if path is None:
        return checked(kind, given, "The training configuration")
    found = read_table(path)
    tables = take_tables(found, [name for name in ("model", "training") if name not in kind.model_fields], path)
    in_file = found | tables.get("training", {})
    return checked(kind, in_file, f"The training configuration {path}", given, f"What is given over {path}")


def take_tables(found: dict[str, Any], names: Sequence[str], path: str | Path) -> dict[str, dict[str, Any]]:
    """Take some tables out of what a file holds; one that is not there is empty.

    Raises:
        InvalidInputError: One is no table.
    """
    tables = {name: found.pop(name, {}) for name in names}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise InvalidInputError(f"{name} in {path} is no table.", "write its keys below it")
    return tables


def checked(
    kind: type[_Model],
    values: Mapping[str, Any],
    where: str,
    given: Mapping[str, Any] | None = None,
    where_given: str = "",
) -> _Model:
    """Return values as a configuration.

    Args:
        kind: Its class.
        values: Key → value.
        where: What they are, as the error begins: `The training configuration`.
        given: Keys that win over them.
        where_given: What these are, likewise.

    Raises:
        InvalidInputError: Names every key that is unknown or has a bad value, those of the two apart.
    """
    given = given or {}
    try:
        return kind.model_validate({**values, **given})
    except ValidationError as error:
        parts: dict[str, list[Any]] = {where: [], where_given: []}
        for one in error.errors():
            parts[where_given if one["loc"] and one["loc"][0] in given else where].append(one)
        said = " ".join(_refusal(kind, errors, place) for place, errors in parts.items() if errors)
        raise InvalidInputError(said, f"the keys are {', '.join(kind.model_fields)}") from None


def _refusal(kind: type[BaseModel], errors: Iterable[Any], where: str) -> str:
    # A key that may be one of several things has a problem with each of them.
    said: dict[str, list[str]] = {}
    for one in errors:
        what, why = _problem(kind, one)
        said.setdefault(what, []).append(why)
    problems = "; ".join(what + ", or ".join(dict.fromkeys(whys)) for what, whys in said.items())
    return f"{where} is not valid: {problems}."


def _problem(kind: type[BaseModel], error: Any) -> tuple[str, str]:
    """Return what is wrong, a key after those of the tables that it is in and its value, and why."""
    home, path = kind, list[str]()
    for part in error["loc"]:
        path.append(str(part))
        inner = _table_of(home, part)
        if inner is None:
            break
        home = inner
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], home.model_fields, 1)
        return key, " is unknown" + (f" (did you mean {near[0]}?)" if near else "")
    if error["type"] == "missing":
        return key, " is missing"
    why = str(error["msg"]).removeprefix("Value error, ")
    return (f"{key} = {_shown(path[-1], error['input'])}: " if path else ""), why


def _table_of(kind: type[BaseModel], key: object) -> type[BaseModel] | None:
    """Return the class of a key that holds a table, such as `Augmentation | None`."""
    field = kind.model_fields.get(str(key))
    if field is None:
        return None
    kinds = [field.annotation, *typing.get_args(field.annotation)]
    return next((one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _shown(key: str, value: Any) -> str:
    text = MASK if names_a_secret(key) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


# -- the three kinds of file ----------------------------------------------------------


def read_table(file: str | Path) -> dict[str, Any]:
    """Return the keys and values of a JSON, YAML or TOML file, told by its ending; an empty YAML file has none.

    Raises:
        InvalidInputError: There is no such file, or it is none of the three, or no table.
    """
    path = Path(file)
    readers = {".json": _from_json, ".yaml": _from_yaml, ".yml": _from_yaml, ".toml": _from_toml}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidInputError(f"The configuration {path} is of no known kind.", "name it .json, .yaml or .toml")
    try:
        found = reader(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidInputError(
            f"The configuration {path} cannot be read: {error.strerror or error}.", "give the path of a file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"The configuration {path} cannot be read as {path.suffix[1:].upper()}: {error}.", "mend the file"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InvalidInputError(
            f"The configuration {path} is no table of keys and values.", "write `key: value`, one a line"
        )
    return found


def _from_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_twins)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twins = sorted({key for key in keys if keys.count(key) > 1})
    if twins:
        raise ValueError(f"{', '.join(twins)} is given twice")
    return dict(pairs)


def _from_toml(text: str) -> Any:
    return tomllib.loads(text)


def _from_yaml(text: str) -> Any:
    import yaml

    try:
        found = yaml.load(text, Loader=_yaml_loader())  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    return {} if found is None else found


# YAML 1.1, which PyYAML reads, takes `1e-3` for a text: its numbers need a dot and a sign.
_FLOAT = re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")


def _yaml_loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
        """A safe loader that knows `1e-3`, and takes no key twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            given = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            keys = [self.construct_object(key, deep=True) for key in given]
            twins = sorted({str(key) for key in keys if keys.count(key) > 1})
            if twins:
                raise ValueError(f"{', '.join(twins)} is given twice")
            return dict(super().construct_mapping(node, deep=deep))

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    return Loader
