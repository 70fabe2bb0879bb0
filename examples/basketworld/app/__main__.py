"""`python -m holdfast_examples.basketworld.app`: serve the page until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from collections.abc import Sequence

from holdfast.cli.output import get_output
from holdfast.errors import HoldfastError, InvalidInputError, MissingDependencyError, ServerError
from holdfast.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; return the exit code."""
    options = _parser().parse_args(arguments)
    out = get_output()
    try:
        _serve(options)
    except HoldfastError as error:
        out.error(error.message, error.hint)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m holdfast_examples.basketworld.app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on [127.0.0.1]")
    parser.add_argument("--port", type=int, default=0, help="the port; 0 takes a free one [0]")
    parser.add_argument("--run", help="the run whose policies are offered first, by its id")
    parser.add_argument("--cors", action="append", default=[], metavar="ORIGIN", help="let this site's pages play, too")
    parser.add_argument("--cache-mb", type=int, default=512, help="room for fetched policies [512]")
    return parser


def _serve(options: argparse.Namespace) -> None:
    if options.cache_mb < 1 or not 0 <= options.port < 65_536:
        raise InvalidInputError("--cache-mb or --port is out of range.", "give 1 or more, and a port from 0 to 65535")
    try:
        import uvicorn

        from .server import Options, create_app
    except ImportError as error:
        raise MissingDependencyError(f"{error.name} is not installed.", "pip install 'holdfast[basketworld]'") from None
    app = create_app(
        load_settings(),
        Options(host=options.host, run=options.run, cors=tuple(options.cors), cache_mb=options.cache_mb),
    )
    listening = _listen(options.host, options.port)
    config = uvicorn.Config(
        app, log_level="warning", ws_max_size=16_384, timeout_graceful_shutdown=3, server_header=False
    )
    host = f"[{options.host}]" if ":" in options.host else options.host
    try:
        # uvicorn answers the signal itself, closes everything, and then raises it again for whoever started it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        sys.stdout.write(f"BasketWorld: http://{host}:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return
    finally:
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    """Open the port before anything is printed, so that the address holds."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        raise ServerError(f"{host}:{port} cannot be listened on: {error.strerror}.", "choose another --port") from None
    return listening


if __name__ == "__main__":
    sys.exit(main())
