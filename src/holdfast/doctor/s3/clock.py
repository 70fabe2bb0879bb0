"""Whether the S3 server's clock agrees with this machine's, and what time it is there."""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime, timedelta

from holdfast.doctor.check import Check, Evidence, Finding, failed, ok, skipped, warning
from holdfast.doctor.context import Context
from holdfast.doctor.s3.endpoint import HEARD, Heard

# From here on S3 refuses what is signed; a minute is no harm, and a sign that nobody sets the clock.
_CLOCK_FAILS_S, _CLOCK_WARNS_S = 900.0, 60.0


def _clock(context: Context) -> Finding:
    heard: Heard = context.noted(HEARD)
    skew_s = _skew_of(heard)
    if skew_s is None:
        return skipped("the server does not say what time it is")
    if abs(skew_s) < _CLOCK_WARNS_S:
        return ok("this machine's clock and the server's agree", skew_s=round(skew_s, 1))
    found = f"this machine's clock is {_span(abs(skew_s))} {'ahead of' if skew_s > 0 else 'behind'} the server's"
    remedy = "set this machine's clock: sudo timedatectl set-ntp true (or the server's, where this one is right)"
    if abs(skew_s) < _CLOCK_FAILS_S:
        return warning(found, remedy, skew_s=round(skew_s, 1))
    return failed(f"{found}; S3 refuses signatures from 15 min on", remedy, Evidence.TOLD, skew_s=round(skew_s, 1))


def _skew_of(heard: Heard) -> float | None:
    """Return by how much this machine's clock is ahead of the server's, in seconds; None where that is not told."""
    told = email.utils.parsedate_tz(heard.headers.get("date", ""))
    # Whole seconds are told, cut off; and the answer was half-way when it was written.
    return None if told is None else heard.asked_at + heard.took_s / 2 - (email.utils.mktime_tz(told) + 0.5)


def server_time(context: Context) -> datetime:
    """Return what time it is by the server's clock, as far as it has told."""
    heard: Heard | None = context.noted(HEARD)
    skew_s = _skew_of(heard) if heard is not None else None
    return datetime.now(UTC) - timedelta(seconds=skew_s or 0.0)


def _span(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )


CHECKS = (Check("s3.clock", "Does this machine's clock agree with the S3 server's?", _clock, ("s3.endpoint",)),)
