"""Whether what opens a database is installed: SQLAlchemy, the driver, MLflow's own part; nothing is connected to."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from holdfast.core.uris import mask_uri
from holdfast.errors import BackendError, MissingDependencyError

_WHOLE = "pip install 'holdfast[server]'"


def check_installed(uri: str) -> None:
    """Load what a database URI needs, as the first run does.

    Args:
        uri: A normalised database URI.

    Raises:
        MissingDependencyError: SQLAlchemy, alembic, or MLflow's part for databases is not installed.
        BackendError: The URI names a driver that waits for nobody (`asyncpg`), which MLflow cannot use.
        Exception: What the driver raises where it is not there, or SQLAlchemy where it knows no such database.
    """
    missing = [name for name in ("sqlalchemy", "alembic") if not _is_there(name)]
    missing += ["mlflow (only mlflow-skinny is installed)"] if not _has_stores() else []
    if missing:
        raise MissingDependencyError(
            f"{mask_uri(uri)} is a database, and what opens it is not installed: {', '.join(missing)}.", _WHOLE
        )
    from sqlalchemy.engine import make_url

    dialect = make_url(uri).get_dialect()
    if getattr(dialect, "is_async", False):
        name = dialect.driver
        raise BackendError(
            f"The driver {name} of {mask_uri(uri)} is one for asyncio, which MLflow cannot use.",
            f"write {_usable(uri)} in MLFLOW_TRACKING_URI",
        )
    dialect.import_dbapi()


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _has_stores() -> bool:
    """Whether MLflow's part for databases is there, which mlflow-skinny leaves out."""
    spec = find_spec("mlflow") if _is_there("mlflow") else None
    roots = spec.submodule_search_locations or () if spec else ()
    return any((Path(root) / "store" / "db_migrations").is_dir() for root in roots)


def _usable(uri: str) -> str:
    scheme = uri.partition("+")[0]
    drivers = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "sqlite": "sqlite"}
    return mask_uri(re.sub(r"^[^:]+", drivers.get(scheme, scheme), uri))
