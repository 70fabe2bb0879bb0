"""moto's server with policies that hold: `python -m holdfast.testing._moto_server --port 5000`.

moto looks at actions and resources of a user's policies, takes any condition for one that is not met, knows a bucket
policy's `"Principal": "*"` alone, and mistakes some requests for others: `?encryption` for a listing, a DeleteObjects
for one of the bucket itself. Here each request is judged by AWS's rules instead, KMS included. Signatures are checked
as moto does.

With `--tls-port`, `--certificate` and `--key` the same buckets are served over TLS beside.
"""

from __future__ import annotations

import argparse
import contextvars
import json
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

from holdfast.testing._policy_rules import Asked, Document, Principal, is_allowed
from holdfast.testing._s3_permissions import S3Request, deletion_of, listing_of, permissions_for

_KMS = ("aws:kms", "aws:kms:dsse")
# Of the request that deletes several objects: which of them it may not delete.
_refused: contextvars.ContextVar[Mapping[str, list[bool]]] = contextvars.ContextVar("refused")


class _Judge:
    """Decides about one request."""

    def __init__(self, response: Any, bucket: str | None, key: str | None) -> None:
        self._response = response
        self._who, self._own = _identity(response)
        headers = {name.lower(): str(value) for name, value in response.headers.items()}
        url = urlsplit(response.uri)
        self.request = S3Request(
            method=response.method,
            bucket=bucket or "",
            key=key or "",
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            headers=headers,
            is_secure=url.scheme == "https",
            values={
                "aws:sourceip": getattr(response.request, "remote_addr", None) or "127.0.0.1",
                **({"aws:principalarn": self._who.arns[0]} if self._who.arns else {}),
                **({"aws:username": self._who.arns[0].rpartition("/")[2]} if self._own else {}),
            },
        )

    def may(self, asked: Asked) -> bool:
        """Whether one permission is there, by the policies of whoever asks and the bucket's."""
        return is_allowed(asked, self._own, self._of_bucket(asked), self._who)

    def is_refused(self) -> str:
        """Return the first action that is not allowed; empty where all are."""
        for asked in [*permissions_for(self.request), *self._of_kms()]:
            if not self.may(asked):
                return asked.action
        return "s3:ListBucket" if self._is_hidden() else ""

    def _of_bucket(self, asked: Asked) -> list[Document]:
        if not asked.resource.startswith("arn:aws:s3:::"):
            return []
        name = asked.resource.removeprefix("arn:aws:s3:::").partition("/")[0]
        found = self._response.backend.buckets.get(name)
        return [json.loads(found.policy)] if found is not None and found.policy else []

    def _is_hidden(self) -> bool:
        """Whether an object is asked for that is not there, by somebody who may not know."""
        request = self.request
        if not request.key or request.method not in ("GET", "HEAD") or "uploadId" in request.query:
            return False
        bucket = self._response.backend.buckets.get(request.bucket)
        return bucket is not None and request.key not in bucket.keys and not self.may(listing_of(request))

    def _of_kms(self) -> list[Asked]:
        request = self.request
        backend = self._response.backend
        bucket = backend.buckets.get(request.bucket)
        if bucket is None or not request.key:
            return []
        values = {"kms:viaservice": f"s3.{self._response.region}.amazonaws.com"}
        if request.makes_object and not {"acl", "tagging", "retention", "legal-hold"} & request.query.keys():
            key_id = _key_of_new(request, bucket)
            actions = ("kms:GenerateDataKey",) if request.method == "PUT" else ("kms:GenerateDataKey", "kms:Decrypt")
        elif request.method == "GET" and not {"acl", "tagging", "uploadId"} & request.query.keys():
            found = backend.get_object(request.bucket, request.key, request.query.get("versionId"))
            key_id = _key_of_stored(found)
            actions = ("kms:Decrypt",)
        else:
            return []
        # AWS's own key, `aws/s3`, is for everybody who may use S3.
        arn = _key_arn(key_id, self._response.region, self._response.current_account)
        return [Asked(action, arn, values) for action in actions] if key_id else []


def _key_of_new(request: S3Request, bucket: Any) -> str:
    said = request.headers.get("x-amz-server-side-encryption")
    if said is not None:
        return request.headers.get("x-amz-server-side-encryption-aws-kms-key-id", "") if said in _KMS else ""
    rule = ((bucket.encryption or {}).get("Rule") or {}).get("ApplyServerSideEncryptionByDefault") or {}
    return str(rule.get("KMSMasterKeyID") or "") if rule.get("SSEAlgorithm") in _KMS else ""


def _key_of_stored(found: Any) -> str:
    if found is None or getattr(found, "encryption", None) not in _KMS:
        return ""
    return str(getattr(found, "kms_key_id", None) or "")


def _key_arn(key_id: str, region: str, account_id: str) -> str:
    return key_id if key_id.startswith("arn:") else f"arn:aws:kms:{region}:{account_id}:key/{key_id}"


def _identity(response: Any) -> tuple[Principal, list[Document]]:
    """Return who asks, and their policies, after their signature; nobody where there is none."""
    from moto.iam.access_control import IAMPolicy, S3IAMRequest

    account_id = response.current_account
    if "Authorization" not in response.headers:
        return Principal(), []
    url = urlsplit(response.uri)
    asked = S3IAMRequest(
        account_id=account_id,
        method=response.method,
        path=f"{response.raw_path}?{url.query}" if url.query else response.raw_path,
        data=response.data,
        body=response.raw_body,
        headers=response.headers,
        action="",
    )
    asked.check_signature()
    key = asked._access_key
    role = getattr(key, "_owner_role_name", None)
    arns = (key.arn, *((f"arn:aws:iam::{account_id}:role/{role}",) if role else ()))
    return Principal(account_id, arns), [IAMPolicy(policy)._policy_json for policy in key.collect_policies()]


def _authorize(response: Any, bucket_name: str | None = None, key_name: str | None = None) -> None:
    """Take the place of moto's own judgement of a request to S3."""
    from moto import settings
    from moto.core.authorization import ActionAuthenticatorMixin

    if ActionAuthenticatorMixin.request_count < settings.INITIAL_NO_AUTH_ACTION_COUNT:
        ActionAuthenticatorMixin.request_count += 1
        return
    judge = _Judge(response, bucket_name, key_name)
    if judge.request.method == "POST" and "delete" in judge.request.query and not key_name:
        _refused.set(_refused_deletions(judge, response.body))
        return
    action = judge.is_refused()
    if action:
        raise _denial(action, bucket_name)


def _denial(action: str, bucket: str | None) -> Any:
    from moto.s3.exceptions import BucketAccessDeniedError, S3AccessDeniedError

    error: Any = BucketAccessDeniedError(bucket=bucket) if bucket else S3AccessDeniedError()
    if action.startswith("kms:"):
        # S3 says so only where it is about KMS in words that programs look for.
        error.message = f"User is not authorized to perform: {action} on this resource"
        error.description = error.message
    return error


def _refused_deletions(judge: _Judge, body: bytes) -> Mapping[str, list[bool]]:
    refused: dict[str, list[bool]] = defaultdict(list)
    for entry in ElementTree.fromstring(body).iterfind("{*}Object"):  # noqa: S314  # a test sends it, and expat has its guards
        key = entry.findtext("{*}Key", "")
        asked = deletion_of(judge.request, key, entry.findtext("{*}VersionId"))
        refused[judge.request.arn(judge.request.bucket, key)].append(not judge.may(asked))
    return refused


def _permission(_: Any, action: str, resource: str) -> Any:
    """Take the place of moto's judgement by the bucket policy alone: of each object that is deleted with others.

    For all else `_authorize` has the word.
    """
    from moto.iam.access_control import PermissionResult

    waiting = _refused.get({}).get(resource)
    if action == "s3:DeleteObject" and waiting:
        return PermissionResult.DENIED if waiting.pop(0) else PermissionResult.PERMITTED
    return PermissionResult.PERMITTED


def install() -> None:
    """Have moto, in this process, judge as this module does."""
    from moto.s3.models import FakeBucket
    from moto.s3.responses import S3Response

    S3Response._authenticate_and_authorize_s3_action = _authorize
    FakeBucket.get_permission = _permission


def serve(argv: Sequence[str] | None = None) -> None:
    """Serve until the process is ended.

    Args:
        argv: The command line; that of the process if not given.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls-port", type=int)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    options = parser.parse_args(argv)
    install()
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    app = DomainDispatcherApplication(create_backend_app)

    def make(port: int, context: Any = None) -> Any:
        return make_server(
            options.host, port, app, threaded=True, request_handler=MotoRequestHandler, ssl_context=context
        )

    if options.tls_port:
        secure = make(options.tls_port, (options.certificate, options.key))
        threading.Thread(target=secure.serve_forever, name="tls", daemon=True).start()
    make(options.port).serve_forever()


if __name__ == "__main__":
    serve()
