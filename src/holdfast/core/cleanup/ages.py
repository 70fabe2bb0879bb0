"""Ages as people write them, `30d` or `1d2h3m4s`, in seconds, and back as people say them."""

from __future__ import annotations

import math
import re

from holdfast.errors import InvalidInputError

FORMS = "30d, 1d2h3m4s, 1.5h, 2w or 0s"
_LENGTHS_S = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_NUMBER = r"\d+\.?\d*|\.\d+"
_AGE = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _LENGTHS_S), re.ASCII)
_SAID = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_LONGEST_S = 1_000 * 366 * 86_400


def parse_age(text: str, option: str) -> float:
    """Return an age in seconds; every form that `mlflow gc --older-than` takes is taken, and weeks.

    Args:
        text: Numbers with their units, the longest first: `30d`, `1d2h3m4s`, `1.5h`.
        option: What it was given for, for the error: `--older-than`.

    Raises:
        InvalidInputError: It is none, or longer than a thousand years; names the option, the value and the forms.
    """
    found = _AGE.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise InvalidInputError(f"{option} is {text!r:.60}, which is no age.", f"write {FORMS}")
    seconds = sum(float(number) * _LENGTHS_S[unit] for unit, number in found.groupdict().items() if number)
    if not math.isfinite(seconds) or seconds > _LONGEST_S:
        raise InvalidInputError(f"{option} is {text!r:.60}, which is more than a thousand years.", f"write {FORMS}")
    return seconds


def shown_age(seconds: float) -> str:
    """Return an age for people, in its two longest units: `30 days`, `1 day 2 hours`, `0 seconds`."""
    left = max(0, round(seconds))
    parts = []
    for name, length in _SAID:
        count, left = divmod(left, length)
        parts.append(f"{count} {name}{'' if count == 1 else 's'}" if count else "")
    said = next((at for at, part in enumerate(parts) if part), len(parts) - 1)
    return " ".join(part for part in parts[said : said + 2] if part) or "0 seconds"
