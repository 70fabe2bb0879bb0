"""What Holdfast itself keeps in MLflow and in the artifact store, and needs: the histories of registered models."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.backend.cleanup.store import PlaceOf
from holdfast.backend.history import EXPERIMENT, INDEX_EXPERIMENT
from holdfast.core.cleanup.places import covers
from holdfast.core.cleanup.records import ExperimentRecord, Need, RunRecord, State
from holdfast.project import Project
from holdfast.registry.history.mirror import place_beside

_WHY = "the history of registered models"


def needs_of_histories_kept_here(project: Project, state: State, place_of: PlaceOf) -> list[Need]:
    """Return the experiments of histories, whole, with the copies that lie beside their runs' files.

    Raises:
        BackendError: The store that has the registry's histories cannot be asked.
    """
    kept = {item.experiment_id: item for item in state.experiments if item.name in (EXPERIMENT, INDEX_EXPERIMENT)}
    needs = [Need(_WHY, experiment_id=experiment_id) for experiment_id in kept]
    needs += [need for run in state.runs if run.experiment_id in kept for need in _copies(run, kept)]
    settings = project.settings
    if settings.registry_uri not in (None, settings.tracking_uri):
        elsewhere = project.histories.artifact_uri_of("")
        needs += [Need(_WHY, place=place_of(elsewhere.removesuffix("/artifacts")))] if elsewhere else []
    return needs


def _copies(run: RunRecord, kept: dict[str, ExperimentRecord]) -> Iterator[Need]:
    beside = place_beside(run.place) if run.place else ""
    if beside and not covers(kept[run.experiment_id].place, beside):
        yield Need(_WHY, place=beside)
