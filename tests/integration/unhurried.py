"""Examinations with limits that a machine which is busy with other tests keeps too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from holdfast.doctor import catalog as everything
from holdfast.doctor.check import Check
from holdfast.doctor.examine import examine
from holdfast.doctor.report import Report

_TIMES = 10
_TOTAL_S = 120.0


def examine_unhurried(
    start: Path | None,
    environ: Mapping[str, str],
    only: Iterable[str],
    catalog: Sequence[Check] = everything.CATALOG,
) -> Report:
    """Examine as `examine` does, where the limits of its checks are not the matter."""
    patient = [replace(check, timeout_s=_TIMES * check.timeout_s) for check in catalog]
    return examine(start, environ, only, total_s=_TOTAL_S, catalog=patient)
