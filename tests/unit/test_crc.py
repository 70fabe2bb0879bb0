"""CRC-32C of a whole from those of its parts, against the library that reads the bytes."""

from __future__ import annotations

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import crc
from holdfast.errors import InvalidInputError


def test_known_values_of_the_standard() -> None:
    """RFC 3720, appendix B.4, and the usual check value."""
    assert google_crc32c.value(b"123456789") == 0xE3069283
    assert google_crc32c.value(bytes(32)) == 0x8A9136AA
    assert crc.combine(google_crc32c.value(b"1234"), google_crc32c.value(b"56789"), 5) == 0xE3069283
    assert crc.combine(google_crc32c.value(bytes(20)), google_crc32c.value(bytes(12)), 12) == 0x8A9136AA


@given(st.binary(), st.binary())
def test_two_parts_make_the_whole(first: bytes, second: bytes) -> None:
    found = crc.combine(google_crc32c.value(first), google_crc32c.value(second), len(second))
    assert found == google_crc32c.value(first + second)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_any_parts_make_the_whole(parts: list[bytes]) -> None:
    whole = 0
    for part in parts:
        whole = crc.combine(whole, google_crc32c.value(part), len(part))
    assert whole == google_crc32c.value(b"".join(parts))


@given(st.binary(max_size=50), st.integers(min_value=0, max_value=3_000_000))
def test_long_parts(first: bytes, zeros: int) -> None:
    second = bytes(zeros)
    found = crc.combine(google_crc32c.value(first), google_crc32c.value(second), zeros)
    assert found == google_crc32c.extend(google_crc32c.value(first), second)


@given(*[st.integers(min_value=0, max_value=2**32 - 1)] * 3, *[st.integers(min_value=0, max_value=2**45)] * 2)
def test_parts_combine_in_any_grouping(crc1: int, crc2: int, crc3: int, size2: int, size3: int) -> None:
    """Holds for sizes no test could read: a part of 32 TiB among them."""
    left = crc.combine(crc.combine(crc1, crc2, size2), crc3, size3)
    assert left == crc.combine(crc1, crc.combine(crc2, crc3, size3), size2 + size3)


@given(st.binary())
def test_text_is_what_s3_writes(content: bytes) -> None:
    found = google_crc32c.value(content)
    assert crc.from_text(crc.to_text(found)) == found
    assert crc.to_text(google_crc32c.value(b"hello world")) == "yZRlqg=="


@pytest.mark.parametrize("text", ["", "yZRlqg", "yZRlqg==x", "yZRlqg==\n", "yZRlqgAA", "é===", "....yZRlqg=="])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="CRC-32C"):
        crc.from_text(text)
