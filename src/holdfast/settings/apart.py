"""Settings of another place: a file like `.env`, read by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import SettingsError
from holdfast.settings.dotenv_file import read_file
from holdfast.settings.layers import Report, reveal
from holdfast.settings.loader import load_settings
from holdfast.settings.model import Settings


@contextmanager
def settings_apart(path: Path) -> Iterator[tuple[Settings, Path]]:
    """Yield the settings in a file like `.env`, and the empty folder that they were loaded in, which is gone after it.

    Neither the process environment nor the project's own settings have a part in them.

    Raises:
        SettingsError: The file cannot be read, or what it says cannot be used.
    """
    report = Report()
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.", "give --to-env a file with NAME=value lines")
    values = read_file(path, report).values
    if report.problems:
        raise SettingsError(report.problems[0].message, report.problems[0].hint)
    environ = {name: str(reveal(value)) for name, value in values.items()}
    with tempfile.TemporaryDirectory(prefix="holdfast-") as empty:
        yield load_settings(start=Path(empty), environ=environ), Path(empty)
