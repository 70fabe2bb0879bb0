"""An S3 server that checks who is asking: wrong secrets, unknown keys and foreign buckets are refused.

It is moto in a process of its own, with IAM switched on: signatures are verified, and policies of users and buckets
hold with their conditions, by AWS's rules (see `_moto_server`). It does not verify checksums, the signature of
presigned URLs, or when a session ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from holdfast.core.uris import MASK
from holdfast.errors import MissingDependencyError, ServerError
from holdfast.testing._served import HOST, REGION, Account, ServedProcess, call, free_ports, make_client
from holdfast.testing.certificates import ServerCertificate

__all__ = ["REGION", "Account", "S3Access", "S3Server"]


@dataclass(frozen=True)
class S3Access:
    """Where a running S3 server is, and the keys that may do everything there.

    Attributes:
        endpoint_url: Its base URL.
        admin: An account that may do everything.
        tls_url: The base URL of the same buckets over TLS; empty where it was given no certificate.
    """

    endpoint_url: str
    admin: Account
    tls_url: str = ""

    def add_account(
        self,
        name: str,
        buckets: Sequence[str] = (),
        denied_actions: Sequence[str] = (),
        policy: Mapping[str, object] | None = None,
    ) -> Account:
        """Make a user that may do everything in `buckets`, made where missing, and nothing elsewhere.

        Args:
            name: The user's name; must be new.
            buckets: Names of its buckets; several accounts may share one.
            denied_actions: What it may not do even there, such as `s3:DeleteObject`.
            policy: What it may do instead of that: a whole policy document.
        """
        s3, iam = self.client(), self._client_for("iam", self.admin)
        existing = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
        for bucket in buckets:
            if bucket not in existing:
                s3.create_bucket(Bucket=bucket)
        return _make_user(iam, name, buckets, _policy(buckets, denied_actions) if policy is None else policy)

    def client(self, account: Account | None = None) -> Any:
        """Return a boto3 S3 client with the keys of `account`, or the administrator's.

        Nothing of the environment or of `~/.aws` goes into it.
        """
        return self._client_for("s3", account or self.admin)

    def _client_for(self, service: str, account: Account) -> Any:
        return make_client(service, self.endpoint_url, account)


class S3Server(ServedProcess[S3Access]):
    """A process that serves S3 on a free loopback port, from memory.

        with S3Server() as server:
            mine = server.add_account("mine", buckets=["models"])

    Args:
        timeout_s: How long its start may take.
        certificate: What it serves the same buckets with over TLS, at `access.tls_url`; None for plain HTTP alone.
    """

    _name = "S3 server"

    def __init__(self, timeout_s: float = 60.0, certificate: ServerCertificate | None = None) -> None:
        super().__init__(timeout_s)
        self._certificate = certificate

    @property
    def endpoint_url(self) -> str:
        """Its base URL."""
        return self.access.endpoint_url

    def add_account(
        self,
        name: str,
        buckets: Sequence[str] = (),
        denied_actions: Sequence[str] = (),
        policy: Mapping[str, object] | None = None,
    ) -> Account:
        """Make a user limited to its buckets, or to a policy; see `S3Access.add_account`."""
        return self.access.add_account(name, buckets, denied_actions, policy)

    def client(self, account: Account | None = None) -> Any:
        """Return a boto3 S3 client of `account`, or of the administrator."""
        return self.access.client(account)

    def _check_installed(self) -> None:
        if find_spec("moto") is None or find_spec("flask_cors") is None:
            raise MissingDependencyError("The S3 server needs moto.", "pip install 'holdfast[testing]'")

    def _run(self, folder: Path) -> S3Access:
        port, tls_port = free_ports(2)
        command = [sys.executable, "-P", "-m", "holdfast.testing._moto_server", "--host", HOST, "--port", str(port)]
        if self._certificate is not None:
            files = ["--certificate", str(self._certificate.chain), "--key", str(self._certificate.key)]
            command += ["--tls-port", str(tls_port), *files]
        # So many calls are free: enough to make the administrator. `_lock_up` then ends that.
        environment = {"INITIAL_NO_AUTH_ACTION_COUNT": "1000000", "PYTHONUNBUFFERED": "1"}
        self._serve(folder, command, [port], environment)
        return _lock_up(port, tls_port if self._certificate is not None else None)


def _lock_up(port: int, tls_port: int | None) -> S3Access:
    """Make the administrator while nobody is checked; from then on everybody is."""
    url = f"http://{HOST}:{port}"
    allow_all = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    nobody = Account("nobody", "nobody", MASK)
    admin = _make_user(make_client("iam", url, nobody), "administrator", (), allow_all)
    status = call(port, "POST", "/moto-api/reset-auth", "0")
    if status != 200:
        raise ServerError(f"The S3 server does not switch its access control on: {status}.", "upgrade moto")
    return S3Access(url, admin, f"https://{HOST}:{tls_port}" if tls_port else "")


def _make_user(iam: Any, name: str, buckets: Sequence[str], policy: Mapping[str, object]) -> Account:
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="own-buckets", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Account(name, key["AccessKeyId"], key["SecretAccessKey"], tuple(buckets))


def _policy(buckets: Sequence[str], denied_actions: Sequence[str]) -> dict[str, object]:
    resources = [arn for name in buckets for arn in (f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*")]
    statements: list[dict[str, object]] = []
    if resources:
        statements.append({"Effect": "Allow", "Action": "s3:*", "Resource": resources})
        # Whatever their objects are encrypted with.
        statements.append({"Effect": "Allow", "Action": "kms:*", "Resource": "*"})
    if denied_actions or not statements:
        statements.append({"Effect": "Deny", "Action": list(denied_actions) or "*", "Resource": "*"})
    return {"Version": "2012-10-17", "Statement": statements}
