"""A real server behind a network that fails: each fault gives the right error, within its time."""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from journaling import until

from holdfast.backend.rest_sender import RestSender
from holdfast.backend.store_sender import StoreSender
from holdfast.core.login import Login
from holdfast.core.sending import KEY_TAG, Point, Refused, TooLarge, Unavailable
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow

TIMEOUT_S = 1.0
SLACK_S = 10.0  # a busy machine


@pytest.fixture
def sender(proxy: FaultProxy) -> Iterator[RestSender]:
    sender = RestSender(proxy.url, timeout_s=TIMEOUT_S)
    yield sender
    sender.close()


@pytest.fixture
def experiment(mlflow_server: RunningMlflow, unique: str) -> str:
    return RestSender(mlflow_server.url).create_experiment(unique, None, {}).experiment_id


def fails(call: Callable[[], object], within_s: float = TIMEOUT_S) -> Unavailable:
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        call()
    assert time.monotonic() - started < within_s + SLACK_S
    return caught.value


FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "refuse": FaultProxy.refuse,
    "reset": FaultProxy.reset,
    "black hole": FaultProxy.black_hole,
    "lost answers": FaultProxy.drop_answers,
    "slow": lambda proxy: proxy.delay(60),
    "503": lambda proxy: proxy.answer(503, body="<html>starting</html>"),
    "page": lambda proxy: proxy.answer(200, {"Content-Type": "text/html"}, "<html>please log in</html>"),
    "other JSON": lambda proxy: proxy.answer(200, {"Content-Type": "application/json"}, '{"status": "UP"}'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_unavailable_and_passes(fault: str, proxy: FaultProxy, sender: RestSender, experiment: str) -> None:
    assert sender.get_experiment(experiment) is not None  # a connection is open now
    FAULTS[fault](proxy)
    error = fails(lambda: sender.get_experiment(experiment))
    assert not error.needs_people
    fails(lambda: sender.check(TIMEOUT_S))
    proxy.pass_on()
    assert sender.get_experiment(experiment) is not None
    sender.check(10)


def test_a_server_that_drips_is_noticed_by_the_check(proxy: FaultProxy, sender: RestSender) -> None:
    proxy.drip(0.3)
    error = fails(lambda: sender.check(TIMEOUT_S))
    assert "within 1 s" in error.reason


def test_an_answer_that_was_lost_is_found_again_by_its_key(
    proxy: FaultProxy, sender: RestSender, experiment: str
) -> None:
    proxy.fail_next(1, "drop_answers")
    fails(lambda: sender.create_run(experiment, "ann", 1, None, {KEY_TAG: "key-1"}))
    (run,) = sender.find_runs(experiment, "key-1")
    metrics = [Point("loss", at / 3, at, at) for at in range(999)]
    proxy.fail_next(1, "drop_answers")
    fails(lambda: sender.log_batch(run.run_id, metrics, [("p", "1")], []), within_s=10)
    sender = RestSender(proxy.url)
    sender.log_batch(run.run_id, metrics, [("p", "1")], [])
    assert len(sender.metric_history(run.run_id, "loss")) == 999


def test_an_experiment_whose_creation_was_not_answered_is_created_once(
    proxy: FaultProxy, sender: RestSender, unique: str
) -> None:
    proxy.fail_next(1, "drop_answers")
    fails(lambda: sender.create_experiment(f"{unique}-x", None, {}))
    assert sender.create_experiment(f"{unique}-x", None, {}).name == f"{unique}-x"


@pytest.mark.parametrize(("status", "people"), [(401, True), (403, True), (407, True), (302, True), (429, False)])
def test_who_can_mend_it_is_told(status: int, people: bool, proxy: FaultProxy, sender: RestSender) -> None:
    proxy.answer(status, {"Retry-After": "7", "Location": "http://127.0.0.1:1/login"})
    error = fails(lambda: sender.delete_run("0" * 32))
    assert (error.needs_people, error.retry_after_s) == (people, 7.0)


def test_a_request_that_is_too_large_is_told_apart(proxy: FaultProxy, sender: RestSender) -> None:
    proxy.answer(413)
    with pytest.raises(TooLarge):
        sender.log_batch("0" * 32, [Point("a", 1.0, 1, 1)], [], [])


def test_only_the_next_requests_fail(proxy: FaultProxy, sender: RestSender, experiment: str) -> None:
    proxy.fail_next(2, 500)
    proxy.fail_next(1, "reset")
    for _ in range(3):
        fails(lambda: sender.get_experiment(experiment))
    assert proxy.count == 0
    assert sender.get_experiment(experiment) is not None
    assert [line.split("?")[0] for line in proxy.passed] == ["GET /api/2.0/mlflow/experiments/get"]


def test_a_connection_that_is_cut_is_opened_again(proxy: FaultProxy, sender: RestSender, experiment: str) -> None:
    for _ in range(3):
        assert sender.get_experiment(experiment) is not None
        proxy.cut()
        sender.get_experiment(experiment)


def test_a_redirection_keeps_the_request_as_it_is(proxy: FaultProxy, mlflow_server: RunningMlflow, unique: str) -> None:
    path = "/api/2.0/mlflow/experiments/create"
    sender = RestSender(proxy.url)
    proxy.answer(301, {"Location": mlflow_server.url + path})
    assert fails(lambda: sender.create_experiment(unique, None, {})).needs_people
    proxy.answer(308, {"Location": mlflow_server.url + path})
    sender._tell("experiments/create", {"name": unique})
    assert RestSender(mlflow_server.url).find_experiment(unique) is not None


def test_bodies_of_megabytes_pass_the_proxy(proxy: FaultProxy, experiment: str) -> None:
    sender = RestSender(proxy.url)
    run = sender.create_run(experiment, "ann", 1, None, {})
    params = [(f"p{at}", "é" * 5999) for at in range(100)]
    sender.log_batch(run.run_id, [], params, [])
    found = sender.get_run(run.run_id)
    assert found is not None
    assert dict(found.params) == dict(params)


def test_no_login_shows_in_any_error(proxy: FaultProxy, canary: str) -> None:
    address = proxy.address
    senders = [
        RestSender(f"http://ann:{canary}@{address}", timeout_s=TIMEOUT_S),
        RestSender(proxy.url, Login(token=canary), timeout_s=TIMEOUT_S),
        RestSender(proxy.url, Login(username="ann", password=canary), timeout_s=TIMEOUT_S),
    ]
    for fault in FAULTS.values():
        fault(proxy)
        for sender in senders:
            error = fails(lambda sender=sender: sender.get_run("0" * 32))  # type: ignore[misc]
            told = f"{error!r} {error} {error.reason} {sender!r}"
            assert canary not in told
    proxy.answer(400, body=f'{{"error_code": "BAD_REQUEST", "message": "you sent {canary}"}}')
    for sender in senders:
        with pytest.raises(Refused) as caught:
            sender.delete_run("0" * 32)
        assert canary not in str(caught.value)


@pytest.mark.parametrize("fault", ["refuse", "reset", "black_hole"])
def test_a_database_that_is_away_is_unavailable_in_seconds(fault: str, postgres_uri: str) -> None:
    head, _, rest = postgres_uri.rpartition("@")
    address, _, name = rest.partition("/")
    with FaultProxy(address, raw=True) as proxy:
        sender = StoreSender(f"{head}@{proxy.address}/{name}")
        getattr(proxy, fault)()
        fails(lambda: sender.check(2), within_s=2)
        fails(lambda: sender.get_run("0" * 32), within_s=10)
        proxy.pass_on()
        sender.check(10)
        assert sender.get_run("0" * 32) is None
        sender.close()


def test_a_database_that_restarts_is_used_again(postgres_uri: str) -> None:
    head, _, rest = postgres_uri.rpartition("@")
    address, _, name = rest.partition("/")
    with FaultProxy(address, raw=True) as proxy:
        sender = StoreSender(f"{head}@{proxy.address}/{name}")
        assert sender.get_run("0" * 32) is None
        proxy.refuse()
        assert not fails(lambda: sender.get_run("0" * 32)).needs_people
        proxy.pass_on()
        assert sender.get_run("0" * 32) is None
        sender.close()


def test_a_wrong_password_of_a_database_needs_people(postgres_uri: str, canary: str) -> None:
    head, _, rest = postgres_uri.rpartition("@")
    sender = StoreSender(f"{head.rpartition(':')[0]}:{canary}@{rest}")
    for call in (lambda: sender.check(10), lambda: sender.get_run("0" * 32)):
        error = fails(call, within_s=10)
        assert error.needs_people
        assert canary not in f"{error!r} {error} {sender!r}"


def test_a_missing_driver_needs_people() -> None:
    sender = StoreSender("mysql+holdfastless://ann@127.0.0.1:1/x")
    assert fails(lambda: sender.get_run("0" * 32)).needs_people


def test_it_leaves_nothing_running_that_connects_while_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is served a moment after it was accepted; that moment may lie behind the end."""
    complaints: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: complaints.append(str(found.exc_value)))
    for _ in range(20):
        stop = threading.Event()
        with FaultProxy("127.0.0.1:9") as proxy:
            proxy.answer(503)
            clients = [threading.Thread(target=_keep_connecting, args=(proxy.address, stop)) for _ in range(3)]
            for client in clients:
                client.start()
            until(lambda: bool(proxy._relay.open))
        stop.set()
        for client in clients:
            client.join()
    gc.collect()
    assert complaints == []


def _keep_connecting(address: str, stop: threading.Event) -> None:
    host, port = address.split(":")
    open_ones = []
    while not stop.is_set():
        with contextlib.suppress(OSError):
            open_ones.append(socket.create_connection((host, int(port)), timeout=0.5))
    for one in open_ones:
        one.close()
