"""What a promotion costs beside the same change made by hand with MLflow's client: requests to a real server."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import ModelRegistry, open_project
from holdfast.core.policy import PromotionPolicy
from holdfast.core.stages import Stage
from holdfast.registry.demonstration import fit_and_log
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow


def promote_by_hand(client: Any, name: str, number: str, before: str) -> None:
    """Reach what a promotion reaches, and see that it is so: stages and tags of both versions, and the alias."""
    client.get_model_version(name, number)
    assert client.get_model_version_by_alias(name, "production").version == before
    client.transition_model_version_stage(name, number, "Production")
    client.transition_model_version_stage(name, before, "Archived")
    client.set_registered_model_alias(name, "production", number)
    client.set_model_version_tag(name, number, "stage", "Production")
    client.set_model_version_tag(name, before, "stage", "Archived")
    assert client.get_model_version(name, number).aliases == ["production"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_history_adds_at_most_three_requests(mlflow_server: RunningMlflow, unique: str) -> None:
    with FaultProxy(mlflow_server.url) as proxy:
        project = open_project(tracking_uri=proxy.url, experiment_name=unique)
        registry = ModelRegistry(project, PromotionPolicy())
        logged = fit_and_log(project, project.experiment().experiment_id, {})
        for name in (f"{unique}-ours", f"{unique}-by-hand"):
            for _ in range(2):
                registry.register(name, logged.model_uri)
            registry.promote(name, 1, Stage.PRODUCTION)
            registry.promote(name, 2, Stage.PRODUCTION)

        before = proxy.count
        registry.promote(f"{unique}-ours", 1, Stage.PRODUCTION)
        ours, before = proxy.count - before, proxy.count
        promote_by_hand(project.connection.client, f"{unique}-by-hand", "1", "2")
        # MLflow's client looks at the model before each change, to see if it is a prompt; that is not counted.
        changes = [line for line in proxy.passed[before:] if "registered-models/get?" not in line]
        assert ours <= len(changes) + 3, (proxy.passed[before - ours : before], changes)
