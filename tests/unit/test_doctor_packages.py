"""What is installed beside Holdfast: real metadata, put before that of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.doctor.check import Finding, Status
from holdfast.doctor.examine import examine


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that is searched first."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(folder: Path, name: str, version: str, entry_points: str = "") -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)


def finding(check: str) -> Finding:
    (result,) = examine(only=[check]).results
    return result.finding


def test_the_environment_of_the_tests_is_healthy() -> None:
    assert examine(only=["env.python", "env.mlflow", "boto3", "config.plugins"]).is_spotless


@pytest.mark.parametrize(
    ("installed", "check", "status", "found", "remedy"),
    [
        ({"mlflow": "2.22.1"}, "env.mlflow", Status.FAILED, "works with MLflow 3", "'mlflow>=3.0,<4'"),
        ({"mlflow-skinny": "4.0.0"}, "env.mlflow", Status.FAILED, "works with MLflow 3", "'mlflow-skinny>=3.0,<4'"),
        ({"mlflow": "3.99.0"}, "env.mlflow", Status.WARNING, "different releases", "'mlflow-skinny==3.99.0'"),
        ({"boto3": "1.34.0"}, "boto3.installed", Status.FAILED, "1.36 or later", "--upgrade 'boto3>=1.36'"),
        ({"obstore": "0.9.2"}, "boto3.fast_path", Status.FAILED, "works with 0.12", "'obstore>=0.12,<0.13'"),
    ],
)
def test_releases_that_do_not_fit(
    packages: Path, installed: dict[str, str], check: str, status: Status, found: str, remedy: str
) -> None:
    for name, version in installed.items():
        install(packages, name, version)
    said = finding(check)
    assert (said.status, found in said.found, remedy in said.remedy) == (status, True, True), said
    assert "-m pip install" in said.remedy


def test_a_package_that_is_damaged(packages: Path) -> None:
    (packages / "obstore").mkdir()
    (packages / "obstore" / "__init__.py").write_text("")
    import sys

    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "obstore"}
    try:
        said = finding("boto3.fast_path")
    finally:
        sys.modules.update(loaded)
    assert said.status is Status.FAILED
    assert "cannot be imported: ModuleNotFoundError" in said.found
    assert "--force-reinstall obstore==" in said.remedy


def test_an_environment_that_obstore_would_heed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms")
    said = finding("boto3.fast_path")
    assert (said.status, said.details["used"]) == (Status.WARNING, False)
    assert "AWS_SERVER_SIDE_ENCRYPTION" in said.found
    assert said.remedy.startswith("unset AWS_SERVER_SIDE_ENCRYPTION;")


def test_a_client_without_the_plugins(packages: Path) -> None:
    install(packages, "holdfast", "0.0.1")
    said = finding("config.plugins")
    assert said.status is Status.FAILED
    assert "does not know Holdfast's tracking store http" in said.found
    assert "artifact repository s3" in said.found
    assert said.remedy.endswith("-m pip install --force-reinstall --no-deps holdfast")


OTHER = "[mlflow.artifact_repository]\ns3 = other_stores:S3\n"


def test_another_package_with_the_same_name(packages: Path) -> None:
    install(packages, "other-stores", "1.0", OTHER)
    said = finding("config.plugins")
    assert said.status is Status.WARNING
    assert "artifact repository s3 is registered by other-stores and holdfast" in said.found
    assert (said.details["winners"], said.remedy) == (
        {"artifact repository s3": "holdfast"},
        "pip uninstall other-stores",
    )


def test_another_package_that_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    folder = tmp_path / "late"
    folder.mkdir()
    install(folder, "other-stores", "1.0", OTHER)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    said = finding("config.plugins")
    assert said.status is Status.WARNING
    assert "loads last, other-stores" in said.found
