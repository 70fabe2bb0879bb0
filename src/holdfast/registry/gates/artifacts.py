"""Whether a version's files are all there, and unchanged."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.artifacts.store import check_path
from holdfast.core.promotion import CheckAnswer
from holdfast.errors import InvalidInputError
from holdfast.registry.gates.answering import NotPassedError, answered
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.mlmodel import named_files, read_mlmodel


@dataclass(frozen=True)
class Artifacts:
    """Are the version's files all there, and as they were when it was registered?

    All there means MLmodel and what it names. Where nobody recorded a checksum when the version was registered, only
    that is looked at, and the answer says so.
    """

    name: str = "artifacts"

    def answer(self, case: Case) -> CheckAnswer:
        """Answer for a version; see `Gate`."""
        return answered(self.name, case, lambda: self._look(case))

    def _look(self, case: Case) -> str:
        there = set(case.manifest.files)
        folders = {path.rsplit("/", depth)[0] for path in there for depth in range(1, path.count("/") + 1)}
        missing = [path for path in named_files(read_mlmodel(case)) if _within(path) not in there | folders]
        problems = [f"{path} is missing" for path in missing]
        if problems or case.registered not in ("", case.manifest.checksum):
            raise NotPassedError(_what_differs(case, problems))
        count = f"{len(there)} file{'' if len(there) == 1 else 's'}, {case.manifest.size_bytes:,} bytes"
        if not case.registered:
            return f"{count}, all there; nobody recorded a checksum, so nobody can tell whether they have changed"
        return f"{count}, as when registered ({case.registered[:19]}…)"


def _within(path: str) -> str:
    try:
        return check_path(path)
    except InvalidInputError:
        return ""  # outside of the model's folder, so not among its files


def _what_differs(case: Case, problems: list[str]) -> str:
    before = case.registered_files()
    if before is not None:
        problems = list(dict.fromkeys(problems + before.differences(case.manifest)))
    if not problems:
        problems = [f"the files are not those that were registered: {case.manifest.checksum} is not {case.registered}"]
    return "; ".join(problems) + ". Restore them, or log the model again and register that"
