"""What a bucket costs, by hand and by table."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.bucket.costs import Estimate, billed_bytes, estimate
from holdfast.bucket.inventory import Stored
from holdfast.bucket.prices import load_prices, tiered
from holdfast.bucket.roots import Root, check_apart, root_of
from holdfast.bucket.usage import Group, Tally, Usage, _Sorting
from holdfast.cli.app import app
from holdfast.errors import InvalidInputError

sys.path.insert(0, str(Path(__file__).parent))
from traced import peak_bytes

GIB = 1 << 30


def usage(*stored: tuple[str, int, int], old: tuple[str, int, int] | None = None, name: str = "digits") -> Usage:
    """Return a usage of (storage class, objects, bytes each)."""
    group = Group(name, name, True)
    for storage_class, objects, size_bytes in stored:
        for _ in range(objects):
            group.add("0-7 d", storage_class, size_bytes)
    found = Usage(Root("s3", "s3://bkt/r"), [group], {}, {})
    if old is not None:
        found.old_versions = {old[0]: Tally()}
        for _ in range(old[1]):
            found.old_versions[old[0]].add(old[2])
    return found


def cost(what: Usage, region: str = "us-east-1", egress_gb: float | None = None, unused: str = "") -> Estimate:
    return estimate(what, load_prices(region), egress_gb, [unused] if unused else [])


@pytest.mark.parametrize(
    ("storage_class", "region", "gib", "dollars"),
    [
        ("STANDARD", "us-east-1", 100, 2.30),
        ("STANDARD_IA", "us-east-1", 100, 1.25),
        ("STANDARD", "eu-west-1", 100, 2.30),
        ("STANDARD", "eu-central-1", 100, 2.45),
        ("STANDARD", "ap-southeast-1", 100, 2.50),
        ("GLACIER_IR", "us-east-1", 100, 0.40),
        ("DEEP_ARCHIVE", "us-east-1", 1000, 0.99),
        # 50 TB at the first price, and what goes beyond at the next.
        ("STANDARD", "us-east-1", 51_200 + 1000, 51_200 * 0.023 + 1000 * 0.022),
    ],
)
def test_storage_by_class_and_region(storage_class: str, region: str, gib: int, dollars: float) -> None:
    found = cost(usage((storage_class, 1, gib * GIB)), region)
    assert found.per_month == pytest.approx(dollars, rel=1e-4)
    assert (found.prices.region, found.prices.as_of, found.prices.is_fallback) == (region, "2025-10", False)
    assert found.experiments == {"digits": pytest.approx(dollars, rel=1e-4)}


def test_a_gb_of_aws_is_binary() -> None:
    assert cost(usage(("STANDARD", 1, 100 * 10**9))).per_month == pytest.approx(2.30 * 10**9 / GIB)


def test_small_objects_count_for_more_in_some_classes() -> None:
    small, large = 1000, 200 << 10
    for storage_class, billed in (
        ("STANDARD", 10 * small + 2 * large),
        ("STANDARD_IA", 10 * (128 << 10) + 2 * large),
        ("GLACIER", 10 * small + 2 * large + 12 * (32 << 10)),
    ):
        tally = usage((storage_class, 10, small), (storage_class, 2, large)).by_class()[storage_class]
        assert billed_bytes(storage_class, tally) == billed
    # The archives keep each object's name in STANDARD as well.
    found = cost(usage(("GLACIER", 1024, 0))).per_month
    assert found == pytest.approx((1024 * 32 / 2**20) * 0.0036 + (1024 * 8 / 2**20) * 0.023)


def test_what_is_not_current_is_paid_for_in_the_same_tiers() -> None:
    found = cost(usage(("STANDARD", 1, 51_200 * GIB), old=("STANDARD", 2, 500 * GIB)))
    assert [(line.what, line.objects) for line in found.lines] == [("current", 1), ("not current", 2)]
    assert found.lines[1].per_month == pytest.approx(1000 * 0.022)


@pytest.mark.parametrize(
    ("gb", "dollars"), [(50, 0.0), (100, 0.0), (200, 9.0), (100 + 10_240 + 100, 10_240 * 0.09 + 100 * 0.085)]
)
def test_egress(gb: float, dollars: float) -> None:
    found = cost(usage(("STANDARD", 1, GIB)), egress_gb=gb)
    assert found.egress == pytest.approx(dollars)
    assert found.per_month == pytest.approx(dollars + 0.023)


def test_fetching_and_storing_everything_once() -> None:
    found = cost(usage(("STANDARD", 1000, GIB // 5)))
    assert found.fetching == pytest.approx(100 * 0.09 + 0.0004, rel=1e-3)
    assert found.storing == pytest.approx(0.005)
    cold = cost(usage(("STANDARD_IA", 1000, GIB // 5)))
    assert cold.fetching == pytest.approx(100 * 0.09 + 0.001 + 200 * 0.01, rel=1e-3)


def test_savings_are_only_for_what_no_version_uses() -> None:
    what = usage(("STANDARD", 1, 100 * GIB), ("STANDARD", 50, 1000))
    assert cost(what).savings == ()
    (saving,) = cost(what, unused="digits").savings
    assert saving.per_month == pytest.approx(2.30 - 1.25)
    assert (saving.size_bytes, saving.once) == (100 * GIB, pytest.approx(0.01 / 1000))


def test_tables_of_ones_own(tmp_path: Path) -> None:
    table = tmp_path / "prices.json"
    region = {"storage": {"STANDARD": [[10, 0.01], [None, 0.005]]}}
    table.write_text(
        json.dumps({"as_of": "2026-01", "currency": "EUR", "gb_bytes": 10**9, "regions": {"here": region}})
    )
    prices = load_prices("here", table)
    found = estimate(usage(("STANDARD", 1, 20 * 10**9), ("ODD_CLASS", 1, 5)), prices)
    assert found.per_month == pytest.approx(10 * 0.01 + 10 * 0.005)
    assert (found.fetching, prices.currency) == (0.0, "EUR")
    assert found.notes == ["the table has no price for ODD_CLASS in here"]
    assert load_prices("elsewhere", table).is_fallback
    for broken in ("{}", "[]", '{"as_of": 1, "regions": {"x": {"storage": {"STANDARD": [[1, 2]]}}}}', "{"):
        table.write_text(broken)
        with pytest.raises(InvalidInputError, match="price table"):
            load_prices("x", table)


def test_an_unknown_region_takes_another_ones_prices() -> None:
    found = load_prices("mars-north-1")
    assert (found.region, found.is_fallback) == ("us-east-1", True)


def test_tiers() -> None:
    tiers = ((10.0, 1.0), (20.0, 0.5), (float("inf"), 0.1))
    assert tiered(tiers, 30) == 10 + 5 + 1
    assert tiered(tiers, 10, after=5) == 5 + 2.5
    assert tiered(tiers, 5, after=100) == pytest.approx(0.5)


def test_a_server_that_is_not_aws_has_no_list_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    done = CliRunner().invoke(app, ["s3", "cost", "s3://bucket/x"])
    assert isinstance(done.exception, InvalidInputError)
    assert "--prices" in done.exception.hint


def test_counting_takes_no_memory_by_object() -> None:
    before = f"""
    import time
    from {_Sorting.__module__} import {_Sorting.__name__} as Sorting
    from {Stored.__module__} import Stored
    sorting = Sorting({{"digits": "digits", "digits/deeper": "inner"}})
    """
    measured = """
    for number in range(100_000):
        sorting.add(Stored(f"digits/{number % 50}/{number}", 10, time.time(), "STANDARD"))
    assert sorting.groups()[0].total.objects == 100_000
    """
    assert peak_bytes(before, measured) < 1 << 20


def test_what_belongs_to_what() -> None:
    sorting = _Sorting({"a": "A", "a/b": "B", "": "top"} | {})
    for path in ("a/x", "ab/x", "a/b/x", "a/bc/x", "a/b", "x"):
        sorting.add(Stored(path, 1, time.time()))
    assert {group.name: group.total.objects for group in sorting.groups()} == {"A": 3, "B": 1, "top": 2}
    strangers = _Sorting({"a": "A"})
    for path in ("ab/x", "ab/y", "loose", "a/x"):
        strangers.add(Stored(path, 1, time.time() - 86400 * 100))
    assert {(group.name, group.is_experiment) for group in strangers.groups()} == {
        *(("ab", False), ("(files at the top)", False), ("A", True))
    }
    assert {key[0] for group in strangers.groups() for key in group.tallies} == {"91-365 d"}


@pytest.mark.parametrize(
    ("root", "uri", "path"),
    [
        ("s3://bkt/a", "s3://bkt/a", ""),
        ("s3://bkt/a", "s3://bkt/a/", ""),
        ("s3://bkt/a", "s3://bkt/a/x%20y/z", "x%20y/z"),
        ("s3://bkt/a", "s3://bkt/ab", None),
        ("s3://bkt/a", "s3://bkt/a/../c", None),
        ("s3://bkt", "s3://bkt/a", "a"),
        ("/r", "/r/x", "x"),
        ("/r", "file:///r/x%20y", "x y"),
        ("/r", "file:/r/x", "x"),
        ("/r", "file://localhost/r/x", "x"),
        ("/r", "file://host/r/x", None),
        ("/r", "/r/x%20y", "x%20y"),
        ("/r", "/rx", None),
        ("/r", "r/x", None),
        ("/r", "./r", None),
        ("/r", "mlflow-artifacts:/r/x", None),
        ("file:///r%41", "/rA/x", "x"),
    ],
)
def test_what_lies_below_a_root(root: str, uri: str, path: str | None) -> None:
    found = root_of(root, "--from")
    assert found.path_of(uri) == path
    if path:
        assert found.path_of(found.join(path)) == path


def test_roots_that_lie_in_each_other() -> None:
    for one, other, same_server in (("/a", "/a/b", True), ("/a/b", "/a", True), ("s3://bkt", "s3://bkt/x", False)):
        with pytest.raises(InvalidInputError, match="lie in each other"):
            check_apart(root_of(one, "--from"), root_of(other, "--to"), same_server)
    with pytest.raises(InvalidInputError, match="same place"):
        check_apart(root_of("/a", "--from"), root_of("/a/", "--to"), True)
    check_apart(root_of("s3://bkt/x", "--from"), root_of("s3://bkt/x", "--to"), same_server=False)
    check_apart(root_of("s3://bkt/x", "--from"), root_of("s3://bkt/xy", "--to"), same_server=True)
