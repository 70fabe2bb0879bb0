"""Lets `models:/name/Production` be read where the registry refuses stages.

Unity Catalog has none, and MLflow has announced their end. There an alias and a tag say the stage, kept by Holdfast.
As with the tracking stores, MLflow's own builder decides what store it is, and the object gets a subclass of its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any


def rest_store(store_uri: str, **_: Any) -> Any:
    """Return the registry of an http(s) server."""
    from mlflow.tracking._model_registry import utils

    from holdfast.plugins.switch import is_server

    store = utils._get_rest_store(store_uri)
    if not is_server():
        base: Any = type(store)
        store.__class__ = staged(base)
    return store


@cache
def staged(base: Any) -> Any:
    """Return the subclass of one of MLflow's registry stores that knows stages by alias and tag."""
    return type(f"Staged{base.__name__}", (StagesByLabels, base), {"__module__": __name__})


class StagesByLabels:
    """Answers for stages from alias and tag where the store beside it cannot."""

    def get_latest_versions(self, name: str, stages: Sequence[str] | None = None) -> Any:
        """Return the newest version of each stage, as the store knows it; else as alias and tag say.

        A store that knows stages and has no version in one is believed, unless a version's tag says that it is there.
        """
        from mlflow.exceptions import MlflowException

        from holdfast.plugins.stage_labels import has_no_stages, versions_in

        own: Any = super()
        try:
            found = own.get_latest_versions(name, stages)
        except MlflowException as error:
            if not has_no_stages(error):
                raise
            return versions_in(self, name, stages)
        return found or versions_in(self, name, stages, only_tagged=True)
