"""`examine`: makes the checks and returns what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from holdfast.doctor.catalog import CATALOG, in_order, select, with_needs
from holdfast.doctor.check import Check, Result
from holdfast.doctor.context import Context
from holdfast.doctor.report import Report
from holdfast.doctor.runner import TOTAL_S, Runner

_CLEAN_UP_S = 2.0


def examine(
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
    only: Iterable[str] = (),
    say: Callable[[Result], None] | None = None,
    total_s: float = TOTAL_S,
    catalog: Sequence[Check] = CATALOG,
) -> Report:
    """Examine a project: its settings, keys, bucket, tracking server and journal.

    Nothing is changed, and what is made for a trial is taken away again. `print` shows the report:

        print(holdfast.examine(only=["s3"]))

    Args:
        start: A folder of the project; the working directory by default.
        environ: Read instead of `os.environ` for the settings.
        only: What to ask: groups (`s3`), names (`s3.versioning`) or beginnings of names; everything by default.
        say: Called with each result that will be in the report, in the report's order, as soon as those before it
            are there.
        total_s: How long the checks may take together, in seconds; up to two more go into cleaning up.
        catalog: The checks there are.

    Raises:
        InvalidInputError: `only` names no check, or `start` does not exist.
    """
    began_at = time.monotonic()
    chosen = select(only, catalog)
    checks = with_needs(chosen, catalog)
    context = Context(start, environ)
    teller = Teller(checks, chosen, say or (lambda result: None))
    Runner(checks, context, total_s, teller.hear).run()
    left_behind = [context.redact(what) for what in context.clean_up(_CLEAN_UP_S)]
    return Report(teller.told, time.monotonic() - began_at, left_behind)


class Teller:
    """Passes results on in the order of the report, each as soon as all before it are known.

    Args:
        checks: All that are made.
        chosen: Names of those that were asked for; of the others only those are told that did not go well.
        say: Takes the results.
    """

    def __init__(self, checks: Iterable[Check], chosen: set[str], say: Callable[[Result], None]) -> None:
        self._waiting = [check.name for check in in_order(checks)]
        self._chosen = chosen
        self._say = say
        self._known: dict[str, Result] = {}
        self.told: list[Result] = []

    def hear(self, result: Result) -> None:
        """Take a result, in whatever order."""
        self._known[result.check.name] = result
        while self._waiting and self._waiting[0] in self._known:
            following = self._known[self._waiting.pop(0)]
            if following.check.name in self._chosen or not following.finding.status.is_good_enough:
                self.told.append(following)
                self._say(following)
