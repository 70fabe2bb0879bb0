"""A tracking server as a child process: what `holdfast up` starts, watches and ends."""

from __future__ import annotations

from holdfast.server.options import ServerOptions
from holdfast.server.stack import MlflowServer

__all__ = ["MlflowServer", "ServerOptions"]
