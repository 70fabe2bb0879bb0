"""Whether files of data are still, byte by byte, what a version was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.lineage import DATA_TAG_PREFIX
from holdfast.core.promotion import CheckAnswer
from holdfast.errors import InvalidInputError
from holdfast.registry.fingerprints import fingerprint
from holdfast.registry.gates.case import Case

_LOG_IT = "log the files that are trained on: tracker.log_lineage(data=[…])"


@dataclass(frozen=True)
class SameData:
    """Each file has one of the fingerprints that the run logged.

    The digests of MLflow's own datasets are not asked: they are eight digits over some of the rows, which files of
    different content can share.

    Attributes:
        files: Paths of files or folders; relative ones are taken from the project's root.
    """

    files: tuple[str, ...]

    @property
    def name(self) -> str:
        """What is asked."""
        return f"trained on {', '.join(self.files)}"

    def answer(self, case: Case) -> CheckAnswer:
        """Answer, and name every file that differs."""
        tags = {} if case.run is None else case.run.tags
        known = {
            value: name.removeprefix(DATA_TAG_PREFIX)
            for name, value in tags.items()
            if name.startswith(DATA_TAG_PREFIX)
        }
        if not known:
            return CheckAnswer(self.name, False, f"the version's run has no fingerprint of data: {_LOG_IT}")
        root = case.project.settings.project_root
        found = [_look(root, file, known) for file in self.files]
        problems = [why for passed, why in found if not passed]
        return CheckAnswer(self.name, not problems, "; ".join(problems or [why for _, why in found]))


def _look(root: Path, file: str, known: Mapping[str, str]) -> tuple[bool, str]:
    try:
        now = fingerprint(root / file)
    except InvalidInputError as error:
        return False, error.message
    if now in known:
        return True, f"{file} is {known[now]}, {now[:19]}…"
    logged = ", ".join(f"{name} {value[:19]}…" for value, name in known.items())
    return False, f"{file} is {now[:19]}… now, which the version was not trained on ({logged})"
