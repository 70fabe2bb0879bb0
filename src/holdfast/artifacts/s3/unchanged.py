"""Which files are in the bucket already, with this very content.

One listing serves a whole folder; its ETags are MD5 sums as long as the objects were stored in one piece and not
encrypted with KMS. For others the object itself is asked: it keeps its CRC-32C in its metadata.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from holdfast.artifacts.s3.connection import S3Connection
from holdfast.artifacts.s3.content import Upload, crc_in
from holdfast.artifacts.s3.fast_store import fits
from holdfast.artifacts.s3.faults import fault_of
from holdfast.core.crc import to_text
from holdfast.errors import ArtifactError

_PAGE = 1000
# A folder that holds far more than is being stored is not listed to its end.
_SPARE_PAGES = 3
_MD5 = re.compile(r"[0-9a-f]{32}")


class Found(NamedTuple):
    """What a bucket has under a key.

    Attributes:
        size: Its size in bytes.
        etag: Its ETag without quotes.
        crc: The CRC-32C that its metadata has; None where it was not asked yet, empty where it has none.
    """

    size: int
    etag: str
    crc: str | None = None


class Present:
    """What a bucket has of the files that are to be stored; threads may share it.

    Args:
        connection: The way to it.
        bucket: The bucket.
        uploads: The files that go there.
        stop: Ends the waiting.
    """

    def __init__(self, connection: S3Connection, bucket: str, uploads: Sequence[Upload], stop: threading.Event) -> None:
        self._connection = connection
        self._bucket = bucket
        self._stop = stop
        self._has_md5s = False
        # boto3 learns more from a first answer; obstore is many times faster for thousands.
        self._is_fast = False
        self._found: dict[str, Found] = {}
        try:
            if len(uploads) == 1:
                found = self.ask(uploads[0])
                self._found = {uploads[0].key: found} if found else {}
            else:
                self._found = self._listed([upload.key for upload in uploads])
                self._is_fast = connection.uses_store
        except ArtifactError as error:
            # Whoever may only write is served too: then everything is sent. What else is wrong, that will show.
            if error.retryable:
                raise

    def may_have(self, upload: Upload) -> bool:
        """Whether there is an object of its name and size."""
        found = self._found.get(upload.key)
        return found is not None and found.size == upload.size

    def has(self, upload: Upload, content: bytes | bytearray, crc: int) -> bool:
        """Whether the bucket holds this very content there.

        Args:
            upload: The file.
            content: All of it.
            crc: Its CRC-32C.
        """
        if not self.may_have(upload):
            return False
        found = self._found[upload.key]
        if _MD5.fullmatch(found.etag) and hashlib.md5(content, usedforsecurity=False).hexdigest() == found.etag:
            self._has_md5s = True
            return True
        # Where one ETag was an MD5 the others are, so this content is another.
        return not (self._has_md5s and _MD5.fullmatch(found.etag)) and self.has_crc(upload, crc)

    def has_crc(self, upload: Upload, crc: int) -> bool:
        """Whether the bucket holds a file of this size and CRC-32C there, as the object itself says."""
        if not self.may_have(upload):
            return False
        found: Found | None = self._found[upload.key]
        if found is not None and found.crc is None:
            try:
                found = self.ask(upload)
            except ArtifactError as error:
                if error.retryable:
                    raise
                return False
        return found is not None and found.size == upload.size and found.crc == to_text(crc)

    def ask(self, upload: Upload) -> Found | None:
        """Return what the bucket has there, by a HEAD; None for nothing."""
        return self._connection.run(
            upload.doing, self._bucket, upload.key, lambda: self._head(upload.key), stop=self._stop
        )

    def _head(self, key: str) -> Found | None:
        if self._is_fast and fits(key):
            return _fast_head(self._connection.store(self._bucket), key)
        try:
            said = self._connection.client(self._bucket).head_object(Bucket=self._bucket, Key=key)
        except Exception as error:
            if fault_of(error).status == 404:
                return None
            raise
        return Found(said["ContentLength"], _bare(said.get("ETag")), crc_in(said.get("Metadata", {})))

    def _listed(self, keys: Sequence[str]) -> dict[str, Found]:
        # Cut after a slash, as the prefixes are that a policy allows to list.
        shared = os.path.commonprefix([min(keys), max(keys)])  # noqa: RUF071 - keys are texts, no paths
        prefix = shared[: shared.rfind("/") + 1]
        wanted, last = set(keys), max(keys)
        found: dict[str, Found] = {}
        token: str | None = None
        for _ in range(len(keys) // _PAGE + 1 + _SPARE_PAGES):
            page = self._page(prefix, token)
            found |= {
                entry["Key"]: Found(entry["Size"], _bare(entry.get("ETag")))
                for entry in page.get("Contents", ())
                if entry["Key"] in wanted
            }
            token = page.get("NextContinuationToken")
            if not token or page["Contents"][-1]["Key"] >= last:
                break
        return found

    def _page(self, prefix: str, token: str | None) -> Mapping[str, Any]:
        more: dict[str, Any] = {"ContinuationToken": token} if token else {}
        return self._connection.run(
            "list",
            self._bucket,
            prefix,
            lambda: self._connection.client(self._bucket).list_objects_v2(
                Bucket=self._bucket, Prefix=prefix, MaxKeys=_PAGE, **more
            ),
            stop=self._stop,
        )


def _fast_head(store: Any, key: str) -> Found | None:
    import obstore

    get: Any = obstore.get
    try:
        said = get(store, key, options={"head": True})
    except FileNotFoundError:
        return None
    return Found(said.meta["size"], _bare(said.meta["e_tag"]), crc_in(said.attributes))


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"').lower()
