"""Real servers for tests, on free ports of the loopback interface, gone when the test process is.

`PostgresServer`, `S3Server` and `LocalMlflowServer` are context managers. Importing this package
imports none of psycopg, boto3, moto or MLflow; each is needed where its server is started:
`pip install 'holdfast[testing]'`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.testing.filesystem import Crash as Crash
    from holdfast.testing.filesystem import FaultyFileSystem as FaultyFileSystem
    from holdfast.testing.memory_store import MemoryStore as MemoryStore
    from holdfast.testing.mlflow_server import LocalMlflowServer as LocalMlflowServer
    from holdfast.testing.ports import free_port as free_port
    from holdfast.testing.postgres import PostgresAccess as PostgresAccess
    from holdfast.testing.postgres import PostgresServer as PostgresServer
    from holdfast.testing.proxy import FaultProxy as FaultProxy
    from holdfast.testing.s3 import Account as Account
    from holdfast.testing.s3 import S3Access as S3Access
    from holdfast.testing.s3 import S3Server as S3Server

_HOMES = {
    "Account": "s3",
    "FaultProxy": "proxy",
    "Crash": "filesystem",
    "FaultyFileSystem": "filesystem",
    "LocalMlflowServer": "mlflow_server",
    "MemoryStore": "memory_store",
    "PostgresAccess": "postgres",
    "PostgresServer": "postgres",
    "S3Access": "s3",
    "S3Server": "s3",
    "free_port": "ports",
}
__all__ = [
    "Account",
    "Crash",
    "FaultProxy",
    "FaultyFileSystem",
    "LocalMlflowServer",
    "MemoryStore",
    "PostgresAccess",
    "PostgresServer",
    "S3Access",
    "S3Server",
    "free_port",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
