"""What the doctor asks of git, and what it mends in a project's files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from holdfast.doctor.check import Status
from holdfast.doctor.examine import examine
from holdfast.doctor.fixing import apply_fixes, examine_again


@pytest.fixture
def project() -> Path:
    """A repository with a `.env` that only its owner reads, and that git neither keeps nor ignores."""
    folder = Path.cwd()
    (folder / "pyproject.toml").write_text("")
    (folder / ".env").write_text("MLFLOW_EXPERIMENT_NAME=games\n")
    (folder / ".env").chmod(0o600)
    subprocess.run(["git", "init", "-q"], check=True)
    return folder


def test_fixes_mend_and_have_nothing_to_do_the_second_time(project: Path) -> None:
    (project / ".env").chmod(0o644)
    (project / ".holdfast").mkdir()
    before = examine(only=["env"])
    assert {result.check.name for result in before.fixable} == {"env.dotenv_private", "env.git_ignored"}
    fixed = apply_fixes(before.fixable)
    assert [item.error for item in fixed] == ["", ""]
    after = examine_again(before, fixed)
    assert (after.is_spotless, after.fixable) == (True, []), str(after)
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert [line for line in (project / ".gitignore").read_text().splitlines() if line[0] != "#"] == [
        ".env",
        ".holdfast/",
    ]
    assert len(after.results) == len(before.results)


def test_the_command_works_on_a_file_without_a_line_break_at_its_end(project: Path) -> None:
    (project / ".gitignore").write_text("build")
    (result,) = examine(only=["env.git_ignored"]).results
    subprocess.run(["sh", "-c", result.finding.remedy], check=True)
    assert (project / ".gitignore").read_text().split() == ["build", ".env"]
    (result,) = examine(only=["env.git_ignored"]).results
    assert result.finding.status is Status.OK


def test_a_fix_that_cannot_be_applied_says_so(project: Path) -> None:
    (project / ".gitignore").mkdir()
    (fixed,) = apply_fixes(examine(only=["env.git_ignored"]).fixable)
    assert (fixed.done, fixed.check) == ("", "env.git_ignored")
    assert ".gitignore is a folder" in fixed.error


def test_a_folder_that_git_says_nothing_about_is_skipped(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(project / ".git")
    names = ["env.git_ignored", "env.git_tracked"]
    assert {result.finding.found for result in examine(only=names).results} == {f"{project} is in no git repository"}
    monkeypatch.setenv("PATH", str(project))
    assert {result.finding.found for result in examine(only=names).results} == {"git is not installed"}


def test_what_a_hook_of_git_sets_does_not_lead_elsewhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "add", "-f", ".env"], check=True)
    monkeypatch.setenv("GIT_DIR", str(project / "elsewhere"))
    (result,) = examine(only=["env.git_tracked"]).results
    assert result.finding.status is Status.FAILED
