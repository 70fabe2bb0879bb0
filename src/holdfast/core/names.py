"""Names and lengths that MLflow accepts, checked before anything is sent.

The limits are those of MLflow 3 (`mlflow.utils.validation`); checking here gives one error
that names every offender, instead of the first one after half a batch was stored.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from holdfast.errors import InvalidInputError

MAX_KEY_LENGTH = 250
MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 8000
MAX_EXPERIMENT_NAME_LENGTH = 500
MAX_METRICS_PER_BATCH = 1000
MAX_PARAMS_PER_BATCH = 100
MAX_TAGS_PER_BATCH = 100
RUN_STATUSES = ("FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED")
END_STATUSES = ("FINISHED", "FAILED", "KILLED")

_KEY = re.compile(r"[/\w.\- :]+")
_ALIAS = re.compile(r"[\w\-]+")
_VERSION_ALIAS = re.compile(r"[vV]\d+")


def check_keys(keys: Iterable[object], what: str) -> None:
    """Check the names of metrics, params or tags.

    Args:
        keys: The names.
        what: `metric`, `param` or `tag`, for the error.

    Raises:
        InvalidInputError: Names every key that MLflow would refuse, and why.
    """
    problems = [f"{key!r} {reason}" for key in keys if (reason := why_bad_key(key))]
    if problems:
        raise InvalidInputError(
            f"MLflow refuses these {what} names: " + "; ".join(problems) + ".",
            "use letters, digits, and _ - . / : or spaces, at most 250 of them, with no empty, '.' or '..' path part",
        )


def why_bad_key(key: object) -> str:
    """Return why MLflow refuses this metric, param or tag name, or an empty text."""
    if not isinstance(key, str):
        return f"is a {type(key).__name__}, not a text"
    if not key:
        return "is empty"
    if len(key) > MAX_KEY_LENGTH:
        return f"has {len(key)} characters"
    if not _KEY.fullmatch(key):
        return "has a character that is not allowed"
    return "" if _is_plain_path(key) else "is not a plain path"


def _is_plain_path(key: str) -> bool:
    norm = posixpath.normpath(key)
    return norm == key and norm != "." and not norm.startswith(("..", "/"))


def check_model_name(name: object) -> str:
    """Return the registered model's name, or say what is wrong with it.

    Raises:
        InvalidInputError: The name is empty, holds `/` or `:`, or is a path such as `.` or `..`.
    """
    if isinstance(name, str) and name.strip() and not set(name) & set("/:") and _is_plain_path(name):
        return name
    raise InvalidInputError(
        f"{name!r} is no name for a registered model.",
        "use any text without '/' and ':', for example 'nba-game-outcome'",
    )


def check_alias(alias: object) -> str:
    """Return the alias, or say what is wrong with it.

    Raises:
        InvalidInputError: The alias is empty, holds other than letters, digits, `_` and `-`, or is
            one that MLflow reserves (`latest`, `v3`).
    """
    ok = isinstance(alias, str) and _ALIAS.fullmatch(alias) and len(alias) <= 255
    if ok and isinstance(alias, str) and alias.lower() != "latest" and not _VERSION_ALIAS.fullmatch(alias):
        return alias
    raise InvalidInputError(
        f"{alias!r} is no alias.", "use letters, digits, '_' and '-'; 'latest' and 'v' with a number are reserved"
    )


def check_version(version: object) -> int:
    """Return the model version as a number from 1 up.

    Raises:
        InvalidInputError: It is not a whole number, or is below 1 (0 is no version and is not "not given").
    """
    number: int | None = None
    if isinstance(version, int) and not isinstance(version, bool):
        number = version
    elif isinstance(version, str) and version.strip().isdecimal():
        number = int(version)
    if number is None or number < 1:
        raise InvalidInputError(f"{version!r} is no model version.", "versions are whole numbers from 1 up")
    return number


def check_experiment_name(name: object) -> str:
    """Return the experiment's name, or say what is wrong with it.

    Raises:
        InvalidInputError: It is not a text, is empty, or has more than 500 characters.
    """
    if isinstance(name, str) and name.strip() and len(name) <= MAX_EXPERIMENT_NAME_LENGTH:
        return name
    raise InvalidInputError(
        f"{name!r:.80} is no name for an experiment.", "set MLFLOW_EXPERIMENT_NAME to a text of 1 to 500 characters"
    )


def check_end_status(status: object) -> str:
    """Return the status a run ends with, in capitals.

    Raises:
        InvalidInputError: It is not FINISHED, FAILED or KILLED.
    """
    text = status.upper() if isinstance(status, str) else status
    if isinstance(text, str) and text in END_STATUSES:
        return text
    raise InvalidInputError(f"{status!r} is no status for a run to end with.", "use FINISHED, FAILED or KILLED")
