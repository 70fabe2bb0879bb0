"""What went wrong at an S3 server, said so that it can be mended: bucket, key, account, and the remedy."""

from __future__ import annotations

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3.faults import Fault, fault_of
from holdfast.core.uris import mask_uri
from holdfast.errors import ArtifactError

_DENIED = (
    "the key lacks s3:PutObject, s3:GetObject or s3:ListBucket there; use the project's own key, "
    "or have its policy extended"
)
_KMS = "allow the key's account kms:GenerateDataKey and kms:Decrypt on the KMS key, or mend HOLDFAST_S3_KMS_KEY_ID"
_LOG_IN = "get a new MLFLOW_AWS_SESSION_TOKEN together with its two keys, or log in to the profile again"
_WRONG_PAIR = "mend MLFLOW_AWS_SECRET_ACCESS_KEY: it does not belong to this key"
_SSO = "run `aws sso login` for the profile"
_CLOCK = "set this machine's clock"
_REGION = "set MLFLOW_AWS_DEFAULT_REGION to {region}"
_LATER = "the server asks to slow down; try again later, or lower HOLDFAST_TRANSFER_THREADS"
_CHECKSUM = "set HOLDFAST_S3_CHECKSUMS=never: this server does not know the checksums"
_SOURCE = "set MLFLOW_AWS_ACCESS_KEY_ID and MLFLOW_AWS_SECRET_ACCESS_KEY in .env, or MLFLOW_AWS_PROFILE"
# Where no server is named, it is AWS.
_REACH_AWS = "see whether this machine reaches AWS (a proxy? HTTPS_PROXY), or set MLFLOW_S3_ENDPOINT_URL"
_NOBODY = ("UnknownHost", "ConnectionRefused", "Timeout")
# What mends each fault, by its code.
REMEDIES = {
    "NoSuchBucket": "create the bucket {bucket}, or mend its name where it is given: in MLFLOW_ARTIFACT_ROOT for the "
    "project's own; an experiment keeps its first root",
    "InvalidBucketName": "mend the bucket's name in MLFLOW_ARTIFACT_ROOT",
    "NoSuchKey": "see what is there with list_artifacts",
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": "see the account's state with AWS",
    "InvalidAccessKeyId": "mend MLFLOW_AWS_ACCESS_KEY_ID: the server does not know this key",
    "InvalidClientTokenId": "mend MLFLOW_AWS_ACCESS_KEY_ID: the server does not know this key",
    "SignatureDoesNotMatch": _WRONG_PAIR,
    "InvalidSecurity": _WRONG_PAIR,
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "ExpiredToken": _LOG_IN,
    "ExpiredTokenException": _LOG_IN,
    "TokenRefreshRequired": _LOG_IN,
    "InvalidToken": _LOG_IN,
    "KMS.AccessDeniedException": _KMS,
    "KMS.NotFoundException": "mend HOLDFAST_S3_KMS_KEY_ID: there is no such key in the bucket's region",
    "KMS.DisabledException": "enable the KMS key again, or set another in HOLDFAST_S3_KMS_KEY_ID",
    "KMS.KMSInvalidStateException": "enable the KMS key again, or set another in HOLDFAST_S3_KMS_KEY_ID",
    "EntityTooLarge": "split the file: this server takes no object of this size",
    "QuotaExceeded": "free space in the bucket, or have its quota raised",
    "BadDigest": "the content was damaged on its way; see to the network, and to a proxy before the server",
    "XAmzContentSHA256Mismatch": "the content was damaged on its way, or a proxy before the server alters it",
    "NotVerified": "the content was damaged on its way, or in the store",
    "NotImplemented": _CHECKSUM,
    "SlowDown": _LATER,
    "ServiceUnavailable": _LATER,
    "ParamValidation": "mend MLFLOW_S3_UPLOAD_EXTRA_ARGS: it takes the names and values of boto3's put_object",
    "NoCredentials": _SOURCE,
    "CredentialsUnavailable": f"{_SOURCE}; see ~/.aws/config",
    "SSOTokenExpired": _SSO,
    "UnauthorizedException": _SSO,
    "Certificate": "set AWS_CA_BUNDLE to the file with the certificates that the server's is signed with",
    "TLS": "mend {endpoint}: the server does not speak TLS there; it may want http:// instead of https://",
    "UnknownHost": "mend the host in {endpoint}; no address is known for it",
    "ConnectionRefused": "start the S3 server, or mend {endpoint}",
    "Timeout": "see whether {endpoint} can be reached from here; try again later",
    "ConnectionLost": "try again; see to the network, and to a proxy before the server",
    "InvalidStorageClass": "mend HOLDFAST_S3_STORAGE_CLASS",
    "InvalidEncryptionAlgorithmError": "mend HOLDFAST_S3_ENCRYPTION",
    "InvalidTag": "mend HOLDFAST_S3_TAGGING: it reads team=vision&cost=42",
    "AccessControlListNotSupported": "unset HOLDFAST_S3_ACL: this bucket has no ACLs",
    "NoSpace": "free space on the disk",
    "NoPermission": "make the file readable and the folder writable",
}
_ACCOUNT = {
    *("AccessDenied", "AllAccessDisabled", "AccountProblem", "InvalidAccessKeyId", "InvalidClientTokenId"),
    *("SignatureDoesNotMatch", "InvalidSecurity", "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
    *("InvalidToken", "KMS.AccessDeniedException", "NoCredentials", "CredentialsUnavailable", "SSOTokenExpired"),
    *("UnauthorizedException", "RequestTimeTooSkewed", "RequestExpired", "NoSuchBucket", "InvalidStorageClass"),
}
_STALE = {
    *("InvalidAccessKeyId", "InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
    *("InvalidToken", "NoCredentials", "CredentialsUnavailable", "SSOTokenExpired", "UnauthorizedException"),
}
_SETTINGS = _ACCOUNT | {
    *(
        "InvalidBucketName",
        "ParamValidation",
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "Certificate",
        "TLS",
    ),
    *("KMS.NotFoundException", "KMS.DisabledException", "KMS.KMSInvalidStateException", "QuotaExceeded"),
    *("InvalidEncryptionAlgorithmError", "InvalidTag", "AccessControlListNotSupported"),
    *("IllegalLocationConstraintException",),
}


def translate(error: BaseException | Fault, doing: str, bucket: str, key: str, access: S3Access) -> ArtifactError:
    """Return the error for people.

    Args:
        error: What a client raised, or what is known of it.
        doing: What could not be done: `store the file model.pt`.
        bucket: Where.
        key: Where in there; empty where it is about the whole bucket.
        access: Whose access; its secrets do not show, its account does where it matters.
    """
    fault = _named(error if isinstance(error, Fault) else fault_of(error))
    said = ": ".join(part for part in (fault.code, fault.text if fault.text != fault.code else "") if part)
    account = f" (account: {access.account})" if fault.code in _ACCOUNT else ""
    place = f"s3://{bucket}/{key}" if key else f"s3://{bucket}"
    message = f"Cannot {doing} at {place}: {said or 'error'}{account}"
    retryable = fault.is_transient or fault.code in ("NoSpace", "RequestTimeTooSkewed")
    hint = _hint(fault, access).replace("{bucket}", bucket)
    if fault.code == "NoSuchKey" and doing.startswith("store "):
        hint = "the server refuses this name: choose another for the file or its folders"
    return ArtifactError(access.redact(message), access.redact(hint), retryable, fault.code)


def needs_people(error: BaseException) -> bool:
    """Whether an error of this package comes from keys, rights, the bucket or a setting: no other file would fare
    better, and nothing will until somebody has mended it."""
    return getattr(error, "code", "") in _SETTINGS


def may_be_stale(code: str) -> bool:
    """Whether a fault's code says that the keys were good once: where they came from there may be new ones."""
    return code in _STALE


def _named(fault: Fault) -> Fault:
    """Return the fault with the code that tells more, where its text does."""
    low = fault.text.lower()
    if fault.code == "AccessDenied" and "kms:" in low:
        return fault._replace(code="KMS.AccessDeniedException")
    if fault.code == "InvalidArgument" and "storage class" in low:
        return fault._replace(code="InvalidStorageClass")
    if fault.code == "ParamValidation" and "invalid bucket name" in low:
        return fault._replace(code="InvalidBucketName")
    if not fault.code:
        code = {"no space left": "NoSpace", "permission denied": "NoPermission"}
        return fault._replace(code=next((name for mark, name in code.items() if mark in low), ""))
    return fault


def _hint(fault: Fault, access: S3Access) -> str:
    if fault.code == "AccessDenied" and fault.operation.startswith("AssumeRole"):
        role = access.credentials.role
        return f"allow these keys sts:AssumeRole on {role.arn if role else 'the role'}, and see its external id"
    if access.endpoint_url is None and fault.code in _NOBODY:
        return _REACH_AWS
    if fault.code.startswith("KMS") and fault.code not in REMEDIES:
        return _KMS
    endpoint = mask_uri(access.endpoint_url) if access.endpoint_url else "the network"
    hint = REMEDIES.get(fault.code, "")
    hint = hint.replace("{region}", fault.region or "the bucket's region").replace(
        "{endpoint}", f"MLFLOW_S3_ENDPOINT_URL ({endpoint})" if access.endpoint_url else endpoint
    )
    if fault.code == "AccessDenied" and access.bucket_owner:
        hint += f"; the bucket must belong to {access.bucket_owner} (MLFLOW_S3_EXPECTED_BUCKET_OWNER)"
    if _may_want_tls(fault, access):
        hint += f"{'; ' if hint else ''}MLFLOW_S3_ENDPOINT_URL ({endpoint}) may want https:// instead of http://"
    return hint


def _may_want_tls(fault: Fault, access: S3Access) -> bool:
    """Whether plain HTTP may be what the server does not understand: it hangs up, or says so."""
    if not (access.endpoint_url or "").lower().startswith("http:"):
        return False
    return fault.code == "ConnectionLost" or (fault.status == 400 and "https" in fault.text.lower())
