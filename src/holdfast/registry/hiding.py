"""Hiding what must not be kept, in what people and functions say: a history is never shortened again."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.core.key_patterns import mask_keys_in_words
from holdfast.core.redaction import names_a_secret
from holdfast.core.uris import MASK
from holdfast.project import Project


def hide(project: Project, text: str) -> str:
    """Return a text without the project's secrets, and without what looks like a key or a password of others."""
    return mask_keys_in_words(project.redact(text))


def hide_tags(project: Project, tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags with their values hidden as `hide` does, and whole where the name tells (`db_password`)."""
    return {key: MASK if names_a_secret(key) and value else hide(project, value) for key, value in tags.items()}
