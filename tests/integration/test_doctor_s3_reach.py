"""What keeps a project from its bucket, and how the doctor names it: network, TLS, clocks, keys, bucket, region."""

from __future__ import annotations

import datetime
import email.utils
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from s3_examining import Answer, Project, bad, error, finding_of, relay

from holdfast.doctor.check import Finding, Status
from holdfast.testing import FaultProxy, S3Access, ServerCertificate, SwiftAccess, make_certificate
from holdfast.testing.ports import free_port

OK, SKIPPED, WARNING, FAILED = Status.OK, Status.SKIPPED, Status.WARNING, Status.FAILED


@pytest.fixture(scope="module")
def shared(s3_server: S3Access, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a bucket at the session's server; none of these tests may leave anything there."""
    name = f"doctor-reach-{secrets.token_hex(4)}"  # other workers have one of their own at the same server
    return Project.at(s3_server, name, name, tmp_path_factory.mktemp("project"))


@pytest.fixture
def project(shared: Project) -> Iterator[Project]:
    """The same; the bucket is looked at afterwards."""
    yield shared
    shared.check_untouched()


@pytest.fixture
def proxy(shared: Project) -> Iterator[FaultProxy]:
    """A network that fails on command, before the server."""
    with FaultProxy(shared.url) as found:
        yield found


def expect(finding: Finding, status: Status, found: str, remedy: str) -> None:
    assert (finding.status, found in finding.found, remedy in finding.remedy) == (status, True, True), finding


def only_failed(project: Project, check: str) -> Finding:
    """Return what a check finds that must be the only one to fail; what needs it is skipped."""
    report = project.examine()
    assert set(bad(report)) == {check}
    assert not report.left_behind
    assert report.took_s < 60
    finding = finding_of(report, check)
    assert report.exit_code == (3 if finding.retryable else 1)
    return finding


# -- the way there ------------------------------------------------------------------------


def test_nobody_listens(project: Project) -> None:
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    finding = only_failed(replace(project, url=url), "s3.endpoint")
    expect(finding, FAILED, f"nobody listens at {url}", "MLFLOW_S3_ENDPOINT_URL")
    assert finding.retryable


def test_a_host_without_an_address(project: Project) -> None:
    finding = only_failed(replace(project, url="http://s3.holdfast.invalid:9000"), "s3.endpoint")
    expect(finding, FAILED, "no address is known for the host s3.holdfast.invalid", "mend the host in MLFLOW_S3_ENDPOI")


def test_a_server_that_never_answers(project: Project, proxy: FaultProxy) -> None:
    proxy.black_hole()
    finding = only_failed(replace(project, url=proxy.url), "s3.endpoint")
    expect(finding, FAILED, "does not answer within 3 s", "see whether")
    assert finding.retryable


def test_a_server_that_hangs_up(project: Project, proxy: FaultProxy) -> None:
    proxy.reset()
    expect(only_failed(replace(project, url=proxy.url), "s3.endpoint"), FAILED, "hangs up", "https:// instead of http")


def test_a_server_that_always_asks_to_come_back_later(project: Project, proxy: FaultProxy) -> None:
    proxy.answer(503, {"Content-Type": "application/xml"}, "<Error><Code>SlowDown</Code></Error>")
    finding = only_failed(replace(project, url=proxy.url), "s3.bucket")
    expect(finding, FAILED, "SlowDown", "try again later")
    assert finding.retryable


@pytest.mark.parametrize(
    ("given", "spoken", "mended"), [("http", "TLS alone", "https"), ("https", "plain HTTP", "http")]
)
def test_http_for_https_and_the_other_way(
    project: Project, server_certificate: ServerCertificate, given: str, spoken: str, mended: str
) -> None:
    with relay(project.url, tls=server_certificate if given == "http" else None) as right:
        wrong = right.replace(f"{mended}:", f"{given}:")
        finding = only_failed(replace(project, url=wrong), "s3.endpoint")
    expect(finding, FAILED, f"speaks {spoken}", f"set MLFLOW_S3_ENDPOINT_URL={right}")


def test_certificates_that_cannot_be_believed(
    project: Project, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with relay(project.url, tls=make_certificate(tmp_path / "own")) as url:
        unknown = replace(project, url=url)
        finding = only_failed(unknown, "s3.endpoint")
        expect(finding, FAILED, "signed by an authority that this machine does not know", "set AWS_CA_BUNDLE to a PEM")
        finding = unknown.having(AWS_CA_BUNDLE=str(tmp_path / "nothing.pem")).find("s3.endpoint")
        expect(finding, FAILED, "nothing.pem (AWS_CA_BUNDLE) cannot be read", "set AWS_CA_BUNDLE")
        known = unknown.having(AWS_CA_BUNDLE=str(tmp_path / "own/ca.pem"))
        assert finding_of(known.examine("s3.put"), "s3.put").status is OK
        finding = unknown.having(MLFLOW_S3_IGNORE_TLS="true").find("s3.endpoint")
        expect(finding, WARNING, "its certificate is not checked", "unset MLFLOW_S3_IGNORE_TLS")
    assert not recwarn.list


def test_a_certificate_that_has_expired(project: Project, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "old", valid_days=-1)
    with relay(project.url, tls=certificate) as url:
        mine = replace(project, url=url).having(AWS_CA_BUNDLE=str(certificate.ca_bundle))
        expect(mine.find("s3.endpoint"), FAILED, "has expired", "renewed")


def test_a_certificate_for_another_name(
    project: Project, server_certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", _at_home)
    with relay(project.url, tls=server_certificate) as url:
        mine = replace(project, url=url.replace("127.0.0.1", "s3-box")).having(
            AWS_CA_BUNDLE=str(server_certificate.ca_bundle)
        )
        expect(mine.find("s3.endpoint"), FAILED, "is not made out to s3-box", "the name that the certificate has")


def _at_home(host: str, port: Any, *more: Any, **named: Any) -> Any:
    """What a name server says that knows one name more: this machine's."""
    return _getaddrinfo("127.0.0.1" if host == "s3-box" else host, port, *more, **named)


_getaddrinfo = socket.getaddrinfo


def test_plain_http_over_a_network(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", _at_home)
    url = project.url.replace("127.0.0.1", "s3-box")
    finding = replace(project, url=url).find("s3.endpoint")
    expect(finding, WARNING, "answers without TLS", f"set MLFLOW_S3_ENDPOINT_URL={url.replace('http:', 'https:')}")


def test_something_else_than_s3(project: Project) -> None:
    page = (200, {"content-type": "text/html; charset=utf-8"}, b"<html>MinIO Console</html>")
    with relay(project.url, refuse=lambda *_: page) as url:
        expect(
            only_failed(replace(project, url=url), "s3.endpoint"), FAILED, "a web page", "the host and port in MLFLOW"
        )


def test_a_server_that_knows_nothing_of_s3(project: Project) -> None:
    with relay(project.url, refuse=lambda *_: (404, {"content-type": "text/html"}, b"<html>Not Found</html>")) as url:
        finding = only_failed(replace(project, url=url), "s3.endpoint")
    expect(finding, FAILED, "is no S3 server", "the host and port in MLFLOW_S3_ENDPOINT_URL")


def test_an_endpoint_with_a_path(project: Project, s3_server: S3Access, unique: str) -> None:
    rights = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    mighty = replace(project, account=s3_server.add_account(unique, policy=rights))
    finding = only_failed(replace(mighty, url=f"{project.url}/s3/path"), "s3.endpoint")
    expect(finding, FAILED, f"{project.url}/s3/path has a path", f"set MLFLOW_S3_ENDPOINT_URL={project.url}: bucket")


def test_a_gateway_with_a_path_is_no_fault(project: Project) -> None:
    """Signatures do not fit behind it here, which is another check's matter."""

    def refuse(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        return (200, {"content-type": "application/xml"}, b"<ListAllMyBucketsResult/>") if path == "/s3/" else None

    with relay(project.url, refuse) as url:
        assert replace(project, url=f"{url}/s3").find("s3.endpoint").status is OK


def test_a_server_that_answers_nothing_with_200(project: Project) -> None:
    with relay(project.url, refuse=lambda *_: (200, {}, b"")) as url:
        finding = replace(project, url=url).find("s3.abort")
    expect(finding, FAILED, "begins an upload without an UploadId", "a gateway before it drops the bodies")


@pytest.mark.parametrize("form", ["http://127.0.0.1:9/{bucket}", "http://{bucket}.127.0.0.1:9"])
def test_an_endpoint_that_names_the_bucket(project: Project, form: str) -> None:
    finding = only_failed(replace(project, url=form.format(bucket=project.bucket)), "s3.endpoint")
    expect(finding, FAILED, f"names the bucket {project.bucket}", "set MLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:9")
    assert finding.remedy.endswith(":9")


# -- clocks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "status", "found"),
    [(20, FAILED, "20 min behind"), (-20, FAILED, "20 min ahead"), (3, WARNING, "3 min behind"), (0.3, OK, "agree")],
)
def test_a_clock_that_is_off(project: Project, minutes: float, status: Status, found: str) -> None:
    def alter(method: str, path: str, answer: Answer) -> Answer:
        told = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
        return answer[0], {**answer[1], "date": email.utils.format_datetime(told, usegmt=True)}, answer[2]

    with relay(project.url, alter=alter) as url:
        finding = replace(project, url=url).find("s3.clock")
    expect(finding, status, found, "" if status is OK else "set this machine's clock")
    assert finding.details["skew_s"] == pytest.approx(-60 * minutes, abs=3)


@pytest.mark.skipif(sys.platform != "linux", reason="Swift runs on Linux alone")
def test_signatures_of_a_clock_that_is_off_are_refused(
    swift_server: SwiftAccess, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import botocore.auth

    account = swift_server.add_account(unique, ["models"])
    late = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - datetime.timedelta(minutes=20)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: late)
    mine = Project(swift_server.endpoint_url, "models", account, swift_server.client(account), tmp_path)
    finding = mine.find("s3.bucket")
    expect(finding, FAILED, "RequestTimeTooSkewed", "set this machine's clock")


# -- keys and the bucket ------------------------------------------------------------------


def test_a_wrong_secret(project: Project, canary: str) -> None:
    finding = only_failed(project.having(MLFLOW_AWS_SECRET_ACCESS_KEY=canary), "s3.bucket")
    expect(finding, FAILED, "SignatureDoesNotMatch", "mend MLFLOW_AWS_SECRET_ACCESS_KEY")
    assert "key AKIA…" in finding.found


def test_a_key_that_nobody_knows(project: Project, canary: str) -> None:
    finding = only_failed(
        project.having(MLFLOW_AWS_ACCESS_KEY_ID="AKIAUNKNOWN00000TEST", MLFLOW_AWS_SECRET_ACCESS_KEY=canary),
        "s3.bucket",
    )
    expect(finding, FAILED, "InvalidAccessKeyId", "mend MLFLOW_AWS_ACCESS_KEY_ID")


def test_a_bucket_that_is_not_there(project: Project, s3_server: S3Access, unique: str) -> None:
    # moto asks for rights before it looks for the bucket.
    rights = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    mighty = replace(project, account=s3_server.add_account(unique, policy=rights))
    finding = only_failed(mighty.having(MLFLOW_ARTIFACT_ROOT="s3://doctor-reach-nowhere/x"), "s3.bucket")
    expect(finding, FAILED, "NoSuchBucket", "aws s3 mb s3://doctor-reach-nowhere")
    assert "mend MLFLOW_ARTIFACT_ROOT (s3://doctor-reach-nowhere/x)" in finding.remedy


def test_a_bucket_of_another_account(project: Project, s3_server: S3Access, unique: str) -> None:
    stranger = s3_server.add_account(unique, [f"other-{unique[-8:]}"])
    finding = only_failed(replace(project, account=stranger), "s3.bucket")
    expect(finding, FAILED, "is not for this key, which may neither list nor write it", "MLFLOW_AWS_ACCESS_KEY_ID")
    assert "holdfast s3 policy --role writer" in finding.remedy


def test_files_that_do_not_go_to_s3(tmp_path: Path, shared: Project) -> None:
    report = shared.having(MLFLOW_ARTIFACT_ROOT=str(tmp_path / "files")).examine()
    results = [result for result in report.results if result.check.group == "s3"]
    assert {result.finding.status for result in results} == {SKIPPED}
    assert "no files of this project go to S3" in results[0].finding.found
    assert report.exit_code == 0


# -- region and owner ---------------------------------------------------------------------


def in_region(region: str, **told: str) -> Callable[[str, str, dict[str, str]], Answer | None]:
    """Return the refusal of what is signed for another region."""

    def refuse(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        signed = headers.get("authorization", "")
        if not signed or f"/{region}/s3/aws4_request" in signed:
            return None
        return error(400, "AuthorizationHeaderMalformed", **told)

    return refuse


def test_another_region_that_the_server_names(project: Project) -> None:
    with relay(project.url, refuse=in_region("eu-central-1", x_amz_bucket_region="eu-central-1")) as url:
        report = replace(project, url=url).examine("s3.region")
    finding = finding_of(report, "s3.region")
    expect(finding, WARNING, "is in eu-central-1, and the settings name us-east-1", "DEFAULT_REGION=eu-central-1")


def test_another_region_that_the_server_keeps_to_itself(project: Project) -> None:
    with relay(project.url, refuse=in_region("eu-central-1")) as url:
        finding = only_failed(replace(project, url=url), "s3.bucket")
    expect(finding, FAILED, "AuthorizationHeaderMalformed", "set MLFLOW_AWS_DEFAULT_REGION to the bucket's region")


@pytest.mark.parametrize(
    ("owner", "check", "status", "words", "remedy"),
    [
        ("111122223333", "s3.owner", OK, "belongs to 1111…3333, and the server sees to it", ""),
        ("444455556666", "s3.bucket", FAILED, "is not for this key", "must belong to 4444…6666 (MLFLOW_S3_EXPECTED"),
    ],
)
def test_who_owns_the_bucket(project: Project, owner: str, check: str, status: Status, words: str, remedy: str) -> None:
    def refuse(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        expected = headers.get("x-amz-expected-bucket-owner", "111122223333")
        return None if expected == "111122223333" else error(403, "AccessDenied")

    with relay(project.url, refuse=refuse) as url:
        report = replace(project, url=url).having(MLFLOW_S3_EXPECTED_BUCKET_OWNER=owner).examine("s3.owner")
    expect(finding_of(report, check), status, words, remedy)


def test_accounts_in_refusals_are_shown_shortened(project: Project) -> None:
    body = b"<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::111122223333:user/x may not.</Message></Error>"
    with relay(project.url, refuse=lambda *_: (403, {"content-type": "application/xml"}, body)) as url:
        finding = only_failed(replace(project, url=url), "s3.bucket")
    assert "arn:aws:iam::1111…3333:user/x" in finding.found


def test_a_server_that_takes_any_owner(project: Project) -> None:
    finding = project.having(MLFLOW_S3_EXPECTED_BUCKET_OWNER="111122223333").find("s3.owner")
    expect(finding, SKIPPED, "takes any account for the owner", "")
