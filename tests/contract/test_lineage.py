"""What a run came from, on every store: its tags and files, the gates that ask for them, and the way back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import MLflowTracker, open_project
from holdfast.backend.entities import ModelVersion
from holdfast.core.lineage import (
    GIT_COMMIT_TAG,
    GIT_DIFF_TAG,
    GIT_DIRTY_TAG,
    GIT_EARLIER_TAG,
    MLFLOW_COMMIT_TAG,
    MLFLOW_DIRTY_TAG,
)
from holdfast.core.promotion import CheckAnswer
from holdfast.core.stages import Stage
from holdfast.errors import InvalidInputError, NotFoundError, RunStateError
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.data import SameData
from holdfast.registry.gates.git import CleanGit
from holdfast.registry.lineage import Lineage, lineage_of, read_diff
from holdfast.tracking import git_state

# Nothing here differs between databases.
pytestmark = pytest.mark.backends("sqlite", "http")


@pytest.fixture(autouse=True)
def repository() -> Iterator[Path]:
    """The working directory, made a git repository with one commit."""
    git("init", "--quiet", "--initial-branch=trunk")
    git("config", "user.name", "Ada")
    git("config", "user.email", "ada@example.com")
    Path("train.py").write_text("rate = 1\n")
    commit("first")
    yield Path.cwd()
    git_state._known.clear()


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(message: str) -> str:
    """Commit everything, and have the next run see it, as one of a new process would."""
    git("add", "--all")
    git("-c", "commit.gpgsign=false", "commit", "--quiet", f"--message={message}")
    git_state._known.clear()
    return git("rev-parse", "HEAD")


@pytest.fixture
def tracker(tracking_uri: str, unique: str, tmp_path: Path) -> MLflowTracker:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return MLflowTracker(
        tracking_uri=tracking_uri,
        experiment_name=unique,
        artifact_uri=root,
    )


def version(run_id: str) -> ModelVersion:
    return ModelVersion("m", 1, Stage.NONE, "READY", "models:/m-0", run_id, "", 0)


def ask(tracker: MLflowTracker, gate: CleanGit | SameData, run_id: str) -> CheckAnswer:
    tracker.flush()
    with Case(open_project(tracker.settings), version(run_id), Stage.PRODUCTION) as case:
        return gate.answer(case)


def lineage(tracker: MLflowTracker, run_id: str) -> Lineage:
    tracker.flush()
    return lineage_of(open_project(tracker.settings), version(run_id))


# -- code -----------------------------------------------------------------------------


def test_a_run_says_what_code_it_ran(tracker: MLflowTracker) -> None:
    head = git("rev-parse", "HEAD")
    with tracker.run(tags={"team": "a"}) as clean:
        pass
    found = lineage(tracker, clean)
    assert (found.commit, found.branch, found.author, found.is_dirty) == (head, "trunk", "Ada <ada@example.com>", False)
    assert tracker.get_run_info(clean)["tags"]["team"] == "a"
    answer = ask(tracker, CleanGit(), clean)
    assert (answer.passed, answer.reason) == (True, f"commit {head[:12]}, nothing uncommitted")

    Path("new.py").write_text("x")
    git_state._known.clear()
    with tracker.run() as dirty:
        pass
    answer = ask(tracker, CleanGit(), dirty)
    assert not answer.passed
    assert "uncommitted changes: commit what `git status` shows" in answer.reason


def test_a_run_that_is_gone_on_with_stays_dirty(tracker: MLflowTracker) -> None:
    Path("train.py").write_text("rate = 2\n")
    with tracker.run() as run_id:
        pass
    first, second = git("rev-parse", "HEAD"), commit("second")
    with tracker.run(run_id=run_id):
        pass
    tags = tracker.get_run_info(run_id)["tags"]
    assert (tags[GIT_COMMIT_TAG], tags[GIT_EARLIER_TAG], tags[GIT_DIRTY_TAG]) == (second, first, "true")
    assert lineage(tracker, run_id).earlier_commits == (first,)
    with tracker.run() as clean:
        pass
    Path("train.py").write_text("rate = 3\n")
    third = commit("third")
    with tracker.run(run_id=clean):
        pass
    assert lineage(tracker, clean).is_dirty is False
    assert lineage(tracker, clean).commit == third


def test_a_run_that_got_dirty_says_so(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        Path("train.py").write_text("rate = 2\n")
        tracker.log_lineage()
    assert lineage(tracker, run_id).is_dirty is True
    git_state._known.clear()
    with tracker.run() as cleaned:
        git("checkout", "--quiet", "train.py")
        tracker.log_lineage()
    assert lineage(tracker, cleaned).is_dirty is True  # it began so


def test_the_tags_can_be_switched_off(tracker: MLflowTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_LINEAGE", "off")
    silent = MLflowTracker(
        tracking_uri=tracker.settings.tracking_uri,
        experiment_name=tracker.experiment_name,
        artifact_uri=tracker.settings.artifact_root,
    )
    with silent.run() as run_id:
        pass
    assert not [name for name in silent.get_run_info(run_id)["tags"] if name.startswith("holdfast.git")]
    assert "names no commit" in ask(silent, CleanGit(), run_id).reason
    with silent.run() as asked:
        silent.log_lineage(environment=False)
    assert lineage(silent, asked).is_dirty is False


def test_mlflows_own_tags_count_where_there_are_no_others(
    tracker: MLflowTracker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, theirs = "d" * 40, "c" * 40
    cases: list[tuple[dict[str, str], bool, str]] = [
        ({MLFLOW_COMMIT_TAG: theirs}, False, "not whether anything was uncommitted"),
        ({MLFLOW_COMMIT_TAG: theirs, MLFLOW_DIRTY_TAG: "False"}, True, "nothing uncommitted"),
        ({MLFLOW_COMMIT_TAG: theirs, MLFLOW_DIRTY_TAG: "true"}, False, "uncommitted changes"),
        ({MLFLOW_COMMIT_TAG: theirs, GIT_DIRTY_TAG: "false"}, False, "not whether"),
        ({GIT_COMMIT_TAG: ours, GIT_DIRTY_TAG: "false", MLFLOW_COMMIT_TAG: theirs}, False, "two commits"),
        ({GIT_COMMIT_TAG: ours}, False, "not whether"),
        ({GIT_DIRTY_TAG: "false"}, False, "names no commit"),
    ]
    monkeypatch.chdir(tmp_path)  # no repository
    for tags, passed, said in cases:
        with tracker.run(tags=tags) as run_id:
            pass
        answer = ask(tracker, CleanGit(), run_id)
        assert (answer.passed, said in answer.reason) == (passed, True), answer.reason


def test_uncommitted_changes_are_kept_without_secrets(
    tracking_uri: str, unique: str, tmp_path: Path, canary: str
) -> None:
    tracker = MLflowTracker(
        tracking_uri=tracking_uri,
        experiment_name=unique,
        artifact_uri=None if tracking_uri.startswith("http") else str(tmp_path / "artifacts"),
        s3_access_key_id="AKIAMADEUP",
        s3_secret_access_key=canary,
    )
    Path(".env").write_text("KEY=1\n")
    commit("with a .env that should not be there")
    Path("train.py").write_text(
        f'rate = 2\nurl = "postgresql://me:{canary}@host/db"\nclient("{canary}")\npwd = "hunter22"\n'
    )
    Path(".env").write_text(f"KEY={canary}\n")
    Path("new.py").write_text(canary)
    Path("a\nb.py").write_text("x")
    try:
        with tracker.run() as run_id:
            tracker.log_lineage()
        found = lineage(tracker, run_id)
        diff = read_diff(open_project(tracker.settings), found)
    finally:
        for name in ("train.py", "new.py"):  # what the user wrote is no leak of ours
            Path(name).unlink()
    assert found.diff_sha256 == tracker.get_run_info(run_id)["tags"][GIT_DIFF_TAG]
    assert len(found.diff_sha256) == 64
    assert "+rate = 2" in diff
    assert canary not in diff
    assert "hunter22" not in diff
    assert "# changed, and never kept: .env\n" in diff
    assert "# in no commit: new.py\n" in diff
    assert r"# in no commit: 'a\nb.py'" in diff
    assert [what.partition(":")[0] for what in found.missing] == ["no fingerprint of the data"]


def test_without_a_repository_the_rest_is_logged(
    tracker: MLflowTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    monkeypatch.chdir(bare)
    for _ in range(2):
        with tracker.run() as run_id:
            tracker.log_lineage()
    assert caplog.text.count("the code's state is not known") == 1
    found = lineage(tracker, run_id)
    assert (found.commit, found.is_dirty, found.environment_file) == ("", None, "lineage/environment.txt")
    assert [what.partition(":")[0] for what in found.missing] == ["no commit", "no fingerprint of the data"]
    with pytest.raises(NotFoundError, match="has no uncommitted diff"):
        read_diff(open_project(tracker.settings), found)


def test_the_environment_is_listed(tracker: MLflowTracker) -> None:
    with tracker.run() as run_id:
        tracker.log_lineage()
    found = lineage(tracker, run_id)
    with Case(open_project(tracker.settings), version(run_id), Stage.PRODUCTION) as case:
        assert case.run is not None
        lines = case.fetch(case.run.artifact_uri, found.environment_file).read_text().splitlines()
    assert lines[0].startswith("# python 3.")
    assert any(line.startswith("mlflow") and "==" in line for line in lines)


# -- data -----------------------------------------------------------------------------


def test_data_is_the_same_to_the_byte(tracker: MLflowTracker, tmp_path: Path) -> None:
    games, folder = tmp_path / "games.csv", tmp_path / "images"
    games.write_text("a,b\n1,2\n")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "1.png").write_bytes(b"1")
    with tracker.run() as run_id:
        tracker.log_lineage([games, folder], environment=False)
    copied = tmp_path / "copy.csv"
    copied.write_bytes(games.read_bytes())
    files = (str(copied), str(folder))
    answer = ask(tracker, SameData(files), run_id)
    assert answer.passed
    assert f"{copied} is games.csv, sha256:" in answer.reason
    assert set(lineage(tracker, run_id).data or {}) == {"games.csv", "images"}
    games.write_text("a,b\n1,3\n")
    (folder / "deep" / "1.png").rename(folder / "deep" / "2.png")
    answer = ask(tracker, SameData((str(games), str(folder), str(tmp_path / "missing"))), run_id)
    assert not answer.passed
    assert answer.reason.count("which the version was not trained on") == 2
    assert "missing cannot be read" in answer.reason
    with tracker.run() as without:
        pass
    assert "no fingerprint of data: log the files" in ask(tracker, SameData(files), without).reason


def test_data_is_named(tracker: MLflowTracker, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "d%ta.csv").write_text(name)
    paths = [tmp_path / "one" / "d%ta.csv", tmp_path / "two" / "d%ta.csv"]
    with tracker.run() as run_id:
        with pytest.raises(InvalidInputError, match="have the same name"):
            tracker.log_lineage(paths)
        tracker.log_lineage({"train": paths[0], "password": paths[1]}, environment=False)
        tracker.log_lineage(paths[:1], environment=False)
        bad: list[Any] = [[tmp_path / "missing"], str(tmp_path), {"na$me": tmp_path}]
        for data in bad:
            with pytest.raises(InvalidInputError):
                tracker.log_lineage(data)
    data = lineage(tracker, run_id).data or {}
    assert set(data) == {"train", "password", "d_ta.csv"}
    assert all(value.startswith("sha256:") for value in data.values())
    with pytest.raises(RunStateError):
        tracker.log_lineage()


def test_a_version_without_a_run_has_no_lineage(tracker: MLflowTracker) -> None:
    for run_id, why in (("", "registered without a run"), ("0" * 32, "the run is gone")):
        found = lineage(tracker, run_id)
        assert why in found.missing[0]
        assert found.to_dict()["data"] == {}
        for gate in (CleanGit(), SameData(("x",))):
            assert not ask(tracker, gate, run_id).passed
