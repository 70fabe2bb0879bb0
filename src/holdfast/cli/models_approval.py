"""`holdfast models request`, `approve`, `reject`, `requests`: one asks, others answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.registry import ModelRegistry
    from holdfast.registry.history.approvals import Review

Name = Annotated[str, typer.Argument(help="The registered model's name.")]
Version = Annotated[str, typer.Argument(help="A number, `latest`, a stage, or an alias.")]
For = Annotated[str | None, typer.Option("--to", help="For which stage; may be left out where one is asked for.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]


def request(
    name: Name,
    version: Version,
    to: Annotated[str, typer.Option("--to", help="Production or Staging.")] = "Production",
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Ask that others approve a version's files, as they are now, for a stage.

    Example: holdfast models request game-outcomes 7 --to Production --reason "better on the playoffs"
    """
    _tell(_registry().request(name, version, to, reason=reason), "asked for", json)


def approve(name: Name, version: Version, to: For = None, reason: Reason = "", json: Json = False) -> None:
    """Approve a version's files, as they are now; never one's own request.

    You are who HOLDFAST_USER names, or the login, or git's address; a stock MLflow server does not verify it. Example:
    holdfast models approve game-outcomes 7
    """
    _tell(_registry().approve(name, version, to, reason=reason), "approved for", json)


def reject(
    name: Name,
    version: Version,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history.")],
    to: For = None,
    json: Json = False,
) -> None:
    """Reject a request, or withdraw your own; it takes a new request to be asked again.

    Example: holdfast models reject game-outcomes 7 --reason "trained on a leaked column"
    """
    _tell(_registry().reject(name, version, to, reason=reason), "rejected for", json)


def requests(
    name: Annotated[str | None, typer.Argument(help="The registered model's name; all models if not given.")] = None,
    json: Json = False,
) -> None:
    """List the requests that stand, and who has approved so far.

    Example: holdfast models requests game-outcomes
    """
    from holdfast.cli.output import get_output

    registry = _registry()
    names = [model.name for model in registry.models()] if name is None else [name]
    found = [item for model in names for item in registry.requests(model)]
    out = get_output(json)
    if json:
        out.data([item.to_dict() for item in found])
        return
    out.table("Requests", ["model", "version", "for", "asked by", "when", "approved", "why"], [_row(i) for i in found])
    if not found:
        out.hint("nobody asks for anything")


def _tell(review: Review, what: str, json: bool) -> None:
    from holdfast.cli.output import get_output

    out = get_output(json)
    if json:
        out.data(review.to_dict())
        return
    out.line(f"{review.model} version {review.version}: {what} {review.stage.value}{_standing(review)}")
    if review.event is None:
        out.hint("you had approved these files before; nothing was written")
    if review.is_open and not review.needed:
        out.hint(f"no approval is needed for {review.stage.value} (approvals in [tool.holdfast.promotion])")
    elif review.is_open and not review.is_enough:
        out.hint(f"somebody else answers with: holdfast models approve {review.model} {review.version}")
    elif review.is_open:
        out.hint(f"now: holdfast models promote {review.model} {review.version} --to {review.stage.value}")


def _standing(review: Review) -> str:
    if not review.is_open:
        return ""
    who = f": {', '.join(review.approved)}" if review.approved else ""
    of = f" of {review.needed}" if review.needed else ""
    return f" ({len(review.approved)}{of} approved{who})"


def _row(review: Review) -> list[str]:
    return [
        review.model,
        str(review.version),
        review.stage.value,
        review.by,
        review.at[:19].replace("T", " "),
        f"{len(review.approved)} of {review.needed}" + (f" ({', '.join(review.approved)})" if review.approved else ""),
        review.reason,
    ]


def _registry() -> ModelRegistry:
    from holdfast.cli.opening import open_existing
    from holdfast.registry import ModelRegistry

    return ModelRegistry(open_existing())


def add_to(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command("request")(request)
    app.command("approve")(approve)
    app.command("reject")(reject)
    app.command("requests")(requests)
