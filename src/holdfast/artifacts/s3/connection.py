"""The clients of one S3 access, and how long a call is tried again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3.attempts import Attempts
from holdfast.artifacts.s3.dialect import Dialect, dialect_of
from holdfast.artifacts.s3.errors import translate
from holdfast.artifacts.s3.fast_store import LentCredentials, is_forked, make_store, meddles
from holdfast.artifacts.s3.faults import Fault, fault_of
from holdfast.artifacts.s3.trust import check_ca_bundle, say_unchecked
from holdfast.artifacts.team import Pace
from holdfast.errors import ArtifactError, CredentialsError, HoldfastError

_T = TypeVar("_T")

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
_BUCKET = "holdfast_bucket"
_FOREIGN = ("botocore", "boto3", "obstore", "urllib3", "http", "ssl", "socket")


class S3Connection:
    """The way to one S3, shared by threads.

    Its clients are made from the access's own session, as they are needed: the environment's `AWS_*`, and boto3's
    default session, have no part in them.

    Args:
        access: Whose.
        before_attempt: Called before each attempt at a call of `run`; what it raises ends the call.
    """

    def __init__(self, access: S3Access, before_attempt: Callable[[], None] | None = None) -> None:
        self.access = access
        self._before_attempt = before_attempt
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._session: Any = None
        self._clients: dict[tuple[object, ...], Any] = {}
        self._stores: dict[tuple[object, ...], Any] = {}
        self._dialects: dict[str, Dialect] = {}
        self._lent: LentCredentials | None = None
        self._progress_at = 0.0
        self._has_warned = False
        # Whether somebody is there at all.
        self.has_answered = False
        self.pace = Pace(access.upload_rate)

    def dialect(self, bucket: str) -> Dialect:
        """Return what is known of a bucket."""
        found = self._dialects.get(bucket)
        if found is None:
            found = self._dialects[bucket] = dialect_of(self.access, bucket)
        return found

    def client(self, bucket: str, signs_payload: bool = True) -> Any:
        """Return a boto3 client for a bucket; ask anew for each attempt, for what it is made for may have changed.

        The expected bucket owner goes with every call of it.

        Args:
            bucket: The bucket that it is used for.
            signs_payload: Whether bodies are hashed for the signature; without it they need a checksum of their own.

        Raises:
            CredentialsError: There can be no session.
        """
        if self._process != os.getpid():
            self._leave_parent()
        known = self.dialect(bucket)
        key = (known.style, known.region, signs_payload)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._new_client(known.style, known.region, signs_payload)
            return self._clients[key]

    def store(self, bucket: str) -> Any:
        """Return an `obstore.store.S3Store` for a bucket; ask anew for each attempt. See `uses_store` first.

        Raises:
            CredentialsError: There can be no session.
        """
        known = self.dialect(bucket)
        key = (bucket, known.style, known.region)
        with self._lock:
            if key not in self._stores:
                client = self.client(bucket)
                if self._lent is None:
                    self._lent = LentCredentials(self._session)
                self._stores[key] = make_store(
                    self.access,
                    bucket,
                    known,
                    client.meta.endpoint_url,
                    self._ca_bundle,
                    self._lent,
                    self._read_timeout_s,
                )
            return self._stores[key]

    @property
    def uses_store(self) -> bool:
        """Whether `store` does what the settings say.

        It cannot name the bucket's owner, it heeds some `AWS_*`, and it does not survive a fork.
        """
        return self.access.bucket_owner is None and not meddles() and not is_forked()

    def progressed(self) -> None:
        """Note that something went forward: calls that fail are given the whole deadline again."""
        self._progress_at = time.monotonic()

    def run(
        self,
        doing: str,
        bucket: str,
        key: str,
        call: Callable[[], _T],
        *,
        checked: bool = False,
        stop: threading.Event | None = None,
    ) -> _T:
        """Make a call, and make it again where that may help, until the deadline has passed without progress.

        Args:
            doing: What it does, for errors: `store the file model.pt`.
            bucket: Where.
            key: Where in there; may be empty.
            call: Makes the request with a fresh `client(bucket)` or `store(bucket)`. It may raise an `ArtifactError`
                that is retryable itself, such as for a body that arrived damaged.
            checked: Whether it sends a checksum header while the dialect's `sends_checksums` says so.
            stop: Ends the waiting; then the last error is raised.

        Raises:
            ArtifactError: It failed; all said in its message.
        """
        attempts = Attempts(self, bucket, stop)
        while True:
            attempts.begin(checked)
            try:
                if self._before_attempt is not None:
                    self._before_attempt()
                found = call()
            except Exception as error:
                if not _is_ours(error):
                    raise
                fault = self._fault(error, bucket)
                self.has_answered = self.has_answered or bool(fault.status)
                if not attempts.has_another(fault):
                    raise self._final(error, fault, doing, bucket, key) from None
            else:
                self.has_answered = True
                return found

    def renew(self) -> None:
        """Make session and clients anew at the next call, for credentials may have changed where they come from."""
        with self._lock:
            self._session = self._lent = None
            self._clients.clear()
            self._stores.clear()

    def _leave_parent(self) -> None:
        """Leave sockets and locks to the process that this one was forked off."""
        self._process = os.getpid()
        self._lock = threading.RLock()
        self.renew()

    @cached_property
    def may_renew(self) -> bool:
        """Whether a new session may have other credentials than this one."""
        return self.access.credentials.kind in ("profile", "chain") or self.access.credentials.role is not None

    @property
    def progress_at(self) -> float:
        """When something last went forward, by the monotonic clock."""
        return self._progress_at

    @property
    def _read_timeout_s(self) -> float:
        # A server that accepts and never answers is not waited for any longer than one that is gone.
        return min(READ_TIMEOUT_S, max(2.0, self.access.deadline_s))

    @property
    def _ca_bundle(self) -> str | None:
        return self.access.ca_bundle or self._session._session.get_config_variable("ca_bundle")

    def _config(self, style: str, signs_payload: bool) -> Any:
        from botocore.config import Config

        make: Any = Config
        return make(
            signature_version="s3v4",
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=self._read_timeout_s,
            max_pool_connections=self.access.threads + 4,
            retries={"total_max_attempts": 1, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # A profile may name its endpoint; the environment's is no part of a project that has keys of its own.
            ignore_configured_endpoint_urls=self.access.credentials.kind not in ("profile", "chain"),
            s3={"addressing_style": style, "payload_signing_enabled": signs_payload},
        )

    def _new_client(self, style: str, region: str, signs_payload: bool) -> Any:
        access = self.access
        if self._session is None:
            self._session = access.credentials.session()
        if access.ignore_tls:
            say_unchecked(access.endpoint_url, is_news=not self._has_warned)
            self._has_warned = True
        elif not (access.endpoint_url or "").lower().startswith("http:"):
            check_ca_bundle(self._ca_bundle)
        verify: bool | str | None = False if access.ignore_tls else access.ca_bundle
        client = self._session.client(
            "s3",
            region_name=region,
            endpoint_url=access.endpoint_url,
            verify=verify,
            config=self._config(style, signs_payload),
        )
        events = client.meta.events
        events.register("before-parameter-build.s3", _note_bucket)
        events.register_first("needs-retry.s3", self._hear_region)
        if access.bucket_owner is not None:
            events.register("provide-client-params.s3", _naming_owner(access.bucket_owner))
        return client

    def _hear_region(self, response: Any, request_dict: Any, **_: Any) -> None:
        """Learn the bucket's region, which botocore would find out anew for each client, and keep to itself."""
        bucket = request_dict.get("context", {}).get(_BUCKET)
        if response is None or not bucket or response[0].status_code not in (301, 307, 400, 403):
            return
        said = response[0].headers.get("x-amz-bucket-region") or response[1].get("Error", {}).get("Region") or ""
        self.dialect(bucket).moved_to(said)
        if not said:
            # botocore would ask for the region in the same way, and so on without an end.
            request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True

    def _fault(self, error: Exception, bucket: str) -> Fault:
        """Return what an exception says, with what a further request can add to it."""
        fault = fault_of(error)
        lent = self._lent
        if lent is not None and lent.failure is not None and "credential provider" in str(error):
            return fault_of(lent.failure)
        if fault.code == "PermanentRedirect" and not fault.region:
            return fault._replace(region=self._region_of(bucket))
        if fault.operation.startswith("Head") and fault.status in (400, 403, 404):
            return self._asked_closer(fault, bucket)
        return fault

    def _region_of(self, bucket: str) -> str:
        try:
            found = self.client(bucket).head_bucket(Bucket=bucket)
        except Exception as error:
            return fault_of(error).region  # the first answer, if botocore followed it, has been heard
        return str(found.get("BucketRegion", ""))

    def _asked_closer(self, fault: Fault, bucket: str) -> Fault:
        """Return what a request with an answer says, for that of a HEAD has no body."""
        try:
            self.client(bucket).list_objects_v2(Bucket=bucket, MaxKeys=1)
        except Exception as error:
            closer = fault_of(error)
            return closer if closer.status else fault
        return fault

    def _final(self, error: Exception, fault: Fault, doing: str, bucket: str, key: str) -> ArtifactError:
        if isinstance(error, ArtifactError):
            return error
        found = translate(fault, doing, bucket, key, self.access)
        if isinstance(error, CredentialsError):
            found.hint = error.hint
        return found


def _is_ours(error: Exception) -> bool:
    """Whether it comes from a client, the network or a disk, and not from a mistake in a program."""
    if isinstance(error, HoldfastError):
        return isinstance(error, ArtifactError | CredentialsError)
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _FOREIGN


def _note_bucket(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context[_BUCKET] = params.get("Bucket")


def _naming_owner(owner: str) -> Callable[..., None]:
    def add(params: dict[str, Any], model: Any, **_: Any) -> None:
        if "ExpectedBucketOwner" in model.input_shape.members:
            params.setdefault("ExpectedBucketOwner", owner)

    return add
