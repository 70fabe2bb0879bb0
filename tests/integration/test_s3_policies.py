"""The policies of `holdfast s3 policy`, at a server that enforces them by AWS's rules."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3 import S3Files
from holdfast.artifacts.transfer import Item
from holdfast.bucket.arns import Place
from holdfast.bucket.policy import ROLES, Needs, Role, role_policy
from holdfast.core.locations import PROBES
from holdfast.errors import ArtifactError
from holdfast.settings import Credentials
from holdfast.testing import Account
from holdfast.testing import S3Access as Server

errors = pytest.importorskip("botocore.exceptions")

MIB = 1 << 20
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
OTHER_KEY = KEY.replace("1111", "9999")
Call = Callable[[Any, str, str, Mapping[str, str]], Any]


@dataclass(frozen=True)
class World:
    """A versioned bucket with a place in it, and one beside; and a user of each role for the place."""

    server: Server
    place: Place
    other: str
    users: Mapping[Role, Account]

    def prepare(self, bucket: str, key: str) -> dict[str, str]:
        """Put what can be asked for, changed and deleted under a key; return its version and its unfinished upload."""
        client = self.server.client()
        version = client.put_object(Bucket=bucket, Key=key, Body=b"1")["VersionId"]
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        part = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
        return {"version": version, "upload": upload, "part": part}

    def files(self, role: Role, **more: Any) -> S3Files:
        return S3Files(access_of(self.server, self.users[role], **more))


def access_of(server: Server, account: Account, **more: Any) -> S3Access:
    secret = SecretStr(account.secret_access_key)
    credentials = Credentials("project", "test", account.access_key_id, secret, region="us-east-1")
    return S3Access(credentials, **{"endpoint_url": server.endpoint_url, "deadline_s": 5.0, **more})


@pytest.fixture(scope="module")
def world(s3_server: Server) -> World:
    own = f"policies-{secrets.token_hex(4)}"  # other workers have one of their own at the same server
    client, names = s3_server.client(), (own, f"{own}-other")
    for name in names:
        client.create_bucket(Bucket=name)
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    place = Place(names[0], "teams/a")
    users = {
        role: s3_server.add_account(f"{own}-{role}", policy=role_policy(role, Needs(place, with_posture=False)))
        for role in ROLES
    }
    return World(s3_server, place, names[1], users)


# Every call of S3 that a key might make: what it does with a bucket, a key, and what was prepared there.
CALLS: Mapping[str, Call] = {
    "list": lambda c, b, k, _: c.list_objects_v2(Bucket=b, Prefix=k),
    "list folder": lambda c, b, k, _: c.list_objects_v2(Bucket=b, Prefix=f"{k.rpartition('/')[0]}/", Delimiter="/"),
    "list versions": lambda c, b, k, _: c.list_object_versions(Bucket=b, Prefix=k),
    "list uploads": lambda c, b, k, _: c.list_multipart_uploads(Bucket=b, Prefix=k),
    "list all": lambda c, b, _k, _: c.list_objects_v2(Bucket=b),
    "list all v1": lambda c, b, _k, _: c.list_objects(Bucket=b, Prefix=""),
    "list buckets": lambda c, _b, _k, _: c.list_buckets(),
    "head bucket": lambda c, b, _k, _: c.head_bucket(Bucket=b),
    "location": lambda c, b, _k, _: c.get_bucket_location(Bucket=b),
    "get": lambda c, b, k, _: c.get_object(Bucket=b, Key=k),
    "get part": lambda c, b, k, _: c.get_object(Bucket=b, Key=k, Range="bytes=0-0"),
    "head": lambda c, b, k, _: c.head_object(Bucket=b, Key=k),
    "get version": lambda c, b, k, it: c.get_object(Bucket=b, Key=k, VersionId=it["version"]),
    "get tags": lambda c, b, k, _: c.get_object_tagging(Bucket=b, Key=k),
    "get acl": lambda c, b, k, _: c.get_object_acl(Bucket=b, Key=k),
    "put": lambda c, b, k, _: c.put_object(Bucket=b, Key=k, Body=b"2"),
    "put tagged": lambda c, b, k, _: c.put_object(Bucket=b, Key=k, Body=b"2", Tagging="a=b"),
    "put public": lambda c, b, k, _: c.put_object(Bucket=b, Key=k, Body=b"2", ACL="public-read"),
    "copy": lambda c, b, k, _: c.copy_object(Bucket=b, Key=f"{k}-copy", CopySource=f"{b}/{k}"),
    "begin upload": lambda c, b, k, _: c.create_multipart_upload(Bucket=b, Key=k),
    "upload part": lambda c, b, k, it: c.upload_part(
        Bucket=b, Key=k, UploadId=it["upload"], PartNumber=2, Body=b"more"
    ),
    "list parts": lambda c, b, k, it: c.list_parts(Bucket=b, Key=k, UploadId=it["upload"]),
    "complete": lambda c, b, k, it: c.complete_multipart_upload(
        Bucket=b, Key=k, UploadId=it["upload"], MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": it["part"]}]}
    ),
    "abort": lambda c, b, k, it: c.abort_multipart_upload(Bucket=b, Key=k, UploadId=it["upload"]),
    "delete": lambda c, b, k, _: c.delete_object(Bucket=b, Key=k),
    "delete version": lambda c, b, k, it: c.delete_object(Bucket=b, Key=k, VersionId=it["version"]),
    "delete several": lambda c, b, k, _: c.delete_objects(Bucket=b, Delete={"Objects": [{"Key": k}]}),
    "delete several versions": lambda c, b, k, it: c.delete_objects(
        Bucket=b, Delete={"Objects": [{"Key": k, "VersionId": it["version"]}]}
    ),
    "set tags": lambda c, b, k, _: c.put_object_tagging(Bucket=b, Key=k, Tagging={"TagSet": []}),
    "set acl": lambda c, b, k, _: c.put_object_acl(Bucket=b, Key=k, ACL="private"),
    "read versioning": lambda c, b, _k, _: c.get_bucket_versioning(Bucket=b),
    "read policy": lambda c, b, _k, _: c.get_bucket_policy_status(Bucket=b),
    "read encryption": lambda c, b, _k, _: c.get_bucket_encryption(Bucket=b),
    "set versioning": lambda c, b, _k, _: c.put_bucket_versioning(
        Bucket=b, VersioningConfiguration={"Status": "Suspended"}
    ),
    "set policy": lambda c, b, _k, _: c.put_bucket_policy(Bucket=b, Policy="{}"),
    "drop policy": lambda c, b, _k, _: c.delete_bucket_policy(Bucket=b),
    "set lifecycle": lambda c, b, _k, _: c.put_bucket_lifecycle_configuration(
        Bucket=b, LifecycleConfiguration={"Rules": []}
    ),
    "set public access": lambda c, b, _k, _: c.delete_public_access_block(Bucket=b),
    "delete bucket": lambda c, b, _k, _: c.delete_bucket(Bucket=b),
    "create bucket": lambda c, b, _k, _: c.create_bucket(Bucket=f"{b}-new"),
}
_READING = {"list", "list folder", "location", "get", "get part", "head"}
MAY: Mapping[Role, set[str]] = {
    "writer": {
        *(_READING | {"list uploads", "put", "copy", "begin upload", "upload part", "list parts"}),
        *("complete", "abort"),
    },
    "reader": _READING | {"get version"},
    "purger": {
        *("list", "list folder", "list versions", "list uploads", "location", "list parts", "abort"),
        "read versioning",
        *("delete", "delete version", "delete several", "delete several versions"),
    },
}
# The same wherever the key is: S3 has no condition for them.
OF_BUCKET = {"location", "list uploads", "read versioning"}


def is_allowed(call: Callable[..., Any], *args: Any, **arguments: Any) -> bool:
    try:
        answer = call(*args, **arguments)
    except errors.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 403:
            return False
        raise
    refused = [item["Code"] for item in answer.get("Errors", ())]
    assert refused in ([], ["AccessDenied"])
    return not refused


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_its_part_below_the_prefix_and_nothing_else(world: World, role: Role) -> None:
    client = world.server.client(world.users[role])
    allowed = set()
    for number, (name, call) in enumerate(CALLS.items()):
        key = f"{world.place.folder}run/{role}-{number}"
        made = world.prepare(world.place.bucket, key)
        if is_allowed(call, client, world.place.bucket, key, made):
            allowed.add(name)
    assert allowed == MAY[role]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("where", ["beside", "above", "other bucket"])
def test_a_role_may_do_nothing_elsewhere(world: World, role: Role, where: str) -> None:
    bucket = world.other if where == "other bucket" else world.place.bucket
    # The very letters of the prefix, and no folder: `teams/ab` is not below `teams/a`.
    key = {"beside": "teams/ab/run/x", "above": "teams/x", "other bucket": "teams/a/run/x"}[where]
    made = world.prepare(bucket, f"{key}-{role}")
    client = world.server.client(world.users[role])
    allowed = {name for name, call in CALLS.items() if is_allowed(call, client, bucket, f"{key}-{role}", made)}
    assert allowed == (OF_BUCKET & MAY[role] if where != "other bucket" else set())


def test_the_writer_takes_away_probes_alone(world: World) -> None:
    client = world.server.client(world.users["writer"])
    key = f"{world.place.folder}{PROBES}/1/probe"
    made = world.prepare(world.place.bucket, key)
    for name in ("list versions", "get version", "delete", "delete version", "abort"):
        assert is_allowed(CALLS[name], client, world.place.bucket, key, made), name


@pytest.mark.parametrize("role", ROLES)
def test_the_posture_is_a_part_of_its_own(world: World, role: Role) -> None:
    policy = role_policy(role, Needs(world.place))
    client = world.server.client(world.server.add_account(f"policies-{role}-posture", policy=policy))
    for call in ("get_bucket_versioning", "get_bucket_acl", "get_bucket_logging"):
        assert is_allowed(getattr(client, call), Bucket=world.place.bucket)
    for call in ("get_bucket_encryption", "get_public_access_block", "get_bucket_lifecycle_configuration"):
        with pytest.raises(errors.ClientError, match=r"not found|does not exist"):  # and not a refusal
            getattr(client, call)(Bucket=world.place.bucket)
    assert not is_allowed(client.get_bucket_versioning, Bucket=world.other)


def test_a_writer_sends_resumes_lists_and_fetches(world: World, tmp_path: Path) -> None:
    files, root = world.files("writer"), f"{world.place.uri}/sent"
    names = [f"small-{number}" for number in range(5)]
    for name in names:
        (tmp_path / name).write_text(name)
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * (33 * MIB // 256))
    files.upload([Item(tmp_path / name, f"{root}/{name}") for name in names])
    again = files.upload([Item(tmp_path / name, f"{root}/{name}") for name in names])
    assert (again.files, again.unchanged) == (5, 5)
    # An upload that somebody has begun: its first part is there.
    client = world.server.client(world.users["writer"])
    where = {"Bucket": world.place.bucket, "Key": f"{world.place.folder}sent/large"}
    begun = client.create_multipart_upload(**where, Metadata={"holdfast-crc32c": ""})["UploadId"]
    client.upload_part(**where, UploadId=begun, PartNumber=1, Body=large.read_bytes()[: 16 * MIB])
    sent = files.upload([Item(large, f"{root}/large")])
    assert sent.files == 1
    assert "Uploads" not in client.list_multipart_uploads(Bucket=where["Bucket"], Prefix=where["Key"])
    assert [item.path for item in files.list_files(root)] == ["large", *names]
    assert files.download(root, "large", tmp_path / "got").read_bytes() == large.read_bytes()
    assert files.download(root, "small-3", tmp_path / "got").read_text() == "small-3"
    with pytest.raises(ArtifactError) as caught:
        files.delete(root)
    assert caught.value.code == "AccessDenied"


def test_a_reader_fetches_and_stores_nothing(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("read me")
    files, root = world.files("reader"), f"{world.place.uri}/read"
    world.files("writer").upload([Item(tmp_path / "file", f"{root}/file")])
    assert files.download(root, "", tmp_path / "got").joinpath("file").read_text() == "read me"
    with pytest.raises(ArtifactError) as caught:
        files.upload([Item(tmp_path / "file", f"{root}/file-2")])
    assert caught.value.code == "AccessDenied"


def test_a_purger_leaves_nothing_and_reads_nothing(world: World, tmp_path: Path) -> None:
    bucket, folder = world.place.bucket, f"{world.place.folder}old/"
    for number in range(3):
        world.prepare(bucket, f"{folder}{number}")
    files, client = world.files("purger"), world.server.client(world.users["purger"])
    files.delete(f"s3://{bucket}/{folder}")
    found = client.list_object_versions(Bucket=bucket, Prefix=folder)
    entries = [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]
    assert len(entries) == 6
    deleted = client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": e["Key"], "VersionId": e["VersionId"]} for e in entries]}
    )
    assert "Errors" not in deleted
    for upload in client.list_multipart_uploads(Bucket=bucket, Prefix=folder)["Uploads"]:
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    admin = world.server.client()
    assert not {"Versions", "DeleteMarkers"} & admin.list_object_versions(Bucket=bucket, Prefix=folder).keys()
    assert "Uploads" not in admin.list_multipart_uploads(Bucket=bucket, Prefix=folder)


@pytest.mark.parametrize(
    ("argument", "value"), [("Tagging", "a=b"), ("ACL", "bucket-owner-full-control"), ("StorageClass", "STANDARD_IA")]
)
def test_what_the_settings_add_to_uploads_is_allowed(
    world: World, tmp_path: Path, argument: str, value: str, unique: str
) -> None:
    (tmp_path / "file").write_text("content")
    item = Item(tmp_path / "file", f"{world.place.uri}/{argument}")
    arguments = {argument: value}
    if argument != "StorageClass":
        with pytest.raises(ArtifactError) as caught:
            world.files("writer", put_arguments=arguments).upload([item])
        assert caught.value.code == "AccessDenied"
    policy = role_policy("writer", Needs(world.place, put_arguments=arguments))
    account = world.server.add_account(unique, policy=policy)
    S3Files(access_of(world.server, account, put_arguments=arguments)).upload([item])


def test_a_kms_key_is_used_by_those_who_may(world: World, tmp_path: Path, unique: str) -> None:
    (tmp_path / "file").write_text("content")
    root = f"{world.place.uri}/encrypted"
    item = Item(tmp_path / "file", f"{root}/file")
    arguments = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY}
    needs = Needs(world.place, KEY)
    policies = {
        "with": role_policy("writer", needs),
        "without": role_policy("writer", Needs(world.place)),
        "other": role_policy("writer", Needs(world.place, OTHER_KEY)),
        "reader": role_policy("reader", needs),
        "reader-without": role_policy("reader", Needs(world.place)),
    }
    users = {name: world.server.add_account(f"{unique}-{name}", policy=made) for name, made in policies.items()}

    def files(name: str) -> S3Files:
        return S3Files(access_of(world.server, users[name], put_arguments=arguments))

    for name in ("without", "other"):
        with pytest.raises(ArtifactError) as caught:
            files(name).upload([item])
        assert caught.value.code == "KMS.AccessDeniedException"
    files("with").upload([item])
    assert files("reader").download(root, "file", tmp_path / "got").read_text() == "content"
    with pytest.raises(ArtifactError) as caught:
        files("reader-without").download(root, "file", tmp_path / "got-2")
    assert caught.value.code == "KMS.AccessDeniedException"


def test_signs_in_a_prefix_are_no_pattern(world: World, unique: str) -> None:
    place = replace(world.place, prefix="odd*name/$x?")
    client = world.server.client(world.server.add_account(unique, policy=role_policy("writer", Needs(place))))
    assert is_allowed(client.put_object, Bucket=place.bucket, Key=f"{place.folder}a", Body=b"")
    assert is_allowed(client.list_objects_v2, Bucket=place.bucket, Prefix=f"{place.folder}a")
    assert not is_allowed(client.put_object, Bucket=place.bucket, Key="odd-and-name/$xy/a", Body=b"")
    assert not is_allowed(client.list_objects_v2, Bucket=place.bucket, Prefix="odd-and-name/$xy/")
