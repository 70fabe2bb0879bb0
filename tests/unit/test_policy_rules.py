"""The judge of the test server, against what AWS's documentation says of policies."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.testing._policy_rules import Asked, Principal, is_allowed, judge
from holdfast.testing._s3_permissions import S3Request, deletion_of, listing_of, permissions_for

USER = Principal("123456789012", ("arn:aws:iam::123456789012:user/ann",))
NOBODY = Principal()


def statement(effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "s3:*", "Resource": "*", **more}


def policy(*statements: dict[str, Any], version: str = "2012-10-17") -> dict[str, Any]:
    return {"Version": version, "Statement": list(statements)}


def asked(action: str = "s3:GetObject", resource: str = "arn:aws:s3:::b/k", **values: str) -> Asked:
    return Asked(action, resource, {name.replace("__", ":").replace("_", "-"): value for name, value in values.items()})


@pytest.mark.parametrize(
    ("own", "of_bucket", "is_fine"),
    [
        ([], [], False),
        ([policy(statement())], [], True),
        ([policy(statement(), statement("Deny"))], [], False),
        ([policy(statement()), policy(statement("Deny", Action="s3:Get*"))], [], False),
        ([policy(statement()), policy(statement("Deny", Action="s3:Put*"))], [], True),
        ([], [policy(statement(Principal="*"))], True),
        ([policy(statement())], [policy(statement("Deny", Principal="*"))], False),
        ([policy(statement("Deny"))], [policy(statement(Principal="*"))], False),
        ([policy(statement())], [policy(statement("Deny", Principal={"AWS": "arn:aws:iam::1:user/bob"}))], True),
        ([], [policy(statement(Principal={"AWS": USER.arns[0]}))], True),
        # An account allows its users nothing by itself, and is denied as a whole.
        ([], [policy(statement(Principal={"AWS": "arn:aws:iam::123456789012:root"}))], False),
        ([policy(statement())], [policy(statement("Deny", Principal={"AWS": "123456789012"}))], False),
        ([policy(statement())], [policy(statement("Deny", NotPrincipal={"AWS": USER.arns[0]}))], True),
        ([policy(statement())], [policy(statement("Deny", NotPrincipal={"AWS": "arn:aws:iam::1:user/bob"}))], False),
        ([], [policy(statement(Principal={"Service": "logging.s3.amazonaws.com"}))], False),
    ],
)
def test_an_explicit_deny_wins_and_nothing_said_is_no(own: list[Any], of_bucket: list[Any], is_fine: bool) -> None:
    assert is_allowed(asked(), own, of_bucket, USER) == is_fine


def test_somebody_unknown_gets_in_where_everybody_does() -> None:
    assert is_allowed(asked(), [], [policy(statement(Principal={"AWS": "*"}))], NOBODY)
    assert not is_allowed(asked(), [], [policy(statement(Principal={"AWS": USER.arns[0]}))], NOBODY)


@pytest.mark.parametrize(
    ("element", "value", "is_fine"),
    [
        ("Action", "S3:getobject", True),  # actions know no case
        ("Action", ["s3:PutObject", "s3:Get?bject"], True),
        ("Action", "s3:GetObjectVersion", False),
        ("Action", "s3:Get", False),
        ("Resource", "arn:aws:s3:::b/*", True),
        ("Resource", "arn:aws:s3:::B/*", False),  # resources do
        ("Resource", "arn:aws:s3:::b", False),
        ("Resource", "arn:aws:s3:::b/k+", False),  # no expression of another language
        ("NotResource", "arn:aws:s3:::b/k", False),
        ("NotResource", "arn:aws:s3:::c/*", True),
        ("NotAction", "s3:GetObject", False),
        ("NotAction", "s3:Put*", True),
    ],
)
def test_actions_and_resources(element: str, value: Any, is_fine: bool) -> None:
    made = statement()
    made.pop(element.removeprefix("Not"))
    assert (judge(policy({**made, element: value}), asked(), None) == "allow") == is_fine


SSE, NULL = "s3:x-amz-server-side-encryption", "Null"


@pytest.mark.parametrize(
    ("condition", "there", "absent"),
    [
        # What holds with the header `aws:kms`, and without a header.
        ({"StringEquals": {SSE: "aws:kms"}}, True, False),
        ({"StringEquals": {SSE: ["AES256", "aws:kms"]}}, True, False),
        ({"StringEquals": {SSE: "aws:*"}}, False, False),
        ({"StringLike": {SSE: "aws:*"}}, True, False),
        ({"StringNotEquals": {SSE: "aws:kms"}}, False, True),
        ({"StringNotEquals": {SSE: ["AES256", "aws:kms"]}}, False, True),
        ({"StringNotLike": {SSE: "AES*"}}, True, True),
        ({"StringEqualsIfExists": {SSE: "AES256"}}, False, True),
        ({"StringNotEqualsIfExists": {SSE: "AES256"}}, True, True),
        ({"StringNotEqualsIfExists": {SSE: "aws:kms"}}, False, True),
        ({"StringEqualsIgnoreCase": {SSE: "AWS:KMS"}}, True, False),
        ({"StringEquals": {SSE: "AWS:KMS"}}, False, False),
        ({"StringEquals": {SSE.upper(): "aws:kms"}}, True, False),  # keys know no case
        ({NULL: {SSE: "true"}}, False, True),
        ({NULL: {SSE: "false"}}, True, False),
        ({NULL: {SSE: False}}, True, False),
        ({NULL: {SSE: "false"}, "StringNotEquals": {SSE: "aws:kms"}}, False, False),
        ({NULL: {SSE: "false"}, "StringNotEquals": {SSE: "AES256"}}, True, False),
        ({"StringEquals": {SSE: "aws:kms", "s3:x-amz-acl": "private"}}, False, False),
        ({"ForAllValues:StringEquals": {SSE: "AES256"}}, False, True),
        ({"ForAnyValue:StringEquals": {SSE: "aws:kms"}}, True, False),
        ({"ForAnyValue:StringNotEquals": {SSE: "AES256"}}, True, False),
    ],
)
def test_conditions_with_and_without_a_value(condition: dict[str, Any], there: bool, absent: bool) -> None:
    made = policy(statement(Condition=condition))
    assert (judge(made, asked(s3__x_amz_server_side_encryption="aws:kms"), None) == "allow") == there
    assert (judge(made, asked(), None) == "allow") == absent


@pytest.mark.parametrize(
    ("condition", "values", "holds"),
    [
        ({"Bool": {"aws:SecureTransport": "false"}}, {"aws__securetransport": "false"}, True),
        ({"Bool": {"aws:SecureTransport": False}}, {"aws__securetransport": "false"}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, {"aws__securetransport": "true"}, False),
        ({"ArnLike": {"a:arn": "arn:aws:kms:*:1:key/*"}}, {"a__arn": "arn:aws:kms:eu-west-1:1:key/x/y"}, True),
        ({"ArnLike": {"a:arn": "arn:aws:*:key/*"}}, {"a__arn": "arn:aws:kms:eu-west-1:1:key/x"}, False),
        ({"ArnNotEquals": {"a:arn": "arn:aws:kms:*:1:key/*"}}, {"a__arn": "arn:aws:kms:eu-west-1:2:key/x"}, True),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {"s3__max_keys": "10"}, True),
        ({"NumericLessThanEquals": {"s3:max-keys": 10}}, {"s3__max_keys": "11"}, False),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws__sourceip": "10.1.2.3"}, True),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws__sourceip": "10.1.2.3"}, False),
        ({"StringLike": {"s3:prefix": "home/${aws:username}/*"}}, {"s3__prefix": "home/ann/x"}, True),
        ({"StringLike": {"s3:prefix": "home/${aws:username}/*"}}, {"s3__prefix": "home/bob/x"}, False),
        ({"StringLike": {"s3:prefix": "${aws:unknown}*"}}, {"s3__prefix": "x"}, False),
        ({"StringLike": {"s3:prefix": "a${*}b*"}}, {"s3__prefix": "a*bc"}, True),
        ({"StringLike": {"s3:prefix": "a${*}b*"}}, {"s3__prefix": "axbc"}, False),
        ({"StringEquals": {"s3:prefix": "a*"}}, {"s3__prefix": "a*"}, True),
    ],
)
def test_other_operators_and_variables(condition: dict[str, Any], values: dict[str, str], holds: bool) -> None:
    found = judge(policy(statement(Condition=condition)), asked(**values, aws__username="ann"), None)
    assert (found == "allow") == holds


def test_the_older_version_knows_no_variables() -> None:
    made = policy(statement(Condition={"StringLike": {"s3:prefix": "${aws:username}"}}), version="2008-10-17")
    assert judge(made, asked(s3__prefix="ann", aws__username="ann"), None) == ""
    assert judge(made, asked(s3__prefix="${aws:username}"), None) == "allow"


def request(method: str, key: str = "", query: str = "", **headers: str) -> S3Request:
    parsed = dict(part.partition("=")[::2] for part in query.split("&") if part)
    return S3Request(method, "b", key, parsed, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("made", "takes"),
    [
        (request("GET"), {"ListBucket"}),
        (request("HEAD"), {"ListBucket"}),
        (request("GET", "", "versions"), {"ListBucketVersions"}),
        (request("GET", "", "uploads"), {"ListBucketMultipartUploads"}),
        (request("GET", "", "encryption"), {"GetEncryptionConfiguration"}),
        (request("PUT", "", "encryption"), {"PutEncryptionConfiguration"}),
        (request("GET", "", "publicAccessBlock"), {"GetBucketPublicAccessBlock"}),
        (request("GET", "", "policyStatus"), {"GetBucketPolicyStatus"}),
        (request("PUT"), {"CreateBucket"}),
        (request("DELETE"), {"DeleteBucket"}),
        (request("DELETE", "", "lifecycle"), {"PutLifecycleConfiguration"}),
        (request("HEAD", "k"), {"GetObject"}),
        (request("GET", "k", "versionId=1"), {"GetObjectVersion"}),
        (request("GET", "k", "versionId=1&tagging"), {"GetObjectVersionTagging"}),
        (request("GET", "k", "attributes"), {"GetObject", "GetObjectAttributes"}),
        (request("GET", "k", "uploadId=1"), {"ListMultipartUploadParts"}),
        (
            request("PUT", "k", x_amz_tagging="a=b", x_amz_acl="private"),
            {"PutObject", "PutObjectTagging", "PutObjectAcl"},
        ),
        (request("PUT", "k", "uploadId=1&partNumber=1"), {"PutObject"}),
        (request("POST", "k", "uploads", x_amz_acl="private"), {"PutObject", "PutObjectAcl"}),
        (request("POST", "k", "uploadId=1"), {"PutObject"}),
        (request("DELETE", "k", "uploadId=1"), {"AbortMultipartUpload"}),
        (request("DELETE", "k", "versionId=1"), {"DeleteObjectVersion"}),
        (request("PUT", "k", x_amz_copy_source="/other/key%20x"), {"PutObject", "GetObject"}),
    ],
)
def test_what_a_request_takes(made: S3Request, takes: set[str]) -> None:
    assert {item.action for item in permissions_for(made)} == {f"s3:{action}" for action in takes}


def test_what_the_permissions_are_about() -> None:
    source = permissions_for(request("PUT", "k", x_amz_copy_source="/other/key%20x"))[1]
    assert source.resource == "arn:aws:s3:::other/key x"
    assert deletion_of(request("POST"), "k", "1").action == "s3:DeleteObjectVersion"
    listed, uploads, missing = (
        permissions_for(request("GET", "", "prefix=a/&delimiter=/"))[0].values,
        permissions_for(request("GET", "", "uploads&prefix=a/"))[0].values,
        listing_of(request("GET", "a/k")).values,
    )
    assert (listed["s3:prefix"], listed["s3:delimiter"]) == ("a/", "/")
    assert "s3:prefix" not in {*uploads, *missing}
