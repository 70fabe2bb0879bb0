"""Places of addresses: one form for each, and none for what may mean different ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.core.cleanup.places import is_understood, protecting
from holdfast.maintenance.places import Places, is_whole_store, store_of

SERVER = "http://user:s3cret@host:5000/mlflow"
KEPT = "http://host:5000/mlflow/api/2.0/mlflow-artifacts/artifacts"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("s3://b/a/x/", "s3://b/a/x"),
        ("S3://b/a//x", "s3://b/a//x"),
        ("s3://b", "s3://b"),
        ("/no/such//folder/./x/", "/no/such/folder/x"),
        ("file:///no/such/a%20b", "/no/such/a b"),
        ("file://localhost/no/such", "/no/such"),
        ("mlflow-artifacts:/1/run/artifacts", "mlflow-artifacts:/1/run/artifacts"),
        ("mlflow-artifacts:///1//run/", "mlflow-artifacts:/1/run"),
        ("mlflow-artifacts://host:5000/1/run", "mlflow-artifacts:/1/run"),
        (f"{KEPT}/1/run", "mlflow-artifacts:/1/run"),
        ("gs://b/a/", "gs://b/a"),
        ("", ""),
    ],
)
def test_one_form(address: str, place: str) -> None:
    assert Places(SERVER).place_of(address) == place
    assert is_understood(place) or not address


@pytest.mark.parametrize(
    "address",
    [
        *("relative/x", "./mlruns/1", "/a/../b", "file://elsewhere/a", "s3://b/a/../x", "s3://b/a?x=1", "s3://b/a#x"),
        *("mlflow-artifacts://other/1/run", "http://other/api/2.0/mlflow-artifacts/artifacts/1", "http://x:y@z/a"),
        *("mlflow-artifacts:/1/../../x", "runs:/abc/model", "models:/m-1"),
    ],
)
def test_what_nobody_understands(address: str) -> None:
    place = Places(SERVER, "s3://b/kept").place_of(address)
    assert not is_understood(place)
    assert "x:y" not in place


@pytest.mark.parametrize(
    ("address", "readings"),
    [
        ("/no/my%20exp/1", {"/no/my exp/1", "/no/my%20exp/1"}),
        ("file:///no/x#y/1", {"/no/x", "/no/x#y/1"}),
        ("file:///no/x?y=1", {"/no/x", "/no/x?y=1"}),
        ("file://elsewhere/no/x", {"/no/x"}),
        ("file://localhost/no/x#y", {"/no/x", "/no/x#y"}),
        ("file:///no/run/model/../x", {"/no/run/x"}),
        ("/no/files/../other", {"/no/other"}),
        ("/no/files/%2e%2e/other", {"/no/other", "/no/files/%2e%2e/other"}),
    ],
)
def test_what_can_be_read_in_several_ways(address: str, readings: set[str]) -> None:
    places = Places("sqlite:///x.db")
    place = places.place_of(address)
    assert not is_understood(place)
    assert {path for _, path in places.readings()} == readings
    assert protecting(place) in readings


@pytest.mark.parametrize("address", ["/no/100%/x", "/no/a#b?c", "file:///no/a%20b%23%3F", "/no/a+b/ü"])
def test_what_only_looks_odd_is_read_in_one_way(address: str) -> None:
    places = Places("sqlite:///x.db")
    assert is_understood(places.place_of(address))
    assert not list(places.readings())


def test_what_goes_upwards_over_a_link_is_needed_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real" / "run").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "run")
    places = Places("sqlite:///x.db")
    places.place_of(f"{tmp_path}/link/../x")
    assert {path for _, path in places.readings()} == {f"{tmp_path}/x", f"{tmp_path}/real/x"}


def test_a_server_reads_its_destination_as_mlflow_does() -> None:
    places = Places(SERVER, "/no/my%20files")
    assert places.destination == "/no/my files"
    assert places.place_of("mlflow-artifacts:/1/x") == "/no/my files/1/x"


def test_what_a_server_keeps_lies_at_its_destination(tmp_path: Path) -> None:
    for destination, root in (("s3://b/kept/", "s3://b/kept"), (str(tmp_path), str(tmp_path))):
        for tracking_uri in (SERVER, "sqlite:///x.db"):
            places = Places(tracking_uri, destination)
            assert places.destination == root
            assert places.place_of("mlflow-artifacts:/1/a%2520b") == f"{root}/1/a b"
            assert places.place_of("mlflow-artifacts:/") == root
    assert Places("sqlite:///x.db").place_of("mlflow-artifacts:/1") == "mlflow-artifacts:/1"


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real" / "run").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "again").symlink_to(tmp_path / "real" / "run")
    places = Places("sqlite:///x.db")
    assert places.place_of(f"{tmp_path}/link/run/x") == f"{tmp_path}/real/run/x"
    assert places.place_of(f"file://{tmp_path}/link/again") == f"{tmp_path}/real/run"


def test_stores() -> None:
    assert [store_of(place) for place in ("/a", "s3://b/x", "mlflow-artifacts:/x")] == [
        "",
        "s3://b",
        "mlflow-artifacts:",
    ]
    assert all(map(is_whole_store, ("/", "s3://b", "s3://b/", "mlflow-artifacts:/")))
    assert not any(map(is_whole_store, ("/a", "s3://b/x", "mlflow-artifacts:/x")))
