"""How much a promotion rule asks of statistics: settings of the bootstrap and of the drift report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BootstrapRule:
    """How a difference to the present Production is judged where both runs logged a score an example.

    Attributes:
        confidence: Of the two-sided interval of the mean difference; above 0 and below 1.
        resamples: How many bootstrap resamples are drawn.
        seed: Of their drawing; the same evidence always gets the same answer.
        evidence: `no-harm` passes only where the interval rules out a loss above the tolerance; `harm` refuses only
            where it shows one.
    """

    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0
    evidence: str = "no-harm"


@dataclass(frozen=True)
class DriftRule:
    """When new data counts as drifted from what a version was trained on.

    Attributes:
        reference: The artifact of the version's run that holds a sample of its training data (CSV).
        current: A local CSV file with the new data.
        columns: The columns to compare; all that both have where empty.
        alpha: The chance of a false alarm over all columns together, where nothing has drifted.
        min_psi: The population stability index below which a difference, however significant, is too small to matter.
        max_drifted: How many columns may have drifted.
    """

    reference: str
    current: str
    columns: tuple[str, ...] = ()
    alpha: float = 0.01
    min_psi: float = 0.1
    max_drifted: int = 0
