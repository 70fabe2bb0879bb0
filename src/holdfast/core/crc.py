"""CRC-32C in the forms that S3 knows: as text, and of a whole that was read in parts.

A CRC is the remainder of a polynomial over GF(2). Appending n zero bits to a message is a linear
map of its CRC, so the CRC of a concatenation follows from those of its parts and the length of the
second, without the bytes: shift the first by that length, then add (exclusive or) the second. The
map for one zero bit is a 32 x 32 matrix over GF(2); squaring it k times gives the map for 2**k
zero bits, and a length needs one product for each bit set in it. The initial and final inversions
of the register cancel out in the sum.

Source: Mark Adler's `crc32_combine` in zlib's crc32.c (as of zlib 1.2.11), with the Castagnoli
polynomial (RFC 3720, section 12.1) in place of zlib's.
"""

from __future__ import annotations

import base64
import binascii
from functools import cache

from holdfast.errors import InvalidInputError

_POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41 with its bits reversed: the lowest bit stands for the highest power
_BITS = 32

# A matrix over GF(2): the n-th number is what the n-th unit vector becomes.
_Matrix = tuple[int, ...]


def combine(crc1: int, crc2: int, size2_bytes: int) -> int:
    """Return the CRC-32C of two byte strings put together.

    Args:
        crc1: The CRC-32C of the first.
        crc2: The CRC-32C of the second.
        size2_bytes: The length of the second.
    """
    power = 0
    while size2_bytes:
        if size2_bytes & 1:
            crc1 = _times(_zero_bytes(power), crc1)
        size2_bytes >>= 1
        power += 1
    return crc1 ^ crc2


def to_text(crc: int) -> str:
    """Return a CRC-32C as S3 writes it: base64 of its four bytes, the highest first."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def from_text(text: str) -> int:
    """Return the CRC-32C that `to_text` wrote.

    Raises:
        InvalidInputError: The text is not the base64 of four bytes.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != 4:
        raise InvalidInputError(f"{text!r} is no CRC-32C.", "write the base64 of its four bytes, the highest first")
    return int.from_bytes(content, "big")


@cache
def _zero_bytes(power: int) -> _Matrix:
    """Return what `2**power` zero bytes at its end make of a CRC."""
    if power:
        return _squared(_zero_bytes(power - 1))
    one_bit = (_POLYNOMIAL, *(1 << bit for bit in range(_BITS - 1)))
    return _squared(_squared(_squared(one_bit)))


def _squared(matrix: _Matrix) -> _Matrix:
    return tuple(_times(matrix, column) for column in matrix)


def _times(matrix: _Matrix, vector: int) -> int:
    total = 0
    for column in matrix:
        if not vector:
            break
        if vector & 1:
            total ^= column
        vector >>= 1
    return total
