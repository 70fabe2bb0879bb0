"""The journals of a project, as its checks see them: read once for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from holdfast.delivery.places import Journal, places_of
from holdfast.delivery.status import JournalStatus, status_of
from holdfast.delivery.target import journal_folder, journal_name
from holdfast.doctor.check import Finding, ok, skipped
from holdfast.doctor.context import Context
from holdfast.journal.layout import JournalPaths


@dataclass(frozen=True)
class Journals:
    """The journals of a project.

    Attributes:
        folder: The folder that holds them.
        paths: The files of the one for the configured tracking store, whether it is there or not.
        own: What is in that one; None where nothing was logged through it yet.
        others: Those of other tracking stores.
        is_journaling: Whether the settings let what is logged go through it.
    """

    folder: Path
    paths: JournalPaths
    own: JournalStatus | None
    others: tuple[Journal, ...]
    is_journaling: bool

    @property
    def is_in_use(self) -> bool:
        """Whether there is one, or will be."""
        return self.is_journaling or self.own is not None


def journals_of(context: Context) -> Journals:
    """Return the project's journals, read once for all checks, so that none contradicts another.

    Raises:
        JournalError: It was written by a later release.
    """
    return context.once("journals", lambda: _read(context))


def forget_journals(context: Context) -> None:
    """Have the journals read anew: something was done to them."""
    context.forget("journals")


def _read(context: Context) -> Journals:
    settings = context.settings
    places = places_of(settings)
    folder = journal_folder(settings)
    return Journals(
        folder,
        JournalPaths(folder / journal_name(settings.tracking_uri)),
        status_of(places.journals[0]) if places.journals else None,
        places.others,
        settings.delivery != "direct",
    )


def skips_without_journal(context: Context) -> Finding:
    """Return the finding where there is no journal."""
    if journals_of(context).is_journaling:
        return ok("nothing was logged through the journal yet")
    return skipped("nothing is journaled: HOLDFAST_DELIVERY=direct")
