"""Listing and removing what an MLflow server keeps, through the server."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.removal import served
from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.removal.outcomes import Versioning
from holdfast.core.cleanup.records import StoredObject
from holdfast.errors import ArtifactError, InvalidInputError
from holdfast.settings import Credentials
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow

pytestmark = pytest.mark.timeout(120)


def holdings_at(url: str, deadline_s: float = 20) -> Holdings:
    keys = Credentials("project", "arguments", "K" * 20, SecretStr("s" * 40))
    return Holdings(S3Access(keys, deadline_s=deadline_s), url)


def listed(holdings: Holdings, place: str) -> list[StoredObject]:
    return [stored for page in holdings.list_place(place) for stored in page]


@pytest.fixture
def folder(mlflow_server: RunningMlflow, unique: str) -> Path:
    """Where the server keeps the files of this test."""
    found = Path(mlflow_server.artifacts) / unique
    for name in ("run/a b", "run/größe", "run/deep/er/x", "run/deep/deep", "run/+&=;,~", "run2/x", "lone"):
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_bytes(b"123")
    (found / "run" / "empty").mkdir()
    return found


@pytest.mark.parametrize("form", ["mlflow-artifacts:/{name}", "{url}/api/2.0/mlflow-artifacts/artifacts/{name}"])
def test_a_place_and_nothing_beside_it(
    mlflow_server: RunningMlflow, folder: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(served, "_AT_ONCE", 1)
    monkeypatch.setattr(served, "_BATCH", 2)
    root = form.format(name=folder.name, url=mlflow_server.url)
    holdings = holdings_at(mlflow_server.url)
    found = listed(holdings, f"{root}/run")
    names = {"a b", "größe", "deep/er/x", "deep/deep", "+&=;,~"}
    assert {(one.address, one.size_bytes, one.modified_ms) for one in found} == {
        (f"{root}/run/{name}", 3, None) for name in names
    }
    assert [one.address for one in listed(holdings, f"{root}/lone")] == [f"{root}/lone"]
    assert [one.address for one in listed(holdings, f"{root}/run/deep/deep")] == [f"{root}/run/deep/deep"]
    assert listed(holdings, f"{root}/none") == listed(holdings, f"{root}/run/empty") == []
    assert holdings.versioning_of(root) is Versioning.UNKNOWN
    told: list[int] = []
    done = holdings.remove(found, root=f"{root}/run", on_batch=lambda batch: told.append(len(batch.removed)))
    assert (set(done.removed), done.failed, done.untried, done.error) == (set(found), (), (), None)
    assert sum(told) == len(found)
    assert len(told) == 3
    assert listed(holdings, f"{root}/run") == []
    holdings.prune(f"{root}/run", root)
    assert sorted(path.name for path in folder.iterdir()) == ["lone", "run2"]
    holdings.prune(f"{root}/run2", root)  # it has a file
    assert (folder / "run2" / "x").exists()
    assert len(holdings.remove(found).removed) == len(found)  # gone already


def test_names_that_the_server_takes_for_others(mlflow_server: RunningMlflow, folder: Path) -> None:
    """`a%20b` would be `a b` there: it is not removed, and a folder of such a name is not taken for another."""
    root, holdings = f"mlflow-artifacts:/{folder.name}/run", holdings_at(mlflow_server.url)
    (folder / "run" / "a%20b").write_bytes(b"1")
    done = holdings.remove([one for one in listed(holdings, root) if "%" in one.address])
    assert [failure.code for failure in done.failed] == ["InvalidObjectName"]
    assert (folder / "run" / "a b").exists()
    (folder / "run" / "x%2Fy").mkdir()
    with pytest.raises(ArtifactError) as caught:
        listed(holdings, root)
    assert caught.value.code == "InvalidObjectName"
    with pytest.raises(InvalidInputError):
        listed(holdings_at("sqlite:///mlflow.db"), root)


def test_a_server_that_lies_and_one_that_is_gone(mlflow_server: RunningMlflow, folder: Path) -> None:
    root = f"mlflow-artifacts:/{folder.name}/run"
    with FaultProxy(mlflow_server.url) as proxy:
        holdings = holdings_at(proxy.url, deadline_s=1)
        found = listed(holdings, root)
        proxy.fail_next(1, 503)
        proxy.fail_next(1, 200, body="{}")  # says that it deleted what it did not
        done = holdings.remove(found[:1])
        assert [failure.code for failure in done.failed] == ["NotDeleted"]
        proxy.refuse()
        done = holdings.remove(found)
        assert done.error is not None
        assert done.error.retryable
        assert (done.removed, len(done.failed) + len(done.untried)) == ((), len(found))
        with pytest.raises(ArtifactError):
            listed(holdings, root)
        proxy.pass_on()
        assert len(holdings.remove(found).removed) == len(found)
    assert not any(path.is_file() for path in (folder / "run").rglob("*"))
