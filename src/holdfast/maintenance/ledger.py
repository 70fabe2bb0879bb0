"""What an apply of a plan has done so far, on disk: the plan, and lines of JSON that are only ever added to.

What stands in a whole line had happened, or was about to, when it was written; nothing is done before its line is
durable. It is not needed for going on, since rows go last and whatever is left is found by the next plan. It says what
happened, tells an apply of the same plan what it had begun, and undoes. Nothing in here is secret.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from holdfast.artifacts.landing import disk_errors
from holdfast.artifacts.removal.outcomes import Failure
from holdfast.core.cleanup.plan import Action, Holding, Item, Plan, add_up, from_text, rules_of, to_text
from holdfast.core.cleanup.records import Form, StoredObject
from holdfast.errors import InvalidInputError
from holdfast.journal.line_file import LineFile
from holdfast.journal.locks import FileLock, lock_folder
from holdfast.maintenance import seen
from holdfast.maintenance.fingerprints import fingerprint
from holdfast.project import Project

FORMAT = 1


@dataclass(frozen=True)
class Summary:
    """What became of one plan.

    Attributes:
        gc_id: Its name.
        made_ms: When its apply began.
        ended_ms: When its last apply ended; None where that was killed, or is under way.
        counts: How many items are `done`, `skipped`, `refused` and `left`; of one that has not ended only `done`.
        reclaimed: What was deleted for good.
        trashed: How many objects were hidden under delete markers.
        undone: Whether all that could be undone was.
    """

    gc_id: str
    made_ms: int
    ended_ms: int | None
    counts: Mapping[str, int]
    reclaimed: Holding
    trashed: int
    undone: bool


@dataclass
class Noted:
    """What a ledger says.

    Attributes:
        begun: The items (by their number in the plan) that were begun, each with the marks of all that lay there.
        done: The items that are done.
        marking: The runs that were marked deleted, or were about to be.
        markers: The delete markers that hide objects.
        ended: The last line of an apply that ended; None where it did not.
        undone: Whether all of it was undone.
        undoing: Whether some of it was, or all.
        reclaimed: What was deleted, piece by piece.
        at_ms: When it began.
    """

    begun: dict[int, set[str]] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    marking: list[str] = field(default_factory=list)
    markers: dict[tuple[str, str], None] = field(default_factory=dict)
    ended: dict[str, Any] | None = None
    undone: bool = False
    undoing: bool = False
    reclaimed: list[Holding] = field(default_factory=list)
    at_ms: int = 0

    def take(self, record: Mapping[str, Any]) -> None:
        """Take up a line."""
        take = _TAKERS.get(record.get("is", ""))
        if take is not None:
            take(self, record)

    @property
    def is_finished(self) -> bool:
        """Whether nothing of the plan is left that another apply could do better."""
        counts = self.ended["counts"] if self.ended is not None else {"left": 1}
        return self.undone or not (counts.get("left", 0) or counts.get("refused", 0))

    def summary(self, gc_id: str) -> Summary:
        """Return it in short."""
        counts = self.ended["counts"] if self.ended is not None else {"done": len(self.done)}
        ended_ms = self.ended["at_ms"] if self.ended is not None else None
        return Summary(gc_id, self.at_ms, ended_ms, counts, add_up(self.reclaimed), len(self.markers), self.undone)


def _take_begun(noted: Noted, record: Mapping[str, Any]) -> None:
    noted.at_ms, noted.ended = noted.at_ms or record["at_ms"], None


def _take_items(noted: Noted, record: Mapping[str, Any]) -> None:
    for number, marks in record["items"]:
        noted.begun.setdefault(number, set()).update(marks)


def _take_markers(noted: Noted, record: Mapping[str, Any]) -> None:
    noted.markers.update(dict.fromkeys(map(tuple, record["markers"])))


def _take_end(noted: Noted, record: Mapping[str, Any]) -> None:
    noted.ended = dict(record)


def _take_undone(noted: Noted, record: Mapping[str, Any]) -> None:
    noted.undone, noted.undoing = bool(record["whole"]), True


# What other lines say is for people.
_TAKERS: Mapping[str, Callable[[Noted, Mapping[str, Any]], None]] = {
    "begun": _take_begun,
    "items begun": _take_items,
    "done": lambda noted, record: noted.done.update(record["items"]),
    "marking": lambda noted, record: noted.marking.extend(record["runs"]),
    "hidden": _take_markers,
    "deleted": lambda noted, record: noted.reclaimed.append(Holding(**record["what"])),
    "ended": _take_end,
    "undone": _take_undone,
}


class Ledger:
    """The ledger of one plan that is applied; one process at a time has it, see `taken`.

    Args:
        folder: Its folder, with the plan in it; `begin_ledger` makes one.

    Attributes:
        gc_id: Its name.
        noted: What it says.

    Every method raises `ArtifactError` where the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.gc_id = folder, folder.name
        self._lines = LineFile(folder / "log.jsonl")
        self.noted = Noted()
        for record in self.records():
            self.noted.take(record)

    @property
    def plan(self) -> Plan:
        """The plan."""
        with disk_errors(f"Cannot read {self.folder / 'plan.jsonl'}"):
            return from_text((self.folder / "plan.jsonl").read_text("utf-8"))

    def records(self) -> Iterator[dict[str, Any]]:
        """Give all lines, as they were added."""
        with disk_errors(f"Cannot read the ledger {self._lines.path}"):
            yield from self._lines.records()

    def begin(self, plan_mark: str, items: int) -> None:
        """Note that an apply begins, or goes on."""
        with disk_errors(f"Cannot write the ledger {self._lines.path}"):
            self._lines.cut()
        self._add("begun", format=FORMAT, plan=plan_mark, at_ms=_now_ms(), items=items)

    def begin_items(self, items: Iterable[tuple[int, Sequence[StoredObject]]]) -> None:
        """Note, before anything of them is touched, which items are next, and all that lies there."""
        fresh = [[number, [fingerprint(stored) for stored in found]] for number, found in items]
        if fresh:
            self._add("items begun", items=fresh)

    def mark_runs(self, run_ids: Sequence[str]) -> None:
        """Note which runs are about to be marked deleted."""
        self._add("marking", runs=list(run_ids))

    def delete(self, objects: Sequence[StoredObject], what: Holding) -> None:
        """Note what was deleted."""
        keys = [[stored.address, stored.version_id] for stored in objects]
        self._add("deleted", keys=keys, what={name: count for name, count in asdict(what).items() if count})

    def hide(self, markers: Sequence[StoredObject]) -> None:
        """Note the delete markers that hide objects now."""
        self._add("hidden", markers=[[marker.address, marker.version_id] for marker in markers])

    def refuse(self, number: int, failures: Iterable[Failure]) -> None:
        """Note what of an item was refused."""
        told = [[one.address, one.version_id, one.code, one.message] for one in failures]
        self._add("refused", item=number, failures=told)

    def skip(self, number: int, why: str) -> None:
        """Note that an item was left as it is."""
        self._add("skipped", item=number, why=why)

    def remove_rows(self, rows: Mapping[str, int]) -> None:
        """Note how many rows were removed, by table."""
        self._add("rows", rows=dict(rows))

    def finish(self, numbers: Sequence[int]) -> None:
        """Note that items are done."""
        self._add("done", items=list(numbers))

    def end(self, counts: Mapping[str, int], error: str = "") -> None:
        """Note that an apply has ended, and why earlier than it should."""
        self._add("ended", at_ms=_now_ms(), counts=dict(counts), error=error)

    def undo(self, whole: bool, runs: Sequence[str], objects: int) -> None:
        """Note that it was undone, wholly or as far as that went."""
        self._add("undone", at_ms=_now_ms(), whole=whole, runs=list(runs), objects=objects)

    def hides_anything(self) -> bool:
        """Whether there is something to undo: objects in the trash, or runs that were marked deleted."""
        numbers = self.noted.begun.keys()
        if self.noted.markers:
            return True
        if not numbers and not self.noted.marking:
            return False
        items = self.plan.items
        hides = any(items[number].action is Action.TRASH for number in numbers)
        return hides or bool(restorable(items, self.noted.marking))

    def _add(self, kind: str, **about: Any) -> None:
        record = {"is": kind, **about}
        with disk_errors(f"Cannot write the ledger {self._lines.path}"):
            self._lines.add(record)
        self.noted.take(record)


def restorable(items: Iterable[Item], run_ids: Iterable[str]) -> list[str]:
    """Return which runs that a plan marked deleted keep their files and rows."""
    kept = {item.id for item in items if item.action is not Action.PURGE}
    return [run_id for run_id in dict.fromkeys(run_ids) if run_id in kept]


def as_markers(keys: Iterable[tuple[str, str]]) -> list[StoredObject]:
    """Return delete markers in the form in which they are removed."""
    return [StoredObject(address, 0, None, Form.MARKER, version_id) for address, version_id in keys]


def home_of(project: Project) -> Path:
    """Return the folder of a project's ledgers; it need not exist."""
    return seen.home_of(project.settings)


def all_of(home: Path) -> list[Summary]:
    """Return all ledgers in short, the oldest first; only looked at, also while one is written."""
    return [ledger.noted.summary(ledger.gc_id) for ledger in ledgers_in(home)]


def ledgers_in(home: Path) -> list[Ledger]:
    """Return all ledgers of a project that have begun, the oldest first."""
    found = [Ledger(path.parent) for path in sorted(home.glob("*/log.jsonl"))]
    return sorted((one for one in found if one.noted.at_ms), key=lambda one: (one.noted.at_ms, one.gc_id))


def trash_ledgers_in(home: Path) -> list[Ledger]:
    """Return the ledgers of clean-ups that hid something which nobody has brought back; raises as `ledgers_in`.

    The others are not read: what deleted a million objects has a long one.
    """
    found = [Ledger(path.parent) for path in sorted(home.glob("*/log.jsonl")) if _hides(path.with_name("plan.jsonl"))]
    return [one for one in found if one.noted.begun and not one.noted.undone]


def _hides(path: Path) -> bool:
    with disk_errors(f"Cannot read {path}"), path.open(encoding="utf-8", errors="surrogateescape") as file:
        return rules_of(file.readline()).trash


def ledger_named(home: Path, gc_id: str) -> Ledger:
    """Return the ledger of this name.

    Raises:
        InvalidInputError: There is none.
    """
    for ledger in ledgers_in(home):
        if ledger.gc_id == gc_id:
            return ledger
    raise InvalidInputError(f"There is no clean-up {gc_id!r:.80} in {home}.", "see holdfast gc log")


def begin_ledger(home: Path, plan: Plan) -> Ledger:
    """Return the ledger that an apply of a plan writes to: that of an earlier one of the same plan that left some.

    Raises:
        ArtifactError: The disk refuses.
    """
    text = to_text(plan)
    earlier = [one for one in _ledgers_marked(home, _mark_of(text)) if not one.noted.is_finished]
    ledger = earlier[-1] if earlier else _made(home, text)
    ledger.begin(_mark_of(text), len(plan.items))
    return ledger


def ledgers_of(home: Path, plan: Plan) -> list[Ledger]:
    """Return the ledgers of a plan's applies, the oldest first; those of other plans are not read whole.

    Raises:
        ArtifactError: One cannot be read.
    """
    return _ledgers_marked(home, _mark_of(to_text(plan)))


def _ledgers_marked(home: Path, mark: str) -> list[Ledger]:
    found = [Ledger(path.parent) for path in sorted(home.glob("*/log.jsonl")) if _is_of(path, mark)]
    return sorted(found, key=lambda one: (one.noted.at_ms, one.gc_id))


def _is_of(path: Path, mark: str) -> bool:
    with disk_errors(f"Cannot read the ledger {path}"):
        return bool(next(LineFile(path).records(), {}).get("plan") == mark)


def _mark_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _made(home: Path, text: str) -> Ledger:
    gc_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    folder = home / gc_id
    with disk_errors(f"Cannot write the plan into {folder}"):
        folder.mkdir(parents=True)
        with open(folder / "plan.jsonl", "x", encoding="utf-8", opener=_for_its_owner) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    return Ledger(folder)


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def taken(home: Path) -> FileLock:
    """Keep every other clean-up of the project out while the lock is held; the kernel ends that with the process.

    Raises:
        HoldfastError: Another one is under way.
    """
    with disk_errors(f"Cannot make the folder {home}"):
        seen.make_home(home)
        return lock_folder(home, "clean-up")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
