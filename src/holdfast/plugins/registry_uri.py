"""Makes a fluent call cost what it should.

Each one asks for the registry's URI. Where none is set, MLflow looks for a Spark session, by an import that fails
(70 µs), and takes the tracking URI apart again (10 µs). Setting the URI would end that, and would also pin the registry
to one store while the tracking URI moves on; so the same answers are given faster.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

_DEFAULT = "_get_default_registry_uri_for_tracking_uri"
_SPARK = "_get_registry_uri_from_spark_session"


def quicken_registry_uri() -> None:
    """Remember what follows from a tracking URI alone, and do not look for Spark where it is not installed."""
    from mlflow.tracking._model_registry import utils

    if find_spec("pyspark") is None and hasattr(utils, _SPARK):
        setattr(utils, _SPARK, _no_session)
    default = getattr(utils, _DEFAULT, None)
    if default is not None and not hasattr(default, "cache_info"):
        setattr(utils, _DEFAULT, cache(default))


def _no_session() -> Any:
    return None
