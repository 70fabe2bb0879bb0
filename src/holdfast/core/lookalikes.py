"""Names that are written alike: nobody is to be two people by another alphabet's letters."""

from __future__ import annotations

import unicodedata

# Letters that most fonts draw as these Latin ones: the part of Unicode's confusables (UTS 39) that is about single
# letters of these scripts. As numbers, since they could not be told apart here.
_PAIRS = (
    # Cyrillic
    (
        "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0405\u0406\u0408",
        "ABEKMHOPCTYXSIJ",
    ),
    ("\u04ba\u04c0\u0500\u051a\u051c", "HIDQW"),
    # Cyrillic, small
    (
        "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0456\u0458",
        "abekmhopctyxsij",
    ),
    ("\u04bb\u04cf\u0501\u051b\u051d", "hldqw"),
    # Greek
    (
        "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
        "ABEZHIKMNOPTYX",
    ),
    # Greek, small
    ("\u03b1\u03b3\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7", "ayikvoptux"),
)
_LATIN = str.maketrans(
    {letter: latin for letters, latins in _PAIRS for letter, latin in zip(letters, latins, strict=True)}
)


def are_alike(one: str, other: str) -> bool:
    """Whether two names look the same: case, blanks, ways to write a letter and look-alike letters make no difference.

    Capitals are compared as capitals too: of some letters only these look alike.
    """
    first, second = (unicodedata.normalize("NFKC", name) for name in (one, other))
    return _plain(first) == _plain(second) or _plain(first.translate(_LATIN)) == _plain(second.translate(_LATIN))


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
