"""Whose keys are used, asked of real servers: one with STS, two without, one that is silent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from holdfast.doctor.check import Finding, Status
from holdfast.doctor.examine import examine
from holdfast.server.ports import free_port
from holdfast.testing import Account, FaultProxy, S3Access
from holdfast.testing.rclone import RcloneAccess
from holdfast.testing.swift import SwiftAccess

ROLE = "arn:aws:iam::123456789012:role/of-nobody"


def settings(endpoint: str, key: str, secret: str, **more: str) -> dict[str, str]:
    found = {"MLFLOW_AWS_ACCESS_KEY_ID": key, "MLFLOW_AWS_SECRET_ACCESS_KEY": secret}
    return found | {"MLFLOW_S3_ENDPOINT_URL": endpoint, "MLFLOW_ARTIFACT_ROOT": "s3://bucket/root"} | more


def of(account: Account, endpoint: str, **more: str) -> dict[str, str]:
    return settings(endpoint, account.access_key_id, account.secret_access_key, **more)


def identity(environ: Mapping[str, str], check: str = "credentials.identity") -> Finding:
    report = examine(environ=environ, only=[check])
    assert all(secret not in f"{report}{report.as_document()}" for secret in _secrets(environ))
    return {result.check.name: result.finding for result in report.results}[check]


def _secrets(environ: Mapping[str, str]) -> list[str]:
    return [value for name, value in environ.items() if name.endswith(("SECRET_ACCESS_KEY", "SESSION_TOKEN"))]


def test_a_server_with_sts_tells_user_and_account(s3_server: S3Access, unique: str) -> None:
    account = s3_server.add_account(unique, [unique.replace("_", "-")[-40:].strip("-")])
    found = identity(of(account, s3_server.endpoint_url))
    assert (found.status, found.details["account"]) == (Status.OK, "…9012")
    # The end of the name may be all digits, and shortened for that.
    assert found.details["principal"].startswith(f"user/{unique[:-8]}")
    assert "123456789012" not in found.found
    assert account.access_key_id not in found.found


def test_servers_without_sts_tell_the_owner(
    rclone_server: RcloneAccess, swift_server: SwiftAccess, unique: str
) -> None:
    found = identity(of(rclone_server.account, rclone_server.endpoint_url))
    assert (found.status, found.details["principal"]) == (Status.OK, "GoFakeS3")
    found = identity(of(swift_server.add_account(unique), swift_server.endpoint_url))
    assert found.status is Status.OK
    assert "by the S3 server's word" in found.found


@pytest.mark.parametrize("server", ["s3_server", "swift_server", "rclone_server"])
def test_a_wrong_secret_is_refused_everywhere(
    server: str, request: pytest.FixtureRequest, unique: str, canary: str
) -> None:
    access = request.getfixturevalue(server)
    account = access.account if server == "rclone_server" else access.add_account(unique)
    found = identity(settings(access.endpoint_url, account.access_key_id, canary))
    assert (found.status, found.retryable) == (Status.FAILED, False)
    assert "SignatureDoesNotMatch" in found.found
    assert found.remedy == "mend MLFLOW_AWS_SECRET_ACCESS_KEY: it does not belong to this key"


@pytest.mark.parametrize("server", ["s3_server", "rclone_server"])
def test_an_unknown_key_is_refused(server: str, request: pytest.FixtureRequest, canary: str) -> None:
    found = identity(settings(request.getfixturevalue(server).endpoint_url, "AKIDUNKNOWN12345", canary))
    assert found.status is Status.FAILED
    assert found.remedy == "mend MLFLOW_AWS_ACCESS_KEY_ID: the server does not know this key"


def test_an_sts_that_is_set_has_the_last_word(s3_server: S3Access, canary: str) -> None:
    environ = settings(s3_server.endpoint_url, "AKIDUNKNOWN12345", canary)
    found = identity(environ | {"MLFLOW_AWS_STS_ENDPOINT_URL": s3_server.endpoint_url})
    assert "InvalidClientTokenId" in found.found
    assert found.status is Status.FAILED


def test_a_key_that_may_ask_nothing_is_no_fault(s3_server: S3Access, unique: str) -> None:
    """The server knows no STS there, and does not let the key list buckets: nobody says whose it is."""
    account = s3_server.add_account(unique, [unique.replace("_", "-")[-40:].strip("-")])
    nobody = f"http://127.0.0.1:{free_port()}"
    found = identity(of(account, s3_server.endpoint_url, MLFLOW_AWS_STS_ENDPOINT_URL=nobody))
    assert found.status is Status.SKIPPED
    assert "ListBuckets: AccessDenied" in found.found


def test_a_role_that_may_not_be_assumed(s3_server: S3Access, unique: str) -> None:
    account = s3_server.add_account(unique)
    sts = {"MLFLOW_AWS_STS_ENDPOINT_URL": s3_server.endpoint_url, "MLFLOW_AWS_ROLE_ARN": ROLE}
    found = identity(of(account, s3_server.endpoint_url, **sts), "credentials.usable")
    assert found.status is Status.FAILED
    assert "AccessDenied" in found.found
    assert "sts:AssumeRole" in found.remedy


def test_an_sts_that_is_away(s3_server: S3Access, unique: str) -> None:
    account = s3_server.add_account(unique)
    sts = {"MLFLOW_AWS_STS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "MLFLOW_AWS_ROLE_ARN": ROLE}
    found = identity(of(account, s3_server.endpoint_url, **sts), "credentials.usable")
    assert (found.status, found.retryable) == (Status.FAILED, True)
    assert "MLFLOW_AWS_STS_ENDPOINT_URL" in found.remedy
    assert "MLFLOW_S3_ENDPOINT_URL" not in found.remedy


def test_a_role_of_another_server_than_aws_needs_its_sts(
    s3_server: S3Access, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")  # so that AWS is not asked in earnest
    environ = settings(s3_server.endpoint_url, "AKIDEXAMPLE12345", canary, MLFLOW_AWS_ROLE_ARN=ROLE)
    found = identity(environ, "credentials.usable")
    assert found.status is Status.FAILED
    assert found.remedy.startswith("set MLFLOW_AWS_STS_ENDPOINT_URL: the role was asked for at AWS")


def test_what_is_wrong_with_the_server_is_told_once(s3_server: S3Access, canary: str) -> None:
    """By the check of the server, which is made too, and not a second time by that of the keys."""
    with FaultProxy(s3_server.endpoint_url) as silent, FaultProxy(s3_server.endpoint_url) as page:
        silent.black_hole()
        page.answer(200, {"Content-Type": "text/html"}, "<html>")
        for url, exit_code in ((f"http://127.0.0.1:{free_port()}", 3), (silent.url, 3), (page.url, 1)):
            report = examine(environ=settings(url, "AKIDEXAMPLE12345", canary), only=["credentials"])
            assert [result.check.name for result in report.failures] == ["s3.endpoint"]
            assert report.exit_code == exit_code
            found = next(result.finding for result in report.results if result.check.name == "credentials.identity")
            assert (found.status, "s3.endpoint failed" in found.found) == (Status.SKIPPED, True)


def test_a_server_that_fails_all_the_time(s3_server: S3Access, unique: str) -> None:
    account = s3_server.add_account(unique)
    with FaultProxy(s3_server.endpoint_url) as proxy:
        proxy.answer(503)
        found = identity(of(account, proxy.url))
    assert (found.status, found.retryable) == (Status.FAILED, True)
    assert "the server cannot be asked" in found.found
    assert found.remedy
