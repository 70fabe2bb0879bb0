"""What a tracker does for a training that is interrupted and goes on: checkpoints, and the steps that are logged."""

from __future__ import annotations

import os
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from holdfast.artifacts.store import check_path, file_sources
from holdfast.core.names import check_file_names
from holdfast.errors import InvalidInputError
from holdfast.project import Project
from holdfast.tracking.open_run import OpenRun
from holdfast.tracking.run_files import replace_files
from holdfast.tracking.steps import logged_steps


class Checkpoints(ABC):
    """The methods of `MLflowTracker` that keep a run's checkpoints, and say how far its metrics go."""

    _project: Project

    @abstractmethod
    def _open_run(self) -> OpenRun:
        """Return the run that this thread logs to."""

    def log_checkpoint(
        self,
        local_path: str | os.PathLike[str],
        artifact_path: str = "checkpoints",
        *,
        name: str | None = None,
        drop: Sequence[str] = (),
    ) -> None:
        """Store a checkpoint with the open run in the background, and delete those that it replaces.

        With the journal (the default) it is handed over as it is now: when this returns, the file may be overwritten or
        deleted, and neither a killed process nor a missing store loses it. What of `drop` is in the store is deleted
        once this one is stored, never before. Earlier checkpoints that are still to be uploaded, and are overwritten or
        dropped by this one, are not uploaded any more: in a long outage the journal holds only what is wanted.

        A store that lets nobody delete keeps what was dropped: the checkpoint is stored all the same, and the
        deletion is set aside with its reason (`holdfast journal status`).

        Args:
            local_path: The file.
            artifact_path: The folder among the run's artifacts; an empty text for the top.
            name: What it is called there; its own name if not given.
            drop: The names of checkpoints in `artifact_path` that are not wanted any more; one that is not there is
                fine.

        Raises:
            InvalidInputError: There is no such file, or says which names lead out of the folder.
            RunStateError: No run is open, or this thread began none and several are.
            ArtifactError: The store refused it, where it is asked at once: without a journal, or in a folder of this
                machine.
            JournalError: It cannot be taken into the journal.
        """
        ((source, own_path),) = file_sources(Path(local_path), artifact_path)
        stored = posixpath.basename(own_path) if name is None else name
        removes = _below(artifact_path, _checked(drop, stored))
        (path,) = _below(artifact_path, [stored])
        replace_files(self._project, self._open_run(), [(source, path)], removes)

    def drop_checkpoints(self, names: Sequence[str], artifact_path: str = "checkpoints") -> None:
        """Delete checkpoints of the open run from its artifact store, once all that was handed over before is stored.

        Those that are still to be uploaded are not uploaded any more.

        Args:
            names: Their names in `artifact_path`; one that is not there is fine.
            artifact_path: The folder among the run's artifacts; an empty text for the top.

        Raises:
            InvalidInputError: Says which names lead out of the folder.
            RunStateError: No run is open, or this thread began none and several are.
            ArtifactError: The store refused it, where it is asked at once: without a journal, or in a folder of this
                machine.
            JournalError: It cannot be taken into the journal.
        """
        removes = _below(artifact_path, _checked(names))
        if removes:
            replace_files(self._project, self._open_run(), [], removes)

    def logged_steps(self, run_id: str) -> dict[str, int]:
        """Return the last step of each metric of a run, after all that this machine's journal holds of it is delivered.

        That is where a training goes on that was killed: also what the killed process had logged and nobody had
        delivered is on the server then.

        Args:
            run_id: The run, on the server or a local one.

        Returns:
            Metric → the greatest step it was logged with.

        Raises:
            DeliveryError: Not all of it was delivered within HOLDFAST_READ_WAIT; try again later.
            BackendUnavailableError: The server cannot be asked; try again later.
            NotFoundError: There is no such run.
        """
        return logged_steps(self._project, run_id)


def _checked(names: Sequence[str], stored: str | None = None) -> list[str]:
    """Return the names to drop, each once.

    Raises:
        InvalidInputError: Names every one that is no plain name, or that is the one to be stored.
    """
    if isinstance(names, str):
        raise InvalidInputError(f"{names!r} is one name, not a list of names.", f"write [{names!r}]")
    check_file_names([*names, *([] if stored is None else [stored])])
    if stored in names:
        raise InvalidInputError(f"The checkpoint {stored!r} is to be stored and dropped.", "leave it out of drop")
    return list(dict.fromkeys(names))


def _below(folder: str, names: Sequence[str]) -> list[str]:
    return [posixpath.join(check_path(folder), name) for name in names]
