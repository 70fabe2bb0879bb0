"""What is found out about a server from its answers: region, host names, checksums; each server speaks one dialect."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import google_crc32c
import pytest
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.s3 import S3Files
from holdfast.artifacts.transfer import Item
from holdfast.settings import Credentials

MIB = 1 << 20
SIZES = (1000, 2 * MIB, 18 * MIB)  # by obstore, by boto3, in parts


@dataclass
class Peculiar:
    """A server that takes what it is sent as one S3 server or another would, and checks it."""

    region: str = "us-east-1"
    says_region: str = "header"
    verifies: bool = False
    refuses_checksums: int = 0
    wants_virtual: bool = False
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    stored: dict[str, int] = field(default_factory=dict)

    def answer(self, method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], str]:
        """Return status, headers and body."""
        self.seen.append((method, url, headers))
        refusal = self._refusal(headers)
        if refusal is not None:
            return refusal
        return self._store(url, headers, body) if method == "PUT" else _other(method, url)

    def _refusal(self, headers: dict[str, str]) -> tuple[int, dict[str, str], str] | None:
        if f"/{self.region}/s3/aws4_request" not in headers["authorization"]:
            return self._elsewhere()
        if self.wants_virtual and not headers["host"].startswith("models."):
            return 403, {}, _error("SecondLevelDomainForbidden")
        if self.refuses_checksums and any("x-amz-checksum" in name for name in headers):
            code = "NotImplemented" if self.refuses_checksums == 501 else "InvalidRequest"
            return self.refuses_checksums, {}, _error(code)
        return None

    def _store(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], str]:
        hashed = headers["x-amz-content-sha256"]
        if hashed not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            return 400, {}, _error("XAmzContentSHA256Mismatch")
        crc = base64.b64encode(google_crc32c.value(body).to_bytes(4, "big")).decode()
        if headers.get("x-amz-checksum-crc32c", crc) != crc:
            return 400, {}, _error("BadDigest")
        self.stored[url] = len(body)
        echo = {"x-amz-checksum-crc32c": crc} if self.verifies and "x-amz-checksum-crc32c" in headers else {}
        return 200, {"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"', **echo}, ""

    def _elsewhere(self) -> tuple[int, dict[str, str], str]:
        if self.says_region == "header":
            return 301, {"x-amz-bucket-region": self.region}, _error("PermanentRedirect")
        return 400, {}, _error("AuthorizationHeaderMalformed", f"<Region>{self.region}</Region>")

    def puts(self) -> list[dict[str, str]]:
        """The headers of all bodies that came."""
        return [headers for method, _, headers in self.seen if method == "PUT"]


def _error(code: str, more: str = "") -> str:
    return f"<Error><Code>{code}</Code><Message>It is so.</Message>{more}</Error>"


def _other(method: str, url: str) -> tuple[int, dict[str, str], str]:
    if method == "HEAD":
        return 404, {}, ""
    if method == "GET":
        kind = "ListMultipartUploadsResult" if "uploads" in url else "ListBucketResult"
        return 200, {}, f"<{kind}></{kind}>"
    if "uploads" in url:
        return 200, {}, "<R><Bucket>models</Bucket><Key>k</Key><UploadId>u</UploadId></R>"
    return 200, {}, '<R><Bucket>models</Bucket><Key>k</Key><ETag>"e-2"</ETag></R>'


Serve = Callable[..., tuple[Peculiar, str]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a peculiar server; returns it and its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(**peculiar: Any) -> tuple[Peculiar, str]:
        found = Peculiar(**peculiar)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(found)))
        threading.Thread(target=servers[-1].serve_forever, args=(0.05,), daemon=True).start()
        return found, f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _handler_for(peculiar: Peculiar) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, text = peculiar.answer(self.command, self.path, headers, body)
            self.send_response(status)
            for name, value in {**more, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815 - as the base class wants it

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class has it
            """Nothing."""

    return Handler


def store_at(url: str, **more: Any) -> S3Files:
    credentials = Credentials("project", "test", "AKIDEXAMPLE12345", SecretStr("secret-of-ours"), region="us-east-1")
    return S3Files(S3Access(credentials, **{"endpoint_url": url, "deadline_s": 3.0, **more}))


def items(folder: Path) -> list[Item]:
    for size in SIZES:
        (folder / f"f{size}").write_bytes(b"\x07" * size)
    return [Item(folder / f"f{size}", f"s3://models/f{size}") for size in SIZES]


@pytest.mark.parametrize("says", ["header", "body"])
def test_the_region_that_a_server_names_is_used_from_then_on(serve: Serve, tmp_path: Path, says: str) -> None:
    server, url = serve(region="eu-central-1", says_region=says)
    store = store_at(url)
    assert store.upload(items(tmp_path)).files == 3
    assert store.connection.dialect("models").region == "eu-central-1"
    strangers = [line for line in server.seen if "/us-east-1/" in line[2]["authorization"]]
    assert 0 < len(strangers) <= 4
    server.seen.clear()
    store.upload(items(tmp_path))
    assert not [line for line in server.seen if "/us-east-1/" in line[2]["authorization"]]


def test_a_small_file_alone_finds_the_region_too(serve: Serve, tmp_path: Path) -> None:
    _, url = serve(region="eu-central-1")
    for number, item in enumerate(items(tmp_path)):
        assert store_at(url, upload_rate=10**9 + number).upload([item]).files == 1


def test_a_server_that_verifies_is_sent_checksums_in_place_of_signed_bodies(serve: Serve, tmp_path: Path) -> None:
    server, url = serve(verifies=True)
    store_at(url, threads=1).upload(items(tmp_path)[1:])
    first, *others = server.puts()
    assert first["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"
    assert {headers["x-amz-content-sha256"] for headers in others} == {"UNSIGNED-PAYLOAD"}
    assert all("x-amz-checksum-crc32c" in headers for headers in others)
    assert "x-amz-checksum-crc32c" in re.split("[;=,]", others[-1]["authorization"])


def test_a_server_that_does_not_verify_is_sent_signed_bodies(serve: Serve, tmp_path: Path) -> None:
    server, url = serve()
    store_at(url).upload(items(tmp_path))
    assert len(server.puts()) == 4
    assert all(headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD" for headers in server.puts())
    assert sum(server.stored.values()) == sum(SIZES)


@pytest.mark.parametrize("status", [501, 400])
def test_a_server_that_refuses_checksums_is_sent_none(serve: Serve, tmp_path: Path, status: int) -> None:
    server, url = serve(refuses_checksums=status)
    store = store_at(url, threads=1)
    assert store.upload(items(tmp_path)).files == 3
    assert len([line for line in server.seen if any("x-amz-checksum" in name for name in line[2])]) == 1
    assert sum(server.stored.values()) == sum(SIZES)


def test_checksums_are_sent_always_or_never_where_that_is_set(serve: Serve, tmp_path: Path) -> None:
    server, url = serve(verifies=True)
    store_at(url, checksums="never").upload(items(tmp_path))
    assert not [headers for headers in server.puts() if any("x-amz-checksum" in name for name in headers)]
    server.seen.clear()
    store_at(url, checksums="always").upload(items(tmp_path))
    assert all("x-amz-checksum-crc32c" in headers for headers in server.puts())


def test_a_server_that_wants_the_bucket_in_its_name_gets_it(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = serve(wants_virtual=True)
    # No name server knows these hosts: what both clients would ask a proxy for comes here.
    monkeypatch.setenv("HTTP_PROXY", url)
    monkeypatch.setenv("http_proxy", url)
    store = store_at("http://s3.example.test")
    assert store.upload(items(tmp_path)).files == 3
    assert store.connection.dialect("models").style == "virtual"
    assert {headers["host"] for headers in server.puts()} == {"models.s3.example.test"}
    assert {urlsplit(url).path for method, url, _ in server.seen if method == "PUT"} == {f"/f{size}" for size in SIZES}


BIG = """
    import re, sys
    from pathlib import Path
    from holdfast.artifacts.access import S3Access
    from holdfast.artifacts.s3 import S3Files
    from holdfast.artifacts.transfer import Item

    folder = Path(sys.argv[1])
    items = [Item(path, f"s3://models/{path.name}") for path in folder.glob("f*")]
    S3Files(S3Access.from_json(sys.stdin.read())).upload(items)
    # Not ru_maxrss: it begins with that of the process which started this one.
    print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_bounded_however_much_is_sent(serve: Serve, tmp_path: Path) -> None:
    server, url = serve()
    sizes = [600 * MIB, *[15 * MIB] * 20]
    for number, size in enumerate(sizes):
        with (tmp_path / f"f{number}").open("wb") as file:
            file.truncate(size)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BIG), str(tmp_path)],
        input=store_at(url, threads=32).connection.access.to_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert sum(server.stored.values()) == sum(sizes)
    assert int(done.stdout) < 256 << 10, done.stdout  # KiB
