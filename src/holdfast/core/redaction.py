"""What must not be shown, and how it is hidden.

Three nets, because each has holes: passwords inside URIs are found by their form, known
secrets (the project's own keys) by their value, and params or tags that carry someone
else's secret by their name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from holdfast.core.uris import MASK, mask_passwords_in

# A shorter "secret" (an empty password, `a`) would blank out ordinary text.
_SHORTEST_SECRET = 6
_SECRET_NAME = re.compile(
    r"(^|[_.\-/ ])(password|passwd|pwd|secret|secret[_\-]?(access[_\-]?)?key|api[_\-]?key|private[_\-]?key"
    r"|credentials?|(access|auth|session|bearer|refresh)[_\-]?token|token)$",
    re.IGNORECASE,
)
# Tokens of a text, not of a login: `pad_token`, `loss_per_token`.
_WORD_TOKEN = re.compile(
    r"(^|[_.\-/ ])(pad|eos|bos|unk|sep|cls|mask|special|begin|start|end|stop|eot|blank|image|video|audio"
    r"|first|last|next|new|per|min|max|n|num)[_\-]token$",
    re.IGNORECASE,
)


class Redactor:
    """Hides known secrets, and passwords in URIs, wherever they stand in a text.

    Args:
        secrets: Values that must never be shown. Texts of fewer than six characters are left out.
    """

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first: a secret that contains another one is hidden whole.
        self._secrets = tuple(sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """Return `text` with every secret replaced by `****`."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return mask_passwords_in(text)

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def __reduce__(self) -> tuple[type[Redactor], tuple[()]]:
        # Secrets do not travel in a pickle; the copy still hides passwords in URIs.
        return (Redactor, ())

    def mapping(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return name → value with secrets hidden, by value and by telling name (`db_password`)."""
        return {name: MASK if names_a_secret(name) and value else self(value) for name, value in values.items()}


def names_a_secret(name: str) -> bool:
    """Whether a param or tag of this name holds a secret: `db.password`, `api-key`, `hf_token`.

    The tokens of a language model (`pad_token`, `max_tokens`) are none.
    """
    return bool(_SECRET_NAME.search(name)) and not _WORD_TOKEN.search(name)
