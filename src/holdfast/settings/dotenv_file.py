"""Reading `.env`: found, checked, parsed, and never put into the process's environment.

python-dotenv parses it, so `export`, quotes, comments and values of several lines work.
`${NAME}` is taken literally: a password may hold `${`, and what a value is should not
depend on the shell it is read in.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from pydantic import SecretStr

from holdfast.settings.layers import Layer, Report
from holdfast.settings.names import PROFILE_VARIABLE, VARIABLES, closest

_MAX_SIZE_BYTES = 1 << 20
_FAMILIES = ("MLFLOW_AWS_", "MLFLOW_S3_", "HOLDFAST_")
_PREFIXES = ("MLFLOW_", "HOLDFAST_", "AWS_")
# Names that MLflow or AWS's programs read themselves, and that look like a slip in one of ours.
_OF_OTHERS = (
    *("AWS_ENDPOINT_URL_", "AWS_PROFILE", "MLFLOW_ARTIFACTS_ONLY", "MLFLOW_ARTIFACT_LOCATION", "MLFLOW_EXPERIMENT_I"),
    *("MLFLOW_REGISTRY_DIR", "MLFLOW_REGISTRY_STORE_URI", "MLFLOW_RUN_NAME", "MLFLOW_TRACING_"),
    *("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_DIR", "MLFLOW_WORKSPACE_STORE_URI"),
)


@dataclass(frozen=True)
class _Parsed:
    values: Mapping[str, str] = field(repr=False, default_factory=dict)


def read_dotenv(folders: tuple[Path, ...], report: Report) -> Layer:
    """Return the values of the nearest `.env` in `folders` (nearest first); an empty layer where there is none."""
    path = _find(folders, report)
    return Layer("dotenv") if path is None else read_file(path, report)


def read_file(path: Path, report: Report) -> Layer:
    """Return the values of one file; what cannot be read is reported."""
    text = _read(path, report)
    if text is None:
        return Layer("dotenv", path=path)
    return Layer("dotenv", known_values(_parse(text, path, report).values), path)


def known_values(source: Mapping[str, str]) -> dict[str, object]:
    """Return the variables that are settings, the secret ones wrapped."""
    names = [*VARIABLES, PROFILE_VARIABLE]
    known = {name: source[name] for name in names if name in source}
    return {n: SecretStr(v) if n in VARIABLES and VARIABLES[n].is_secret else v for n, v in known.items()}


def _find(folders: tuple[Path, ...], report: Report) -> Path | None:
    found = [folder / ".env" for folder in folders if _is_readable_kind(folder / ".env", report)]
    for other in found[1:]:
        report.note(f"{other} is not read, because {found[0]} is nearer.")
    return found[0] if found else None


def _is_readable_kind(path: Path, report: Report) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        if path.is_symlink():
            report.note(f"{path} is a link that leads nowhere; it is not read.")
        return False
    if stat.S_ISDIR(mode):
        report.note(f"{path} is a folder (a virtual environment?), not a file of settings; it is not read.")
    elif not stat.S_ISREG(mode):
        report.note(f"{path} is not a regular file; it is not read.")
    return stat.S_ISREG(mode)


def _read(path: Path, report: Report) -> str | None:
    try:
        with path.open("rb") as file:
            _warn_if_others_may_read(path, os.fstat(file.fileno()).st_mode, report)
            content = file.read(_MAX_SIZE_BYTES + 1)
    except OSError as error:
        report.refuse(f"{path} cannot be read: {error.strerror}.", f"chmod u+r {path}")
        return None
    return _decode(content, path, report)


def _decode(content: bytes, path: Path, report: Report) -> str | None:
    if len(content) > _MAX_SIZE_BYTES:
        report.refuse(f"{path} is larger than 1 MiB; it is no file of settings.", "keep only NAME=value lines in it")
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        report.refuse(f"{path} is not UTF-8 text.", f"save {path} as UTF-8")
        return None
    if "\0" in text:
        report.refuse(f"{path} holds a NUL character; it is not UTF-8 text.", f"save {path} as UTF-8")
        return None
    return text.replace("\r\n", "\n")


def _warn_if_others_may_read(path: Path, mode: int, report: Report) -> None:
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        report.note(f"{path} may be read by other users (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}")


def _parse(text: str, path: Path, report: Report) -> _Parsed:
    values: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.line + _blank_lines_before(binding)
        if binding.error:
            report.refuse(f"{path}, line {line}, cannot be understood.", "write NAME=value, and close every quote")
        elif binding.key is not None and binding.value is not None:
            _warn_about(binding, path, line, values, report)
            values[binding.key] = binding.value
        elif binding.key is not None and binding.key.startswith(_PREFIXES):
            report.note(f"{path}, line {line}: {binding.key} has no value; write {binding.key}=value.")
    return _Parsed(values)


def _blank_lines_before(binding: Binding) -> int:
    text = binding.original.string
    return text[: len(text) - len(text.lstrip())].count("\n")


def _warn_about(binding: Binding, path: Path, line: int, earlier: Mapping[str, str], report: Report) -> None:
    name, value = binding.key or "", binding.value or ""
    if earlier.get(name, value) != value and name in VARIABLES:
        report.note(f"{path} sets {name} twice; line {line} wins.")
    if "${" in value and name in VARIABLES and "'" not in binding.original.string:
        report.note(f"{path}, line {line}: ${{...}} in {name} is taken literally, not replaced.")
    if name not in VARIABLES:
        _warn_about_name(name, f"{path}, line {line}", report)


def _warn_about_name(name: str, where: str, report: Report) -> None:
    if name.startswith(_FAMILIES):
        guess = closest(name, list(VARIABLES))
        report.note(f"{where}: {name} is no setting" + (f"; {guess} is." if guess else "."))
    elif name.upper().startswith(_PREFIXES) and not name.startswith(_OF_OTHERS):
        guess = closest(name, list(VARIABLES), least=0.8)
        if guess:
            report.note(f"{where}: {name} is no setting; {guess} is.")
