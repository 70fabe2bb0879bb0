"""`holdfast models notify`: tells webhooks what they have not been told yet."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.registry.history.notifying import Notifier
    from holdfast.registry.history.outbox import Standing


def notify(
    name: Annotated[str | None, typer.Argument(help="The registered model; all models if not given.")] = None,
    status: Annotated[bool, typer.Option("--status", help="Only show what waits, and what was given up.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until it is interrupted.")] = False,
    every: Annotated[float, typer.Option("--every", min=1, help="Seconds between two rounds of --watch.")] = 15,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to try for, without --watch.")] = 60,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout and nothing else; a line a round with --watch.")
    ] = False,
) -> None:
    """Post the events that webhooks ([tool.holdfast] webhooks) have not been told of, in order.

    A change tells them at once; this is for what failed then. Exit codes: 0 nothing waits, 3 something does. What a
    server refuses for good is given up after some tries, and listed with --status; it stays in the history. Example:
    holdfast models notify --watch
    """
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.registry.history.notifying import Notifier

    project = open_existing()
    out = get_output(json)
    if not project.settings.webhooks:
        out.hint("there are no webhooks: set them in [tool.holdfast] webhooks")
    notifier = Notifier(project, name)
    if watch:
        _watch(notifier, every, out)
    found = notifier.standing() if status else notifier.send_for(timeout)
    _show(out, found)
    if any(item.pending for item in found) and not status:
        raise typer.Exit(3)


def _watch(notifier: Notifier, every_s: float, out: Output) -> None:
    import json
    import threading

    for found in notifier.watch(every_s, threading.Event(), out.warn):
        news = [item for item in found if item.delivered or item.said]
        if news and out.json:
            typer.echo(json.dumps([_fields(item) for item in news]))
        for item in news:
            out.line(_line(item))


def _show(out: Output, found: list[Standing]) -> None:
    if out.json:
        out.data([_fields(item) for item in found])
        return
    for item in found:
        out.line(_line(item))
        if item.dead:
            out.hint(f"  given up: events {', '.join(str(number) for number in item.dead)} (they are in the history)")


def _fields(item: Standing) -> dict[str, object]:
    return asdict(item)


def _line(item: Standing) -> str:
    posted = f"{item.delivered} posted, " if item.delivered else ""
    waiting = f"{len(item.pending)} waiting" if item.pending else "nothing waits"
    return f"{item.model}: {item.webhook}: {posted}{waiting}{f' ({item.said})' if item.said else ''}"


def add_to(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("notify")(notify)
