"""Takes files into the journal where their store cannot be reached, in place of an error."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.artifacts.access import S3Access
from holdfast.errors import ArtifactError
from holdfast.logs import get_logger
from holdfast.plugins.switch import delivery_for, is_server
from holdfast.settings import load_settings

if TYPE_CHECKING:
    from holdfast.delivery.delivery import Delivery

_log = get_logger(__name__)
# A plain call is synchronous; where a journal is there to take the file it does not wait for a store for minutes.
_PATIENCE_S = 10.0
# For so long a store that was missing is not waited for again.
_MISSING_S = 30.0
_RUN = re.compile(r"/([0-9a-f]{32}|local-[0-9a-z-]+)/artifacts(?:/|$)")
_missing: dict[str, float] = {}
_lock = threading.Lock()


class Fallback:
    """Sends files to an artifact root, or hands them over to the journal.

    Args:
        root_uri: The root.
        tracking_uri: The store that its runs are logged to; MLflow's present one if not given.
    """

    def __init__(self, root_uri: str, tracking_uri: str | None) -> None:
        self._root_uri = root_uri
        self._tracking_uri = tracking_uri

    def send(
        self,
        delivery: Delivery,
        sources: Sequence[tuple[Path, str]],
        access: S3Access,
        upload: Callable[[float], None],
    ) -> None:
        """Upload files; where the store cannot be reached, let the uploader do it later.

        Args:
            delivery: The journal that is in force; see `delivery`.
            sources: Each file, and its path below the root.
            access: How S3 is reached.
            upload: Uploads them, trying for so many seconds without progress.

        Raises:
            ArtifactError: The store refused them.
            JournalError: It cannot be reached, and the journal cannot be written to.
        """
        if not self._is_missing():
            try:
                upload(_PATIENCE_S)
            except ArtifactError as error:
                if not error.retryable:
                    raise
                self._note(error)
            else:
                return
        run_id = self._run_id(delivery)
        delivery.hand_over(run_id, sources, self._root_uri, access, load_settings().artifact_root)

    def delivery(self) -> Delivery | None:
        """Return the journal that is in force for the runs of this root, or None."""
        if is_server():
            return None
        if self._tracking_uri is None:
            import mlflow

            return delivery_for(mlflow.get_tracking_uri())
        return delivery_for(self._tracking_uri)

    def _is_missing(self) -> bool:
        with _lock:
            return _missing.get(_place(self._root_uri), 0.0) > time.monotonic()

    def _note(self, error: ArtifactError) -> None:
        with _lock:
            _missing[_place(self._root_uri)] = time.monotonic() + _MISSING_S
        _log.warning("the files are in the journal and are uploaded later", root=self._root_uri, reason=error.message)

    def _run_id(self, delivery: Delivery) -> str:
        """Return the run that the files are listed under: that of the address, else the active one."""
        found = _RUN.search(self._root_uri)
        if found is not None:
            return found[1]
        import mlflow

        run = mlflow.active_run()
        return run.info.run_id if run is not None else next(iter(delivery.writers), "files")


def _place(uri: str) -> str:
    return "/".join(uri.split("/")[:3])
