"""What the gates look at: a version, the one it would replace, their runs and files, each read once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType

from holdfast.artifacts.store import check_path
from holdfast.backend.entities import ModelVersion, Run
from holdfast.backend.model_places import place_of_version
from holdfast.core.manifest import Manifest
from holdfast.core.stages import Stage
from holdfast.errors import ArtifactError, NotFoundError
from holdfast.project import Project
from holdfast.registry.checksums import measure_folder


class Case:
    """A version that asks to enter a stage. A context manager: what was downloaded is gone at its end.

    Args:
        project: Whose registry.
        candidate: The version.
        target: The stage it is to enter.
        production: The present Production version; None where there is none, or where it is the candidate itself.
        registered: The checksum of the candidate's files when it was registered; empty where nobody recorded it.
        registered_files: Returns the list of those files, or None where nobody kept it; only asked for where they
            have changed, to say which.
    """

    def __init__(
        self,
        project: Project,
        candidate: ModelVersion,
        target: Stage,
        production: ModelVersion | None = None,
        registered: str = "",
        registered_files: Callable[[], Manifest | None] = lambda: None,
    ) -> None:
        self.project = project
        self.candidate = candidate
        self.target = target
        self.production = production
        self.registered = registered
        self.registered_files = registered_files
        self._single: dict[str, Path] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="holdfast-gates-")

    def __enter__(self) -> Case:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.cleanup()

    @cached_property
    def run(self) -> Run | None:
        """The run the candidate came from; None where it has none, or the run is gone."""
        return self._run_of(self.candidate)

    @cached_property
    def production_run(self) -> Run | None:
        """The run of the present Production version; None where there is no such version, or its run is gone."""
        return None if self.production is None else self._run_of(self.production)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The last values of the candidate's run; empty where it has none."""
        return {} if self.run is None else self.run.metrics

    @property
    def production_metrics(self) -> Mapping[str, float] | None:
        """Those of the present Production's run; None where there is no Production version to be compared with."""
        if self.production is None:
            return None
        return {} if self.production_run is None else self.production_run.metrics

    @cached_property
    def place(self) -> str:
        """Where the candidate's files lie, resolved to an address.

        Raises:
            BackendError: The registry cannot say.
        """
        return place_of_version(self.project.connection, self.candidate.name, self.candidate.version)

    @cached_property
    def folder(self) -> Path:
        """A local copy of all the candidate's files, downloaded when first asked for.

        Raises:
            ArtifactError: They are not there, or cannot be read.
        """
        return self.fetch(self.place, "")

    @cached_property
    def manifest(self) -> Manifest:
        """What the candidate's files are now: path, size and SHA-256 of each."""
        return measure_folder(self.folder)

    @property
    def measured(self) -> str:
        """The checksum of the candidate's files, where a gate has looked at them all; else empty."""
        manifest = vars(self).get("manifest")
        return manifest.checksum if isinstance(manifest, Manifest) else ""

    def file(self, path: str) -> Path:
        """A local copy of one of the candidate's files; the others are not downloaded for it.

        Raises:
            ArtifactError: It is not there, or cannot be read.
            InvalidInputError: The path leads out of the model's folder.
        """
        if "folder" not in self.__dict__:
            if path not in self._single:
                self._single[path] = self.fetch(self.place, path)
            return self._single[path]
        found = self.folder / check_path(path)
        if not found.exists():
            raise ArtifactError(f"There is no {path} among the model's files.", "log the model again")
        return found

    def forget_folder(self) -> None:
        """Have whoever asks for the folder next get a fresh copy: this one was changed."""
        self.__dict__.pop("folder", None)

    def fetch(self, root_uri: str, path: str) -> Path:
        """Download a file or folder below an address into the case's own scratch folder.

        Raises:
            ArtifactError: It is not there, or cannot be read.
        """
        into = Path(tempfile.mkdtemp(dir=self._scratch.name))
        return self.project.artifacts.download(root_uri, path, into)

    def _run_of(self, version: ModelVersion) -> Run | None:
        if not version.run_id:
            return None
        try:
            return self.project.runs.get_run(version.run_id)
        except NotFoundError:
            return None
