"""`holdfast models alias|unalias|tag|untag|delete`: changes of one version, each with its event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.core.history import Event
    from holdfast.registry import ModelRegistry

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Name = Annotated[str, typer.Argument(help="The registered model's name.")]
Version = Annotated[str, typer.Argument(help="A number, `latest`, a stage, or an alias.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]


def alias(
    name: Name,
    version: Version,
    alias: Annotated[str, typer.Argument(help="The alias, `champion` for instance.")],
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Point an alias at a version; `production` and `staging` move with the stage and are refused.

    Example: holdfast models alias game-outcomes 3 champion
    """
    done = _registry().set_alias(name, alias, version, reason=reason)
    _show(done, f"{name}@{alias} points at version {version}", json)


def unalias(
    name: Name,
    alias: Annotated[str, typer.Argument(help="The alias.")],
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Take an alias away.

    Example: holdfast models unalias game-outcomes champion
    """
    _show(_registry().remove_alias(name, alias, reason=reason), f"{name}@{alias} is not set", json)


def tag(
    name: Name,
    version: Version,
    key: Annotated[str, typer.Argument(help="The tag's name.")],
    value: Annotated[str, typer.Argument(help="Its value.")],
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Set a tag of a version; those that begin with `holdfast.` are refused.

    Example: holdfast models tag game-outcomes 3 reviewed-by "data protection"
    """
    done = _registry().set_tag(name, version, key, value, reason=reason)
    _show(done, f"{name} version {version}: {key} = {value}", json)


def untag(
    name: Name,
    version: Version,
    key: Annotated[str, typer.Argument(help="The tag's name.")],
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Remove a tag of a version.

    Example: holdfast models untag game-outcomes 3 reviewed-by
    """
    done = _registry().remove_tag(name, version, key, reason=reason)
    _show(done, f"{name} version {version}: {key} is not set", json)


def delete(
    name: Name,
    version: Annotated[str, typer.Argument(help="The version's number.")],
    force: Annotated[
        bool, typer.Option("--force", help="Though it is in a stage, has an alias, is approved, or to go back to.")
    ] = False,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete a version; its files stay where they are.

    A version in Production or Staging, with an alias, with an approval, or that a rollback would go back to, is kept
    unless you say --force.

    Example: holdfast models delete game-outcomes 3 --reason "trained on last year's data"
    """
    from holdfast.cli.asking import is_sure
    from holdfast.core.names import check_version

    number = check_version(version)
    registry = _registry()
    registry.get(name, number)
    if not is_sure(f"Delete {name} version {number}? It cannot be brought back.", yes):
        raise typer.Exit(1)
    _show(registry.delete(name, number, force, reason=reason), f"{name} version {number} is deleted", json)


def _show(event: Event | None, text: str, json: bool) -> None:
    from holdfast.cli.output import get_output

    out = get_output(json)
    if json:
        out.data({"changed": event is not None, "event": None if event is None else event.to_dict()})
    else:
        out.line(f"{text} (event {event.number})" if event is not None else f"{text} already; nothing was changed")


def _registry() -> ModelRegistry:
    from holdfast.cli.opening import open_existing
    from holdfast.registry import ModelRegistry

    return ModelRegistry(open_existing())


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (alias, unalias, tag, untag, delete):
        app.command(command.__name__)(command)
