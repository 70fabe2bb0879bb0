"""`holdfast models download` and `watch`: a version's files here, and what becomes Production."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.registry.serving.lookout import Sighting

NameArgument = Annotated[str, typer.Argument(help="The registered model's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]


def download(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="A number, a stage, an alias (@champion), or `latest`.")],
    into: Annotated[
        Path | None, typer.Option("--into", "-o", help="The folder to put the files into; NAME-VERSION if not given.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Fetch the files even where this machine has them.")
    ] = False,
    json: Json = False,
) -> None:
    """Fetch the files of a version, compared with what was registered.

    Example: holdfast models download game-outcomes Production --into served
    """
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.core.uris import slug
    from holdfast.registry.serving.loading import cache_for, download_version
    from holdfast.registry.serving.resolving import resolve

    project = open_existing()
    cache = cache_for(project, not no_cache)
    found = resolve(project, name, _wanted(version), cache)
    number = found.version.version
    target = into if into is not None else Path(f"{slug(name)}-{number}")
    path = download_version(project, found.version, target, checksum=found.checksum, cache=cache)
    out = get_output(json)
    if json:
        out.data({"name": name, "version": number, "path": str(path), "checksum": found.checksum or None})
        return
    out.line(f"{name} version {number} is in {path}")
    if found.seen_at:
        out.warn(f"the registry does not answer: this is what {version} was at {found.seen_at}")
    if not found.checksum:
        out.hint("no checksum of this version was recorded, so its files were compared with none")


def watch(
    name: NameArgument,
    stage: Annotated[str | None, typer.Option("--stage", help="Staging or Production.")] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="An alias to watch instead of a stage.")] = None,
    interval_s: Annotated[float, typer.Option("--interval", help="Seconds between two looks.")] = 30.0,
    once: Annotated[bool, typer.Option("--once", help="Say which version is there now, and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each change.")] = False,
) -> None:
    """Say which version is in Production (or Staging, or has an alias), and each change of it, until Ctrl-C.

    Exit codes: 0 Ctrl-C, or with --once there is one; with --once: 1 there is none, 3 the registry does not answer.

    Example: holdfast models watch game-outcomes --json | while read change; do ./reload; done
    """
    from holdfast.cli.opening import open_existing
    from holdfast.cli.output import get_output
    from holdfast.registry.serving.lookout import Lookout, followed

    wanted = followed(stage, alias)
    lookout = Lookout(open_existing(), name, wanted, interval_s)
    out = get_output(json)
    try:
        for seen in lookout.changes():
            if once:
                _end_once(out, name, wanted, seen)
                return
            _say(out, name, wanted, seen)
    except KeyboardInterrupt:
        return


def _end_once(out: Output, name: str, wanted: str, seen: Sighting) -> None:
    from holdfast.errors import NotFoundError

    if seen.problem is not None:
        raise seen.problem
    if seen.version is None:
        raise NotFoundError(f"Model {name!r} has no version {wanted!r}.", f"see `holdfast models show {name}`")
    _say(out, name, wanted, seen)


def _say(out: Output, name: str, wanted: str, seen: Sighting) -> None:
    if seen.problem is not None:
        out.warn(f"the registry does not answer, and is asked again: {seen.problem.message}")
    elif out.json:
        # One line each, at once: whoever reads them line by line acts on them.
        sys.stdout.write(json_format.dumps(_change(name, wanted, seen)) + "\n")
        sys.stdout.flush()
    else:
        version = "none" if seen.version is None else f"version {seen.version.version}"
        out.line(f"{_now()} {name} {wanted}: {version}")


def _change(name: str, wanted: str, seen: Sighting) -> dict[str, Any]:
    version = seen.version
    return {
        "at": _now(),
        "name": name,
        "wanted": wanted,
        "version": None if version is None else version.version,
        "run_id": None if version is None else version.run_id,
    }


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _wanted(text: str) -> int | str:
    """Return the number where it is one, a stage as it is spelt, and anything else as it is."""
    from holdfast.core.names import check_version
    from holdfast.core.stages import Stage

    known = {stage.value.lower(): stage.value for stage in Stage}
    return check_version(text) if text.strip().isdecimal() else known.get(text.strip().lower(), text)


def add_to(app: typer.Typer) -> None:
    """Give `holdfast models` these commands."""
    app.command("download")(download)
    app.command("watch")(watch)
