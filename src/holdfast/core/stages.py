"""The four stages of a model version, and the alias that goes with each."""

from __future__ import annotations

from enum import StrEnum

from holdfast.errors import InvalidInputError

STAGE_TAG = "holdfast.stage"


class Stage(StrEnum):
    """None → Staging → Production → Archived, spelt as MLflow spells them."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"

    @property
    def alias(self) -> str | None:
        """The alias that points at this stage's version: `staging`, `production`, else None."""
        return self.value.lower() if self in (Stage.STAGING, Stage.PRODUCTION) else None

    @property
    def holds_one(self) -> bool:
        """Whether at most one version of a model is in this stage."""
        return self.alias is not None


def parse_stage(stage: object) -> Stage:
    """Return the stage named in any case (`production`), or by Python's `None`.

    Raises:
        InvalidInputError: There is no such stage.
    """
    if isinstance(stage, Stage):
        return stage
    if stage is None or isinstance(stage, str):
        wanted = "none" if stage is None else stage.strip().lower()
        for known in Stage:
            if known.value.lower() == wanted:
                return known
    raise InvalidInputError(f"{stage!r} is no stage.", "use None, Staging, Production or Archived")
