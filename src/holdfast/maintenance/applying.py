"""Applying a plan: only what is still garbage, storage before rows, in pieces that a kill can come between.

The store is surveyed anew by the plan's rules before anything is touched, and again where an apply takes long. Each
piece is looked at once more just before it: what was restored, resumed, registered or written to since stays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from holdfast.artifacts.removal.outcomes import Failure
from holdfast.artifacts.transfer import SILENT, Meter
from holdfast.core.cleanup.places import overlap
from holdfast.core.cleanup.plan import Action, Item, Kind, Plan
from holdfast.core.cleanup.stock import Key
from holdfast.errors import HoldfastError
from holdfast.maintenance.asking import Asked
from holdfast.maintenance.belongings import Belongings, Bundle, bundles_of, chunks_of, key_of
from holdfast.maintenance.choosing import Present
from holdfast.maintenance.ledger import Ledger, begin_ledger, home_of, taken
from holdfast.maintenance.outcomes import Account, Outcome, Refused, Skipped
from holdfast.maintenance.removing import StopAskedError
from holdfast.maintenance.survey import Survey, holdings_of, store_for, survey
from holdfast.maintenance.troubles import Trouble
from holdfast.maintenance.working import Worker
from holdfast.project import Project

__all__ = ["Outcome", "Refused", "Skipped", "apply"]

# How much is done between two looks: things and what is stored of them.
_CHUNK = 3000
# A survey is made anew when it is older than this, or than so many times what it took.
_SURVEY_S = 600.0
_SURVEY_TIMES = 5
# A survey that ended so shortly before is as good as a new one, which would be older by the time of the first deletion.
_FRESH_S = 5.0


def apply(
    project: Project,
    plan: Plan,
    asked: Asked,
    meter: Meter = SILENT,
    stop: threading.Event | None = None,
    found: Survey | None = None,
) -> Outcome:
    """Do what a plan says, as far as it is still right.

    What was killed, stopped or refused is gone on with by the same call. What stops it is in the outcome, so that
    nothing is lost of what was done before.

    Args:
        project: Whose stores.
        plan: The plan.
        asked: What it was made from; the rules are those of the plan.
        meter: Is told of each object.
        stop: Ends it between two batches, once it is set.
        found: The survey that the plan is of; where that was a moment ago, the store is not surveyed anew at the start.

    Raises:
        HoldfastError: Another clean-up of the project is under way (retryable), the ledger cannot be written, or the
            store cannot be surveyed; nothing was touched.
    """
    home = home_of(project)
    with taken(home):
        surveyed = _Surveyed(project, plan, asked, found)
        ledger = begin_ledger(home, plan)
        return _Apply(project, surveyed, ledger, meter, stop or threading.Event()).run()


class _Surveyed:
    """The store as it was surveyed last, by the rules of a plan."""

    def __init__(self, project: Project, plan: Plan, asked: Asked, found: Survey | None) -> None:
        self._project, self.plan = project, plan
        # What a person asks names rules that may have changed since; the plan's stand in it.
        rules = replace(plan.rules, roots=())
        self.asked = replace(asked, rules=rules, experiments=(), retention=False)
        self.holdings = found.holdings if found is not None else holdings_of(project)
        is_fresh = found is not None and abs(time.time() - plan.made_ms / 1000) < _FRESH_S
        self._good_until_s = time.monotonic() + _SURVEY_S
        self.now = found if found is not None and is_fresh else self._look()

    def _look(self) -> Survey:
        began_s = time.monotonic()
        found = survey(self._project, self.asked, holdings=self.holdings)
        ended_s = time.monotonic()
        self._good_until_s = ended_s + max(_SURVEY_S, _SURVEY_TIMES * (ended_s - began_s))
        return found

    def refresh(self) -> bool:
        """Look again where that is long ago; return whether it was."""
        is_old = time.monotonic() > self._good_until_s
        if is_old:
            self.now = self._look()
        return is_old


class _Apply:
    def __init__(self, project: Project, found: _Surveyed, ledger: Ledger, meter: Meter, stop: threading.Event) -> None:
        self._found, self._ledger, self._meter, self._stop = found, ledger, meter, stop
        self._plan = found.plan
        self._account = Account(self._plan, ledger, meter)
        store = store_for(project, found.asked)
        self._worker = Worker(store, found.holdings, self._account, stop)
        items = self._plan.items
        marking = set(ledger.noted.marking)
        # A run that was only marked deleted by then has nothing that was begun with.
        self._begun: dict[Key, set[str]] = {key_of(item): set() for item in items if item.id in marking}
        self._begun |= {key_of(items[number]): marks for number, marks in ledger.noted.begun.items()}
        self._planned = frozenset(map(key_of, items))
        self._present = self._look()

    def run(self) -> Outcome:
        total = self._plan.total
        self._meter.begin(total.count, total.all_bytes)
        error: HoldfastError | None = None
        try:
            self._do_all()
        except StopAskedError:
            pass
        except HoldfastError as found:
            error = found
        except (KeyboardInterrupt, SystemExit) as end:
            self._end("interrupted")
            end.add_note(f"What was begun is in {self._ledger.folder}; the same command goes on with it.")
            raise
        finally:
            self._meter.end()
        return self._account.outcome(self._end(error) or error)

    def _end(self, error: HoldfastError | str | None) -> HoldfastError | None:
        """Note the end; return why that cannot be done (the disk is full)."""
        try:
            self._ledger.end(self._account.counts(), str(error or ""))
        except HoldfastError as failed:
            return error if isinstance(error, HoldfastError) else failed
        return None

    def _do_all(self) -> None:
        self._refuse_unseen()
        self._worker.check(self._plan.items)
        last = [item for item in self._plan.items if item.kind is Kind.EXPERIMENT]
        others = [item for item in self._plan.items if item.kind is not Kind.EXPERIMENT]
        for chunk in chunks_of(bundles_of(others), _CHUNK):
            self._check()
            self._worker.do([bundle for bundle in chunk if not self._is_settled(bundle)], self._present)
        self._check()
        self._skip_experiments(last)
        self._worker.do_experiments(last, self._present)

    def _check(self) -> None:
        if self._stop.is_set():
            raise StopAskedError
        if self._found.refresh():
            self._present = self._look()

    def _look(self) -> Present:
        now = self._found.now
        belongings = Belongings(now.state, now.plan, self._plan.items)
        return Present(now.state, now.plan, belongings, self._begun, self._planned)

    def _is_settled(self, bundle: Bundle) -> bool:
        return all(self._account.is_settled(item) for item in bundle.items)

    def _refuse_unseen(self) -> None:
        """Refuse what lies where the survey could not look, with all that goes with it."""
        troubles = self._found.now.troubles
        planned = self._present.items
        for bundle in bundles_of(item for item in self._plan.items if troubles):
            unseen = {key_of(item): found for item in bundle.items if (found := _trouble_of(item, troubles))}
            for item in bundle.items:
                if key_of(item) in unseen and key_of(item) not in planned:
                    self._account.refuse(item, [_failure(unseen[key_of(item)])])
            if any(self._account.is_settled(item) for item in bundle.items):
                self._account.skip(bundle.items, "what belongs to it cannot be looked at")

    def _skip_experiments(self, items: Sequence[Item]) -> None:
        stuck = {item.group: item for item in self._plan.items if self._is_stuck(item)}
        for item in items:
            if item.group in stuck:
                self._account.skip([item], f"it still has {stuck[item.group].kind} {stuck[item.group].id}")

    def _is_stuck(self, item: Item) -> bool:
        return self._account.is_settled(item) and not self._account.is_done(item) and item.action is Action.PURGE


def _trouble_of(item: Item, troubles: Sequence[Trouble]) -> Trouble | None:
    for trouble in troubles:
        if any(overlap(trouble.place, place) for place in item.places):
            return trouble
    return None


def _failure(trouble: Trouble) -> Failure:
    message = f"{trouble.message}; {trouble.hint}" if trouble.hint else trouble.message
    return Failure(trouble.place, "", trouble.code, message, trouble.retryable)
