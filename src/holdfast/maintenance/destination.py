"""Whether the destination that somebody names is the one to which the tracking server sends its files."""

from __future__ import annotations

from holdfast.artifacts.removal.holdings import Holdings
from holdfast.core.cleanup.records import Form, State
from holdfast.core.uris import mask_uri, scheme_of
from holdfast.errors import HoldfastError, SettingsError
from holdfast.maintenance.places import Places

_RUNS = 20


def check_destination(tracking_uri: str, state: State, places: Places, holdings: Holdings) -> None:
    """Refuse a destination that lacks what the server has: all files would look as if they were gone already.

    The server is asked for the files of a few runs, until one has some. Where none has, nothing is proven.

    Args:
        tracking_uri: The project's; only a server can be asked.
        state: What was read of the store.
        places: What made the places in it.
        holdings: Lists files, through the server and at the destination.

    Raises:
        SettingsError: It is another one.
        ArtifactError: The server cannot be reached.
    """
    if scheme_of(tracking_uri) not in ("http", "https") or not places.destination:
        return
    sent = [run for run in state.runs if places.sent_as(run.place)]
    for run in sorted(sent, key=lambda run: (run.is_deleted, -run.started_ms))[:_RUNS]:
        if not _has_files(holdings, places.sent_as(run.place)):
            continue
        # What cannot be listed there is told later, as any place that refuses.
        if _has_files(holdings, run.place, unless_told=True):
            return
        raise SettingsError(
            f"The server has files of run {run.run_id} that are not below {mask_uri(places.destination)}.",
            "give the --artifacts-destination with which the server runs",
        )


def _has_files(holdings: Holdings, place: str, unless_told: bool = False) -> bool:
    """Whether something is stored at a place; `unless_told` if nobody can tell."""
    try:
        return any(one.form is Form.OBJECT for page in holdings.list_place(place) for one in page)
    except HoldfastError as error:
        if error.retryable:
            raise
        return unless_told
