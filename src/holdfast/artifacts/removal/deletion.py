"""Deleting many keys of one bucket: a thousand in one request, each answer of the server heard.

The server says of each key whether it is gone. What it asks to try again is tried again with the connection's
patience; where an answer was lost the same request is made anew, and what is gone by then counts as deleted.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.errors import needs_people
from holdfast.artifacts.s3.faults import Fault, one_line
from holdfast.artifacts.s3.listing import add_md5, read_xml
from holdfast.artifacts.team import in_parallel
from holdfast.errors import ArtifactError

BATCH = 1000  # what one DeleteObjects takes
_SINGLE_THREADS = 4
_GONE = ("NoSuchKey", "NoSuchVersion", "NoSuchUpload", "NotFound", "HTTP 404")
# How servers without DeleteObjects refuse it; the last two may be about the keys of one request alone.
_NO_BATCHES = ("NotImplemented", "XNotImplemented", "MethodNotAllowed", "HTTP 405", "HTTP 501", "NoBatches")
_NOT_THIS_BATCH = ("MalformedXML", "HTTP 400")
# XML cannot write these letters, or not every server reads them back as they were: then it would be another key's.
_AWKWARD = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|^\s|\s$")
_register_lock = threading.Lock()


class Wanted(NamedTuple):
    """What is to be deleted.

    Attributes:
        key: Its key.
        version_id: The version; empty for the key itself.
    """

    key: str
    version_id: str = ""


@dataclass
class Answers:
    """What the server said.

    Attributes:
        gone: What is deleted, each with the version id of the marker that hides it now, or an empty text.
        refused: What is not, and why.
        error: Why no further request has a chance; None where one has.
    """

    gone: dict[Wanted, str] = field(default_factory=dict)
    refused: dict[Wanted, ArtifactError] = field(default_factory=dict)
    error: ArtifactError | None = None


# Returns which of these keys have a marker by now, and which; asked before what may have been done is done again.
FindMarkers = Callable[[Iterable[Wanted]], Mapping[Wanted, str]]


class Deleter:
    """Deletes keys of one bucket. Threads may share it.

    Args:
        connection: The way there.
        bucket: Which bucket.
        stop: Ends the waiting between attempts.
        find_markers: Given where deleting makes markers: a second attempt would make a second one.
    """

    def __init__(
        self, connection: S3Connection, bucket: str, stop: threading.Event, find_markers: FindMarkers | None = None
    ) -> None:
        self._connection = connection
        self._bucket = bucket
        self._stop = stop
        self._find_markers = find_markers
        self._has_batches = True

    def delete(self, wanted: Sequence[Wanted]) -> Answers:
        """Delete keys or versions, at most a thousand; what is in neither part of the answers was not tried.

        Raises:
            CredentialsError: There can be no session.
        """
        answers = Answers()
        single = [one for one in wanted if not self._has_batches or _AWKWARD.search(one.key)]
        alone = set(single)
        together = _Together(self, answers, [one for one in wanted if one not in alone])
        unclear = together.delete()
        single += unclear
        if single:
            tasks = (partial(self._delete_one, one, answers) for one in single)
            in_parallel(tasks, min(_SINGLE_THREADS, len(single)), threading.Event())
        for one in unclear if together.was_heard else ():
            if one not in answers.gone:
                answers.refused.setdefault(one, _not_told(self._bucket, one))
        for one in answers.gone:
            answers.refused.pop(one, None)
        return answers

    def _delete_one(self, one: Wanted, answers: Answers) -> None:
        if answers.error is not None or self._stop.is_set():
            return
        tries = 0
        version = {"VersionId": one.version_id} if one.version_id else {}

        def call() -> str:
            nonlocal tries
            tries += 1
            if tries > 1 and (marked := self._markers([one])):
                return marked[one]
            answer = self._connection.client(self._bucket).delete_object(Bucket=self._bucket, Key=one.key, **version)
            return str(answer.get("VersionId") or "") if answer.get("DeleteMarker") else ""

        try:
            answers.gone[one] = self._run(one.key, call)
        except ArtifactError as error:
            if error.code in _GONE:
                answers.gone[one] = ""
                return
            answers.refused[one] = _explained(error, one)
            answers.error = answers.error or (error if is_fatal(error) else None)

    def _run(self, key: str, call: Callable[[], Any]) -> Any:
        found = self._connection.run("delete files", self._bucket, key, call, stop=self._stop)
        self._connection.progressed()
        return found

    def _markers(self, wanted: Iterable[Wanted]) -> Mapping[Wanted, str]:
        return self._find_markers(wanted) if self._find_markers else {}


class _Together:
    """One request for many keys, made again for those that the server asks to try again."""

    def __init__(self, deleter: Deleter, answers: Answers, wanted: Sequence[Wanted]) -> None:
        self._deleter = deleter
        self._answers = answers
        self._left = list(wanted)
        self._unclear: list[Wanted] = []
        self._was_sent = False
        # Whether the server knew the request, so that what it left unclear may be gone.
        self.was_heard = True

    def delete(self) -> list[Wanted]:
        """Delete them; return those that have to be deleted one by one."""
        if not self._left:
            return []
        try:
            self._deleter._run(self._left[0].key, self._attempt)
        except _AskedAgainError as error:
            self._refuse(error)
        except ArtifactError as error:
            if error.code in (*_NO_BATCHES, *_NOT_THIS_BATCH):
                self._deleter._has_batches &= error.code not in _NO_BATCHES
                self.was_heard = False
                return self._left + self._unclear
            self._refuse(error)
            if is_fatal(error):
                self._answers.error = error
        return self._unclear

    def _refuse(self, error: ArtifactError) -> None:
        self._answers.refused |= {one: _explained(error, one) for one in self._left}

    def _attempt(self) -> None:
        if self._was_sent:
            self._take({**self._deleter._markers(self._left)})
            if not self._left:
                return
        self._was_sent = True
        marks = self._deleter._find_markers is not None
        answer = _request(self._deleter._connection, self._deleter._bucket, self._left, not marks)
        again = self._hear(answer["Errors"])
        settled = [one for one in self._left if one not in again]
        markers = {said["Key"]: said.get("DeleteMarkerVersionId", "") for said in answer["Deleted"]} if marks else {}
        self._take({one: markers.get(one.key, "") for one in settled if one not in self._answers.refused})
        self._left = list(again)
        if again:
            self._deleter._connection.progressed() if settled else None
            raise next(iter(again.values()))

    def _take(self, gone: Mapping[Wanted, str]) -> None:
        self._answers.gone |= {one: marker for one, marker in gone.items() if one not in self._unclear}
        self._left = [one for one in self._left if one not in gone]

    def _hear(self, errors: Sequence[Mapping[str, str]]) -> dict[Wanted, _AskedAgainError]:
        """Sort what the server did not delete; return what it asks to try again."""
        again: dict[Wanted, _AskedAgainError] = {}
        names = Counter(one.key for one in self._left)
        exact = {(one.key, one.version_id): one for one in self._left}
        alone = {one.key: one for one in self._left if names[one.key] == 1}
        for said in errors:
            key, version_id = said.get("Key", ""), said.get("VersionId", "")
            one = exact.get((key, version_id)) or alone.get(key)
            if one is None:  # of which version, or of which key, it does not say
                self._unclear += [one for one in self._left if one.key == key] or self._left
            elif (fault := _fault_of(said)).code in _GONE:
                continue
            elif fault.is_transient:
                again[one] = _AskedAgainError.of(fault, self._deleter._bucket, one)
            else:
                self._answers.refused[one] = _explained(_refusal(fault, self._deleter._bucket, one), one)
        self._unclear = list(dict.fromkeys(self._unclear))
        return {one: asked for one, asked in again.items() if one not in self._unclear}


class _AskedAgainError(ArtifactError):
    """The server asks to try some keys of a request again; what the connection makes of it, it does so with pauses."""

    # As of botocore's own errors.
    response: Mapping[str, Any]

    @classmethod
    def of(cls, fault: Fault, bucket: str, one: Wanted) -> _AskedAgainError:
        """Return it for one key."""
        error = cls(_refusal(fault, bucket, one).message, "try again later", retryable=True, code=fault.code)
        error.response = {
            "Error": {"Code": fault.code, "Message": fault.text},
            "ResponseMetadata": {"HTTPStatusCode": fault.status or 503},
        }
        return error


def is_fatal(error: ArtifactError) -> bool:
    """Whether no other request would fare better: the server is gone, or the keys are no good."""
    if error.code in ("AccessDenied", "AllAccessDisabled") or isinstance(error, _AskedAgainError):
        return False
    return error.retryable or needs_people(error)


def _request(connection: S3Connection, bucket: str, wanted: Sequence[Wanted], quiet: bool) -> dict[str, Any]:
    objects = [{"Key": key, "VersionId": version} if version else {"Key": key} for key, version in wanted]
    client = connection.client(bucket)
    with _register_lock:
        client.meta.events.register("before-call.s3.DeleteObjects", add_md5, unique_id="removal-md5")
        client.meta.events.register("before-parse.s3.DeleteObjects", _read_answer, unique_id="removal-answer")
    answer: dict[str, Any] = client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": quiet})
    if "Errors" not in answer or "Deleted" not in answer:
        # A server that answers with something else has not heard what it was asked for.
        raise ArtifactError(f"The server of s3://{bucket} does not delete several files at once.", code="NoBatches")
    return answer


def _read_answer(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Read an answer in botocore's place, which is slow, and takes whatever else a server says for no errors."""
    read = read_xml(response_dict)
    if read is None:
        return
    if read.root.tag.removeprefix(read.space) in ("DeleteResult", "DeleteObjectsResult", "DeleteObjectsOutput"):
        for name, tag in (("Errors", "Error"), ("Deleted", "Deleted")):
            items = read.root.iterfind(f"{read.space}{tag}")
            customized_response_dict[name] = [
                {child.tag.removeprefix(read.space): child.text or "" for child in item} for item in items
            ]
    if read.root.tag.removeprefix(read.space) != "Error":
        response_dict["body"] = b"<DeleteResult/>"


def _fault_of(said: Mapping[str, str]) -> Fault:
    code = said.get("Code", "")
    # rclone and others give a status where S3 has a word.
    return Fault(code, int(code) if code.isdecimal() else 0, one_line(said.get("Message", "")))


def _refusal(fault: Fault, bucket: str, one: Wanted) -> ArtifactError:
    text = f"{fault.code}: {fault.text}" if fault.text and fault.text != fault.code else fault.code or fault.text
    return ArtifactError(f"Cannot delete s3://{bucket}/{one.key}: {text}", code=fault.code)


def _not_told(bucket: str, one: Wanted) -> ArtifactError:
    return ArtifactError(f"Nobody knows whether s3://{bucket}/{one.key} is deleted.", "try again", True, "NotTold")


def _explained(error: ArtifactError, one: Wanted) -> ArtifactError:
    """Return the refusal with what mends it."""
    if error.code not in ("AccessDenied", "AllAccessDisabled", "InvalidRequest"):
        return error
    low = error.message.lower()
    if "mfa" in low.replace("-", "").split() or "multi-factor" in low or "mfa authentication" in low:
        hint = "the bucket has MFA delete: delete it with a key and a code of its owner"
    elif "object lock" in low or "retention" in low or "legal hold" in low or "worm" in low:
        hint = "it is protected by object lock until its retention ends or its legal hold is lifted"
    elif error.code == "InvalidRequest":
        return error
    else:
        action = "s3:DeleteObjectVersion" if one.version_id else "s3:DeleteObject"
        hint = f"let the key do {action} there; see whether it is under object lock"
    return ArtifactError(error.message, hint, error.retryable, error.code)
