"""`holdfast s3 cost`: what the project's bucket costs in a month."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.s3_place import Profile
from holdfast.cli.s3_usage import Json, Uri

if TYPE_CHECKING:
    from holdfast.bucket.costs import Estimate
    from holdfast.bucket.usage import Usage
    from holdfast.cli.output import Output


def cost(
    uri: Uri = "",
    region: Annotated[
        str | None, typer.Option("--region", help="Whose prices; the project's region if not given.")
    ] = None,
    egress_gb: Annotated[
        float | None, typer.Option("--egress-gb", min=0, help="How many GB leave AWS in a month.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", help="A price table of one's own (JSON) in place of AWS's list prices.")
    ] = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Estimate what the bucket costs in a month, from what lies in it and AWS's list prices.

    The table's date is shown. What is not current and what was never completed is paid for too; small objects count
    for 128 KiB in some classes. For an S3-compatible server give its prices with --prices.

    Example: holdfast s3 cost --egress-gb 200
    """
    from holdfast.artifacts.s3.dialect import is_aws
    from holdfast.bucket.costs import estimate
    from holdfast.bucket.prices import load_prices
    from holdfast.cli.output import get_output
    from holdfast.cli.s3_usage import counted
    from holdfast.errors import InvalidInputError
    from holdfast.settings import load_settings

    settings = load_settings()
    if prices is None and not is_aws(settings.s3_endpoint_url):
        raise InvalidInputError(
            "The project's S3 server is not AWS; what it costs is not known.",
            "give its prices: --prices FILE (a copy of holdfast/bucket/prices.json with other numbers)",
        )
    table = load_prices(region or settings.region, prices)
    usage = counted(uri, profile)
    if usage.root.kind != "s3":
        raise InvalidInputError(f"{usage.root.uri} is a folder; nobody sends a bill for it.", "name s3://bucket/prefix")
    notes: list[str] = []
    found = estimate(usage, table, egress_gb, _unused(usage, notes))
    found.notes.extend(notes)
    out = get_output(json)
    out.data(found.as_document()) if json else _show(out, found, region or settings.region)


def _unused(usage: Usage, notes: list[str]) -> list[str]:
    """Return the folders of experiments that no registered version uses; none where that cannot be told."""
    from holdfast.bucket.arns import place_in
    from holdfast.bucket.in_use import find_use
    from holdfast.cli.opening import open_existing
    from holdfast.errors import HoldfastError

    place = place_in(usage.root.uri)
    try:
        return [key[len(place.folder) :].rstrip("/") for key in find_use(open_existing(), place).unused]
    except HoldfastError as error:
        notes.append(f"what might be moved to a cheaper class is not known: {error.message}")
        return []


def _show(out: Output, found: Estimate, region: str) -> None:
    from holdfast.cli.s3_usage import size

    table = found.prices
    said = f"{table.region}, prices of {table.as_of}" + (f" ({table.source})" if table.source else "")
    out.line(f"about {_money(found.per_month, table.currency)} a month ({said})")
    if table.is_fallback:
        out.warn(f"the table has no prices for {region}; those of {table.region} are taken")
    rows = [
        [line.what, line.storage_class, f"{line.objects:,}", size(line.size_bytes), size(line.billed_bytes),
         "?" if line.per_month is None else f"{line.per_month:,.2f}"]
        for line in found.lines
    ]  # fmt: skip
    columns = ["what", "class", "objects", "size", "billed size", f"{table.currency} a month"]
    out.table("Storage", columns, rows)
    shares = [[name, f"{cost:,.2f}"] for name, cost in found.experiments.items()]
    out.table("By experiment (current objects)", ["experiment", f"{table.currency} a month"], shares)
    _show_rest(out, found)
    for note in found.notes:
        out.hint(note)


def _show_rest(out: Output, found: Estimate) -> None:
    table = found.prices
    free = f"; {table.egress_free_gb:g} GB a month are free for a whole account" if table.egress_free_gb else ""
    if found.egress_gb is not None:
        out.line(f"fetching {found.egress_gb:g} GB a month: {_money(found.egress, table.currency)}{free}")
    out.line(f"fetching everything once over the internet: {_money(found.fetching, table.currency)}{free}")
    out.line(f"requests that it took to store all this: {_money(found.storing, table.currency)}, once")
    for saving in found.savings:
        out.hint(
            f"{saving.name}: {saving.storage_class} would save {_money(saving.per_month, table.currency)} a month "
            f"(moving costs {_money(saving.once, table.currency)}, reading costs more there; no registered version "
            "uses it): holdfast s3 lifecycle apply --transition STANDARD_IA:30"
        )


def _money(amount: float, currency: str) -> str:
    digits = 2 if amount >= 0.1 or amount == 0 else 4
    return f"${amount:,.{digits}f}" if currency == "USD" else f"{amount:,.{digits}f} {currency}"
