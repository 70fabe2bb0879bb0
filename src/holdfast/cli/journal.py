"""`holdfast journal`: what is in the journal, and what to do with what the server refuses."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holdfast.cli.journal_tables import Section
    from holdfast.cli.output import Output
    from holdfast.core.redaction import Redactor
    from holdfast.delivery.places import FoundRun, Places
    from holdfast.settings import Settings

app = typer.Typer(help="Look at what is still to be delivered, and deal with what is refused.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
RunArgument = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="The run's id on the server, or its local one; all if not given.")
]
PathOption = Annotated[
    Path | None, typer.Option("--path", exists=True, help="A journal, or a folder above it; the project's if none.")
]


@app.command("status")
def status(
    run_id: RunArgument = None,
    path: PathOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every second until Ctrl-C.")] = False,
    every: Annotated[bool, typer.Option("--all", "-a", help="List all delivered runs too.")] = False,
    json: Json = False,
) -> None:
    """Show what is still to be delivered, by run, and who delivers it; no server is asked.

    With RUN, also what was set aside, and why.

    Example: holdfast journal status --json | jq '.journals[].pending.records'
    """
    from holdfast.cli.journal_tables import sections
    from holdfast.cli.output import get_output
    from holdfast.errors import InvalidInputError
    from holdfast.settings import load_settings

    if watch and json:
        raise InvalidInputError("--watch is for people and --json for programs.", "leave one of them out")
    settings = load_settings()
    places = _places(settings, path)
    out = get_output(json)
    if json:
        out.data(_document(settings, places, run_id))
    elif watch:
        _watch(settings, path, run_id, every)
    else:
        for section in sections(settings, places, run_id, every):
            _show(out, section)


def _places(settings: Settings, path: Path | None) -> Places:
    from holdfast.delivery.places import places_of

    return places_of(settings, path)


def _show(out: Output, section: Section) -> None:
    for line in section.lines:
        out.line(line)
    if section.rows:
        out.table("", section.columns, section.rows)
    for hint in section.hints:
        out.hint(hint)


def _watch(settings: Settings, path: Path | None, run_id: str | None, every: bool) -> None:
    from rich.live import Live

    from holdfast.cli.journal_tables import rendered, sections

    def drawn() -> Any:
        return rendered(sections(settings, _places(settings, path), run_id, every))

    try:
        with Live(drawn(), auto_refresh=False) as live:
            while True:
                time.sleep(1.0)
                live.update(drawn(), refresh=True)
    except KeyboardInterrupt:
        return


def _document(settings: Settings, places: Places, run_id: str | None) -> Any:
    from holdfast.core.redaction import Redactor
    from holdfast.delivery.places import find_run
    from holdfast.delivery.status import as_document, status_of

    wanted = run_id or places.run_id
    runs = None if wanted is None else find_run(places.all, wanted)
    found = []
    for journal in places.journals if runs is None else {run.journal: None for run in runs}:
        only = None if runs is None else {run.run_id for run in runs if run.journal == journal}
        found.append(as_document(status_of(journal, only), settings.journal_limit))
    others = [{"path": str(journal.root), "destination": journal.destination} for journal in places.others]
    return redacted({"journals": found, "others": others}, Redactor(settings.secrets()))


# -- what was set aside -------------------------------------------------------------------


@app.command("retry")
def retry(
    run_id: RunArgument = None,
    path: PathOption = None,
    to: Annotated[str | None, typer.Option("--to", help="The tracking store; the configured one if not given.")] = None,
    json: Json = False,
) -> None:
    """Send again what was set aside; a run that was refused as a whole is delivered again.

    Exit codes: 0 nothing is set aside any more, 1 something is still refused, 3 the server cannot be reached.

    Example: mlflow runs restore --run-id ID && holdfast journal retry ID
    """
    from holdfast.cli.output import get_output
    from holdfast.core.redaction import Redactor
    from holdfast.delivery import mending
    from holdfast.delivery.asking import asking
    from holdfast.delivery.places import targets_of
    from holdfast.settings import load_settings

    settings = load_settings(tracking_uri=to)
    redact = Redactor(settings.secrets())
    done = []
    for run in _refused(_places(settings, path), run_id):
        for target in targets_of(settings, [run.journal], is_chosen=to is not None):
            with asking(target) as sender:
                done.append(mending.retry(run, sender))
    out = get_output(json)
    if json:
        out.data(redacted([{**vars(item), "left": [vars(left) for left in item.left]} for item in done], redact))
    for item in done if not json else []:
        more = f"; {item.metrics + item.records:,} records delivered" if item.metrics + item.records else ""
        is_one = "file is" if item.files == 1 else "files are"
        more += f"; {item.files:,} {is_one} to be uploaded again (holdfast sync)" if item.files else ""
        more += f"; {_counted(item.removals, 'deletion')} to be tried again (holdfast sync)" if item.removals else ""
        out.line(f"run {item.run_id}: {item.stored} stored, {len(item.left)} still set aside{more}")
        for left in item.left[:20]:
            out.warn(redact(left.describe()))
    if not (done or json):
        out.line("Nothing is set aside.")
    raise typer.Exit(1 if any(item.left for item in done) else 0)


@app.command("export")
def export(
    run_id: RunArgument = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="The file to write; stdout if not given.")
    ] = None,
    path: PathOption = None,
) -> None:
    """Write what is set aside as JSON lines: run_id, server_id, what, content, reason, noted_ms.

    Of a run that is refused as a whole, what was never sent is written too.

    Example: holdfast journal export -o refused.jsonl
    """
    import json as encoder

    from holdfast.cli.output import get_output
    from holdfast.core.redaction import Redactor
    from holdfast.delivery.mending import exported
    from holdfast.settings import load_settings

    settings = load_settings()
    redact = Redactor(settings.secrets())
    runs = _refused(_places(settings, path), run_id)
    count = 0
    with output.open("w", encoding="utf-8") if output else _Unclosed() as file:
        for run in runs:
            for line in exported(run):
                file.write(encoder.dumps(redacted(line, redact), ensure_ascii=False) + "\n")
                count += 1
    if output:
        get_output().hint(f"{count:,} lines written to {output}")


class _Unclosed:
    """Standard output, left open."""

    def __enter__(self) -> Any:
        return sys.stdout

    def __exit__(self, *_: object) -> None:
        return None


@app.command("drop")
def drop(
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="The run's id on the server, or its local one.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Of every run.")] = False,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Files that were handed over and are still to be uploaded, instead.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, and delete nothing.")] = False,
    path: PathOption = None,
) -> None:
    """Delete what is set aside, or still waits.

    It is shown first. A run that is refused as a whole leaves the journal with all that was never sent to it, its files
    too.

    Example: holdfast journal export -o refused.jsonl && holdfast journal drop --all --yes
    """
    from holdfast.cli.asking import is_sure
    from holdfast.cli.output import get_output
    from holdfast.core.redaction import Redactor
    from holdfast.delivery.mending import drop as drop_run
    from holdfast.delivery.mending import drop_waiting
    from holdfast.errors import InvalidInputError
    from holdfast.settings import load_settings

    if (run_id is None) != every:
        raise InvalidInputError("Name one run, or give --all.", "holdfast journal drop RUN")
    settings = load_settings()
    choose, show, delete = (
        (_with_waiting, _show_waiting, drop_waiting) if waiting else (_refused, _show_refused, drop_run)
    )
    runs = choose(_places(settings, path), run_id)
    out = get_output()
    for run in runs:
        show(out, run, Redactor(settings.secrets()))
    if not runs:
        out.line("No files wait to be uploaded." if waiting else "Nothing is set aside.")
    elif dry_run:
        out.hint("nothing was deleted (--dry-run)")
    elif is_sure("Delete this for good?", yes, "Nothing was deleted"):
        out.line(f"{_counted(sum(delete(run) for run in runs), 'file' if waiting else 'thing')} deleted.")


def _show_refused(out: Output, run: FoundRun, redact: Redactor) -> None:
    from holdfast.delivery.mending import asides_of, is_blocked
    from holdfast.delivery.status import status_of

    items = asides_of(run)
    out.line(f"run {run.run_id}:")
    for item in items:
        out.line(f"  {redact(item.describe())}")
    if is_blocked(items):
        (found,) = status_of(run.journal, {run.run_id}).runs
        files = f" and {_counted(found.files_waiting, 'file')}" if found.files_waiting else ""
        out.line(f"  the run itself, with {found.pending.records:,} records{files} that were never delivered")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _show_waiting(out: Output, run: FoundRun, redact: Redactor) -> None:
    from holdfast.delivery.mending import waiting_parcels

    out.line(f"run {run.run_id}, never uploaded:")
    for parcel in waiting_parcels(run):
        why = f": {redact(trouble.reason)}" if (trouble := parcel.trouble) is not None else ""
        for file in parcel.left.files:
            out.line(f"  {file.path} ({file.size_bytes:,} bytes){why}")
        if parcel.left.removes:
            out.line(f"  delete {_counted(len(parcel.left.removes), 'file')}: {', '.join(parcel.left.removes)}{why}")


def _refused(places: Places, run_id: str | None) -> list[FoundRun]:
    """Return the runs of which something is set aside.

    Raises:
        NotFoundError: No journal knows the run.
    """
    from holdfast.delivery.mending import asides_of

    return [run for run in _runs(places, run_id) if asides_of(run)]


def _with_waiting(places: Places, run_id: str | None) -> list[FoundRun]:
    """Return the runs of which files that were handed over wait.

    Raises:
        NotFoundError: No journal knows the run.
    """
    from holdfast.delivery.mending import waiting_parcels

    return [run for run in _runs(places, run_id) if waiting_parcels(run)]


def _runs(places: Places, run_id: str | None) -> list[FoundRun]:
    from holdfast.delivery.places import FoundRun, find_run

    wanted = run_id or places.run_id
    if wanted is not None:
        return find_run(places.all, wanted)
    return [FoundRun(journal, name) for journal in places.journals for name in journal.run_ids()]


def redacted(value: Any, redact: Redactor) -> Any:
    """Return plain data with the secrets in its texts hidden."""
    if isinstance(value, dict):
        return {key: redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, redact) for item in value]
    return redact(value) if isinstance(value, str) else value
