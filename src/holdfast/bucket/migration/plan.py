"""What is moved, what is not, and why: from what MLflow's tables say, and nothing else."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.backend.locations import Catalog, Change, ExperimentRow, Location
from holdfast.bucket.roots import Root, plain_form
from holdfast.core.uris import mask_uri
from holdfast.errors import InvalidInputError, NotFoundError

_SHOWN = 5
_WHY_ELSEWHERE = {
    "mlflow-artifacts": (
        "its files go through the tracking server, which knows where they are",
        "move the server's --artifacts-destination",
    ),
    "relative": ("its location depends on the folder that a server was started in", "move it by hand"),
}


@dataclass(frozen=True)
class Place:
    """An address with all below it that is moved to another one.

    Attributes:
        old: From where, in its plain form.
        new: To where.
        holder: What has its files there, for people: `experiment 'digits'`.
    """

    old: str
    new: str
    holder: str


@dataclass(frozen=True)
class LeftOut:
    """What is not moved.

    Attributes:
        what: What it is: `experiment 'digits'`.
        where: Where its files are, without secrets.
        why: Why it is not moved.
        remedy: What can be done about it.
        is_for_now: Whether the same command may move it later.
    """

    what: str
    where: str
    why: str
    remedy: str
    is_for_now: bool = False


@dataclass
class Plan:
    """What a migration does.

    Attributes:
        experiments: The names of the experiments that are moved.
        places: What is copied; none lies in another one.
        changes: What is written anew in MLflow's tables afterwards.
        left_out: What is not moved.
        named: Every place below the old root that MLflow names, sorted.
    """

    experiments: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    named: list[str] = field(default_factory=list)

    def is_named(self, place: str) -> bool:
        """Whether MLflow names a place below the old root, or something in it."""
        for wanted in (place, f"{place}/"):
            at = bisect_left(self.named, wanted)
            if at < len(self.named) and (self.named[at] == place or self.named[at].startswith(f"{place}/")):
                return True
        return False

    def count(self, table: str) -> int:
        """Return how many rows of a table have files that are moved."""
        return len({change.location.key for change in self.changes if change.location.column.table == table})


def make_plan(
    catalog: Catalog,
    source: Root,
    target: Root,
    names: Sequence[str] = (),
    waiting: Mapping[str, int] | None = None,
) -> Plan:
    """Return what a migration does.

    Args:
        catalog: What the tables say.
        source: The root that is moved.
        target: Where it goes.
        names: The experiments that are moved; all below the root if none are named.
        waiting: How many files in the journal are still to be uploaded, by the id of their experiment.

    Raises:
        NotFoundError: There is no experiment of a name.
        InvalidInputError: A new location is longer than its column takes.
    """
    chosen = _chosen(catalog, names)
    below = {found.experiment_id for found in catalog.locations if source.path_of(found.uri) is not None}
    others = [item for item in chosen if item.experiment_id not in below and item.location]
    paths = (source.path_of(found.uri) for found in catalog.locations)
    plan = Plan(named=sorted({source.join(path) for path in paths if path is not None}))
    plan.left_out = [_elsewhere(item) for item in others if target.path_of(item.location) is None]
    moving: list[ExperimentRow] = []
    for item in chosen:
        if item.experiment_id in below:
            held = _held_back(item, catalog, waiting or {})
            plan.left_out += held
            moving += [] if held else [item]
    ids = {item.experiment_id for item in moving}
    homes = {item.experiment_id: source.path_of(item.location) for item in catalog.experiments}
    plan.experiments = [item.name for item in moving]
    plan.changes = [
        Change(found, target.join(path))
        for found in catalog.locations
        if (path := source.path_of(found.uri)) is not None and _belongs(found, path, ids, homes, not names)
    ]
    plan.places = _places(plan.changes, moving, homes, source, target)
    _check_lengths(plan.changes)
    return plan


def _chosen(catalog: Catalog, names: Sequence[str]) -> list[ExperimentRow]:
    known = {item.name for item in catalog.experiments}
    for name in names:
        if name not in known:
            raise NotFoundError(f"There is no experiment {name!r}.", "see `mlflow experiments search --view all`")
    return [item for item in catalog.experiments if not names or item.name in names]


def _elsewhere(item: ExperimentRow) -> LeftOut:
    kind, _ = plain_form(item.location)
    why, remedy = _WHY_ELSEWHERE.get(kind, ("it lies outside of the root that is moved", "name its root with --from"))
    return LeftOut(f"experiment {item.name!r}", mask_uri(item.location), why, remedy)


def _held_back(item: ExperimentRow, catalog: Catalog, waiting: Mapping[str, int]) -> list[LeftOut]:
    """Say why an experiment cannot be moved now: what is logged to it next would go to the old place."""
    what, where = f"experiment {item.name!r}", mask_uri(item.location)
    under_way = catalog.under_way.get(item.experiment_id, [])
    if under_way:
        shown = ", ".join(under_way[:_SHOWN]) + (" …" if len(under_way) > _SHOWN else "")
        runs = "1 run is" if len(under_way) == 1 else f"{len(under_way)} runs are"
        remedy = (
            "wait until they have ended; one whose process is gone: "
            f"MlflowClient().set_terminated('{under_way[0]}', 'KILLED')"
        )
        return [LeftOut(what, where, f"{runs} not ended: {shown}", remedy, is_for_now=True)]
    if count := waiting.get(item.experiment_id, 0):
        files = "1 file waits" if count == 1 else f"{count} files wait"
        return [LeftOut(what, where, f"{files} in the journal to be uploaded", "holdfast sync", is_for_now=True)]
    return []


def _belongs(found: Location, path: str, ids: set[str], homes: Mapping[str, str | None], takes_ownerless: bool) -> bool:
    """Whether a place is moved: that of an experiment that is, and of no experiment only where all are moved."""
    owner = found.experiment_id or _owner_of(path, homes)
    if found.column.table == "workspaces" or not owner:
        return takes_ownerless
    return owner in ids


def _owner_of(path: str, homes: Mapping[str, str | None]) -> str:
    """Return the experiment in whose folder a path lies, the innermost one; empty where there is none."""
    around = [(len(home), owner) for owner, home in homes.items() if home is not None and _is_in(path, home)]
    return max(around)[1] if around else ""


def _is_in(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def _places(
    changes: Iterable[Change],
    moving: Sequence[ExperimentRow],
    homes: Mapping[str, str | None],
    source: Root,
    target: Root,
) -> list[Place]:
    """Return what is copied: experiments' folders as a whole, and of those that hold what stays, each thing alone."""
    ids = {item.experiment_id for item in moving}
    staying = [home for owner, home in homes.items() if owner not in ids and home is not None]
    whole = {
        home: f"experiment {item.name!r}"
        for item in moving
        if (home := homes[item.experiment_id]) is not None and not any(_is_in(other, home) for other in staying)
    }
    single = {
        source.path_of(change.location.uri) or "": change.location.shown
        for change in changes
        if change.location.column.has_files and change.location.column.table != "experiments"
    }
    found: dict[str, str] = {}
    for path, holder in sorted((single | whole).items()):
        if not any(outer in found for outer in _folders_of(path)):
            found[path] = holder
    return [Place(source.join(path), target.join(path), holder) for path, holder in found.items()]


def _folders_of(path: str) -> list[str]:
    """Return the folders around a path, and itself; the root is the empty text."""
    parts = path.split("/") if path else []
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]


def _check_lengths(changes: Iterable[Change]) -> None:
    for change in changes:
        longest = change.location.longest
        if longest is not None and len(change.new_uri) > longest:
            raise InvalidInputError(
                f"The new location of {change.location.shown} would have {len(change.new_uri)} characters; MLflow's "
                f"database takes {longest}: {mask_uri(change.new_uri)}",
                "give a shorter --to",
            )
