"""`holdfast up`: MLflow's server and page on the configured stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.cli.output import Output
    from holdfast.server import MlflowServer


def up(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 takes a free one; else the tracking URI's, or 5000.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer requests.")] = 1,
    direct: Annotated[
        bool, typer.Option("--direct-artifacts", help="Clients write files themselves, with keys of their own.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option("--log", dir_okay=False, help="Append the server's own output to this file.")
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait until it answers.")] = 120,
) -> None:
    """Start MLflow's server and page, wait until it answers, and end it cleanly on Ctrl-C.

    Exits with 1, and the end of the server's log, should the server end by itself.
    MLflow's job executor and telemetry are off. Files go through the server unless --direct-artifacts.
    """
    from holdfast.cli.output import get_output
    from holdfast.core.uris import mask_uri
    from holdfast.server import MlflowServer
    from holdfast.server.plan import plan_server
    from holdfast.settings import load_settings

    out = get_output()
    settings = load_settings()
    for notice in settings.notices:
        out.warn(notice)
    options = plan_server(settings, host, port, workers, not direct, log)
    out.hint(f"starting MLflow on {mask_uri(options.backend_store_uri)} ...")
    with MlflowServer(options) as server:
        server.wait_healthy(timeout_s)
        out.line(f"MLflow is up: {server.url}")
        out.line(f"  runs:  {mask_uri(options.backend_store_uri)}")
        out.line(f"  files: {mask_uri(options.artifacts_destination or options.default_artifact_root or '')}")
        out.hint(f"log to it with MLFLOW_TRACKING_URI={server.url}; Ctrl-C ends it")
        _wait(server, out)


def _wait(server: MlflowServer, out: Output) -> None:
    """Wait for Ctrl-C.

    Raises:
        ServerError: The server ended before that.
    """
    try:
        server.wait()
    except KeyboardInterrupt:
        out.hint("stopping ...")
    else:
        raise server.why_ended()
