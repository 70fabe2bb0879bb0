"""Webhooks, told by a real server of what happened: signed, in order, at least once, and nobody waits for them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from histories import register, run_of
from journaling import Nursery, Place

from holdfast import ModelRegistry, open_project
from holdfast.core.history import Actor, Draft, Kind, make_event
from holdfast.errors import SettingsError
from holdfast.project import Project
from holdfast.registry.history.notifying import Notifier
from holdfast.registry.history.outbox import TAG_PREFIX, Cursor, Standing
from holdfast.registry.history.webhooks import Webhook, post, sign
from holdfast.settings import load_settings
from holdfast.testing import FaultProxy


class Receiver:
    """An HTTP server that notes what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []  # of the next answers; then 204
        self.headers: dict[str, str] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(({key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                for key, value in receiver.headers.items():
                    self.send_header(key, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def numbers(self) -> list[int]:
        return [json.loads(body)["data"]["number"] for _, body in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


def open_with(sqlite_uri: str, tmp_path: Path, unique: str, secret: str | None, *hooks: dict[str, Any]) -> Project:
    return open_project(
        tracking_uri=sqlite_uri,
        artifact_root=str(tmp_path / "files"),
        experiment_name=unique,
        delivery="direct",
        webhooks=list(hooks),
        webhook_secret=secret,
    )


def cursors(project: Project, name: str) -> list[Cursor | None]:
    tags = project.histories.read(run_of(project, name)).tags
    return [Cursor.from_tag(value) for key, value in sorted(tags.items()) if key.startswith(TAG_PREFIX)]


def test_what_happens_is_told_signed_and_in_order(
    sqlite_uri: str, tmp_path: Path, unique: str, receiver: Receiver, canary: str
) -> None:
    url = f"{receiver.url}/T0KEN/{canary}?key={canary}"
    project = open_with(sqlite_uri, tmp_path, unique, canary, {"url": url, "events": ["moved", "rolled-back"]})
    registry = register(project, unique, tmp_path / "model")
    assert receiver.requests == []  # registrations are not asked for
    registry.promote(unique, 1, "Staging", reason="fine")
    registry.promote(unique, 1, "Production")
    assert receiver.numbers() == [3, 4]
    headers, body = receiver.requests[0]
    event = registry.history(unique)[2]
    assert json.loads(body) == {"type": "model.moved", "timestamp": event.at, "data": event.to_dict()}
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(canary.encode(), content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert headers["webhook-id"] == event.id
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert cursors(project, unique) == [Cursor(4)]
    # Nothing of the URL but its host is anywhere: not in a tag, a repr, a dump.
    tags = project.histories.read(run_of(project, unique)).tags
    shown = f"{tags} {project!r} {project.settings.model_dump_json()} {project.settings.describe()} {Webhook(url)!r}"
    assert "T0KEN" not in shown
    assert receiver.url in project.settings.model_dump_json()


def test_a_failure_is_left_to_the_next_change_wherever_it_is_made(
    sqlite_uri: str, tmp_path: Path, unique: str, receiver: Receiver, canary: str, caplog: pytest.LogCaptureFixture
) -> None:
    project = open_with(sqlite_uri, tmp_path, unique, canary, {"url": receiver.url})
    registry = register(project, unique, tmp_path / "model")
    receiver.statuses = [500]
    with caplog.at_level(logging.WARNING):
        registry.promote(unique, 1, "Staging")
    assert f"reason={receiver.url}: HTTP 500" in caplog.text
    assert f"holdfast models notify {unique}" in caplog.text
    assert Notifier(project, unique).standing()[0].pending == (3,)
    # On another host, which has no secret: it waits; then on one that has.
    open_other = open_with(sqlite_uri, tmp_path, unique, None, {"url": receiver.url})
    ModelRegistry(open_other).promote(unique, 1, "Production")
    with pytest.raises(SettingsError, match="there is no secret"):
        Notifier(open_other, unique).send()
    assert receiver.numbers() == [2, 3]
    ModelRegistry(open_with(sqlite_uri, tmp_path, unique, canary, {"url": receiver.url})).promote(unique, 1, "Archived")
    assert receiver.numbers() == [2, 3, 3, 4, 5]
    ids = [headers["webhook-id"] for headers, _ in receiver.requests]
    assert ids[1] == ids[2]  # the same event, told again


def test_one_that_does_not_answer_holds_nothing_up(
    sqlite_uri: str, tmp_path: Path, unique: str, receiver: Receiver, canary: str
) -> None:
    with FaultProxy(receiver.url) as proxy:
        hooks = {"url": proxy.url}, {"url": receiver.url}
        project = open_with(sqlite_uri, tmp_path, unique, canary, *hooks)
        registry = register(project, unique, tmp_path / "model")
        receiver.requests.clear()
        proxy.black_hole()
        began_s = time.monotonic()
        registry.promote(unique, 1, "Staging")
        assert time.monotonic() - began_s < 9
        assert receiver.numbers() == [3]  # the other one was told
        proxy.refuse()
        registry.promote(unique, 1, "Production")
        assert receiver.numbers() == [3, 4]
        proxy.pass_on()
        found = Notifier(project, unique).send_for(30)
    assert receiver.numbers() == [3, 4, 3, 4]
    assert [item.pending for item in found] == [(), ()]


def test_killed_between_the_event_and_its_post(
    sqlite_uri: str, tmp_path: Path, unique: str, receiver: Receiver, canary: str, nursery: Nursery
) -> None:
    hook = {"url": receiver.url}
    register(open_with(sqlite_uri, tmp_path, unique, None), unique, tmp_path / "model")
    environ = {
        "MLFLOW_ARTIFACT_ROOT": str(tmp_path / "files"),
        "HOLDFAST_DELIVERY": "direct",
        "MLFLOW_EXPERIMENT_NAME": unique,
        "HOLDFAST_WEBHOOKS": json.dumps([hook]),
        "HOLDFAST_WEBHOOK_SECRET": canary,
    }
    child = nursery.start(
        Place(sqlite_uri, tmp_path / "child", environ),
        f"""
        import os, signal
        from holdfast import ModelRegistry, open_project
        from holdfast.registry.history.outbox import Outbox

        Outbox.deliver = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        ModelRegistry(open_project()).promote({unique!r}, 1, "Staging")
        """,
    )
    assert child.ends() == -9, child.output
    assert receiver.requests == []
    # The webhook was new to that process, and its first event is not lost for that.
    ModelRegistry(open_with(sqlite_uri, tmp_path, unique, canary, hook)).promote(unique, 1, "Production")
    assert receiver.numbers() == [3, 4]


def test_refused_for_good_it_is_given_up_and_listed(
    sqlite_uri: str, tmp_path: Path, unique: str, receiver: Receiver, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.registry.history.notifying._FIRST_PAUSE_S", 0.01)
    project = open_with(sqlite_uri, tmp_path, unique, canary, {"url": receiver.url})
    register(project, unique, tmp_path / "model")
    receiver.requests.clear()
    receiver.statuses = [404] * 5
    ModelRegistry(project).promote(unique, 1, "Staging")
    found = Notifier(project, unique).send_for(30)
    assert receiver.numbers() == [3] * 5
    assert found == [Standing(unique, receiver.url, 0, (), (3,), "HTTP 404: event 3 is given up after 5 attempts")]
    ModelRegistry(project).promote(unique, 1, "Production")
    assert receiver.numbers() == [3] * 5 + [4]
    assert Notifier(project).standing()[0].dead == (3,)


def test_a_server_that_asks_to_be_left_alone_is(
    sqlite_uri: str, tmp_path: Path, unique: str, receiver: Receiver, canary: str
) -> None:
    project = open_with(sqlite_uri, tmp_path, unique, canary, {"url": receiver.url, "models": [f"{unique}*"]})
    register(project, unique, tmp_path / "model")
    receiver.requests.clear()
    receiver.statuses, receiver.headers = [429], {"Retry-After": "600"}
    registry = ModelRegistry(project)
    registry.promote(unique, 1, "Staging")
    registry.promote(unique, 1, "Production")
    assert receiver.numbers() == [3]
    found = Notifier(project, unique).send_for(1)[0]
    assert (found.pending, found.said) == ((3, 4), "HTTP 429")
    assert 500 < found.wait_s <= 600


def test_redirects_are_not_followed(receiver: Receiver, canary: str) -> None:
    receiver.statuses, receiver.headers = [307], {"Location": f"{receiver.url}/elsewhere"}
    event = make_event(Draft(Kind.MOVED, Actor("ada"), version=1), "m", None)
    answer = post(Webhook(f"{receiver.url}/{canary}"), "secret", event)
    assert (answer.is_ok, answer.is_final, answer.reason) == (
        False,
        True,
        "HTTP 307, a redirect, which is not followed",
    )
    assert len(receiver.requests) == 1
    assert canary not in post(Webhook(f"http://127.0.0.1:1/{canary}"), "secret", event).reason


def test_the_signature_is_the_one_of_the_published_example() -> None:
    # From the scheme's own libraries (standard-webhooks, libraries/python/tests).
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    signed = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(f"{secret} other", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body).startswith(f"{signed} v1,")
    with pytest.raises(SettingsError, match="no base64"):
        sign("whsec_no base64!", "id", 1, body)


def test_settings_of_webhooks(tmp_path: Path, canary: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(webhooks=[{"url": f"ftp://{canary}@host/x", "event": 1}, {"url": "http://h", "events": ["gone"]}])
    for part in ("[1] holds event", "[1].url is no http(s) URL", "[2].events has 'gone'"):
        assert part in str(caught.value)
    assert canary not in str(caught.value)
    (tmp_path / "work" / "pyproject.toml").write_text(
        f'[tool.holdfast]\nwebhooks = [{{ url = "https://u:{canary}@hooks.example.com/x" }}]\n'
    )
    with pytest.raises(SettingsError, match="holds a password, and"):
        load_settings()
    found = load_settings(environ={"HOLDFAST_WEBHOOKS": '[{"url": "https://a.example/b"}]'}, start=tmp_path / "home")
    assert found.webhooks[0]["url"] == "https://a.example/b"
