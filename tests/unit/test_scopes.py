"""Which project's access serves an address."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.artifacts.access import S3Access
from holdfast.artifacts.scopes import Claim, access_for
from holdfast.settings import Credentials


def access(name: str) -> S3Access:
    return S3Access(Credentials("project", name))


def test_the_closest_claim_counts_and_only_whole_names_do() -> None:
    bucket, run = access("bucket"), access("run")
    claims = [Claim("s3://b/root/", bucket), Claim("s3://b/root/1/run/artifacts", run)]
    try:
        assert access_for("s3://b/root") is bucket
        assert access_for("s3://b/root/1/run/artifacts/deep/er") is run
        assert access_for("s3://b/root/1/run/artifacts-2") is bucket
        assert access_for("s3://b/rooted") is None
        assert access_for("s3://b") is None
        assert access_for("s3://other/root") is None
    finally:
        for claim in claims:
            claim.release()
    assert access_for("s3://b/root") is None


def test_a_whole_bucket_may_be_claimed() -> None:
    claim = Claim("s3://b", access("b"))
    assert access_for("s3://b/deep/down") is not None
    claim.release()
    claim.release()
    assert access_for("s3://b/deep/down") is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=12))
def test_of_two_for_one_address_the_later_that_is_left_counts(steps: list[tuple[str, bool]]) -> None:
    """Projects come and go in any order."""
    held: list[tuple[str, Claim]] = []
    for name, comes in steps:
        if comes:
            held.append((name, Claim("s3://b/x", access(name))))
        else:
            gone = next((entry for entry in held if entry[0] == name), None)
            if gone is not None:
                held.remove(gone)
                gone[1].release()
        found = access_for("s3://b/x/y")
        assert (found.credentials.origin if found else None) == (held[-1][0] if held else None)
    for _, claim in held:
        claim.release()
