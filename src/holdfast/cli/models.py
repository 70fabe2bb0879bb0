"""`holdfast models`: list, show, promote, roll back; what else there is stands in `models_*`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import (
    models_approval,
    models_check,
    models_compare,
    models_copy,
    models_drift,
    models_edit,
    models_history,
    models_lineage,
    models_load,
    models_notify,
    models_repair,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.backend.entities import ModelVersion, RegisteredModel
    from holdfast.cli.output import Output
    from holdfast.errors import PromotionRefusedError
    from holdfast.registry import ModelRegistry, Promotion

app = typer.Typer(
    help="Take models from run to Production and back: gates, approvals, history, rollback.", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
NameArgument = Annotated[str, typer.Argument(help="The registered model's name.")]


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the registered models, and which versions are in Staging and Production."""
    from holdfast.cli.output import get_output

    found = _registry().models()
    out = get_output(json)
    if json:
        out.data([_model_dict(model) for model in found])
        return
    rows = [
        [m.name, _number(m.aliases.get("production")), _number(m.aliases.get("staging")), m.description] for m in found
    ]
    out.table("Registered models", ["model", "Production", "Staging", "description"], rows)


@app.command("show")
def show_model(name: NameArgument, json: Json = False) -> None:
    """Show a model's versions with their stages, aliases and metrics, the newest first."""
    from holdfast.cli.output import get_output

    registry = _registry()
    found = registry.versions(name)
    metrics = {item.version: registry.metrics_of(item) for item in found}
    out = get_output(json)
    if json:
        out.data([{**_version_dict(item), "metrics": metrics[item.version]} for item in found])
        return
    rows = [[*_cells(item), _few(metrics[item.version])] for item in found]
    out.table(f"Versions of {name}", ["version", "stage", "aliases", "status", "run", "metrics"], rows)


@app.command("promote")
def promote(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="A number, `latest`, or an alias.")],
    to: Annotated[str, typer.Option("--to", help="None, Staging, Production or Archived.")] = "Production",
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history.")] = "",
    override: Annotated[
        str | None, typer.Option("--override", help="Why gates that refuse shall not count; kept in the history.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask the gates and change nothing.")] = False,
    json: Json = False,
) -> None:
    """Move a version to a stage, with its alias; what was there before is archived.

    The gates of that stage in [tool.holdfast.promotion] are asked first; where one says no, nothing is changed and
    the exit code is 1. The move is written into the model's history.

    Example: holdfast models promote game-outcomes latest --to Production --reason "better on last season"
    """
    from holdfast.cli.models_check import hint_at_others, show_check
    from holdfast.cli.output import get_output
    from holdfast.core.stages import parse_stage
    from holdfast.errors import PromotionRefusedError

    target = parse_stage(to)
    registry = _registry()
    out = get_output(json)
    if dry_run:
        show_check(out, registry, name, version, target)
        return
    try:
        done = registry.promote(name, version, target, reason=reason, override=override)
    except PromotionRefusedError as error:
        _show_refusal(out, name, version, target.value, error)
        raise
    show_promotion(out, name, done)
    if target.holds_one and not json and registry.policy.rule_for(target).is_empty:
        hint_at_others(out, registry, target, is_asked=bool(done.answers))


@app.command("rollback")
def rollback(
    name: NameArgument,
    to: Annotated[str | None, typer.Option("--to", help="A number or an alias, instead of the one before.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history.")] = "",
    json: Json = False,
) -> None:
    """Take a model back to the version that was Production before, or to another.

    Its files are compared with their checksum and it is loaded in a fresh process first; where that fails, nothing
    is changed and the exit code is 1.

    Example: holdfast models rollback game-outcomes --reason "log loss doubled since noon"
    """
    from holdfast.cli.output import get_output

    show_promotion(get_output(json), name, _registry().rollback(name, to, reason=reason))


def show_promotion(out: Output, name: str, done: Promotion) -> None:
    """Say what a promotion or a rollback did."""
    stage = "" if done.version.stage is None else done.version.stage.value
    if out.json:
        event = None if done.event is None else done.event.number
        told = {"promoted": True, "archived": list(done.archived), "checks": _checks(done.answers), "event": event}
        out.data({**_version_dict(done.version), **told, "differs": [str(item) for item in done.elsewhere]})
        return
    for answer in done.answers:
        out.line(f"  {'passed' if answer.passed else 'overridden'}: {answer.check} ({answer.reason})")
    if done.event is None:
        out.line(f"{name} version {done.version.version} is {stage} already; nothing was changed")
        return
    out.line(f"{name} version {done.version.version}: {done.from_stage.value} -> {stage}")
    for number in done.archived:
        out.line(f"{name} version {number}: {stage} -> Archived")
    for item in done.elsewhere:
        out.hint(f"changed outside of Holdfast, and left so: {item} (holdfast models repair {name})")


def _show_refusal(out: Output, name: str, version: str, to: str, error: PromotionRefusedError) -> None:
    """Give a program the answers; the error itself says them to a person."""
    if out.json:
        told = {"promoted": False, "name": name, "version": version, "to": to, "checks": _checks(error.answers)}
        out.data({**told, "error": error.message, "hint": error.hint})


def _checks(answers: Sequence[object]) -> list[dict[str, Any]]:
    from holdfast.core.promotion import CheckAnswer

    found = [item for item in answers if isinstance(item, CheckAnswer)]
    return [{"check": item.check, "passed": item.passed, "reason": item.reason} for item in found]


def _registry() -> ModelRegistry:
    from holdfast.cli.opening import open_existing
    from holdfast.registry import ModelRegistry

    return ModelRegistry(open_existing())


def _number(version: int | None) -> str:
    return "" if version is None else str(version)


def _cells(item: ModelVersion) -> list[str]:
    stage = "" if item.stage is None else item.stage.value
    return [str(item.version), stage, ", ".join(item.aliases), item.status, item.run_id]


def _few(metrics: dict[str, float]) -> str:
    shown = [(name, value) for name, value in sorted(metrics.items()) if name.startswith(("test", "val"))]
    return ", ".join(f"{name}={value:.4g}" for name, value in (shown or sorted(metrics.items()))[:4])


def _model_dict(model: RegisteredModel) -> dict[str, Any]:
    return {"name": model.name, "description": model.description, "aliases": model.aliases, "tags": model.tags}


def _version_dict(item: ModelVersion) -> dict[str, Any]:
    from holdfast.core.uris import mask_passwords_in

    return {
        "name": item.name,
        "version": item.version,
        "stage": None if item.stage is None else item.stage.value,
        "aliases": list(item.aliases),
        "status": item.status,
        "run_id": item.run_id,
        "source": mask_passwords_in(item.source),
        "description": item.description,
        "created_ms": item.created_ms,
        "tags": item.tags,
    }


# In the order in which `--help` shows them.
for _part in (
    models_check,
    models_approval,
    models_history,
    models_repair,
    models_compare,
    models_lineage,
    models_drift,
    models_load,
    models_copy,
    models_edit,
    models_notify,
):
    _part.add_to(app)
