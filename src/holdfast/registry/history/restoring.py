"""Bringing a lost history back from its copies in the artifact store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from holdfast.backend.entities import RegisteredModel
from holdfast.backend.history import EXPERIMENT, HISTORY_TAG, HistoryRun
from holdfast.core.history import broken_links
from holdfast.errors import HistoryError, NotFoundError
from holdfast.project import Project
from holdfast.registry.history.export import find_registered
from holdfast.registry.history.mirror import Mirror, in_order


def restore_history(project: Project, name: str, begin_anew: bool = False) -> list[int]:
    """Bring back what the registry has lost of a model's history: a deleted run, one that is gone, or single events.

    A run that is gone (`mlflow gc`) is replaced by a new one, which the model and the index of histories then name; all
    who restore at once restore the same. Where the registry has all of it, nothing is done. Killed half-way, it goes on
    with the next call.

    Args:
        project: Whose registry.
        name: The registered model.
        begin_anew: Where there are no copies either: let the next change begin a new history, which knows nothing of
            the past.

    Returns:
        The numbers of the events that were brought back.

    Raises:
        NotFoundError: There is no such model.
        HistoryError: There are no copies, or they are no whole chain, or they contradict the registry's events.
        ArtifactError: The copies cannot be read.
    """
    model = find_registered(project, name)
    lost = model.tags.get(HISTORY_TAG) or project.histories.find(name)
    if lost is None:
        return []
    kept = _read(project, lost)
    if kept is not None and not kept.is_deleted:
        return _complete(project, kept, _copies(project, kept), name)
    if kept is not None:
        project.histories.restore(lost)
        return _complete(project, kept, _copies(project, kept), name)
    return _replace(project, model, lost, begin_anew)


def _read(project: Project, run_id: str) -> HistoryRun | None:
    try:
        return project.histories.read(run_id)
    except NotFoundError:
        return None


def _copies(project: Project, kept: HistoryRun) -> list[str]:
    return in_order(Mirror(project, kept).texts())


def _complete(project: Project, kept: HistoryRun, copies: list[str], name: str) -> list[int]:
    """Write the events that copies have and the registry has not."""
    whole = kept.texts + tuple(copies[len(kept.texts) :])
    problems = broken_links(whole)
    if problems:
        raise HistoryError(
            f"The history of {name!r} and its copies are no whole chain: {problems[0]}.",
            f"see what differs: holdfast models audit {name}",
        )
    back = [number for number in range(len(kept.texts) + 1, len(whole) + 1) if number not in kept.beyond]
    for number in range(len(kept.texts) + 1, len(whole) + 1):
        if not project.histories.append(kept.run_id, number, whole[number - 1]):
            raise HistoryError(
                f"Event {number} of {name!r} is not what its copy says.", f"holdfast models audit {name}"
            )
    return back


def _replace(project: Project, model: RegisteredModel, lost: str, begin_anew: bool) -> list[int]:
    name, histories = model.name, project.histories
    gone = HistoryRun(lost, histories.artifact_uri_of(lost) or "", name, False, (), (), {})
    copies = _copies(project, gone) if gone.artifact_uri else []
    if not copies and not begin_anew:
        raise HistoryError(
            f"The history of {name!r} is gone, and so are its copies at {Mirror(project, gone).place}.",
            "restore the database or the bucket from a backup; or begin a new history, which knows nothing of the past",
        )
    run_id = histories.begin(name, project.artifact_location(EXPERIMENT), taken=lost)
    back = _complete(project, histories.read(run_id), copies, name)
    now = histories.read(run_id)
    Mirror(project, now).fill()
    _copy_manifests(project, Mirror(project, gone), Mirror(project, now))
    # Last: until all is there, the model names what is lost, and nobody writes into the new run.
    project.models.set_model_tag(name, HISTORY_TAG, run_id)
    return back


def _copy_manifests(project: Project, source: Mirror, target: Mirror) -> None:
    if not project.artifacts.list_files(source.place, "manifests"):
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-history-") as scratch:
        for path in sorted(project.artifacts.download(source.place, "manifests", Path(scratch)).iterdir()):
            project.artifacts.put_once(target.place, f"manifests/{path.name}", path.read_bytes())
