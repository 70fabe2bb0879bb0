"""`holdfast demo`: see the real thing at work, on servers that are gone afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.demo.credentials import Seen

app = typer.Typer(help="See it at work, on servers that are gone afterwards.", no_args_is_help=True)
_WHO = {"boto3": "any program, by boto3", "holdfast": "Holdfast", "mlflow": "plain MLflow"}


@app.callback()
def _demo() -> None:
    """See it at work, on servers that are gone afterwards."""


@app.command("credentials")
def credentials(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show a global AWS key and a project's key side by side: each reaches its own bucket, and no other.

    An S3 server that checks signatures and policies is started on this machine, with two accounts of a bucket each.
    The global key lies in the environment (AWS_*), the project's in .env (MLFLOW_AWS_*). A file is stored in both
    buckets by boto3, by Holdfast and by plain MLflow: with both keys, without the project's, and with a wrong one.

    Needs the server: pip install 'holdfast[testing]'. Exit code 1 where anything went otherwise than it should.

    Example: holdfast demo credentials
    """
    from holdfast.cli.output import get_output
    from holdfast.demo.credentials import demonstrate

    out = get_output(json)
    if not json:
        out.hint("starting an S3 server that checks signatures ...")
    seen = list(demonstrate())
    _show(out, seen)
    if not all(item.is_right for item in seen):
        raise typer.Exit(1)


def _show(out: Output, seen: Sequence[Seen]) -> None:
    if out.json:
        out.data([vars(item) | {"is_right": item.is_right} for item in seen])
        return
    for situation in dict.fromkeys(item.situation for item in seen):
        rows = [item for item in seen if item.situation == situation and item.bucket]
        table = [[_WHO[item.who], item.keys, f"s3://{item.bucket}", _answer(item)] for item in rows]
        out.table(f"With {situation}", ["Who", "Whose keys", "Bucket", "What the server did"], table)
        own = next(item for item in seen if item.situation == situation and not item.bucket)
        out.line(f"The environment of that process afterwards: {own.seen}.")
        out.line("")
    wrong = sum(not item.is_right for item in seen)
    out.line(f"{len(seen) - wrong} of {len(seen)} went as they should.")


def _answer(item: Seen) -> str:
    return item.seen if item.is_right else f"{item.seen}, where {item.expected} was due"
