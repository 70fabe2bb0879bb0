"""Telling whether something that is stored is what was there before."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import replace

from holdfast.core.cleanup.plan import Holding
from holdfast.core.cleanup.records import Form, StoredObject
from holdfast.core.cleanup.tally import Tally


def fingerprint(stored: StoredObject) -> str:
    """Return a short mark of something stored, which is the same when it is hidden by a marker later."""
    tally = Tally()
    # What is current becomes an old version under a marker, with the same id, size and time.
    tally.add(replace(stored, form=Form.OBJECT))
    return f"{tally.digest & 0xFFFFFFFFFFFFFFFF:016x}"


def holding_of(objects: Iterable[StoredObject]) -> Holding:
    """Return what objects are in sum."""
    tally = Tally()
    for stored in objects:
        tally.add(stored)
    return tally.holding()


def is_same(one: Holding, other: Holding) -> bool:
    """Whether the same is stored, by what was listed; what holds nothing has no digest that counts."""
    if not one.count and not other.count:
        return True
    return one.digest == other.digest


def unnoted_markers(found: Iterable[StoredObject], known: Set[str]) -> list[StoredObject]:
    """Return the markers that hide now what was there before, and that were not there then.

    Args:
        found: What is stored now.
        known: The fingerprints of what was stored before.
    """
    there = list(found)
    hidden = {one.address for one in there if one.form is Form.OLD and fingerprint(one) in known}
    markers = (one for one in there if one.form is Form.MARKER and one.address in hidden)
    return [one for one in markers if fingerprint(one) not in known]
