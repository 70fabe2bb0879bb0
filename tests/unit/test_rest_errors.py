"""Which answers and failures are given up, and which are tried again."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
import urllib3

from holdfast.backend import rest_errors
from holdfast.backend.rest_errors import DoubledError, answer_error, code_error, retry_after_s, trouble_error, within
from holdfast.backend.rest_sender import RestSender
from holdfast.backend.sendable import smaller_parts
from holdfast.core.login import Login
from holdfast.core.redaction import Redactor
from holdfast.core.sending import Point, Refused, TooLarge, Unavailable

HIDE = Redactor()
HTML = b"<html><head><style>x</style><title>Bad Gateway</title></head><body>nginx</body></html>"
MLFLOW_CODES = 79  # those of MLflow 3.0; later ones only add


def mlflow(code: str, message: str = "why") -> bytes:
    return json.dumps({"error_code": code, "message": message}).encode()


def sorted_out(error: Exception) -> str:
    if isinstance(error, TooLarge):
        return "too large"
    if isinstance(error, Refused):
        return "refused, run" if error.about_run else "refused"
    assert isinstance(error, Unavailable)
    return "people" if error.needs_people else "later"


ACTIVE = "The run 1f2e must be in the 'active' state. Current state is deleted."
CONFLICT = "Changing param values is not allowed. Param with key='Run with id=1 not found' was already logged"
DOUBLE = '(psycopg.errors.UniqueViolation) duplicate key value violates unique constraint "datasets_pk"'
NUL = "(psycopg.DataError) PostgreSQL text fields cannot contain NUL (0x00) bytes\n[SQL: INSERT"
POOL = "QueuePool limit of size 5 overflow 10 reached (Background on this error at: https://sqlalche.me/e/20/3o7r)"

ANSWERS = [
    # What MLflow refuses, in its own words.
    (400, mlflow("INVALID_PARAMETER_VALUE"), "refused"),
    (400, mlflow("INVALID_PARAMETER_VALUE", CONFLICT), "refused"),
    (400, mlflow("BAD_REQUEST"), "refused"),
    (400, mlflow("BAD_REQUEST", NUL), "refused"),
    (400, mlflow("BAD_REQUEST", "(sqlite3.IntegrityError) NOT NULL constraint failed: params.value"), "refused"),
    (400, mlflow("RESOURCE_ALREADY_EXISTS"), "refused"),
    (404, mlflow("RESOURCE_DOES_NOT_EXIST", "No Experiment with id=7 exists"), "refused"),
    (404, mlflow("RESOURCE_DOES_NOT_EXIST", "No tag with name: Run with id=1 not found"), "refused"),
    (500, mlflow("MALFORMED_REQUEST"), "refused"),
    (409, mlflow("ALREADY_EXISTS"), "refused"),
    # Where the run is the cause.
    (404, mlflow("RESOURCE_DOES_NOT_EXIST", "Run with id=1f2e not found"), "refused, run"),
    (404, mlflow("RESOURCE_DOES_NOT_EXIST", "Run '1f2e' not found"), "refused, run"),
    (400, mlflow("INVALID_PARAMETER_VALUE", ACTIVE), "refused, run"),
    (400, mlflow("INVALID_PARAMETER_VALUE", "Invalid value \"x y\" for parameter 'run_id' supplied."), "refused, run"),
    # Trouble of the database, which MLflow reports with the status of a bad request.
    (400, mlflow("BAD_REQUEST", DOUBLE), "later"),
    (400, mlflow("BAD_REQUEST", POOL), "later"),
    (400, mlflow("BAD_REQUEST", "(sqlite3.IntegrityError) UNIQUE constraint failed: inputs.source_id"), "later"),
    (400, mlflow("BAD_REQUEST", "(psycopg.errors.ReadOnlySqlTransaction) cannot execute INSERT"), "later"),
    (400, mlflow("BAD_REQUEST", "This Connection is closed"), "later"),
    # What passes.
    (500, mlflow("INTERNAL_ERROR"), "later"),
    (500, mlflow("INVALID_STATE"), "later"),
    (503, mlflow("TEMPORARILY_UNAVAILABLE"), "later"),
    (504, mlflow("DEADLINE_EXCEEDED"), "later"),
    (429, mlflow("REQUEST_LIMIT_EXCEEDED"), "later"),
    (429, mlflow("RESOURCE_EXHAUSTED"), "later"),
    (409, mlflow("RESOURCE_CONFLICT"), "later"),
    (409, mlflow("ABORTED"), "later"),
    (400, mlflow("A_CODE_OF_TOMORROW"), "later"),
    (503, mlflow("INVALID_PARAMETER_VALUE"), "later"),
    *[(status, HTML, "later") for status in (400, 404, 405, 408, 410, 415, 422, 425, 429, 431, 500, 501)],
    *[(status, HTML, "later") for status in (502, 503, 504, 507, 520, 524, 530, 599)],
    *[(status, b"", "later") for status in (400, 404, 500, 503)],
    (404, b'{"detail": "Not Found"}', "later"),
    (400, b'{"error_code": 7, "message": "x"}', "later"),
    (400, b"[1]", "later"),
    (400, b"\xff\xfe", "later"),
    (204, b"", "later"),
    # What waiting alone does not mend.
    (401, b"You are not authenticated.", "people"),
    (403, mlflow("PERMISSION_DENIED"), "people"),
    (403, b"Invalid Host header", "people"),
    (407, HTML, "people"),
    (302, HTML, "people"),
    (400, mlflow("PERMISSION_DENIED"), "people"),
    (501, mlflow("NOT_IMPLEMENTED"), "people"),
    (404, mlflow("ENDPOINT_NOT_FOUND"), "people"),
    # Size.
    (413, HTML, "too large"),
    (413, mlflow("INVALID_PARAMETER_VALUE"), "too large"),
]


@pytest.mark.parametrize(("status", "body", "expected"), ANSWERS)
def test_an_answer_is_sorted(status: int, body: bytes, expected: str) -> None:
    error = answer_error("POST runs/log-batch", status, {}, body, HIDE)
    assert sorted_out(error) == expected
    assert f"HTTP {status}" in str(error)
    assert "[SQL" not in str(error)


def test_every_code_of_mlflow_is_sorted() -> None:
    from mlflow.protos.databricks_pb2 import ErrorCode

    known = set(ErrorCode.keys())
    assert len(known) >= MLFLOW_CODES
    assert known >= rest_errors.REFUSED_CODES | rest_errors.PEOPLE_CODES
    assert not rest_errors.REFUSED_CODES & rest_errors.PEOPLE_CODES
    for code in known:
        expected = "refused" if code in rest_errors.REFUSED_CODES else "later"
        expected = "people" if code in rest_errors.PEOPLE_CODES else expected
        assert sorted_out(code_error(code, "why", f"{code}: why", HIDE)) == expected


@pytest.mark.parametrize("status", range(400, 600))
def test_no_page_of_a_proxy_is_ever_refused(status: int) -> None:
    error = answer_error("POST runs/log-batch", status, {}, HTML, HIDE)
    assert isinstance(error, TooLarge if status == 413 else Unavailable)


TROUBLES: list[tuple[Exception, str]] = [
    (
        requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError(104))),
        "later",
    ),
    (requests.ConnectTimeout("slow"), "later"),
    (requests.ReadTimeout("slow"), "later"),
    (requests.exceptions.ChunkedEncodingError("cut"), "later"),
    (requests.exceptions.ContentDecodingError("not gzip"), "later"),
    (requests.exceptions.ProxyError("away"), "later"),
    (requests.exceptions.SSLError("[SSL: UNEXPECTED_EOF_WHILE_READING]"), "later"),
    (requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] expired"), "people"),
    (requests.exceptions.InvalidURL("no host"), "people"),
    (requests.exceptions.InvalidHeader("a newline"), "people"),
    (OSError("Could not find a suitable TLS CA certificate bundle, invalid path: /no.pem"), "people"),
    (requests.exceptions.TooManyRedirects("30"), "later"),
    (socket.gaierror(-3, "Temporary failure in name resolution"), "later"),
    (OSError(101, "Network is unreachable"), "later"),
]


@pytest.mark.parametrize(("trouble", "expected"), TROUBLES)
def test_trouble_without_an_answer_passes_or_needs_people(trouble: Exception, expected: str) -> None:
    assert sorted_out(trouble_error("GET /version", trouble, HIDE)) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://127.0.0.1:1", "later"), ("http://no-such-host.invalid", "later"), ("http://", "people")],
)
def test_a_server_that_is_not_there_is_unavailable(url: str, expected: str) -> None:
    sender = RestSender(url, timeout_s=5)
    for call in (lambda: sender.get_run("1f2e"), lambda: sender.check(5)):
        with pytest.raises(Unavailable) as caught:
            call()
        assert sorted_out(caught.value) == expected


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("1.5", 1.5, 1.5),
        ("in 90 s", 60, 90),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    ],
)
def test_both_forms_of_retry_after_are_read(header: str, low: float, high: float) -> None:
    if header == "in 90 s":  # a date, made when the test runs
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    error = answer_error("POST x", 503, {"Retry-After": header}, HTML, HIDE)
    assert isinstance(error, Unavailable)
    assert error.retry_after_s is not None
    assert low <= error.retry_after_s <= high


@pytest.mark.parametrize("header", [None, "", "soon", "-1", "nan"])
def test_an_unreadable_retry_after_is_none(header: str | None) -> None:
    assert retry_after_s(header) is None


def test_a_call_that_hangs_is_left_behind() -> None:
    started = time.monotonic()
    enough = threading.Event()
    with pytest.raises(Unavailable, match=r"within 0.2 s"):
        within(0.2, "check", lambda: enough.wait(30))
    enough.set()
    assert time.monotonic() - started < 10
    with pytest.raises(ZeroDivisionError):
        within(5, "check", lambda: print(1 // 0))  # noqa: T201


@pytest.mark.parametrize(
    "login",
    [
        lambda secret: ("http://127.0.0.1:1", Login(username="ann", password=f"{secret}@x")),
        lambda secret: ("http://127.0.0.1:1", Login(token=secret)),
        lambda secret: (f"http://ann:{secret}@127.0.0.1:1", Login()),
        lambda secret: (f"http://ann:{secret}%40x@127.0.0.1:1/base/", Login()),
    ],
)
def test_no_secret_is_shown(login: Callable[[str], tuple[str, Login]], canary: str) -> None:
    url, given = login(canary)
    sender = RestSender(url, given)
    with pytest.raises(Unavailable) as caught:
        sender.get_run("1f2e")
    assert canary not in f"{sender!r} {given!r} {caught.value!r} {caught.value} {caught.value.reason}"
    told = answer_error("GET x", 500, {}, f"you sent {canary}@x".encode(), sender._hide)
    assert canary not in str(told)


def test_metrics_that_mlflow_tripped_over_are_sent_in_parts_that_it_can_take() -> None:
    numbers = [Point(f"m{at}", 1.0, 1, at) for at in range(249)]
    stored, new = Point("n", math.nan, 1, 1), Point("n", math.nan, 1, 2)
    parts = smaller_parts([stored, *numbers, new], lambda key: [stored] if key == "n" else [])
    assert [len(part) for part in parts] == [100, 100, 50]
    assert [point for part in parts for point in part] == [*numbers, new]
    assert smaller_parts([stored], lambda key: [stored]) == [[]]


def test_doubled_rows_are_told_apart() -> None:
    flushed = "(raised as a result of Query-invoked autoflush; consider this)\n"
    for said in (DOUBLE, flushed + DOUBLE, "(sqlite3.IntegrityError) UNIQUE constraint failed: metrics.key"):
        assert isinstance(code_error("BAD_REQUEST", said, said, HIDE), DoubledError)
    assert not isinstance(code_error("BAD_REQUEST", POOL, POOL, HIDE), DoubledError)
    assert sorted_out(code_error("BAD_REQUEST", flushed + NUL, NUL, HIDE)) == "refused"
