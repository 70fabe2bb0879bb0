"""`holdfast config`: what the settings are, and where each one came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.settings import Row, Settings

app = typer.Typer(help="Show the settings of this project.", no_args_is_help=True)


@app.callback()
def _config() -> None:
    """Show the settings of this project."""


@app.command("show")
def show(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show every setting, its value with secrets masked, and its source.

    Sources, the first that knows wins: environment, .env, [tool.holdfast] in pyproject.toml, defaults.

    Example: holdfast config show --json | jq '.settings[] | select(.source != "default")'
    """
    from holdfast.cli.output import get_output
    from holdfast.settings import load_settings

    settings = load_settings()
    output = get_output(json)
    if json:
        output.data(as_document(settings))
        return
    rows = [[row.field, row.shown, str(row.origin)] for row in settings.describe()]
    output.table("", ["Setting", "Value", "From"], rows)
    for path in _files(settings.describe()):
        output.hint(f"read: {path}")
    for notice in settings.notices:
        output.warn(notice)


def as_document(settings: Settings) -> dict[str, object]:
    """Return what `config show --json` prints: settings with value and source, and the notices."""
    return {
        "project_root": str(settings.project_root),
        "settings": [_entry(row) for row in settings.describe()],
        "notices": list(settings.notices),
    }


def _entry(row: Row) -> dict[str, str | None]:
    return {
        "field": row.field,
        "value": row.shown or None,
        "source": row.origin.kind,
        "name": row.origin.name or None,
        "path": str(row.origin.path) if row.origin.path else None,
    }


def _files(rows: list[Row]) -> list[str]:
    return sorted({str(row.origin.path) for row in rows if row.origin.path})
