"""What storing, asking and fetching costs: AWS's public list prices, from a table with a date, or one's own table.

The table is JSON: `as_of`, `source`, `currency`, `gb_bytes` (AWS's GB has 2^30 bytes), `egress_free_gb` a month, and
`regions`. Of a region: `storage` by class, `put_per_1000`, `get_per_1000` and `retrieval_per_gb` by class, `egress`.
Storage and egress have tiers, `[[up to GB, price of a GB], …, [null, price]]`. `like` names a region whose prices count
where a region has none of its own. `checked`, which nothing reads, says which prices were compared with a second
source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from holdfast.errors import InvalidInputError

Tiers = tuple[tuple[float, float], ...]
_FALL_BACK = "us-east-1"


@dataclass(frozen=True)
class Prices:
    """The prices of one region.

    Attributes:
        region: The region whose prices these are.
        is_fallback: Whether another one was asked for, which the table does not know.
        as_of: The table's date.
        source: Where the prices stand.
        currency: `USD`.
        gb_bytes: How many bytes a GB has.
        storage: Tiers of the price of a GB a month, by storage class.
        put_per_1000: The price of a thousand uploads, by storage class.
        get_per_1000: The price of a thousand fetches, by storage class.
        retrieval_per_gb: The price of reading a GB, by storage class, beside the transfer.
        egress: Tiers of the price of a GB that goes out to the internet.
        egress_free_gb: How many GB a month go out free, of a whole account.
    """

    region: str
    is_fallback: bool
    as_of: str
    source: str
    currency: str
    gb_bytes: int
    storage: Mapping[str, Tiers]
    put_per_1000: Mapping[str, float]
    get_per_1000: Mapping[str, float]
    retrieval_per_gb: Mapping[str, float]
    egress: Tiers
    egress_free_gb: float

    def gb(self, size_bytes: int) -> float:
        """Return bytes as the table's GB."""
        return size_bytes / self.gb_bytes


def load_prices(region: str, table: Path | None = None) -> Prices:
    """Return the prices of a region.

    Args:
        region: Its name; one that the table does not know gets those of us-east-1, or of the table's first region.
        table: A table to use in place of AWS's list prices.

    Raises:
        InvalidInputError: The table cannot be read, or is none.
    """
    content = _read(table)
    try:
        regions: Mapping[str, Any] = content["regions"]
        known = region if region in regions else _FALL_BACK if _FALL_BACK in regions else next(iter(regions))
        return _prices(content, known, is_fallback=known != region)
    except (KeyError, TypeError, ValueError, StopIteration, AttributeError) as error:
        raise InvalidInputError(
            f"The price table {table} is not understood: {type(error).__name__}: {error}.",
            "begin with a copy of Holdfast's own (holdfast/bucket/prices.json)",
        ) from None


def _read(table: Path | None) -> Mapping[str, Any]:
    try:
        text = (table or files("holdfast.bucket") / "prices.json").read_text("utf-8")
        content: Mapping[str, Any] = json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"The price table {table} cannot be read: {error}.", "give a JSON file") from None
    return content


def _prices(content: Mapping[str, Any], region: str, is_fallback: bool) -> Prices:
    said = _merged(content["regions"], region)
    return Prices(
        region=region,
        is_fallback=is_fallback,
        as_of=str(content["as_of"]),
        source=str(content.get("source", "")),
        currency=str(content.get("currency", "USD")),
        gb_bytes=int(content.get("gb_bytes", 1 << 30)),
        storage={name: _tiers(tiers) for name, tiers in said["storage"].items()},
        put_per_1000={name: float(price) for name, price in said.get("put_per_1000", {}).items()},
        get_per_1000={name: float(price) for name, price in said.get("get_per_1000", {}).items()},
        retrieval_per_gb={name: float(price) for name, price in said.get("retrieval_per_gb", {}).items()},
        egress=_tiers(said.get("egress", [[None, 0.0]])),
        egress_free_gb=float(content.get("egress_free_gb", 0.0)),
    )


def _merged(regions: Mapping[str, Any], region: str) -> dict[str, Any]:
    own = dict(regions[region])
    base = dict(regions[own.pop("like")]) if "like" in own else {}
    return base | {
        name: base[name] | value if isinstance(value, dict) and isinstance(base.get(name), dict) else value
        for name, value in own.items()
    }


def _tiers(tiers: list[list[float | None]]) -> Tiers:
    found = tuple((float("inf") if up_to is None else float(up_to), float(price or 0.0)) for up_to, price in tiers)
    if not found or found[-1][0] != float("inf"):
        raise ValueError("the last tier has to be [null, price]")
    return found


def tiered(tiers: Tiers, amount: float, after: float = 0.0) -> float:
    """Return what an amount costs whose parts have prices of their own.

    Args:
        tiers: Up to where, and the price of one up to there.
        amount: How much.
        after: How much was had before, and is paid for.
    """
    cost, begin = 0.0, 0.0
    for up_to, price in tiers:
        cost += max(0.0, min(after + amount, up_to) - max(begin, after)) * price
        begin = up_to
    return cost
