"""What a key may not do, and what a server does wrong, when the doctor stores, reads and deletes its probes."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest
from s3_examining import PREFIX, Answer, Project, bad, error, finding_of, relay

from holdfast.bucket.arns import Place
from holdfast.bucket.policy import Needs, role_policy
from holdfast.core.locations import PROBES
from holdfast.doctor.check import Status
from holdfast.doctor.examine import examine
from holdfast.errors import InvalidInputError
from holdfast.testing import S3Access

OK, SKIPPED, WARNING, FAILED = Status.OK, Status.SKIPPED, Status.WARNING, Status.FAILED
ROUND_TRIP = (
    *("s3.put", "s3.get", "s3.head", "s3.list", "s3.delete", "s3.leftovers", "s3.multipart", "s3.abort"),
    *("s3.checksums", "s3.conditional_put", "s3.range", "s3.rate"),
)


@pytest.fixture
def project(s3_server: S3Access, unique: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a bucket of its own, which is looked at afterwards."""
    found = Project.at(s3_server, unique, f"rights-{unique[-8:]}", tmp_path_factory.mktemp("project"))
    yield found
    found.check_untouched()


def denied(project: Project, server: S3Access, *actions: str) -> Project:
    """Return the project with a key that may do all but these."""
    name = f"{project.account.name}-denied"
    return replace(project, account=server.add_account(name, [project.bucket], actions))


def remove_all(project: Project) -> list[str]:
    """Take away what was left behind; return the keys."""
    where = {"Bucket": project.bucket}
    keys = [found["Key"] for found in project.client.list_objects_v2(**where).get("Contents", ())]
    for key in keys:
        project.client.delete_object(**where, Key=key)
    uploads = project.client.list_multipart_uploads(**where).get("Uploads", ())
    for found in uploads:
        project.client.abort_multipart_upload(**where, Key=found["Key"], UploadId=found["UploadId"])
    return [*keys, *(found["Key"] for found in uploads)]


DENIED = [
    ("PutObject", {"s3.put": FAILED}),
    ("GetObject", {"s3.get": FAILED, "s3.head": FAILED}),
    ("ListBucket", {"s3.list": FAILED}),
    ("ListMultipartUploadParts", {"s3.multipart": WARNING}),
    ("ListBucketMultipartUploads", {"s3.abort": WARNING}),
]


@pytest.mark.parametrize(("action", "expected"), DENIED, ids=[action for action, _ in DENIED])
def test_each_right_that_is_missing_is_named(
    project: Project, s3_server: S3Access, action: str, expected: dict[str, Status]
) -> None:
    report = denied(project, s3_server, f"s3:{action}").examine(*ROUND_TRIP)
    assert bad(report) == expected
    assert not report.left_behind
    for check in expected:
        finding = finding_of(report, check)
        assert f"s3:{action}" in finding.found
        or_read = ", or, if it shall only read: holdfast doctor --role reader" if check == "s3.put" else ""
        assert finding.remedy == f"give the key the rights that `holdfast s3 policy --role writer` prints{or_read}"


def test_a_key_that_may_not_delete_leaves_one_object_and_says_which(project: Project, s3_server: S3Access) -> None:
    report = denied(project, s3_server, "s3:DeleteObject").examine(*ROUND_TRIP)
    assert bad(report) == {"s3.delete": FAILED}
    assert "may not do s3:DeleteObject" in finding_of(report, "s3.delete").found
    (left,) = report.left_behind
    assert remove_all(project) == [left.removeprefix(f"s3://{project.bucket}/")]


def test_a_key_that_may_not_abort_leaves_an_upload_and_says_which(project: Project, s3_server: S3Access) -> None:
    report = denied(project, s3_server, "s3:AbortMultipartUpload").examine(*ROUND_TRIP)
    assert bad(report) == {"s3.abort": FAILED}
    assert "may not do s3:AbortMultipartUpload" in finding_of(report, "s3.abort").found
    (left,) = report.left_behind
    assert left.endswith("/aborted (an upload in parts)")
    assert [f"s3://{project.bucket}/{key} (an upload in parts)" for key in remove_all(project)] == [left]


def test_a_key_that_may_only_read(project: Project, s3_server: S3Access) -> None:
    policy = role_policy("reader", Needs(Place(project.bucket, PREFIX)))
    reader = replace(project, account=s3_server.add_account(f"{project.account.name}-reader", policy=policy))
    report = reader.examine(*ROUND_TRIP)
    assert bad(report) == {"s3.put": FAILED}
    assert "the key may not do s3:PutObject" in finding_of(report, "s3.put").found
    assert "holdfast doctor --role reader" in finding_of(report, "s3.put").remedy


READ = ("s3.get", "s3.head", "s3.list", "s3.range", "s3.rate")


def test_as_a_reader_a_file_is_read_and_nothing_written(project: Project, s3_server: S3Access) -> None:
    policy = role_policy("reader", Needs(Place(project.bucket, PREFIX)))
    account = s3_server.add_account(f"{project.account.name}-reader", policy=policy)
    writes: list[str] = []

    def refuse(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        writes.extend([path] * (method not in ("GET", "HEAD") and path != "/"))  # STS is asked with POST /
        return None

    with relay(project.url, refuse) as url:
        mine = replace(project, url=url, account=account)
        empty = examine(mine.folder, mine.environ, role="reader")
        assert "there is no file yet" in finding_of(empty, "s3.list").found
        assert "no file below s3://" in finding_of(empty, "s3.get").found
        where = {"Bucket": project.bucket, "Key": f"{PREFIX}/7/model.bin"}
        project.client.put_object(**where, Body=b"x" * 70_000)
        report = examine(mine.folder, mine.environ, ["s3", "server"], role="reader")
        denied_list = replace(mine, account=s3_server.add_account(f"{project.account.name}-x", [], ["s3:*"]))
        other = examine(denied_list.folder, denied_list.environ, ["s3.bucket"], role="reader")
        project.client.delete_object(**where)
    assert not report.failures
    assert not writes
    assert {finding_of(report, name).status for name in READ} == {OK}
    assert "fetched 4096 of 70000 bytes" in finding_of(report, "s3.get").found
    for name in (*{*ROUND_TRIP} - {*READ}, "server.run", "server.artifacts"):
        assert finding_of(report, name).found == "nothing is written for a reader (--role reader)"
    assert "holdfast s3 policy --role reader" in finding_of(other, "s3.bucket").remedy


def test_a_reader_that_may_not_fetch_is_told_which_policy_it_lacks(project: Project, s3_server: S3Access) -> None:
    mine = denied(project, s3_server, "s3:GetObject")
    where = {"Bucket": project.bucket, "Key": f"{PREFIX}/7/model.bin"}
    project.client.put_object(**where, Body=b"x")
    report = examine(mine.folder, mine.environ, READ, role="reader")
    project.client.delete_object(**where)
    assert bad(report) == dict.fromkeys(("s3.get", "s3.head", "s3.range", "s3.rate"), FAILED)
    assert {result.finding.remedy for result in report.failures} == {
        "give the key the rights that `holdfast s3 policy --role reader` prints"
    }


def test_a_role_that_there_is_not(project: Project) -> None:
    with pytest.raises(InvalidInputError, match="no role 'purger'"):
        examine(project.folder, project.environ, role="purger")  # type: ignore[arg-type]


def test_what_the_settings_send_along_takes_rights_too(project: Project, s3_server: S3Access) -> None:
    mine = denied(project, s3_server, "s3:PutObjectTagging").having(HOLDFAST_S3_TAGGING="team=vision")
    finding = mine.find("s3.put")
    assert finding.status is FAILED
    assert "s3:PutObject and s3:PutObjectTagging" in finding.found
    good = project.having(HOLDFAST_S3_TAGGING="team=vision", HOLDFAST_S3_STORAGE_CLASS="STANDARD_IA")
    assert "with StorageClass, Tagging" in good.find("s3.put").found


def test_a_key_that_may_write_and_not_list_is_known_to_have_the_bucket(project: Project, s3_server: S3Access) -> None:
    finding = denied(project, s3_server, "s3:ListBucket").find("s3.bucket")
    assert (finding.status, "may write, and not list it" in finding.found) == (OK, True)


# -- servers that do something wrong -------------------------------------------------------


def test_a_server_without_uploads_in_parts(project: Project) -> None:
    def refuse(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        return error(501, "NotImplemented") if method == "POST" and "uploads" in path else None

    with relay(project.url, refuse) as url:
        report = replace(project, url=url).examine(*ROUND_TRIP)
    assert bad(report) == {"s3.multipart": FAILED, "s3.abort": FAILED}
    for check in ("s3.multipart", "s3.abort"):
        finding = finding_of(report, check)
        assert "does not know uploads in parts" in finding.found
        assert "use a server that knows uploads in parts" in finding.remedy


@pytest.mark.parametrize("status", [400, 501])
def test_a_server_that_refuses_checksums(project: Project, status: int) -> None:
    def refuse(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        code = "NotImplemented" if status == 501 else "InvalidRequest"
        return error(status, code) if {"x-amz-checksum-crc32c", "x-amz-checksum-algorithm"} & {*headers} else None

    with relay(project.url, refuse) as url:
        mine = replace(project, url=url)
        report = mine.examine(*ROUND_TRIP)
        assert bad(report) == {"s3.checksums": WARNING}
        assert finding_of(report, "s3.checksums").remedy == "set HOLDFAST_S3_CHECKSUMS=never"
        assert not bad(mine.having(HOLDFAST_S3_CHECKSUMS="never").examine("s3.checksums"))


def test_bytes_that_something_alters(project: Project) -> None:
    def alter(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and path.endswith("/object") and answer[2]:
            return answer[0], answer[1], answer[2][:-1] + bytes([answer[2][-1] ^ 1])
        return answer

    with relay(project.url, alter=alter) as url:
        report = replace(project, url=url).examine("s3.get", "s3.range")
    assert bad(report)["s3.get"] is FAILED
    assert "came back with other bytes than were stored" in finding_of(report, "s3.get").found


def test_metadata_that_something_drops(project: Project) -> None:
    def alter(method: str, path: str, answer: Answer) -> Answer:
        kept = {name: value for name, value in answer[1].items() if not name.startswith("x-amz-meta-")}
        return answer[0], kept, answer[2]

    with relay(project.url, alter=alter) as url:
        finding = replace(project, url=url).find("s3.head")
    assert (finding.status, "x-amz-meta-*" in finding.remedy) == (WARNING, True)


def test_a_storage_class_that_a_server_ignores(project: Project) -> None:
    def alter(method: str, path: str, answer: Answer) -> Answer:
        return answer[0], {name: value for name, value in answer[1].items() if name != "x-amz-storage-class"}, answer[2]

    with relay(project.url, alter=alter) as url:
        finding = replace(project, url=url).having(HOLDFAST_S3_STORAGE_CLASS="STANDARD_IA").find("s3.head")
    assert (finding.status, "keeps files in STANDARD" in finding.found) == (WARNING, True)
    assert "unset HOLDFAST_S3_STORAGE_CLASS" in finding.remedy


def test_a_listing_that_never_shows_what_was_stored(project: Project) -> None:
    def alter(method: str, path: str, answer: Answer) -> Answer:
        is_listing = method == "GET" and "list-type=2" in path
        return (200, {"content-type": "application/xml"}, b"<ListBucketResult/>") if is_listing else answer

    with relay(project.url, alter=alter) as url:
        finding = replace(project, url=url).find("s3.list")
    assert (finding.status, "is not in the listing 2 s later" in finding.found) == (FAILED, True)


def test_a_server_that_deletes_nothing(project: Project) -> None:
    def refuse(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        return (204, {}, b"") if method == "DELETE" else None

    with relay(project.url, refuse) as url:
        finding = replace(project, url=url).find("s3.delete")
    assert (finding.status, "is still there after it was deleted" in finding.found) == (FAILED, True)
    assert len(remove_all(project)) == 2


# -- versions, and what others have left ---------------------------------------------------


def test_versions_of_probes_go_where_the_key_may_delete_them(project: Project, s3_server: S3Access) -> None:
    project.client.put_bucket_versioning(Bucket=project.bucket, VersioningConfiguration={"Status": "Enabled"})
    policy = role_policy("writer", Needs(Place(project.bucket, PREFIX)))
    writer = replace(project, account=s3_server.add_account(f"{project.account.name}-writer", policy=policy))
    report = writer.examine(*ROUND_TRIP)
    assert not bad(report)
    assert not report.left_behind
    project.check_untouched()


def test_versions_of_probes_that_stay_are_told(project: Project, s3_server: S3Access) -> None:
    project.client.put_bucket_versioning(Bucket=project.bucket, VersioningConfiguration={"Status": "Enabled"})
    report = denied(project, s3_server, "s3:DeleteObjectVersion").examine(*ROUND_TRIP)
    assert not bad(report)
    assert not report.left_behind
    finding = finding_of(report, "s3.delete")
    assert "stays as non-current versions" in finding.found
    assert finding.details["leaves_versions"]
    listed = project.client.list_object_versions(Bucket=project.bucket)
    for found in (*listed["Versions"], *listed["DeleteMarkers"]):
        assert found["Key"].startswith(f"{PREFIX}/.holdfast-doctor/")
        project.client.delete_object(Bucket=project.bucket, Key=found["Key"], VersionId=found["VersionId"])


def test_what_an_examination_that_was_killed_has_left_is_found_and_taken_away(project: Project) -> None:
    def folder(minutes: float) -> str:
        began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=minutes)
        return f"{PREFIX}/.holdfast-doctor/{began:%Y%m%dT%H%M%SZ}-00ab12cd"

    where = {"Bucket": project.bucket}
    young = folder(1)
    mine = [f"{PREFIX}/.holdfast-doctor/notes.txt", f"{PREFIX}/run/model.pt", f"{young}/object", f"{young}/parts"]
    old = folder(6)
    for key in (*mine[:3], f"{old}/object", f"{old}/rate"):
        project.client.put_object(**where, Key=key, Body=b"x")
    for name in (f"{old}/parts", f"{old}/aborted", f"{young}/parts"):
        project.client.create_multipart_upload(**where, Key=name)
    finding = project.find("s3.leftovers")
    assert finding.status is WARNING
    assert "have left 2 objects and 2 unfinished uploads below" in finding.found
    assert "1 object and 1 unfinished upload younger than 5 min, perhaps of an examination under way" in finding.found
    assert finding.remedy == "holdfast doctor --only s3.leftovers --fix"
    assert finding.fix is not None
    assert "deleted 2 objects and 2 unfinished uploads" in finding.fix.apply()
    finding = project.find("s3.leftovers")
    assert (finding.status, "1 object and 1 unfinished upload younger than 5 min" in finding.found) == (OK, True)
    assert sorted(remove_all(project)) == sorted(mine)


def test_all_pages_of_unfinished_uploads_are_read(project: Project) -> None:
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    keys = [f"{PREFIX}/.holdfast-doctor/{began:%Y%m%dT%H%M%SZ}-00ab12cd/{number}" for number in range(3)]
    markers: list[str] = []

    def refuse(method: str, path: str, headers: dict[str, str]) -> Answer | None:
        query = dict(parse_qsl(urlsplit(path).query, keep_blank_values=True))
        if method != "GET" or "uploads" not in query or query.get("prefix", "").strip("/").rpartition("/")[2] != PROBES:
            return None
        markers.append(query.get("key-marker", ""))
        number = len(markers) - 1
        entry = f"<Upload><Key>{keys[number]}</Key><UploadId>u{number}</UploadId></Upload>"
        following = f"<NextKeyMarker>{keys[number]}</NextKeyMarker><NextUploadIdMarker>u{number}</NextUploadIdMarker>"
        is_cut = f"<IsTruncated>{str(number < 2).lower()}</IsTruncated>{following}"
        body = f"<ListMultipartUploadsResult>{is_cut}{entry}</ListMultipartUploadsResult>"
        return 200, {"content-type": "application/xml"}, body.encode()

    with relay(project.url, refuse) as url:
        finding = replace(project, url=url).find("s3.leftovers")
    assert (finding.status, "have left 3 unfinished uploads below" in finding.found) == (WARNING, True), finding
    assert markers == ["", *keys[:2]]


def test_uploads_that_may_not_be_asked_for_are_told(project: Project, s3_server: S3Access) -> None:
    finding = denied(project, s3_server, "s3:ListBucketMultipartUploads").find("s3.leftovers")
    assert (finding.status, "the key may not do s3:ListBucketMultipartUploads" in finding.found) == (OK, True), finding


def test_what_is_sent_stays_within_the_rate_that_is_set(project: Project) -> None:
    report = project.having(HOLDFAST_UPLOAD_RATE=str(512 << 10)).examine("s3.rate", "s3.multipart")
    assert not bad(report)
    assert 0 < finding_of(report, "s3.rate").details["up_mib_s"] <= 0.55
    assert "HOLDFAST_UPLOAD_RATE: 0.5" in finding_of(report, "s3.rate").found
    assert finding_of(report, "s3.multipart").details["parts"] == 1


def test_nothing_is_left_when_the_time_is_up(project: Project) -> None:
    def alter(method: str, path: str, answer: Answer) -> Answer:
        if method == "POST" and "uploads" in path:
            time.sleep(0.8)  # the upload is begun, and nobody hears of it in time
        return answer

    with relay(project.url, alter=alter) as url:
        report = examine(project.folder, replace(project, url=url).environ, ["s3"], total_s=0.9)
        for thread in threading.enumerate():
            if thread.name.startswith("doctor "):
                thread.join(10)
    assert finding_of(report, "s3.multipart").status in (FAILED, SKIPPED)
    assert report.left_behind == []
