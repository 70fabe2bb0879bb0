"""Reading `[tool.holdfast]` in pyproject.toml. The file is committed, so a secret in it is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

from holdfast.core.uris import holds_password
from holdfast.settings.layers import Layer, Report
from holdfast.settings.names import KEYS, Field, closest


def read_pyproject(path: Path, report: Report) -> Layer:
    """Return the values under `[tool.holdfast]`; an empty layer where there is none."""
    table = _table(path, report)
    values: dict[str, object] = {}
    for key, value in table.items():
        field = _field(key, path, report)
        if field is not None and _may_be_committed(field, value, path, report):
            if field.key in values:
                report.refuse(f"{path} gives [tool.holdfast] {field.key} twice.", "keep one of them")
            values[field.key] = value
    return Layer("pyproject", values, path)


def _table(path: Path, report: Report) -> dict[str, object]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        report.refuse(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}.")
        return {}
    except tomllib.TOMLDecodeError as error:
        report.refuse(f"{path} is not valid TOML: {error}.")
        return {}
    tool = content.get("tool", {})
    table = tool.get("holdfast", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        report.refuse(f"{path}: tool.holdfast is not a table.", "write a [tool.holdfast] heading, then key = value")
        return {}
    return table


def _field(key: str, path: Path, report: Report) -> Field | None:
    field = KEYS.get(key.replace("_", "-"))
    if field is None:
        guess = closest(key.replace("_", "-"), list(KEYS))
        report.refuse(
            f"{path}: [tool.holdfast] has the unknown key {key!r}.",
            f"did you mean {guess!r}?" if guess else f"the keys are {', '.join(KEYS)}",
        )
    return field


def _may_be_committed(field: Field, value: object, path: Path, report: Report) -> bool:
    if field.is_secret:
        report.refuse(
            f"{path}: [tool.holdfast] {field.key} is a credential, and pyproject.toml is committed.",
            f"move it to .env as {field.variable}",
            is_about_credentials=True,
        )
        return False
    if any(holds_password(uri) for uri in _addresses(field, value)):
        report.refuse(
            f"{path}: [tool.holdfast] {field.key} holds a password, and pyproject.toml is committed.",
            f"move it to .env as {field.variable}",
            is_about_credentials=True,
        )
        return False
    return True


def _addresses(field: Field, value: object) -> list[str]:
    """Return the URIs in a value."""
    if field.name == "webhooks":
        hooks = value if isinstance(value, list) else []
        return [str(hook.get("url", "")) for hook in hooks if isinstance(hook, dict)]
    return [value] if field.is_uri and isinstance(value, str) else []
