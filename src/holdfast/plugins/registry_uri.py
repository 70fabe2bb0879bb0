"""Makes a fluent call cost what it should.

Without a registry URI, MLflow looks for a Spark session in each call, by an import that fails: 70 µs. Setting the URI
would end that, and would also pin the registry to one store while the tracking URI moves on.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any


def spare_the_search_for_spark() -> None:
    """Answer MLflow's question for a Spark session at once where Spark is not installed."""
    from mlflow.tracking._model_registry import utils

    if find_spec("pyspark") is None and hasattr(utils, "_get_registry_uri_from_spark_session"):
        utils._get_registry_uri_from_spark_session = _no_session


def _no_session() -> Any:
    return None
