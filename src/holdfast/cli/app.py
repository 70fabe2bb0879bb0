"""The command's root: mounts the nouns and turns errors into one clear line and an exit code.

Only typer and the standard library are imported at the top of these files, so that
`holdfast --help` and shell completion stay instant.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 try again later, 130 Ctrl-C,
141 whoever read the output has left.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from holdfast.cli import (
    config,
    demo,
    doctor,
    export,
    files,
    gc,
    init,
    journal,
    models,
    quickstart,
    runs,
    s3,
    sweep,
    sync,
    up,
    verify,
)

app = typer.Typer(
    name="holdfast",
    help="Makes MLflow hold: runs that end right, AWS keys that stay with their project, models with a history.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.add_typer(config.app, name="config")
app.command("doctor")(doctor.doctor)
app.command("quickstart")(quickstart.quickstart)
app.command("up")(up.up)
app.add_typer(runs.app, name="runs")
app.add_typer(models.app, name="models")
app.add_typer(files.app, name="files")
app.add_typer(s3.app, name="s3")
app.add_typer(gc.app, name="gc")
sweep.add_to(app)
export.add_to(app)
app.add_typer(demo.app, name="demo")
app.command("sync")(sync.sync)
app.command("verify")(verify.verify)
app.add_typer(journal.app, name="journal")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"holdfast {version('holdfast')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Makes MLflow hold: runs that end right, AWS keys that stay with their project, models with a history."""


def main() -> NoReturn:
    """Run the command; the entry point of `holdfast`."""
    from holdfast.cli.pipes import prepare_pipes

    prepare_pipes()
    try:
        _run()
    finally:
        sys.stdout.flush()  # a reader who has left is noticed here, not by the dying interpreter


def _run() -> NoReturn:
    from holdfast.errors import HoldfastError

    try:
        app()
    except HoldfastError as error:
        from holdfast.cli.output import get_output

        get_output().error(error.message, error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        _fail_unexpectedly(error)
    sys.exit(0)


def _fail_unexpectedly(error: Exception) -> NoReturn:
    """Print one line for an error nobody foresaw; the whole traceback with HOLDFAST_DEBUG=1."""
    from holdfast.cli.output import get_output
    from holdfast.core.uris import mask_passwords_in

    if os.environ.get("HOLDFAST_DEBUG"):
        raise error
    text = mask_passwords_in(f"{type(error).__name__}: {error}")
    get_output().error(f"unexpected {text}", "run again with HOLDFAST_DEBUG=1 for the traceback")
    sys.exit(1)
