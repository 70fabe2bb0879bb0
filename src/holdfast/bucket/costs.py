"""What a bucket costs in a month, estimated from what lies in it and from a table of prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.bucket.prices import Prices, tiered
from holdfast.bucket.usage import SMALL_BYTES, Tally, Usage

# S3 charges these for at least 128 KiB of each object …
_WITH_LEAST = ("STANDARD_IA", "ONEZONE_IA", "GLACIER_IR")
# … and keeps of each of these so much beside it: an index in the class itself, and a name in STANDARD.
_ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
_INDEX_BYTES, _NAME_BYTES = 32 << 10, 8 << 10
_CHEAPER = "STANDARD_IA"


@dataclass(frozen=True)
class Line:
    """One line of an estimate.

    Attributes:
        what: What is paid for.
        storage_class: Its storage class.
        objects: How many objects.
        size_bytes: Their size.
        billed_bytes: The size that is paid for.
        per_month: What it costs a month; None where the table has no price for the class.
    """

    what: str
    storage_class: str
    objects: int
    size_bytes: int
    billed_bytes: int
    per_month: float | None


@dataclass(frozen=True)
class Saving:
    """What moving an experiment that no registered version uses to a cheaper class would save.

    Attributes:
        name: The experiment.
        storage_class: The cheaper class.
        size_bytes: How much would be moved; small objects stay, for they would cost more there.
        per_month: What it saves a month.
        once: What moving it costs.
    """

    name: str
    storage_class: str
    size_bytes: int
    per_month: float
    once: float


@dataclass(frozen=True)
class Estimate:
    """What a bucket costs.

    Attributes:
        prices: The prices.
        lines: What is stored, and what it costs a month.
        experiments: What each experiment's share of the storage is, by name; other folders end with a slash.
        fetching: What fetching everything once over the internet costs: transfer, requests, retrieval.
        egress_gb: How many GB are fetched in a month, as somebody says; None where nobody does.
        egress: What their transfer costs.
        storing: What the requests cost that it took to store everything.
        savings: What could be saved.
        notes: What is not in it.
    """

    prices: Prices
    lines: tuple[Line, ...]
    experiments: Mapping[str, float]
    fetching: float
    egress_gb: float | None
    egress: float
    storing: float
    savings: tuple[Saving, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def per_month(self) -> float:
        """What storage costs a month, and what is fetched if somebody said how much that is."""
        return sum(line.per_month or 0.0 for line in self.lines) + self.egress

    def as_document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "region": self.prices.region,
            "region_is_fallback": self.prices.is_fallback,
            "prices_as_of": self.prices.as_of,
            "prices_source": self.prices.source,
            "currency": self.prices.currency,
            "per_month": round(self.per_month, 4),
            "storage": [
                {
                    "what": line.what,
                    "class": line.storage_class,
                    "objects": line.objects,
                    "bytes": line.size_bytes,
                    "billed_bytes": line.billed_bytes,
                    "per_month": None if line.per_month is None else round(line.per_month, 4),
                }
                for line in self.lines
            ],
            "by_experiment": {name: round(cost, 4) for name, cost in self.experiments.items()},
            "fetching_everything_once": round(self.fetching, 4),
            "egress_gb": self.egress_gb,
            "egress": round(self.egress, 4),
            "requests_of_storing": round(self.storing, 4),
            "savings": [
                {
                    "name": saving.name,
                    "class": saving.storage_class,
                    "bytes": saving.size_bytes,
                    "per_month": round(saving.per_month, 4),
                    "once": round(saving.once, 4),
                }
                for saving in self.savings
            ],
            "notes": self.notes,
        }


def estimate(usage: Usage, prices: Prices, egress_gb: float | None = None, unused: Iterable[str] = ()) -> Estimate:
    """Return what a bucket costs.

    Args:
        usage: What lies in it.
        prices: What that costs.
        egress_gb: How many GB leave AWS in a month; None where nobody knows.
        unused: The folders below the root, of experiments that no registered version uses: they might be moved.
    """
    current = usage.by_class()
    stored = {"current": current, "not current": usage.old_versions or {}, "unfinished uploads": usage.uploads or {}}
    notes = list(usage.notes)
    lines = tuple(_lines(stored, prices, notes))
    unknown = sorted({line.storage_class for line in lines if line.per_month is None})
    if unknown:
        notes.append(f"the table has no price for {', '.join(unknown)} in {prices.region}")
    if "INTELLIGENT_TIERING" in current:
        notes.append("INTELLIGENT_TIERING is counted at its price for frequent access, without the monitoring fee")
    return Estimate(
        prices,
        lines,
        _shares(usage, lines, prices),
        _fetching(current, prices),
        egress_gb,
        tiered(prices.egress, max(0.0, (egress_gb or 0.0) - prices.egress_free_gb)),
        sum(tally.objects * prices.put_per_1000.get(name, 0.0) / 1000 for name, tally in current.items()),
        tuple(_savings(usage, prices, set(unused))),
        notes,
    )


def billed_bytes(storage_class: str, tally: Tally) -> int:
    """Return what is paid for in a class: small objects count for more than they are in some."""
    if storage_class in _WITH_LEAST:
        return tally.size_bytes - tally.small_bytes + tally.small * SMALL_BYTES
    if storage_class in _ARCHIVES:
        return tally.size_bytes + tally.objects * _INDEX_BYTES
    return tally.size_bytes


def _lines(stored: Mapping[str, Mapping[str, Tally]], prices: Prices, notes: list[str]) -> Iterable[Line]:
    # The tiers of a class count what lies in it in all, whatever it is.
    before: dict[str, float] = {}
    for what, tallies in stored.items():
        for name, tally in tallies.items():
            billed = billed_bytes(name, tally)
            gb = prices.gb(billed)
            tiers = prices.storage.get(name)
            cost = None if tiers is None else tiered(tiers, gb, before.get(name, 0.0))
            before[name] = before.get(name, 0.0) + gb
            if name in _ARCHIVES and cost is not None:
                cost += prices.gb(tally.objects * _NAME_BYTES) * _first(prices, "STANDARD")
            yield Line(what, name, tally.objects, tally.size_bytes, billed, cost)


def _shares(usage: Usage, lines: Iterable[Line], prices: Prices) -> dict[str, float]:
    """Return each experiment's part of what the current objects cost, by the bytes that are billed."""
    rates = {
        line.storage_class: line.per_month / line.billed_bytes
        for line in lines
        if line.what == "current" and line.per_month is not None and line.billed_bytes
    }
    return {
        (group.name if group.is_experiment else f"{group.name}/"): sum(
            billed_bytes(name, tally) * rates.get(name, 0.0) for (_, name), tally in group.tallies.items()
        )
        for group in usage.groups
    }


def _fetching(current: Mapping[str, Tally], prices: Prices) -> float:
    size_bytes = sum(tally.size_bytes for tally in current.values())
    transfer = tiered(prices.egress, max(0.0, prices.gb(size_bytes) - prices.egress_free_gb))
    requests = sum(tally.objects * prices.get_per_1000.get(name, 0.0) / 1000 for name, tally in current.items())
    reading = sum(
        prices.gb(tally.size_bytes) * prices.retrieval_per_gb.get(name, 0.0) for name, tally in current.items()
    )
    return transfer + requests + reading


def _savings(usage: Usage, prices: Prices, unused: set[str]) -> Iterable[Saving]:
    per_gb = _first(prices, "STANDARD") - _first(prices, _CHEAPER)
    for group in usage.groups:
        if group.path not in unused or per_gb <= 0:
            continue
        standard = sum((tally for (_, name), tally in group.tallies.items() if name == "STANDARD"), Tally())
        large, count = standard.size_bytes - standard.small_bytes, standard.objects - standard.small
        if large:
            once = count * prices.put_per_1000.get(_CHEAPER, 0.0) / 1000
            yield Saving(group.name, _CHEAPER, large, prices.gb(large) * per_gb, once)


def _first(prices: Prices, storage_class: str) -> float:
    tiers = prices.storage.get(storage_class)
    return tiers[0][1] if tiers else 0.0
