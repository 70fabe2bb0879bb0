"""Listing and removing in buckets, on real servers: all forms, awkward keys, refusals, and servers that fail."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.removal import buckets
from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.removal.outcomes import Removal, Versioning
from holdfast.core.cleanup.records import Form, StoredObject
from holdfast.errors import ArtifactError
from holdfast.settings import Credentials
from holdfast.testing import Account, FaultProxy, S3Server, SwiftAccess
from holdfast.testing import S3Access as Server
from holdfast.testing.rclone import RcloneAccess

pytestmark = pytest.mark.timeout(120)
NASTY = [
    *("plain", "two words", "größe/日本語", "a%2Fb%20c", "a+b&c=d;e,f", "<&>'\"]]>", "//x", "/", "x//y/", " ", "end "),
    *("new\nline", "cr\rx", "tab\tx", "bell\x07", "del\x7f", "\x85", "😀", "~*()!", "?a=b#c", "./.", "k" * 1000),
]


@dataclass
class Bucket:
    """A bucket of one test."""

    name: str
    server: Server
    account: Account
    client: Any = field(repr=False)

    def holdings(self, endpoint_url: str = "", account: Account | None = None, deadline_s: float = 20) -> Holdings:
        return Holdings(access_to(endpoint_url or self.server.endpoint_url, account or self.account, deadline_s))

    def put(self, *keys: str) -> None:
        for key in keys:
            self.client.put_object(Bucket=self.name, Key=key, Body=b"12345")

    def begin(self, key: str) -> str:
        upload = self.client.create_multipart_upload(Bucket=self.name, Key=key)["UploadId"]
        self.client.upload_part(Bucket=self.name, Key=key, UploadId=upload, PartNumber=1, Body=b"123")
        return str(upload)

    def keep_versions(self, status: str = "Enabled") -> None:
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": status})

    def keys(self) -> set[str]:
        return {entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())}

    def other(self, name: str, denied: Sequence[str] = (), policy: Any = None) -> Account:
        return self.server.add_account(f"{self.account.name}-{name}", [self.name], denied, policy)


def access_to(endpoint_url: str, account: Account, deadline_s: float = 20) -> S3Access:
    keys = Credentials("project", "arguments", account.access_key_id, SecretStr(account.secret_access_key))
    return S3Access(keys, endpoint_url=endpoint_url, deadline_s=deadline_s)


def listed(holdings: Holdings, place: str, whole_store: bool = False) -> list[StoredObject]:
    return [stored for page in holdings.list_place(place, whole_store) for stored in page]


def by_form(found: Sequence[StoredObject]) -> list[tuple[str, Form]]:
    return sorted((stored.address.split("/", 3)[3], stored.form) for stored in found)


@pytest.fixture
def bucket(s3_server: Server, unique: str) -> Bucket:
    name = f"r-{unique[-8:]}"
    return Bucket(name, s3_server, s3_server.add_account(unique, [name]), s3_server.client())


# -- listing --------------------------------------------------------------------------


def test_a_place_and_what_is_below_it(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours that begin like a place are not of it, however many pages they fill."""
    monkeypatch.setattr(buckets, "PAGE", 3)
    mine = ["p", *(f"p/{number}" for number in range(8)), "p/"]
    beside = [*(f"p-{number}" for number in range(7)), *(f"p0{number}" for number in range(7)), "q"]
    bucket.put(*mine, *beside)
    uploads = {key: bucket.begin(key) for key in ("p", "p/u", "p-u", "pu")}
    expected = sorted([(key, Form.OBJECT) for key in mine] + [("p", Form.UPLOAD), ("p/u", Form.UPLOAD)])
    for versioned in (False, True):
        found = listed(bucket.holdings(), f"s3://{bucket.name}/p")
        assert by_form(found) == expected
        assert {stored.size_bytes for stored in found} == {5, 3}
        assert {one.version_id for one in found if one.form is Form.UPLOAD} == {uploads["p"], uploads["p/u"]}
        assert {one.version_id for one in found if one.form is Form.OBJECT} == ({"null"} if versioned else {""})
        assert len(listed(bucket.holdings(), f"s3://{bucket.name}", whole_store=True)) == len(mine + beside) + 4
        assert listed(bucket.holdings(), f"s3://{bucket.name}/none") == []
        bucket.keep_versions()


def test_versions_and_markers(bucket: Bucket) -> None:
    bucket.keep_versions()
    bucket.put("p/seen", "p/seen", "p/hidden", "p/hidden", "p/back")
    for key in ("p/hidden", "p/hidden", "p/back"):
        bucket.client.delete_object(Bucket=bucket.name, Key=key)
    bucket.put("p/back")
    found = listed(bucket.holdings(), f"s3://{bucket.name}/p")
    assert by_form(found) == sorted(
        [("p/seen", Form.OBJECT), ("p/seen", Form.OLD), ("p/hidden", Form.MARKER), ("p/back", Form.OBJECT)]
        + [("p/hidden", Form.OLD)] * 3
        + [("p/back", Form.OLD)] * 2
    )
    assert sum(stored.size_bytes for stored in found) == 6 * 5
    done = bucket.holdings().remove(found)
    assert (len(done.removed), done.failed) == (9, ())
    assert "Versions" not in bucket.client.list_object_versions(Bucket=bucket.name)


def test_versioning(bucket: Bucket) -> None:
    place, seen = f"s3://{bucket.name}/p", []
    for status in ("", "Enabled", "Suspended"):
        if status:
            bucket.keep_versions(status)
        seen.append(bucket.holdings().versioning_of(place))
    blind = bucket.other("blind", ["s3:GetBucketVersioning"])
    seen.append(bucket.holdings(account=blind).versioning_of(place))
    assert seen == [Versioning.OFF, Versioning.ON, Versioning.SUSPENDED, Versioning.UNKNOWN]
    bucket.put("p/x")
    assert by_form(listed(bucket.holdings(account=blind), place)) == [("p/x", Form.OBJECT)]


@pytest.mark.parametrize(
    "action", ["s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts"]
)
def test_what_may_not_be_listed_is_an_error_that_names_the_action(bucket: Bucket, action: str) -> None:
    if action == "s3:ListBucketVersions":
        bucket.keep_versions()
    bucket.put("p/x")
    bucket.begin("p/u")
    holdings = bucket.holdings(account=bucket.other("less", [action]))
    with pytest.raises(ArtifactError) as caught:
        listed(holdings, f"s3://{bucket.name}/p")
    assert caught.value.code == "AccessDenied"
    assert f"{action} on s3://{bucket.name}" in caught.value.hint


def test_a_policy_for_what_is_below_alone(bucket: Bucket) -> None:
    arn = f"arn:aws:s3:::{bucket.name}"
    rule = {"Effect": "Allow", "Action": "s3:*", "Resource": [arn, f"{arn}/p/*"]}
    wrong = {"Effect": "Deny", "Action": "s3:ListBucket", "Resource": arn,
             "Condition": {"StringNotLike": {"s3:prefix": "p/*"}}}  # fmt: skip
    account = bucket.other("below", policy={"Version": "2012-10-17", "Statement": [rule, wrong]})
    bucket.put("p/x", "py")
    assert by_form(listed(bucket.holdings(account=account), f"s3://{bucket.name}/p")) == [("p/x", Form.OBJECT)]


def test_a_bucket_that_is_missing(s3_server: Server) -> None:
    with pytest.raises(ArtifactError) as caught:
        listed(Holdings(access_to(s3_server.endpoint_url, s3_server.admin)), "s3://not-there-at-all/p")
    assert caught.value.code == "NoSuchBucket"


# -- removing -------------------------------------------------------------------------


@pytest.mark.parametrize("versioned", [False, True])
def test_awkward_keys(bucket: Bucket, versioned: bool) -> None:
    # moto takes no line breaks in keys, and cannot list versions of some other ones.
    names = [name for name in NASTY if "\n" not in name and not (versioned and re.search(r"[\x00-\x1f\x7f\x85]", name))]
    if versioned:
        bucket.keep_versions()
    bucket.put(*(f"p/{name}" for name in names), *(f"px/{name}" for name in names))
    bucket.begin("p/up <&>%2F")
    holdings = bucket.holdings()
    found = listed(holdings, f"s3://{bucket.name}/p")
    assert {stored.address for stored in found} == {f"s3://{bucket.name}/p/{name}" for name in [*names, "up <&>%2F"]}
    done = holdings.remove(found, root=f"s3://{bucket.name}/p")
    assert (set(done.removed), done.failed, done.error) == (set(found), (), None)
    assert listed(holdings, f"s3://{bucket.name}/p") == []
    assert len(listed(holdings, f"s3://{bucket.name}/px")) == len(names)
    assert holdings.remove(found).failed == ()  # gone already


def test_each_refused_key_is_told_of(bucket: Bucket) -> None:
    bucket.put(*(f"p/{number}" for number in range(6)))
    arn = f"arn:aws:s3:::{bucket.name}"
    rules = [{"Effect": "Allow", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]},
             {"Effect": "Deny", "Action": "s3:Delete*", "Resource": [f"{arn}/p/3"]}]  # fmt: skip
    account = bucket.other("one", policy={"Version": "2012-10-17", "Statement": rules})
    holdings, told = bucket.holdings(account=account), list[Removal]()
    done = holdings.remove(listed(holdings, f"s3://{bucket.name}/p"), on_batch=told.append)
    assert [(one.address, one.code, one.retryable) for one in done.failed] == [
        (f"s3://{bucket.name}/p/3", "AccessDenied", False)
    ]
    assert "s3:DeleteObject" in done.failed[0].message
    assert (len(done.removed), done.untried, done.error) == (5, (), None)
    assert (bucket.keys(), len(told)) == ({"p/3"}, 1)


@pytest.mark.parametrize("versioned", [False, True])
def test_a_whole_bucket_that_refuses(bucket: Bucket, versioned: bool) -> None:
    if versioned:
        bucket.keep_versions()
    bucket.put("p/1", "p/1", "p/2")
    bucket.begin("p/u")
    denied = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:AbortMultipartUpload"]
    holdings = bucket.holdings(account=bucket.other("no", denied))
    found = listed(holdings, f"s3://{bucket.name}/p")
    done = holdings.remove(found)
    assert (done.removed, len(done.failed), done.untried, done.error) == ((), len(found), (), None)
    assert {failure.code for failure in done.failed} <= {"AccessDenied", "OlderVersionLeft"}
    assert len(listed(holdings, f"s3://{bucket.name}/p")) == len(found)


def test_nothing_older_comes_to_light(bucket: Bucket) -> None:
    """Where an older version cannot be removed, what hides it stays."""
    bucket.keep_versions()
    locked = bucket.client.put_object(Bucket=bucket.name, Key="p/x", Body=b"old")["VersionId"]
    bucket.put("p/x", "p/y", "p/y")
    bucket.client.delete_object(Bucket=bucket.name, Key="p/x")
    arn = f"arn:aws:s3:::{bucket.name}"
    rules = [{"Effect": "Allow", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]},
             {"Effect": "Deny", "Action": "s3:DeleteObjectVersion", "Resource": f"{arn}/p/x",
              "Condition": {"StringEquals": {"s3:versionid": locked}}}]  # fmt: skip
    account = bucket.other("locked", policy={"Version": "2012-10-17", "Statement": rules})
    holdings = bucket.holdings(account=account)
    done = holdings.remove(listed(holdings, f"s3://{bucket.name}/p"))
    codes = {failure.version_id: failure.code for failure in done.failed}
    assert codes.pop(locked) == "AccessDenied"
    assert list(codes.values())[-1:] == ["OlderVersionLeft"]
    left = by_form(listed(holdings, f"s3://{bucket.name}/p"))
    assert ("p/x", Form.MARKER) in left
    assert {key for key, _ in left} == {"p/x"}


def test_object_lock(s3_server: Server, unique: str) -> None:
    name, client = f"r-{unique[-8:]}", s3_server.client()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    client.put_object(Bucket=name, Key="p/x", Body=b"1", ObjectLockLegalHoldStatus="ON")
    client.put_object(Bucket=name, Key="p/y", Body=b"1")
    holdings = Holdings(access_to(s3_server.endpoint_url, s3_server.add_account(unique, [name])))
    done = holdings.remove(listed(holdings, f"s3://{name}/p"))
    assert [(one.address, one.code) for one in done.failed] == [(f"s3://{name}/p/x", "AccessDenied")]
    assert "object lock" in done.failed[0].message


def test_what_was_written_since_it_was_listed_stays(bucket: Bucket) -> None:
    bucket.keep_versions()
    bucket.put("p/x")
    found = listed(bucket.holdings(), f"s3://{bucket.name}/p")
    bucket.put("p/x")
    assert bucket.holdings().remove(found).removed == tuple(found)
    assert bucket.keys() == {"p/x"}


# -- servers that fail ----------------------------------------------------------------


def error_for(code: str, *keys: str) -> str:
    errors = "".join(f"<Error><Key>{key}</Key><Code>{code}</Code><Message>later</Message></Error>" for key in keys)
    return f'<?xml version="1.0"?><DeleteResult>{errors}</DeleteResult>'


def test_what_the_server_asks_to_try_again(bucket: Bucket) -> None:
    """503 bursts, lost answers, and single keys that it was too busy for."""
    bucket.put(*(f"p/{number}" for number in range(4)))
    with FaultProxy(bucket.server.endpoint_url) as proxy:
        holdings = bucket.holdings(proxy.url)
        found = listed(holdings, f"s3://{bucket.name}/p")
        proxy.fail_next(2, 503, body="<Error><Code>SlowDown</Code></Error>")
        proxy.fail_next(1, "drop_answers")
        proxy.fail_next(1, 200, body=error_for("SlowDown", "p/1", "p/2"))
        proxy.fail_next(1, 200, body=error_for("InternalError", "p/2"))
        done = holdings.remove(found)
    assert (set(done.removed), done.failed, done.error) == (set(found), (), None)
    # After the lost answer nothing was left, and what the proxy said then of two keys made them be deleted once more.
    assert bucket.keys() == set()


def test_keys_that_stay_busy_are_told_of_and_others_go_on(bucket: Bucket) -> None:
    bucket.put("p/1", "p/2")
    with FaultProxy(bucket.server.endpoint_url) as proxy:
        holdings = bucket.holdings(proxy.url, deadline_s=0.5)
        found = listed(holdings, f"s3://{bucket.name}/p")
        proxy.answer(200, body=error_for("SlowDown", "p/2"))
        done = holdings.remove(found)
    assert [stored.address for stored in done.removed] == [f"s3://{bucket.name}/p/1"]
    assert [(one.code, one.retryable) for one in done.failed] == [("SlowDown", True)]
    assert done.error is None


def test_a_server_that_dies_in_the_middle(unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gone, what nobody knows of, and what was not tried make up all; a second call does the rest."""
    monkeypatch.setattr(buckets, "BATCH", 10)
    monkeypatch.setattr(buckets, "THREADS", 2)
    with S3Server() as server:
        mine = Bucket("mine", server.access, server.add_account("mine", ["mine"]), server.client())
        mine.put(*(f"p/{number}" for number in range(60)))
        with FaultProxy(server.endpoint_url) as proxy:
            holdings = mine.holdings(proxy.url, deadline_s=1)
            found = listed(holdings, "s3://mine/p")
            batches: list[Removal] = []

            def note(batch: Removal) -> None:
                batches.append(batch)
                proxy.refuse()

            done = holdings.remove(found, on_batch=note)
            assert done.error is not None
            assert done.error.retryable
            assert all(failure.retryable for failure in done.failed)
            assert done.untried
            assert len(done.removed) + len(done.failed) + len(done.untried) == 60
            assert sum(len(batch.removed) for batch in batches) == len(done.removed) >= 10
            assert mine.keys() <= {stored.address.split("/", 3)[3] for stored in found} - {
                stored.address.split("/", 3)[3] for stored in done.removed
            }
            proxy.pass_on()
            assert len(holdings.remove(found).removed) == 60
            assert mine.keys() == set()


def test_wrong_keys_end_it_and_stop_does(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "BATCH", 2)
    monkeypatch.setattr(buckets, "THREADS", 1)
    bucket.put(*(f"p/{number}" for number in range(6)))
    found = listed(bucket.holdings(), f"s3://{bucket.name}/p")
    wrong = replace(bucket.account, secret_access_key="0" * 40)
    done = bucket.holdings(account=wrong).remove(found)
    assert done.error is not None
    assert done.error.code == "SignatureDoesNotMatch"
    assert (len(done.failed), len(done.untried)) == (2, 4)
    stop = threading.Event()
    done = bucket.holdings().remove(found, on_batch=lambda _: stop.set(), stop=stop)
    assert (len(done.removed), len(done.untried), done.error) == (2, 4, None)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (501, "<Error><Code>NotImplemented</Code></Error>"),
        (405, "<Error><Code>MethodNotAllowed</Code></Error>"),
        (400, "<Error><Code>MalformedXML</Code></Error>"),
        (200, "<ListBucketResult/>"),
    ],
)
def test_servers_that_do_not_delete_several_at_once(bucket: Bucket, status: int, body: str) -> None:
    bucket.put(*(f"p/{number}" for number in range(5)))
    with FaultProxy(bucket.server.endpoint_url) as proxy:
        holdings = bucket.holdings(proxy.url)
        found = listed(holdings, f"s3://{bucket.name}/p")
        proxy.fail_next(1, status, body=body)
        done = holdings.remove(found)
    assert (len(done.removed), done.failed, bucket.keys()) == (5, (), set())


def test_errors_that_do_not_say_which(bucket: Bucket) -> None:
    """Then each key is deleted by itself, and the truth is known."""
    bucket.put("p/1", "p/2")
    with FaultProxy(bucket.server.endpoint_url) as proxy:
        holdings = bucket.holdings(proxy.url)
        found = listed(holdings, f"s3://{bucket.name}/p")
        proxy.fail_next(1, 200, body=error_for("AccessDenied", "something else"))
        done = holdings.remove(found)
    assert (len(done.removed), done.failed, bucket.keys()) == (2, (), set())


@pytest.mark.parametrize("kind", ["swift", "rclone"])
def test_other_servers(kind: str, request: pytest.FixtureRequest, unique: str, tmp_path: Path) -> None:
    name = f"r-{unique[-8:]}"
    if kind == "swift":
        swift: SwiftAccess = request.getfixturevalue("swift_server")
        account, endpoint_url = swift.add_account(unique, [name]), swift.endpoint_url
        client = swift.client(account)
        names = [name for name in NASTY if name not in ("./.", "/", "//x", "x//y/")]
    else:
        rclone: RcloneAccess = request.getfixturevalue("rclone_server")
        account, endpoint_url, client = rclone.account, rclone.endpoint_url, rclone.client()
        client.create_bucket(Bucket=name)
        names = ["plain", "two words", "größe/日本語", "a%2Fb%20c", "a+b&c=d;e,f", "<&>'\"]]>"]
    for key in names:
        client.put_object(Bucket=name, Key=f"p/{key}", Body=b"1")
    client.put_object(Bucket=name, Key="p1/x", Body=b"1")
    begun = client.create_multipart_upload(Bucket=name, Key="p/upload") if kind == "swift" else None
    holdings = Holdings(access_to(endpoint_url, account))
    found = listed(holdings, f"s3://{name}/p")
    expected = {f"s3://{name}/p/{key}" for key in names} | ({f"s3://{name}/p/upload"} if begun else set())
    assert {stored.address for stored in found} == expected
    done = holdings.remove(found)
    assert (set(done.removed), done.failed, done.error) == (set(found), (), None)
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=name).get("Contents", ())] == ["p1/x"]
