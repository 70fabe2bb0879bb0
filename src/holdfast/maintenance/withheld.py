"""What is stored below artifact roots and not told to the rules: it may be somebody's whom nobody here can ask.

It is then neither garbage nor a proof that what lies beside it is this store's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from holdfast.backend.cleanup.store import PlaceOf
from holdfast.backend.history import EXPERIMENT, INDEX_EXPERIMENT
from holdfast.core.cleanup.places import PlaceMap
from holdfast.core.cleanup.records import State, StoredObject
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.core.uris import join_uri
from holdfast.project import Project

# Below the place of each experiment: a server does not tell of the traces of live ones, nor of deleted logged models.
_UNTOLD = ("traces", "models")
# Below a server's root: it tells of one workspace only, and which one that is, its address does not say.
_WORKSPACES = "workspaces"


class Withheld:
    """Tells what is withheld.

    Args:
        project: Whose roots.
        state: What is known of its store.
        rules: What was asked; without roots nothing is withheld.
        place_of: Makes a place of an address.
    """

    def __init__(self, project: Project, state: State, rules: CleanupRules, place_of: PlaceOf) -> None:
        owned = (*(run.place for run in state.runs), *(model.place for model in state.models))
        self._things: PlaceMap[None] = PlaceMap(
            (place, None) for place in (*owned, *(trace.place for trace in state.traces)) if place
        )
        found = {*_copies_of_histories(project, rules, place_of), *_untold(state, rules)} if rules.roots else ()
        # Where a thing lies above, all of it is that thing's.
        self._places: PlaceMap[None] = PlaceMap((place, None) for place in found if self._things.deepest(place) is None)
        self.told = _TOLD if rules.roots and not state.has_rows else ""

    def without(self, objects: Iterable[StoredObject]) -> Iterable[StoredObject]:
        """Return objects without those that are withheld."""
        return (one for one in objects if not self._holds(one.address)) if len(self._places) else objects

    def _holds(self, address: str) -> bool:
        return self._places.deepest(address) is not None and self._things.deepest(address) is None


def _copies_of_histories(project: Project, rules: CleanupRules, place_of: PlaceOf) -> Iterator[str]:
    """Yield where the copies of histories lie whose experiment is gone: then they are the last ones."""
    for root in rules.roots:
        yield from (join_uri(root, name) for name in (EXPERIMENT, INDEX_EXPERIMENT))
    address = project.artifact_location(EXPERIMENT)
    if address:
        yield place_of(address)


def _untold(state: State, rules: CleanupRules) -> Iterator[str]:
    if state.has_rows:
        return
    yield from (join_uri(root, _WORKSPACES) for root in rules.roots)
    for experiment in state.experiments:
        if experiment.place:
            yield from (join_uri(experiment.place, name) for name in _UNTOLD)


_TOLD = (
    "a server does not tell of all traces and deleted logged models, nor of other workspaces, so no orphans are looked "
    "for where these lie; --backend-store-uri names its database, which tells"
)
