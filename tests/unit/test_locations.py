"""Which artifact locations lie below which: whole parts of paths count, not letters."""

from __future__ import annotations

import pytest

from holdfast.core.locations import lies_below


@pytest.mark.parametrize(
    ("location", "root", "is_below"),
    [
        ("s3://b/a", "s3://b/a", True),
        ("s3://b/a/x", "s3://b/a/", True),
        ("s3://b/ab", "s3://b/a", False),
        ("s3://b", "s3://b/a", False),
        ("s3://b/a", "s3://b", True),
        ("s3://bb/a", "s3://b", False),
        ("/data/runs/1", "/data/runs", True),
        ("file:///data/runs/1", "/data/runs", True),
        ("/data/runs2", "/data/runs", False),
        ("mlflow-artifacts:/1/x", "mlflow-artifacts:/", True),
        ("mlflow-artifacts:///1", "mlflow-artifacts:/1", True),
        ("mlflow-artifacts://other/1", "mlflow-artifacts:/1", False),
        ("s3://b/a", "/s3:/b", False),
    ],
)
def test_what_lies_below_what(location: str, root: str, is_below: bool) -> None:
    assert lies_below(location, root) is is_below
