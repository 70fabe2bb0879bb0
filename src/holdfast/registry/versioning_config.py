"""The dictionary that `ModelVersioning` is configured with: its keys, their defaults, their names in errors.

| Key | Where it is not given |
|---|---|
| `tracking_uri` | the settings; without any, `backend_store_uri`, else a SQLite file in the project's root |
| `backend_store_uri` | the settings |
| `experiment_name` | the settings; without any, `nba-simulator-ml` |
| `artifact_location` | the settings; without any, a folder beside the database, or what the server decides |
| `default_tags` | `{"project": "nba-simulator-aws"}`; give your own, or `{}` |

The names are those that scripts against the older interface rely on. Its defaults `file:./mlruns` and a bucket of
somebody else's are not: today's MLflow refuses the first, and nobody has the keys to the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from holdfast.core.names import check_keys
from holdfast.errors import InvalidInputError, SettingsError
from holdfast.settings import Settings, load_settings

KEYS = ("tracking_uri", "experiment_name", "artifact_location", "backend_store_uri", "default_tags")
DEFAULT_EXPERIMENT = "nba-simulator-ml"
DEFAULT_TAGS = {"project": "nba-simulator-aws"}

_ARGUMENTS = "(from the arguments)"
# What the settings call these keys.
_IN_DICTIONARY = {
    _ARGUMENTS: "(from the configuration)",
    "MLFLOW_ARTIFACT_ROOT": "artifact_location",
    "MLFLOW_TRACKING_URI": "tracking_uri",
    "artifact_root": "artifact_location",
}


class Configuration(NamedTuple):
    """What a dictionary means: settings, and the tags of everything that is made with them."""

    settings: Settings
    default_tags: dict[str, str]


def read_configuration(config: Mapping[str, Any]) -> Configuration:
    """Read a dictionary of configuration.

    Raises:
        InvalidInputError: It is no dictionary, a key is unknown, or the tags are none; all problems are told together.
        SettingsError: A value is of no use: an `s3://` tracking URI, a `file:` one. The hint has the form that is.
    """
    if not isinstance(config, Mapping):
        raise InvalidInputError(
            f"A {type(config).__name__} is no configuration.", f"give a dictionary with {', '.join(KEYS)}"
        )
    problems = _problems_of_keys(config)
    settings = None
    try:
        settings = _settings(config)
    except SettingsError as error:
        if not problems:
            raise
        problems.append(error.message)
    if problems or settings is None:
        raise InvalidInputError(f"The configuration is not valid: {'; '.join(problems)}.", f"known: {', '.join(KEYS)}")
    tags = config.get("default_tags")
    return Configuration(settings, {key: str(value) for key, value in (DEFAULT_TAGS if tags is None else tags).items()})


def _problems_of_keys(config: Mapping[str, Any]) -> list[str]:
    unknown = sorted(str(key) for key in set(config) - set(KEYS))
    problems = [f"unknown keys {', '.join(unknown)}"] if unknown else []
    tags = config.get("default_tags")
    if tags is not None and not isinstance(tags, Mapping):
        return [*problems, f"default_tags is a {type(tags).__name__}, and must be a dictionary"]
    try:
        check_keys(tags or {}, "tag")
    except InvalidInputError as error:
        problems.append(error.message)
    return problems


def _settings(config: Mapping[str, Any]) -> Settings:
    given = {name: config.get(name) for name in ("tracking_uri", "backend_store_uri", "experiment_name")}
    given["artifact_root"] = config.get("artifact_location")
    settings = _load(given)
    changes: dict[str, Any] = {}
    if settings.origin_of("experiment_name").kind == "default":
        changes["experiment_name"] = DEFAULT_EXPERIMENT
    if given["backend_store_uri"] and settings.origin_of("tracking_uri").kind == "default":
        # Without a server in front of it, the database itself is where runs are tracked.
        changes["tracking_uri"] = given["backend_store_uri"]
    return _load(given | changes) if changes else settings


def _load(given: Mapping[str, Any]) -> Settings:
    try:
        return load_settings(**given)
    except SettingsError as error:
        if _ARGUMENTS not in error.message:
            raise
        raise type(error)(_in_dictionary(error.message), _in_dictionary(error.hint)) from None


def _in_dictionary(text: str) -> str:
    for setting, key in _IN_DICTIONARY.items():
        text = text.replace(setting, key)
    return text
