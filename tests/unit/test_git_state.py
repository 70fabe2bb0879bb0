"""What git says of a working tree: read quickly, from real repositories, and never an error."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from holdfast.tracking import git_state
from holdfast.tracking.git_state import known_state, read_diff, read_state


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=trunk")
    git(folder, "config", "user.name", "Ada L.")
    git(folder, "config", "user.email", "ada@example.com")
    (folder / "train.py").write_text("rate = 1\n")
    (folder / ".env").write_text("KEY=first\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=first")
    return folder


def test_a_clean_tree(repository: Path) -> None:
    (repository / "sub").mkdir()
    for folder in (repository, repository / "sub"):
        state = read_state(folder)
        assert state is not None
        assert (state.commit, state.branch, state.dirty) == (git(repository, "rev-parse", "HEAD"), "trunk", False)
        assert state.author == "Ada L. <ada@example.com>"
    diff = read_diff(repository, 1000)
    assert diff is not None
    assert (diff.text, diff.size_bytes) == ("", 0)


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("new.py", True),
        ("new folder/é.py", True),
        ("a\nb.py", True),
        ("mlflow.db", False),  # what logging itself makes
        ("mlartifacts/1/model.pkl", False),
        (".holdfast/journal/x", False),
        (".env.local", False),  # settings of a machine, which must not be committed
    ],
)
def test_files_in_no_commit(repository: Path, name: str, dirty: bool) -> None:
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text("x")
    state = read_state(repository)
    assert state is not None
    assert state.dirty is dirty
    assert bool(state.untracked) is dirty
    (repository / ".gitignore").write_text(f"{name.partition('/')[0]}\n")
    git(repository, "add", ".gitignore")
    git(repository, "commit", "--quiet", "--message=ignore")
    again = read_state(repository)
    assert again is not None
    assert again.dirty is ("\n" in name)  # a rule is a line


def test_every_kind_of_change_is_one(repository: Path) -> None:
    (repository / "old name.py").write_text("much\nof\nthe\nsame\n")
    (repository / "gone.py").write_text("gone")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=second")
    (repository / "train.py").write_text("rate = 2\n")
    git(repository, "mv", "old name.py", "new name.py")
    (repository / "gone.py").unlink()
    (repository / "staged.py").write_text("x")
    git(repository, "add", "staged.py")
    state = read_state(repository)
    assert state is not None
    assert set(state.changed) == {"train.py", "new name.py", "gone.py", "staged.py"}
    assert (state.dirty, state.untracked) == (True, ())


def test_the_diff_is_whole_and_applies(repository: Path, tmp_path: Path) -> None:
    (repository / "train.py").write_text("rate = 2\n\n")
    (repository / ".env").write_text("KEY=second\n")
    (repository / "server.pem").write_text("private")
    git(repository, "add", "server.pem")
    diff = read_diff(repository / ".", 1 << 20)
    assert diff is not None
    assert "+rate = 2" in diff.text
    assert "second" not in diff.text
    assert "private" not in diff.text
    patch = tmp_path / "p.diff"
    patch.write_text(diff.text + "# in no commit: x\n")
    git(repository, "rm", "--quiet", "--force", "server.pem")
    git(repository, "checkout", "--quiet", "train.py")
    git(repository, "apply", str(patch))
    assert (repository / "train.py").read_text() == "rate = 2\n\n"


def test_a_huge_diff_is_cut_and_its_sum_is_of_all(repository: Path) -> None:
    (repository / "train.py").write_text("x" * 3_000_000)
    small, large = read_diff(repository, 100), read_diff(repository, 1 << 30)
    assert small is not None
    assert large is not None
    assert len(small.text) == 100
    assert (small.sha256, small.size_bytes) == (large.sha256, large.size_bytes)
    assert large.size_bytes > 3_000_000


def test_where_there_is_nothing_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_state(tmp_path) is None
    assert read_diff(tmp_path, 100) is None
    assert read_state(tmp_path / "missing") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_state(tmp_path) is None
    assert read_diff(tmp_path, 100) is None


def test_before_the_first_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch=trunk")
    state = read_state(tmp_path)
    assert state is not None
    assert (state.commit, state.branch) == ("", "trunk")
    assert read_diff(tmp_path, 100) is None


def test_without_a_branch(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")
    state = read_state(repository)
    assert state is not None
    assert (state.branch, state.dirty) == ("", False)


def test_a_repository_cannot_have_its_own_programs_run(repository: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    script = tmp_path / "script.sh"
    script.write_text(f"#!/bin/sh\ntouch '{proof}'\n")
    script.chmod(0o755)
    for name in ("core.fsmonitor", "diff.external", "diff.x.textconv", "core.pager"):
        git(repository, "config", name, str(script))
    (repository / ".gitattributes").write_text("*.py diff=x\n")
    (repository / "train.py").write_text("rate = 3\n")
    assert read_state(repository) is not None
    assert read_diff(repository, 1000) is not None
    assert not proof.exists()


def test_a_hooks_repository_is_not_the_one_that_is_asked(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    state = read_state(repository)
    assert state is not None
    assert state.branch == "trunk"


def test_a_slow_git_is_not_waited_for(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (slow / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow}:/usr/bin:/bin")
    monkeypatch.setattr(git_state, "_STATUS_S", 0.2)
    monkeypatch.setattr(git_state, "_LIMIT_S", 0.4)
    started = time.monotonic()
    assert read_state(repository) is None
    assert time.monotonic() - started < 5


def test_a_slow_status_leaves_open_whether_it_is_clean(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "git").write_text(f'#!/bin/sh\ncase "$*" in *--porcelain*) exec sleep 60;; *) echo {commit};; esac\n')
    (slow / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow}:/usr/bin:/bin")
    monkeypatch.setattr(git_state, "_STATUS_S", 0.2)
    state = read_state(repository)
    assert state is not None
    assert (state.commit, state.dirty) == (commit, None)


def test_git_sees_no_keys(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, canary: str) -> None:
    told = tmp_path / "bin"
    told.mkdir()
    (told / "git").write_text(f"#!/bin/sh\nenv > '{tmp_path}/seen'\n")
    (told / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{told}:/usr/bin:/bin")
    monkeypatch.setenv("MLFLOW_AWS_SECRET_ACCESS_KEY", canary)
    read_state(repository)
    assert "PATH=" in (tmp_path / "seen").read_text()
    assert canary not in (tmp_path / "seen").read_text()


def test_the_state_is_that_of_the_process_s_start(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    first = known_state()
    assert first is not None
    (repository / "train.py").write_text("rate = 9\n")
    assert known_state() is first
    now = read_state(repository)
    assert now is not None
    assert (first.dirty, now.dirty) == (False, True)
