"""The page's server: its answers, what it refuses, and live play over a WebSocket."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from holdfast import open_project
from holdfast.settings import Settings, load_settings
from holdfast_examples.basketworld.app.runs import TrackedLibrary
from holdfast_examples.basketworld.app.server import Options, create_app
from holdfast_examples.basketworld.game.rules import Rules
from holdfast_examples.basketworld.play.checkpoints import FOLDER, KIND_TAG, TRAINING, policy_path

sys.path.insert(0, str(Path(__file__).parent))
from basketworld_made_up import write_made_up
from basketworld_page import RUN, MadeUpLibrary

HERE = "http://127.0.0.1"
POLICIES = {"run": RUN, "a": {"kind": "policy", "alternation": 3}, "b": {"kind": "policy", "alternation": 1}}


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(create_app(None, Options(sessions=4), MadeUpLibrary()), HERE) as client:
        yield client


def _opened(client: TestClient, **wanted: Any) -> dict[str, Any]:
    answer = client.post("/api/sessions", json=wanted)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def _live(client: TestClient, session: str, **headers: str) -> Any:
    return client.websocket_connect(f"ws://127.0.0.1/api/sessions/{session}/live", headers=headers)


def test_runs_are_listed_and_searched(client: TestClient) -> None:
    assert [run["name"] for run in client.get("/api/runs").json()] == ["self-play", "just-begun"]
    assert [run["policies"] for run in client.get("/api/runs", params={"search": "a1b2"}).json()] == [3]
    assert [policy["alternation"] for policy in client.get(f"/api/runs/{RUN}/policies").json()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/api/runs/nothing/policies", None, 404, "no run 'nothing'"),
        ("POST", "/api/sessions", POLICIES | {"run": "nothing"}, 404, "no run 'nothing'"),
        ("POST", "/api/sessions", POLICIES | {"a": {"kind": "policy", "alternation": 9}}, 404, "alternation 9"),
        ("POST", "/api/sessions", {"a": {"kind": "policy", "alternation": 1}}, 422, "needs its run"),
        ("POST", "/api/sessions", POLICIES | {"a": {"kind": "wizard"}}, 422, "a.kind"),
        ("POST", "/api/sessions", {"seed": -1}, 422, "seed"),
        ("POST", "/api/sessions", {"sede": 1}, 422, "sede"),
        ("GET", "/api/sessions/nothing", None, 404, "no such session"),
        ("DELETE", "/api/sessions/nothing", None, 404, "no such session"),
        ("GET", "/api/sessions/nothing/film.gif", None, 404, "no such session"),
        ("GET", "/api/nothing", None, 404, "Not Found"),
        ("PUT", "/api/runs", None, 405, "Method Not Allowed"),
    ],
)
def test_problems_have_one_form(client: TestClient, method: str, path: str, body: Any, status: int, words: str) -> None:
    answer = client.request(method, path, json=body)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "hint"})
    assert words in answer.json()["error"]
    assert answer.json()["hint"]


def test_an_unforeseen_error_tells_nothing_of_itself(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a password")

    monkeypatch.setattr(MadeUpLibrary, "runs", broken)
    app = create_app(None, Options(), MadeUpLibrary())
    answer = TestClient(app, HERE, raise_server_exceptions=False).get("/api/runs")
    assert answer.status_code == 500
    assert "password" not in answer.text
    assert set(answer.json()) == {"error", "hint"}


def test_sessions_are_apart_and_limited(client: TestClient) -> None:
    ids = [_opened(client, seed=seed)["session"] for seed in range(4)]
    assert len(set(ids)) == 4
    refused = client.post("/api/sessions", json={})
    assert (refused.status_code, set(refused.json())) == (503, {"error", "hint"})
    with _live(client, ids[0]) as socket:
        socket.receive_json()
        socket.send_json({"type": "step"})
        assert socket.receive_json()["game"]["at"] == 1
    assert [client.get(f"/api/sessions/{one}").json()["game"]["at"] for one in ids] == [1, 0, 0, 0]
    assert client.delete(f"/api/sessions/{ids[1]}").status_code == 204
    _opened(client)


def test_live_play(client: TestClient) -> None:
    session = _opened(client, **POLICIES, seed=4)["session"]
    with _live(client, session) as socket:
        first = socket.receive_json()
        assert first["teams"]["A"] == {"name": "policy 3", "human": False}
        for kind, at in [("step", 1), ("back", 0), ("step", 1), ("goto", 0)]:
            socket.send_json({"type": kind} | ({"at": at} if kind == "goto" else {}))
            assert socket.receive_json()["game"]["at"] == at
        socket.send_json({"type": "control", "team": "A", "human": True})
        assert socket.receive_json()["teams"]["A"]["human"]
        socket.send_json({"type": "step", "orders": {"0": 0, "1": 0}})
        assert socket.receive_json()["game"]["event"]["actions"][:2] == [0, 0]
        socket.send_json({"type": "next", "seed": 99})
        told = socket.receive_json()
        assert (told["game"]["episode"], told["game"]["seed"], told["game"]["attacking"]) == (1, 99, "B")
        too_far, no_action = '{"type": "goto", "at": 77}', '{"type": "step", "orders": {"0": 99}}'
        for bad in ['{"type": "fly"}', "nonsense", too_far, no_action, b"\xff"]:
            socket.send_bytes(bad) if isinstance(bad, bytes) else socket.send_text(bad)
            told = socket.receive_json()
            assert told["type"] == "error"
            assert told["hint"]
    with _live(client, session) as socket:  # a closed connection is taken up again where it was
        assert socket.receive_json()["game"]["seed"] == 99


def test_a_second_connection_replaces_the_first(client: TestClient) -> None:
    session = _opened(client)["session"]
    with _live(client, session) as first, _live(client, session) as second:
        first.receive_json(), second.receive_json()
        first.send_json({"type": "step"})
        with pytest.raises(WebSocketDisconnect) as closed:
            first.receive_json()
        assert closed.value.code == 4409
        second.send_json({"type": "step"})
        assert second.receive_json()["game"]["at"] == 1


def test_an_unknown_session_is_told_so_live(client: TestClient) -> None:
    with _live(client, "nothing") as socket:
        assert "no such session" in socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 4404


def test_other_sites_are_kept_out(client: TestClient) -> None:
    session = _opened(client)["session"]
    foreign = {"origin": "https://evil.example"}
    assert client.post("/api/sessions", json={}, headers=foreign).status_code == 403
    assert "access-control-allow-origin" not in client.get("/api/runs", headers=foreign).headers
    with pytest.raises(WebSocketDisconnect) as refused, _live(client, session, **foreign):
        pass
    assert refused.value.code == 4403
    with _live(client, session, origin=HERE) as socket:
        assert socket.receive_json()["type"] == "state"
    for host in ["evil.example", "127.0.0.1.evil.example", "", "[", "evil.example:80"]:
        assert client.get("/api/runs", headers={"host": host}).status_code == 400
    for host in ["127.0.0.1:1234", "localhost", "[::1]:80"]:
        assert client.get("/api/runs", headers={"host": host}).status_code == 200


def test_large_bodies_and_those_of_no_size_are_refused(client: TestClient) -> None:
    for body in (b'{"run": "' + b"x" * 20_000 + b'"}', iter([b"{", b"}"])):
        answer = client.post("/api/sessions", content=body)
        assert (answer.status_code, set(answer.json())) == (413, {"error", "hint"})
    for body in (b"[" * 10_000, b"{"):
        answer = client.post("/api/sessions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}
        assert answer.json()["hint"]


def test_an_origin_that_is_let_in() -> None:
    origin = "https://site.example"
    with TestClient(create_app(None, Options(cors=(origin,)), MadeUpLibrary()), HERE) as client:
        answer = client.post("/api/sessions", json={}, headers={"origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        with _live(client, answer.json()["session"], origin=origin) as socket:
            assert socket.receive_json()["type"] == "state"


def test_the_film_shows_every_turn(client: TestClient) -> None:
    session = _opened(client, seed=2)["session"]
    with _live(client, session) as socket:
        told = socket.receive_json()
        while told["game"]["at"] < 3 and not told["game"]["ended"]:
            socket.send_json({"type": "step"})
            told = socket.receive_json()
    answer = client.get(f"/api/sessions/{session}/film.gif")
    assert answer.headers["content-type"] == "image/gif"
    assert getattr(Image.open(io.BytesIO(answer.content)), "n_frames", 1) == told["game"]["at"] + 1


def test_the_page_and_its_files_come_from_here(client: TestClient) -> None:
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    for name in ("app.js", "court.js", "style.css", "icon.svg"):
        assert client.get(f"/static/{name}").status_code == 200
    assert client.get("/static/../server.py").status_code == 404


def _real_run(folder: Path, sqlite_template: Path) -> tuple[Settings, str]:
    """Return a project's settings, and the id of a run of training that keeps three policies."""
    settings = load_settings(
        start=folder,
        environ={},
        tracking_uri=f"sqlite:///{shutil.copyfile(sqlite_template, folder / 'court.db')}",
        artifact_root=str(folder / "artifacts"),
        experiment_name="basketworld",
    )
    project = open_project(settings)
    run = project.runs.create_run(project.experiment().experiment_id, "self-play", {KIND_TAG: TRAINING})
    for alternation in range(3):
        path = write_made_up(folder / policy_path(alternation), Rules(), alternation)
        project.artifacts.upload_file(path, run.artifact_uri, FOLDER)
    project.runs.end_run(run.run_id, "FINISHED")
    return settings, run.run_id


def test_policies_of_a_real_run(sqlite_template: Path, tmp_path: Path) -> None:
    settings, run = _real_run(tmp_path, sqlite_template)
    library = TrackedLibrary(settings, tmp_path / "cache", 1)
    with TestClient(create_app(settings, Options(), library), HERE) as client:
        assert [(one["id"], one["policies"]) for one in client.get("/api/runs").json()] == [(run, 3)]
        sides = {"a": {"kind": "policy", "alternation": 2}, "b": {"kind": "policy", "alternation": 0}}
        assert _opened(client, run=run, **sides)["teams"]["B"]["name"] == "policy 0"
        assert client.get("/api/runs/nothing/policies").status_code == 404
        wanted = {"run": run, "a": {"kind": "policy", "alternation": 7}}
        assert "alternation 7" in client.post("/api/sessions", json=wanted).json()["error"]
    assert len(list((tmp_path / "cache" / "policies").glob("*.zip"))) == 1  # no room for two


def test_the_command_prints_its_address_and_ends_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "holdfast_examples.basketworld.app", "--port", "0", "--run", "abc"]
    nowhere = {"PYTHONPATH": os.pathsep.join(sys.path), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/x.db"}
    environment = os.environ | nowhere
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as app:
        try:
            assert app.stdout is not None
            address = app.stdout.readline().removeprefix("BasketWorld: ").strip()
            with urlopen(f"{address}/api/start", timeout=20) as answer:
                assert json.load(answer) == {"run": "abc"}
            app.send_signal(signal.SIGTERM)
            assert app.wait(15) == 0
            assert app.stderr is not None
            assert app.stderr.read() == ""
        finally:
            app.kill()
