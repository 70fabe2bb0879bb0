"""Hiding objects under delete markers, and bringing back just those."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.removal import trash as trash_module
from holdfast.artifacts.removal.buckets import versioning_of
from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.removal.outcomes import Removal, Versioning
from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.pages import version_pages
from holdfast.core.cleanup.records import Form, StoredObject
from holdfast.errors import InvalidInputError
from holdfast.settings import Credentials
from holdfast.testing import FaultProxy
from holdfast.testing import S3Access as Server

pytestmark = pytest.mark.timeout(120)
NAMES = ["plain", "größe", "a%2Fb", "end ", "<&>", "p", "p1"]


class World:
    def __init__(self, server: Server, name: str, unique: str) -> None:
        self.server, self.name = server, name
        self.account = server.add_account(unique, [name])
        self.client: Any = server.client()
        self.holdings = self.through(server.endpoint_url)

    def through(self, url: str) -> Holdings:
        keys = Credentials(
            "project", "arguments", self.account.access_key_id, SecretStr(self.account.secret_access_key)
        )
        return Holdings(S3Access(keys, endpoint_url=url, deadline_s=20))

    def put(self, *keys: str) -> None:
        for key in keys:
            self.client.put_object(Bucket=self.name, Key=key, Body=b"1")

    def versioning(self, status: str) -> None:
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": status})

    def listed(self, form: Form = Form.OBJECT) -> list[StoredObject]:
        pages = self.holdings.list_place(f"s3://{self.name}/p")
        return [stored for page in pages for stored in page if stored.form is form]


@pytest.fixture
def world(s3_server: Server, unique: str) -> World:
    return World(s3_server, f"t-{unique[-8:]}", unique)


def test_there_and_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash_module, "BATCH", 3)
    world.put("p/before", "p/before2")  # their version is `null`
    world.versioning("Enabled")
    world.put(*(f"p/{name}" for name in NAMES), "px")
    found, told = world.listed(), list[Removal]()
    done = world.holdings.trash(found, told.append)
    assert (len(done.markers), done.failed, done.error) == (len(found), (), None)
    assert {marker for batch in told for marker in batch.removed} == set(done.markers)
    assert world.listed() == []
    hidden = {(stored.address, stored.version_id) for stored in world.listed(Form.MARKER)}
    assert hidden == {(marker.address, marker.version_id) for marker in done.markers}
    back = world.holdings.untrash(done.markers)
    assert (set(back.removed), back.failed) == (set(done.markers), ())
    assert {(stored.address, stored.version_id) for stored in world.listed()} == {
        (stored.address, stored.version_id) for stored in found
    }
    assert len(world.holdings.untrash(done.markers).removed) == len(found)  # once more changes nothing
    assert len(world.listed()) == len(found)


def test_what_was_written_since_is_left(world: World) -> None:
    world.versioning("Enabled")
    world.put("p/again", "p/purged", "p/fine")
    markers = world.holdings.trash(world.listed()).markers
    world.put("p/again")
    for stored in world.listed(Form.OLD):
        if stored.address.endswith("purged"):
            world.client.delete_object(Bucket=world.name, Key="p/purged", VersionId=stored.version_id)
    done = world.holdings.untrash(markers)
    assert {failure.address.rpartition("/")[2]: failure.code for failure in done.failed} == {
        "again": "WrittenAgain",
        "purged": "NothingUnder",
    }
    assert [marker.address.rpartition("/")[2] for marker in done.removed] == ["fine"]


@pytest.mark.parametrize("most", [1, 4, 10**9], ids=["all in one listing", "as it is", "one by one"])
def test_many_come_back_whatever_lies_between(world: World, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(trash_module, "_REQUESTS_SAVED", most)
    monkeypatch.setattr(trash_module, "_UNCOVERED_AT_ONCE", 7)
    monkeypatch.setattr(version_pages, "__defaults__", (3, ""))
    world.versioning("Enabled")
    names = [f"p/{number:02}" for number in range(20)]
    world.put(*names, *names[::3])
    hidden = [stored for stored in world.listed() if int(stored.address[-2:]) % 5]
    markers = list(world.holdings.trash(hidden).markers)
    assert len(world.listed()) == 4
    back = world.holdings.untrash([*reversed(markers), replace(markers[0], version_id="gone")])
    assert (len(back.removed), back.failed, back.error) == (len(markers) + 1, (), None)
    assert len(world.listed()) == 20
    assert not world.listed(Form.MARKER)


@pytest.mark.parametrize("status", ["", "Suspended"])
def test_only_where_versions_are_kept(world: World, status: str) -> None:
    if status:
        world.versioning(status)
    world.put("p/x")
    done = world.holdings.trash(world.listed())
    assert (done.markers, [failure.code for failure in done.failed]) == ((), ["NotVersioned"])
    assert len(world.listed()) == 1


def test_a_lost_answer_leaves_one_marker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second marker over the first would keep the object hidden when the second is removed."""
    world.versioning("Enabled")
    world.put("p/1", "p/end ")  # one in a request with others, one in a request of its own
    with FaultProxy(world.server.endpoint_url) as proxy:

        def then_lose_an_answer(connection: S3Connection, bucket: str) -> Versioning:
            found = versioning_of(connection, bucket)
            proxy.fail_next(1, "drop_answers")
            return found

        monkeypatch.setattr(trash_module, "versioning_of", then_lose_an_answer)
        holdings = world.through(proxy.url)
        done = [holdings.trash([stored]) for stored in world.listed()]
    assert [trashed.failed for trashed in done] == [(), ()]
    markers = [marker for trashed in done for marker in trashed.markers]
    assert len(world.client.list_object_versions(Bucket=world.name)["DeleteMarkers"]) == len(markers) == 2
    assert len(world.holdings.untrash(markers).removed) == 2
    assert len(world.listed()) == 2


def test_what_cannot_be_trashed(world: World) -> None:
    world.versioning("Enabled")
    world.put("p/x", "p/x")
    done = world.holdings.trash(world.listed(Form.OLD))
    assert [failure.code for failure in done.failed] == ["NotCurrent"]
    with pytest.raises(InvalidInputError):
        world.holdings.trash([StoredObject("/a/file", 1, None)])
    with pytest.raises(InvalidInputError):
        world.holdings.untrash(world.listed())
