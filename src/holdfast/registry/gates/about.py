"""What a version says about itself: tags, description, signature, input example."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.core.promotion import CheckAnswer
from holdfast.registry.gates.answering import NotPassedError, answered
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.mlmodel import columns_of, read_mlmodel, text_of


@dataclass(frozen=True)
class HasTag:
    """Is this tag of the version set, and to this value?

    Attributes:
        key: The tag.
        value: What it must be; an empty text takes any value but an empty one.
    """

    key: str
    value: str = ""

    @property
    def name(self) -> str:
        """`tag team = ml`."""
        return f"tag {self.key} = {self.value}" if self.value else f"tag {self.key}"

    def answer(self, case: Case) -> CheckAnswer:
        """Answer for a version; see `Gate`."""
        return answered(self.name, case, lambda: self._look(case))

    def _look(self, case: Case) -> str:
        # Of a tag that is named like a secret, nobody wants to read the value.
        found = case.candidate.tags.get(self.key, "")
        shown = case.project.redact.mapping({self.key: found})[self.key]
        if not found.strip():
            raise NotPassedError(f"the version has no tag {self.key}; set it to {self.value or 'what applies'}")
        if self.value and found != self.value:
            raise NotPassedError(f"it is {shown!r}")
        return shown


@dataclass(frozen=True)
class HasDescription:
    """Does the version say what it is?"""

    name: str = "description"

    def answer(self, case: Case) -> CheckAnswer:
        """Answer for a version; see `Gate`."""
        return answered(self.name, case, lambda: self._look(case))

    def _look(self, case: Case) -> str:
        length = len(case.candidate.description.strip())
        if not length:
            raise NotPassedError("the version has none; say what it is when registering it, or in MLflow's UI")
        return f"{length} characters"


@dataclass(frozen=True)
class HasSignature:
    """Does the model say what it takes?"""

    name: str = "signature"

    def answer(self, case: Case) -> CheckAnswer:
        """Answer for a version; see `Gate`."""
        return answered(self.name, case, lambda: self._look(case))

    def _look(self, case: Case) -> str:
        signature = read_mlmodel(case).get("signature")
        if not isinstance(signature, Mapping):
            raise NotPassedError("the model has none; log it with signature=infer_signature(inputs, predictions)")
        inputs, outputs = (columns_of(signature, side) for side in ("inputs", "outputs"))
        if not inputs:
            raise NotPassedError("it does not say what the model takes; infer it from inputs and predictions")
        said = f"and gives {outputs}" if outputs else "and does not say what it gives"
        return f"takes {inputs} column{'' if inputs == 1 else 's'} {said}"


@dataclass(frozen=True)
class HasInputExample:
    """Is an input example saved with the model?"""

    name: str = "input-example"

    def answer(self, case: Case) -> CheckAnswer:
        """Answer for a version; see `Gate`."""
        return answered(self.name, case, lambda: self._look(case))

    def _look(self, case: Case) -> str:
        example = read_mlmodel(case).get("saved_input_example_info")
        path = text_of(example.get("artifact_path")) if isinstance(example, Mapping) else ""
        if not path:
            raise NotPassedError("the model has none; log it with input_example=a few rows of its input")
        content = case.file(path).read_bytes()
        if not content or (path.endswith(".json") and not _is_json(content)):
            raise NotPassedError(f"{path} is damaged; log the model again and register that")
        return f"{path}, {len(content):,} bytes"


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True
