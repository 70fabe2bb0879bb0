"""What a run came from: the code's commit and uncommitted changes, the data's fingerprints, the environment."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TypeAlias

from holdfast.core.key_patterns import mask_keys_in
from holdfast.core.lineage import (
    DATA_TAG_PREFIX,
    DIFF_FILE,
    ENVIRONMENT_FILE,
    GIT_AUTHOR_TAG,
    GIT_BRANCH_TAG,
    GIT_COMMIT_TAG,
    GIT_DIFF_TAG,
    GIT_DIRTY_TAG,
    GIT_EARLIER_TAG,
    LINEAGE_FOLDER,
)
from holdfast.core.names import MAX_TAG_LENGTH, check_keys
from holdfast.errors import InvalidInputError
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.registry.fingerprints import fingerprint
from holdfast.tracking.git_state import PRIVATE_FILES, Diff, GitState, known_state, read_diff, read_state
from holdfast.tracking.open_run import OpenRun
from holdfast.tracking.run_files import log_files

DataPaths: TypeAlias = "Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]]"

_log = get_logger(__name__)
_MOST_DIFF_BYTES = 1 << 20
_MOST_NAMED = 1000
_NOT_IN_TAGS = re.compile(r"[^\w.\- ]")


def git_tags(project: Project, earlier: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the tags of the code's state for a run that is begun, or gone on with.

    The state is that of the working directory when this process first asked for it; without a repository there are no
    tags. Nothing is raised.

    Args:
        project: Whose setting decides, and whose secrets are hidden.
        earlier: The tags of a run that is gone on with: one that ever was dirty stays so.
    """
    if project.settings.lineage == "off":
        return {}
    state = known_state()
    return {} if state is None else _continued(_tags_of(project, state), earlier or {})


def _tags_of(project: Project, state: GitState) -> dict[str, str]:
    dirty = "" if state.dirty is None else str(state.dirty).lower()
    texts = {
        GIT_COMMIT_TAG: state.commit,
        GIT_BRANCH_TAG: state.branch,
        GIT_AUTHOR_TAG: state.author,
        GIT_DIRTY_TAG: dirty,
    }
    return {name: project.redact(text)[:MAX_TAG_LENGTH] for name, text in texts.items() if text}


def _continued(tags: dict[str, str], earlier: Mapping[str, str]) -> dict[str, str]:
    before = earlier.get(GIT_COMMIT_TAG)
    if before is None:
        return tags
    if earlier.get(GIT_DIRTY_TAG) != "false":
        tags = {name: text for name, text in tags.items() if name != GIT_DIRTY_TAG}
    known = earlier.get(GIT_EARLIER_TAG, "").split()
    return tags | _moved(tags, [*known, before])


def _moved(tags: Mapping[str, str], before: Sequence[str]) -> dict[str, str]:
    """Return the tag of the commits that the run was at before, where it is at another one now."""
    others = [commit for commit in dict.fromkeys(before) if commit and commit != tags.get(GIT_COMMIT_TAG)]
    return {GIT_EARLIER_TAG: " ".join(others)[-MAX_TAG_LENGTH:]} if others else {}


def _tags_now(project: Project, state: GitState) -> dict[str, str]:
    """Return the tags of a state that is read while a run is open; what it was begun with has its tags already."""
    tags = _tags_of(project, state)
    begun = known_state() if project.settings.lineage == "tags" else None
    if begun is None:
        return tags
    # A tree that was dirty when the run began ran as such, whatever was committed since.
    kept = {name: text for name, text in tags.items() if name != GIT_DIRTY_TAG or state.dirty}
    return kept | _moved(kept, [begun.commit])


def data_tags(data: DataPaths | None) -> dict[str, str]:
    """Return a tag for each file or folder that a run is trained on, its fingerprint.

    Raises:
        InvalidInputError: One is missing, two have the same name, or a name is none that MLflow takes.
    """
    named = _named({} if data is None else data)
    tags = {f"{DATA_TAG_PREFIX}{name}": path for name, path in named.items()}
    check_keys(tags, "data")
    return {tag: fingerprint(path) for tag, path in tags.items()}


def _named(data: DataPaths) -> dict[str, Path]:
    if isinstance(data, Mapping):
        return {str(name): Path(path) for name, path in data.items()}
    if isinstance(data, str | bytes | os.PathLike):
        raise InvalidInputError(f"{data!r:.80} is one path.", "give a list of paths, or a dictionary of name and path")
    paths = [Path(path) for path in data]
    named = {_NOT_IN_TAGS.sub("_", path.resolve().name): path for path in paths}
    if len(named) < len(paths):
        raise InvalidInputError(
            f"Two of {', '.join(map(str, paths))} have the same name.", 'name them: {"train": path, "test": other_path}'
        )
    return named


def log_lineage(project: Project, run: OpenRun, data: DataPaths | None, diff: bool, environment: bool) -> None:
    """Log what a run came from; see `MLflowTracker.log_lineage`."""
    tags = data_tags(data)
    folder = Path.cwd()
    state = read_state(folder)
    texts = {ENVIRONMENT_FILE: environment_text()} if environment else {}
    if state is None and diff:
        _say_no_repository(str(folder))
    if state is not None:
        tags |= _tags_now(project, state)
        found = read_diff(folder, _MOST_DIFF_BYTES) if diff and state.dirty and state.commit else None
        if found is not None:
            tags[GIT_DIFF_TAG] = found.sha256
            texts[DIFF_FILE] = _diff_text(project, state, found)
    project.runs.log(run.run_id, tags=tags)
    _log_texts(project, run, {path: project.redact(text) for path, text in texts.items()})


@cache
def _say_no_repository(folder: str) -> None:
    _log.warning(
        "the code's state is not known: no git repository, no git, or git does not trust the folder",
        folder=folder,
        hint="run `git status` there",
    )


def _diff_text(project: Project, state: GitState, diff: Diff) -> str:
    """Return the changes with keys masked, and what was left out of them as comments, which `git apply` skips."""
    kept = len(diff.text.encode(errors="replace"))
    text, masked = mask_keys_in(project.redact(diff.text))
    said = [f"# {masked} texts that look like keys or passwords are masked"] if masked else []
    if diff.size_bytes > _MOST_DIFF_BYTES:
        said.append(f"# cut here: {kept:,} of {diff.size_bytes:,} bytes are kept; sha256 of all {diff.sha256}")
    left_out = [path for path in state.changed if any(Path(path).match(pattern) for pattern in PRIVATE_FILES)]
    said += [f"# changed, and never kept: {_in_one_line(path)}" for path in left_out]
    said += [f"# in no commit: {_in_one_line(path)}" for path in state.untracked[:_MOST_NAMED]]
    if len(state.untracked) > _MOST_NAMED:
        said.append(f"# in no commit: {len(state.untracked) - _MOST_NAMED:,} more")
    return "\n".join([text.rstrip("\n"), *said]).lstrip("\n") + "\n"


def _in_one_line(path: str) -> str:
    return path if path.isprintable() else repr(path)


def environment_text() -> str:
    """Return Python's version, the platform, and every installed distribution as `name==version`."""
    found = {_name_and_version(item) for item in distributions()}
    listed = sorted((f"{name}=={version}" for name, version in found if name), key=str.lower)
    head = [f"# python {platform.python_version()} ({platform.python_implementation()})", f"# {platform.platform()}"]
    return "\n".join([*head, *listed]) + "\n"


def _name_and_version(item: Distribution) -> tuple[str, str]:
    """Return both of a distribution: its two properties parse the whole description, once each."""
    text = item.read_text("METADATA") or item.read_text("PKG-INFO") or ""
    fields = (line.partition(":") for line in text.split("\n\n", 1)[0].splitlines())
    said = {name: value.strip() for name, _, value in fields}
    return said.get("Name", ""), said.get("Version", "")


def _log_texts(project: Project, run: OpenRun, texts: Mapping[str, str]) -> None:
    if not texts:
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-lineage-") as scratch:
        sources = []
        for path, text in texts.items():
            local = Path(scratch, path.removeprefix(f"{LINEAGE_FOLDER}/"))
            local.write_text(text, encoding="utf-8", errors="replace")
            sources.append((local, path))
        log_files(project, run, sources, None)
