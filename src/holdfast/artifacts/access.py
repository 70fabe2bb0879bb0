"""How one project reaches its S3: whose keys, which server, under which conditions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from holdfast.core.redaction import Redactor
from holdfast.settings import Credentials, Settings


@dataclass(frozen=True)
class S3Access:
    """How one project reaches its S3. `repr` shows no secret.

    Attributes:
        credentials: Whose account.
        region: The region that is signed for, until the bucket says it is another.
        endpoint_url: The S3 server; None for AWS.
        ignore_tls: Whether its certificate is believed unchecked.
        ca_bundle: The file with the certificates that it is checked with, or None for the usual ones.
        addressing_style: How the bucket stands in the URL; `auto` finds out.
        checksums: Whether checksums are sent that newer servers verify: `auto` finds out.
        bucket_owner: The AWS account that must own the bucket, or None.
        put_arguments: What goes with every upload, by boto3's names (ServerSideEncryption, ACL, Tagging …).
        threads: How many files or parts are under way at once.
        upload_rate: Bytes a second that are sent at most, or None.
        deadline_s: How long a transfer is tried again without any progress, in seconds.
    """

    credentials: Credentials
    region: str = "us-east-1"
    endpoint_url: str | None = None
    ignore_tls: bool = False
    ca_bundle: str | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    checksums: Literal["auto", "always", "never"] = "auto"
    bucket_owner: str | None = None
    put_arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    threads: int = 16
    upload_rate: int | None = None
    deadline_s: float = 120.0

    @property
    def redact(self) -> Redactor:
        """Hides the secrets in here."""
        keys = (self.credentials.secret_access_key, self.credentials.session_token)
        return Redactor(key.get_secret_value() for key in keys if key is not None)

    @property
    def account(self) -> str:
        """Whose keys these are, for errors: where they came from, and the masked access key."""
        key = self.credentials.access_key_id
        return (
            f"{self.credentials.origin}, key {key[:4]}…{key[-4:]}" if key and len(key) > 8 else self.credentials.origin
        )

    @property
    def fingerprint(self) -> str:
        """Tells this access from any other one, and nothing about its secrets."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def within(self, deadline_s: float) -> S3Access:
        """Return the same access for somebody who waits no longer than this, in seconds."""
        return replace(self, deadline_s=min(self.deadline_s, deadline_s))

    def to_json(self) -> str:
        """Return everything as text for the standard input of a process of one's own; it holds the secrets."""
        content = {item.name: getattr(self, item.name) for item in fields(self)}
        content |= {"credentials": self.credentials.handed_over(), "put_arguments": dict(self.put_arguments)}
        return json.dumps(content, sort_keys=True, default=str)

    @classmethod
    def from_json(cls, text: str) -> S3Access:
        """Return the access that `to_json` wrote."""
        content = json.loads(text)
        return cls(**(content | {"credentials": Credentials.taken_over(content["credentials"])}))


def access_of(settings: Settings) -> S3Access:
    """Return how a project reaches its S3."""
    return S3Access(
        credentials=settings.credentials,
        region=settings.region,
        endpoint_url=settings.s3_endpoint_url,
        ignore_tls=settings.s3_ignore_tls,
        ca_bundle=settings.s3_ca_bundle,
        addressing_style=settings.s3_addressing_style,
        checksums=settings.s3_checksums,
        bucket_owner=settings.s3_bucket_owner,
        put_arguments=settings.s3_put_arguments,
        threads=settings.transfer_threads,
        upload_rate=settings.upload_rate,
        deadline_s=settings.transfer_deadline,
    )
