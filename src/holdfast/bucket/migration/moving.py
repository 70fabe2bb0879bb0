"""A migration as a whole: plan, copy until nothing new comes, write locations anew, and look once more.

Nothing is deleted at the old place. Locations are rewritten only after every file of theirs was read back at the new
place; what comes to the old one in between, or just after, is found by the pass that follows. A migration that was
killed goes on by the same call: the ledger says what is compared already, and the tables say what is rewritten.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.transfer import SILENT, Meter
from holdfast.backend.locations import Change
from holdfast.bucket.arns import check_prefix
from holdfast.bucket.migration.copying import Copier, Tally
from holdfast.bucket.migration.ends import End, end_of
from holdfast.bucket.migration.ledger import Ledger, Progress, name_of, taken
from holdfast.bucket.migration.looking import look, refuse_conflicts
from holdfast.bucket.migration.old_roots import already_named
from holdfast.bucket.migration.plan import LeftOut, Plan, make_plan
from holdfast.bucket.migration.reaching import Unreadable, why_unreadable
from holdfast.bucket.migration.records import Records, files_in_journal
from holdfast.bucket.migration.target_settings import access_in
from holdfast.bucket.roots import Root, check_apart, root_of
from holdfast.core.uris import mask_uri, scheme_of
from holdfast.errors import ArtifactError, HoldfastError, InvalidInputError
from holdfast.project import Project

# How often the old place is looked through again while files keep coming, and how often all is planned anew.
_PASSES, _ROUNDS = 20, 5


@dataclass(frozen=True)
class Request:
    """What somebody asks for.

    Attributes:
        to: The new root.
        source: The old one; the project's artifact root where it is empty.
        experiments: The names of the experiments to move; all below the old root where there are none.
        to_env: A file like `.env` with the keys and the endpoint of the new place; the project's where it is None.
        overwrite: Whether other content under the same names at the new place may be replaced.
    """

    to: str
    source: str = ""
    experiments: tuple[str, ...] = ()
    to_env: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Survey:
    """What there is to move, before anything is moved.

    Attributes:
        plan: What is moved, and what is not.
        files: How many files lie at the old places.
        size_bytes: Their size.
        copied: How many of them an earlier call has copied and compared.
        has_begun: Whether there was an earlier call, which is gone on with.
        skipped: What is no file: links to folders, sockets, links that lead nowhere.
        unreadable: Why the project's own settings do not reach the new place; None where they do.
    """

    plan: Plan
    files: int
    size_bytes: int
    copied: int
    has_begun: bool = False
    skipped: Sequence[str] = ()
    unreadable: Unreadable | None = None


@dataclass
class Outcome:
    """What a migration has done.

    Attributes:
        status: `moved`; `copied`: everything is at the new place, and MLflow does not know yet; `nothing`: there was
            nothing to move.
        tally: What was copied by this call.
        rows: How many locations this call has rewritten.
        left_out: What was not moved.
        left_files: How many files are still at the old places that nothing refers to any more.
        left_bytes: Their size.
        left_since: Since when nothing refers to them; empty where nothing was rewritten.
        mentions: Other texts that name an old place, by `table.column`; they were left as they are.
        skipped: What was not copied because it is no file.
        unreadable: Why the project's own settings do not reach the new place, where files are by now; None where they
            do.
    """

    status: Literal["moved", "copied", "nothing"] = "nothing"
    tally: Tally = field(default_factory=Tally)
    rows: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    left_files: int = 0
    left_bytes: int = 0
    left_since: str = ""
    mentions: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    unreadable: Unreadable | None = None


class Migration:
    """One migration of a project.

    Args:
        project: Whose files, and whose keys at the old place.
        request: What is asked for.

    Attributes:
        request: What is asked for.
        source: The old root.
        target: The new root.
        records: MLflow's own records.

    Making one asks nobody anything, but which roots there are where old and new one are the same.

    Raises:
        InvalidInputError: A root is none that can be moved, or old and new lie in each other.
        SettingsError: The settings of the new place cannot be used.
    """

    def __init__(self, project: Project, request: Request) -> None:
        self._project = project
        self.request = request
        self.target = root_of(request.to, "--to")
        check_prefix(request.to, "--to")
        self.source = _source_of(project, request, self.target)
        ours: S3Access = project.artifacts.access
        theirs = _access_of_target(request, self.target) or ours
        check_apart(self.source, self.target, theirs.endpoint_url == ours.endpoint_url)
        self._ours, self._theirs = ours, theirs
        self._ends: tuple[End, End] = (end_of(self.source, ours), end_of(self.target, theirs))
        self.records = Records(project)
        self._home = project.settings.project_root / ".holdfast" / "migrations"
        self._folder = self._home / name_of(
            self.records.shown,
            self.source.uri,
            self.target.uri,
            theirs.endpoint_url or "",
            *sorted(request.experiments),
        )

    def survey(self) -> Survey:
        """Look at both places and at MLflow's records; nothing is changed.

        Raises:
            HoldfastError: A place or a store cannot be read, there is no such experiment, or the new place holds
                other content under the same names.
        """
        found = self._survey(Ledger(self._folder))
        return replace(found, unreadable=self._unreadable()) if found.plan.changes or found.has_begun else found

    def run(self, meter: Meter = SILENT) -> Outcome:
        """Do it, or go on with it.

        Returns:
            What was done; see `Outcome.status`, and `left_out`.

        Raises:
            HoldfastError: Another migration is under way; a file cannot be read or stored, or is not stored as it
                was read; files keep changing. No location was rewritten whose files are not all compared. The same
                call goes on where it was.
        """
        with taken(self._home):
            ledger = Ledger(self._folder)
            if not ledger.was_there:
                ledger.begin(source=self.source.uri, to=self.target.uri, experiments=list(self.request.experiments))
            copier = Copier(*self._ends, ledger, self.request.overwrite, meter)
            outcome = Outcome(tally=copier.tally)
            survey = self._survey(ledger)
            meter.begin(survey.files - survey.copied, survey.size_bytes)
            last = self._move(survey.plan, ledger, copier, outcome)
            self._look_back(last, ledger, outcome)
            outcome.unreadable = self._unreadable() if outcome.status != "nothing" else None
            ledger.end(status=outcome.status)
            return outcome

    # -- steps ------------------------------------------------------------------------

    def _survey(self, ledger: Ledger) -> Survey:
        plan = self._plan()
        source, target = self._ends
        if plan.places:
            source.check()
        looks = []
        for place in plan.places:
            found = look(source, target, place.old, ledger.places.get(place.old) or Progress(place.new))
            if not self.request.overwrite:
                refuse_conflicts(place.new, found.conflicts)
            looks.append(found)
        if self.target.kind == "file":
            _check_room(Path(self.target.uri), sum(found.missing_bytes for found in looks))
        skipped, source.skipped[:] = sorted(source.skipped), []
        return Survey(
            plan,
            sum(found.files for found in looks),
            sum(found.size_bytes for found in looks),
            sum(found.copied for found in looks),
            ledger.was_there,
            skipped,
        )

    def _plan(self) -> Plan:
        catalog = self.records.catalog()
        waiting = files_in_journal(self._project, catalog)
        return make_plan(catalog, self.source, self.target, self.request.experiments, waiting)

    def _move(self, plan: Plan, ledger: Ledger, copier: Copier, outcome: Outcome) -> Plan:
        """Move everything; return what the last look at MLflow's records said."""
        for _ in range(_ROUNDS):
            self._copy(plan, ledger, copier)
            # Planned anew, for copying takes its time: what has begun to run meanwhile stays where it is.
            plan = self._plan()
            outcome.left_out = plan.left_out
            changes = [change for change in plan.changes if change.new_uri != change.location.uri]
            if any(place.old not in ledger.places for place in plan.places):
                continue
            if not changes:
                outcome.status = "moved" if plan.places or ledger.rewritten_places else "nothing"
                return plan
            if not self.records.can_rewrite:
                outcome.status = "copied"
                return plan
            outcome.rows += self._rewrite(plan, changes, ledger)
        raise HoldfastError(
            f"New runs keep being written to {self.source.uri}; all that came until now is moved.",
            "end what logs to these experiments, and give the command again",
            retryable=True,
        )

    def _copy(self, plan: Plan, ledger: Ledger, copier: Copier) -> None:
        for place in plan.places:
            ledger.add_place(place.old, place.new)
        if plan.places:
            self._ends[0].check()
        free = _free(plan, ledger)
        for old in [*(place.old for place in plan.places), *free]:
            for _ in range(_PASSES):
                if copier.pass_over(old, old in free):
                    break
            else:
                raise ArtifactError(
                    f"Files at {mask_uri(old)} keep changing; {_PASSES} passes found new ones each time.",
                    "end what writes there, and give the command again",
                    retryable=True,
                )

    def _rewrite(self, plan: Plan, changes: Sequence[Change], ledger: Ledger) -> int:
        ledger.rewriting(len(changes), [place.old for place in plan.places])
        rows = self.records.rewrite(changes)
        ledger.rewritten(rows)
        return rows

    def _look_back(self, plan: Plan, ledger: Ledger, outcome: Outcome) -> None:
        """See what is still at the old places that MLflow names no more, and which other texts speak of them."""
        source, free = self._ends[0], _outermost(_free(plan, ledger))
        outcome.left_since = ledger.rewritten_at if free else ""
        for old in free:
            for page in source.walk(old):
                outcome.left_files += len(page)
                outcome.left_bytes += sum(entry.size_bytes for entry in page)
        outcome.mentions = self.records.mentions(free)
        outcome.skipped = sorted(set(source.skipped))

    def _unreadable(self) -> Unreadable | None:
        env = self.request.to_env
        return None if env is None else why_unreadable(self.target, self._ours, self._theirs, env)


def _source_of(project: Project, request: Request, target: Root) -> Root:
    if request.source:
        return root_of(request.source, "--from")
    root = project.settings.artifact_root
    if root is None or scheme_of(root) not in ("", "file", "s3"):
        raise InvalidInputError(
            "The project's settings name no artifact root that could be moved.", "name the old one with --from"
        )
    found = root_of(root, "MLFLOW_ARTIFACT_ROOT")
    if found.uri == target.uri and request.to_env is None:
        raise already_named(project, found, request.experiments)
    return found


def _access_of_target(request: Request, target: Root) -> S3Access | None:
    if request.to_env is None:
        return None
    if target.kind != "s3":
        raise InvalidInputError("A folder needs no keys.", "leave out --to-env")
    return access_in(request.to_env)


def _check_room(folder: Path, wanted_bytes: int) -> None:
    """See that what is to be stored has room; a disk that fills up later is an error then, which loses nothing."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free_bytes = shutil.disk_usage(there).free
    if wanted_bytes > free_bytes:
        raise ArtifactError(
            f"{wanted_bytes:,} bytes are to be stored in {folder}, and its disk has {free_bytes:,} free.",
            "free space on the disk, or name a --to on another one",
            retryable=True,
            code="ENOSPC",
        )


def _free(plan: Plan, ledger: Ledger) -> list[str]:
    """Return the places whose locations were rewritten, so that nothing names them any more."""
    return [old for old in ledger.rewritten_places if not plan.is_named(old)]


def _outermost(places: Iterable[str]) -> list[str]:
    """Return the places that lie in none of the others."""
    found: list[str] = []
    for place in sorted(places):
        if not any(place.startswith(f"{outer}/") for outer in found):
            found.append(place)
    return found
