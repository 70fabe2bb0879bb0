"""What the tests of the doctor's checks of S3 share: a project with a bucket, and a relay that alters what passes."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from unhurried import examine_unhurried

from holdfast.doctor.check import Finding, Status
from holdfast.doctor.report import Report
from holdfast.testing import Account, S3Access, ServerCertificate

PREFIX = "team/models"


@dataclass(frozen=True)
class Project:
    """A project whose files go to a bucket.

    Attributes:
        url: The S3 server, as the project reaches it.
        bucket: The bucket.
        account: Whose keys it has.
        client: Sees the bucket with all rights, on another way.
        folder: The project's folder.
        settings: Further settings, by their names in the environment.
    """

    url: str
    bucket: str
    account: Account
    client: Any = field(repr=False)
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, server: S3Access, name: str, bucket: str, folder: Path) -> Project:
        """Return a project with an account of its own at a server, and a bucket, made where it is missing."""
        return cls(server.endpoint_url, bucket, server.add_account(name, [bucket]), server.client(), folder)

    def having(self, **settings: str) -> Project:
        """Return the same with other settings."""
        return replace(self, settings={**self.settings, **settings})

    @property
    def environ(self) -> dict[str, str]:
        """Its settings."""
        return {
            "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
            "MLFLOW_ARTIFACT_ROOT": f"s3://{self.bucket}/{PREFIX}",
            "MLFLOW_S3_ENDPOINT_URL": self.url,
            "MLFLOW_AWS_ACCESS_KEY_ID": self.account.access_key_id,
            "MLFLOW_AWS_SECRET_ACCESS_KEY": self.account.secret_access_key,
            **self.settings,
        }

    def examine(self, *only: str) -> Report:
        """Examine it; everything of S3 where nothing else is said. No secret may show."""
        report = examine_unhurried(self.folder, self.environ, only or ("s3",))
        shown = json.dumps(report.as_document())
        assert self.environ["MLFLOW_AWS_SECRET_ACCESS_KEY"] not in shown
        assert self.environ["MLFLOW_AWS_ACCESS_KEY_ID"] not in shown
        for result in report.results:
            finding = result.finding
            assert finding.found
            assert finding.remedy or finding.status in (Status.OK, Status.SKIPPED)
        return report

    def find(self, check: str) -> Finding:
        """Return what one check finds."""
        return finding_of(self.examine(check), check)

    def check_untouched(self) -> None:
        """See that no examination has left anything in the bucket."""
        assert not self.client.list_objects_v2(Bucket=self.bucket).get("Contents")
        listed = self.client.list_object_versions(Bucket=self.bucket)
        assert not listed.get("Versions")
        assert not listed.get("DeleteMarkers")
        assert not self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads")


def finding_of(report: Report, check: str) -> Finding:
    """Return what a report says of a check."""
    return next(result.finding for result in report.results if result.check.name == check)


def bad(report: Report) -> dict[str, Status]:
    """Return the checks that did not go well, without those that were skipped."""
    statuses = {result.check.name: result.finding.status for result in report.results}
    return {name: status for name, status in statuses.items() if status in (Status.WARNING, Status.FAILED)}


Answer = tuple[int, dict[str, str], bytes]
# Method, path with query, and headers by their names in lower case.
Refuse = Callable[[str, str, dict[str, str]], Answer | None]
# Method, path with query, and the answer of the server.
Alter = Callable[[str, str, Answer], Answer]


@contextmanager
def relay(
    upstream: str, refuse: Refuse | None = None, alter: Alter | None = None, tls: ServerCertificate | None = None
) -> Iterator[str]:
    """A gateway before a real server that answers some requests itself, or alters what is answered; its URL."""
    handler = _handler(urlsplit(upstream).netloc, refuse or (lambda *_: None), alter or (lambda *given: given[2]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.context().wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(upstream: str, refuse: Refuse, alter: Alter) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            parts = urlsplit(self.path)  # a proxy is asked for whole addresses
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            answer = refuse(self.command, path, headers)
            if answer is None:
                answer = alter(self.command, path, _passed_on(upstream, self.command, path, headers, body))
            self._answer(*answer)

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            if self.command != "HEAD":
                headers = {**headers, "content-length": str(len(body))}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815 - as the base class wants it

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class has it
            """Nothing."""

    return Handler


def _passed_on(upstream: str, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    connection = http.client.HTTPConnection(upstream, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            if name not in ("expect", "connection"):
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        kept = {name.lower(): value for name, value in answer.getheaders()}
        for name in ("connection", "transfer-encoding"):
            kept.pop(name, None)
        return answer.status, kept, answer.read()
    finally:
        connection.close()


def error(status: int, code: str, more: str = "", **headers: str) -> Answer:
    """Return an answer of S3 that says what is wrong."""
    body = f"<Error><Code>{code}</Code><Message>It is so.</Message>{more}</Error>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"content-type": "application/xml", **named}, body.encode()
