"""Free TCP ports."""

from __future__ import annotations

from holdfast.server.ports import free_port

__all__ = ["free_port"]
