"""How far the metrics of a run go, once all that a killed process left in the journal is on the server."""

from __future__ import annotations

import time

from holdfast.delivery.delivery import Delivery, delivery_in_use, delivery_of
from holdfast.delivery.identity import is_local
from holdfast.delivery.target import target_of
from holdfast.errors import BackendUnavailableError, DeliveryError, SettingsError
from holdfast.journal.layout import JournalPaths
from holdfast.project import Project


def logged_steps(project: Project, run_id: str) -> dict[str, int]:
    """Return the last step of each metric of a run; see `MLflowTracker.logged_steps`."""
    delivery = project.delivery or delivery_in_use(project.settings.tracking_uri) or _journal_there(project)
    if delivery is None:
        return project.runs.last_steps(run_id)
    _deliver(project, delivery, run_id)
    server_id = delivery.server_id(run_id) if is_local(run_id) else run_id
    if server_id is None:
        raise _not_all(project, run_id, "it is not there yet")
    if not delivery.is_reachable():
        raise BackendUnavailableError(
            f"The steps of run {run_id} cannot be read: {delivery.target.destination} does not answer.",
            "see `holdfast doctor`; try again when it is back",
            retryable=True,
        )
    return project.runs.last_steps(server_id)


def _deliver(project: Project, delivery: Delivery, run_id: str) -> None:
    until_s = time.monotonic() + delivery.target.read_wait_s
    for name in delivery.runs_with_records(run_id):
        reason = delivery.settling.settle_run(name, max(0.0, until_s - time.monotonic()))
        if reason:
            raise _not_all(project, run_id, reason)


def _not_all(project: Project, run_id: str, reason: str) -> DeliveryError:
    return DeliveryError(
        f"Not all that was logged to run {run_id} is on the server yet: {project.redact(reason)}.",
        "try again when the server is back, or wait for longer (HOLDFAST_READ_WAIT); see "
        f"`holdfast journal status {run_id}`",
        retryable=True,
    )


def _journal_there(project: Project) -> Delivery | None:
    """Return the journal that others have left for this tracking store, if any."""
    try:
        target = target_of(project.settings)
    except SettingsError:  # nothing is ever journaled for it
        return None
    return delivery_of(target) if JournalPaths(target.root).runs.exists() else None
