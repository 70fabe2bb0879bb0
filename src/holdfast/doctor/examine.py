"""`examine`: makes the checks and returns what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

from holdfast.doctor.catalog import CATALOG, for_role, in_order, select, with_needs
from holdfast.doctor.check import Check, Result
from holdfast.doctor.context import Context, Role
from holdfast.doctor.report import Report
from holdfast.doctor.runner import TOTAL_S, Runner
from holdfast.doctor.wording import left_behind_lines
from holdfast.errors import InvalidInputError

_CLEAN_UP_S = 2.5
# Whoever has pressed Ctrl-C may press it again.
_CUT_SHORT_S = 6.0


def examine(
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
    only: Iterable[str] = (),
    say: Callable[[Result], None] | None = None,
    total_s: float = TOTAL_S,
    catalog: Sequence[Check] = CATALOG,
    role: Role = "writer",
) -> Report:
    """Examine a project: its settings, keys, bucket, tracking server and journal.

    Nothing is changed, and what is made for a trial is taken away again, also where an exception such as Ctrl-C cuts it
    short; what then could not be stands in the exception's notes. `print` shows the report:

        print(holdfast.examine(only=["s3"]))

    Args:
        start: A folder of the project; the working directory by default.
        environ: Read instead of `os.environ` for the settings.
        only: What to ask: groups (`s3`), names (`s3.versioning`) or beginnings of names; everything by default.
        say: Called with each result that will be in the report, in the report's order, as soon as those before it
            are there.
        total_s: How long the checks may take together, in seconds; up to 2.5 more go into cleaning up.
        catalog: The checks there are.
        role: What the project's keys are for: `writer`, or `reader`, for which nothing is written anywhere, and
            reading is tried on a file that is there.

    Raises:
        InvalidInputError: `only` names no check, `role` is neither of the two, or `start` does not exist.
    """
    if role not in get_args(Role):
        raise InvalidInputError(f"There is no role {role!r}.", f"give {' or '.join(get_args(Role))}")
    began_at = time.monotonic()
    chosen = select(only, catalog)
    checks = with_needs(chosen, for_role(role, catalog))
    context = Context(start, environ, role)
    teller = Teller(checks, chosen, say or (lambda result: None))
    try:
        Runner(checks, context, total_s, teller.hear).run()
        left_behind = context.clean_up(_CLEAN_UP_S)
    except BaseException as error:
        _end(context, error)
        raise
    return Report(teller.told, time.monotonic() - began_at, [context.redact(what) for what in left_behind])


def _end(context: Context, error: BaseException) -> None:
    """Clean up after what has cut an examination short, and note there what could not be taken away."""
    with suppress(KeyboardInterrupt, SystemExit):  # once more: somebody does not want to wait for it
        context.clean_up(_CUT_SHORT_S)
    for line in left_behind_lines([context.redact(what) for what in context.left_behind]):
        error.add_note(line)


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
