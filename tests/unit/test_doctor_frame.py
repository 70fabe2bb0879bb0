"""The frame of the doctor: what runs when, what is given up on, what is shown, and what is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

from holdfast import doctor, examine
from holdfast.doctor.catalog import CATALOG, GROUPS, select, with_needs
from holdfast.doctor.check import Check, Evidence, Finding, Fix, Result, Status, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.examine import _CLEAN_UP_S
from holdfast.doctor.report import Report
from holdfast.doctor.runner import TOTAL_S
from holdfast.errors import BackendUnavailableError, HoldfastError, InvalidInputError


@pytest.fixture
def endless() -> Iterator[Callable[[Context], Finding]]:
    """A check that hangs until the test is over."""
    end = threading.Event()

    def hang(context: Context) -> Finding:
        end.wait(60)
        return ok("woken")

    yield hang
    end.set()


def well(context: Context) -> Finding:
    return ok("it works")


def check(name: str, run: Callable[[Context], Finding] = well, *needs: str, timeout_s: float = 6.0) -> Check:
    return Check(name, f"{name}?", run, needs, timeout_s)


def statuses(report: Report) -> dict[str, str]:
    return {result.check.name: result.finding.status.value for result in report.results}


def test_what_a_check_needs_comes_before_it_in_the_catalog() -> None:
    seen: set[str] = set()
    for item in CATALOG:
        assert item.name not in seen
        assert {*item.needs, *item.after} <= seen, item
        assert item.group in GROUPS
        assert item.asks.endswith("?")
        assert item.timeout_s < TOTAL_S
        seen.add(item.name)
    assert set(GROUPS) >= {item.group for item in CATALOG}
    assert {"config.settings", "credentials.usable"} <= seen


def test_no_list_of_checks_is_forgotten() -> None:
    modules = [import_module(found.name) for found in walk_packages(doctor.__path__, "holdfast.doctor.")]
    assert {item for module in modules for item in getattr(module, "CHECKS", ())} <= set(CATALOG)


def test_everything_ends_within_fifteen_seconds() -> None:
    assert TOTAL_S + _CLEAN_UP_S <= 13.0  # and a process needs up to 2 s to start


def test_checks_run_side_by_side_and_a_hanging_one_is_given_up_on(endless: Callable[[Context], Finding]) -> None:
    catalog = [check(f"env.hangs{i}", endless, timeout_s=0.2) for i in range(30)] + [check("env.works")]
    began_at = time.monotonic()
    report = examine(catalog=catalog)
    assert time.monotonic() - began_at < 10.0
    assert statuses(report) == {f"env.hangs{i}": "failed" for i in range(30)} | {"env.works": "ok"}
    said = report.results[0].finding
    assert said.found.startswith("no answer within 0.2 s")
    assert "holdfast doctor --only env.hangs0" in said.remedy
    assert report.exit_code == 3


def test_all_of_them_together_have_a_limit(endless: Callable[[Context], Finding]) -> None:
    catalog = [check(f"env.hangs{i}", endless) for i in range(20)] + [check("env.after", well, "env.hangs0")]
    began_at = time.monotonic()
    report = examine(catalog=catalog, total_s=0.5)
    assert time.monotonic() - began_at < 10.0
    counts = {status: report.count(status) for status in Status}
    assert counts == {Status.OK: 0, Status.SKIPPED: 9, Status.WARNING: 0, Status.FAILED: 12}
    assert report.results[-1].finding.status is Status.SKIPPED


def raising(error: Exception) -> Callable[[Context], Finding]:
    def run(context: Context) -> Finding:
        raise error

    return run


def test_what_a_check_raises_is_a_finding(canary: str, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"MLFLOW_AWS_ACCESS_KEY_ID": "AKIDEXAMPLE12345", "MLFLOW_AWS_SECRET_ACCESS_KEY": canary}
    catalog = [
        check("env.known", raising(HoldfastError("It broke.", "mend it"))),
        check("env.unknown", raising(ValueError(f"odd {canary}"))),
        check("env.needs_it", well, "env.known"),
        check("env.needs_that", well, "env.needs_it"),
    ]
    report = examine(catalog=catalog, environ=environ | {"HOLDFAST_DEBUG": "1"})
    known, unknown, needs_it, needs_that = (result.finding for result in report.results)
    assert (known.status, known.found, known.remedy) == (Status.FAILED, "It broke", "mend it")
    assert (unknown.found, unknown.remedy) == (
        "ValueError: odd ****",
        "HOLDFAST_DEBUG=1 holdfast doctor --only env.unknown shows where",
    )
    assert (needs_it.status, needs_it.found) == (Status.SKIPPED, "env.known failed")
    assert (needs_that.status, needs_that.found) == (Status.SKIPPED, "env.known failed")
    assert "in raising" not in known.found
    traced = capsys.readouterr().err
    assert "Traceback" in traced
    assert "(in env.unknown)" in traced
    assert canary not in f"{traced}{report}{report.as_document()}"


def test_details_are_redacted_too(canary: str) -> None:
    def tell(context: Context) -> Finding:
        return ok("fine", deep={"list": [canary, 1]}, uri=f"http://u:{canary}@host/")

    environ = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE12345", "AWS_SECRET_ACCESS_KEY": canary}
    (result,) = examine(catalog=[check("env.tells", tell)], environ=environ).results
    assert result.finding.details == {"deep": {"list": ["****", 1]}, "uri": "http://u:****@host/"}


def test_secrets_are_known_where_settings_cannot_be_loaded(canary: str) -> None:
    Path(".env").write_text(f"MLFLOW_TRACKING_URI=s3://nowhere\nMLFLOW_TRACKING_PASSWORD={canary}\n")
    report = examine(catalog=[check("env.tells", lambda context: ok(f"see {canary}"))])
    assert report.results[0].finding.found == "see ****"


def test_what_is_left_is_taken_away_or_told(endless: Callable[[Context], Finding], canary: str) -> None:
    there = {"s3://bucket/one", "s3://bucket/two"}

    def leave(context: Context) -> Finding:
        context.leaves("s3://bucket/one", lambda: there.remove("s3://bucket/one"))
        context.leaves("s3://bucket/two", fail)
        return endless(context)

    def fail() -> None:
        raise ConnectionError("the network is gone")

    report = examine(catalog=[check("s3.put", leave, timeout_s=0.2)])
    assert there == {"s3://bucket/two"}
    assert report.left_behind == ["s3://bucket/two"]
    assert "could not be removed, and is still there: s3://bucket/two" in str(report)


def test_cleaning_up_has_a_limit_too(endless: Callable[[Context], Finding]) -> None:
    def hang(context: Context) -> None:
        endless(context)

    def leave(context: Context) -> Finding:
        for number in range(5):
            context.leaves(f"run {number}", lambda: hang(context))
        return ok("left")

    began_at = time.monotonic()
    report = examine(catalog=[check("server.run", leave)])
    assert time.monotonic() - began_at < _CLEAN_UP_S + 1.5
    assert len(report.left_behind) == 5
    assert (report.worst, report.exit_code) == (Status.WARNING, 0)


# -- what is chosen and shown -------------------------------------------------------------


SOME = [
    check("config.settings"),
    check("env.one"),
    check("s3.bucket", well, "config.settings"),
    check("s3.lifecycle_uploads", well, "s3.bucket"),
    check("s3.lifecycle_expiry", well, "s3.bucket"),
    check("config.root", well, "config.settings"),
]


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        ([], {item.name for item in SOME}),
        (["s3"], {"s3.bucket", "s3.lifecycle_uploads", "s3.lifecycle_expiry"}),
        (["s3.lifecycle", "env"], {"s3.lifecycle_uploads", "s3.lifecycle_expiry", "env.one"}),
        (["env, config"], {"env.one", "config.settings", "config.root"}),
        (["S3.Bucket"], {"s3.bucket"}),
    ],
)
def test_checks_are_chosen_by_group_name_or_beginning(only: list[str], chosen: set[str]) -> None:
    assert select(only, SOME) == chosen


@pytest.mark.parametrize(
    ("only", "hint"),
    [
        (["s3.bukcet"], "did you mean 's3.bucket'?"),
        (["sever"], "did you mean 'server'?"),
        (["env", "xyzzy"], "the groups are env, boto3, credentials, s3, config, server, journal"),
        ([""], "the groups are"),
    ],
)
def test_a_name_that_means_nothing_is_refused(only: list[str], hint: str) -> None:
    with pytest.raises(InvalidInputError, match="There is no check") as refused:
        select(only, SOME)
    assert hint in refused.value.hint


def test_the_checks_of_the_seeds_are_groups() -> None:
    for group in ("env", "boto3", "credentials", "s3", "config", "server"):
        assert select([group])


def test_what_is_needed_is_made_and_shown_only_where_it_went_wrong() -> None:
    names = [item.name for item in with_needs({"s3.lifecycle_expiry"}, SOME)]
    assert names == ["config.settings", "s3.bucket", "s3.lifecycle_expiry"]
    assert statuses(examine(only=["s3.lifecycle_expiry"], catalog=SOME)) == {"s3.lifecycle_expiry": "ok"}
    broken = [check("config.settings", raising(HoldfastError("No.", "do"))), *SOME[1:]]
    assert statuses(examine(only=["s3.lifecycle_expiry"], catalog=broken)) == {
        "s3.bucket": "skipped",
        "s3.lifecycle_expiry": "skipped",
        "config.settings": "failed",
    }


def test_results_are_told_as_they_come_in_the_order_of_the_groups() -> None:
    first_may_end = threading.Event()

    def late(context: Context) -> Finding:
        first_may_end.wait(10)
        return ok("late")

    def release(context: Context) -> Finding:
        first_may_end.set()
        return ok("early")

    told: list[str] = []
    catalog = [check("config.settings", release), check("env.late", late), check("s3.bucket")]
    report = examine(catalog=catalog, say=lambda result: told.append(result.check.name))
    assert told == ["env.late", "s3.bucket", "config.settings"] == [result.check.name for result in report.results]


# -- the report ---------------------------------------------------------------------------


def report_of(*findings: Finding, first: str = "env.x0") -> Report:
    names = [first, *(f"env.x{number}" for number in range(1, len(findings)))]
    return Report([Result(check(name), finding) for name, finding in zip(names, findings, strict=False)], 1.25)


AWAY = BackendUnavailableError("It is away.", "wait", retryable=True)


@pytest.mark.parametrize(
    ("report", "worst", "exit_code"),
    [
        (report_of(), Status.OK, 0),
        (report_of(ok("a"), skipped("b")), Status.OK, 0),
        (report_of(ok("a"), warning("b", "c")), Status.WARNING, 0),
        (report_of(warning("b", "c"), failed("d", "e")), Status.FAILED, 1),
        (report_of(failed("d", "e", retryable=True), ok("a")), Status.FAILED, 3),
        (report_of(failed("d", "e", retryable=True), failed("f", "g")), Status.FAILED, 1),
        (report_of(failed("d", "e"), failed("f", "g"), first="config.settings"), Status.FAILED, 2),
    ],
)
def test_the_exit_code_is_that_of_the_worst(report: Report, worst: Status, exit_code: int) -> None:
    assert (report.worst, report.exit_code) == (worst, exit_code)


def test_an_error_that_may_pass_is_told_as_such() -> None:
    report = examine(catalog=[check("server.reachable", raising(AWAY))])
    assert (report.exit_code, report.results[0].finding.retryable) == (3, True)


def test_a_report_reads_well() -> None:
    fix = Fix("do it", lambda: "done")
    report = report_of(
        ok("fine", Evidence.INFERRED), warning("first\nsecond", "one\ntwo", fix=fix), failed("broken", "mend")
    )
    assert str(report).splitlines() == [
        "env",
        "  ok      env.x0                     fine (inferred)",
        "  warning env.x1                     first",
        "          second",
        "          -> one",
        "          -> two",
        "  FAILED  env.x2                     broken",
        "          -> mend",
        "1 FAILED (env.x2), 1 warning, 1 ok, 0 skipped in 1.2 s",
    ]
    document = report.as_document()
    assert (document["status"], document["counts"]["failed"], document["left_behind"]) == ("failed", 1, [])
    assert [entry["can_fix"] for entry in document["checks"]] == [False, True, False]


def test_what_is_skipped_for_one_reason_shares_a_line() -> None:
    report = report_of(*[skipped("env.y failed")] * 3, skipped("another"), ok("fine"))
    assert str(report).splitlines()[1:4] == [
        "  skipped env.x0 … x2 (3)            env.y failed",
        "  skipped env.x3                     another",
        "  ok      env.x4                     fine",
    ]
