"""What of the loose folders below the roots is garbage: orphans, and unfinished uploads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from holdfast.core.cleanup.ages import shown_age
from holdfast.core.cleanup.places import PlaceMap
from holdfast.core.cleanup.plan import Action, Item, Kept, Kind
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.core.cleanup.sorting import Sorted, loose_folder
from holdfast.core.cleanup.tally import Tally


@dataclass(frozen=True)
class Loose:
    """Folders that belong to nothing, as they are once it is known what goes.

    Attributes:
        folders: What lies in each.
        stale: Its unfinished uploads that are older than the grace period.
        bases: The roots (with an empty text), and the places of the experiments that stay, with their ids.
        standing: Where things lie that stay, with what they are.
        roots: The roots.
    """

    folders: Mapping[str, Tally]
    stale: Mapping[str, Tally]
    bases: PlaceMap[str]
    standing: PlaceMap[str]
    roots: PlaceMap[None]

    def root_of(self, folder: str) -> str:
        """Return the deepest root that a folder lies in."""
        return self.roots.deepest(folder) or ""

    def experiment_of(self, folder: str) -> str:
        """Return the id of the experiment in whose place a folder lies; an empty text where there is none."""
        base = self.bases.deepest(folder)
        return max(self.bases.at(base)) if base is not None else ""


def gather(sorted_: Sorted, bases: PlaceMap[str], standing: PlaceMap[str], rules: CleanupRules) -> Loose:
    """Join the folders of experiments that go to those that they will be part of then."""
    roots: PlaceMap[None] = PlaceMap((root, None) for root in rules.roots)
    return Loose(_joined(sorted_.loose, bases), _joined(sorted_.loose_stale, bases), bases, standing, roots)


def _joined(folders: Mapping[str, Tally], bases: PlaceMap[str]) -> dict[str, Tally]:
    joined: dict[str, Tally] = {}
    for folder, tally in folders.items():
        joined.setdefault(loose_folder(folder, bases), Tally()).merge(tally)
    return joined


def refused_roots(loose: Loose, sorted_: Sorted) -> list[str]:
    """Return the roots that hold what belongs to nothing, and nothing that belongs to something."""
    return sorted({loose.root_of(folder) for folder in loose.folders} - sorted_.proven)


def orphans(loose: Loose, refused: Iterable[str], rules: CleanupRules, now_ms: int) -> tuple[list[Item], list[Kept]]:
    """Return the folders that are garbage, and those that would be if nothing stood in their way."""
    if not rules.orphans or rules.run_ids:
        return [], []
    going: dict[str, Tally] = {}
    kept: list[Kept] = []
    above_kept: set[str] = set()
    unwelcome = set(refused)
    # The deepest first: a folder that holds one that stays, stays.
    for folder, tally in sorted(loose.folders.items(), key=lambda pair: (-len(pair[0]), pair[0])):
        why = _obstacle(folder, tally, loose, unwelcome, rules, now_ms)
        if why is None and folder not in above_kept:
            going[folder] = tally
            continue
        above_kept.update(_above(folder))
        if why:
            kept.append(Kept(Kind.ORPHAN, folder, folder, why))
    return [_orphan(folder, tally, rules, now_ms) for folder, tally in _outermost(going).items()], kept


def _outermost(folders: Mapping[str, Tally]) -> dict[str, Tally]:
    """Join what lies in one another, so that no object is taken, or told of, twice."""
    joined: dict[str, Tally] = {}
    for folder, tally in folders.items():
        outermost = min((above for above in _above(folder) if above in folders), key=len, default=folder)
        joined.setdefault(outermost, Tally()).merge(tally)
    return joined


def _obstacle(
    folder: str, tally: Tally, loose: Loose, refused: set[str], rules: CleanupRules, now_ms: int
) -> str | None:
    """Return why a folder stays; an empty text where it is none that was asked for, or too young; else None."""
    is_asked = rules.is_asked(loose.experiment_of(folder))
    if not is_asked or loose.root_of(folder) in refused or rules.is_recent(tally.touched_ms, now_ms):
        return ""
    if tally.has_unknown:
        return "the store does not say when it was written"
    for _, said in (*_at_or_below(loose.bases, folder), *_at_or_below(loose.standing, folder)):
        return f"{said or 'an artifact root'} lies in it"
    return None


def _at_or_below(places: PlaceMap[str], folder: str) -> list[tuple[str, str]]:
    return [*((folder, owner) for owner in places.at(folder)), *places.below(folder)]


def _above(folder: str) -> Iterable[str]:
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        yield folder


def _orphan(folder: str, tally: Tally, rules: CleanupRules, now_ms: int) -> Item:
    age = shown_age((now_ms - (tally.touched_ms or 0)) / 1000)
    return Item(
        kind=Kind.ORPHAN,
        id=folder,
        name=folder,
        why=f"nothing knows it, and it was last written {age} ago",
        action=Action.TRASH if rules.trash else Action.PURGE,
        places=(folder,),
        holding=tally.holding(),
        group=f"orphan/{folder}",
    )


def stale_uploads(
    loose: Loose,
    sorted_: Sorted,
    refused: Iterable[str],
    gone: PlaceMap[None],
    rules: CleanupRules,
    is_free: Callable[[str], bool],
) -> list[Item]:
    """Return the unfinished uploads that are garbage of their own, by the place or folder that they lie in.

    Args:
        loose: The loose folders.
        sorted_: What was counted.
        refused: The roots where nothing loose is garbage.
        gone: The folders that go with all that is in them.
        rules: What was asked.
        is_free: Whether nothing protects the uploads at a place of things, and they do not go with it.
    """
    if rules.trash:
        return []
    found = {place: tally for place, tally in sorted_.stale.items() if is_free(place)}
    left = {folder: tally for folder, tally in loose.stale.items() if gone.deepest(folder) is None}
    found |= _outermost(_going_uploads(left, loose, set(refused), rules))
    return [_upload(place, tally) for place, tally in found.items()]


def _going_uploads(
    folders: Mapping[str, Tally], loose: Loose, refused: set[str], rules: CleanupRules
) -> dict[str, Tally]:
    going: dict[str, Tally] = {}
    above_kept: set[str] = set()
    for folder, tally in sorted(folders.items(), key=lambda pair: -len(pair[0])):
        is_asked = not rules.run_ids and rules.is_asked(loose.experiment_of(folder))
        if is_asked and loose.root_of(folder) not in refused and folder not in above_kept:
            going[folder] = tally
        else:
            above_kept.update(_above(folder))
    return going


def _upload(place: str, tally: Tally) -> Item:
    return Item(
        kind=Kind.UPLOAD,
        id=place,
        name=place,
        why="never finished, and begun before the grace period",
        action=Action.PURGE,
        places=(place,),
        holding=tally.holding(),
        group=f"upload/{place}",
    )
