"""Keys and passwords of strangers in a text, found by their form, for texts that are stored as they are.

`mask_keys_in` is for code (a diff), `mask_keys_in_words` for what people and errors say.

The project's own secrets are found by their value (`holdfast.core.redaction`); these are those that nobody told us of.
Every pattern takes time in proportion to the text.
"""

from __future__ import annotations

import re

from holdfast.core.uris import MASK, mask_passwords_in

_KEYS = re.compile(
    r"\b(?:"
    r"(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}"  # GitHub
    r"|glpat-[A-Za-z0-9_\-]{16,255}"  # GitLab
    r"|sk-[A-Za-z0-9_\-]{16,255}"  # OpenAI, Anthropic
    r"|hf_[A-Za-z0-9]{16,255}"  # Hugging Face
    r"|xox[abeoprs]-[A-Za-z0-9\-]{10,255}"  # Slack
    r"|AIza[A-Za-z0-9_\-]{30,255}"  # Google
    r"|pypi-[A-Za-z0-9_\-]{16,255}"
    r"|dapi[a-f0-9]{32}"  # Databricks
    r"|eyJ[A-Za-z0-9_\-]{8,4096}\.eyJ[A-Za-z0-9_\-]{8,4096}(?:\.[A-Za-z0-9_\-]{0,4096})?"  # a JSON web token
    r")"
)
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----).*?(-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
)
_NAME = r"(?:password|passwd|pwd|secret|token|api[_\-]?key|access[_\-]?key|private[_\-]?key|credentials?)"
# `db_password = "hunter22"`, `"token": "abcdef"`: what stands in quotes beside a telling name.
_QUOTED = re.compile(
    rf"({_NAME}[\w\-]{{0,40}}[\"']?\s{{0,8}}(?::\s{{0,8}}\w{{1,40}}\s{{0,8}})?[:=]\s{{0,8}}[rbuf]?)"
    r"(\"[^\"\n]{4,}\"|'[^'\n]{4,}')",
    re.IGNORECASE,
)
# `AWS_SECRET_ACCESS_KEY=abc`, `export TOKEN=abc`: a line of a shell or of a settings file.
_ASSIGNED = re.compile(
    rf"^([+\- ]?\s{{0,40}}(?:export\s{{1,8}})?\w{{0,60}}{_NAME}\w{{0,40}}=)[^\s\"'=(][^\s\"'(]{{3,}}$", re.I | re.M
)
# `password: hunter22`, a line of YAML; not a type that Python's annotations name.
_YAML = re.compile(
    rf"^([+\- ]?\s{{0,40}}[\w\-]{{0,60}}{_NAME}[\w\-]{{0,40}}:\s{{1,8}})"
    r"(?!(?:str|bytes|int|float|bool|object|Any|None|SecretStr|Optional)\b)[^\s\"'\[{(][^\s\"'\[{(]{3,}\s*$",
    re.I | re.M,
)
# `it raised ValueError: password=hunter2 token: abc`: in running text, where nothing is code.
_SAID = re.compile(
    r"((?:password|passwd|passphrase|pwd|secret|token|(?:api|access|private|secret)[_\- ]?key|credentials?)\d{0,4})"
    r"([\"']?\s{0,8}[:=]\s{0,8})"
    r"(\"[^\"\n]*\"|'[^'\n]*'|\S+)",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"(\bauthorization[\"']?\s{0,8}[:=]\s{0,8}[\"']?(?:(?:basic|bearer)\s{1,8})?)\S+", re.I)
_BEARER = re.compile(r"(\bbearer\s{1,8})[\w\-.~+/=]{16,}", re.I)
_NUMBER = re.compile(r"[\d.]{1,8}[,;.)]?")


def mask_keys_in(text: str) -> tuple[str, int]:
    """Return the text with what looks like a key or a password replaced by `****`, and how many there were."""
    text, private = _PRIVATE_KEY.subn(rf"\g<1>{MASK}\g<2>", text)
    text, quoted = _QUOTED.subn(rf'\g<1>"{MASK}"', text)
    text, assigned = _ASSIGNED.subn(rf"\g<1>{MASK}", text)
    text, listed = _YAML.subn(rf"\g<1>{MASK}", text)
    text, keys = _KEYS.subn(MASK, text)
    return text, private + quoted + assigned + listed + keys


def mask_keys_in_words(text: str) -> str:
    """Return running text with what looks like a key or a password, in a URI too, replaced by `****`.

    Whatever follows `password=` or `token:` is taken for one, up to the next blank, so that words may be lost; of
    numbers after `token` (`loss_per_token=0.5`) none is.
    """
    if "://" in text:  # looking for schemes takes long where there are none
        text = mask_passwords_in(text)
    text = _SAID.sub(_without_value, text)
    text = _BEARER.sub(rf"\g<1>{MASK}", _AUTHORIZATION.sub(rf"\g<1>{MASK}", text))
    return mask_keys_in(text)[0]


def _without_value(found: re.Match[str]) -> str:
    name, mark, value = found.groups()
    is_count = name.lower() == "token" and _NUMBER.fullmatch(value)
    return found[0] if is_count else f"{name}{mark}{MASK}"
