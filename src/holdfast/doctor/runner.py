"""Makes checks side by side, each as soon as what it needs is known, and none for longer than its time."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holdfast.core.uris import mask_passwords_in
from holdfast.doctor.check import Check, Finding, Result, Status, failed, failed_with, skipped
from holdfast.doctor.context import Context
from holdfast.errors import HoldfastError

# Everything together stays below 15 s: what is left after this is for cleaning up, and for starting the process.
TOTAL_S = 10.5
_AT_ONCE = 12
# AWS names whole accounts in its refusals.
_ACCOUNT = re.compile(r"(arn:aws[\w-]*:[\w-]*:[\w-]*:\d{4})\d{4}(\d{4})")
_SLOW = "see the network, or a server that accepts and does not answer; run `holdfast doctor --only {name}` again"

Report = Callable[[Result], None]


@dataclass
class _UnderWay:
    check: Check
    began_at: float


class Runner:
    """One examination.

    Args:
        checks: What to ask; what they need must be among them, and before them.
        context: What they look at.
        total_s: How long all of it may take, in seconds.
        say: Called with each result, in the order in which they come.
    """

    def __init__(
        self, checks: Sequence[Check], context: Context, total_s: float = TOTAL_S, say: Report | None = None
    ) -> None:
        self._context = context
        self._waiting = list(checks)
        self._ends_at = time.monotonic() + total_s
        self._total_s = total_s
        self._say = say or (lambda result: None)
        self._answers: queue.SimpleQueue[tuple[str, Finding]] = queue.SimpleQueue()
        self._under_way: dict[str, _UnderWay] = {}
        self._results: dict[str, Result] = {}
        # What went wrong first, by those that it keeps from being made.
        self._roots: dict[str, Result] = {}
        self._order = [check.name for check in checks]

    def run(self) -> list[Result]:
        """Return the results in the order of the checks. A check that does not answer is left behind in its thread."""
        while self._waiting or self._under_way:
            self._begin_what_can()
            if not self._under_way:
                continue
            self._hear()
            self._give_up_on_slow()
        return [self._results[name] for name in self._order]

    def _begin_what_can(self) -> None:
        for check in list(self._waiting):
            bad = self._unmet(check)
            if bad is not None:
                root = self._roots[check.name] = self._roots.get(bad.check.name, bad)
                self._settle(check, skipped(_why(root)), 0.0)
            elif self._may_begin(check):
                self._under_way[check.name] = _UnderWay(check, time.monotonic())
                threading.Thread(target=self._ask, args=(check,), name=f"doctor {check.name}", daemon=True).start()
            else:
                continue
            self._waiting.remove(check)

    def _may_begin(self, check: Check) -> bool:
        known = all(name in self._results for name in (*check.needs, *check.after))
        return known and len(self._under_way) < _AT_ONCE

    def _unmet(self, check: Check) -> Result | None:
        known = (self._results[name] for name in check.needs if name in self._results)
        return next((result for result in known if not result.finding.status.is_good_enough), None)

    def _ask(self, check: Check) -> None:
        try:
            finding = check.run(self._context)
        except HoldfastError as error:
            finding = failed_with(error)
        except Exception as error:  # an answer nobody foresaw is a finding too; the others go on
            finding = failed(
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                f"HOLDFAST_DEBUG=1 holdfast doctor --only {check.name} shows where",
            )
            self._context.unexpected(check.name, error)
        self._answers.put((check.name, finding))

    def _hear(self) -> None:
        try:
            name, finding = self._answers.get(timeout=max(0.0, self._next_limit() - time.monotonic()))
        except queue.Empty:
            return
        found = self._under_way.pop(name, None)
        if found is not None:  # else it was given up on
            self._settle(found.check, finding, time.monotonic() - found.began_at)

    def _next_limit(self) -> float:
        return min(self._ends_at, *(item.began_at + item.check.timeout_s for item in self._under_way.values()))

    def _give_up_on_slow(self) -> None:
        now = time.monotonic()
        for item in list(self._under_way.values()):
            took_s = now - item.began_at
            if took_s >= item.check.timeout_s or now >= self._ends_at:
                del self._under_way[item.check.name]
                remedy = _SLOW.replace("{name}", item.check.name)
                found = failed(f"no answer within {took_s:.1f} s", remedy, retryable=True)
                self._settle(item.check, found, took_s)
        if now >= self._ends_at:
            for check in self._waiting:
                self._settle(check, skipped(f"no time was left of {self._total_s:g} s"), 0.0)
            self._waiting.clear()

    def _settle(self, check: Check, finding: Finding, took_s: float) -> None:
        told = {name: self._plain(value) for name, value in finding.details.items()}
        found = _ACCOUNT.sub(r"\1…\2", self._shown(finding.found))
        shown = replace(finding, found=found, remedy=self._shown(finding.remedy), details=told)
        result = self._results[check.name] = Result(check, shown, took_s)
        self._say(result)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._shown(value)
        if isinstance(value, dict):
            return {name: self._plain(part) for name, part in value.items()}
        return [self._plain(part) for part in value] if isinstance(value, list | tuple) else value

    def _shown(self, text: str) -> str:
        return mask_passwords_in(self._context.redact(text))


def _why(root: Result) -> str:
    """Return why what needs a check was not asked: the check's own reason, where it has no part here."""
    return f"{root.check.name} failed" if root.finding.status is Status.FAILED else root.finding.found
