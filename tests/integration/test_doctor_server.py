"""The doctor's checks of a tracking server: what is broken is found, named and given its remedy; nothing is left."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from relaying import Answer, assert_found, bad, examined, relaying, result_of

from holdfast.backend.rest_sender import RestSender
from holdfast.backend.run_probe import NAME
from holdfast.doctor.check import Status
from holdfast.doctor.machine.env import numbers_of, version_of
from holdfast.server import ServerOptions
from holdfast.server.ports import free_port
from holdfast.testing import FaultProxy, LocalMlflowServer
from holdfast.testing.certificates import ServerCertificate
from holdfast.testing.fixtures import RunningMlflow

OK, WARNING, FAILED, SKIPPED = Status.OK, Status.WARNING, Status.FAILED, Status.SKIPPED
_CA = "MLFLOW_TRACKING_SERVER_CERT_PATH"


def uri(address: str, **settings: str) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": address, **settings}


# -- a server that does not answer as one ---------------------------------------------------


def _json(code: str, message: str) -> str:
    return json.dumps({"error_code": code, "message": message})


NETWORK: dict[str, tuple[Callable[[FaultProxy], None], str, str]] = {
    "nobody listening": (lambda p: p.refuse(), "connection refused", "holdfast up"),
    "black hole": (lambda p: p.black_hole(), "gives no answer within 4 s", "curl -v http://127.0.0.1"),
    "reset": (lambda p: p.reset(), "ends the connection without an answer", "see the server's log"),
    "a web page": (
        lambda p: p.answer(200, {"Content-Type": "text/html"}, "<html><title>Welcome to nginx!</title></html>"),
        "answers with a web page, not as an MLflow server (HTTP 200)",
        "set MLFLOW_TRACKING_URI to the server itself",
    ),
    "a page that is not there": (
        lambda p: p.answer(404, {}, "<html>Not Found</html>"),
        "answers with a web page, not as an MLflow server (HTTP 404)",
        "set MLFLOW_TRACKING_URI to the server itself",
    ),
    "a login page": (
        lambda p: p.answer(302, {"Location": "https://sso.example/login"}),
        "sends us to https://sso.example/login",
        "set MLFLOW_TRACKING_URI to where the server is",
    ),
    "a proxy without a server": (
        lambda p: p.answer(503, {}, "<h1>Service Unavailable</h1>"),
        "answers HTTP 503: Service Unavailable",
        "start it again, or wait and try again",
    ),
    "no login": (
        lambda p: p.answer(401, {"WWW-Authenticate": "Basic"}, "You are not authenticated."),
        "HTTP 401: You are not authenticated; a login is needed, and none is set",
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    "a host that is not allowed": (
        lambda p: p.answer(403, {}, "Invalid Host header - possible DNS rebinding attack detected"),
        "HTTP 403: Invalid Host header",
        "start the server with --allowed-hosts 127.0.0.1:",
    ),
    "a database that is gone": (
        lambda p: p.answer(500, {}, _json("INTERNAL_ERROR", "(psycopg.OperationalError) connection refused")),
        "it runs, and its database does not answer",
        "see the server's log",
    ),
}


@pytest.mark.parametrize("case", NETWORK)
def test_a_server_that_does_not_answer(proxy: FaultProxy, case: str) -> None:
    break_it, found, remedy = NETWORK[case]
    break_it(proxy)
    result = result_of("server.reachable", uri(proxy.url))
    assert_found(result, FAILED, found, remedy)
    assert result.took_s < 30  # and not the minute that the check has here


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_login(proxy: FaultProxy, status: int, canary: str) -> None:
    proxy.answer(status, {}, f"no {canary}")
    settings = uri(proxy.url, MLFLOW_TRACKING_USERNAME="ann", MLFLOW_TRACKING_PASSWORD=canary)
    assert_found(result_of("server.reachable", settings), FAILED, "it refuses this login", "correct MLFLOW_TRACKING_US")


def test_a_login_in_the_address(proxy: FaultProxy, canary: str) -> None:
    proxy.answer(401)
    result = result_of("server.reachable", uri(proxy.url.replace("://", f"://ann:{canary}@")))
    assert_found(result, FAILED, "it refuses this login", "correct MLFLOW_TRACKING_US")
    assert canary not in str(result)


def test_a_server_that_has_moved(proxy: FaultProxy, mlflow_server: RunningMlflow) -> None:
    # What is logged follows these, too: the request stays what it is.
    proxy.answer(308, {"Location": f"{mlflow_server.url}/api/2.0/mlflow/experiments/search"})
    assert_found(result_of("server.reachable", uri(proxy.url)), OK, "answers a query of its database", "")


def test_an_unknown_host() -> None:
    result = result_of("server.reachable", uri("http://no-such-host.invalid:5000"))
    assert_found(result, FAILED, "The host name 'no-such-host.invalid' is not known", "correct the host")


def test_a_proxy_on_the_way_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port('127.0.0.1')}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    report = examined(uri("http://mlflow.example:5000"), "server.reachable")
    (result,) = report.failures  # told once, by the check of the way
    assert_found(result, FAILED, "http://mlflow.example:5000 is reached through", "set NO_PROXY=mlflow.example")
    assert [found.finding.found for found in report.results if found is not result] == ["env.proxy failed"]


def test_tls(mlflow_server: RunningMlflow, server_certificate: ServerCertificate) -> None:
    with FaultProxy(mlflow_server.url, tls=server_certificate) as proxy:
        plain = proxy.url.replace("https", "http")
        result = result_of("server.reachable", uri(plain))
        assert_found(result, FAILED, "speaks TLS, and the address says http", f"set MLFLOW_TRACKING_URI={proxy.url}")
        result = result_of("server.reachable", uri(proxy.url))
        assert_found(result, FAILED, "of an authority that is not known here", f"export {_CA}=")
        good = uri(proxy.url, **{_CA: str(server_certificate.ca_bundle)})
        assert_found(result_of("server.reachable", good), OK, "answers a query of its database", "")
        missing = uri(proxy.url, **{_CA: "/nowhere/ca.pem"})
        assert_found(result_of("server.reachable", missing), FAILED, "/nowhere/ca.pem", f"correct {_CA}")
    result = result_of("server.reachable", uri(mlflow_server.url.replace("http:", "https:")))
    assert_found(result, FAILED, "speaks plain HTTP, and the address says https", f"={mlflow_server.url}")


# -- its release, its speed -----------------------------------------------------------------

OWN = numbers_of(version_of("mlflow-skinny") or "")
VERSIONS: dict[str, tuple[str, Status, str, str]] = {
    "another major": ("2.22.1", WARNING, "runs MLflow 2.22.1", "pip install --upgrade 'mlflow>=3.0,<4'"),
    "an older minor": (
        f"3.{OWN[1] - 1}.0",
        WARNING if OWN[1] else OK,
        "may call what the server does not know yet" if OWN[1] else "",
        f"pip install 'mlflow==3.{OWN[1] - 1}.0'" if OWN[1] else "",
    ),
    "a newer major": ("4.0.0", WARNING, "made for servers of MLflow 3", "pip install --upgrade holdfast"),
    "a newer minor": ("3.99.0", OK, "runs MLflow 3.99.0", ""),
    "no version": ("<html>", WARNING, "does not say its version", "pass /version on"),
}


@pytest.mark.parametrize("case", VERSIONS)
def test_the_release_of_the_server(mlflow_server: RunningMlflow, case: str) -> None:
    version, status, found, remedy = VERSIONS[case]

    def answer(method: str, path: str) -> Answer | None:
        return (200, version) if path == "/version" else None

    with relaying(mlflow_server.url, answer) as url:
        assert_found(result_of("server.version", uri(url)), status, found, remedy)


def test_a_slow_server(proxy: FaultProxy) -> None:
    proxy.delay(1.0)
    result = result_of("server.latency", uri(proxy.url))
    assert_found(result, WARNING, "a small request takes 1", "HOLDFAST_DELIVERY=journal")
    assert 1000 <= result.finding.details["median_ms"] < 2000


# -- a run ----------------------------------------------------------------------------------


@pytest.fixture
def own(unique: str, canary: str) -> dict[str, str]:
    """A user of this test, who has an experiment for examinations of its own."""
    return {"MLFLOW_TRACKING_USERNAME": unique, "MLFLOW_TRACKING_PASSWORD": canary}


def lives(url: str, experiment: str) -> dict[str, str]:
    """Return the life of each run of an experiment."""
    found = RestSender(url).find_experiment(experiment)
    if found is None:
        return {}
    body = {"experiment_ids": [found.experiment_id], "run_view_type": "ALL"}
    runs = requests.post(f"{url}/api/2.0/mlflow/runs/search", json=body, timeout=30).json().get("runs", [])
    return {run["info"]["run_id"]: run["info"]["lifecycle_stage"] for run in runs}


def trash(url: str, own: dict[str, str]) -> list[str]:
    """Return the life of each run that examinations have left; their experiment must be deleted."""
    name = f"{NAME}-{own['MLFLOW_TRACKING_USERNAME']}"
    found = RestSender(url).find_experiment(name)
    assert found is None or found.deleted
    return list(lives(url, name).values())


def test_a_healthy_server_and_what_is_left_of_three_examinations(
    mlflow_server: RunningMlflow, own: dict[str, str], unique: str
) -> None:
    sender = RestSender(mlflow_server.url)
    mine = sender.create_experiment(unique, None, {})
    sender.create_run(mine.experiment_id, "ann", 1, "mine", {})
    before = lives(mlflow_server.url, unique)
    for _ in range(3):
        report = examined(uri(mlflow_server.url, **own, MLFLOW_EXPERIMENT_NAME=unique), "server", "config")
        assert bad(report) == []
        assert list(report.left_behind) == []
    run = next(result for result in report.results if result.check.name == "server.run")
    assert run.finding.details["purge"].startswith("mlflow gc ")
    assert trash(mlflow_server.url, own) == ["deleted"]
    assert lives(mlflow_server.url, unique) == before
    assert list(Path(mlflow_server.artifacts, mine.experiment_id).rglob("*")) == []


def test_several_doctors_at_once(mlflow_server: RunningMlflow, own: dict[str, str]) -> None:
    found: list[str] = []

    def examine() -> None:
        for _ in range(3):
            found.extend(bad(examined(uri(mlflow_server.url, **own), "server.run")))

    threads = [threading.Thread(target=examine) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == []
    assert set(trash(mlflow_server.url, own)) == {"deleted"}


REFUSALS: dict[str, tuple[str, Answer, str, str]] = {
    "no right to log": (
        "/runs/log-batch",
        (403, _json("PERMISSION_DENIED", "Permission denied")),
        "Permission denied",
        "give this login the right to make experiments and runs",
    ),
    "a database without room": (
        "/runs/log-batch",
        (500, _json("INTERNAL_ERROR", "could not extend file: No space left on device")),
        "No space left on device",
        "see the server's log",
    ),
    "a server that lacks the call": (
        "/runs/log-batch",
        (400, _json("INVALID_PARAMETER_VALUE", "unknown field tags")),
        "refuses to log a run",
        "holdfast doctor --only server.version",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_run_that_is_refused_leaves_nothing(mlflow_server: RunningMlflow, own: dict[str, str], case: str) -> None:
    where, answer, found, remedy = REFUSALS[case]
    with relaying(mlflow_server.url, lambda method, path: answer if path.endswith(where) else None) as url:
        assert_found(result_of("server.run", uri(url, **own)), FAILED, found, remedy)
    assert trash(mlflow_server.url, own) == ["deleted"]


def test_answers_from_a_cache_are_noticed(mlflow_server: RunningMlflow, own: dict[str, str]) -> None:
    run = result_of("server.run", uri(mlflow_server.url, **own)).finding.details["run_id"]
    asked = f"{mlflow_server.url}/api/2.0/mlflow/runs/get?run_id={run}"
    old = requests.get(asked, timeout=30).text

    with relaying(mlflow_server.url, lambda _, path: (200, old) if "/runs/get?" in path else None) as url:
        assert_found(result_of("server.run", uri(url, **own)), FAILED, "is not what the server gives back", "a cache")


# -- files through the server ---------------------------------------------------------------


@pytest.fixture
def without_files(sqlite_uri: str, tmp_path: Path) -> Iterator[str]:
    """A server that was started without --serve-artifacts."""
    options = ServerOptions(sqlite_uri, default_artifact_root=str(tmp_path / "files"), port=0, workers=1)
    with LocalMlflowServer(options) as server:
        yield server.url


def test_a_server_that_passes_no_files_on(without_files: str) -> None:
    RestSender(without_files).create_experiment("proxied", "mlflow-artifacts:/proxied", {})
    result = result_of("server.artifacts", uri(without_files, MLFLOW_EXPERIMENT_NAME="proxied"))
    assert_found(result, FAILED, "HTTP 503", "start the MLflow server without --no-serve-artifacts")
    # What it decides for new experiments is a folder of its own machine, which here is this one.
    result = result_of("server.artifacts", uri(without_files, MLFLOW_EXPERIMENT_NAME="new"))
    assert_found(result, SKIPPED, "files do not go through the server, but to /", "")
    assert_found(result_of("config.agreement", uri(without_files)), OK, "files go to a folder of this machine", "")


def test_files_that_come_back_damaged(proxy: FaultProxy) -> None:
    proxy.flip_in_answers(60_000)
    result = result_of("server.artifacts", uri(proxy.url))
    assert_found(result, FAILED, "came back otherwise", "see what stands before the server")


@pytest.mark.parametrize(
    ("status", "code", "said", "remedy"),
    [
        (403, "PERMISSION_DENIED", "Permission denied", "MLFLOW_TRACKING_USERNAME"),
        (403, "PERMISSION_DENIED", "An error occurred (AccessDenied) when calling PutObject", "environment of the MLf"),
        (401, "UNAUTHENTICATED", "An error occurred (InvalidAccessKeyId)", "server's own keys (InvalidAccessKeyId)"),
    ],
)
def test_a_store_that_refuses(mlflow_server: RunningMlflow, status: int, code: str, said: str, remedy: str) -> None:
    def refused(method: str, path: str) -> Answer | None:
        return (status, _json(code, said)) if method == "PUT" else None

    with relaying(mlflow_server.url, refused) as url:
        result = result_of("server.artifacts", uri(url))
    assert_found(result, FAILED, said, remedy)
    assert ("MLFLOW_TRACKING" in result.finding.remedy) is (said == "Permission denied")


def test_files_that_cannot_be_deleted_are_named(mlflow_server: RunningMlflow) -> None:
    def refused(method: str, path: str) -> Answer | None:
        return (403, _json("PERMISSION_DENIED", "no")) if method == "DELETE" else None

    with relaying(mlflow_server.url, refused) as url:
        report = examined(uri(url), "server.artifacts")
    (left,) = report.left_behind
    assert left.startswith("mlflow-artifacts:/.holdfast-doctor-")
    path = f"{mlflow_server.url}/api/2.0/mlflow-artifacts/artifacts/{left.partition('/')[2]}"
    assert requests.delete(path, timeout=30).status_code == 200


def test_no_proxied_files_no_check(mlflow_server: RunningMlflow) -> None:
    RestSender(mlflow_server.url).create_experiment(name := f"s3-{uuid.uuid4().hex}", "s3://elsewhere/x", {})
    result = result_of("server.artifacts", uri(mlflow_server.url, MLFLOW_EXPERIMENT_NAME=name))
    assert_found(result, SKIPPED, "do not go through the server, but to s3://elsewhere/x", "")
