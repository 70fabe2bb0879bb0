"""What `holdfast gc` shows: the plan, what is protected, what could not be looked at, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from holdfast.cli.s3_usage import size

if TYPE_CHECKING:
    from holdfast.core.cleanup.plan import Holding, Item, Plan
    from holdfast.maintenance.applying import Outcome
    from holdfast.maintenance.survey import Survey, Trouble
    from holdfast.project import Project


class Screen:
    """Shows one clean-up to people, or to a program.

    Args:
        project: Whose it is; its secrets are masked in all that is shown.
        limit: How many lines of a table are shown; 0 for all.
        json: Print one document on standard output in the end, and nothing else there.
        is_quiet: Leave standard output to somebody else.
    """

    def __init__(self, project: Project, limit: int, json: bool, is_quiet: bool = False) -> None:
        from holdfast.cli.output import get_output

        self._project, self._limit = project, limit
        self.out = get_output(json or is_quiet)

    def show_survey(self, survey: Survey) -> None:
        """Show the plan that a survey made, and what could not be looked at."""
        self.show_plan(survey.plan)
        self._show_runs(survey)
        self._show_troubles(survey.troubles)

    def _show_runs(self, survey: Survey) -> None:
        """Say of the runs that were named which are none, and which are not deleted."""
        known = {run.run_id: run for run in survey.state.runs}
        planned = {item.id for item in survey.plan.items}
        for run_id in survey.plan.rules.run_ids:
            run = known.get(run_id)
            if run is None:
                self.out.warn(f"there is no run {run_id}")
            elif not run.is_deleted and run_id not in planned:
                self.out.warn(f"run {run_id} is not deleted: mlflow runs delete --run-id {run_id}")

    def show_plan(self, plan: Plan) -> None:
        """Show what would be done, what stays, and what else there is to say."""
        if plan.items:
            rows = [_row(item, plan.made_ms) for item in plan.items[: self._limit or None]]
            columns = ["what", "name", "why", "objects", "size", "last written"]
            self._table("To be cleaned up", columns, rows, len(plan.items))
            self.out.table("Altogether", ["what", "count", "size"], _totals(plan))
        if plan.kept:
            kept = [[one.kind, self._said(named(one.name, one.id)), self._said(one.why)] for one in plan.kept]
            shown = kept[: self._limit or None]
            self._table("Protected, though it looks like garbage", ["what", "name", "by what"], shown, len(kept))
        for text in plan.told:
            self.out.warn(self._said(text))

    def _show_troubles(self, troubles: Sequence[Trouble]) -> None:
        rows = [[one.place, f"{one.message} ({one.code})" if one.code else one.message, one.hint] for one in troubles]
        shown = [[self._said(cell) for cell in row] for row in rows[: self._limit or None]]
        if rows:
            title = "Could not be looked at; nothing of it is touched"
            self._table(title, ["where", "why", "what helps"], shown, len(rows))
            self.out.warn(f"{counted(len(rows), 'place')} could not be looked at, and nothing there is in the plan")

    def say_what_next(
        self, plan: Plan, plan_file: str | None, troubles: Sequence[Trouble] = (), tracking_uri: str | None = None
    ) -> None:
        """Say how what was shown is done; `tracking_uri` is what was given for it."""
        if not plan.items and troubles:
            unseen = counted(len(troubles), "place")
            self.out.line(f"Nothing could be planned: {unseen} could not be looked at; elsewhere there is no garbage.")
        elif not plan.items:
            self.out.line("Nothing is to be cleaned up.")
        elif plan_file == "-":
            self.out.hint("nothing was changed; holdfast gc --apply --plan FILE does what this plan says")
        elif plan_file is not None:
            import shlex

            where = "" if tracking_uri is None else f" --tracking-uri {shlex.quote(tracking_uri)}"
            does = f"holdfast gc --apply --plan {shlex.quote(plan_file)}{where}"
            self.out.line(f"The plan is in {plan_file}")
            self.out.hint(f"nothing was changed; do it with: {self._said(does)}")
        else:
            self.out.hint("nothing was changed; the same command with --apply does it")

    def say_carried_out(self, gc_ids: Sequence[str]) -> None:
        """Say that all of a plan was done before."""
        self.out.line(f"Nothing of this plan is left: it was carried out by {' and '.join(gc_ids)}.")
        self.out.hint(f"what became of it: holdfast gc log {gc_ids[-1]}; a new plan: holdfast gc --plan FILE")

    def say_done_before(self, plan: Plan, still: Plan, gc_ids: Sequence[str]) -> None:
        """Say that some of a plan was done before."""
        done = counted(len(plan.items) - len(still.items), "item")
        self.out.hint(f"{done} of {len(plan.items):,} done already, by {' and '.join(gc_ids)}")

    def show_outcome(self, outcome: Outcome, plan: Plan) -> None:
        """Show what was done, what was left and why, and how much room there is again."""
        skipped = [
            [one.item.kind, self._said(named(one.item.name, one.item.id)), self._said(one.why)]
            for one in outcome.skipped
        ]
        if skipped:
            columns = ["what", "name", "why"]
            self._table("Left as it is", columns, skipped[: self._limit or None], len(skipped))
        self._show_refused(outcome)
        self.out.line(f"Done: {_kinds(outcome.done) or 'nothing'}")
        for line in _what_came(outcome, plan):
            self.out.line(line)
        if len(outcome.skipped) == len(plan.items):
            self.out.line("Nothing of the plan was left to do: all of it is gone, or has changed since it was made.")
        if outcome.left:
            were = "was" if outcome.left == 1 else "were"
            unfinished = f"{counted(outcome.left, 'item')} of {len(plan.items):,} {were} not finished"
            self.out.warn(f"{unfinished}; the same command goes on")
        self.out.hint(_where_told(outcome, plan))

    def _show_refused(self, outcome: Outcome) -> None:
        found = [failure for refused in outcome.refused for failure in refused.failures]
        if found:
            rows = [
                [self._said(one.address), one.version_id, one.code, self._said(one.message)]
                for one in found[: self._limit or None]
            ]
            self._table("Refused", ["what", "version", "code", "why"], rows, len(found))
            self.out.warn(
                f"{counted(len(found), 'refusal')} of {counted(len(outcome.refused), 'item')}; "
                "what they belong to stays in MLflow, and the next clean-up finds it"
            )

    def print_document(
        self, status: str, plan: Plan, survey: Survey | None = None, outcome: Outcome | None = None
    ) -> None:
        """Print the whole as JSON."""
        from holdfast.cli.gc_document import document

        made = document(status, self._project, plan, survey, outcome)
        self.out.data(made)

    def _table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], count: int) -> None:
        more = count - len(rows)
        self.out.table(title, columns, [[self._said(cell) for cell in row] for row in rows])
        if more > 0:
            self.out.line(f"… and {more:,} more (--limit-shown 0 shows all, --json too)")

    def _said(self, text: str) -> str:
        from holdfast.core.uris import mask_passwords_in

        return mask_passwords_in(self._project.redact(text))


def question(plan: Plan) -> str:
    """Return what to ask before a plan is carried out."""
    from holdfast.core.cleanup.plan import Action, add_up

    asked = []
    for action, verb, end in (
        (Action.PURGE, "Delete", " for good"),
        (Action.TRASH, "Put", " into the trash"),
        (Action.EXPIRE, "Mark", " as deleted"),
    ):
        items = [item for item in plan.items if item.action is action]
        if items:
            held = add_up(item.holding for item in items)
            with_files = "" if action is Action.EXPIRE or not held.count else f" with {_stored(held, action.value)}"
            asked.append(f"{verb} {_kinds(items)}{with_files}{end}")
    return f"{'. '.join(asked)}?"


def _stored(held: Holding, action: str) -> str:
    if action == "trash":
        return f"{counted(held.objects, 'object')} ({size(held.size_bytes)})"
    return f"{', '.join(_forms(held))} ({size(held.all_bytes)})"


def _kinds(items: Sequence[Item]) -> str:
    counts = Counter(item.kind for item in items)
    return ", ".join(counted(count, kind) for kind, count in counts.items())


def _row(item: Item, now_ms: int) -> list[str]:
    from holdfast.core.cleanup.ages import shown_age

    held = item.holding
    newest = held.newest_ms
    age = "" if newest is None else f"{shown_age((now_ms - newest) / 1000)} ago"
    does = {"expire": "mark deleted: ", "trash": "trash: "}.get(item.action, "")
    count, room = ("", "") if item.action == "expire" else (f"{held.count:,}", size(held.all_bytes))
    return [item.kind, named(item.name, item.id), f"{does}{item.why}", count, room, age]


def _totals(plan: Plan) -> list[list[str]]:
    counts = Counter(item.kind for item in plan.items)
    rows = [[_plural(kind), f"{count:,}", ""] for kind, count in counts.items()]
    total = plan.total
    stored = (
        ("objects", total.objects, total.size_bytes),
        ("old versions", total.old_versions, total.old_bytes),
        ("delete markers", total.markers, 0),
        ("unfinished uploads", total.uploads, total.upload_bytes),
    )
    rows += [[what, f"{count:,}", size(room)] for what, count, room in stored if count]
    if plan.rules.trash:
        return [*rows, ["to be hidden, not reclaimed", "", size(total.size_bytes)]]
    return [*rows, ["to be reclaimed", "", size(total.all_bytes)]]


def _what_came(outcome: Outcome, plan: Plan) -> Iterator[str]:
    went = outcome.reclaimed
    if plan.rules.trash:
        yield f"Put in the trash: {counted(outcome.trashed, 'object')}"
    if went.count or not plan.rules.trash:
        yield f"Deleted: {', '.join(_forms(went)) or 'no objects'}"
    if rows := ", ".join(f"{count:,} of {table}" for table, count in outcome.rows.items() if count):
        yield f"Rows removed: {rows}"
    if went.count or not plan.rules.trash:
        yield f"Reclaimed: {size(went.all_bytes)}"


def _forms(held: Holding) -> list[str]:
    counts = (
        (held.objects, "object"),
        (held.old_versions, "old version"),
        (held.markers, "delete marker"),
        (held.uploads, "unfinished upload"),
    )
    return [counted(count, what) for count, what in counts if count]


def _where_told(outcome: Outcome, plan: Plan) -> str:
    told = f"every key: holdfast gc log {outcome.gc_id} --keys"
    can_undo = any(item.action != "purge" for item in outcome.done)
    return f"{told}; back again: holdfast gc undo {outcome.gc_id}" if can_undo and plan.items else told


def named(name: str, id_: str) -> str:
    """Return a name with the id that it does not hold already."""
    return name if not id_ or id_ in name else f"{name} ({id_})" if name else id_


def counted(count: int, what: str) -> str:
    """Return a number with what it counts: `1 key`, `2,000 keys`."""
    return f"{count:,} {what if count == 1 else _plural(what)}"


def _plural(what: str) -> str:
    return f"{what}s"
