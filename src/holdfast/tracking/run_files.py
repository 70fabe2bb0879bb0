"""Files of a run: stored at once, or handed over to be uploaded in the background."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from holdfast.artifacts.store import is_local
from holdfast.artifacts.transfer import Item
from holdfast.core.uris import file_uri
from holdfast.delivery import identity
from holdfast.delivery.delivery import Delivery
from holdfast.errors import DeliveryError, InvalidInputError
from holdfast.project import Project
from holdfast.tracking.open_run import OpenRun

# Up to here, a copy into a folder of this machine is as quick as handing over.
_SMALL_BYTES = 8 << 20
_POLL_S = 0.05


def log_files(project: Project, run: OpenRun, sources: Sequence[tuple[Path, str]], wait: bool | None) -> None:
    """Store files with a run.

    Args:
        project: Whose keys are used.
        run: The run.
        sources: Each file, and its path among the run's artifacts.
        wait: Whether they are there when this returns; None hands over what would keep training waiting.

    Raises:
        InvalidInputError: `wait=False` where there is no journal.
        ArtifactError: The store refused one, or cannot be reached.
        JournalError: They cannot be taken into the journal.
        DeliveryError: With `wait`, the run itself is not on the server yet; they are in the journal.
    """
    delivery = project.delivery
    if delivery is None:
        if wait is False:
            raise InvalidInputError(
                "Without a journal a file cannot be stored in the background.",
                "leave wait out, or set HOLDFAST_DELIVERY=journal",
            )
        _store(project, run, sources)
        return
    is_begun_offline = identity.is_local(run.run_id)
    at_once = bool(wait) if wait is not None else is_local(run.artifact_uri) and _size_bytes(sources) <= _SMALL_BYTES
    if at_once and not is_begun_offline:
        _wait_for_earlier(delivery, run.run_id, {name for _, name in sources})
        _store(project, run, sources)
        return
    root = None if is_begun_offline else run.artifact_uri
    delivery.hand_over(run.run_id, sources, root, project.artifacts.access, project.settings.artifact_root)
    if wait:
        project.settle()


def replace_files(project: Project, run: OpenRun, sources: Sequence[tuple[Path, str]], removes: Sequence[str]) -> None:
    """Store files with a run and delete others then, without keeping training waiting for a store.

    What was handed over earlier and still waits is not sent where this stores or deletes all of it. In a folder of
    this machine, small files for which nothing waits are stored and deleted at once; without a journal all are.

    Args:
        project: Whose keys are used.
        run: The run.
        sources: Each file, and its path among the run's artifacts.
        removes: The paths to delete; what is not there is fine.

    Raises:
        ArtifactError: The store refused one, or cannot be reached, where it is asked at once.
        JournalError: They cannot be taken into the journal; nothing was.
    """
    delivery = project.delivery
    if delivery is None or _may_be_done_at_once(delivery, run, sources, removes):
        if sources:
            _store(project, run, sources)
        for path in removes:
            project.artifacts.delete(run.artifact_uri, path)
        return
    root = None if identity.is_local(run.run_id) else run.artifact_uri
    access, artifact_root = project.artifacts.access, project.settings.artifact_root
    delivery.hand_over(run.run_id, sources, root, access, artifact_root, removes, supersedes=True)


def _may_be_done_at_once(
    delivery: Delivery, run: OpenRun, sources: Sequence[tuple[Path, str]], removes: Sequence[str]
) -> bool:
    if identity.is_local(run.run_id) or not is_local(run.artifact_uri) or _size_bytes(sources) > _SMALL_BYTES:
        return False
    return _waiting(delivery, run.run_id).isdisjoint({*(name for _, name in sources), *removes})


def _wait_for_earlier(delivery: Delivery, run_id: str, names: set[str]) -> None:
    """Wait for what was handed over under the same names, which must not come after what is stored now.

    Raises:
        DeliveryError: It is not stored within HOLDFAST_READ_WAIT.
    """
    deadline_s = time.monotonic() + delivery.target.read_wait_s
    while earlier := _waiting(delivery, run_id) & names:
        if time.monotonic() > deadline_s:
            raise DeliveryError(
                f"An earlier {min(earlier)} of run {run_id} was handed over and is not stored yet; this one would come "
                "before it.",
                "leave wait out, so that this one follows it; see holdfast journal status",
                retryable=True,
            )
        time.sleep(_POLL_S)


def _waiting(delivery: Delivery, run_id: str) -> set[str]:
    parcels = delivery.settling.parcels_of([run_id])
    return {path for parcel in parcels if not parcel.is_refused for path in parcel.left.paths}


def _store(project: Project, run: OpenRun, sources: Sequence[tuple[Path, str]]) -> None:
    project.artifacts.upload_shown([Item(local, file_uri(run.artifact_uri, name)) for local, name in sources])


def _size_bytes(sources: Sequence[tuple[Path, str]]) -> int:
    return sum(local.stat().st_size for local, _ in sources)
