"""MLflow's tracking server as a child process: started, asked whether it works, and ended whole.

Passwords travel in the child's environment, never in its arguments, which every user of the
machine can read. The environment of this process is only read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from holdfast.errors import ServerError
from holdfast.server.diagnosis import diagnose, last_lines
from holdfast.server.health import why_not_healthy
from holdfast.server.options import ServerOptions, redactor_for, server_arguments, server_environment
from holdfast.server.ports import check_port, free_port, url_of
from holdfast.server.preflight import check_backend, check_dependencies
from holdfast.server.processes import ProcessGroup
from holdfast.server.service import Service

__all__ = ["MlflowServer", "ServerOptions"]
_POLL_S = 0.2
_QUERY_TIMEOUT_S = 5.0


class MlflowServer(Service):
    """A tracking server of this machine.

    As a context manager it starts on entry and stops on exit, also on Ctrl-C; a second Ctrl-C
    kills it. Should this process die without that, the server stops by itself.

        with MlflowServer(ServerOptions("sqlite:///mlflow.db")) as server:
            server.wait_healthy()
            print(server.url)
            server.wait()

    Args:
        options: What it is started with.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._redact = redactor_for(options)
        self._port = options.port
        self._group: ProcessGroup | None = None
        self._has_answered = False

    def __repr__(self) -> str:
        return f"MlflowServer({self._options!r}, running={self.is_running})"

    @property
    def url(self) -> str:
        """Base URL by which this machine reaches it; a tracking URI. With port 0 known after `start`."""
        return url_of(self._options.host, self._port)

    @property
    def port(self) -> int:
        """Port it listens on; with port 0 known after `start`."""
        return self._port

    @property
    def pid(self) -> int | None:
        """Leader and id of its process group, or None before `start`."""
        return self._group.pid if self._group else None

    @property
    def is_running(self) -> bool:
        """Whether its process runs; it may not answer yet."""
        return self._group is not None and self._group.pid is not None and self._group.poll() is None

    def start(self) -> None:
        """Start the server; it does not answer yet when this returns.

        After `stop` or `kill` it may be started again, on the same port.

        Raises:
            MissingDependencyError: MLflow is not installed in full.
            ServerError: It runs already, its port is taken, or its database cannot be opened.
        """
        if self.is_running:
            raise ServerError(f"The server at {self.url} is running already.", "call stop() first")
        check_dependencies()
        host = self._options.host
        if self._port == 0:
            self._port = free_port(host)
        else:
            check_port(host, self._port)
        env = server_environment(self._options)
        check_backend(self._options.backend_store_uri, env, self._redact)
        command = [sys.executable, "-P", "-m", "mlflow", "server", *server_arguments(self._options, self._port)]
        self._make_log_folder()
        self._group = ProcessGroup(command, env, self._options.log_path)
        self._has_answered = False
        self._group.start()

    def _make_log_folder(self) -> None:
        path = self._options.log_path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServerError(f"The folder of the log {path} cannot be made: {error.strerror}.") from None

    def wait_healthy(self, timeout_s: float = 120.0, on_wait: Callable[[float], None] | None = None) -> None:
        """Wait until the server answers a query to its database.

        A first start makes the database's tables, which may take half a minute.

        Args:
            timeout_s: How long to wait; the server runs on when the time is over.
            on_wait: Called about once a second with the seconds waited so far.

        Raises:
            ServerError: It ended, was never started, or did not answer in time; with the end of its log.
        """
        start, told_s = time.monotonic(), 0.0
        while True:
            waited_s = time.monotonic() - start
            if not self.is_running:
                raise self.why_ended()
            reason = why_not_healthy(self.url, min(_QUERY_TIMEOUT_S, max(timeout_s - waited_s, _POLL_S)))
            if not reason:
                self._has_answered = True
                return
            if waited_s >= timeout_s:
                raise self._why_late(timeout_s, reason)
            if on_wait is not None and waited_s - told_s >= 1.0:
                told_s = waited_s
                on_wait(waited_s)
            self._pause()

    def _pause(self) -> None:
        if self._group is not None:
            self._group.wait(_POLL_S)  # over at once when the server ends

    def wait(self) -> int:
        """Wait until the server ends by itself; return its exit code (128 + N for signal N).

        Raises:
            ServerError: It was never started.
        """
        code = self._group.wait() if self._group else None
        if code is None:
            raise ServerError("The server was never started.", "call start() first")
        return code

    def stop(self, grace_s: float = 10.0) -> None:
        """End the server and all its workers: SIGTERM, `grace_s` seconds of patience, then SIGKILL.

        Nothing of it is left when this returns. May be called at any time, also twice.
        """
        if self._group is not None:
            self._group.stop(grace_s)

    def kill(self) -> None:
        """SIGKILL the server and all its workers, as a crash of the machine would."""
        if self._group is not None:
            self._group.kill()

    def log_tail(self, count: int = 15) -> str:
        """Return the last lines of the server's output, its secrets hidden."""
        return self._redact(last_lines(self._group.output() if self._group else "", count))

    def why_ended(self) -> ServerError:
        """Return the error for a server that ended by itself: the cause where it is known, and the end of its log."""
        if self._group is None or self._group.pid is None:
            return ServerError("The server was never started.", "call start() first")
        # Once it has worked, an old line of its log need not be the cause of its end.
        known = None if self._has_answered else diagnose(self._group.output(), self._options.backend_store_uri)
        tail = self.log_tail(5 if known else 15)
        message = known.message if known else f"The MLflow server ended by itself: {_manner(self._group.poll())}."
        hint = known.hint if known else "the reason is in the lines above"
        kept = f" (all of it: {self._options.log_path})" if self._options.log_path else ""
        return ServerError(f"{message}\nIts last lines{kept}:\n{tail}", hint, bool(known and known.retryable))

    def _why_late(self, timeout_s: float, reason: str) -> ServerError:
        return ServerError(
            f"The MLflow server at {self.url} did not work within {timeout_s:g} s: {self._redact(reason)}\n"
            f"Its last lines:\n{self.log_tail()}",
            "wait longer with a larger time-out: a first start makes the database's tables",
            retryable=True,
        )


def _manner(code: int | None) -> str:
    signal_number = -code if code is not None and code < 0 else (code or 0) - 128
    return f"it was killed by signal {signal_number}" if signal_number > 0 else f"exit code {code}"
