"""`holdfast files`: list, get and put the files of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.project import Project

app = typer.Typer(help="Look at, fetch and store the files of runs, with the project's own keys.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Run = Annotated[str, typer.Argument(help="The run's id, or an artifact URI such as s3://bucket/path.")]


@app.command("list")
def list_files(
    run: Run,
    folder: Annotated[str, typer.Argument(help="A folder among the files; the top if not given.")] = "",
    json: Json = False,
) -> None:
    """List what lies in a folder.

    Example: holdfast files list 0123456789abcdef0123456789abcdef checkpoints
    """
    from holdfast.cli.output import get_output
    from holdfast.errors import NotFoundError

    project, root = _open(run)
    found = project.artifacts.list_files(root, folder)
    out = get_output(json)
    if folder and not found:
        raise NotFoundError(
            f"There is no folder {folder} at {_masked(root)}.", "files that still wait: holdfast journal status"
        )
    if json:
        out.data([item._asdict() for item in found])
        return
    out.line(f"Files at {_masked(root)}")
    rows = [[f"{item.path}/" if item.is_dir else item.path, _size(item.size_bytes)] for item in found]
    out.table("", ["path", "bytes"], rows)
    if not found:
        out.hint("there is no file; those that still wait: holdfast journal status")


@app.command("get")
def get(
    run: Run,
    path: Annotated[str, typer.Argument(help="A file or folder among the files; all of them if not given.")] = "",
    into: Annotated[Path, typer.Option("--into", "-o", help="The folder to fetch to.")] = Path(),
    json: Json = False,
) -> None:
    """Fetch a file, or all files below a folder; each is checked, and stands under its name only when it is whole.

    Example: holdfast files get 0123456789abcdef0123456789abcdef checkpoints/last.ckpt --into restored
    """
    from holdfast.cli.output import get_output

    project, root = _open(run)
    fetched = project.artifacts.download(root, path, into)
    out = get_output(json)
    out.data({"path": str(fetched)}) if json else out.line(f"fetched {fetched}")


@app.command("put")
def put(
    run: Run,
    local: Annotated[Path, typer.Argument(help="A file or a folder of this machine.")],
    to: Annotated[str, typer.Option("--to", help="The folder among the run's files; the top if not given.")] = "",
    json: Json = False,
) -> None:
    """Store a file, or all files below a folder; what is there already with the same content is not sent again.

    Example: holdfast files put 0123456789abcdef0123456789abcdef plots --to plots
    """
    from holdfast.cli.output import get_output

    project, root = _open(run)
    store = project.artifacts.upload_folder if local.is_dir() else project.artifacts.upload_file
    sent = store(local, root, to)
    out = get_output(json)
    if json:
        out.data({"files": sent.files, "sent_bytes": sent.sent_bytes, "unchanged": sent.unchanged})
        return
    same = f", {sent.unchanged} of them unchanged" if sent.unchanged else ""
    files = "1 file is" if sent.files == 1 else f"{sent.files} files are"
    out.line(f"{files} at {_masked(root)}{same}; {sent.sent_bytes:,} bytes were sent")


def _open(run: str) -> tuple[Project, str]:
    """Return the project, and where the files are; an address needs no tracking store."""
    from holdfast.cli.opening import open_existing
    from holdfast.core.uris import scheme_of
    from holdfast.project import open_project

    if scheme_of(run):
        return open_project(), run
    project = open_existing()
    return project, project.runs.get_run(run).artifact_uri


def _masked(uri: str) -> str:
    from holdfast.core.uris import mask_uri

    return mask_uri(uri)


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes:,}"
