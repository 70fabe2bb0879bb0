"""What the doctor's tests of the server share: examinations, and a relay that answers some requests by itself."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from unhurried import examine_unhurried

from holdfast.doctor.check import Result, Status
from holdfast.doctor.journal import delivery, folder
from holdfast.doctor.machine import config, proxy
from holdfast.doctor.report import Report
from holdfast.doctor.server import database, experiment, locations, reach, round_trip

# Those of this part, with what they need, whatever others there are.
CATALOG = (
    *config.FIRST,
    *proxy.CHECKS,
    *reach.CHECKS,
    *database.CHECKS,
    *round_trip.CHECKS,
    *experiment.CHECKS,
    *locations.CHECKS,
    *folder.CHECKS,
    *delivery.CHECKS,
)
# (status, body) in place of the server's own answer.
Answer = tuple[int, str]


def examined(environ: Mapping[str, str], *only: str, start: Path | None = None) -> Report:
    """Examine a project with these settings."""
    return examine_unhurried(start, {"HOLDFAST_DELIVERY": "direct", **environ}, only, CATALOG)


def result_of(name: str, environ: Mapping[str, str], start: Path | None = None) -> Result:
    """Return what one check finds; nothing may be left behind."""
    report = examined(environ, name, start=start)
    assert report.left_behind == []
    return next((found for found in report.results if found.check.name == name), report.results[-1])


def assert_found(result: Result, status: Status, found: str, remedy: str) -> None:
    """Check a result: its status, and words of what was found and of the remedy."""
    told = f"{result.check.name}: {result.finding}"
    assert result.finding.status is status, told
    assert found in result.finding.found, told
    assert remedy in result.finding.remedy, told


def bad(report: Report) -> list[str]:
    """Return what is not well."""
    return [
        f"{result.check.name}: {result.finding}"
        for result in report.results
        if result.finding.status in (Status.WARNING, Status.FAILED)
    ]


@contextmanager
def relaying(
    upstream: str,
    answers: Callable[[str, str], Answer | None],
    host: str = "127.0.0.1",
    rewrite: Callable[[bytes], bytes] = bytes,
) -> Iterator[str]:
    """Pass requests on to a server, all but those that `answers` has an answer for by method and path.

    What the server answers goes through `rewrite`.
    """

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            own = answers(self.command, self.path)
            status, kind, content = (own[0], "application/json", own[1].encode()) if own else self._asked(body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _asked(self, body: bytes) -> tuple[int, str, bytes]:
            headers = {name: self.headers[name] for name in ("Content-Type", "Authorization") if self.headers[name]}
            request = urllib.request.Request(upstream + self.path, body or None, headers, method=self.command)
            try:
                answer = urllib.request.urlopen(request, timeout=30)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                return answer.status or 500, answer.headers.get("Content-Type", ""), rewrite(answer.read())

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _relay  # noqa: N815 - the names are http.server's

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer((host, 0), Relay)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
