"""An S3 server that keeps objects in memory and checks nothing: what is left is the clients' own work.

    python -m benchmarks.memory_s3

It prints its port. Sockets are served by threads which read into and write from large buffers, so that the kernel's
copying, and not Python, sets the pace of large bodies. `GET /-/counts` tells how many bodies, and how many bytes of
them, it was sent; `DELETE /-/objects` forgets all objects.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_CHUNK_BYTES = 1 << 20
_DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@dataclass
class _Object:
    parts: list[memoryview]
    etag: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(len(part) for part in self.parts)

    def slices(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the bytes of a range, without copying."""
        for part in self.parts:
            if start < len(part) and stop > 0:
                yield part[max(0, start) : stop]
            start, stop = start - len(part), stop - len(part)


@dataclass
class _Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: memoryview


class _Store:
    """The objects of all buckets, uploads in parts, and what was counted."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.objects: dict[str, _Object] = {}
        self.uploads: dict[str, tuple[str, dict[str, str], dict[int, _Object]]] = {}
        self.counts = {"bodies": 0, "bytes": 0, "requests": 0}

    def count(self, request: _Request) -> None:
        with self.lock:
            self.counts["requests"] += 1
            if request.method == "PUT" and len(request.body):
                self.counts["bodies"] += 1
                self.counts["bytes"] += len(request.body)


_Answer = tuple[int, dict[str, str], list[memoryview]]


def _xml(text: str, status: int = 200) -> _Answer:
    return (
        status,
        {"Content-Type": "application/xml"},
        [memoryview(b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode())],
    )


def _kept(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("x-amz-meta-") or name == "content-type"}


def _etag(body: memoryview) -> str:
    # An MD5 would be the server's work and not the clients'; this one is not taken for one.
    return f'"{hashlib.blake2b(body[:64], digest_size=8).hexdigest()}-m"'


def answer(store: _Store, request: _Request) -> _Answer:
    """Return status, headers and body."""
    store.count(request)
    if request.path == "/-/objects":
        with store.lock:
            store.objects.clear()
            store.uploads.clear()
        return 204, {}, []
    if request.path == "/-/counts":
        return 200, {}, [memoryview(json.dumps(store.counts).encode())]
    if request.path.strip("/").count("/") == 0:
        return _bucket(store, request)
    known: dict[str, Callable[[_Store, _Request], _Answer]] = {
        "PUT": _put, "POST": _post, "GET": _get, "HEAD": _get, "DELETE": _delete,
    }  # fmt: skip
    return known[request.method](store, request)


def _bucket(store: _Store, request: _Request) -> _Answer:
    if request.method != "GET" or "location" in request.query:
        return 200, {}, []
    if "uploads" in request.query:
        return _xml("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>")
    base = request.path.rstrip("/") + "/"
    prefix = base + request.query.get("prefix", "")
    after = base + request.query.get("continuation-token", request.query.get("start-after", ""))
    with store.lock:
        names = sorted(name for name in store.objects if name.startswith(prefix) and name > after)
        found = [(name, store.objects[name]) for name in names[:1000]]
    rows = "".join(
        f"<Contents><Key>{escape(name.removeprefix(base))}</Key><LastModified>2026-10-21T07:28:00.000Z</LastModified>"
        f"<ETag>{escape(item.etag)}</ETag><Size>{item.size_bytes}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for name, item in found
    )
    more = len(names) > len(found)
    token = f"<NextContinuationToken>{escape(found[-1][0].removeprefix(base))}</NextContinuationToken>" if more else ""
    return _xml(
        f"<ListBucketResult><Name>b</Name><Prefix/><KeyCount>{len(found)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
    )


def _put(store: _Store, request: _Request) -> _Answer:
    made = _Object([request.body], _etag(request.body), _kept(request.headers))
    with store.lock:
        if "uploadId" in request.query:
            store.uploads[request.query["uploadId"]][2][int(request.query["partNumber"])] = made
        else:
            store.objects[request.path] = made
    # As a server that has verified it says so.
    echoed = {name: value for name, value in request.headers.items() if name.startswith("x-amz-checksum-crc32c")}
    return 200, {"ETag": made.etag, **echoed}, []


def _post(store: _Store, request: _Request) -> _Answer:
    with store.lock:
        if "uploads" in request.query:
            upload_id = f"u{len(store.uploads) + 1}"
            store.uploads[upload_id] = (request.path, _kept(request.headers), {})
            return _xml(
                f"<InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
            )
        path, headers, parts = store.uploads[request.query["uploadId"]]
        whole = _Object([part.parts[0] for _, part in sorted(parts.items())], f'"{len(parts)}-m"', headers)
        store.objects[path] = whole
    return _xml(f"<CompleteMultipartUploadResult><ETag>{escape(whole.etag)}</ETag></CompleteMultipartUploadResult>")


def _get(store: _Store, request: _Request) -> _Answer:
    if "uploadId" in request.query:
        return _xml("<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>")
    with store.lock:
        found = store.objects.get(request.path)
    if found is None:
        return _xml("<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>", 404)
    size = found.size_bytes
    headers = {"ETag": found.etag, "Last-Modified": _DATE, "Accept-Ranges": "bytes", **found.headers}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if asked is None:
        return 200, headers | {"Content-Length": str(size)}, [] if request.method == "HEAD" else found.parts
    start, stop = int(asked[1]), min(size, int(asked[2] or size - 1) + 1)
    headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{size}", "Content-Length": str(stop - start)}
    return 206, headers, list(found.slices(start, stop))


def _delete(store: _Store, request: _Request) -> _Answer:
    with store.lock:
        store.objects.pop(request.path, None)
    return 204, {}, []


def _serve(store: _Store, connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        with connection:
            for request in _requests(connection):
                status, headers, body = answer(store, request)
                headers.setdefault("Content-Length", str(sum(len(part) for part in body)))
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                head = f"HTTP/1.1 {status} OK\r\n{lines}\r\n".encode()
                connection.sendall(head + bytes(body[0]) if len(body) == 1 and len(body[0]) < 1 << 16 else head)
                for part in body if len(body) != 1 or len(body[0]) >= 1 << 16 else ():
                    for start in range(0, len(part), _CHUNK_BYTES):
                        connection.sendall(part[start : start + _CHUNK_BYTES])
    except (OSError, ValueError):
        return


def _requests(connection: socket.socket) -> Iterator[_Request]:
    have = b""
    while True:
        while b"\r\n\r\n" not in have:
            data = connection.recv(1 << 16)
            if not data:
                return
            have += data
        head, _, have = have.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "expect" in headers:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, have = _body(connection, headers, have)
        method, target, _ = first.split(" ")
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        yield _Request(method, unquote(url.path), query, headers, body)


def _body(connection: socket.socket, headers: dict[str, str], have: bytes) -> tuple[memoryview, bytes]:
    size = int(headers.get("content-length", 0))
    body = memoryview(bytearray(size))
    taken = min(size, len(have))
    body[:taken] = have[:taken]
    while taken < size:
        count = connection.recv_into(body[taken:], min(size - taken, _CHUNK_BYTES))
        if not count:
            raise ValueError("cut off")
        taken += count
    if "aws-chunked" in headers.get("content-encoding", ""):
        return memoryview(_unchunked(bytes(body))), have[size:]
    return body, have[min(size, len(have)) :]


def _unchunked(body: bytes) -> bytes:
    found, position = [], 0
    while True:
        end = body.index(b"\r\n", position)
        size = int(body[position:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(found)
        found.append(body[end + 2 : end + 2 + size])
        position = end + 4 + size


def main() -> None:
    """Serve until killed."""
    store = _Store()
    listener: Any = socket.create_server(("127.0.0.1", 0), backlog=256)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(store, connection), daemon=True).start()


if __name__ == "__main__":
    main()
