"""How a bucket is kept, as the doctor sees it; and sound set-ups, in which it has nothing to say against any server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from s3_examining import PREFIX, Project, bad, finding_of

from holdfast.artifacts.access import access_of
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.bucket.arns import Place
from holdfast.bucket.bucket_policy import tls_statement
from holdfast.bucket.hardening import Target, apply_steps, plan_hardening
from holdfast.bucket.logs import Logs
from holdfast.bucket.policy import Needs, role_policy
from holdfast.doctor.check import Status
from holdfast.settings import load_settings
from holdfast.testing import RcloneAccess, S3Access, S3Server, ServerCertificate, SwiftAccess
from holdfast.testing._served import make_client

OK, SKIPPED, WARNING, FAILED = Status.OK, Status.SKIPPED, Status.WARNING, Status.FAILED
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
ADMIN = "--profile ADMIN (ADMIN: an AWS profile that may change the bucket)"
HARDEN = f"holdfast s3 harden {ADMIN}"
POSTURE = ("s3.versioning", "s3.encryption", "s3.public", "s3.ownership", "s3.tls_only", "s3.logging", "s3.lifecycle")


@pytest.fixture(scope="module")
def server(server_certificate: ServerCertificate) -> Iterator[S3Access]:
    """A server that is reached over TLS as well."""
    with S3Server(certificate=server_certificate) as found:
        yield found.access


@pytest.fixture
def project(
    server: S3Access, server_certificate: ServerCertificate, unique: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A project, over TLS, with a writer's key and a bucket of its own that is kept as it should be."""
    bucket = f"posture-{unique[-8:]}"
    client = make_client("s3", server.tls_url, server.admin, str(server_certificate.ca_bundle))
    client.create_bucket(Bucket=bucket)
    client.create_bucket(Bucket=f"{bucket}-logs")
    policy = role_policy("writer", Needs(Place(bucket, PREFIX)))
    account = server.add_account(unique, policy=policy)
    harden(client, bucket)
    folder = tmp_path_factory.mktemp("project")
    found = Project(server.tls_url, bucket, account, client, folder)
    yield found.having(AWS_CA_BUNDLE=str(server_certificate.ca_bundle))
    found.check_untouched()


def harden(client: Any, bucket: str) -> None:
    """Make a bucket one that one can answer for."""
    where = {"Bucket": bucket}
    client.put_bucket_versioning(**where, VersioningConfiguration={"Status": "Enabled"})
    encrypt(client, bucket, {"SSEAlgorithm": "AES256"}, has_bucket_key=False)
    client.put_public_access_block(**where, PublicAccessBlockConfiguration=dict.fromkeys(BLOCKS, True))
    own(client, bucket, "BucketOwnerEnforced")
    policy = {"Version": "2012-10-17", "Statement": [tls_statement(Place(bucket))]}
    client.put_bucket_policy(**where, Policy=json.dumps(policy))
    age(client, bucket, ABORT, NONCURRENT)
    log(client, bucket, f"{bucket}-logs")


def encrypt(client: Any, bucket: str, by: dict[str, str], has_bucket_key: bool) -> None:
    rules = [{"ApplyServerSideEncryptionByDefault": by, "BucketKeyEnabled": has_bucket_key}]
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})


def own(client: Any, bucket: str, ownership: str) -> None:
    rules = {"Rules": [{"ObjectOwnership": ownership}]}
    client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=rules)


def log(client: Any, bucket: str, target: str) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{target}/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    client.put_bucket_policy(Bucket=target, Policy=json.dumps(policy))
    enabled = {"TargetBucket": target, "TargetPrefix": "s3/"}
    client.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": enabled})


def rule(name: str, prefix: str = "", **actions: Any) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **actions}


ABORT = rule("abort", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7})
NONCURRENT = rule("versions", NoncurrentVersionExpiration={"NoncurrentDays": 30})


def age(client: Any, bucket: str, *rules: dict[str, Any]) -> None:
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)})


# -- sound set-ups -------------------------------------------------------------------------


def test_a_writer_of_a_hardened_bucket_is_told_nothing_bad(project: Project) -> None:
    report = project.examine()
    assert not bad(report)
    assert not report.left_behind
    found = {result.check.name: result.finding.status for result in report.results if result.check.group == "s3"}
    # The server does not see to the owner, and this key may not ask whose the bucket is.
    assert {name for name, status in found.items() if status is not OK} <= {"s3.owner", "s3.region"}
    assert len(found) == 27


def test_a_writer_that_may_not_ask_is_told_what_it_takes(project: Project, server: S3Access) -> None:
    policy = role_policy("writer", Needs(Place(project.bucket, PREFIX), with_posture=False))
    mine = replace(project, account=server.add_account(f"{project.account.name}-bare", policy=policy))
    report = mine.examine()
    assert not bad(report)
    asked = [finding_of(report, name) for name in ("s3.versioning", "s3.public_access", "s3.logging", "s3.tls_only")]
    assert {finding.status for finding in asked} == {SKIPPED}
    assert "it takes s3:GetBucketVersioning" in asked[0].found
    # moto encrypts nothing by itself, so there is nothing to infer it from.
    assert finding_of(report, "s3.encryption").status in (OK, SKIPPED)


@pytest.mark.skipif(sys.platform != "linux", reason="Swift runs on Linux alone")
def test_nothing_is_held_against_swift_that_it_cannot_do(
    swift_server: SwiftAccess, unique: str, tmp_path: Path
) -> None:
    account = swift_server.add_account(unique, ["models"])
    client = swift_server.client(account)
    client.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
    mine = Project(swift_server.endpoint_url, "models", account, client, tmp_path)
    report = mine.examine()
    assert not bad(report)
    assert not report.left_behind
    mine.check_untouched()
    assert finding_of(report, "s3.checksums").details["crc32c_verified"]
    assert finding_of(report, "s3.conditional_put").status is OK
    assert "does not say anything of the lifecycle" in finding_of(report, "s3.lifecycle_expiry").found


def test_the_oddities_of_rclone_are_told_and_no_faults(
    rclone_server: RcloneAccess, unique: str, tmp_path: Path
) -> None:
    bucket, client = f"b-{unique[-8:]}", rclone_server.client()
    client.create_bucket(Bucket=bucket)
    report = Project(rclone_server.endpoint_url, bucket, rclone_server.account, client, tmp_path).examine()
    assert not bad(report)
    assert not report.left_behind
    assert not client.list_objects_v2(Bucket=bucket).get("Contents")
    told = {
        "s3.range": "fetched in one stream",
        "s3.conditional_put": "ignores If-None-Match",
        "s3.versioning": "keeps no versions",
        "s3.public_access": "does not say anything",
    }
    for name, words in told.items():
        finding = finding_of(report, name)
        assert (finding.status, words in finding.found) == (SKIPPED, True), finding
    assert "noticed when it is fetched" in finding_of(report, "s3.checksums").found


def test_encryption_that_the_settings_ask_for_and_a_server_ignores(
    rclone_server: RcloneAccess, unique: str, tmp_path: Path
) -> None:
    bucket, client = f"b-{unique[-8:]}", rclone_server.client()
    client.create_bucket(Bucket=bucket)
    mine = Project(rclone_server.endpoint_url, bucket, rclone_server.account, client, tmp_path)
    finding = mine.having(HOLDFAST_S3_ENCRYPTION="AES256").find("s3.encryption")
    assert (finding.status, "without a word of encryption" in finding.found) == (WARNING, True)
    assert "unset HOLDFAST_S3_ENCRYPTION" in finding.remedy


# -- versions, encryption, access ------------------------------------------------------------


def test_a_new_bucket_that_nobody_has_looked_after_is_mended_by_the_remedies(
    server: S3Access, unique: str, project: Project
) -> None:
    bucket = f"new-{unique[-8:]}"
    account = server.add_account(f"{unique}-new", [bucket])
    mine = replace(project, bucket=bucket, account=account)
    report = mine.examine(*POSTURE)
    assert bad(report) == dict.fromkeys(
        (
            *("s3.versioning", "s3.encryption", "s3.public_access", "s3.ownership", "s3.tls_only", "s3.logging"),
            "s3.lifecycle_uploads",
        ),
        WARNING,
    )
    remedies = {name: finding_of(report, name).remedy for name in bad(report)}
    assert remedies.pop("s3.logging") == f"holdfast s3 harden --log-bucket LOG_BUCKET {ADMIN}"
    assert remedies.pop("s3.tls_only") == f"holdfast s3 bucket-policy --apply {ADMIN}"
    assert remedies.pop("s3.lifecycle_uploads") == f"holdfast s3 lifecycle apply {ADMIN}"
    assert set(remedies.values()) == {HARDEN}
    assert "no versions in this bucket" in finding_of(report, "s3.lifecycle_noncurrent").found
    settings = load_settings(start=mine.folder, environ=replace(mine, account=server.admin).environ)
    logs = Logs(f"{project.bucket}-logs", "s3/")
    target = Target(S3Connection(access_of(settings)), Place(bucket, PREFIX), logs=logs)
    assert {step.state for step in apply_steps(plan_hardening(target))} <= {"done", "right"}
    assert not bad(mine.examine(*POSTURE))
    mine.check_untouched()


def test_versioning_that_is_suspended(project: Project) -> None:
    project.client.put_bucket_versioning(Bucket=project.bucket, VersioningConfiguration={"Status": "Suspended"})
    finding = project.find("s3.versioning")
    assert (finding.status, finding.remedy) == (WARNING, HARDEN)
    assert "suspended" in finding.found


ENCRYPTIONS = [
    ({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}, True, {}, OK, "KMS (aws:kms), key 1234…90ab"),
    ({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}, False, {}, WARNING, "without a bucket key"),
    (
        {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY},
        True,
        {"HOLDFAST_S3_ENCRYPTION": "AES256"},
        WARNING,
        "the settings ask for S3's keys (AES256), and the bucket's own is KMS",
    ),
    ({"SSEAlgorithm": "AES256"}, False, {"HOLDFAST_S3_ENCRYPTION": "AES256"}, OK, "S3's keys"),
]


@pytest.mark.parametrize(("by", "has_bucket_key", "settings", "status", "found"), ENCRYPTIONS)
def test_encryption(
    project: Project, by: dict[str, str], has_bucket_key: bool, settings: dict[str, str], status: Status, found: str
) -> None:
    encrypt(project.client, project.bucket, by, has_bucket_key)
    finding = project.having(**settings).find("s3.encryption")
    assert (finding.status, found in finding.found) == (status, True), finding
    assert ("holdfast s3 harden" in finding.remedy) == (status is WARNING)
    assert KEY not in finding.found + finding.remedy


def test_blocks_that_are_missing_are_named(project: Project) -> None:
    blocks = dict.fromkeys(BLOCKS, True) | {"RestrictPublicBuckets": False}
    project.client.put_public_access_block(Bucket=project.bucket, PublicAccessBlockConfiguration=blocks)
    finding = project.find("s3.public_access")
    assert (finding.status, finding.details["missing"]) == (WARNING, ["RestrictPublicBuckets"])


def test_a_bucket_that_is_open_by_its_policy(project: Project) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
    statement["Resource"] = f"arn:aws:s3:::{project.bucket}/*"
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    project.client.delete_public_access_block(Bucket=project.bucket)
    project.client.put_bucket_policy(Bucket=project.bucket, Policy=policy)
    report = project.examine("s3.public")
    finding = finding_of(report, "s3.public")
    assert (finding.status, "open to everybody, by its policy" in finding.found) == (FAILED, True)
    assert "holdfast s3 harden" in finding.remedy
    assert finding_of(report, "s3.public_access").status is WARNING


def test_a_bucket_that_is_open_by_its_acl(project: Project) -> None:
    project.client.delete_public_access_block(Bucket=project.bucket)
    own(project.client, project.bucket, "ObjectWriter")
    project.client.put_bucket_acl(Bucket=project.bucket, ACL="public-read")
    report = project.examine("s3.public", "s3.ownership")
    finding = finding_of(report, "s3.public")
    assert (finding.status, "open to everybody, by its ACL" in finding.found) == (FAILED, True)
    assert f"aws s3api put-bucket-acl --bucket {project.bucket} --acl private" in finding.remedy
    finding = finding_of(report, "s3.ownership")
    assert (finding.status, finding.remedy) == (WARNING, HARDEN)


def test_an_acl_in_the_settings_that_the_bucket_does_not_take(project: Project) -> None:
    finding = project.having(HOLDFAST_S3_ACL="public-read").find("s3.ownership")
    assert (finding.status, finding.remedy) == (FAILED, "unset HOLDFAST_S3_ACL")
    assert project.having(HOLDFAST_S3_ACL="bucket-owner-full-control").find("s3.ownership").status is OK


def test_a_bucket_that_takes_requests_in_the_clear(project: Project) -> None:
    project.client.delete_bucket_policy(Bucket=project.bucket)
    finding = project.find("s3.tls_only")
    assert (finding.status, finding.remedy) == (WARNING, f"holdfast s3 bucket-policy --apply {ADMIN}")


def test_a_log_of_the_log(project: Project) -> None:
    log(project.client, project.bucket, project.bucket)
    finding = project.find("s3.logging")
    assert (finding.status, "into the bucket itself" in finding.found) == (WARNING, True)
    where = {"Bucket": project.bucket}
    project.client.put_bucket_logging(**where, BucketLoggingStatus={})
    for found in project.client.list_object_versions(**where)["Versions"]:
        assert found["Key"].startswith("s3/")  # what was logged
        project.client.delete_object(**where, Key=found["Key"], VersionId=found["VersionId"])


# -- ages -----------------------------------------------------------------------------------


def expiry(prefix: str = "", **more: Any) -> dict[str, Any]:
    return rule("old", prefix, Expiration={"Days": 90}) | more


def with_filter(**given: Any) -> dict[str, Any]:
    return {**expiry(), "Filter": given}


TAG = {"Key": "team", "Value": "vision"}
RULES = [
    ("all", expiry(), FAILED, "the lifecycle rule old (for all objects)"),
    ("above", expiry("team/"), FAILED, "rule old (for team/*)"),
    ("exactly", expiry(f"{PREFIX}/"), FAILED, "would delete files below s3://"),
    ("a part of it", expiry(f"{PREFIX}/7/"), FAILED, f"{PREFIX}/7/*"),
    ("by a date", rule("old", Expiration={"Date": "2030-01-01T00:00:00Z"}), FAILED, "would delete files"),
    ("old form", {"ID": "old", "Status": "Enabled", "Prefix": "", "Expiration": {"Days": 9}}, FAILED, "would delete"),
    ("by size", with_filter(ObjectSizeGreaterThan=1000), FAILED, "would delete"),
    ("a tag that files have", with_filter(Tag=TAG), FAILED, "rule old (for all objects tagged team=vision) of "),
    ("several", with_filter(And={"Prefix": "team/", "Tags": [TAG]}), FAILED, "would delete"),
    ("a tag of others", with_filter(Tag={"Key": "team", "Value": "audio"}), OK, "no rule takes files"),
    ("switched off", expiry(Status="Disabled"), OK, "no rule"),
    ("elsewhere", expiry("team/models-old/"), OK, "no rule"),
    ("a prefix of the name alone", expiry("team/mod"), FAILED, "would delete"),
    ("probes", expiry(f"{PREFIX}/.holdfast-doctor/"), OK, "no rule"),
    ("markers", rule("tidy", Expiration={"ExpiredObjectDeleteMarker": True}), OK, "no rule"),
    ("archive", rule("cold", Transitions=[{"Days": 30, "StorageClass": "GLACIER"}]), WARNING, "to GLACIER, where"),
    ("deep", rule("cold", Transitions=[{"Days": 30, "StorageClass": "DEEP_ARCHIVE"}]), WARNING, "DEEP_ARCHIVE"),
    ("cheap", rule("cool", Transitions=[{"Days": 30, "StorageClass": "STANDARD_IA"}]), OK, "or out of reach"),
]


@pytest.mark.parametrize(("given", "status", "found"), [case[1:] for case in RULES], ids=[case[0] for case in RULES])
def test_what_becomes_of_files_as_they_age(project: Project, given: dict[str, Any], status: Status, found: str) -> None:
    age(project.client, project.bucket, ABORT, NONCURRENT, given)
    report = project.having(HOLDFAST_S3_TAGGING="team=vision&cost=42").examine("s3.lifecycle_expiry")
    finding = finding_of(report, "s3.lifecycle_expiry")
    assert (finding.status, found in finding.found) == (status, True), finding
    if status is FAILED:
        assert "take the one with the ID old out of it" in finding.remedy
    if status is WARNING:
        assert "--transition GLACIER_IR:90" in finding.remedy


def test_uploads_and_versions_that_nobody_takes_away(project: Project) -> None:
    elsewhere = [{**one, "Filter": {"Prefix": "others/"}} for one in (ABORT, NONCURRENT)]
    age(project.client, project.bucket, *elsewhere)
    report = project.examine("s3.lifecycle")
    assert bad(report) == dict.fromkeys(("s3.lifecycle_uploads", "s3.lifecycle_noncurrent"), WARNING)
    assert finding_of(report, "s3.lifecycle_uploads").remedy == f"holdfast s3 lifecycle apply {ADMIN}"
    age(project.client, project.bucket, ABORT, NONCURRENT)
    report = project.examine("s3.lifecycle")
    assert finding_of(report, "s3.lifecycle_uploads").details == {"days": 7}
    assert finding_of(report, "s3.lifecycle_noncurrent").details == {"days": 30}
