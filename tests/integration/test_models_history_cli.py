"""`holdfast models history`, `audit`, `request`, `approve`, `reject`, `requests` and `notify`, as they are typed."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from histories import mirror_of, register
from typer.testing import CliRunner, Result

from holdfast import ModelRegistry, open_project
from holdfast.cli import models_approval, models_history, models_notify
from holdfast.core.policy import parse_policy
from holdfast.errors import InvalidInputError, PromotionRefusedError

Run = Callable[..., Result]


@pytest.fixture
def run(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Register `m`, put it into Staging, and return what runs a command."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    monkeypatch.setenv("MLFLOW_ARTIFACT_ROOT", str(tmp_path / "files"))
    monkeypatch.setenv("HOLDFAST_DELIVERY", "direct")
    monkeypatch.setenv("HOLDFAST_USER", "ada")
    register(open_project(), "m", tmp_path / "model").promote("m", 1, "Staging", reason="=1+1, for now")
    app = typer.Typer()
    for module in (models_history, models_approval, models_notify):
        module.add_to(app)

    def run(*arguments: str, as_user: str = "ada") -> Result:
        monkeypatch.setenv("HOLDFAST_USER", as_user)
        return CliRunner().invoke(app, list(arguments))

    return run


def read(done: Result) -> Any:
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def test_history_as_table_json_and_csv(run: Run) -> None:
    table = run("history", "m")
    assert table.exit_code == 0
    lines = [line for line in table.stdout.splitlines() if line.startswith("│")]
    assert "moved None -> Staging" in lines[0]  # the newest first
    assert "=1+1, for now" in lines[0]
    assert "ada" in lines[0]
    whole = read(run("history", "m", "--json"))
    assert whole["verified"] is True
    assert [event["kind"] for event in whole["events"]] == ["adopted", "registered", "moved"]
    some = read(run("history", "m", "--json", "--kind", "moved", "--version", "1", "--since", "2020-01-01"))
    assert [event["number"] for event in some["events"]] == [3]
    assert run("history", "m", "--csv", "--into", "out.csv").exit_code == 0
    with Path("out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["1", "2", "3"]
    assert rows[2]["why"] == "'=1+1, for now"
    for wrong in (("--json", "--csv"), ("--into", "x"), ("--kind", "promoted"), ("--since", "soon")):
        assert isinstance(run("history", "m", *wrong).exception, InvalidInputError)


# Each with what must not be kept of it; put together here, so that no scanner takes them for real ones.
SAID = [
    ("token=gh" + "p_" + "a1B2" * 9, "a1B2"),
    ("password: hunter2", "hunter2"),
    ("password=hunter2 aws_secret_access_key=AKIA" + "ABCDEFGH12345678", "hunter2|ABCDEFGH"),
    ("for AKIA" + "ABCDEFGH12345678", "ABCDEFGH"),
    ("see https://ada:hunter2@example.com/x and https://hunter2@example.com", "hunter2"),
]


@pytest.mark.parametrize(("said", "secret"), SAID)
def test_what_people_say_keeps_no_keys(run: Run, said: str, secret: str) -> None:
    Path("saying.py").write_text(f"def gate(case):\n    raise RuntimeError({said!r})\n")
    project = open_project()
    registry = ModelRegistry(project, parse_policy({"callable": "saying:gate"}))
    with pytest.raises(PromotionRefusedError) as refused:
        registry.promote("m", 1, "Production", reason=said)
    done = registry.promote("m", 1, "Production", reason=said, override=said)
    registry.set_tag("m", 1, "note", said, reason=said)
    registry.set_tag("m", 1, "db_password", "hunter2 ABCDEFGH a1B2")
    assert registry.set_tag("m", 1, "note", said) is None
    assert run("request", "m", "1", "--to", "Archived", "--reason", said).exit_code == 0
    copies = mirror_of(project, "m").texts()
    assert len(copies) == len(registry.history("m")) >= 7
    texts = [event.to_json() for event in registry.history("m")]
    shown = [run("history", "m").output, run("history", "m", "--json").output, run("requests", "m").output]
    tags = registry.get("m", 1).tags
    for text in (*copies.values(), *texts, *shown, str(refused.value), repr(done.answers), repr(tags)):
        assert not re.search(secret, text)
    assert tags["db_password"] == "****"


def test_audit_says_what_is_wrong_and_how_it_is_mended(run: Run) -> None:
    assert read(run("audit", "m", "--json"))["clean"] is True
    assert "nothing is wrong" in run("audit", "m", "--files").stdout
    project = open_project()
    project.artifacts.delete(mirror_of(project, "m").place, "events/000001.json")
    project.connection.client.set_registered_model_alias("m", "production", "1")
    done = run("audit", "m", "--json")
    assert done.exit_code == 1
    assert [problem["place"] for problem in json.loads(done.stdout)["problems"]] == ["copies", "registry"]
    table = run("audit", "m")
    assert table.exit_code == 1
    assert "2 things wrong" in table.stdout
    assert "holdfast models repair m" in table.output


def test_asked_and_answered(run: Run) -> None:
    Path("pyproject.toml").write_text("[tool.holdfast.promotion]\napprovals = { Production = 1 }\n")
    asked = run("request", "m", "1", "--reason", "better")
    assert "asked for Production (0 of 1 approved)" in asked.stdout
    assert "holdfast models approve m 1" in asked.output
    assert isinstance(run("approve", "m", "1").exception, PromotionRefusedError)
    assert [item["by"] for item in read(run("requests", "--json"))] == ["ada"]
    assert read(run("approve", "m", "1", "--json", as_user="bob"))["enough"] is True
    again = run("approve", "m", "1", as_user="bob")
    assert "you had approved these files before" in again.output
    assert "1 of 1 (bob)" in run("requests", "m").stdout
    assert "rejected for Production" in run("reject", "m", "1", "--reason", "no", as_user="eve").stdout
    assert read(run("requests", "m", "--json")) == []
    assert "no approval is needed for Archived" in run("request", "m", "1", "--to", "Archived").output


def test_notify_says_what_waits(run: Run, monkeypatch: pytest.MonkeyPatch, canary: str) -> None:
    assert "there are no webhooks" in run("notify").output
    hook = {"url": f"http://127.0.0.1:1/{canary}"}
    monkeypatch.setenv("HOLDFAST_WEBHOOKS", json.dumps([hook]))
    monkeypatch.setenv("HOLDFAST_WEBHOOK_SECRET", canary)
    assert run("notify", "m").exit_code == 0  # new: it begins with what comes
    assert run("request", "m", "1").exit_code == 0
    status = read(run("notify", "m", "--status", "--json"))
    assert [(item["webhook"], item["pending"]) for item in status] == [("http://127.0.0.1:1", [4])]
    done = run("notify", "m", "--timeout", "0")
    assert done.exit_code == 3
    assert "1 waiting (it cannot be reached" in done.stdout
