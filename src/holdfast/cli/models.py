"""`holdfast models`: list, show, promote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.backend.entities import ModelVersion, RegisteredModel
    from holdfast.cli.output import Output
    from holdfast.core.promotion import CheckAnswer
    from holdfast.core.stages import Stage
    from holdfast.registry import ModelRegistry

app = typer.Typer(help="Look at registered models and promote their versions.", no_args_is_help=True)

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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the rule and change nothing.")] = False,
    json: Json = False,
) -> None:
    """Move a version to a stage, with its alias; what was there before is archived.

    For Production the rule in [tool.holdfast.promotion] is checked first; where it says no, nothing is
    changed and the exit code is 1.

    Example: holdfast models promote game-outcomes latest --to Production
    """
    from holdfast.cli.output import get_output
    from holdfast.core.stages import Stage, parse_stage

    target = parse_stage(to)
    registry = _registry()
    out = get_output(json)
    if dry_run:
        answers = _check(registry, name, version, target)
        _show_check(out, f"{name} version {version}", target, answers)
    else:
        _promote(registry, name, version, target, out)
        answers = ()
    if target is Stage.PRODUCTION and not registry.rule.checks:
        out.hint("no promotion rule is set ([tool.holdfast.promotion])")
    if not all(answer.passed for answer in answers):
        raise typer.Exit(1)


def _promote(registry: ModelRegistry, name: str, version: str, target: Stage, out: Output) -> None:
    done = registry.promote(name, version, target)
    if out.json:
        checks = [{"check": a.check, "passed": a.passed, "reason": a.reason} for a in done.answers]
        out.data({**_version_dict(done.version), "archived": list(done.archived), "checks": checks})
        return
    for answer in done.answers:
        out.line(f"  passed: {answer.check} ({answer.reason})")
    out.line(f"{name} version {done.version.version}: {done.from_stage.value} -> {target.value}")
    for number in done.archived:
        out.line(f"{name} version {number}: {target.value} -> Archived")


def _check(registry: ModelRegistry, name: str, version: str, target: Stage) -> tuple[CheckAnswer, ...]:
    """Return the rule's answers; empty where none applies.

    Raises:
        NotFoundError: There is no such model or version.
        RegistryError: The version is not ready.
    """
    from holdfast.core.stages import Stage

    found = registry.get(name, version)
    registry.check_ready(found, target)
    return registry.check(name, found.version) if target is Stage.PRODUCTION else ()


def _show_check(out: Output, which: str, target: Stage, answers: tuple[CheckAnswer, ...]) -> None:
    if out.json:
        out.data([{"check": a.check, "passed": a.passed, "reason": a.reason} for a in answers])
    elif answers:
        out.table(
            f"Rule for {target.value}, {which}",
            ["check", "answer", "why"],
            [[a.check, "passed" if a.passed else "refused", a.reason] for a in answers],
        )
    else:
        out.line(f"No rule applies; {which} would be moved to {target.value}.")


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
