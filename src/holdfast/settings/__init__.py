"""Settings: one frozen object from arguments, environment, `.env`, pyproject.toml and defaults.

`load_settings()` reads each source once, reports every problem together, and never writes
to the process's environment. AWS keys are taken whole from one source (see `credentials`).
"""

from __future__ import annotations

from holdfast.settings.credentials import Credentials, Role
from holdfast.settings.layers import Origin
from holdfast.settings.loader import load_settings, peek
from holdfast.settings.model import Row, Settings
from holdfast.settings.workspaces import credentials_of_workspace

__all__ = ["Credentials", "Origin", "Role", "Row", "Settings", "credentials_of_workspace", "load_settings", "peek"]
