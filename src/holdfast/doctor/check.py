"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.doctor.context import Context

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Status(StrEnum):
    """How a check ended, the best first."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"

    @property
    def is_good_enough(self) -> bool:
        """Whether checks that need this one can be made."""
        return self in (Status.OK, Status.WARNING)


class Evidence(StrEnum):
    """How sure a finding is.

    `tried`: the very thing was done. `told`: a server, a file or the system says so. `inferred`: it follows from
    something else.
    """

    TRIED = "tried"
    TOLD = "told"
    INFERRED = "inferred"


@dataclass(frozen=True)
class Fix:
    """What the doctor can mend by itself: something on this machine, or in a bucket, that loses nothing.

    Attributes:
        does: What it does, for the question whether to: `make .env readable for its owner alone`.
        apply: Does it; returns what was done. Raises a HoldfastError where it cannot.
    """

    does: str
    apply: Callable[[], str]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        status: How it ended.
        found: What is the case, in a sentence without an end mark; for `skipped`, why it was not asked.
        remedy: The command or setting that mends it; of a warning or a failure never empty.
        evidence: How sure it is.
        details: Numbers and names for programs; no secret.
        fix: What mends it without a person's hand, if there is such a thing.
        retryable: Whether a failure may pass by itself: nobody answered, or asked to come back later.
    """

    status: Status
    found: str
    remedy: str = ""
    evidence: Evidence = Evidence.TOLD
    details: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    fix: Fix | None = None
    retryable: bool = False


def ok(found: str, evidence: Evidence = Evidence.TOLD, **details: Any) -> Finding:
    """Return a finding that all is well."""
    return Finding(Status.OK, found, evidence=evidence, details=details)


def warning(
    found: str, remedy: str, evidence: Evidence = Evidence.TOLD, fix: Fix | None = None, **details: Any
) -> Finding:
    """Return a finding that is not as it should be, though everything works."""
    return Finding(Status.WARNING, found, remedy, evidence, details, fix)


def failed(
    found: str,
    remedy: str,
    evidence: Evidence = Evidence.TRIED,
    fix: Fix | None = None,
    retryable: bool = False,
    **details: Any,
) -> Finding:
    """Return a finding that something does not work; `retryable` where it may pass by itself."""
    return Finding(Status.FAILED, found, remedy, evidence, details, fix, retryable)


def skipped(why: str, remedy: str = "") -> Finding:
    """Return that it was not asked, or cannot be: it has no part here, or whoever is asked does not say."""
    return Finding(Status.SKIPPED, why, remedy, Evidence.INFERRED)


def failed_with(error: HoldfastError) -> Finding:
    """Return the failure that an error describes."""
    remedy = error.hint or "run the command again with HOLDFAST_DEBUG=1"
    return failed(error.message.rstrip("."), remedy, retryable=error.retryable)


@dataclass(frozen=True)
class Check:
    """One question.

    Attributes:
        name: `group.question`, as in `s3.versioning`.
        asks: The question, for people.
        run: Asks it. It may raise a HoldfastError, which is a failure with that remedy.
        needs: Names of the checks without which it makes no sense: if one of them fails or is skipped, this one is
            skipped, for the same reason.
        timeout_s: How long it may take, in seconds.
        after: Names of the checks that it waits for as well, whatever they find.
    """

    name: str
    asks: str
    run: Callable[[Context], Finding]
    needs: tuple[str, ...] = ()
    timeout_s: float = 6.0
    after: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The first part of its name."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Result:
    """A check and its answer.

    Attributes:
        check: The check.
        finding: What it found.
        took_s: How long it took, in seconds.
    """

    check: Check
    finding: Finding
    took_s: float = 0.0
