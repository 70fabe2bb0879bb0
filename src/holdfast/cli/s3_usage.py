"""`holdfast s3 usage`: what is stored below an artifact root."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.s3_place import Profile

if TYPE_CHECKING:
    from holdfast.bucket.usage import Tally, Usage
    from holdfast.cli.output import Output

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Uri = Annotated[
    str, typer.Argument(metavar="[URI]", help="s3://bucket/prefix or a folder; the project's root if not given.")
]


def usage(uri: Uri = "", profile: Profile = None, json: Json = False) -> None:
    """Count what is stored: by experiment, by age, by storage class.

    Beside it stand versions that are not current and uploads that were never completed, for these cost as much and
    are seen nowhere else. Folders that belong to no experiment are named as such.

    Example: holdfast s3 usage --json | jq '.by_experiment[0]'
    """
    from holdfast.cli.output import get_output

    found = counted(uri, profile)
    out = get_output(json)
    out.data(found.as_document()) if json else _show(out, found)


def counted(uri: str, profile: str | None = None) -> Usage:
    """Count, with a bar where somebody looks and it takes a while."""
    from holdfast.artifacts.progress import meter_for
    from holdfast.bucket.usage import usage_of
    from holdfast.project import open_project

    meter = meter_for(doing="count")
    try:
        return usage_of(open_project(aws_profile=profile), uri, meter)
    finally:
        meter.end()


def _show(out: Output, found: Usage) -> None:
    from holdfast.core.uris import mask_uri

    total = found.total
    out.line(f"{total.objects:,} {'object' if total.objects == 1 else 'objects'}, {size(total.size_bytes)}")
    if not found.groups:
        out.hint(f"nothing is stored below {mask_uri(found.root.uri)}")
    rows = [
        [group.name if group.is_experiment else f"{group.name} (no experiment)", *_cells(group.total)]
        for group in found.groups
    ]
    if rows:
        out.table(f"By experiment, below {mask_uri(found.root.uri)}", ["experiment", "objects", "size"], rows)
    _table(out, "By age", "age", found.by_age())
    if found.root.kind == "s3":
        _table(out, "By storage class", "class", found.by_class())
        _table(out, "Versions that are not current", "class", found.old_versions or {})
        _table(out, "Unfinished uploads", "class", found.uploads or {})
    for note in found.notes:
        out.hint(note)
    if found.elsewhere:
        experiments = "1 experiment keeps" if found.elsewhere == 1 else f"{found.elsewhere} experiments keep"
        out.hint(f"{experiments} files elsewhere: name that root to count it")


def _table(out: Output, title: str, head: str, tallies: Mapping[str, Tally]) -> None:
    if tallies:
        out.table(title, [head, "objects", "size"], [[name, *_cells(tally)] for name, tally in tallies.items()])


def _cells(tally: Tally) -> list[str]:
    return [f"{tally.objects:,}", size(tally.size_bytes)]


def size(size_bytes: int) -> str:
    """Return a size for people, in decimal units: `1.5 GB`."""
    from rich.filesize import decimal

    return decimal(size_bytes)
