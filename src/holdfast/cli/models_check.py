"""`holdfast models check`: may this version enter a stage?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.core.stages import Stage
    from holdfast.registry import ModelRegistry


def check(
    name: Annotated[str, typer.Argument(help="The registered model's name.")],
    version: Annotated[str, typer.Argument(help="A number, `latest`, a stage, or an alias.")],
    to: Annotated[str, typer.Option("--to", help="Production or Staging.")] = "Production",
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Ask all gates before a stage, and change nothing; exit code 1 where one of them refuses.

    Example: holdfast models check game-outcomes latest --to Production
    """
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.core.stages import parse_stage
    from holdfast.registry import ModelRegistry

    target = parse_stage(to)
    show_check(get_output(json), ModelRegistry(open_existing()), name, version, target)


def show_check(out: Output, registry: ModelRegistry, name: str, version: str, target: Stage) -> None:
    """Ask all gates before a stage and show what each says.

    Raises:
        typer.Exit: One of them refuses.
        HoldfastError: There is no such version, it is not ready, or a server cannot be reached.
    """
    answers = registry.check(name, version, target)
    if out.json:
        out.data([{"check": item.check, "passed": item.passed, "reason": item.reason} for item in answers])
    elif answers:
        rows = [[item.check, "passed" if item.passed else "refused", item.reason] for item in answers]
        out.table(f"Gates before {target.value}, {name} version {version}", ["gate", "answer", "why"], rows)
    if not out.json:
        _conclude(out, registry, name, version, target, is_asked=bool(answers))
    if not all(item.passed for item in answers):
        raise typer.Exit(1)


def _conclude(out: Output, registry: ModelRegistry, name: str, version: str, target: Stage, *, is_asked: bool) -> None:
    if registry.stage_of(name, version) is target:
        out.line(f"{name} version {version} is {target.value} already; nothing would be changed.")
    elif not is_asked:
        out.line(f"No rule applies; {name} version {version} would be moved to {target.value}.")
    if target.holds_one:
        hint_at_others(out, registry, target, is_asked)


def hint_at_others(out: Output, registry: ModelRegistry, target: Stage, is_asked: bool) -> None:
    """Say which gates before Staging or Production are not set.

    Args:
        out: Where.
        registry: Whose policy.
        target: The stage.
        is_asked: Whether anything was asked: gates, approvals, or whether the move is allowed.
    """
    rule = registry.policy.rule_for(target)
    table = "[tool.holdfast.promotion" + (".staging]" if target.value == "Staging" else "]")
    if rule.is_empty and not is_asked and not registry.policy.approvers(target):
        out.hint(f"no gate is set before {target.value} ({table})")
    elif not rule.is_empty and rule.unused_rows:
        out.hint(f"not asked, since not set in {table}: {', '.join(rule.unused_rows)}")


def add_to(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("check")(check)
