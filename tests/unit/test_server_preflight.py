"""What is missing is said before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.core.redaction import Redactor
from holdfast.errors import MissingDependencyError, ServerError
from holdfast.server import preflight
from holdfast.server.preflight import check_backend, check_dependencies


def test_mlflow_skinny_alone_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name in ("flask", "sqlalchemy") else object())
    with pytest.raises(MissingDependencyError, match="flask, sqlalchemy") as caught:
        check_dependencies()
    assert caught.value.hint == "pip install 'holdfast[server]'"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(ServerError, match="cannot be written"):
        check_backend(f"sqlite:///{folder}/x.db", {}, Redactor())


def test_a_new_file_in_an_open_folder_is_fine(tmp_path: Path) -> None:
    check_backend(f"sqlite:///{tmp_path}/x.db", {}, Redactor())
    assert list(tmp_path.glob("x.db*")) == []
