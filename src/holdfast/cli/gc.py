"""`holdfast gc`: shows what is garbage in a store and what is protected, and removes it when told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli import gc_log
from holdfast.cli.gc_asked import Options
from holdfast.cli.s3_usage import Json

if TYPE_CHECKING:
    from holdfast.cli.gc_output import Screen
    from holdfast.core.cleanup.plan import Plan
    from holdfast.maintenance.applying import Outcome
    from holdfast.maintenance.asking import Asked
    from holdfast.maintenance.survey import Survey
    from holdfast.project import Project

app = typer.Typer()
app.command("undo")(gc_log.undo)
app.command("log")(gc_log.log)

_ASKED = "What is asked"
_WHERE = "Where"


@app.callback(invoke_without_command=True)
def gc(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and change nothing; so it is without --apply.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it, after asking.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
    plan: Annotated[
        str | None,
        typer.Option("--plan", metavar="FILE", help="Write the plan there; with --apply, apply that one. - is a pipe."),
    ] = None,
    limit_shown: Annotated[
        int, typer.Option("--limit-shown", min=0, help="Show so many lines of each table; 0 shows all.")
    ] = 20,
    schedule: Annotated[
        bool,
        typer.Option("--schedule", help="Print a cron line and a Kubernetes CronJob that do this, and do nothing."),
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="AGE",
            help="Only what was deleted so long ago: 1d2h, 0s; \\[tool.holdfast.gc] or 30d if not given.",
            rich_help_panel=_ASKED,
        ),
    ] = None,
    grace: Annotated[
        str | None,
        typer.Option(
            "--grace",
            metavar="AGE",
            help="Leave what was written in the last so long; \\[tool.holdfast.gc] or 1d if not given.",
            rich_help_panel=_ASKED,
        ),
    ] = None,
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans", help="Also files below the artifact roots that nothing knows.", rich_help_panel=_ASKED
        ),
    ] = False,
    retention: Annotated[
        bool,
        typer.Option(
            "--retention",
            help="Also what the rules of \\[tool.holdfast.gc] no longer keep.",
            rich_help_panel=_ASKED,
        ),
    ] = False,
    trash: Annotated[
        bool,
        typer.Option(
            "--trash",
            help="Hide files in buckets that keep versions, so that `holdfast gc undo` brings them back.",
            rich_help_panel=_ASKED,
        ),
    ] = False,
    experiment: Annotated[
        list[str] | None,
        typer.Option(
            "--experiment",
            "-e",
            help="Look at this experiment only, by name or id; may be given several times.",
            rich_help_panel=_ASKED,
        ),
    ] = None,
    run_ids: Annotated[
        str | None,
        typer.Option("--run-ids", metavar="A,B", help="Look at these runs only.", rich_help_panel=_ASKED),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option("--tracking-uri", help="The tracking store; the settings' if not given.", rich_help_panel=_WHERE),
    ] = None,
    backend_store_uri: Annotated[
        str | None,
        typer.Option(
            "--backend-store-uri",
            help="The database behind the server: rows can be removed there alone.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    artifacts_destination: Annotated[
        str | None,
        typer.Option(
            "--artifacts-destination", help="Where a server that passes files on keeps them.", rich_help_panel=_WHERE
        ),
    ] = None,
) -> None:
    """Show what is garbage in MLflow and its stores, why, and how large it is; with --apply, remove it.

    Garbage is what was deleted in MLflow long enough ago: runs with their files, logged models and traces, logged
    models, experiments; old versions and delete markers of these, unfinished uploads; with --orphans and --retention
    more. Nothing goes that a registered version, an alias, an approval, a rollback, a running run or a recent write
    needs. Files go first; rows go when the store is seen to hold nothing of them any more.

    Exit codes: 0 done or shown, 1 something was refused or could not be looked at, 2 wrong usage, 3 try again later,
    130 Ctrl-C. Whatever was left, the next one finds.

    Example: holdfast gc --older-than 30d --plan plan.jsonl && holdfast gc --apply --plan plan.jsonl
    """
    options = Options(
        older_than, grace, orphans, retention, trash, tuple(experiment or ()), run_ids, tracking_uri,
        backend_store_uri, artifacts_destination, limit_shown,
    )  # fmt: skip
    given = _given(context)
    if context.invoked_subcommand is not None:
        _refuse(given, f"means nothing to `holdfast gc {context.invoked_subcommand}`")
        return
    if dry_run and apply:
        raise typer.BadParameter("--dry-run and --apply contradict each other.")
    if schedule:
        from holdfast.cli.gc_schedule import print_schedule

        _refuse(given & {"dry_run", "plan"}, "means nothing to --schedule")
        print_schedule(options, json)
    elif apply:
        _apply(options, given, plan, yes, json)
    else:
        _show(options, plan, json)


def _given(context: typer.Context) -> set[str]:
    # By its name: newer versions of typer have an enumeration of their own.
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _refuse(given: set[str], why: str) -> None:
    if given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        raise typer.BadParameter(f"{named} {why}.")


def _show(options: Options, plan_file: str | None, json: bool) -> None:
    from holdfast.cli.gc_ending import end, later_if_retryable
    from holdfast.cli.gc_output import Screen
    from holdfast.cli.gc_plan import check_target, write_plan
    from holdfast.maintenance.ledger import home_of

    if plan_file == "-" and json:
        raise typer.BadParameter("--json and --plan - would both write to standard output.")
    project, asked = options.open()
    if plan_file is not None:
        check_target(plan_file, home_of(project))
    screen = Screen(project, options.limit_shown, json, is_quiet=plan_file == "-")
    with later_if_retryable(screen.out):
        survey = _survey(project, asked)
    screen.show_survey(survey)
    if plan_file is not None:
        write_plan(plan_file, survey.plan, home_of(project))
    if json:
        screen.print_document("planned", survey.plan, survey)
    else:
        screen.say_what_next(survey.plan, plan_file, survey.troubles, options.tracking_uri)
    end(survey.troubles)


def _apply(options: Options, given: set[str], plan_file: str | None, yes: bool, json: bool) -> None:
    from holdfast.cli.asking import is_sure
    from holdfast.cli.gc_ending import end, end_interrupted, later_if_retryable
    from holdfast.cli.gc_output import Screen, question
    from holdfast.cli.gc_plan import split_done
    from holdfast.maintenance.ledger import home_of

    survey: Survey | None = None
    if plan_file is not None:
        _refuse(given & options.of_rules(), "contradicts --plan, which has its own; leave it out, or make a new plan")
        plan, project, asked = _read(options, plan_file)
        screen = Screen(project, options.limit_shown, json)
        still, gc_ids = split_done(home_of(project), plan)
        screen.show_plan(still)
        if gc_ids and not still.items:
            screen.print_document("nothing to do", still) if json else screen.say_carried_out(gc_ids)
            return
        if gc_ids:
            screen.say_done_before(plan, still, gc_ids)
    else:
        project, asked = options.open()
        screen = Screen(project, options.limit_shown, json)
        with later_if_retryable(screen.out):
            survey = _survey(project, asked)
        screen.show_survey(survey)
        plan = still = survey.plan
    troubles = survey.troubles if survey is not None else ()
    if not plan.items:
        screen.print_document("nothing to do", plan, survey) if json else screen.say_what_next(plan, None, troubles)
        end(troubles)
        return
    if not is_sure(question(still), yes, "Nothing was deleted"):
        raise typer.Exit(1)
    with later_if_retryable(screen.out):
        outcome, number = _carry_out(project, plan, asked, screen, survey)
    if json:
        screen.print_document("stopped" if number else "applied", plan, survey, outcome)
    else:
        screen.show_outcome(outcome, plan)
    if number:
        end_interrupted(number)
    end(troubles, outcome, screen.out)


def _read(options: Options, plan_file: str) -> tuple[Plan, Project, Asked]:
    from holdfast.cli.gc_plan import check_store, read_plan

    plan = read_plan(plan_file)
    project, asked = options.open_for(plan)
    check_store(plan, project.settings)
    return plan, project, asked


def _survey(project: Project, asked: Asked) -> Survey:
    from holdfast.artifacts.progress import meter_for
    from holdfast.cli.gc_plan import as_asked
    from holdfast.maintenance.survey import survey

    meter = meter_for(doing="count")
    try:
        return as_asked(survey(project, asked, meter), asked, project.settings)
    finally:
        meter.end()


def _carry_out(
    project: Project, plan: Plan, asked: Asked, screen: Screen, survey: Survey | None
) -> tuple[Outcome, int]:
    from holdfast.artifacts.progress import meter_for
    from holdfast.cli.gc_ending import stopping
    from holdfast.maintenance.applying import apply

    meter = meter_for(doing="delete")
    try:
        with stopping(screen.out) as stop:
            outcome = apply(project, plan, asked, meter, stop.event, survey)
        return outcome, stop.number
    finally:
        meter.end()
