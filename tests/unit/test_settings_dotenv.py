"""`.env`: where it is found, how it is read, and what is said about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import InvalidInputError, SettingsError
from holdfast.settings import Settings, load_settings
from holdfast.settings.folder import find_project_folder


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def load(root: Path, content: str | bytes | None = None) -> Settings:
    if content is not None:
        (root / ".env").write_bytes(content.encode() if isinstance(content, str) else content)
        (root / ".env").chmod(0o600)
    return load_settings(start=root, environ={})


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=plain", "plain"),
        ("  NAME = spaced  ", "spaced"),
        ("export NAME=exported", "exported"),
        ("NAME='single quoted # no comment'", "single quoted # no comment"),
        ('NAME="double quoted"', "double quoted"),
        ("NAME=value # a comment", "value"),
        ("NAME=a#b", "a#b"),
        ("NAME='pa$$w${HOME}rd'", "pa$$w${HOME}rd"),
        ("NAME=${HOME}/x", "${HOME}/x"),
        ("# NAME=commented", None),
        ("NAME=", None),
        ("NAME=''", None),
        ("NAME='  '", None),
        ("NAME", None),
        ("NAME=first\r\nOTHER=x\r", "first"),
        ("\ufeffNAME=after a byte order mark", "after a byte order mark"),
        ("OTHER='of\nseveral\nlines'\nNAME=later", "later"),
        ("NAME=ünï©ode", "ünï©ode"),
        ("NAME=early\nNAME=late", "late"),
    ],
)
def test_lines(tmp_path: Path, line: str, value: str) -> None:
    settings = load(tmp_path, line.replace("NAME", "MLFLOW_EXPERIMENT_NAME") + "\n")
    assert settings.experiment_name == (value or tmp_path.name)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("OK=1\n\nMLFLOW_AWS_SECRET_ACCESS_KEY='canary\n", "line 3,"),
        ('MLFLOW_AWS_SECRET_ACCESS_KEY="canary" canary\n', "line 1,"),
        ("=canary\n", "line 1,"),
        ("A=1\n".encode("utf-16"), "not UTF-8"),
        (b"A=\xff canary\n", "not UTF-8"),
        (b"A=1\0canary\n", "NUL"),
        (b"#" * ((1 << 20) + 1), "larger than 1 MiB"),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path: Path, content: str | bytes, told: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path, content)
    assert str(tmp_path / ".env") in refusal.value.message
    assert told in refusal.value.message
    assert "canary" not in str(refusal.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / ".env").touch(0o000)
    with pytest.raises(SettingsError, match="cannot be read: Permission denied"):
        load(tmp_path)


def test_a_read_error_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").touch()
    real_open = Path.open

    def fail_for_dotenv(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == ".env":
            raise PermissionError(13, "Permission denied")
        return real_open(path, *args, **options)

    monkeypatch.setattr(Path, "open", fail_for_dotenv)
    with pytest.raises(SettingsError, match="cannot be read: Permission denied"):
        load(tmp_path)


def test_a_folder_is_told_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "sub" / ".env").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".env").write_text("MLFLOW_EXPERIMENT_NAME=above\n")
    (tmp_path / ".env").chmod(0o600)
    found = load(tmp_path / "sub")
    assert found.experiment_name == "above"
    assert [notice for notice in found.notices if "is a folder" in notice]


def test_a_pipe_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".env")
    (notice,) = load(tmp_path).notices
    assert "not a regular file" in notice


def test_a_link_is_followed_and_a_dead_one_told(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("MLFLOW_EXPERIMENT_NAME=linked\n")
    (tmp_path / "shared").chmod(0o600)
    (tmp_path / ".env").symlink_to(tmp_path / "shared")
    assert load(tmp_path).experiment_name == "linked"
    (tmp_path / "shared").unlink()
    (notice,) = load(tmp_path).notices
    assert "leads nowhere" in notice


@pytest.mark.parametrize(
    ("mode", "is_told"), [(0o600, False), (0o400, False), (0o640, True), (0o644, True), (0o604, True)]
)
def test_a_file_that_others_may_read_is_told(tmp_path: Path, mode: int, is_told: bool) -> None:
    (tmp_path / ".env").touch()
    (tmp_path / ".env").chmod(mode)
    notices = load(tmp_path).notices
    assert bool(notices) == is_told
    if is_told:
        assert f"chmod 600 {tmp_path / '.env'}" in notices[0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("MLFLOW_EXPERIMENT_NAME=a\nMLFLOW_EXPERIMENT_NAME=b\n", "line 2 wins"),
        ('MLFLOW_ARTIFACT_ROOT="x/${USER}"\n', "taken literally"),
        ("MLFLOW_AWS_SECRET_KEY=canary\n", "MLFLOW_AWS_SECRET_ACCESS_KEY is."),
    ],
)
def test_likely_mistakes_are_told(tmp_path: Path, content: str, told: str) -> None:
    (notice,) = load(tmp_path, content).notices
    assert told in notice
    assert "canary" not in notice


def test_nothing_is_told_about_other_programs_names(tmp_path: Path) -> None:
    assert load(tmp_path, "DATABASE_URL=${X}\nDATABASE_URL=b\nMLFLOW_DISABLE_TELEMETRY=true\nAWS_FOO=1\n").notices == ()


# --- Where it is looked for ------------------------------------------------------------------


def tree(root: Path, *paths: str) -> None:
    for path in paths:
        if path.endswith("/"):
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch(0o600)


@pytest.mark.parametrize("marker", ["pyproject.toml", ".git/", ".git", "setup.py", "setup.cfg"])
def test_the_nearest_marker_upwards_is_the_root(tmp_path: Path, marker: str) -> None:
    tree(tmp_path, "pyproject.toml", f"project/{marker}", "project/a/b/")
    project = find_project_folder(tmp_path / "project" / "a" / "b")
    root = (tmp_path / "project").resolve()
    assert project.root == root
    assert project.folders == (root / "a" / "b", root / "a", root)


def test_the_nearest_dotenv_wins_and_the_other_is_told(tmp_path: Path) -> None:
    tree(tmp_path, ".env", "project/pyproject.toml", "project/.env", "project/a/.env", "project/a/b/")
    (tmp_path / "project" / "a" / ".env").write_text("MLFLOW_EXPERIMENT_NAME=near\n")
    found = load(tmp_path / "project" / "a" / "b")
    assert found.experiment_name == "near"
    assert found.project_root == (tmp_path / "project").resolve()
    (notice,) = found.notices
    assert "project/.env is not read" in notice


def test_without_a_marker_only_the_start_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "home/.env", "home/.git/", "home/work/.env", "home/work/sub/")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    project = find_project_folder(tmp_path / "home" / "work" / "sub")
    assert project.root == (tmp_path / "home" / "work" / "sub").resolve()
    assert project.folders == (project.root,)
    assert find_project_folder(tmp_path / "home").root == (tmp_path / "home").resolve()


def test_a_folder_where_anyone_may_write_is_no_root_of_others(tmp_path: Path) -> None:
    tree(tmp_path, "public/pyproject.toml", "public/.env", "public/mine/")
    (tmp_path / "public").chmod(0o1777)
    assert find_project_folder(tmp_path / "public" / "mine").root == (tmp_path / "public" / "mine").resolve()


def test_the_working_directory_is_the_default_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "pyproject.toml", "a/file")
    monkeypatch.chdir(tmp_path / "a")
    assert load_settings(environ={}).project_root == tmp_path.resolve()
    assert find_project_folder(tmp_path / "a" / "file").folders[0] == (tmp_path / "a").resolve()


def test_a_start_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        find_project_folder(tmp_path / "nowhere")
