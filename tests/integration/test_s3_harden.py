"""Hardening a bucket, its policy, and what servers say of how it is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3 import S3Files
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.transfer import Item
from holdfast.bucket import posture
from holdfast.bucket.arns import Place
from holdfast.bucket.bucket_policy import encryption_statements, tls_statement, with_statements
from holdfast.bucket.hardening import Step, Target, apply_steps, plan_hardening
from holdfast.bucket.logs import Logs
from holdfast.bucket.policy import Needs, role_policy
from holdfast.bucket.posture import Encryption, Logging
from holdfast.cli.app import app
from holdfast.errors import ArtifactError, InvalidInputError
from holdfast.settings import Credentials
from holdfast.testing import Account, RcloneAccess, S3Server, ServerCertificate, SwiftAccess
from holdfast.testing import S3Access as Server
from holdfast.testing._served import make_client

errors = pytest.importorskip("botocore.exceptions")

KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
OTHER_KEY = KEY.replace("1111", "9999")
SETTINGS = ["tls-only", "public-access", "ownership", "versioning", "encryption", "lifecycle", "logging"]


@pytest.fixture(scope="module")
def server(server_certificate: ServerCertificate) -> Iterator[Server]:
    """A server that speaks TLS and plain HTTP over the same buckets."""
    with S3Server(certificate=server_certificate) as found:
        yield found.access


@pytest.fixture
def bucket(unique: str) -> str:
    return f"b-{unique[-8:]}"


def access_of(url: str, account: Account, ca_bundle: Path | str | None = None) -> S3Access:
    secret = SecretStr(account.secret_access_key)
    credentials = Credentials("project", "test", account.access_key_id, secret, region="us-east-1")
    return S3Access(
        credentials, endpoint_url=url, ca_bundle=None if ca_bundle is None else str(ca_bundle), deadline_s=3.0
    )


@pytest.fixture
def target(server: Server, server_certificate: ServerCertificate, bucket: str, unique: str) -> Target:
    """A new bucket, reached over TLS by somebody who may do everything with it and a bucket for its logs."""
    account = server.add_account(unique, [bucket, f"{bucket}-logs"])
    access = access_of(server.tls_url, account, server_certificate.ca_bundle)
    return Target(S3Connection(access), Place(bucket, "team"))


def harden(target: Target) -> dict[str, Step]:
    return {step.name: step for step in apply_steps(plan_hardening(target))}


def states(steps: dict[str, Step]) -> dict[str, str]:
    return {name: step.state for name, step in steps.items()}


def test_a_new_bucket_is_hardened_once(target: Target, bucket: str, server: Server) -> None:
    target = replace(target, logs=Logs(f"{bucket}-logs", "accesses/"))
    planned = {step.name: step.state for step in plan_hardening(target)}
    assert planned == dict.fromkeys(SETTINGS, "to do")
    assert not posture.ask_versioning(target.connection, bucket).value  # a plan changes nothing
    assert states(harden(target)) == dict.fromkeys(SETTINGS, "done")
    connection = target.connection
    assert posture.ask_versioning(connection, bucket).value == "Enabled"
    assert posture.ask_encryption(connection, bucket).value == Encryption("AES256")
    assert all((posture.ask_public_access_block(connection, bucket).value or {}).values())
    assert posture.ask_ownership(connection, bucket).value == "BucketOwnerEnforced"
    assert posture.ask_logging(connection, bucket).value == Logging(f"{bucket}-logs", "accesses/")
    with pytest.raises(errors.ClientError):
        server.client().list_objects_v2(Bucket=bucket)  # over plain HTTP
    before = _everything(target)
    assert states(harden(target)) == dict.fromkeys(SETTINGS, "right")
    assert _everything(target) == before


def _everything(target: Target) -> list[Any]:
    return [getattr(posture, name)(target.connection, target.place.bucket) for name in _ASKS]


_ASKS = [name for name in posture.__all__ if name.startswith("ask_")]


def test_what_is_there_stays(target: Target, bucket: str, server: Server) -> None:
    client = server.client()
    theirs = {"Sid": "Theirs", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObjectAcl", "Resource": "*"}
    rule = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [theirs]}))
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    client.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": default}]},
    )
    client.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicAcls": True, "IgnorePublicAcls": True}
    )
    done = harden(target)
    assert states(done) == {**dict.fromkeys(SETTINGS, "done"), "logging": "left"}
    assert "BlockPublicPolicy, RestrictPublicBuckets" in done["public-access"].says
    assert "--log-bucket" in done["logging"].says
    policy = posture.ask_policy(target.connection, bucket).value
    assert policy is not None
    assert [item["Sid"] for item in policy["Statement"]] == ["Theirs", "HoldfastTlsOnly"]
    assert policy["Statement"][0] == theirs
    assert (posture.ask_lifecycle(target.connection, bucket).value or ())[0] == rule
    assert posture.ask_encryption(target.connection, bucket).value == Encryption("aws:kms", KEY, True)


def test_the_key_of_the_settings_becomes_the_buckets(target: Target, bucket: str) -> None:
    target = replace(target, kms_key=KEY)
    assert harden(target)["encryption"].state == "done"
    assert posture.ask_encryption(target.connection, bucket).value == Encryption("aws:kms", KEY, True)
    assert harden(replace(target, kms_key=OTHER_KEY))["encryption"].state == "done"
    assert harden(replace(target, kms_key=""))["encryption"].state == "right"


def test_acls_in_use_stay_in_force(target: Target, bucket: str, server: Server) -> None:
    server.client().put_bucket_acl(Bucket=bucket, GrantRead='id="somebody-else"')
    left = harden(replace(target, acl="public-read"))["ownership"]
    assert (left.state, "HOLDFAST_S3_ACL" in left.says) == ("left", True)
    assert "1 others" in harden(target)["ownership"].says
    assert harden(replace(target, acl="bucket-owner-full-control"))["ownership"].state == "left"


def test_over_plain_http_nobody_locks_themselves_out(target: Target, server: Server) -> None:
    plain = replace(
        target, connection=S3Connection(replace(target.connection.access, endpoint_url=server.endpoint_url))
    )
    steps = harden(plain)
    assert steps["tls-only"].state == "left"
    assert "lock itself out" in steps["tls-only"].says
    assert harden(plain)["versioning"].state == "right"
    assert harden(target)["tls-only"].state == "done"
    refused = harden(plain)["versioning"]
    assert (refused.state, "https://" in refused.hint) == ("failed", True)


@pytest.mark.parametrize(
    ("action", "step"),
    [
        ("s3:PutBucketPolicy", "tls-only"),
        ("s3:GetBucketPolicy", "tls-only"),
        ("s3:PutBucketPublicAccessBlock", "public-access"),
        ("s3:PutBucketVersioning", "versioning"),
        ("s3:PutLifecycleConfiguration", "lifecycle"),
        ("s3:PutBucketLogging", "logging"),
    ],
)
def test_a_step_that_is_denied_names_the_action_and_the_others_go_on(
    target: Target, server: Server, bucket: str, unique: str, action: str, step: str
) -> None:
    account = server.add_account(f"{unique}-less", [bucket, f"{bucket}-logs"], denied_actions=[action])
    access = access_of(server.tls_url, account, Path(str(target.connection.access.ca_bundle)))
    logs = Logs(f"{bucket}-logs") if step == "logging" else None
    steps = harden(replace(target, connection=S3Connection(access), logs=logs))
    failed = steps.pop(step)
    assert failed.state == "failed"
    assert action in failed.says
    assert action in failed.hint
    assert set(states(steps).values()) - {"left"} == {"done"}


def test_logs_of_logs_are_refused(target: Target, bucket: str) -> None:
    with pytest.raises(InvalidInputError, match="bucket itself"):
        plan_hardening(replace(target, logs=Logs(bucket)))


def test_a_bucket_for_the_logs_that_is_not_there(target: Target, server: Server, unique: str) -> None:
    """Who may ask for it is told before anything is changed, all others when S3 refuses it."""
    elsewhere = replace(target, logs=Logs("no-such-bucket-for-logs"))
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    admin = access_of(
        server.tls_url, server.add_account(f"{unique}-a", policy=policy), target.connection.access.ca_bundle
    )
    for steps in (plan_hardening(replace(elsewhere, connection=S3Connection(admin))), harden(elsewhere).values()):
        missing = next(step for step in steps if step.name == "logging")
        assert missing.state == "failed", missing
        assert missing.hint.startswith("mend --log-bucket, or create the bucket"), missing


def test_what_a_server_lacks_is_named_and_left(
    swift_server: SwiftAccess, rclone_server: RcloneAccess, unique: str, bucket: str
) -> None:
    rclone_server.client().create_bucket(Bucket=bucket)
    swift = access_of(swift_server.endpoint_url, swift_server.add_account(unique, [bucket]))
    rclone = access_of(rclone_server.endpoint_url, rclone_server.account)
    for access, does in ((swift, {"versioning": "done"}), (rclone, {})):
        target = Target(S3Connection(access), Place(bucket))
        assert states(harden(target)) == {**dict.fromkeys(SETTINGS, "left"), **does}
        assert "done" not in states(harden(target)).values()


@pytest.mark.parametrize(
    ("arguments", "is_right"),
    [
        ({}, True),
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY}, True),
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": OTHER_KEY}, False),
        ({"ServerSideEncryption": "aws:kms"}, False),
        ({"ServerSideEncryption": "AES256"}, False),
        ({"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}, False),
    ],
)
def test_the_expected_encryption_and_the_buckets_own_are_taken(
    target: Target, server: Server, bucket: str, unique: str, arguments: dict[str, str], is_right: bool
) -> None:
    policy = with_statements({}, encryption_statements(target.place, KEY))
    server.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    account = server.add_account(f"{unique}-writer", policy=role_policy("writer", Needs(Place(bucket), KEY)))
    client = make_client("s3", server.tls_url, account, target.connection.access.ca_bundle)
    for call, more in ((client.put_object, {"Body": b"1"}), (client.create_multipart_upload, {})):
        assert _is_allowed(call, Bucket=bucket, Key="team/x", **more, **arguments) == is_right
    if arguments.get("SSEKMSKeyId") != OTHER_KEY:
        assert _is_allowed(client.put_object, Bucket=bucket, Key="beside/x", Body=b"1", **arguments)


def _is_allowed(call: Callable[..., Any], **arguments: Any) -> bool:
    try:
        call(**arguments)
    except errors.ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True


def test_nobody_gets_in_without_tls(target: Target, server: Server, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    item = Item(tmp_path / "file", f"s3://{bucket}/file")
    plain = S3Files(replace(target.connection.access, endpoint_url=server.endpoint_url))
    plain.upload([item])
    policy = with_statements({}, [tls_statement(target.place)])
    server.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    with pytest.raises(ArtifactError) as caught:
        plain.upload([replace(item, uri=f"s3://{bucket}/other")])
    assert caught.value.code == "AccessDenied"
    over_tls = S3Files(target.connection.access)
    over_tls.upload([replace(item, uri=f"s3://{bucket}/other")])
    assert [found.path for found in over_tls.list_files(f"s3://{bucket}")] == ["file", "other"]


class _Scripted(BaseHTTPRequestHandler):
    """Answers every question in one way."""

    def do_GET(self) -> None:
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()


@pytest.fixture(scope="module")
def scripted() -> Iterator[Any]:
    found: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Scripted)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.mark.parametrize(
    ("status", "body", "why_not"),
    [
        (403, _error("AccessDenied"), "denied"),
        (403, b"", "denied"),
        (501, _error("NotImplemented"), "unsupported"),
        (501, b"", "unsupported"),
        (405, _error("MethodNotAllowed"), "unsupported"),
        (404, _error("NoSuchKey"), "unsupported"),
        (400, _error("InvalidArgument"), "unsupported"),
        (200, b"<ListBucketResult><Name>b</Name></ListBucketResult>", "unsupported"),
        (200, b"<html><body>hello</body></html>", "unsupported"),
        (200, b'<?xml version="1.0"?>\n<!-- x --><ListBucketResult/>', "unsupported"),
        (200, b"", "unsupported"),
    ],
)
def test_servers_say_no_in_many_ways(scripted: Any, status: int, body: bytes, why_not: str, canary: str) -> None:
    scripted.answer = (status, body)
    account = Account("x", "AKIDEXAMPLE000000000", canary)
    connection = S3Connection(access_of(f"http://127.0.0.1:{scripted.server_port}", account))
    for name in _ASKS:
        answer = getattr(posture, name)(connection, "b")
        assert (answer.value, answer.why_not) == (None, why_not), name


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchBucket"), (403, "InvalidAccessKeyId")])
def test_what_is_no_answer_to_the_question_is_an_error(scripted: Any, status: int, code: str, canary: str) -> None:
    scripted.answer = (status, _error(code))
    account = Account("x", "AKIDEXAMPLE000000000", canary)
    connection = S3Connection(access_of(f"http://127.0.0.1:{scripted.server_port}", account))
    for name in _ASKS:
        with pytest.raises(ArtifactError) as caught:
            getattr(posture, name)(connection, "b")
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("opened", "blocks", "by"),
    [
        ("policy", {}, ("policy",)),
        ("acl", {}, ("acl",)),
        ("policy", {"RestrictPublicBuckets": True}, ()),
        ("acl", {"IgnorePublicAcls": True}, ()),
        ("acl", {"RestrictPublicBuckets": True}, ("acl",)),
        ("", {}, ()),
    ],
)
def test_by_what_a_bucket_is_open(
    target: Target, server: Server, bucket: str, opened: str, blocks: dict[str, bool], by: tuple[str, ...]
) -> None:
    client = server.client()
    if opened == "policy":
        allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    elif opened == "acl":
        client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    if blocks:
        client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=blocks)
    assert posture.ask_is_public(target.connection, bucket).value == by


class TestCli:
    @pytest.fixture(autouse=True)
    def _project(self, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        access = target.connection.access
        key = access.credentials.secret_access_key
        values = {
            "MLFLOW_AWS_ACCESS_KEY_ID": access.credentials.access_key_id,
            "MLFLOW_AWS_SECRET_ACCESS_KEY": key.get_secret_value() if key else "",
            "MLFLOW_S3_ENDPOINT_URL": access.endpoint_url,
            "AWS_CA_BUNDLE": access.ca_bundle,
            "MLFLOW_ARTIFACT_ROOT": target.place.uri,
        }
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    def test_harden_plans_asks_and_does(self, bucket: str) -> None:
        run = CliRunner()
        planned = run.invoke(app, ["s3", "harden", "--dry-run", "--json"])
        assert planned.exit_code == 0
        assert {step["state"] for step in json.loads(planned.stdout)["steps"]} == {"to do", "left"}
        refused = run.invoke(app, ["s3", "harden"])
        assert isinstance(refused.exception, InvalidInputError)
        assert "--yes" in refused.exception.hint
        done = run.invoke(app, ["s3", "harden", "--yes", "--log-bucket", f"{bucket}-logs", "--json"])
        assert done.exit_code == 0
        assert json.loads(done.stdout)["changed"] is True
        again = run.invoke(app, ["s3", "harden"])  # nothing to ask for
        assert (again.exit_code, "Nothing was to be done" in again.stdout) == (0, True)

    def test_a_failed_step_is_the_exit_code(self, server: Server, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
        reader = server.add_account(f"{unique}-reader", policy=role_policy("reader", Needs(Place("x"))))
        monkeypatch.setenv("MLFLOW_AWS_ACCESS_KEY_ID", reader.access_key_id)
        monkeypatch.setenv("MLFLOW_AWS_SECRET_ACCESS_KEY", reader.secret_access_key)
        failed = CliRunner().invoke(app, ["s3", "harden", "--yes"])
        assert failed.exit_code == 1
        assert "s3:GetBucketVersioning" in failed.stderr

    def test_the_policy_is_printed_merged_and_set(self, target: Target, bucket: str) -> None:
        run = CliRunner()
        printed = run.invoke(app, ["s3", "bucket-policy", "--kms-key", KEY])
        assert [item["Sid"] for item in json.loads(printed.stdout)["Statement"]][:2] == [
            *("HoldfastTlsOnly", "HoldfastOtherEncryption")
        ]
        assert posture.ask_policy(target.connection, bucket).value == {}
        for changed in (True, False):
            done = run.invoke(app, ["s3", "bucket-policy", "--apply", "--yes", "--json"])
            assert (done.exit_code, json.loads(done.stdout)["changed"]) == (0, changed)
        writer = run.invoke(app, ["s3", "policy", "--role", "writer"])
        assert json.loads(writer.stdout) == role_policy("writer", Needs(target.place))
        elsewhere = run.invoke(app, ["s3", "policy", "s3://other/x", "--role", "reader"])
        assert json.loads(elsewhere.stdout) == role_policy("reader", Needs(Place("other", "x"), with_posture=False))
