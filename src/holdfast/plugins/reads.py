"""Reads of a journaled store: what this process has logged is delivered before they are answered."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from holdfast.core.sending import Unavailable
from holdfast.delivery.identity import is_local, local_experiment_id
from holdfast.delivery.replay import replay
from holdfast.errors import BackendUnavailableError
from holdfast.logs import get_logger
from holdfast.plugins import entities

if TYPE_CHECKING:
    from holdfast.delivery.delivery import Delivery

_log = get_logger(__name__)

# What it stands before is one of MLflow's stores, whose types are not known here.
_Store: Any = object


class JournaledReads(_Store):  # type: ignore[misc]
    """Waits for delivery up to a limit, then says that not all is there; local ids are mapped to the server's."""

    _holdfast: Delivery | None = None

    @property
    def holdfast_delivery(self) -> Delivery | None:
        """The delivery that this store logs through, or None."""
        return self._holdfast

    @property
    def _delivery(self) -> Delivery:
        if self._holdfast is None:
            raise BackendUnavailableError("No journal is attached.", "set HOLDFAST_DELIVERY=journal")
        return self._holdfast

    # -- runs -------------------------------------------------------------------------

    def get_run(self, run_id: str) -> Any:
        """Return a run with all that this process has logged to it."""
        delivery = self._holdfast
        if delivery is None:
            return super().get_run(run_id)
        known = delivery.entities.get(run_id)
        if known is not None and _is_for_its_place():
            return known
        left = self._settled([run_id])
        server_id = delivery.server_id(run_id)
        if server_id is None or (left and delivery.has_run(run_id) and delivery.is_offline):
            found = replay(delivery.journal.paths, run_id, delivery.journal.known_process)
            return entities.run_of_journal(delivery.about(run_id), found)
        return super().get_run(server_id)

    def search_runs(self, *args: Any, **kwargs: Any) -> Any:
        """Return runs, those of this process with all that it has logged."""
        delivery = self._holdfast
        if delivery is None:
            return super().search_runs(*args, **kwargs)
        self._settled(None)
        if args:
            args = (self._experiment_ids(args[0]), *args[1:])
        elif "experiment_ids" in kwargs:
            kwargs["experiment_ids"] = self._experiment_ids(kwargs["experiment_ids"])
        return super().search_runs(*args, **kwargs)

    def get_metric_history(self, run_id: str, metric_key: str, *args: Any, **kwargs: Any) -> Any:
        """Return the values of a metric, with all that this process has logged."""
        if self._holdfast is None:
            return super().get_metric_history(run_id, metric_key, *args, **kwargs)
        if not kwargs.get("page_token"):
            self._settled([run_id])
        return super().get_metric_history(self._on_server(run_id), metric_key, *args, **kwargs)

    def delete_run(self, run_id: str) -> Any:
        """Delete a run, after all that this process has logged to it is there."""
        return super().delete_run(self._settled_on_server(run_id))

    def restore_run(self, run_id: str) -> Any:
        """Restore a deleted run."""
        return super().restore_run(self._settled_on_server(run_id))

    def _settled_on_server(self, run_id: str) -> str:
        if self._holdfast is None:
            return run_id
        self._settled([run_id])
        return self._on_server(run_id)

    # -- experiments ------------------------------------------------------------------

    def get_experiment(self, experiment_id: str) -> Any:
        """Return an experiment; one on a local id from the journal as long as the server is missing."""
        delivery = self._holdfast
        if delivery is None:
            return super().get_experiment(experiment_id)
        about = delivery.offline_experiment(str(experiment_id))
        if about is None:
            return super().get_experiment(experiment_id)
        if not delivery.is_reachable():
            return entities.experiment_of_about(about)
        return super().get_experiment_by_name(about.name) or entities.experiment_of_about(about)

    def get_experiment_by_name(self, experiment_name: str) -> Any:
        """Return an experiment by name; where the server is missing, one that was created on a local id, or None."""
        delivery = self._holdfast
        if delivery is None or delivery.is_reachable():
            return super().get_experiment_by_name(experiment_name)
        about = delivery.offline_experiment(local_experiment_id(experiment_name))
        return None if about is None else entities.experiment_of_about(about)

    def _experiment_ids(self, ids: Any) -> Any:
        delivery = self._delivery
        if isinstance(ids, str | int):
            ids = [ids]
        return [self._experiment_on_server(str(i)) if is_local(str(i)) else i for i in ids or []] if delivery else ids

    def _experiment_on_server(self, experiment_id: str) -> str:
        try:
            return self._delivery.experiment_on_server(experiment_id)
        except Unavailable as error:
            raise BackendUnavailableError(
                f"Experiment {experiment_id} is not on the server yet: {error.reason}.",
                "run `holdfast sync` when the server is back",
                retryable=True,
            ) from None

    # -- models -----------------------------------------------------------------------

    def create_logged_model(
        self, experiment_id: str, name: Any = None, source_run_id: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Create a model; its run has to be on the server by then."""
        if self._holdfast is not None:
            if source_run_id is not None and is_local(source_run_id):
                source_run_id = self._settled_on_server(source_run_id)
            if is_local(str(experiment_id)):
                experiment_id = self._experiment_on_server(str(experiment_id))
        return super().create_logged_model(experiment_id, name, source_run_id, *args, **kwargs)

    def link_traces_to_run(self, trace_ids: Any, run_id: str) -> Any:
        """Link traces to a run; it has to be on the server by then."""
        run = self._settled_on_server(run_id) if is_local(run_id) else run_id
        return super().link_traces_to_run(trace_ids, run)

    # -- waiting ----------------------------------------------------------------------

    def _settled(self, run_ids: list[str] | None) -> dict[str, str]:
        left = self._delivery.settle(run_ids, with_files=False)
        if left:
            run_id, reason = next(iter(left.items()))
            _log.warning(
                "not all that was logged is on the server yet, so that what is read lacks it",
                run=run_id,
                others=len(left) - 1,
                reason=reason,
                hint="it is in the journal: holdfast journal status",
            )
        return left

    def _on_server(self, run_id: str) -> str:
        found = self._delivery.server_id(run_id)
        if found is None:
            raise BackendUnavailableError(
                f"Run {run_id} was begun offline and is not on the server yet.",
                "run `holdfast sync` when the server is back",
                retryable=True,
            )
        return found


# Who reads a run just to print its address, or to learn where its files go, and would wait for the server for that:
# `set_terminated`, `log_artifact`.
_ASK_FOR_ITS_PLACE = ("_log_url", "get_artifact_uri", "_get_artifact_repo")


def _is_for_its_place() -> bool:
    frame = sys._getframe(2)
    above = frame.f_back
    names = (frame.f_code.co_name, above.f_code.co_name if above is not None else "")
    return any(name in _ASK_FOR_ITS_PLACE for name in names)
