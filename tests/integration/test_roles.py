"""Roles that are assumed for a project, at an STS that checks who asks."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from holdfast.settings import load_settings
from holdfast.testing import Account, S3Access

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


def _client(server: S3Access, service: str) -> Any:
    session = boto3.session.Session(server.admin.access_key_id, server.admin.secret_access_key, region_name="us-east-1")
    make: Any = session.client
    return make(service, endpoint_url=server.endpoint_url)


@pytest.fixture
def bucket(unique: str) -> str:
    return unique.replace("_", "-")[-40:].strip("-")


@pytest.fixture
def caller(s3_server: S3Access, unique: str, bucket: str) -> Account:
    """A user that may assume roles and touch no bucket; the bucket is there."""
    s3_server.client().create_bucket(Bucket=bucket)
    account = s3_server.add_account(unique)
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}
    _client(s3_server, "iam").put_user_policy(
        UserName=account.name, PolicyName="own-buckets", PolicyDocument=json.dumps(allow)
    )
    return account


@pytest.fixture
def role(s3_server: S3Access, unique: str, bucket: str) -> str:
    """A role that may do everything in the bucket."""
    iam = _client(s3_server, "iam")
    arn: str = iam.create_role(RoleName=unique[-60:], AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    allow = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
        ],
    }
    policy = iam.create_policy(PolicyName=unique[-60:], PolicyDocument=json.dumps(allow))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=unique[-60:], PolicyArn=policy)
    return arn


def _environ(server: S3Access, caller: Account, **more: str) -> dict[str, str]:
    return {
        "MLFLOW_AWS_ACCESS_KEY_ID": caller.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": caller.secret_access_key,
        "MLFLOW_S3_ENDPOINT_URL": server.endpoint_url,
        "MLFLOW_AWS_STS_ENDPOINT_URL": server.endpoint_url,
        **more,
    }


def test_the_role_reaches_what_the_keys_do_not(
    s3_server: S3Access, caller: Account, role: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-another-program")
    before = dict(os.environ)
    plain = load_settings(environ=_environ(s3_server, caller))
    with pytest.raises(ClientError, match="AccessDenied"):
        plain.credentials.session().client("s3", endpoint_url=s3_server.endpoint_url).list_objects_v2(Bucket=bucket)
    assumed = load_settings(
        environ=_environ(s3_server, caller, MLFLOW_AWS_ROLE_ARN=role, MLFLOW_AWS_EXTERNAL_ID="ours")
    )
    session = assumed.credentials.session()
    answer = session.client("s3", endpoint_url=s3_server.endpoint_url).list_objects_v2(Bucket=bucket)
    assert answer["KeyCount"] == 0
    lent = session.get_credentials()
    assert lent is not None
    assert lent.get_frozen_credentials().token
    assert lent.get_frozen_credentials().access_key != caller.access_key_id
    assert dict(os.environ) == before
    assert boto3.DEFAULT_SESSION is None


def test_a_session_that_ends_is_renewed_in_the_middle(
    s3_server: S3Access, caller: Account, role: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(environ=_environ(s3_server, caller, MLFLOW_AWS_ROLE_ARN=role))
    session = settings.credentials.session()
    client = session.client("s3", endpoint_url=s3_server.endpoint_url)
    client.list_objects_v2(Bucket=bucket)
    lent: Any = session.get_credentials()
    first = lent.get_frozen_credentials().access_key
    # Five minutes before its end, as botocore sees it: the same client goes on with another session's keys.
    later = lent._time_fetcher() + timedelta(minutes=55)
    monkeypatch.setattr("botocore.credentials._local_now", lambda: later)
    lent._time_fetcher = lambda: later
    client.list_objects_v2(Bucket=bucket)
    assert lent.get_frozen_credentials().access_key != first


def test_a_token_of_the_platform_in_place_of_keys(tmp_path: Path, canary: str) -> None:
    # With its access control on, moto cannot answer a request that is not signed, as this one is not.
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        (tmp_path / "credentials").write_text(canary)  # the token, by a name that may hold secrets
        environ = {
            "MLFLOW_AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/training",
            "MLFLOW_AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "credentials"),
            "MLFLOW_AWS_ROLE_SESSION_NAME": "night-run",
            "MLFLOW_AWS_STS_ENDPOINT_URL": f"http://{host}:{port}",
        }
        session = load_settings(environ=environ).credentials.session()
        make: Any = session.client
        who = make("sts", endpoint_url=f"http://{host}:{port}").get_caller_identity()
        assert who["Arn"].endswith("assumed-role/training/night-run")
    finally:
        server.stop()


def test_a_role_of_a_profile_with_its_external_id(
    s3_server: S3Access, caller: Account, role: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(os.environ["HOME"]) / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        f"[base]\naws_access_key_id = {caller.access_key_id}\naws_secret_access_key = {caller.secret_access_key}\n"
    )
    (folder / "config").write_text(
        "[profile team]\nregion = us-east-1\nsource_profile = base\nexternal_id = ours\n"
        f"role_arn = {role}\nservices = local\n"
        f"[services local]\nsts =\n  endpoint_url = {s3_server.endpoint_url}\n"
    )
    session = load_settings(environ={"MLFLOW_AWS_PROFILE": "team"}).credentials.session()
    answer = session.client("s3", endpoint_url=s3_server.endpoint_url).list_objects_v2(Bucket=bucket)
    assert answer["KeyCount"] == 0


_LIST = """
import sys
from holdfast.settings import load_settings

session = load_settings(environ={"MLFLOW_AWS_PROFILE": "signed-on"}).credentials.session()
sys.stdout.write(str(session.client("s3", endpoint_url=sys.argv[2]).list_objects_v2(Bucket=sys.argv[1])["KeyCount"]))
"""


class _SignOn(BaseHTTPRequestHandler):
    """The one question that a profile with single sign-on asks its portal, answered with a role's session."""

    def do_GET(self) -> None:
        server: Any = self.server
        is_known = self.headers.get("x-amz-sso_bearer_token") == server.token
        body = json.dumps({"roleCredentials": server.keys} if is_known else {"message": "unknown token"}).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def test_single_sign_on_by_profile(s3_server: S3Access, caller: Account, role: str, bucket: str, canary: str) -> None:
    sts: Any = boto3.session.Session(caller.access_key_id, caller.secret_access_key, region_name="us-east-1").client(
        "sts", endpoint_url=s3_server.endpoint_url
    )
    lent = sts.assume_role(RoleArn=role, RoleSessionName="portal")["Credentials"]
    portal: Any = ThreadingHTTPServer(("127.0.0.1", 0), _SignOn)
    portal.token = canary
    portal.keys = {
        "accessKeyId": lent["AccessKeyId"],
        "secretAccessKey": lent["SecretAccessKey"],
        "sessionToken": lent["SessionToken"],
        "expiration": int(lent["Expiration"].timestamp() * 1000),
    }
    threading.Thread(target=portal.serve_forever, daemon=True).start()
    start_url = "https://example.awsapps.com/start"
    folder = Path(os.environ["HOME"]) / ".aws"
    cached = folder / "sso" / "cache" / f"{hashlib.sha1(start_url.encode(), usedforsecurity=False).hexdigest()}.json"
    cached.parent.mkdir(parents=True)
    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    cached.write_text(
        json.dumps({"accessToken": canary, "expiresAt": later, "startUrl": start_url, "region": "us-east-1"})
    )
    (folder / "config").write_text(
        f"[profile signed-on]\nregion = us-east-1\nsso_start_url = {start_url}\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = training\nservices = local\n"
        f"[services local]\nsso =\n  endpoint_url = http://127.0.0.1:{portal.server_port}\n"
    )
    try:
        # A process of its own: botocore remembers the home of when it was imported.
        done = subprocess.run(
            [sys.executable, "-c", _LIST, bucket, s3_server.endpoint_url], capture_output=True, text=True, check=True
        )
        assert done.stdout == "0"
    finally:
        portal.shutdown()
        cached.unlink()  # it is the sign-on's place for the token, and no test looks at it again


def test_what_is_lent_stays_out_of_botocores_log(
    s3_server: S3Access, caller: Account, role: str, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who looks for a fault sets the level of everything to DEBUG, and sends the log to somebody."""
    caplog.set_level(logging.DEBUG)
    settings = load_settings(environ=_environ(s3_server, caller, MLFLOW_AWS_ROLE_ARN=role))
    session = settings.credentials.session()
    session.client("s3", endpoint_url=s3_server.endpoint_url).list_objects_v2(Bucket=bucket)
    lent: Any = session.get_credentials()
    keys = lent.get_frozen_credentials()
    assert "x-amz-security-token:****" in caplog.text
    assert "<SecretAccessKey>****" in caplog.text
    for secret in (keys.token, keys.secret_key, caller.secret_access_key):
        assert secret not in caplog.text
