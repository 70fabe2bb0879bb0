"""A real MLflow server for tests: up and answering, crashed, back on the same port."""

from __future__ import annotations

from holdfast.server import MlflowServer, ServerOptions
from holdfast.server.service import Service


class LocalMlflowServer(Service):
    """MLflow's tracking server on a free loopback port.

        with LocalMlflowServer(ServerOptions(f"sqlite:///{tmp_path}/mlflow.db", port=0)) as server:
            mlflow.set_tracking_uri(server.url)

    Args:
        options: What it is started with; port 0 finds a free port once and keeps it.
        timeout_s: How long each start may take.
    """

    def __init__(self, options: ServerOptions, timeout_s: float = 120.0) -> None:
        self._server = MlflowServer(options)
        self._timeout_s = timeout_s

    @property
    def url(self) -> str:
        """Tracking URI; the same after every restart."""
        return self._server.url

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self._server.is_running

    def start(self) -> None:
        """Start it; it answers queries when this returns.

        Raises:
            ServerError: It did not come up; nothing of it is left running.
        """
        self._server.start()
        try:
            self._server.wait_healthy(self._timeout_s)
        except BaseException:
            self._server.kill()
            raise

    def stop(self) -> None:
        """End it in good order; requests under way are answered."""
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL it with all its workers, in the middle of whatever they do."""
        self._server.kill()

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port with the same data."""
        self.stop()
        self.start()

    def log_tail(self, count: int = 15) -> str:
        """Return the last lines of its output, its secrets hidden."""
        return self._server.log_tail(count)
