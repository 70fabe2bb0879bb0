"""`holdfast models history` and `audit`: what was done to a model, and whether that can be believed."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.core.history import Event
    from holdfast.registry.history.export import Chronicle
    from holdfast.registry.history.problem import Problem

_SHOWN = 50
_NAMED = 5
Name = Annotated[str, typer.Argument(help="The registered model's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]


def history(
    name: Name,
    version: Annotated[int | None, typer.Option("--version", min=1, help="Only of this version.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only of this kind, such as moved; may be repeated.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="Not older than this: 2026-01-31, UTC.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="So many, the newest; 50 in a table if not given.")
    ] = None,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV for spreadsheets.")] = False,
    into: Annotated[Path | None, typer.Option("--into", "-o", help="Write to this file instead.")] = None,
) -> None:
    """Show what was done to a model, the newest first: who, when, why, from where to where.

    JSON holds the events in order, every field as it was hashed, and whether the chain was found whole; CSV has a row
    each. The exit code is 1 where the chain is damaged. Example: holdfast models history game-outcomes --csv
    """
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.errors import InvalidInputError
    from holdfast.registry.history.export import parse_kind, parse_since, read_history, select

    if json and csv:
        raise InvalidInputError("--json and --csv are two formats.", "give one of them")
    if into is not None and not (json or csv):
        raise InvalidInputError("A table is for looking at.", "give --json or --csv with --into")
    kinds = [parse_kind(word) for word in kind or ()]
    moment = None if since is None else parse_since(since)
    chronicle = read_history(open_existing(), name)
    found = select(chronicle.events, version, kinds, moment, limit)
    whole = version is None and not kinds and moment is None and limit is None
    out = get_output(json)
    if json or csv:
        text = _as_json(chronicle, found, whole) if json else _as_csv(found)
        _write(text, into, out)
    else:
        _show(out, name, found, limit)
    if chronicle.problems:
        out.warn(f"this history is damaged: {chronicle.problems[0]}; see holdfast models audit {name}")
        raise typer.Exit(1)


def audit(
    name: Name,
    files: Annotated[
        bool, typer.Option("--files", help="Read the files of all versions, not of Production's alone.")
    ] = False,
    json: Json = False,
) -> None:
    """Verify a model's history, its copies, and that the registry and Production's files are what it says.

    The exit code is 1 where anything is wrong. Nothing is changed. Example: holdfast models audit game-outcomes
    """
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.registry.history.audit import audit as make_audit

    found = make_audit(open_existing(), name, files)
    out = get_output(json)
    if json:
        out.data(found.to_dict())
    else:
        _show_problems(out, found.problems)
        for note in found.notes:
            out.hint(f"note: {note}")
        count = len(found.problems)
        said = "nothing is wrong" if found.is_clean else f"{count} thing{'' if count == 1 else 's'} wrong"
        out.line(f"{name}: {said} ({found.events} events, {found.copies} copies at {found.place or 'no place'})")
    if not found.is_clean:
        raise typer.Exit(1)


def _show_problems(out: Output, problems: tuple[Problem, ...]) -> None:
    """Print each remedy once, after what it mends; of very much the first."""
    for remedy in dict.fromkeys(problem.remedy for problem in problems):
        mended = [problem for problem in problems if problem.remedy == remedy]
        for problem in mended[:_NAMED]:
            out.line(f"{problem.place}: {problem.message}")
        if len(mended) > _NAMED:
            out.line(f"and {len(mended) - _NAMED} more; see them all with --json")
        out.hint(f"  {remedy}")


def _as_json(chronicle: Chronicle, found: list[Event], whole: bool) -> str:
    content = chronicle.to_dict()
    if not whole:
        numbers = {event.number for event in found}
        content["events"] = [item for item in content["events"] if item.get("number") in numbers]
    return json_module.dumps(content, indent=2) + "\n"


def _as_csv(found: list[Event]) -> str:
    from holdfast.registry.history.export import to_csv

    # Half a surrogate pair, which no file takes, is written as its number.
    return to_csv(found[::-1]).encode(errors="backslashreplace").decode()


def _write(text: str, into: Path | None, out: Output) -> None:
    if into is None:
        typer.echo(text, nl=False)
        return
    from holdfast.cli.whole_file import write_whole

    write_whole(into, text.encode(), "--into")
    out.hint(f"written to {into}")


def _show(out: Output, name: str, found: list[Event], limit: int | None) -> None:
    shown = found[: limit or _SHOWN]
    out.table(
        f"History of {name}", ["event", "when", "what", "version", "who", "why"], [_row(event) for event in shown]
    )
    if not found:
        out.hint("there is no such event; Holdfast writes them when it changes a model")
    elif len(shown) < len(found):
        out.hint(f"{len(found) - len(shown)} older events; see them with --limit {len(found)}")


def _row(event: Event) -> list[str]:
    draft = event.draft
    version = "" if draft.version is None else str(draft.version)
    why = [draft.reason] if draft.reason else []
    if draft.details.get("override"):
        why.append(f"overridden: {draft.details['override']}")
    return [str(event.number), event.at[:19].replace("T", " "), _what(event), version, draft.actor.name, "; ".join(why)]


def _what(event: Event) -> str:
    draft, said = event.draft, event.kind.value
    if draft.from_stage is not None and draft.to_stage is not None:
        said += f" {draft.from_stage.value} -> {draft.to_stage.value}"
    elif draft.to_stage is not None:
        said += f" for {draft.to_stage.value}"
    for key in ("alias", "key"):
        if draft.details.get(key):
            said += f" {draft.details[key]}"
    if draft.archived:
        said += f", archived {', '.join(str(number) for number in draft.archived)}"
    return said


def add_to(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command("history")(history)
    app.command("audit")(audit)
