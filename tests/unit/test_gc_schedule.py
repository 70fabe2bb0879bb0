"""A clean-up that runs by itself: what cron and Kubernetes make of the text is the command that was meant."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.errors import InvalidInputError
from holdfast.maintenance.schedule import WHEN, cron_line, kubernetes_cronjob

NASTY = (
    "a b",
    "100%",
    "50\\% off",
    "\\\\server\\share",
    "it's",
    'say "hi"',
    "$HOME $(id) `id`",
    "$$(X) ${Y}",
    "a;b|c&d>e",
    "# no comment: {x}",
    "- item",
    "é 😀 日本",
    "user:name@host",
    "*",
    "!x",
    "trailing\\",
)
_PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), max_size=30)


def by_vixie(command: str) -> str:
    """Return what the first cron gives to the shell: it also makes one backslash of two."""
    return re.sub(r"\\([%\\])", r"\1", command)


def by_cronie(command: str) -> str:
    """Return what a cron gives to the shell that knows a percent sign alone."""
    return command.replace("\\%", "%")


def words_of(line: str) -> list[str]:
    """Return the words of the line's last command, as a shell makes them."""
    echo = "set -f; words() { for word; do printf '%s\\0' \"$word\"; done; }; "
    command = line.replace("&& ", "&& words ", 1).replace("cd ", "true ", 1)
    done = subprocess.run(["sh", "-c", echo + command], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def command_of(line: str) -> str:
    assert line.startswith(f"{WHEN} ")
    return line[len(WHEN) + 1 :]


@pytest.mark.parametrize("cron", [by_vixie, by_cronie])
def test_cron_runs_what_was_meant(cron: Any) -> None:
    arguments = ["gc", "--apply", *(f"--experiment={name}" for name in NASTY[:8])]
    line = cron_line(["/opt/my env/bin/holdfast"], "/srv/100% mine", arguments)
    assert "\n" not in line
    assert not re.search(r"(?<!\\)%", line)  # cron would end the command there
    assert words_of(cron(command_of(line))) == ["/opt/my env/bin/holdfast", *arguments]
    arguments = ["gc", *(f"--experiment={name}" for name in NASTY[8:])]
    assert words_of(cron(command_of(cron_line(["holdfast"], "/srv", arguments)))) == ["holdfast", *arguments]


@given(st.lists(_PRINTABLE, min_size=1, max_size=4))
def test_cron_and_kubernetes_run_any_text(names: list[str]) -> None:
    arguments = [f"--experiment={name}" for name in names]
    line = command_of(cron_line(["holdfast"], "/srv", arguments))
    for cron in (by_vixie, by_cronie):
        command = cron(line).partition("&& ")[2].replace("\"$(printf '\\134')\"", "'\\'")
        assert shlex.split(command) == ["holdfast", *arguments]
    assert arguments_of(kubernetes_cronjob(arguments)) == arguments


def arguments_of(manifest: str) -> list[str]:
    """Return the arguments as the container gets them."""
    arguments: Sequence[str] = container_of(manifest)["args"]
    return [argument.replace("$$", "$") for argument in arguments]


def container_of(manifest: str) -> dict[str, Any]:
    (container,) = pod_of(manifest)["containers"]
    return dict(container)


def pod_of(manifest: str) -> dict[str, Any]:
    job = documents_of(manifest)["CronJob"]
    return dict(job["spec"]["jobTemplate"]["spec"]["template"]["spec"])


def documents_of(manifest: str) -> dict[str, Any]:
    return {document["kind"]: document for document in yaml.safe_load_all(manifest)}


def test_kubernetes_runs_what_was_meant() -> None:
    arguments = ["gc", "--apply", "--yes", *(f"--experiment={name}" for name in NASTY)]
    manifest = kubernetes_cronjob(arguments)
    assert manifest.isascii()
    assert arguments_of(manifest) == arguments
    for argument in container_of(manifest)["args"]:  # no $(NAME) is left that would be expanded
        assert "$(" not in argument.replace("$$", "")


def test_the_cronjob_is_what_an_operator_wants() -> None:
    manifest = kubernetes_cronjob(["gc"])
    documents = documents_of(manifest)
    assert set(documents) == {"PersistentVolumeClaim", "CronJob"}
    job, pod, container = documents["CronJob"], pod_of(manifest), container_of(manifest)
    assert (job["apiVersion"], job["spec"]["schedule"]) == ("batch/v1", WHEN)
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert job["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["command"] == ["holdfast"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert container["envFrom"] == [{"secretRef": {"name": "holdfast-gc"}}]
    assert {"requests", "limits"} <= container["resources"].keys()
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["state"] == f"{container['workingDir']}/.holdfast"
    claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["volumes"]]
    assert documents["PersistentVolumeClaim"]["metadata"]["name"] in claims
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("odd", ["a\nb", "a\0b", "a\x1bb", "a\u2028b", "\udce9", "a\rb"])
def test_what_no_crontab_can_hold_is_refused(odd: str) -> None:
    for make in (lambda: cron_line(["holdfast"], "/srv", [odd]), lambda: kubernetes_cronjob([odd])):
        with pytest.raises(InvalidInputError, match="cannot hold"):
            make()
    with pytest.raises(InvalidInputError, match="cannot hold"):
        cron_line(["holdfast"], odd, [])


def test_a_line_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="characters"):
        cron_line(["holdfast"], "/srv", ["--run-ids=" + ",".join(["0" * 32] * 40)])


@pytest.mark.parametrize(
    ("option", "scheme", "setting"),
    [
        ("--tracking-uri", "https://me:{}@host", "MLFLOW_TRACKING_URI"),
        ("--backend-store-uri", "postgresql://me:{}@host/db", "MLFLOW_BACKEND_STORE_URI"),
        ("--backend-store-uri", "postgresql://host/db?user=me&password={}", "MLFLOW_BACKEND_STORE_URI"),
    ],
)
def test_no_secret_is_written_down(option: str, scheme: str, setting: str, canary: str) -> None:
    argument = f"{option}={scheme.format(canary)}"
    for make in (lambda: cron_line(["holdfast"], "/srv", [argument]), lambda: kubernetes_cronjob([argument])):
        with pytest.raises(InvalidInputError) as caught:
            make()
        assert canary not in str(caught.value)
        assert setting in caught.value.hint
    done = CliRunner().invoke(app, ["gc", "--schedule", option, scheme.format(canary)])
    assert isinstance(done.exception, InvalidInputError)
    assert canary not in done.output


def schedule(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["gc", "--schedule", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_schedules_itself(tmp_path: Path) -> None:
    told = schedule(
        "--older-than", "7d", "--orphans", "-e", "a b", "-e", "100%", "--tracking-uri", "http://mlflow:5000"
    )
    wanted = ["gc", "--apply", "--yes", "--older-than=7d", "--grace=1d", "--orphans", "--experiment=a b"]
    wanted += ["--experiment=100%", "--tracking-uri=http://mlflow:5000"]
    assert arguments_of(told) == wanted  # all that was printed is YAML: the line for cron is a comment in it
    (line,) = re.findall(rf"^# ({re.escape(WHEN)} .*)$", told, re.M)
    command = words_of(by_vixie(command_of(line)))
    assert command[-len(wanted) :] == wanted
    assert f"cd {shlex.quote(str(Path.cwd()))}" in line
    assert Path(command[0]).is_absolute()
    assert not Path(".holdfast").exists()


def test_a_schedule_as_json_and_what_the_settings_say() -> None:
    Path("pyproject.toml").write_text('[tool.holdfast.gc]\nolder-than = "2w"\ngrace = "90m"\n')
    told = json.loads(schedule("--json", "--trash", "--run-ids", " a, b,"))
    wanted = ["gc", "--apply", "--yes", "--older-than=14d", "--grace=90m", "--trash", "--run-ids=a,b"]
    assert arguments_of(told["kubernetes"]) == wanted
    assert told["cron"].endswith(" ".join(wanted))


@pytest.mark.parametrize("arguments", [["--dry-run"], ["--plan", "x"]])
def test_a_schedule_takes_no_plan(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["gc", "--schedule", *arguments])
    assert done.exit_code == 2
    assert "means nothing to --schedule" in done.output


def warned(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["gc", "--schedule", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stderr.partition("warning: ")[2].partition(":")[0]


def test_what_only_this_shell_has_is_named(monkeypatch: pytest.MonkeyPatch, canary: str) -> None:
    assert warned() == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{canary}@host")
    monkeypatch.setenv("MLFLOW_AWS_ACCESS_KEY_ID", canary)
    monkeypatch.setenv("MLFLOW_AWS_SECRET_ACCESS_KEY", canary)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "is not needed")
    keys = "MLFLOW_AWS_ACCESS_KEY_ID, MLFLOW_AWS_SECRET_ACCESS_KEY"
    assert warned() == warned("--json") == f"MLFLOW_TRACKING_URI, {keys}"
    assert warned("--tracking-uri", "http://host") == keys  # the schedule says it itself
    Path(".env").write_text(f"MLFLOW_TRACKING_URI=http://me:{canary}@host\n")
    assert warned() == keys
    Path(".env").write_text("MLFLOW_TRACKING_URI=http://other\n")
    assert warned() == f"MLFLOW_TRACKING_URI, {keys}"


def test_a_profile_of_this_shell_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert warned() == "AWS_PROFILE"


def test_settings_that_are_whole_with_this_shell_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MLFLOW_AWS_ROLE_SESSION_NAME=me\n")  # of no role
    monkeypatch.setenv("MLFLOW_AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/gc")
    assert warned() == "MLFLOW_AWS_ROLE_ARN"
