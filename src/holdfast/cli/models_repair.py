"""`holdfast models repair`: a registry that was changed by hand, brought back in step with its history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.registry import ModelRegistry
    from holdfast.registry.changes.repairing import Repair


def repair(
    name: Annotated[str | None, typer.Argument(help="The registered model's name.")] = None,
    all_models: Annotated[bool, typer.Option("--all", help="All models that have a history.")] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take the registry as it is; the history then says that it was taken so.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history.")] = "",
    begin_anew: Annotated[
        bool,
        typer.Option(
            "--begin-anew", help="Where history and copies are both damaged or gone: begin one that knows nothing."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what differs and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Bring stage, alias and tag back in step with the history, and show what differed.

    A history that the registry has lost is brought back from its copies in the artifact store, and copies that are
    missing are written. Versions that came or went around Holdfast are recorded, and a model without a history begins
    one. With --accept what somebody changed by hand stays, and the history says so.

    Example: holdfast models repair game-outcomes --dry-run
    """
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.registry import ModelRegistry

    registry = ModelRegistry(open_existing())
    out = get_output(json)
    names = _names(registry, name, all_models)
    found = [registry.repair(item, dry_run=True) for item in names]
    for item in found:
        _show(out, item, accept)
    if dry_run or not any(item.is_needed for item in found):
        out.data([_dict(item) for item in found]) if json else None
        return
    needed = [item.name for item in found if item.is_needed]
    _ask(needed, accept, yes)
    done = [registry.repair(item, accept, reason=reason, begin_anew=begin_anew) for item in needed]
    if json:
        out.data([_dict(item) for item in done])
        return
    for item in done:
        _show_done(out, item)


def _names(registry: ModelRegistry, name: str | None, all_models: bool) -> list[str]:
    from holdfast.backend.history import HISTORY_TAG
    from holdfast.errors import InvalidInputError

    if (name is None) != all_models:
        raise InvalidInputError("Name one model, or say --all.", "holdfast models repair NAME")
    return [name] if name is not None else [model.name for model in registry.models() if HISTORY_TAG in model.tags]


def _ask(needed: list[str], accept: bool, yes: bool) -> None:
    from holdfast.cli.asking import is_sure

    question = f"Repair {', '.join(needed)}?" if not accept else f"Take {', '.join(needed)} as the registry has it?"
    if not is_sure(question, yes):
        raise typer.Exit(1)


def _show(out: Output, item: Repair, accept: bool) -> None:
    if not item.is_needed:
        out.line(f"{item.name}: nothing is out of step")
        return
    if item.lost:
        out.line(f"{item.name}: the registry has lost the history ({item.lost}); its copies are asked")
    if item.begins:
        _show_beginning(out, item)
    if item.findings:
        is_right = "the registry is taken as it is" if accept else "the history is right"
        rows = [
            [str(f.version), f.place, _shown(f.found), _shown(f.should), _how(f.is_half_done)] for f in item.findings
        ]
        out.table(f"Out of step in {item.name}; {is_right}", ["version", "place", "found", "history says", "how"], rows)
    _show_around(out, item)
    if item.copies:
        out.line(f"{item.name}: {len(item.copies)} events have no copy in the artifact store; they will be written")


def _show_around(out: Output, item: Repair) -> None:
    if item.renamed_from:
        out.line(f"{item.name} was renamed from {item.renamed_from}; that will be recorded")
    for number in item.gone:
        out.line(f"{item.name} version {number} was deleted around Holdfast; that will be recorded")
    for number in item.unrecorded:
        out.line(f"{item.name} version {number} was registered around Holdfast; it will be measured and recorded")
    for alias, number in item.aliases:
        out.line(f"{item.name}: alias {alias} was set to version {number} around Holdfast; that will be recorded")


def _show_beginning(out: Output, item: Repair) -> None:
    taken = ", ".join(item.adopts) or "no version in a stage, no alias"
    out.line(f"{item.name}: {item.begins}; the registry would be taken as it is: {taken}")
    for said in item.not_kept:
        out.line(f"{item.name}: not kept: {said}")


def _show_done(out: Output, item: Repair) -> None:
    if item.restored:
        out.line(f"{item.name}: {len(item.restored)} events were brought back from their copies")
    numbers = ", ".join(str(event.number) for event in item.events)
    out.line(f"{item.name}: repaired" + (f" (event {numbers})" if numbers else ""))


def _shown(value: str | None) -> str:
    return "not set" if value is None else value


def _how(is_half_done: bool) -> str:
    return "a change was cut short" if is_half_done else "by hand"


def _dict(item: Repair) -> dict[str, Any]:
    return {
        "name": item.name,
        "is_needed": item.is_needed,
        "lost": item.lost,
        "findings": [
            {
                "version": found.version,
                "place": found.place,
                "found": found.found,
                "should": found.should,
                "half_done": found.is_half_done,
            }
            for found in item.findings
        ],
        "registered_around": list(item.unrecorded),
        "deleted_around": list(item.gone),
        "aliases_around": dict(item.aliases),
        "copies_missing": list(item.copies),
        "restored": list(item.restored),
        "begins": item.begins,
        "adopts": list(item.adopts),
        "not_kept": list(item.not_kept),
        "renamed_from": item.renamed_from,
        "events": [event.to_dict() for event in item.events],
    }


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("repair")(repair)
