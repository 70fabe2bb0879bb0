"""Proxies of the environment: which, for what, whether they answer; and that nothing else is blamed for them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest
from s3_examining import Project, bad, finding_of, relay

from holdfast.doctor.check import Finding, Status
from holdfast.doctor.examine import examine
from holdfast.testing import S3Access
from holdfast.testing.ports import free_port

OK, SKIPPED, WARNING, FAILED = Status.OK, Status.SKIPPED, Status.WARNING, Status.FAILED
AWS = "https://s3.us-east-1.amazonaws.com"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set but what a test sets."""
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)


@pytest.fixture(scope="module")
def shared(s3_server: S3Access, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a bucket at the session's server."""
    name = f"doctor-proxy-{secrets.token_hex(4)}"  # other workers have one of their own at the same server
    return Project.at(s3_server, name, name, tmp_path_factory.mktemp("project"))


@pytest.fixture
def project(shared: Project) -> Iterator[Project]:
    """The same; the bucket is looked at afterwards."""
    yield shared
    shared.check_untouched()


def expect(finding: Finding, status: Status, found: str, remedy: str) -> None:
    assert (finding.status, found in finding.found, remedy in finding.remedy) == (status, True, True), finding


def dead() -> str:
    return f"127.0.0.1:{free_port('127.0.0.1')}"


def test_without_proxies(project: Project) -> None:
    expect(finding_of(project.examine("env.proxy"), "env.proxy"), OK, "no proxy is set", "")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_a_dead_proxy_is_the_one_failure(
    project: Project, monkeypatch: pytest.MonkeyPatch, canary: str, variable: str
) -> None:
    place = dead()
    monkeypatch.setenv(variable, f"http://me:{canary}@{place}")
    monkeypatch.setenv("NO_PROXY", "example.org")
    mine = project.having(MLFLOW_TRACKING_URI="http://127.0.0.1:5999")
    report = mine.examine("env.proxy", "credentials", "s3", "server")
    assert bad(report) == {"env.proxy": FAILED}
    finding = finding_of(report, "env.proxy")
    expect(finding, FAILED, f"the proxy {variable}=http://me:****@{place}, which does not answer: connection", "")
    assert f"{project.url} is reached through" in finding.found
    assert "http://127.0.0.1:5999 is reached through" in finding.found
    assert finding.remedy == "set NO_PROXY=example.org,127.0.0.1: 127.0.0.1 is near, and needs no proxy"
    assert canary not in str(report)
    for name in ("s3.bucket", "server.reachable", "credentials.identity"):
        assert finding_of(report, name).found == "env.proxy failed"


def test_a_proxy_is_no_matter_where_the_host_is_exempt(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{dead()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    report = project.examine("env.proxy", "s3.put")
    assert not bad(report)
    assert "none of the project's servers is reached through the proxy that is set" in report.results[0].finding.found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("http://127.0.0.1:port", "its port is no number"),
        ("http://:3128", "it names no host"),
        ("socks5://127.0.0.1:1080", "it knows http:// and https://, and no socks5://"),
        ("http://proxy.holdfast.invalid:3128", "no address is known for the host proxy.holdfast.invalid"),
    ],
)
def test_proxies_that_cannot_work(project: Project, monkeypatch: pytest.MonkeyPatch, value: str, found: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    aws = project.having(MLFLOW_S3_ENDPOINT_URL="")
    report = examine(aws.folder, aws.environ, ["env.proxy", "s3", "credentials"])
    assert bad(report) == {"env.proxy": FAILED}
    finding = finding_of(report, "env.proxy")
    expect(finding, FAILED, found, "mend HTTPS_PROXY")
    assert finding.found.startswith(f"{AWS} is reached through the proxy HTTPS_PROXY=")


def test_a_proxy_that_works(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with relay(project.url) as gateway:
        monkeypatch.setenv("http_proxy", gateway.removeprefix("http://"))  # botocore takes it without a scheme
        report = replace(project, url="http://s3-box").examine("env.proxy", "s3.endpoint")
        expect(finding_of(report, "env.proxy"), OK, "s3-box: reached through a proxy, which answers (http_p", "")
        expect(finding_of(report, "s3.endpoint"), WARNING, "http://s3-box answers without TLS", "let the server speak")
        finding = finding_of(project.examine("env.proxy"), "env.proxy")
        expect(finding, WARNING, "is near, and is reached through a proxy all the same", "set NO_PROXY=127.0.0.1")


@pytest.mark.parametrize(("status", "remedy"), [(407, "it wants a login"), (502, "NO_PROXY=s3-box")])
def test_a_proxy_that_does_not_reach_the_server(
    project: Project, monkeypatch: pytest.MonkeyPatch, status: int, remedy: str
) -> None:
    with relay(project.url, refuse=lambda *_: (status, {"content-type": "text/html"}, b"<html>")) as gateway:
        monkeypatch.setenv("HTTP_PROXY", gateway)
        report = replace(project, url="http://s3-box").examine("env.proxy", "s3", "credentials")
    assert bad(report) == {"s3.endpoint": FAILED}
    finding = finding_of(report, "s3.endpoint")
    expect(finding, FAILED, f"cannot be reached through the proxy HTTP_PROXY={gateway}", remedy)


def test_a_tunnel_that_a_proxy_does_not_open(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with relay(project.url) as gateway:  # it knows no CONNECT
        monkeypatch.setenv("HTTPS_PROXY", gateway)
        aws = project.having(MLFLOW_S3_ENDPOINT_URL="")
        report = examine(aws.folder, aws.environ, ["s3.endpoint"])
    finding = finding_of(report, "s3.endpoint")
    expect(finding, FAILED, f"amazonaws.com cannot be reached through the proxy HTTPS_PROXY={gateway}", "mend HTTPS_")


def test_all_proxy_is_not_heeded_by_all(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5://{dead()}")
    report = project.examine("env.proxy", "s3.endpoint")
    expect(
        finding_of(report, "env.proxy"), WARNING, "is heeded by obstore, which moves the files, and not by boto3", ""
    )
    assert "set NO_PROXY=127.0.0.1" in finding_of(report, "env.proxy").remedy
