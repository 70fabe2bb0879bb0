"""The guides know every error that has a remedy, and name settings and checks that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.artifacts.s3.errors import REMEDIES
from holdfast.doctor.catalog import CATALOG, GROUPS, in_order
from holdfast.settings.names import VARIABLES

_ROOT = Path(__file__).parents[2]
GUIDES = ("troubleshooting", "s3_quickstart", "s3_setup", "credentials", "doctor")


def test_every_error_of_s3_has_a_line() -> None:
    text = (_ROOT / "docs/guides/troubleshooting.md").read_text()
    assert not [code for code in REMEDIES if f"`{code}`" not in text]


@pytest.mark.parametrize("guide", GUIDES)
def test_settings_in_the_guides_exist(guide: str) -> None:
    text = (_ROOT / f"docs/guides/{guide}.md").read_text()
    named = set(re.findall(r"\b(?:MLFLOW_AWS|MLFLOW_S3|HOLDFAST)_[A-Z_]+[A-Z]\b", text))
    assert named - set(VARIABLES) - {"HOLDFAST_DEBUG"} == set()


@pytest.mark.parametrize("guide", GUIDES)
def test_checks_in_the_guides_exist(guide: str) -> None:
    text = (_ROOT / f"docs/guides/{guide}.md").read_text()
    known = {check.name for check in CATALOG} | set(GROUPS)
    named = {name for found in re.findall(r"doctor --only ([a-z0-9_.,]+)", text) for name in found.split(",")}
    assert named - known == set()


def test_every_check_is_in_the_doctors_guide() -> None:
    text = (_ROOT / "docs/guides/doctor.md").read_text()
    rows = [f"| `{check.name}` | {check.asks} |" for check in in_order(CATALOG)]
    assert "\n".join(rows) in text
