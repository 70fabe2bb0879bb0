"""One connection to the database, in a process with the server's own environment.

Run by path, never imported. MLflow itself tries an unreachable database for nearly two minutes;
this says within seconds what is wrong. The URI comes from `MLFLOW_BACKEND_STORE_URI`.
"""

from __future__ import annotations

import os
import sys

_CONNECT_TIMEOUT_S = 5


def main() -> int:
    """Connect once; on failure write the reason to stderr and return 1."""
    import sqlalchemy

    uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
    arguments = {"connect_timeout": _CONNECT_TIMEOUT_S} if uri.startswith(("postgresql", "mysql")) else {}
    try:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool, connect_args=arguments)
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except Exception as error:
        # Drivers fail with anything; every one of them becomes the ServerError of the caller.
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
