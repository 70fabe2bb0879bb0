"""What an S3 server says, as an error that can be acted on; and what is learnt from its answers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3.bodies import Body
from holdfast.artifacts.s3.content import upload_of
from holdfast.artifacts.s3.dialect import Dialect, dialect_of
from holdfast.artifacts.s3.errors import needs_people, translate
from holdfast.artifacts.s3.faults import Fault, fault_of, fault_of_xml
from holdfast.artifacts.transfer import Item
from holdfast.errors import ArtifactError, BackendError
from holdfast.settings import Credentials
from holdfast.settings.credentials import Role

botocore = pytest.importorskip("botocore.exceptions")

KEY = "AKIDEXAMPLE12345"
# What each of these has to say to whoever is to mend it.
REMEDIES = {
    "NoSuchBucket": "create the bucket",
    "AccessDenied": "s3:PutObject",
    "InvalidAccessKeyId": "MLFLOW_AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "MLFLOW_AWS_SECRET_ACCESS_KEY",
    "RequestTimeTooSkewed": "clock",
    "PermanentRedirect": "MLFLOW_AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "MLFLOW_AWS_DEFAULT_REGION",
    "ExpiredToken": "MLFLOW_AWS_SESSION_TOKEN",
    "KMS.DisabledException": "HOLDFAST_S3_KMS_KEY_ID",
    "EntityTooLarge": "split the file",
    "XAmzContentSHA256Mismatch": "damaged",
    "BadDigest": "damaged",
    "SlowDown": "HOLDFAST_TRANSFER_THREADS",
}


def access(secret: str = KEY[::-1], **more: Any) -> S3Access:
    credentials = Credentials("project", "MLFLOW_AWS_*", KEY, SecretStr(secret), region="us-east-1")
    return S3Access(credentials, **{"endpoint_url": "http://127.0.0.1:9000", **more})


def answer(code: str, message: str = "", status: int = 403, **said: str) -> Exception:
    """The error that botocore makes of an answer."""
    headers = {name: value for name, value in said.items() if name.startswith("x-amz")}
    return botocore.ClientError(  # type: ignore[no-any-return]
        {
            "Error": {"Code": code, "Message": message, **said},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
        },
        "PutObject",
    )


def of(error: BaseException | Fault, **more: Any) -> ArtifactError:
    return translate(error, "store the file m.pt", "models", "runs/m.pt", access(**more))


@pytest.mark.parametrize("code", REMEDIES)
def test_an_answer_names_bucket_key_code_and_remedy(code: str) -> None:
    error = of(answer(code, "It was said."))
    assert "store the file m.pt" in error.message
    assert "s3://models/runs/m.pt" in error.message
    assert f"{code}: It was said." in error.message
    assert REMEDIES[code] in error.hint
    assert error.code == code


@pytest.mark.parametrize("code", ["UnknownHost", "ConnectionRefused", "Timeout"])
def test_where_no_server_is_named_it_is_aws(code: str) -> None:
    error = of(Fault(code), endpoint_url=None)
    assert error.hint == "see whether this machine reaches AWS (a proxy? HTTPS_PROXY), or set MLFLOW_S3_ENDPOINT_URL"


def test_a_bucket_that_is_not_there_is_named() -> None:
    assert "create the bucket models, or mend its name where it is given" in of(answer("NoSuchBucket")).hint


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "NoSuchBucket", "InvalidStorageClass"])
def test_the_account_is_named_and_masked_where_it_matters(code: str) -> None:
    message = of(answer(code)).message
    assert "AKID…2345" in message
    assert KEY not in message
    assert "MLFLOW_AWS_*" in message


def test_a_secret_that_a_server_repeats_is_not_shown(canary: str) -> None:
    error = of(answer("SignatureDoesNotMatch", f"not {canary}"), secret=canary)
    assert canary not in f"{error}{error.message}{error!r}"


@pytest.mark.parametrize(
    "code", ["SlowDown", "InternalError", "RequestTimeout", "XAmzContentSHA256Mismatch", "BadDigest"]
)
def test_what_passes_is_tried_again(code: str) -> None:
    assert fault_of(answer(code, status=400)).is_transient
    assert of(answer(code, status=400)).retryable


@pytest.mark.parametrize(("status", "transient"), [(429, True), (500, True), (503, True), (501, False), (403, False)])
def test_a_status_without_a_code_says_whether_to_try_again(status: int, transient: bool) -> None:
    assert fault_of(answer("", status=status)).is_transient is transient


def test_another_codes_denial_by_kms_is_told_from_the_buckets() -> None:
    error = of(answer("AccessDenied", "not authorized to perform: kms:GenerateDataKey on this resource"))
    assert error.code == "KMS.AccessDeniedException"
    assert "kms:GenerateDataKey" in error.hint


def test_the_bucket_owner_is_named_where_one_is_expected() -> None:
    assert "123456789012" in of(answer("AccessDenied"), bucket_owner="123456789012").hint


def test_the_right_region_is_named_where_the_server_says_it() -> None:
    assert "eu-west-1" in of(answer("PermanentRedirect", status=301, **{"x-amz-bucket-region": "eu-west-1"})).hint
    assert "eu-west-3" in of(answer("AuthorizationHeaderMalformed", status=400, Region="eu-west-3")).hint


def test_a_role_that_may_not_be_assumed_is_named() -> None:
    credentials = Credentials("project", "keys", KEY, SecretStr("s" * 9), role=Role("arn:aws:iam::1:role/train"))
    denied = Fault("AccessDenied", 403, "no", operation="AssumeRole")
    assert "arn:aws:iam::1:role/train" in translate(denied, "list", "b", "", S3Access(credentials)).hint


def test_an_answer_to_a_head_has_a_status_alone() -> None:
    assert fault_of(answer("403", "Forbidden")).code == "AccessDenied"
    assert fault_of(answer("404", "Not Found", 404)).code == "NoSuchKey"
    assert fault_of(answer("301", "Moved", 301)).code == "PermanentRedirect"


def test_xml_is_read() -> None:
    found = fault_of_xml("<Error><Code>SlowDown</Code><Message>\n Less, please </Message></Error>", 503)
    assert found == Fault("SlowDown", 503, "Less, please")


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [
        (botocore.NoCredentialsError(), "NoCredentials", "MLFLOW_AWS_ACCESS_KEY_ID"),
        (botocore.ProfileNotFound(profile="gone"), "CredentialsUnavailable", "~/.aws/config"),
        (botocore.SSOTokenLoadError(error_msg="x"), "SSOTokenExpired", "aws sso login"),
        (botocore.UnauthorizedSSOTokenError(), "SSOTokenExpired", "aws sso login"),
        (botocore.TokenRetrievalError(provider="sso", error_msg="x"), "SSOTokenExpired", "aws sso login"),
        (
            botocore.SSLError(endpoint_url="https://s3", error="certificate verify failed: self-signed"),
            "Certificate",
            "AWS_CA_BUNDLE",
        ),
        (
            botocore.EndpointConnectionError(endpoint_url="http://s3", error="[Errno 111] Connection refused"),
            "ConnectionRefused",
            "MLFLOW_S3_ENDPOINT_URL",
        ),
        (
            botocore.EndpointConnectionError(endpoint_url="http://s3", error="Name or service not known"),
            "UnknownHost",
            "MLFLOW_S3_ENDPOINT_URL",
        ),
        (botocore.ReadTimeoutError(endpoint_url="http://s3", error="Read timed out."), "Timeout", "reached"),
        (botocore.ConnectionClosedError(endpoint_url="http://s3"), "ConnectionLost", "network"),
        (ConnectionResetError(104, "Connection reset by peer"), "ConnectionLost", "network"),
        (OSError(28, "No space left on device"), "NoSpace", "free space"),
        (PermissionError(13, "Permission denied"), "NoPermission", "readable"),
    ],
)
def test_what_no_server_has_said_has_a_code_of_ours(error: Exception, code: str, hint: str) -> None:
    found = of(error)
    assert found.code == code
    assert hint in found.hint


def test_people_are_needed_for_keys_rights_and_buckets_and_not_for_outages_or_one_file() -> None:
    assert all(needs_people(of(answer(code))) for code in ("AccessDenied", "NoSuchBucket", "ExpiredToken"))
    assert not any(needs_people(of(answer(code))) for code in ("SlowDown", "EntityTooLarge", "BadDigest"))
    assert not needs_people(BackendError("other"))


def test_a_name_that_the_server_refuses_is_not_looked_for() -> None:
    assert "refuses this name" in of(answer("NoSuchKey", status=404)).hint
    fetched = translate(answer("NoSuchKey", status=404), "fetch the file", "models", "m.pt", access())
    assert "list_artifacts" in fetched.hint


def test_an_argument_that_boto3_does_not_know_names_its_setting() -> None:
    error = of(botocore.ParamValidationError(report='Unknown parameter in input: "Colour", must be one of: ACL'))
    assert '"Colour"' in error.message
    assert "MLFLOW_S3_UPLOAD_EXTRA_ARGS" in error.hint
    assert needs_people(error)
    bucket = of(botocore.ParamValidationError(report='Invalid bucket name "a b": Bucket name must match'))
    assert bucket.code == "InvalidBucketName"


def test_plain_http_to_a_port_that_speaks_tls_may_want_https() -> None:
    lost, told = Fault("ConnectionLost"), Fault("400", 400, "Client sent an HTTP request to an HTTPS server")
    for fault in (lost, told):
        assert "https://" in of(fault).hint
        assert "https://" not in of(fault, endpoint_url="https://127.0.0.1:9000").hint


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("k" * 1025, "KeyTooLongError"),
        ("ü" * 513, "KeyTooLongError"),
        ("a\0b", "InvalidObjectName"),
        ("a\x1bb", "InvalidObjectName"),
        ("a\udcffb", "InvalidObjectName"),
    ],
)
def test_a_name_that_s3_cannot_keep_is_refused_before_anything_is_sent(key: str, code: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"1")
    with pytest.raises(ArtifactError, match="S3 takes no object of the name") as caught:
        upload_of(Item(file, f"s3://models/{key}"))
    assert caught.value.code == code
    assert not caught.value.retryable
    assert upload_of(Item(file, f"s3://models/{'ü' * 512}")).size == 1


def test_a_body_is_not_repeated_in_logs() -> None:
    body = Body(b"weights")
    assert f"{body} {body!r}" == "<7 bytes> <7 bytes>"
    assert str({"Body": body}) == "{'Body': <7 bytes>}"
    assert bytes(body) == b"weights"


def test_the_code_travels() -> None:
    error = pickle.loads(pickle.dumps(of(answer("SlowDown", status=503))))  # noqa: S301 - our own
    assert (error.code, error.retryable, error.hint) == ("SlowDown", True, of(answer("SlowDown")).hint)


def test_aws_is_asked_by_host_names_unless_the_bucket_has_dots() -> None:
    assert Dialect(access(endpoint_url=None), "models").style == "virtual"
    assert Dialect(access(endpoint_url=None), "my.models").style == "path"
    assert Dialect(access(endpoint_url="https://s3.eu-west-1.amazonaws.com"), "models").style == "virtual"
    assert Dialect(access(), "models").style == "path"
    assert Dialect(access(addressing_style="virtual"), "models").style == "virtual"


def test_a_server_that_wants_host_names_gets_them_once() -> None:
    dialect = Dialect(access(), "models")
    wants = Fault("SecondLevelDomainForbidden", 403)
    assert dialect.refused(wants)
    assert dialect.style == "virtual"
    assert not dialect.refused(wants)
    assert not Dialect(access(addressing_style="path"), "models").refused(wants)


def test_the_region_that_the_server_names_is_signed_for() -> None:
    dialect = Dialect(access(), "models")
    assert dialect.refused(Fault("PermanentRedirect", 301, region="eu-west-1"))
    assert dialect.region == "eu-west-1"
    assert not dialect.refused(Fault("PermanentRedirect", 301, region="eu-west-1"))
    # One that sends us in circles is believed a few times.
    circle = [dialect.refused(Fault("PermanentRedirect", 301, region=f"r{number % 2}")) for number in range(6)]
    assert circle == [True, True, False, False, False, False]


def test_checksums_are_left_out_where_they_are_refused_and_nowhere_else() -> None:
    refusal = Fault("NotImplemented", 501)
    dialect = Dialect(access(), "models")
    assert not dialect.refused(refusal, had_checksum=False)
    assert dialect.refused(refusal, had_checksum=True)
    assert not dialect.sends_checksums
    # Another thread's request, sent with one before that was known, is made anew as well.
    assert dialect.refused(refusal, had_checksum=True)
    assert not dialect.refused(refusal, had_checksum=False)
    assert not Dialect(access(checksums="always"), "models").refused(refusal, had_checksum=True)
    assert not Dialect(access(checksums="never"), "models").sends_checksums
    assert not Dialect(access(), "models").refused(Fault("AccessDenied", 403), had_checksum=True)


def test_a_server_that_repeats_the_checksum_verifies_it() -> None:
    dialect = Dialect(access(), "models")
    assert dialect.verifies is None
    dialect.heard({"x-amz-checksum-crc32c": "AAAAAA=="})
    assert dialect.verifies is True
    # It is not given up then for one request that is refused.
    assert not dialect.refused(Fault("InvalidRequest", 400), had_checksum=True)


def test_what_is_known_of_a_bucket_belongs_to_one_access(unique: str) -> None:
    assert dialect_of(access(), unique) is dialect_of(access(), unique)
    assert dialect_of(access(), unique) is not dialect_of(access(secret="another one"), unique)
