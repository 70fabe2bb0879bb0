"""Keys and passwords of strangers in a text, found by their form, for texts such as a diff that are stored as they are.

The project's own secrets are found by their value (`holdfast.core.redaction`); these are those that nobody told us of.
Every pattern takes time in proportion to the text.
"""

from __future__ import annotations

import re

from holdfast.core.uris import MASK

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


def mask_keys_in(text: str) -> tuple[str, int]:
    """Return the text with what looks like a key or a password replaced by `****`, and how many there were."""
    text, private = _PRIVATE_KEY.subn(rf"\g<1>{MASK}\g<2>", text)
    text, quoted = _QUOTED.subn(rf'\g<1>"{MASK}"', text)
    text, assigned = _ASSIGNED.subn(rf"\g<1>{MASK}", text)
    text, listed = _YAML.subn(rf"\g<1>{MASK}", text)
    text, keys = _KEYS.subn(MASK, text)
    return text, private + quoted + assigned + listed + keys
