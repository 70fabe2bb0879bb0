"""Names and lengths that MLflow accepts, checked before anything is sent.

The limits are those of MLflow 3 (`mlflow.utils.validation`); checking here gives one error
that names every offender, instead of the first one after half a batch was stored.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

from holdfast.errors import InvalidInputError

MAX_KEY_LENGTH = 250
MAX_PARAM_LENGTH = 6000
MAX_TAG_LENGTH = 8000
MAX_EXPERIMENT_NAME_LENGTH = 500
# Of registered models; PostgreSQL refuses what is longer, SQLite keeps it.
MAX_MODEL_NAME_LENGTH = 256
MAX_DESCRIPTION_LENGTH = 5000
# Of a version's tag: MLflow before 3.2 refuses more than 5,000 characters, later ones more than these.
MAX_VERSION_TAG_LENGTH = 100_000
MAX_VERSION = 2**31 - 1
# What file systems keep.
MAX_FILE_NAME_BYTES = 255
MAX_METRICS_PER_BATCH = 1000
MAX_PARAMS_PER_BATCH = 100
MAX_TAGS_PER_BATCH = 100
RUN_STATUSES = ("FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED")
END_STATUSES = ("FINISHED", "FAILED", "KILLED")

_KEY = re.compile(r"[/\w.\- :]+")
_ALIAS = re.compile(r"[\w\-]+")
_NUMBER = re.compile(r"[+-]?\d+")
# What moves the cursor or turns the direction of writing: it breaks tables, and makes names look like others.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
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
        InvalidInputError: The name is empty, holds `/` or `:`, is a path such as `.` or `..`, is longer than 256
            characters, or holds line ends, tabs or other control characters, which MLflow would allow, or what no
            database keeps.
    """
    if isinstance(name, str) and len(name) > MAX_MODEL_NAME_LENGTH:
        raise InvalidInputError(
            f"{name[:40]!r}… has {len(name)} characters, too many for the name of a registered model.",
            f"use {MAX_MODEL_NAME_LENGTH} at most",
        )
    ok = isinstance(name, str) and name.strip() and not set(name) & set("/:") and _is_plain_path(name)
    if ok and isinstance(name, str) and is_unicode(name) and not _CONTROL.search(name):
        return name
    raise InvalidInputError(
        f"{name!r} is no name for a registered model.",
        "use any text of one line without '/' and ':', for example 'nba-game-outcome'",
    )


def check_file_names(names: Iterable[object]) -> None:
    """Check the names of files in one folder of a run's artifacts: plain names, none of which leads elsewhere.

    Raises:
        InvalidInputError: Names every one that is empty, `.` or `..`, longer than 255 bytes, or holds a slash, a
            backslash, a control character or what is no Unicode.
    """
    bad = [repr(name)[:80] for name in names if not _is_file_name(name)]
    if bad:
        raise InvalidInputError(
            f"No plain names of files: {', '.join(bad)}.", "give names without folders, such as 'last.ckpt'"
        )


def _is_file_name(name: object) -> bool:
    if not isinstance(name, str) or name in ("", ".", "..") or not is_unicode(name):
        return False
    return len(name.encode()) <= MAX_FILE_NAME_BYTES and not set(name) & set("/\\") and not _CONTROL.search(name)


def is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_tags(tags: Mapping[str, str]) -> None:
    """Check the tags of a model version.

    Raises:
        InvalidInputError: Names every key, and every value that is too long for MLflow or cannot be kept.
    """
    check_keys(tags, "tag")
    for key, value in tags.items():
        if len(value) > MAX_VERSION_TAG_LENGTH:
            raise InvalidInputError(
                f"The value of tag {key!r} has {len(value)} characters; MLflow keeps {MAX_VERSION_TAG_LENGTH}.",
                "store it as a file of the run, and tag where it lies",
            )
        if "\0" in value or not is_unicode(value):
            raise InvalidInputError(f"The value of tag {key!r} is no text that a database keeps.", "write it as text")


def check_description(text: str) -> str:
    """Return the description of a registered model or version.

    Raises:
        InvalidInputError: It has more than 5,000 characters, or holds what no database keeps.
    """
    if len(text) > MAX_DESCRIPTION_LENGTH:
        raise InvalidInputError(
            f"The description has {len(text)} characters; MLflow keeps {MAX_DESCRIPTION_LENGTH}.",
            "say it shorter, and link to the rest",
        )
    if "\0" in text or not is_unicode(text):
        raise InvalidInputError("The description is no text that a database keeps.", "write it as text")
    return text


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
    if number is None or not 1 <= number <= MAX_VERSION:
        raise InvalidInputError(f"{version!r} is no model version.", "versions are whole numbers from 1 up")
    return number


def as_version_or_word(wanted: object) -> int | str:
    """Return the number of a version, or the word (a stage, an alias, `latest`) that says which one is meant.

    Raises:
        InvalidInputError: It is a number that no version has, or neither a number nor a text.
    """
    if isinstance(wanted, int) or (isinstance(wanted, str) and _NUMBER.fullmatch(wanted.strip())):
        return check_version(wanted)
    if isinstance(wanted, str) and wanted.strip():
        return wanted.strip()
    raise InvalidInputError(
        f"{wanted!r} is no model version.", "give a whole number from 1 up, a stage, an alias or 'latest'"
    )


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
