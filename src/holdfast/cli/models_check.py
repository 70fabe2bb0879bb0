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
    else:
        out.line(f"No rule applies; {name} version {version} would be moved to {target.value}.")
    if target.holds_one and not out.json:
        _hint_at_others(out, registry, target)
    if not all(item.passed for item in answers):
        raise typer.Exit(1)


def _hint_at_others(out: Output, registry: ModelRegistry, target: Stage) -> None:
    rule = registry.policy.rule_for(target)
    table = "[tool.holdfast.promotion" + (".staging]" if target.value == "Staging" else "]")
    if rule.is_empty:
        out.hint(f"no gate is set before {target.value} ({table})")
    elif rule.unused_rows:
        out.hint(f"not asked, since not set in {table}: {', '.join(rule.unused_rows)}")


def add_to(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("check")(check)
