"""Bringing a lost history back from its copies in the artifact store."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from holdfast.backend.entities import RegisteredModel
from holdfast.backend.history import EXPERIMENT, HISTORY_TAG, HistoryRun
from holdfast.core.history import broken_links
from holdfast.core.uris import mask_uri
from holdfast.errors import HistoryError, NotFoundError
from holdfast.project import Project
from holdfast.registry.history.export import find_registered, gaps
from holdfast.registry.history.mirror import Mirror, in_order


def restore_history(project: Project, name: str, begin_anew: bool = False) -> list[int]:
    """Bring back what the registry has lost of a model's history: a deleted run, one that is gone, or events.

    A run that is gone (`mlflow gc`), or one whose events somebody changed in the database, is replaced by a new one,
    which the model and the index of histories then name; all who restore at once restore the same. The changed run
    stays as it is. Where the registry has all of it, nothing is done. Killed half-way, it goes on with the next call.

    Args:
        project: Whose registry.
        name: The registered model.
        begin_anew: Where neither the registry nor its copies are whole: let the next change begin a new history, which
            knows nothing of the past.

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
    if kept is None:
        gone = HistoryRun(lost, project.histories.artifact_uri_of(lost) or "", name, False, (), (), {})
        return _replace(project, model, gone, begin_anew)
    if kept.is_deleted:
        project.histories.restore(lost)
    copies = _copies(project, kept)
    if damage_of(kept, copies):
        return _replace(project, model, kept, begin_anew)
    return _complete(project, kept, copies, name)


def damage_of(kept: HistoryRun, copies: Sequence[str] = ()) -> str:
    """Say where a history is not whole though the events that it lacks are taken from the copies; empty where it is."""
    whole = (*kept.texts, *copies[len(kept.texts) :])
    broken = broken_links(whole)
    return broken[0] if broken else next((said for said in gaps(kept) if max(kept.beyond) > len(whole)), "")


def whole_copies(kept: HistoryRun, copies: Sequence[str]) -> list[str]:
    """Return the whole chain that the copies are, with the registry's events that follow them; empty where none is."""
    chain = [*copies, *kept.texts[len(copies) :]]
    is_all = len(chain) >= max((len(kept.texts), *kept.beyond))
    return chain if copies and is_all and not broken_links(chain) else []


def _read(project: Project, run_id: str) -> HistoryRun | None:
    try:
        return project.histories.read(run_id)
    except NotFoundError:
        return None


def _copies(project: Project, kept: HistoryRun) -> list[str]:
    return in_order(Mirror(project, kept).texts()) if kept.artifact_uri else []


def _complete(project: Project, kept: HistoryRun, copies: list[str], name: str) -> list[int]:
    """Write the events that copies have and the registry has not."""
    back = [number for number in range(len(kept.texts) + 1, len(copies) + 1) if number not in kept.beyond]
    for number in range(len(kept.texts) + 1, len(copies) + 1):
        if not project.histories.append(kept.run_id, number, copies[number - 1]):
            raise HistoryError(
                f"Event {number} of {name!r} is not what its copy says.",
                f"see what differs: holdfast models audit {name}; then holdfast models repair {name}",
            )
    return back


def _replace(project: Project, model: RegisteredModel, lost: HistoryRun, begin_anew: bool) -> list[int]:
    name, histories = model.name, project.histories
    found = _copies(project, lost)
    copies = whole_copies(lost, found)
    if not copies and not begin_anew:
        raise _beyond_repair(project, lost, name, bool(found))
    run_id = histories.begin(name, project.artifact_location(EXPERIMENT), taken=lost.run_id)
    back = _complete(project, histories.read(run_id), copies, name)
    now = histories.read(run_id)
    Mirror(project, now).fill()
    _copy_manifests(project, Mirror(project, lost), Mirror(project, now))
    # Last: until all is there, the model names what is lost, and nobody writes into the new run.
    project.models.set_model_tag(name, HISTORY_TAG, run_id)
    return back


def _beyond_repair(project: Project, lost: HistoryRun, name: str, has_copies: bool) -> HistoryError:
    damage = damage_of(lost)
    state = f"damaged ({damage})" if damage else "gone"
    copies = "its copies are not whole" if has_copies else "so are its copies"
    place = mask_uri(Mirror(project, lost).place) if lost.artifact_uri else "the artifact store"
    return HistoryError(
        f"The history of {name!r} is {state}, and {copies} at {place}.",
        "restore the database or the bucket from a backup; or begin a new history, which knows nothing of the past: "
        f"holdfast models repair {name} --begin-anew",
    )


def _copy_manifests(project: Project, source: Mirror, target: Mirror) -> None:
    if not project.artifacts.list_files(source.place, "manifests"):
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-history-") as scratch:
        for path in sorted(project.artifacts.download(source.place, "manifests", Path(scratch)).iterdir()):
            project.artifacts.put_once(target.place, f"manifests/{path.name}", path.read_bytes())
