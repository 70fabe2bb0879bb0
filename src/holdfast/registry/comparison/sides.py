"""What is read of each version that is compared: its run, its files, its signature, its plots."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.backend.entities import ModelVersion, Run
from holdfast.backend.loading import read_model_file
from holdfast.backend.model_places import place_of_version
from holdfast.errors import ArtifactError, HoldfastError, NotFoundError
from holdfast.project import Project
from holdfast.registry.lineage import lineage_of

# A page that somebody opens in a browser, and mails: some plots, none of them a photograph.
_MOST_PLOTS, _LARGEST_PLOT_BYTES, _ALL_PLOTS_BYTES = 40, 2 << 20, 16 << 20
_MOST_FOLDERS = 200
_MOST_FILES = 2000
_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Side:
    """One of the two versions.

    Attributes:
        version: The version.
        run: The run it came from; None where it has none, or the run is gone.
        checksum: Of its files when it was registered; empty where nobody recorded it.
        files: The sizes of its files in bytes, by path.
        flavors: What it can be loaded as.
        signature: The types of the columns of its signature, by `inputs: age`.
        lineage: What it was made from, as text, by name.
        problems: What could not be found out, and why.
    """

    version: ModelVersion
    run: Run | None
    checksum: str
    files: Mapping[str, int] = field(default_factory=dict)
    flavors: tuple[str, ...] = ()
    signature: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The bytes of all files together."""
        return sum(self.files.values())


@dataclass(frozen=True)
class Plot:
    """An image that both runs have under the same path, and its media type."""

    path: str
    media_type: str
    a: bytes = field(repr=False)
    b: bytes = field(repr=False)


def side_of(project: Project, version: ModelVersion, checksum: str) -> Side:
    """Read what is to be compared of a version.

    Raises:
        BackendError: The registry or the tracking store cannot be asked.
    """
    problems: list[str] = []
    files: dict[str, int] = {}
    flavors: tuple[str, ...] = ()
    signature: dict[str, str] = {}
    try:
        place = place_of_version(project.connection, version.name, version.version)
        files, is_all = _walk(project, place)
        if not is_all:
            problems.append(
                f"version {version.version} has more than {len(files):,} files; the others are not compared"
            )
        flavors, signature = _model_file(project, place)
    except HoldfastError as error:
        problems.append(f"the files of version {version.version}: {error.message}")
    run = _run_of(project, version, problems)
    return Side(
        version=version,
        run=run,
        checksum=checksum,
        files=files,
        flavors=flavors,
        signature=signature,
        lineage=_lineage(project, version, run, problems),
        problems=tuple(problems),
    )


def plots_of(project: Project, a: Run | None, b: Run | None, problems: list[str]) -> tuple[tuple[Plot, ...], int]:
    """Return the images that both runs have under the same path, and how many were left out."""
    if a is None or b is None:
        return (), 0
    try:
        ours, theirs = (_images(project, run) for run in (a, b))
        both = sorted(set(ours) & set(theirs))
        chosen = _chosen({path: max(ours[path], theirs[path]) for path in both})
        with tempfile.TemporaryDirectory(prefix="holdfast-plots-") as scratch:
            plots = tuple(_plot(project, a, b, path, Path(scratch)) for path in chosen)
    except ArtifactError as error:
        problems.append(f"plots: {error.message}")
        return (), 0
    return plots, len(both) - len(plots)


def _run_of(project: Project, version: ModelVersion, problems: list[str]) -> Run | None:
    if not version.run_id:
        problems.append(f"version {version.version} has no run")
        return None
    try:
        return project.runs.get_run(version.run_id)
    except NotFoundError:
        problems.append(f"the run of version {version.version} is gone: {version.run_id}")
        return None


def _model_file(project: Project, place: str) -> tuple[tuple[str, ...], dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="holdfast-compare-") as scratch:
        project.artifacts.download(place, "MLmodel", Path(scratch))
        found = read_model_file(Path(scratch))
    columns = {f"{part}: {name}": kind for part, names in found.signature.items() for name, kind in names.items()}
    return found.flavors, columns


def _walk(project: Project, root: str) -> tuple[dict[str, int], bool]:
    """Return the sizes of the files below a root by path, and whether these are all of them."""
    files: dict[str, int] = {}
    folders = [""]
    for _ in range(_MOST_FOLDERS):
        if not folders or len(files) > _MOST_FILES:
            break
        for item in project.artifacts.list_files(root, folders.pop(0)):
            if item.is_dir:
                folders.append(item.path)
            else:
                files[item.path] = item.size_bytes or 0
    return files, not folders


def _images(project: Project, run: Run) -> dict[str, int]:
    files, _ = _walk(project, run.artifact_uri)
    return {path: size for path, size in files.items() if Path(path).suffix.lower() in _IMAGES}


def _chosen(sizes: Mapping[str, int]) -> list[str]:
    chosen: list[str] = []
    room = _ALL_PLOTS_BYTES
    for path, size_bytes in sizes.items():
        if size_bytes <= _LARGEST_PLOT_BYTES and 2 * size_bytes <= room and len(chosen) < _MOST_PLOTS:
            chosen.append(path)
            room -= 2 * size_bytes
    return chosen


def _plot(project: Project, a: Run, b: Run, path: str, scratch: Path) -> Plot:
    ours, theirs = (
        project.artifacts.download(run.artifact_uri, path, Path(tempfile.mkdtemp(dir=scratch))).read_bytes()
        for run in (a, b)
    )
    return Plot(path, _IMAGES[Path(path).suffix.lower()], ours, theirs)


def _lineage(project: Project, version: ModelVersion, run: Run | None, problems: list[str]) -> dict[str, str]:
    """Return what a version was made from as text: code, data, and the packages that were installed."""
    try:
        found = lineage_of(project, version)
        packages = _packages(project, run, found.environment_file)
    except ArtifactError as error:
        problems.append(f"what version {version.version} was made from: {error.message}")
        return {}
    dirty = {True: "yes", False: "no", None: ""}[found.is_dirty]
    facts = {
        "user": found.user,
        "script": found.script,
        "commit": found.commit,
        "branch": found.branch,
        "author": found.author,
        "uncommitted changes": dirty,
        "uncommitted changes, SHA-256": found.diff_sha256,
        **{f"data {name}": value for name, value in (found.data or {}).items()},
        **packages,
    }
    return {key: value for key, value in facts.items() if value}


def _packages(project: Project, run: Run | None, path: str) -> dict[str, str]:
    if run is None or not path:
        return {}
    with tempfile.TemporaryDirectory(prefix="holdfast-compare-") as scratch:
        text = project.artifacts.download(run.artifact_uri, path, Path(scratch)).read_text("utf-8", "replace")
    pairs = (line.partition("==") for line in text.splitlines())
    return {f"package {name.strip()}": number.strip() for name, mark, number in pairs if mark}
