"""Processes without a home: containers run them under user ids that have no name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.core.uris import expand_home
from holdfast.settings import load_settings
from holdfast.settings.loader import Settings

_NOBODY = 54321


def _load(**environ: str) -> Settings:
    return load_settings(environ=environ)


def test_a_home_that_nobody_knows_stays_as_it_is() -> None:
    assert expand_home("~no-such-user-here/x") == Path("~no-such-user-here/x")
    assert expand_home("~/x") == Path.home() / "x"


def test_a_bundle_in_an_unknown_home() -> None:
    settings = _load(AWS_CA_BUNDLE="~no-such-user-here/ca.pem")
    assert settings.s3_ca_bundle == str(Path.cwd() / "~no-such-user-here" / "ca.pem")
    assert "does not exist" in settings.notices[0]


def test_aws_files_in_an_unknown_home() -> None:
    assert _load(AWS_CONFIG_FILE="~no-such-user-here/config", AWS_PROFILE="p").region == "us-east-1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize("home", [{}, {"HOME": "closed"}], ids=["no HOME", "HOME of another"])
def test_commands_of_a_user_without_a_home(tmp_path: Path, home: dict[str, str]) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if name != "HOME"}
    given = {"MLFLOW_AWS_PROFILE": "p", "MLFLOW_TRACKING_USERNAME": "me"}
    code = (
        f"import os, runpy, sys\nos.setgroups([])\nos.setgid({_NOBODY})\nos.setuid({_NOBODY})\n"
        "sys.argv = ['holdfast', 'config', 'show']\nfrom holdfast.cli import main\nmain()\n"
    )
    # The library is read as root: the venv itself may lie below a closed folder.
    code = f"import holdfast.cli.config, holdfast.settings, holdfast.cli.output, botocore.configloader\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **given, **{name: str(tmp_path / value) for name, value in home.items()}},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    # The half login is refused in words: that is as far as this goes.
    assert done.returncode == 2, done.stderr
    assert "MLFLOW_TRACKING_PASSWORD is missing" in done.stderr
