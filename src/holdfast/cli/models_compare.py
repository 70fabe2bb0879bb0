"""`holdfast models compare`: two versions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.registry.comparison.sides import Side
    from holdfast.registry.comparison.versions import Comparison, TextRow


def compare(
    name: Annotated[str, typer.Argument(help="The registered model's name.")],
    a: Annotated[str, typer.Argument(help="A number, a stage, an alias (@champion), or `latest`.")],
    b: Annotated[str, typer.Argument(help="The version to compare it with.")],
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with the plots side by side to this file.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Show what is the same in both too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")] = False,
) -> None:
    """Compare two versions: metrics, params, tags, signature, files, and what they were made from.

    A difference is B's value minus A's. Where both runs logged scores of the same examples, its interval is shown
    (paired bootstrap). The page is one file without scripts, which needs no network.

    Example: holdfast models compare game-outcomes Production latest --html compared.html
    """
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.registry.comparison.versions import compare as compare_versions

    out = get_output(json)
    found = compare_versions(open_existing(), name, a, b, with_plots=html is not None)
    if html is not None:
        _write(html, found, every)
    if json:
        out.data(_document(found, every))
    else:
        _show(out, found, every)
    for problem in found.problems:
        out.warn(problem)
    if html is not None:
        out.hint(f"the page is {html}")


def _write(path: Path, found: Comparison, every: bool) -> None:
    from holdfast.cli.whole_file import write_whole
    from holdfast.registry.comparison.page import page_of

    # Names of files and params may hold half a surrogate pair, which no file takes.
    write_whole(path, page_of(found, every).encode("utf-8", "replace"), "--html")


def _show(out: Output, found: Comparison, every: bool) -> None:
    from holdfast.registry.comparison.page import interval, number, percent

    first, second = (f"{side.version.version}" for side in (found.a, found.b))
    out.table(
        f"{found.name}: version {first} (A) and version {second} (B)",
        ["", "A", "B"],
        [[key, *values] for key, *values in zip(_ABOUT, _about(found.a), _about(found.b), strict=True) if any(values)],
    )
    rows = [
        [
            row.name,
            number(row.a),
            number(row.b),
            "" if row.difference is None else f"{row.difference:+.6g}",
            percent(row.relative),
            interval(row.paired) or row.note,
        ]
        for row in found.metrics
    ]
    out.table("Metrics", ["metric", "A", "B", "B - A", "relative", "interval"], rows) if rows else None
    for title, texts in _parts(found):
        _show_texts(out, title, texts, every)


def _show_texts(out: Output, title: str, rows: Sequence[TextRow], every: bool) -> None:
    shown = [[row.name, _text(row.a), _text(row.b)] for row in rows if every or row.differs]
    if shown:
        out.table(title, ["", "A", "B"], shown)
    elif rows:
        out.line(f"{title}: the same")


def _text(value: str | None) -> str:
    return "–" if value is None else value


_ABOUT = ("stage", "aliases", "run", "loads as", "files", "bytes", "checksum")


def _about(side: Side) -> list[str]:
    version = side.version
    return [
        "" if version.stage is None else version.stage.value,
        ", ".join(version.aliases),
        version.run_id,
        ", ".join(side.flavors),
        f"{len(side.files):,}" if side.files else "",
        f"{side.size_bytes:,}" if side.files else "",
        side.checksum,
    ]


def _parts(found: Comparison) -> list[tuple[str, Sequence[TextRow]]]:
    return [
        ("Params", found.params),
        ("Tags", found.tags),
        ("Signature", found.signature),
        ("Data, code and environment", found.lineage),
        ("Files (bytes)", found.files),
    ]


def _document(found: Comparison, every: bool) -> dict[str, Any]:
    parts = ("params", "tags", "signature", "lineage", "files")
    return {
        "name": found.name,
        "a": _side(found.a),
        "b": _side(found.b),
        "metrics": [asdict(row) for row in found.metrics],
        **{
            part: [asdict(row) | {"differs": row.differs} for row in getattr(found, part) if every or row.differs]
            for part in parts
        },
        "plots": [plot.path for plot in found.plots],
        "problems": list(found.problems),
    }


def _side(side: Side) -> dict[str, Any]:
    version = side.version
    return {
        "version": version.version,
        "stage": None if version.stage is None else version.stage.value,
        "aliases": list(version.aliases),
        "run_id": version.run_id,
        "checksum": side.checksum or None,
        "flavors": list(side.flavors),
        "files": len(side.files),
        "bytes": side.size_bytes,
    }


def add_to(app: typer.Typer) -> None:
    """Give `holdfast models` this command."""
    app.command("compare")(compare)
