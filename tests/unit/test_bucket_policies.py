"""Policies as documents: their names, limits and merging; what they do is shown at a server."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from holdfast.bucket.arns import Partition, Place, partition_of, place_in, place_named, use_of_key
from holdfast.bucket.bucket_policy import (
    encryption_statements,
    is_same_policy,
    is_tls_only,
    tls_statement,
    with_statements,
)
from holdfast.bucket.openness import is_open_to_everybody
from holdfast.bucket.policy import ROLES, Needs, Role, role_policy
from holdfast.errors import InvalidInputError

PLACE = Place("models", "team")
KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
FOREIGN = {
    "Sid": "Theirs",
    "Effect": "Allow",
    "Principal": {"AWS": "1234"},
    "Action": ["s3:GetObject"],
    "Resource": "*",
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_every_statement_has_a_name_and_is_of_the_cloud(role: Role, partition: Partition) -> None:
    key = KEY.replace("arn:aws:", f"arn:{partition}:")
    document = role_policy(role, Needs(Place("models", "team", partition), key))
    sids = [item["Sid"] for item in document["Statement"]]
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)
    assert all(item["Effect"] == "Allow" for item in document["Statement"])
    assert set(re.findall(r"arn:([a-z-]+):", json.dumps(document))) == {partition}
    # AWS counts the characters without blanks: 2,048 for a user's inline policies, and 6,144 for a managed one.
    assert len(json.dumps(document, separators=(",", ":"))) < 2048


@pytest.mark.parametrize("role", ROLES)
def test_no_statement_reaches_beyond_the_prefix_or_takes_all_actions(role: Role) -> None:
    for item in role_policy(role, Needs(PLACE, KEY))["Statement"]:
        assert "*" not in "".join(item["Action"])
        if "kms" not in item["Action"][0]:
            assert item["Resource"] == "arn:aws:s3:::models" or item["Resource"].startswith("arn:aws:s3:::models/team/")
        if {"s3:ListBucket", "s3:ListBucketVersions"} & set(item["Action"]):
            assert item["Condition"]["StringLike"]["s3:prefix"].startswith("team/")


def test_the_whole_bucket_needs_no_condition() -> None:
    statements = {item["Sid"]: item for item in role_policy("writer", Needs(Place("models")))["Statement"]}
    assert statements["HoldfastWriteFiles"]["Resource"] == "arn:aws:s3:::models/*"
    assert "Condition" not in statements["HoldfastListFiles"]
    probes = statements["HoldfastListProbes"]["Condition"]["StringLike"]["s3:prefix"]
    assert probes == ".holdfast-doctor/*"


@pytest.mark.parametrize(
    ("key", "resource", "alias"),
    [
        (KEY, KEY, None),
        (
            "11111111-2222-3333-4444-555555555555",
            "arn:aws:kms:eu-west-1:*:key/11111111-2222-3333-4444-555555555555",
            None,
        ),
        ("mrk-" + "a" * 32, "arn:aws:kms:eu-west-1:*:key/mrk-" + "a" * 32, None),
        ("alias/team", "arn:aws:kms:eu-west-1:*:key/*", "alias/team"),
        ("arn:aws:kms:eu-west-2:123456789012:alias/team", "arn:aws:kms:eu-west-2:123456789012:key/*", "alias/team"),
    ],
)
def test_keys_of_all_forms(key: str, resource: str, alias: str | None) -> None:
    found = use_of_key(key, ["kms:Decrypt"], "aws", "eu-west-1")
    assert found["Resource"] == resource
    assert found["Condition"].get("ForAnyValue:StringEquals", {}).get("kms:ResourceAliases") == alias
    assert found["Condition"]["StringLike"]["kms:ViaService"] == "s3.*.amazonaws.com"


@pytest.mark.parametrize("key", ["team", "alias/", "arn:aws:s3:::bucket", "key/*", "*"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidInputError, match="names no KMS key"):
        use_of_key(key, ["kms:Decrypt"], "aws", "eu-west-1")


def test_places_and_partitions() -> None:
    assert place_in("s3://models/team/a/").folder == "team/a/"
    assert place_in("s3://models").objects_arn() == "arn:aws:s3:::models/*"
    assert [partition_of(name) for name in ("eu-west-1", "cn-north-1", "us-gov-west-1")] == [
        "aws",
        "aws-cn",
        "aws-us-gov",
    ]
    assert Place("b", "a*b?$").objects_arn() == "arn:aws:s3:::b/a${*}b${?}${$}/*"
    with pytest.raises(InvalidInputError):
        place_in("/models")


@pytest.mark.parametrize(
    ("bucket", "prefix", "said"),
    [
        ("*", "", "no pattern stands for several"),
        ("a*b", "", "3 to 63 letters"),
        ("mod?ls", "", "3 to 63 letters"),
        ("x", "", "3 to 63 letters"),
        ("", "", "3 to 63 letters"),
        ("${BUCKET}", "", "a variable was not replaced"),
        ("models\n", "", "3 to 63 letters"),
        ("s3://models/x", "", "the bucket's name alone"),
        ("models/x", "", "the bucket's name alone"),
        ("models", "${TEAM}/x", "a shell replaces variables"),
        ("models", "te\x1bam", "write it without"),
        ("models", "te\nam", "write it without"),
    ],
)
def test_names_that_are_no_place_are_refused(bucket: str, prefix: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        place_named(bucket, prefix)
    assert said in caught.value.hint


def test_a_bucket_and_a_prefix_are_what_their_address_is() -> None:
    assert place_named("models", "/team//a/ ") == place_in("s3://models/team/a")
    assert place_named("models", "") == place_in("s3://models")


def test_others_statements_stay_as_they_are() -> None:
    there = {
        "Version": "2008-10-17",
        "Id": "theirs",
        "Statement": [FOREIGN, {**tls_statement(PLACE), "Action": "s3:Get*"}],
    }
    made = with_statements(there, [tls_statement(PLACE), *encryption_statements(PLACE, KEY)])
    assert made["Id"] == "theirs"
    assert made["Version"] == "2008-10-17"
    assert made["Statement"][:2] == [FOREIGN, tls_statement(PLACE)]
    assert [item["Sid"] for item in made["Statement"][2:]] == [
        *("HoldfastOtherEncryption", "HoldfastCustomerKey", "HoldfastOtherKey", "HoldfastNoKey")
    ]
    assert is_same_policy(with_statements(made, [tls_statement(PLACE)]), made)


def test_one_statement_alone_and_other_ways_to_write_it() -> None:
    there: dict[str, Any] = {"Version": "2012-10-17", "Statement": FOREIGN}
    made = with_statements(there, [tls_statement(PLACE)])
    assert made["Statement"][0] == FOREIGN
    mine = tls_statement(PLACE)
    as_server = {**mine, "Principal": {"AWS": "*"}, "Action": ["s3:*"], "Resource": mine["Resource"][::-1]}
    kept = with_statements({"Version": "2012-10-17", "Statement": [as_server]}, [mine])
    assert kept["Statement"] == [as_server]
    assert not is_same_policy(made, there)


def test_what_s3_would_not_take_is_refused() -> None:
    large = {"Version": "2012-10-17", "Statement": [{**FOREIGN, "Resource": [f"arn:aws:s3:::{'x' * 60}"] * 400}]}
    with pytest.raises(InvalidInputError, match="20,480"):
        with_statements(large, [tls_statement(PLACE)])
    old = {"Version": "2008-10-17", "Statement": []}
    with pytest.raises(InvalidInputError, match="version 2008"):
        with_statements(old, encryption_statements(Place("b", "a*"), KEY))
    with pytest.raises(InvalidInputError, match="compares ARNs"):
        encryption_statements(PLACE, "alias/team")


@pytest.mark.parametrize(
    ("change", "is_so"),
    [
        ({}, True),
        ({"Sid": "Theirs", "Principal": {"AWS": ["*"]}}, True),
        ({"Resource": "*"}, True),
        ({"Condition": {"Bool": {"aws:securetransport": False}}}, True),
        ({"Effect": "Allow"}, False),
        ({"Action": "s3:GetObject"}, False),
        ({"Resource": "arn:aws:s3:::models/team/*"}, False),
        ({"Resource": "arn:aws:s3:::models"}, False),
        ({"Principal": {"AWS": "123456789012"}}, False),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, False),
        ({"Condition": {"Bool": {"aws:SecureTransport": "false"}, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, False),
        ({"Condition": None}, False),
    ],
)
def test_who_refuses_requests_without_tls(change: dict[str, Any], is_so: bool) -> None:
    assert is_tls_only({"Statement": [{**tls_statement(PLACE), **change}]}, PLACE) == is_so


ALLOW = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}


@pytest.mark.parametrize(
    ("change", "is_open"),
    [
        ({}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": ["123456789012", "*"]}}, True),
        ({"Principal": {"AWS": "123456789012"}}, False),
        ({"Principal": {"Service": "logging.s3.amazonaws.com"}}, False),
        ({"Effect": "Deny"}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}, True),
        ({"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, True),
        ({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}, False),
        ({"Condition": {"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-1"}}}, True),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, True),
        ({"Condition": {"StringLike": {"aws:Referer": "https://example.com/*"}}}, True),
    ],
)
def test_what_opens_a_bucket_to_everybody(change: dict[str, Any], is_open: bool) -> None:
    assert is_open_to_everybody({"Statement": [{**ALLOW, **change}]}) == is_open
    assert is_open_to_everybody({"Statement": {**ALLOW, **change}}) == is_open
    assert not is_open_to_everybody({})
