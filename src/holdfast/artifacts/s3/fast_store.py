"""obstore's S3 store with one project's settings.

It is many times faster than boto3 with small requests. It reads `AWS_*` of the environment whatever it is given, so
everything that it can be told is told; what it cannot be told to leave alone is what `meddles` looks for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3.dialect import Dialect

# What it would take from the environment, and has no value that means "not at all".
_MEDDLING = {
    *("AWS_SERVER_SIDE_ENCRYPTION", "AWS_SSE_KMS_KEY_ID", "AWS_SSE_BUCKET_KEY_ENABLED"),
    *("AWS_SSE_CUSTOMER_KEY_BASE64", "AWS_CHECKSUM_ALGORITHM", "AWS_COPY_IF_NOT_EXISTS"),
}
# botocore renews what ends within ten minutes, so what it hands out lasts that long where the source allows; obstore
# asks again five minutes before the end that it was told.
_LENT_FOR = timedelta(minutes=10)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.=@,:()+ /-]+")
_ENCRYPTION = {
    "ServerSideEncryption": "server_side_encryption",
    "SSEKMSKeyId": "sse_kms_key_id",
    "BucketKeyEnabled": "sse_bucket_key_enabled",
}
# The process that has obstore's threads.
_used_in: int | None = None


class LentCredentials:
    """Gives obstore the credentials of a boto3 session, which renews them.

    Args:
        session: The session.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self.failure: Exception | None = None

    def __call__(self) -> dict[str, Any]:
        """Return the credentials of now; what goes wrong is kept as `failure`, for obstore gives its text only."""
        from botocore.exceptions import NoCredentialsError

        try:
            found = self._session.get_credentials()
            if found is None:
                raise NoCredentialsError
            now = found.get_frozen_credentials()
        except Exception as error:
            self.failure = error
            raise
        self.failure = None
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": _end_of(found),
        }


def _end_of(credentials: Any) -> datetime | None:
    """Return when obstore has to have asked again; None for keys that do not end."""
    if not hasattr(credentials, "refresh_needed"):
        return None
    latest = datetime.now(UTC) + _LENT_FOR
    return min(latest, getattr(credentials, "_expiry_time", None) or latest)


def is_forked() -> bool:
    """Whether obstore was used before this process was forked off: its threads have stayed behind, and it hangs."""
    return _used_in not in (None, os.getpid())


def meddling() -> list[str]:
    """Return the names in the environment that obstore would heed, and that no project has asked for."""
    return [name for name in os.environ if name.upper() in _MEDDLING]


def meddles() -> bool:
    """Whether the environment holds what obstore would heed and no project has asked for."""
    return bool(meddling())


def fits(key: str) -> bool:
    """Whether obstore asks for exactly this key: it mends keys that look like no path, and encodes some signs."""
    return bool(_PLAIN_KEY.fullmatch(key)) and not any(part in ("", ".", "..") for part in key.split("/"))


def make_store(
    access: S3Access,
    bucket: str,
    dialect: Dialect,
    endpoint_url: str,
    ca_bundle: str | None,
    credentials: LentCredentials,
    read_timeout_s: float,
) -> Any:
    """Return a store for a bucket.

    Args:
        access: Whose settings.
        bucket: Which bucket.
        dialect: What is known of it.
        endpoint_url: The server's base URL, without the bucket.
        ca_bundle: The file with the certificates to check with, or None.
        credentials: Whose keys.
        read_timeout_s: How long a request may take to be sent and first answered, and each read of its body.
    """
    global _used_in  # noqa: PLW0603 - obstore's threads are the process's
    from obstore.store import S3Store

    _used_in = _used_in or os.getpid()
    virtual = dialect.style == "virtual"
    url = _with_bucket(endpoint_url, bucket) if virtual else endpoint_url
    options: dict[str, Any] = {
        "allow_http": url.startswith("http:"),
        "allow_invalid_certificates": access.ignore_tls,
        "connect_timeout": timedelta(seconds=10),
        "read_timeout": timedelta(seconds=read_timeout_s),
        "timeout": timedelta(hours=1),
        "user_agent": "holdfast",
    }
    if ca_bundle and url.startswith("https:") and not access.ignore_tls:
        options["root_certificate"] = Path(ca_bundle).read_bytes()
    make: Any = S3Store
    return make(
        bucket,
        endpoint=url,
        aws_endpoint_url_s3=url,
        region=dialect.region,
        virtual_hosted_style_request=virtual,
        credential_provider=credentials,
        client_options=options,
        # `S3Connection.run` tries again, with what was learnt meanwhile.
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=access.deadline_s)},
        unsigned_payload=False,
        skip_signature=False,
        s3_express=False,
        request_payer=False,
        disable_tagging=False,
        conditional_put="etag",
        **_encryption(access.put_arguments),
    )


def _encryption(put_arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: put_arguments[key] for key, name in _ENCRYPTION.items() if put_arguments.get(key) is not None}


def _with_bucket(endpoint_url: str, bucket: str) -> str:
    parts = urlsplit(endpoint_url)
    return urlunsplit(parts._replace(netloc=f"{bucket}.{parts.netloc}"))
