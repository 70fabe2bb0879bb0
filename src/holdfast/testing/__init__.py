"""Real servers for tests, on free ports of the loopback interface, gone when the test process is.

`PostgresServer`, `S3Server`, `SwiftServer`, `RcloneServer` and `LocalMlflowServer` are context managers. Importing this
package imports none of psycopg, boto3, moto, Swift or MLflow; each is needed where its server is started:
`pip install 'holdfast[testing]'`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.testing.certificates import ServerCertificate as ServerCertificate
    from holdfast.testing.certificates import make_certificate as make_certificate
    from holdfast.testing.filesystem import Crash as Crash
    from holdfast.testing.filesystem import FaultyFileSystem as FaultyFileSystem
    from holdfast.testing.memory_store import MemoryStore as MemoryStore
    from holdfast.testing.mlflow_server import LocalMlflowServer as LocalMlflowServer
    from holdfast.testing.ports import free_port as free_port
    from holdfast.testing.postgres import PostgresAccess as PostgresAccess
    from holdfast.testing.postgres import PostgresServer as PostgresServer
    from holdfast.testing.proxy import FaultProxy as FaultProxy
    from holdfast.testing.proxy import Traffic as Traffic
    from holdfast.testing.rclone import RcloneAccess as RcloneAccess
    from holdfast.testing.rclone import RcloneServer as RcloneServer
    from holdfast.testing.s3 import Account as Account
    from holdfast.testing.s3 import S3Access as S3Access
    from holdfast.testing.s3 import S3Server as S3Server
    from holdfast.testing.swift import SwiftAccess as SwiftAccess
    from holdfast.testing.swift import SwiftServer as SwiftServer

_HOMES = {
    "Account": "s3",
    "Crash": "filesystem",
    "FaultProxy": "proxy",
    "FaultyFileSystem": "filesystem",
    "LocalMlflowServer": "mlflow_server",
    "MemoryStore": "memory_store",
    "PostgresAccess": "postgres",
    "PostgresServer": "postgres",
    "RcloneAccess": "rclone",
    "RcloneServer": "rclone",
    "S3Access": "s3",
    "S3Server": "s3",
    "ServerCertificate": "certificates",
    "SwiftAccess": "swift",
    "SwiftServer": "swift",
    "Traffic": "proxy",
    "free_port": "ports",
    "make_certificate": "certificates",
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
    "RcloneAccess",
    "RcloneServer",
    "S3Access",
    "S3Server",
    "ServerCertificate",
    "SwiftAccess",
    "SwiftServer",
    "Traffic",
    "free_port",
    "make_certificate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
