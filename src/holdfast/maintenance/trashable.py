"""Where something can be put in the trash: in buckets that keep the versions of what is deleted, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

from holdfast.artifacts.removal.deletion import is_fatal
from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.removal.outcomes import Failure, Versioning
from holdfast.core.cleanup.plan import Action, Item, Kept, Plan
from holdfast.errors import ArtifactError, InvalidInputError
from holdfast.maintenance.looking import failure_at
from holdfast.maintenance.places import store_of
from holdfast.maintenance.troubles import Trouble


class Trashable:
    """Tells what can be put in the trash; each bucket is asked once.

    Args:
        holdings: Where it is stored.
    """

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._versioning: dict[str, Versioning] = {}

    def why_not(self, item: Item) -> Failure | None:
        """Return why an item's objects could not be brought back after their deletion; None where they could.

        Raises:
            ArtifactError: The store is gone, or the keys are no good.
        """
        for place in item.places:
            try:
                kept = self._versioning_of(place)
            except (ArtifactError, InvalidInputError) as error:
                if isinstance(error, ArtifactError) and is_fatal(error):
                    raise
                return failure_at(place, error)
            if kept is not Versioning.ON:
                return Failure(place, "", "NotVersioned", f"{place} {_WHY[kept]}")
        return None

    def _versioning_of(self, place: str) -> Versioning:
        store = store_of(place)
        if store not in self._versioning:
            self._versioning[store] = self._holdings.versioning_of(place)
        return self._versioning[store]

    def only(self, plan: Plan) -> tuple[Plan, list[Trouble]]:
        """Return a plan without what cannot be put in the trash, which is kept, and each store's reason once.

        Raises:
            ArtifactError: The store is gone, or the keys are no good.
        """
        troubles: dict[str, Trouble] = {}
        groups: set[str] = set()
        for item in plan.items:
            failure = self.why_not(item) if item.action is Action.TRASH else None
            if failure is not None:
                groups.add(item.group)
                # What is true of one thing in a bucket is true of all.
                where = store_of(failure.address) or failure.address
                trouble = Trouble(where, failure.code, failure.message, retryable=failure.retryable)
                troubles.setdefault(store_of(failure.address), trouble)
        kept = (Kept(item.kind, item.id, item.name, _KEPT) for item in plan.items if item.group in groups)
        items = tuple(item for item in plan.items if item.group not in groups)
        all_kept = sorted([*plan.kept, *kept], key=lambda one: (one.kind, one.id))
        return replace(plan, items=items, kept=tuple(all_kept)), list(troubles.values())


_KEPT = "--trash was asked for, and where it lies, or something that belongs to it, nothing can be put in the trash"
_HARDEN = "turn versioning on (holdfast s3 harden), or leave --trash out"
_WHY = {
    Versioning.OFF: f"keeps no versions, so that nothing could be brought back: {_HARDEN}",
    Versioning.SUSPENDED: f"keeps no versions at the moment, so that nothing could be brought back: {_HARDEN}",
    Versioning.UNKNOWN: "does not tell whether it keeps versions: let the key do s3:GetBucketVersioning, "
    "or leave --trash out",
}
