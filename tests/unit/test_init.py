"""`holdfast init` and `holdfast config show`: what they write, what they leave alone, what they print."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from holdfast.cli import config
from holdfast.cli import init as init_file
from holdfast.cli.init import dotenv_template, missing_names, plan_init, pyproject_block
from holdfast.core.promotion import parse_rule
from holdfast.errors import SettingsError
from holdfast.settings import load_settings
from holdfast.settings.file_steps import apply_steps
from holdfast.settings.gitignore import ignores
from holdfast.settings.names import FIELDS

CANARY = "cAnArY7f3e"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.startswith(("AWS_", "MLFLOW_", "HOLDFAST_")):
            monkeypatch.delenv(name)
    return folder.resolve()


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command("init")(init_file.init)
    app.add_typer(config.app, name="config")
    return CliRunner().invoke(app, arguments)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_new_project_gets_all_three_files(project: Path) -> None:
    done = run("init")
    assert done.exit_code == 0, done.output
    assert set(content(project)) == {".env", "pyproject.toml", ".gitignore"}
    assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600
    assert {".env", ".holdfast/"} <= set((project / ".gitignore").read_text().splitlines())
    assert tomllib.loads((project / "pyproject.toml").read_text()) == {"tool": {"holdfast": {}}}
    assert "holdfast config show" in done.stderr
    assert load_settings().notices == ()
    assert load_settings().delivery == "journal"
    settings = [line for line in (project / ".env").read_text().splitlines() if line and not line.startswith("#")]
    assert settings == ["HOLDFAST_DELIVERY=journal"]


@pytest.mark.parametrize(
    ("gitignore", "is_ignored"),
    [(".holdfast/\n", True), ("/.holdfast\n", True), (".h*\n", True), (".holdfast/x\n", False), ("# .holdfast", False)],
)
def test_whether_a_gitignore_ignores_the_journal(gitignore: str, is_ignored: bool, project: Path) -> None:
    (project / ".gitignore").write_text(f".env\n{gitignore}")
    run("init")
    added = (project / ".gitignore").read_text().removeprefix(f".env\n{gitignore}")
    assert (added == "") == is_ignored
    assert ignores((project / ".gitignore").read_text(), ".holdfast", is_folder=True)


def test_a_second_run_changes_nothing(project: Path) -> None:
    run("init")
    before = content(project), [path.stat().st_mtime_ns for path in sorted(project.iterdir())]
    done = run("init", "--force")
    assert done.exit_code == 0
    assert done.stdout.count("left as it is") == 3
    assert (content(project), [path.stat().st_mtime_ns for path in sorted(project.iterdir())]) == before


def test_a_dry_run_writes_nothing(project: Path) -> None:
    done = run("init", "--dry-run")
    assert done.exit_code == 0
    assert done.stdout.count("would create") == 3
    assert content(project) == {}


def test_json_lists_the_steps(project: Path) -> None:
    done = run("init", "--dry-run", "--json")
    steps = json.loads(done.stdout)
    assert [(Path(step["path"]).name, step["action"]) for step in steps] == [
        (".gitignore", "create"),
        (".env", "create"),
        ("pyproject.toml", "create"),
    ]


def test_the_files_go_to_the_projects_root(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".git").mkdir()
    (project / "src").mkdir()
    monkeypatch.chdir(project / "src")
    run("init")
    assert set(content(project)) == {".env", "pyproject.toml", ".gitignore"}
    assert content(project / "src") == {}


# --- What is there stays ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "before",
    [
        b'[project]\nname = "x"\n',
        b'[project]\r\nname = "x"\r\n',
        b'[project]\nname = "x"',
        b"",
        '[tool.other]\nname = "\u00fc"\n'.encode(),
        b"\xef\xbb\xbf[project]\n",
    ],
)
def test_pyproject_is_only_appended_to(project: Path, before: bytes) -> None:
    (project / "pyproject.toml").write_bytes(before)
    assert run("init").exit_code == 0
    after = (project / "pyproject.toml").read_bytes()
    assert after.startswith(before)
    assert tomllib.loads(after.decode("utf-8-sig"))["tool"]["holdfast"] == {}
    assert (b"\r\n" in after) == (b"\r\n" in before)
    assert not re.search(rb"[^\r]\n", after) or b"\r\n" not in before
    load_settings()


@pytest.mark.parametrize("before", ["[tool.holdfast]\n", "[tool]\nholdfast = {}\n", "[tool.holdfast.promotion]\n"])
def test_a_block_that_is_there_stays(project: Path, before: str) -> None:
    (project / "pyproject.toml").write_text(before)
    run("init")
    assert (project / "pyproject.toml").read_text() == before


@pytest.mark.parametrize(
    ("name", "before", "told"),
    [
        ("pyproject.toml", b"[broken", "not valid TOML"),
        ("pyproject.toml", b"tool = {}\n", "no place for a [tool.holdfast] heading"),
        ("pyproject.toml", b"tool = 3\n", "no place for a [tool.holdfast] heading"),
        ("pyproject.toml", b"\xff\xfe", "not UTF-8"),
        (".gitignore", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_appended_to_stops_everything(project: Path, name: str, before: bytes, told: str) -> None:
    (project / name).write_bytes(before)
    with pytest.raises(SettingsError) as refusal:
        plan_init(project)
    assert told in refusal.value.message
    assert str(project / name) in refusal.value.message
    assert content(project) == {name: before}


def test_all_problems_are_told_at_once(project: Path) -> None:
    (project / ".env").mkdir()
    (project / ".gitignore").mkdir()
    (project / "pyproject.toml").write_text("[broken")
    with pytest.raises(SettingsError, match="Nothing was written") as refusal:
        plan_init(project)
    for name in (".env is a folder", ".gitignore is a folder", "pyproject.toml is not valid TOML"):
        assert name in refusal.value.message


def test_an_existing_dotenv_stays(project: Path) -> None:
    (project / ".env").write_text(f"MLFLOW_AWS_SECRET_ACCESS_KEY={CANARY}")
    (project / ".env").chmod(0o640)
    done = run("init")
    assert (project / ".env").read_text() == f"MLFLOW_AWS_SECRET_ACCESS_KEY={CANARY}"
    assert "--force appends the names it lacks" in done.stdout
    assert CANARY not in done.output


def test_force_appends_missing_names_as_comments(project: Path) -> None:
    before = f"MLFLOW_S3_SECRET_ACCESS_KEY={CANARY}\nMLFLOW_ARTIFACT_URI=s3://bucket"
    (project / ".env").write_text(before)
    (project / ".env").chmod(0o600)
    done = run("init", "--force")
    assert CANARY not in done.output
    after = (project / ".env").read_text()
    assert after.startswith(before + "\n")
    assert all(line.startswith("#") or not line for line in after.removeprefix(before).splitlines())
    assert not re.search(r"# (MLFLOW_AWS_SECRET_ACCESS_KEY|MLFLOW_ARTIFACT_ROOT)=", after)
    assert missing_names(after) == []


@pytest.mark.parametrize(
    ("gitignore", "is_ignored"),
    [
        ("", False),
        (".env", True),
        ("/.env\n", True),
        ("**/.env\n", True),
        (".env*\n!.env.example\n", True),
        ("*.env\n", True),
        (".env\n!.env\n", False),
        ("!.env\n.env\n", True),
        ("# .env\n", False),
        (".env/\n", False),
        ("src/.env\n", False),
        (".envrc\n", False),
        (".env.local\n", False),
        (".env  \n", True),
    ],
)
def test_whether_a_gitignore_ignores_dotenv(gitignore: str, is_ignored: bool, project: Path) -> None:
    assert ignores(gitignore, ".env") == is_ignored
    (project / ".gitignore").write_text(gitignore)
    run("init")
    after = (project / ".gitignore").read_text()
    assert after.startswith(gitignore)
    assert ignores(after, ".env")
    added = after.removeprefix(gitignore).splitlines()
    assert (".env" in added) != is_ignored
    assert ".holdfast/" in added


def test_git_agrees_about_what_is_ignored(project: Path) -> None:
    git = ["git", "-C", str(project)]
    if subprocess.run(["git", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("git is not installed")
    subprocess.run([*git, "init", "-q"], check=True)
    for gitignore in ("", ".env*\n!.env.example\n", ".env\n!.env\n", ".env/\n", "src/.env\n", ".env  \n", "**/.env"):
        (project / ".gitignore").write_text(gitignore)
        answer = subprocess.run([*git, "check-ignore", "-q", ".env"], check=False).returncode
        assert ignores(gitignore, ".env") == (answer == 0), gitignore


# --- What is dangerous -----------------------------------------------------------------------


def test_nothing_is_written_through_a_link(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (project / ".env").symlink_to(target)
    assert run("init").exit_code == 0
    assert not target.exists()
    for name in (".gitignore", "pyproject.toml"):
        (project / name).unlink()
        (project / name).symlink_to(target)
        with pytest.raises(SettingsError, match="is a link") as caught:
            plan_init(project)
        assert f"leads nowhere: rm {project / name}" in caught.value.hint
        (project / name).unlink()
    assert not target.exists()


def test_the_hint_on_a_link_makes_a_file_of_it(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "shared ignores"
    target.write_text("*.log\n")
    (project / ".gitignore").symlink_to(target)
    with pytest.raises(SettingsError) as caught:
        plan_init(project)
    command = caught.value.hint.partition(": ")[2].partition(";")[0]
    subprocess.run(command, shell=True, check=True)  # noqa: S602
    assert plan_init(project)[0].action == "append"
    assert target.read_text() == "*.log\n"


def test_a_file_that_appears_meanwhile_is_not_overwritten(project: Path) -> None:
    steps = plan_init(project)
    (project / ".env").write_text("mine")
    with pytest.raises(SettingsError, match="File exists"):
        apply_steps(steps)
    assert (project / ".env").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_one_clear_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    steps = plan_init(project)
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(SettingsError) as refusal:
        apply_steps(steps)
    assert "cannot be written: Read-only file system" in refusal.value.message


def test_a_full_disk_leaves_no_half_block(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = '[project]\nname = "x"\n'
    (project / "pyproject.toml").write_text(before)
    (project / ".gitignore").write_text(".env\n.holdfast/\n")
    (project / ".env").write_text("")
    steps, real_write = plan_init(project), os.write

    def write_little(descriptor: int, data: bytes) -> int:
        if len(data) < len(pyproject_block()):
            raise OSError(28, "No space left on device")
        return real_write(descriptor, data[:10])

    monkeypatch.setattr(os, "write", write_little)
    with pytest.raises(SettingsError, match="No space left"):
        apply_steps(steps)
    assert (project / "pyproject.toml").read_text() == before


# --- The templates ---------------------------------------------------------------------------


def _uncommented(template: str, is_setting: Callable[[str], object]) -> str:
    return "\n".join(line.removeprefix("# ") if is_setting(line) else line for line in template.splitlines())


def test_the_dotenv_template_is_true_once_uncommented(project: Path) -> None:
    text = _uncommented(dotenv_template(), lambda line: re.match(r"# [A-Z0-9_]+=", line))
    for field in FIELDS:
        assert not field.families or re.search(rf"^{field.variable}=", text, re.MULTILINE)
    (project / ".env").write_text(text)
    (project / ".env").chmod(0o600)
    found = load_settings(environ={})
    assert found.artifact_root == "s3://my-bucket/mlflow-artifacts"
    assert dict(found.s3_upload_extra_args) == {"ServerSideEncryption": "AES256"}
    assert found.credentials.profile == "my-profile"


def test_the_pyproject_template_is_true_once_uncommented(project: Path) -> None:
    text = _uncommented(pyproject_block(), lambda line: re.match(r"# (\[|[a-z0-9-]+ = )", line))
    (project / "pyproject.toml").write_text(text)
    found = load_settings(environ={})
    assert found.artifact_root == "s3://my-bucket/mlflow-artifacts"
    assert dict(found.promotion["min"]) == {"test/auc": 0.65}
    assert not any(field.key in text for field in FIELDS if field.is_secret)
    assert [str(check) for check in parse_rule(found.promotion).checks] == [
        "test/auc >= 0.65",
        "test/log_loss <= 0.69",
        "test/auc >= Production's - 0.005",
        "test/log_loss <= Production's + 0",
    ]


@given(before=st.text(alphabet="ab =\"'[]{}\n#\\\r", max_size=40))
def test_any_valid_pyproject_stays_valid(tmp_path_factory: pytest.TempPathFactory, before: str) -> None:
    try:
        meant = tomllib.loads(before)
    except tomllib.TOMLDecodeError:
        return
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").write_bytes(before.encode())
    apply_steps(plan_init(root))
    after = (root / "pyproject.toml").read_bytes().decode()
    assert after.startswith(before)
    assert tomllib.loads(after) == meant | {"tool": {"holdfast": {}}}


# --- config show -----------------------------------------------------------------------------


def test_config_show_tells_values_and_sources(project: Path) -> None:
    (project / ".env").write_text(
        f"MLFLOW_AWS_ACCESS_KEY_ID={CANARY}\nMLFLOW_AWS_SECRET_ACCESS_KEY={CANARY}\n"
        f"MLFLOW_TRACKING_URI=postgresql://u:{CANARY}@host/db\n"
    )
    (project / ".env").chmod(0o644)
    done = run("config", "show")
    assert done.exit_code == 0, done.output
    assert "postgresql://u:****@host/db" in done.stdout
    assert ".env MLFLOW_TRACKING_URI" in done.stdout
    assert "chmod 600" in done.stderr
    assert CANARY not in done.output

    document = json.loads(run("config", "show", "--json").stdout)
    assert CANARY not in json.dumps(document)
    settings = {entry["field"]: entry for entry in document["settings"]}
    assert settings["tracking_uri"] == {
        "field": "tracking_uri",
        "value": "postgresql://u:****@host/db",
        "source": "dotenv",
        "name": "MLFLOW_TRACKING_URI",
        "path": str(project / ".env"),
    }
    assert settings["secret_access_key"]["value"] == "****"
    assert settings["registry_uri"]["value"] is None
    assert len(document["notices"]) == 1
    assert document["project_root"] == str(project)


def test_the_command_files_import_only_typer_and_the_standard_library() -> None:
    for name in ("init", "config"):
        text = Path(init_file.__file__).with_name(f"{name}.py").read_text()
        imported = re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)
        assert set(imported) - set(sys.stdlib_module_names) - {"__future__"} == {"typer"}
