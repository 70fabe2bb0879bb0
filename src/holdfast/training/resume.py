"""Which run a training goes on with, and from what."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.artifacts.transfer import StoredFile
from holdfast.backend.entities import Run
from holdfast.errors import BackendUnavailableError, HoldfastError, NotFoundError, RunStateError
from holdfast.journal.locks import FileLock
from holdfast.lifecycle import status_for
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.training.lightning import checkpoint_file
from holdfast.training.lightning.checkpoint_file import NAME, NOTE_NAME, Saved

_log = get_logger(__name__)
MODULE_TAG = "holdfast.training.module"
FOLDER = "checkpoints"
_POINTER = "run.json"


# -- which run ------------------------------------------------------------------------


def find_run(project: Project, experiment_id: str, output_dir: Path, resume: str | None) -> str | None:
    """Return the run that a training is to go on with, or None to begin one.

    Args:
        project: Where runs are.
        experiment_id: The experiment.
        output_dir: The training's folder.
        resume: A run's id; `last`, the latest of this folder, else of the experiment; `auto`, the latest of this folder
            where it did not finish, else none; None for none.

    Raises:
        NotFoundError: There is no such run, or for `last` none at all.
        BackendUnavailableError: The server has to be asked, and does not answer.
    """
    if resume is None:
        return None
    if resume not in ("last", "auto"):
        _check_reachable(project)
        return project.runs.get_run(resume).run_id
    latest = pointer(output_dir)
    if resume == "auto":
        return None if latest.get("status") == "FINISHED" else latest.get("run_id")
    if "run_id" not in latest:
        _check_reachable(project)
    found = latest.get("run_id") or _latest_of(project, experiment_id)
    if found is None:
        raise NotFoundError(
            f"There is no run to go on with: neither in {output_dir} nor in experiment {experiment_id}.",
            "leave --resume out, or say --resume auto",
        )
    return found


def _check_reachable(project: Project) -> None:
    """Say at once that the server is away; a client of MLflow's would try for minutes."""
    delivery = project.delivery
    if delivery is not None and not delivery.is_reachable():
        raise BackendUnavailableError(
            f"The run to go on with cannot be looked up: {delivery.target.destination} does not answer.",
            "see `holdfast doctor`; try again when it is back",
            retryable=True,
        )


def _latest_of(project: Project, experiment_id: str) -> str | None:
    found = project.runs.search_runs(
        [experiment_id], f"tags.`{MODULE_TAG}` != ''", ["attributes.start_time DESC"], limit=1
    )
    return found[0].run_id if found else None


def pointer(output_dir: Path) -> dict[str, str]:
    """Return the `run_id` and the `status` of the latest run of a folder; empty where there was none."""
    try:
        found = json.loads((output_dir / _POINTER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("it cannot be read which run is the latest", file=str(output_dir / _POINTER), reason=str(error))
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("run_id"), str) else {}


def point_to(output_dir: Path, run_id: str, status: str) -> None:
    """Note the latest run of a folder."""
    made = output_dir / f"{_POINTER}.{os.getpid()}.new"
    made.write_text(json.dumps({"run_id": run_id, "status": status}), encoding="utf-8")
    made.replace(output_dir / _POINTER)


@contextmanager
def noted(output_dir: Path, run_id: str, lenient: bool = False) -> Iterator[None]:
    """Note a run as the latest of a folder that exists, and how it ended, where `--resume` looks.

    Args:
        output_dir: The folder of all runs' files.
        run_id: The run.
        lenient: Whether an end that cannot be noted, as on a full disk, raises nothing. The run stays RUNNING there,
            which `--resume` goes on with, too.

    Raises:
        OSError: The note cannot be written.
    """
    point_to(output_dir, run_id, "RUNNING")
    status = "FINISHED"
    try:
        yield
    except BaseException as error:
        status = status_for(type(error), error)
        raise
    finally:
        with contextlib.suppress(OSError) if lenient else contextlib.nullcontext():
            point_to(output_dir, run_id, status)


@contextmanager
def owned(folder: Path, run_id: str) -> Iterator[None]:
    """Hold a run's folder, so that no other process of this machine trains the same run.

    Raises:
        RunStateError: Another one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "training.lock")
    if not lock.acquire():
        raise RunStateError(
            f"Run {run_id} is being trained by another process, in {folder}.",
            "wait for it, end it, or leave --resume out to begin another run",
        )
    try:
        for left in folder.glob("last.*.new"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


# -- from what ------------------------------------------------------------------------


def find_checkpoint(project: Project, run: Run, folder: Path) -> Saved | None:
    """Return the latest whole checkpoint of a run, here or in its artifact store; None where there is none.

    Raises:
        ArtifactError: None is here, and the store cannot be looked into.
        DeliveryError: None is here, and the one in the journal is not in the store yet.
    """
    here = checkpoint_file.whole(folder, run.run_id)
    if here is None:
        project.settle_files(run.run_id)
    try:
        there = _noted_in_store(project, run)
    except HoldfastError as error:
        if here is None:
            raise
        _log.warning("the checkpoint of this machine is used; the store's was not seen", reason=error.message)
        return here
    if here is not None and (there is None or there.step <= here.step):
        return here
    return here if there is None else fetch(project, run, folder, here)


def _noted_in_store(project: Project, run: Run) -> Saved | None:
    """Return the newest checkpoint that the store may have; None where it has none."""
    names = {Path(file.path).name for file in stored(project, run)}
    if NAME not in names:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        if NOTE_NAME in names:
            project.artifacts.download(run.artifact_uri, f"{FOLDER}/{NOTE_NAME}", Path(scratch))
        found = [one for one in _notes_below(Path(scratch)) if one.run_id == run.run_id]
    return found[0] if found else Saved(run.run_id, 0, 0, 0, "")


def stored(project: Project, run: Run) -> list[StoredFile]:
    """Return the files of a run's folder of checkpoints in the artifact store."""
    return [file for file in project.artifacts.list_files(run.artifact_uri, FOLDER) if not file.is_dir]


def _notes_below(scratch: Path) -> list[Saved]:
    return next((checkpoint_file.notes(path.parent) for path in scratch.rglob(NOTE_NAME)), [])


def fetch(project: Project, run: Run, folder: Path, here: Saved | None = None) -> Saved | None:
    """Bring the store's latest checkpoint here, unless the one that is here is newer or the store's is damaged.

    Returns:
        What lies here then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        got = project.artifacts.download(run.artifact_uri, f"{FOLDER}/{NAME}", Path(scratch))
        with contextlib.suppress(HoldfastError):
            project.artifacts.download(run.artifact_uri, f"{FOLDER}/{NOTE_NAME}", Path(scratch))
        saved = _recognised(got, _notes_below(Path(scratch)), run.run_id)
        if saved is None:
            _log.warning("the checkpoint in the artifact store is damaged, or of another run", run=run.run_id)
            return here
        if here is not None and here.step >= saved.step:
            return here
        checkpoint_file.put(folder, saved, *([here] if here else []))
        got.replace(folder / NAME)
    _log.info("the checkpoint came from the artifact store", run=run.run_id, epoch=saved.epoch, step=saved.step)
    return saved


def _recognised(path: Path, notes: list[Saved], run_id: str) -> Saved | None:
    size, crc32c = checkpoint_file.fingerprint(path)
    for note in notes:
        if (note.size, note.crc32c, note.run_id) == (size, crc32c, run_id):
            return note
    # Newer than its note, or older than all that the note remembers: it says itself what it is.
    said = checkpoint_file.peek(path)
    return None if said is None or said[0] != run_id else Saved(*said, size, crc32c)
